"""The job of supervised fine-tuning."""

from pathlib import Path
from typing import Any

from sepo_lib.config import paths, progress
from sepo_lib.config.progress import Report
from sepo_lib.measure import job_tables
from sepo_lib.play.policy import load_policy
from sepo_lib.run import demonstration_files, model_cards
from sepo_lib.run.steps import records
from sepo_lib.run.steps.arguments import SFTJob
from sepo_lib.training import sft


def run_sft(folder: Path, report: Report, **arguments: Any) -> dict:
    """Fine-tune on the demonstrations of all games together, then evaluate. Arguments: `SFTJob`.

    Writes model/, sft-log.parquet and the evaluations.
    """
    job = SFTJob(**arguments)
    progress.doing("loading the model")
    model, tokenizer, _ = load_policy(job.model, **job.sampling)
    examples = demonstration_files.load(paths.root() / job.data, sorted(job.data_sha256), "train")
    progress.doing(records.BEFORE_TRAINING)
    rows = sft.train(model, tokenizer, examples, folder, sft.SFTSettings(**job.train), report)
    job_tables.save({"sft": records.log(rows, job.labels)}, folder, "log")
    if job.train["lora"]:
        facts = {"data": job.data, "data_sha256": job.data_sha256, "train": job.train}
        facts |= {"sampling": job.sampling, "run": job.labels}
        model_cards.write_card(folder / "adapter", job.model, "sft", facts)
    progress.doing("loading the trained model")
    _, _, policy = load_policy(str(folder / "model"), **job.sampling)
    for game, pools in job.evaluated_on:
        records.evaluate(policy, job, game, pools, folder, "sft")
    return {"loss": rows[-1]["loss"]}
