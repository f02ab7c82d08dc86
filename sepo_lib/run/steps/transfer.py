"""The job that evaluates a trained model in games that it was not trained on."""

from pathlib import Path
from typing import Any

from sepo_lib.config import paths, progress
from sepo_lib.config.progress import Report
from sepo_lib.play.policy import load_policy
from sepo_lib.run.steps import records
from sepo_lib.run.steps.arguments import TransferJob


def run_transfer(folder: Path, report: Report, **arguments: Any) -> dict:
    """Evaluate the model of a finished job. The arguments are those of `TransferJob`."""
    job = TransferJob(**arguments)
    progress.doing("loading the trained model")
    trained = paths.other_job(folder, job.trained_job) / "model"
    _, _, policy = load_policy(str(trained), **job.sampling)
    for number, (game, pools) in enumerate(job.evaluated_on, start=1):
        records.evaluate(policy, job, game, pools, folder, "transfer")
        report(number, {})
    return {}
