"""The gradient of the penalty alone, by arm, on a language model."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.config.progress import Report
from sepo_lib.measure import evaluation
from sepo_lib.method import credit, seeds
from sepo_lib.play import rollouts
from sepo_lib.play.engines import answer_tree
from sepo_lib.play.policy import load_policy
from sepo_lib.training import sepo

ROUNDING = 1e-9  # two advantages that differ by less are the same


def run_gradient(
    folder: Path,
    report: Report,
    *,
    start: str,
    after: str,
    load: dict,
    game: str,
    pools: str,
    rollouts_per_opponent: int,
    arms: list,
    batches: int,
    seed: int,
    keys: dict,
    weights: dict | None = None,
) -> dict:
    """The gradient of the penalty alone, by arm, over `batches` recorded batches of the SFT model.

    An arm's penalty gradient is that of sum(A_arm - A_reward_only) log pi in units of J (scale "none").
    Leaves gradient-log.parquet, one row per arm. Means over batches: penalty_gradient_norm and
    cosine_to_credited of a batch's gradient, advantage_difference (the largest difference of an advantage to
    reward_only's, under the presets as they are trained). Of the mean gradient over batches:
    mean_gradient_norm, mean_cosine_to_credited, and signal_to_noise, the squared length of its expectation
    over the variance of a batch's gradient (estimated without bias, so that it may come out below 0; nan
    with one batch or without variance).
    """
    model, _, policy = load_policy(str(paths.job(keys["profile"], start) / "model"), **load)
    domain = games.get(game, weights)
    counts = dict.fromkeys(sepo.TRAINING_POOLS, rollouts_per_opponent)
    unscaled = credit.preset("unbiased").with_(scale="none")
    totals: dict[str, torch.Tensor] = {}
    rows = []
    for batch in range(batches):
        plans = rollouts.plan(domain, pools, counts, seeds.derive(seed, "batch", batch))
        episodes = rollouts.play(policy, plans)
        reward = credit.assign(episodes, domain, unscaled.with_(arm="reward_only")).advantages
        gradients = {}
        for number, arm in enumerate(arms):
            mine = credit.assign(episodes, domain, unscaled.with_(arm=arm)).advantages
            penalty = [_minus(a, b) for a, b in zip(mine, reward, strict=True)]
            gradients[arm] = policy_gradient(model, episodes, penalty, load["temperature"])
            report(batch * len(arms) + number + 1, {})
        for arm, gradient in gradients.items():
            totals[arm] = totals.get(arm, torch.zeros_like(gradient)) + gradient
            rows.append(
                {
                    "arm": arm,
                    "advantage_difference": max(
                        credit.largest_difference(
                            *(
                                credit.assign(episodes, domain, credit.preset(name, one))
                                for one in (arm, "reward_only")
                            )
                        )
                        for name in credit.PRESETS
                    ),
                    "penalty_gradient_norm": float(gradient.norm()),
                    "squared": float(gradient @ gradient),
                    "cosine_to_credited": _cosine(gradient, gradients.get("credited")),
                }
            )
    table = pd.DataFrame(rows).groupby("arm", sort=False).mean().reset_index()
    for at, arm in enumerate(table["arm"]):
        mean = totals[arm] / batches
        squared = float(mean @ mean)
        variance = (table.loc[at, "squared"] - squared) * batches / (batches - 1) if batches > 1 else 0.0
        table.loc[at, "mean_gradient_norm"] = squared**0.5
        table.loc[at, "mean_cosine_to_credited"] = _cosine(mean, totals.get("credited"))
        table.loc[at, "signal_to_noise"] = (
            (squared - variance / batches) / variance if variance > 0 else np.nan
        )
    where = {**keys, "game": game, "pools": pools, "preset": "unbiased", "batches": batches}
    del where["arm"]
    evaluation.save({"gradient": table.drop(columns="squared").assign(**where)}, folder, "log")
    return {}


def _cosine(a: torch.Tensor, b: torch.Tensor | None) -> float:
    """The cosine of two vectors; nan where one is missing or zero."""
    product = float(a.norm() * b.norm()) if b is not None else 0.0
    return float(a @ b) / product if product else np.nan


def _minus(a, b):
    """a - b, 0 where they differ by rounding; an episode that an arm leaves out (None) counts as 0."""
    if a is None:
        return None
    return a if b is None else np.where(np.abs(a - b) < ROUNDING, 0.0, a - b)


def policy_gradient(model, episodes, advantages, temperature: float) -> torch.Tensor:
    """Gradient of (1 / G) sum over decisions of A log pi (see `sepo.merge_rows`), all parameters in one
    float64 vector."""
    rows = [row for row in sepo.merge_rows(episodes, advantages) if row.advantage]
    if not rows:  # what is 0 everywhere needs no model
        return torch.zeros(sum(p.numel() for p in model.parameters() if p.requires_grad), dtype=torch.float64)
    group = max(episode.rollout for episode in episodes) + 1
    prompts, answers = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
    total_B = torch.tensor([row.advantage for row in rows], device=model.device)
    model.zero_grad()
    ((answer_tree.totals(model, prompts, answers, temperature) * total_B).sum() / group).backward()
    return torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])
