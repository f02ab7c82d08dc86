"""Records of play: decisions and episodes. Training and evaluation are computed from these alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sepo_lib.games.base import Action, Round


@dataclass(frozen=True)
class Options:
    """The legal actions of one prompt under the constrained decode: the token ids of each as a direct answer,
    and its probability, shape (actions,). The probabilities sum to 1. Before normalization, their sum was
    10 ** `log10_mass`; if that is small, the model would hardly ever give one of these answers."""

    actions: tuple[Action, ...]
    completion_ids: tuple[tuple[int, ...], ...]
    probabilities: np.ndarray
    log10_mass: float = float("nan")

    def score(self, action: Action) -> np.ndarray:
        """The coefficients w of grad log P(action) = sum over b of w_b grad log p(b), shape (actions,), where
        p(b) is the probability of the answer b: 1 - P(b) for the action itself, -P(b) for every other b."""
        return np.array([float(b == action) for b in self.actions]) - self.probabilities


@dataclass
class Decision:
    """One action of the policy, with the sampled token ids (never encoded again from text).

    `round` is the index of its round. `prompt_ids` and `completion_ids` are token ids, empty for policies
    that are not language models; `logps` are the log-probabilities (nats) of the completion's tokens.
    `parsed` is False if the action came from the constrained decode; `options` is then the distribution
    that it was drawn from (one object for equal prompts of a batch).
    """

    round: int
    prompt: str
    text: str
    action: Action
    parsed: bool
    seed: int
    prompt_ids: list[int] = field(default_factory=list)
    completion_ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    options: Options | None = None


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
    """Episodes of the named pools (by default all pools), grouped by (pool, opponent)."""
    groups: dict[tuple[str, str], list[Episode]] = {}
    for episode in episodes:
        if not pools or episode.pool in pools:
            groups.setdefault((episode.pool, episode.opponent), []).append(episode)
    return groups
