"""What the jobs with a language model share: their evaluations and their logs as tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel

from sepo_lib import games
from sepo_lib.config import progress
from sepo_lib.measure import evaluation, job_tables, kuhn_strategy
from sepo_lib.measure.rows import weight_columns
from sepo_lib.play.engines import distributed
from sepo_lib.play.policy import LanguageModelPolicy
from sepo_lib.pretrained import adapters
from sepo_lib.run.steps.arguments import PolicyJob

#: The measures of an evaluation that experiment trackers see.
TRACKED = ("payoff", "exploit", "collusion", "externality", "safety", "parse_rate", "nashconv")
BEFORE_TRAINING = "preparing the training and its first step"


def log(rows: list[dict], labels: dict) -> pd.DataFrame:
    """A training log as a table with the job's labels. Every row keeps its own step."""
    return pd.DataFrame(rows).assign(**{name: value for name, value in labels.items() if name != "step"})


def adapted(model: PreTrainedModel, train: Mapping[str, Any]) -> str | None:
    """What LoRA will adapt, also printed to the log of the job; None if the training adapts all weights."""
    if not train["lora"]:
        return None
    text = adapters.described(model, train["lora"]["rank"])
    print(text, flush=True)
    return text


def evaluate(
    policy: LanguageModelPolicy,
    job: PolicyJob,
    game: str,
    pools: str,
    folder: Path,
    label: str,
    step: int | None = None,
) -> dict[str, float]:
    """Evaluate `policy` in one game and pool set and save the tables to `folder` under `label`.

    `step` is that of the checkpoint; None: the step in the job's labels. Returns the measures of TRACKED,
    under the names that transformers gives to those of an evaluation.
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
    measured = {key: one for table in reversed(tables.values()) for key, one in table.iloc[0].items()}
    return {f"eval_{name}": float(measured[name]) for name in TRACKED if name in measured}
