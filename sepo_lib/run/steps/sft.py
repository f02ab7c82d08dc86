"""The job of supervised fine-tuning."""

from pathlib import Path
from typing import Any

from sepo_lib.config import paths, progress
from sepo_lib.config.progress import Report
from sepo_lib.measure import job_tables
from sepo_lib.play.engines import distributed
from sepo_lib.play.policy import load_policy
from sepo_lib.run import demonstration_files, model_cards, sft_data
from sepo_lib.run.steps import records
from sepo_lib.run.steps.arguments import SFTJob
from sepo_lib.training import sft


def run_sft(folder: Path, report: Report, **arguments: Any) -> dict:
    """Fine-tune on the examples of all games together, then evaluate. Arguments: `SFTJob`.

    Writes model/, sft-log.parquet and the evaluations.
    """
    job = SFTJob(**arguments)
    distributed.barrier()  # the first process has prepared the folder
    progress.doing("loading the model")
    model, tokenizer, _ = load_policy(job.model, **job.sampling)
    data = paths.root() / job.data
    if job.own_data:
        examples = sft_data.load(data, job.data_sha256)
    else:
        examples = demonstration_files.load(data, sorted(job.data_sha256), "train")
    if job.mixture:
        examples = demonstration_files.mixed(examples, **job.mixture)
    adapted = records.adapted(model, job.train)
    progress.doing(records.BEFORE_TRAINING)
    rows = sft.train(model, tokenizer, examples, folder, sft.SFTSettings(**job.train), report)
    if distributed.rank() == 0:
        job_tables.save({"sft": records.log(rows, job.labels)}, folder, "log")
    if job.train["lora"] and distributed.rank() == 0:
        facts = {
            "data": data.name if Path(job.data).is_absolute() else job.data,
            "data_sha256": job.data_sha256,
            "train": job.train,
        } | ({"mixture": job.mixture} if job.mixture else {})
        facts |= {"sampling": job.sampling, "run": job.labels, "adapted": adapted}
        model_cards.write_card(folder / "adapter", job.model, "sft", facts)
    distributed.barrier()  # the first process has saved the model
    progress.doing("loading the trained model")
    _, _, policy = load_policy(str(folder / "model"), **job.sampling)
    for game, pools in job.evaluated_on:
        records.evaluate(policy, job, game, pools, folder, "sft")
    return {"loss": rows[-1]["loss"]}
