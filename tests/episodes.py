"""Small hand-made episodes for the tests."""

import numpy as np

from sepo_lib.games.base import Round
from sepo_lib.method.records import Decision, Episode


def episode(pool, opponent, rollout, own, other, collusion=None, externality=None, game="ipd", **decision):
    """An episode with the given payoffs per round and one decision a round."""
    rounds = [Round(("COOPERATE", "COOPERATE"), (a, b)) for a, b in zip(own, other, strict=True)]
    decisions = [
        Decision(round=t, prompt="p", text="a", action="COOPERATE", parsed=True, seed=0, **decision)
        for t in range(len(own))
    ]
    zeros = [0.0] * len(own)
    return Episode(
        game=game,
        pools="paper",
        pool=pool,
        opponent=opponent,
        rollout=rollout,
        seed=0,
        decisions=decisions,
        rounds=rounds,
        collusion_T=collusion or zeros,
        externality_T=externality or zeros,
    )


def random_batch(seed=0, rollouts=4, rounds=3):
    """Episodes of random payoffs and rates, `rollouts` against each of five opponents."""
    rng = np.random.default_rng(seed)
    pools = {"train": ["a", "b"], "exploiter": ["x", "y"], "collusive": ["z"]}
    return [
        episode(
            pool,
            opponent,
            rollout,
            own=rng.normal(size=rounds).tolist(),
            other=(rng.normal(size=rounds) + 0.5).tolist(),
            collusion=rng.integers(2, size=rounds).astype(float).tolist(),
            externality=rng.random(rounds).tolist(),
        )
        for pool, names in pools.items()
        for opponent in names
        for rollout in range(rollouts)
    ]
