"""What the processes of test_distributed run: the launcher of an SFT job, then that of a SEPO job.

The rows of the SEPO job are kept as JSON, of every process.
"""

import json
import sys
from pathlib import Path

from sepo_lib.play.engines import distributed
from sepo_lib.run import launch
from sepo_lib.training import sepo


def main(folder, sft, arguments):
    """Launch both jobs; folder/rows-<process>.json: by step, [prompt ids, answer ids, advantage, count]."""
    tensors, seen = sepo.to_tensors, []

    def keep(rows, *args, **kwargs):
        seen.append([[row.prompt_ids, row.completion_ids, row.advantage, row.count] for row in rows])
        return tensors(rows, *args, **kwargs)

    sepo.to_tensors = keep
    try:
        code = launch.main(sft) or launch.main(arguments)
    finally:
        sepo.to_tensors = tensors
    Path(folder, f"rows-{distributed.rank()}.json").write_text(json.dumps(seen))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(argument.split() for argument in sys.argv[2:])))
