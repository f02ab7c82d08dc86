"""What the jobs of a run do. Each `run_*` function is one job; each `*Job` class lists its arguments.

A job writes its evaluations to its folder as Parquet files. `results` makes the tables of the run of them.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sepo_lib import games
from sepo_lib.config import files, paths, progress
from sepo_lib.config.progress import Report
from sepo_lib.measure import evaluation, kuhn_strategy
from sepo_lib.measure.best_response import BestResponse
from sepo_lib.measure.rows import weight_columns
from sepo_lib.method import credit
from sepo_lib.play.engines import distributed
from sepo_lib.play.policy import LanguageModelPolicy, load_policy
from sepo_lib.run import demonstration_files, model_cards
from sepo_lib.run.job import fingerprint_of
from sepo_lib.training import sepo, sft

ROUNDING = 1e-9  # advantages that differ by less are equal
_BEFORE_TRAINING = "preparing the training and its first step"


@dataclass(frozen=True, kw_only=True)
class PolicyJob:
    """The arguments of every job that plays with a language model. All values are JSON-able."""

    sampling: dict
    """Arguments of `load_policy`: number format, temperature, longest answer, engine."""
    evaluation: dict
    """Sizes of the evaluation: episodes by game, shift_episodes, and how Kuhn's strategy is read."""
    labels: dict
    """Columns of every row that the job writes: profile, model, stage, arm, preset, seed, step, and more."""
    weights: dict = field(default_factory=dict)
    """Game -> weights of J in the place of the game's own (`games.get`); only games in which they differ."""


@dataclass(frozen=True, kw_only=True)
class BaseJob(PolicyJob):
    """The arguments of `run_base`."""

    model: str
    """The name of the model."""
    model_sha256: str
    """Hash of its weights, so that another model with the same name is another job."""
    evaluated_on: list
    """Pairs (game, pool set)."""


@dataclass(frozen=True, kw_only=True)
class SFTJob(BaseJob):
    """The arguments of `run_sft`."""

    data: str
    """The folder of the demonstrations, from the root."""
    data_sha256: dict
    """Game -> hash of its demonstrations."""
    train: dict
    """Fields of `sft.SFTSettings`."""


@dataclass(frozen=True, kw_only=True)
class SEPOJob(PolicyJob):
    """The arguments of `run_sepo`."""

    sft_job: str
    """The job whose model the training starts from."""
    sft_fingerprint: str
    """The fingerprint of that job, so that another SFT model makes this another job."""
    game: str
    pools: str
    """The pool set that is trained on and evaluated against."""
    preset: str
    arm: str
    """The arm in the place of the preset's own."""
    train: dict
    """Fields of `sepo.SEPOConfig`."""
    train_weights: list | None = None
    """le, lc, lx in training alone (exploiter study and sweep); None: those of the game or of `weights`."""
    exploiter: dict | None = None
    """Arguments of `BestResponse`; None: the exploiter pool."""
    same_as: dict | None = None
    """A job whose results are copied if it trains the same model: its `name`, `fingerprint`, and `proven`. If
    `proven`, the two estimators are equal in this game. Otherwise the other job is that of the arm
    reward_only, and its log must show that `constant` had the same advantages in every batch."""


def run_base(folder: Path, report: Report, **arguments: Any) -> dict:
    """Evaluate the base model. The arguments are those of `BaseJob`."""
    job = BaseJob(**arguments)
    progress.doing("loading the model")
    _, _, policy = load_policy(job.model, **job.sampling)
    for number, (game, pools) in enumerate(job.evaluated_on, start=1):
        _evaluate(policy, job, game, pools, folder, "base")
        report(number, {})
    return {}


def run_sft(folder: Path, report: Report, **arguments: Any) -> dict:
    """Fine-tune on the demonstrations of all games together, then evaluate. Arguments: `SFTJob`.

    Writes model/, sft-log.parquet and the evaluations.
    """
    job = SFTJob(**arguments)
    progress.doing("loading the model")
    model, tokenizer, _ = load_policy(job.model, **job.sampling)
    examples = demonstration_files.load(paths.root() / job.data, sorted(job.data_sha256), "train")
    progress.doing(_BEFORE_TRAINING)
    rows = sft.train(model, tokenizer, examples, folder, sft.SFTSettings(**job.train), report)
    evaluation.save({"sft": _log(rows, job.labels)}, folder, "log")
    if job.train["lora"]:
        facts = {"data": job.data, "data_sha256": job.data_sha256, "train": job.train}
        facts |= {"sampling": job.sampling, "run": job.labels}
        model_cards.write_card(folder / "adapter", job.model, "sft", facts)
    progress.doing("loading the trained model")
    _, _, policy = load_policy(str(folder / "model"), **job.sampling)
    for game, pools in job.evaluated_on:
        _evaluate(policy, job, game, pools, folder, "sft")
    return {"loss": rows[-1]["loss"]}


