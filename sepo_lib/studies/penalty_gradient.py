"""How much of the penalty reaches the gradient of a language model, by arm?

An arm's penalty gradient is that of sum(A_arm - A_reward_only) log pi in units of J (scale none).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sepo_lib import games
from sepo_lib.config import paths, progress
from sepo_lib.config.progress import Report
from sepo_lib.games.base import OBJECTIVE_POOLS, Game
from sepo_lib.measure import job_tables, switches
from sepo_lib.method import credit, seeds
from sepo_lib.method.records import Episode
from sepo_lib.play import rollouts
from sepo_lib.play.engines import answer_tree
from sepo_lib.play.policy import LanguageModelPolicy, load_policy
from sepo_lib.training import sepo

ROUNDING = 1e-9  # advantages that differ by less are equal


@dataclass(frozen=True)
class GradientStudy:
    """What is measured: the penalty gradient of `arms` over `batches` batches of play."""

    game: Game
    pools: str
    """The pool set that is played."""
    rollouts_per_opponent: int
    """The size G of a group."""
    arms: Sequence[str]
    batches: int
    seed: int
    """Batch n plays with seeds derived from this one and n."""


def measure(study: GradientStudy, model, policy: LanguageModelPolicy, report: Report) -> pd.DataFrame:
    """One row per arm. `policy` plays `model`; `report(number, {})` is called after every gradient.

    Means over batches of a batch's gradient: `penalty_gradient_norm` and `cosine_to_credited`, and
    `advantage_difference`, the largest difference of an advantage to that of reward_only under the presets
    as they are trained. Of the mean gradient over batches: `mean_gradient_norm`, `mean_cosine_to_credited`,
    and `signal_to_noise`, the squared norm of its expectation over the variance of a batch's gradient. The
    latter is estimated without bias, so that it may be negative; it is NaN with one batch or no variance.
    """
    counts = dict.fromkeys(OBJECTIVE_POOLS, study.rollouts_per_opponent)
    totals: dict[str, torch.Tensor] = {}
    rows = []
    for batch in range(study.batches):
        plans = rollouts.plan(study.game, study.pools, counts, seeds.derive(study.seed, "batch", batch))
        episodes = rollouts.play(policy, plans)
        gradients = {}
        for number, arm in enumerate(study.arms):
            advantages = penalty_advantages(episodes, study.game, arm)
            gradients[arm] = policy_gradient(model, episodes, advantages, policy.temperature)
            report(batch * len(study.arms) + number + 1, {})
        for arm, gradient in gradients.items():
            totals[arm] = totals.get(arm, torch.zeros_like(gradient)) + gradient
            rows.append(
                {
                    "arm": arm,
                    "advantage_difference": _difference_as_trained(episodes, study.game, arm),
                    "penalty_gradient_norm": float(gradient.norm()),
                    "squared": float(gradient @ gradient),
                    "cosine_to_credited": _cosine(gradient, gradients.get("credited")),
                }
            )
    table = pd.DataFrame(rows).groupby("arm", sort=False).mean().reset_index()
    for row, arm in enumerate(table["arm"]):
        mean, n = totals[arm] / study.batches, study.batches
        squared = float(mean @ mean)
        variance = (table.loc[row, "squared"] - squared) * n / (n - 1) if n > 1 else 0.0
        table.loc[row, "mean_gradient_norm"] = squared**0.5
        table.loc[row, "mean_cosine_to_credited"] = _cosine(mean, totals.get("credited"))
        table.loc[row, "signal_to_noise"] = (squared - variance / n) / variance if variance > 0 else np.nan
    return table.drop(columns="squared")


def run_gradient(
    folder: Path, report: Report, *, sft_job: str, sft_work: str, sampling: dict, labels: dict, **study
) -> dict:
    """One job of the study: `measure` the model of `sft_job`, whose `Job.work` is `sft_work`.

    `study` holds the fields of `GradientStudy`, the game by name, and its `weights` if the run changes
    them. Leaves gradient-log.parquet, whose rows also have the columns `labels`.
    """
    progress.doing("loading the SFT model")
    model, _, policy = load_policy(str(paths.other_job(folder, sft_job) / "model"), **sampling)
    game = games.get(study["game"], study.pop("weights", None))
    table = measure(GradientStudy(**{**study, "game": game}), model, policy, report)
    columns = {name: value for name, value in labels.items() if name != "arm"}
    columns |= {"game": study["game"], "pools": study["pools"], "preset": "unbiased"}
    columns["batches"] = study["batches"]
    job_tables.save({"gradient": table.assign(**columns)}, folder, "log")
    return {}


def penalty_advantages(episodes: Sequence[Episode], game: Game, arm: str) -> list[np.ndarray | None]:
    """A_arm - A_reward_only of every decision in units of J, 0 if they differ by rounding only; None for an
    episode that the arm leaves out."""
    unscaled = credit.preset("unbiased").with_(scale="none")
    of_arm, reward_only = (
        credit.assign(episodes, game, unscaled.with_(arm=one)).advantages for one in (arm, "reward_only")
    )
    return [
        a if a is None or b is None else np.where(np.abs(a - b) < ROUNDING, 0.0, a - b)
        for a, b in zip(of_arm, reward_only, strict=True)
    ]


def policy_gradient(model, episodes, advantages, temperature: float) -> torch.Tensor:
    """The gradient of (1 / G) sum over decisions of A log pi (see `sepo.merge_rows`), all parameters in one
    float64 vector on the CPU."""
    rows = [row for row in sepo.merge_rows(episodes, advantages) if row.advantage]
    if not rows:  # a sum of nothing needs no model
        return torch.zeros(sum(p.numel() for p in model.parameters() if p.requires_grad), dtype=torch.float64)
    group = max(episode.rollout for episode in episodes) + 1
    prompts, answers = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
    total_B = torch.tensor([row.advantage for row in rows], device=model.device)
    model.zero_grad()
    ((answer_tree.totals(model, prompts, answers, temperature) * total_B).sum() / group).backward()
    return torch.cat([p.grad.flatten().cpu().double() for p in model.parameters() if p.grad is not None])


def _difference_as_trained(episodes: Sequence[Episode], game: Game, arm: str) -> float:
    """The largest difference of an advantage from that of reward_only, over the presets."""
    return max(
        switches.largest_difference(
            *(credit.assign(episodes, game, credit.preset(name, one)) for one in (arm, "reward_only"))
        )
        for name in credit.PRESETS
    )


def _cosine(a: torch.Tensor, b: torch.Tensor | None) -> float:
    """The cosine of two vectors; NaN if one is missing or zero."""
    product = float(a.norm() * b.norm()) if b is not None else 0.0
    return float(a @ b) / product if product else np.nan
