"""The reference curve of test_invariance.py: a few SEPO steps of nano in the split game.

    python tests/training/record_curve.py                          records reference_curve.json
    accelerate launch ... tests/training/record_curve.py FILE      writes the curve of several processes

Record it again only after a change that is meant to move the update, and say so in the commit.
"""

import importlib.metadata
import json
import sys
import tempfile
from pathlib import Path

from accelerate import PartialState

sys.path[:0] = [str(Path(__file__).resolve().parents[number]) for number in (2, 1)]

from trainers import configuration  # noqa: E402

from sepo_lib import games  # noqa: E402
from sepo_lib.play.engines import distributed, parts  # noqa: E402
from sepo_lib.play.policy import load_policy  # noqa: E402
from sepo_lib.training import sepo  # noqa: E402

REFERENCE = Path(__file__).with_name("reference_curve.json")
COLUMNS = ("loss", "grad_norm", "kl", "entropy", "objective", "decisions")
STEPS = 4
LIBRARIES = ("torch", "transformers", "trl", "numpy")


def curve(folder, engine="shared_prefix", evaluate=lambda step: None, **changes):
    """The logged COLUMNS of every step; `changes` are those of the configuration."""
    model, tokenizer, policy = load_policy("nano", "float32", 0.8, 16, engine)
    sizes = {"game": games.get("split"), "steps": STEPS, "learning_rate": 1e-3, "checkpoint_every": 2}
    config = configuration(**{**sizes, **changes})
    log = sepo.train(model, tokenizer, policy.engine, folder, config, lambda step, metrics: None, evaluate)
    return [{column: row[column] for column in COLUMNS} for row in log]


def main(file=None):
    if file:
        PartialState(cpu=True)
    parts._CPU = 400  # tokens: several parts in every process
    with tempfile.TemporaryDirectory() as folder:
        found = curve(Path(folder), micro_batches=None if file else 1)
        if file and distributed.rank() == 0:
            Path(file).write_text(json.dumps(found))
        distributed.barrier()
    if not file:
        versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
        REFERENCE.write_text(json.dumps({"versions": versions, "curve": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
