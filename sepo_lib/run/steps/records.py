"""What the jobs with a language model share: their evaluations and their logs as tables."""

from pathlib import Path

import pandas as pd

from sepo_lib import games
from sepo_lib.config import progress
from sepo_lib.measure import evaluation, job_tables, kuhn_strategy
from sepo_lib.measure.rows import weight_columns
from sepo_lib.play.engines import distributed
from sepo_lib.play.policy import LanguageModelPolicy
from sepo_lib.run.steps.arguments import PolicyJob

BEFORE_TRAINING = "preparing the training and its first step"


def log(rows: list[dict], labels: dict) -> pd.DataFrame:
    """A training log as a table with the job's labels. Every row keeps its own step."""
    return pd.DataFrame(rows).assign(**{name: value for name, value in labels.items() if name != "step"})


def evaluate(
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
        job_tables.save(tables, folder, f"{game}-{pools}-{label}")
