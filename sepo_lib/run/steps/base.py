"""The job that evaluates the base model."""

from pathlib import Path
from typing import Any

from sepo_lib.config import progress
from sepo_lib.config.progress import Report
from sepo_lib.play.policy import load_policy
from sepo_lib.run.steps import records
from sepo_lib.run.steps.arguments import BaseJob


def run_base(folder: Path, report: Report, **arguments: Any) -> dict:
    """Evaluate the base model. The arguments are those of `BaseJob`."""
    job = BaseJob(**arguments)
    progress.doing("loading the model")
    _, _, policy = load_policy(job.model, **job.sampling)
    for number, (game, pools) in enumerate(job.evaluated_on, start=1):
        records.evaluate(policy, job, game, pools, folder, "base")
        report(number, {})
    return {}
