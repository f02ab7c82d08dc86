"""Small hand-made episodes for the tests."""

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
