"""The job of SEPO training."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sepo_lib import games
from sepo_lib.config import files, paths, progress
from sepo_lib.config.progress import Report
from sepo_lib.measure import job_tables
from sepo_lib.measure.best_response import BestResponse
from sepo_lib.measure.rows import weight_columns
from sepo_lib.measure.transfer import ALL
from sepo_lib.method import credit
from sepo_lib.play.engines import distributed
from sepo_lib.play.policy import load_policy
from sepo_lib.run import model_cards
from sepo_lib.run.job import fingerprint_of, finished_alike
from sepo_lib.run.steps import records
from sepo_lib.run.steps.arguments import SEPOJob
from sepo_lib.training import sepo

ROUNDING = 1e-9  # advantages that differ by less are equal


def run_sepo(folder: Path, report: Report, **arguments: Any) -> dict:
    """Train with SEPO from an SFT model and evaluate at every checkpoint. Arguments: `SEPOJob`.

    Writes model/, training-log.parquet and the evaluations; if the results of another job are copied
    (`same_as`), its tables alone. With `tables_only` the tables are all that is left at the end.
    """
    job = SEPOJob(**arguments)
    distributed.barrier()  # the first process has prepared the folder
    if job.same_as and _copy_results(folder, job.same_as, job.labels):
        report(job.labels["step"], {})
        if job.tables_only and distributed.rank() == 0:
            _keep_tables(folder)
        return {"shared_with": job.same_as["name"]}
    sft_model = paths.other_job(folder, job.sft_job) / "model"
    progress.doing("loading the SFT model")
    model, tokenizer, policy = load_policy(str(sft_model), **job.sampling)

    also = [sepo.Batch(games.get(name, job.weights.get(name)), *rest) for name, *rest in job.also or ()]
    played = {job.game: job.pools, **{batch.game.name: batch.pools for batch in also}}

    def evaluate(step: int) -> dict[str, float]:
        model.eval()
        at = _after_the_last_step(job) if step == job.train["steps"] else job
        measured = {}
        for game, pools in played.items():
            found = records.evaluate(policy, at, game, pools, folder, f"{step:05d}", step)
            measured |= {f"{name}/{game}" if also else name: value for name, value in found.items()}
        model.train()
        return measured

    config = sepo.SEPOConfig(
        game=games.get(job.game, job.weights.get(job.game)),
        pools=job.pools,
        estimator=credit.preset(job.preset, job.arm).with_(baseline=job.baseline or "group"),
        temperature=job.sampling["temperature"],
        max_new_tokens=job.sampling["max_new_tokens"],
        penalty_weights=games.Weights(*job.train_weights) if job.train_weights else None,
        exploiter=BestResponse(**job.exploiter) if job.exploiter else None,
        also=tuple(also),
        **job.train,
    )
    if job.evaluate_start:
        evaluate(0)
    adapted = records.adapted(model, job.train)
    progress.doing(records.BEFORE_TRAINING)
    rows = sepo.train(model, tokenizer, policy.engine, folder, config, report, evaluate)
    if distributed.rank():
        return {}
    if job.train["lora"]:
        facts = {"game": ", ".join(played), "pools": ", ".join(dict.fromkeys(played.values()))}
        facts |= {"preset": job.preset, "arm": job.arm}
        facts |= {"train": job.train, "sampling": job.sampling, "run": job.labels}
        facts |= {"base_fingerprint": fingerprint_of(sft_model.parent), "adapted": adapted}
        model_cards.write_card(folder / "model", paths.relative(sft_model), "sepo", facts)
    labels = {"game": ALL if also else job.game, "pools": job.pools, **job.labels}
    log = records.log(rows, labels | weight_columns(None if also else job.weights.get(job.game)))
    job_tables.save({"training": log}, folder, "log")
    if job.tables_only:
        _keep_tables(folder)
    return {"objective": rows[-1]["objective"]}


def _after_the_last_step(job: SEPOJob) -> SEPOJob:
    """The job with `last_samples` in its evaluation."""
    reading = job.evaluation["reading"]
    samples = job.last_samples or reading["samples"]
    return replace(job, evaluation=job.evaluation | {"reading": reading | {"samples": samples}})


def _keep_tables(folder: Path) -> None:
    """Delete the model, the checkpoints and the episodes of a job, which are nearly all of its size."""
    for part in ("model", "trainer"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for file in folder.glob("episodes-*.parquet"):
        file.unlink()


def _copy_results(folder: Path, same_as: dict, labels: dict) -> bool:
    """Copy the tables of the job `same_as`, with the arm and preset of `labels`, if it trains the same model.

    Returns False, and writes nothing, if it has not finished with the code of this job, or if its advantages
    differ (`SEPOJob.same_as`).
    """
    source = paths.other_job(folder, same_as["name"])
    if not finished_alike(source, same_as["work"], folder):
        return False
    log = files.read_parquet(source / "training-log.parquet", job_tables.JOB_AGAIN)
    if not same_as["proven"] and log["constant_difference"].max() > ROUNDING:
        return False
    own = {"arm": labels["arm"], "preset": labels["preset"]}
    if distributed.rank() == 0:
        for file in source.glob("*.parquet"):
            name, _, label = file.stem.partition("-")
            table = files.read_parquet(file, job_tables.JOB_AGAIN)
            job_tables.save({name: table.assign(**own)}, folder, label)
    return True
