"""What the processes of test_distributed run: the launcher of an SFT job, then that of a SEPO job.

The rows of the SEPO job are kept as JSON, of every process. All processes but the first are slow to list the
checkpoints at the end of a training, so that the first one could remove the folder before.
"""

import json
import os
import sys
import time
from pathlib import Path

from transformers import trainer

from sepo_lib.play.engines import distributed
from sepo_lib.run import launch
from sepo_lib.training import sepo


def main(folder, sft, arguments):
    """Launch both jobs; folder/rows-<process>.json: by step, [prompt ids, answer ids, advantage, count]."""
    tensors, listing, seen = sepo.to_tensors, trainer.sort_checkpoints, []

    def keep(rows, *args, **kwargs):
        seen.append([[row.prompt_ids, row.completion_ids, row.advantage, row.count] for row in rows])
        return tensors(rows, *args, **kwargs)

    def listed_late(*args, output_dir, **kwargs):
        if distributed.rank():
            time.sleep(1)
            os.listdir(output_dir)
        return listing(*args, output_dir=output_dir, **kwargs)

    sepo.to_tensors, trainer.sort_checkpoints = keep, listed_late
    try:
        code = launch.main(sft) or launch.main(arguments)
    finally:
        sepo.to_tensors, trainer.sort_checkpoints = tensors, listing
    Path(folder, f"rows-{distributed.rank()}.json").write_text(json.dumps(seen))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(argument.split() for argument in sys.argv[2:])))
