"""The baseline `enumerated`: advantages of J without play, for answers sampled at every information set.

Played episodes estimate grad J from decisions that chance has dealt and returns that chance has paid. If a
prompt shows an information set and nothing else, both can be enumerated. The policy is asked n times at every
information set I (`ask`). The shares of the actions are its strategy pi, and an answer with action a gets

    A(I, a) = W(I, a) / m(I),    W(I, a) = dJ/dpi(a|I) - sum over b of pi(b|I) dJ/dpi(b|I)

m(I) is the expected number of decisions at I in one episode against every opponent of the three pools. Since
dJ/dpi(a|I) is m(I) times q(I, a), the expected contribution to J after a at I, A is q - v. An answer at I
counts m(I) / mean of m, so that the batch stands for the decisions that play would reach on average.
docs/ESTIMATORS.md proves that the estimate is unbiased and measures it.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sepo_lib import games
from sepo_lib.games.base import Game, Opponent, View, Weights
from sepo_lib.measure import kuhn_strategy, tabular
from sepo_lib.measure.measures import option_log10_mass, parse_rate
from sepo_lib.method import seeds
from sepo_lib.method.credit import STD_FLOOR, Credit, Estimator
from sepo_lib.method.records import Decision, Episode
from sepo_lib.play.engines import distributed
from sepo_lib.play.policy import Policy, Query

#: Opponents in the place of those of whole pools: pool -> name -> opponent (`rollouts.Replacements`).
Opponents = Mapping[str, Mapping[str, Opponent]]
_TERMS = {"J": "objective", "u": "payoff", "e": "exploit", "c": "collusion", "x": "externality"}


class Slopes(NamedTuple):
    """J and its terms at a strategy, shape (...); W, shape (..., I, A); and m, shape (..., I)."""

    values: dict[str, torch.Tensor]
    centred_IA: np.ndarray
    visits_I: np.ndarray


def slopes(game: Game, pools: str, strategy_IA: np.ndarray, weights: Weights | None = None) -> Slopes:
    """W and m at strategies of shape (..., I, A); `weights` of J, None: the training weights.

    The clamp of e takes the expected margins. Raises ValueError for a game without an enumeration.
    """
    p_IA = torch.tensor(strategy_IA, dtype=torch.float64, requires_grad=True)
    terms = tabular.terms(game, pools, p_IA)
    factor = tabular.coefficients(game, weights or game.train_weights)
    values = {"J": sum(factor[term] * terms[term] for term in tabular.TERMS), **terms}
    slope_IA = torch.autograd.grad(values["J"].sum(), p_IA)[0].numpy()
    visits_I = tabular.visits(game, pools, p_IA.detach()).numpy()
    centred_IA = slope_IA - (strategy_IA * slope_IA).sum(axis=-1, keepdims=True)
    return Slopes({name: value.detach() for name, value in values.items()}, centred_IA, visits_I)


def advantages(found: Slopes, answers: int | None = None) -> np.ndarray:
    """A = W / m, shape (..., I, A); 0 where no decision is expected.

    If the strategy consists of the shares of `answers` answers at every information set, the mean that W
    subtracts includes the answer itself. The factor n / (n - 1) makes it that of the other answers.
    """
    visits_I = np.where(found.visits_I > 0, found.visits_I, np.inf)
    factor = answers / max(answers - 1, 1) if answers else 1.0
    return factor * found.centred_IA / visits_I[..., None]


def against(game: Game, pools: str, met: Opponents | None) -> Game:
    """`game` with the opponents `met` in the place of whole pools."""
    changed = copy.copy(game)
    changed.pools = {pools: {**game.pools[pools], **(met or {})}}
    return changed


@dataclass(frozen=True)
class Asked:
    """Answers of a policy at every information set of a game, as one episode without rounds for each set."""

    game: Game
    episodes: list[Episode]

    @property
    def strategy_IA(self) -> np.ndarray:
        """The shares of the actions at every information set, shape (I, A)."""
        rows = []
        for view, episode in zip(self._views, self.episodes, strict=True):
            chosen = [decision.action for decision in episode.decisions]
            rows.append([chosen.count(action) / len(chosen) for action in view.legal])
        return np.array(rows)

    @property
    def strategy(self) -> dict[str, dict[str, float]]:
        """`strategy_IA` by OpenSpiel's information-state string and action."""
        rows = zip(self.game.information_sets or (), self.strategy_IA.tolist(), strict=True)
        return {state: dict(zip(view.legal, p_A, strict=True)) for (state, view), p_A in rows}

    def credit(
        self, estimator: Estimator, pools: str, weights: Weights | None, met: Opponents | None
    ) -> tuple[Credit, dict[str, float]]:
        """The advantage of every answer with the weight of its information set, and measures by column.

        `met`: opponents that replace those of whole pools (`rollouts.plan`).
        """
        game, strategy_IA = against(self.game, pools, met), self.strategy_IA
        found = slopes(game, pools, strategy_IA, weights)
        advantage_IA = advantages(found, len(self.episodes[0].decisions))
        if estimator.scale == "batch":  # the root mean square over the decisions that play would reach
            square = (found.visits_I[:, None] * strategy_IA * advantage_IA**2).sum() / found.visits_I.sum()
            advantage_IA = advantage_IA / (np.sqrt(square) + STD_FLOOR)
        given = [
            np.array([advantage_A[view.legal.index(decision.action)] for decision in episode.decisions])
            for view, episode, advantage_A in zip(self._views, self.episodes, advantage_IA, strict=True)
        ]
        margin_K = tabular.margins(game, pools, torch.tensor(strategy_IA)).tolist()
        measures = {
            **{name: found.values[term].item() for term, name in _TERMS.items()},
            **dict(zip((f"margin/{name}" for name in game.pool(pools, "exploiter")), margin_K, strict=True)),
            "nashconv": kuhn_strategy.kuhn_nashconv(self.strategy),
            "parse_rate": parse_rate(self.episodes),
            "option_log10_mass": option_log10_mass(self.episodes),
        }
        return Credit(given, 0.0, (found.visits_I / found.visits_I.mean()).tolist()), measures

    @property
    def _views(self) -> list[View]:
        return [view for _, view in self.game.information_sets or ()]


def check(game: Game, answers: int | None) -> None:
    """Raise ValueError unless `game` can be asked and enumerated with this number of answers per set."""
    if not {"nashconv", "enumerable"} <= game.traits or not game.memoryless:
        choices = ", ".join(g.name for g in games.having("nashconv") if "enumerable" in g.traits)
        raise ValueError(
            f"The baseline enumerated needs a game with known information sets ({choices}), not {game.name}."
        )
    if answers is None or answers < 2:
        raise ValueError(f"The baseline enumerated needs 2 or more answers per set, not {answers}.")


def ask(policy: Policy, game: Game, samples: int, seed: int) -> Asked:
    """`samples` free-text answers at every information set of `game`, divided among all processes."""
    sets = game.information_sets or ()
    queries = [
        Query(game, view, seeds.derive(seed, "information set", state, i))
        for state, view in sets
        for i in range(samples)
    ]
    answers = distributed.map_shares(policy.answer, queries)
    decisions = [Decision(0, seed=q.seed, **vars(a)) for q, a in zip(queries, answers, strict=True)]
    episodes = [
        Episode(game.name, "", "", state, 0, seed, decisions[i * samples : (i + 1) * samples], [], [], [])
        for i, (state, _) in enumerate(sets)
    ]
    return Asked(game, episodes)
