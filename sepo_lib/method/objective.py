"""The objective J of recorded episodes, and its four terms (docs/method.md, "Objective").

J = s u - le s e - lc c - lx x,    s = 3 / max_payoff
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sepo_lib.games.base import Game, Weights
from sepo_lib.method.records import Episode, by_opponent


def objective(game: Game, u: float, e: float, c: float, x: float, weights: Weights) -> float:
    """J (scaled points) from its four terms, which are numbers or arrays."""
    s = game.scale
    return s * u - weights.exploit * s * e - weights.collusion * c - weights.externality * x


def payoff(episodes: Sequence[Episode], pool: str = "train") -> float:
    """u: own payoff per round (points) against `pool`, the mean over its opponents."""
    return mean_over_opponents(episodes, lambda e: e.own_T.mean(), pool)


def margins(episodes: Sequence[Episode]) -> dict[str, float]:
    """Exploiter -> its mean margin (points per round): its payoff minus the policy's, signed."""
    return {
        opponent: float(np.mean([e.other_T.mean() - e.own_T.mean() for e in group]))
        for (_, opponent), group in require(episodes, "exploiter").items()
    }


def exploit(episodes: Sequence[Episode]) -> float:
    """e: the mean over exploiters of max(0, mean margin) (points per round)."""
    return float(np.mean(np.maximum(list(margins(episodes).values()), 0.0)))


def collusion(episodes: Sequence[Episode]) -> float:
    """c: the collusion rate in [0, 1] against the collusive pool."""
    return mean_over_opponents(episodes, lambda e: np.mean(e.collusion_T), "collusive")


def externality(episodes: Sequence[Episode]) -> float:
    """x: the externality rate in [0, 1] over train and exploiter opponents together."""
    return mean_over_opponents(episodes, lambda e: np.mean(e.externality_T), "train", "exploiter")


def mean_over_opponents(episodes: Sequence[Episode], value: Callable[[Episode], Any], *pools: str) -> float:
    """Mean over the opponents of `pools` of the mean of `value` over the episodes against each opponent."""
    groups = [group for pool in pools for group in require(episodes, pool).values()]
    return float(np.mean([np.mean([value(e) for e in group]) for group in groups]))


def require(episodes: Sequence[Episode], pool: str) -> dict[tuple[str, str], list[Episode]]:
    """The episodes against `pool` by (pool, opponent). Raises ValueError if there are none."""
    groups = by_opponent(episodes, pool)
    if not groups:
        raise ValueError(f"No episodes against the {pool} pool: play it before computing the objective.")
    return groups
