"""What is kept of play: every decision and every episode. Everything downstream is computed from these."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .games.base import Round


@dataclass
class Decision:
    """One action of the policy, with the sampled token ids (never encoded again from text).

    `round` is the index of the round it belongs to; `prompt_ids` and `completion_ids` are lists of token
    ids and empty for policies that are no language models; `logps` are the log-probabilities (nats) of the
    completion's tokens; `parsed` is False where the action came from the constrained decode.
    """

    round: int
    prompt: str
    text: str
    action: Any
    parsed: bool
    seed: int
    prompt_ids: list[int] = field(default_factory=list)
    completion_ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)


@dataclass
class Episode:
    """All rounds against one opponent. `rollout` numbers the episodes of a (pool, opponent) pair."""

    game: str
    pools: str
    pool: str
    opponent: str
    rollout: int
    seed: int
    decisions: list[Decision]
    rounds: list[Round]
    collusion_T: list[float]
    externality_T: list[float]

    @property
    def own_T(self) -> np.ndarray:
        """Own payoff per round, shape (T,), points."""
        return np.array([r.payoffs[0] for r in self.rounds], dtype=float)

    @property
    def other_T(self) -> np.ndarray:
        """The opponent's payoff per round, shape (T,), points."""
        return np.array([r.payoffs[1] for r in self.rounds], dtype=float)


def by_opponent(episodes: Sequence[Episode], *pools: str) -> dict[tuple[str, str], list[Episode]]:
    """Episodes of the named pools (all pools where none is named), grouped by (pool, opponent)."""
    groups: dict[tuple[str, str], list[Episode]] = {}
    for episode in episodes:
        if not pools or episode.pool in pools:
            groups.setdefault((episode.pool, episode.opponent), []).append(episode)
    return groups
