"""How far apart are the advantages of two estimators? Decides on random play which switches act in a game."""

import functools
import math

import numpy as np

from sepo_lib.games.base import OBJECTIVE_POOLS, Game, Opponent
from sepo_lib.measure import random_play
from sepo_lib.method import credit
from sepo_lib.method.credit import PRESETS, Credit, Estimator, Rollouts

_SHAPE = (8, 1, 8)  # batches, groups and rollouts of the random play
_ENLARGED = 2.0**10  # payoffs and rates times this: credit's floor under a deviation then does not matter


@functools.cache
def same(first: Estimator, second: Estimator, game: Game, pools: str = "paper") -> bool:
    """Whether two estimators give the same advantages on every batch of a game's pool set.

    Decided on random play with the game's training weights. Differences by rounding do not count, nor does
    the floor that credit adds to a standard deviation: in play, where deviations are small, it moves the
    advantages of two such estimators apart by up to a percent. An episode that one estimator leaves out of
    the loss counts as 0 there.
    """
    batch = _random_batches(game, pools)
    one, other = (credit.advantages(batch, game, estimator)[0] for estimator in (first, second))
    return all(
        np.allclose(one.get(key, 0.0), other.get(key, 0.0), rtol=1e-4, atol=1e-4) for key in one | other
    )


def acts(estimator: Estimator, switch: str, game: Game, pools: str = "paper") -> bool:
    """Whether a switch can change an advantage: whether its values in `published` and in `unbiased` give
    `estimator` different advantages. Raises ValueError for an unknown switch."""
    ends = (estimator.with_switch(switch, like=PRESETS[name]) for name in ("published", "unbiased"))
    return not same(*ends, game, pools)


def clamp_acts(game: Game, pools: str = "paper") -> bool:
    """Whether an exploiter that is ahead on average can be behind in an episode, or the reverse. (`acts` is
    another question: in `unbiased` the clamp changes the horizon of the exploiters' groups too.)"""
    return acts(PRESETS["published"], "clamp", game, pools)


def idle(name: str, game: Game, pools: str = "paper") -> list[str]:
    """The recipes `<preset>+<switch>` whose switch cannot act in the preset `name`."""
    estimator = credit.preset(name)
    return [f"{name}+{s}" for s in credit.FIELD_OF_SWITCH if not acts(estimator, s, game, pools)]


def largest_difference(first: Credit, second: Credit) -> float:
    """Largest absolute difference between the advantages of two estimators on the same episodes.

    An episode that one of the two leaves out of the policy term counts as 0 there.
    """
    pairs = zip(first.advantages, second.advantages, strict=True)
    both = [(0.0 if a is None else a, 0.0 if b is None else b) for a, b in pairs]
    return max(float(np.max(np.abs(np.subtract(a, b)))) for a, b in both)


@functools.cache
def _random_batches(game: Game, pools: str) -> credit.Pools:
    """Batches of random legal play against the opponents of a pool set, arrays (*_SHAPE, T)."""
    rng = np.random.default_rng(0)

    def rollouts(opponent: Opponent) -> Rollouts:
        values = random_play.record(game, opponent, math.prod(_SHAPE), rng)
        *measures, decisions = values.reshape(5, *_SHAPE, game.rounds)
        return Rollouts(*(_ENLARGED * measure for measure in measures), decisions)

    return {
        pool: {(pool, name): rollouts(opponent) for name, opponent in game.pool(pools, pool).items()}
        for pool in OBJECTIVE_POOLS
    }