def run_sepo(folder: Path, report: Report, **arguments: Any) -> dict:
    """Train with SEPO from an SFT model and evaluate at every checkpoint. Arguments: `SEPOJob`.

    Writes model/, training-log.parquet and the evaluations; if the results of another job are copied
    (`same_as`), its tables alone.
    """
    job = SEPOJob(**arguments)
    distributed.barrier()  # the first process has prepared the folder
    if job.same_as and _copy_results(folder, job.same_as, job.labels):
        report(job.labels["step"], {})
        return {"shared_with": job.same_as["name"]}
    sft_model = paths.other_job(folder, job.sft_job) / "model"
    progress.doing("loading the SFT model")
    model, tokenizer, policy = load_policy(str(sft_model), **job.sampling)

    def evaluate(step: int) -> None:
        model.eval()
        _evaluate(policy, job, job.game, job.pools, folder, f"{step:05d}", step)
        model.train()

    config = sepo.SEPOConfig(
        game=games.get(job.game, job.weights.get(job.game)),
        pools=job.pools,
        estimator=credit.preset(job.preset, job.arm),
        temperature=job.sampling["temperature"],
        max_new_tokens=job.sampling["max_new_tokens"],
        penalty_weights=games.Weights(*job.train_weights) if job.train_weights else None,
        exploiter=BestResponse(**job.exploiter) if job.exploiter else None,
        **job.train,
    )
    progress.doing(_BEFORE_TRAINING)
    rows = sepo.train(model, tokenizer, policy.engine, folder, config, report, evaluate)
    if distributed.rank():
        return {}
    if job.train["lora"]:
        facts = {"game": job.game, "pools": job.pools, "preset": job.preset, "arm": job.arm}
        facts |= {"train": job.train, "sampling": job.sampling, "run": job.labels}
        facts |= {"base_fingerprint": job.sft_fingerprint}
        model_cards.write_card(folder / "model", paths.relative(sft_model), "sepo", facts)
    labels = {"game": job.game, "pools": job.pools, **job.labels}
    log = _log(rows, labels | weight_columns(job.weights.get(job.game)))
    evaluation.save({"training": log}, folder, "log")
    return {"objective": rows[-1]["objective"]}


def _copy_results(folder: Path, same_as: dict, labels: dict) -> bool:
    """Copy the tables of the job `same_as`, with the arm and preset of `labels`, if it trains the same model.

    Returns False, and writes nothing, if it has not finished or its advantages differ (`SEPOJob.same_as`).
    """
    source = paths.other_job(folder, same_as["name"])
    if fingerprint_of(source) != same_as["fingerprint"]:
        return False
    log = files.read_parquet(source / "training-log.parquet", evaluation.JOB_AGAIN)
    if not same_as["proven"] and log["constant_difference"].max() > ROUNDING:
        return False
    own = {"arm": labels["arm"], "preset": labels["preset"]}
    if distributed.rank() == 0:
        for file in source.glob("*.parquet"):
            name, _, label = file.stem.partition("-")
            table = files.read_parquet(file, evaluation.JOB_AGAIN)
            evaluation.save({name: table.assign(**own)}, folder, label)
    return True


def _log(rows: list[dict], labels: dict) -> pd.DataFrame:
    """A training log as a table with the job's labels. Every row keeps its own step."""
    return pd.DataFrame(rows).assign(**{name: value for name, value in labels.items() if name != "step"})


def _evaluate(
    policy: LanguageModelPolicy,
    job: PolicyJob,
    game: str,
    pools: str,
    folder: Path,
    label: str,
    step: int | None = None,
) -> None:
    """Evaluate `policy` in one game and pool set and save the tables to `folder` under `label`.

    `step` is that of the checkpoint; None: the step in the job's labels.
    """
    checkpoint = "" if step is None else f" after step {step}"
    progress.doing(f"evaluation{checkpoint} in {games.get(game).short_title}, {pools} pools")
    weights = job.weights.get(game)
    labels = job.labels | weight_columns(weights) | ({} if step is None else {"step": step})
    tables = evaluation.evaluate(
        policy,
        games.get(game, weights),
        pools,
        episodes=job.evaluation["episodes"][game],
        shift_episodes=job.evaluation["shift_episodes"],
        reading=kuhn_strategy.Reading(**job.evaluation["reading"]),
        keys=labels,
    )
    if distributed.rank() == 0:
        evaluation.save(tables, folder, f"{game}-{pools}-{label}")
