"""The highest J of any strategy, and of any strategy with the highest payoff: exactly, not within a family.

In a game without chance moves in which both act at once (ipd, split), a strategy can depend on all earlier
rounds. In sequence form (Koller, Megiddo and von Stengel 1996) all strategies are a convex set, on which u,
c, x and the margin of every exploiter are linear. J is concave on it, because e is a mean of maxima of linear
functions. Column generation finds the highest J: a linear program mixes the strategies that are known, and
backward induction finds the strategy that gains most at the prices of this program, until none gains more.

In Kuhn poker a strategy plays each hand as if it were the only one, and one linear program suffices
(`measure/kuhn_optimum.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from sepo_lib.games.base import OBJECTIVE_POOLS, Game, Round, Weights
from sepo_lib.measure import tabular
from sepo_lib.method import objective

TIE = 1e-9  # values closer than this are the same, if they are reached with certainty
MOST_HISTORIES = 50_000  # in a round; ipd has 16,384 before its last
MOST_STRATEGIES = 200  # that column generation may need; it needs about ten


class TooManyHistories(ValueError):
    """A game has more histories than are searched."""


class Best(NamedTuple):
    """A strategy: its terms u, e, c and x (`tabular.terms`), J, and how many pure strategies it mixes."""

    terms: Mapping[str, float]
    objective: float
    mixes: int


@dataclass(frozen=True)
class Level:
    """All decisions of one round. An edge E is a history, an action there, and an action of the opponent.

    `from_E` is the history, `action_E` the own action, and `to_E` the history in the next level (-1 after the
    last round). `values_EV` is what the edge adds to u, c, x and the margin of every exploiter (points or
    rates per round). It contains the probability that opponents play along, so the quantities of a strategy
    are sums over the edges that it takes. `reach_H` is the part of this probability that is due to the train
    opponents, for each history; values of u shrink with it.
    """

    reach_H: np.ndarray
    from_E: np.ndarray
    action_E: np.ndarray
    to_E: np.ndarray
    values_EV: np.ndarray


def applies_to(game: Game, pools: str) -> bool:
    """Whether `levels` can be built: there is no chance, and both act at once, always with equal choices."""
    if game.enumeration is None or game.seats > 1 or len(set(game.enumeration.legal.values())) > 1:
        return False
    opponent = next(iter(game.pool(pools, "train").values()))
    branches = list(game.enumeration.branches(game, opponent, ()))
    simultaneous = all(len(branch.decisions) == 1 for branch in branches)
    return simultaneous and len({branch.decisions[0][0] for branch in branches}) == 1


def levels(game: Game, pools: str) -> list[Level]:
    """The tree of all histories of `game` against the opponents of a pool set, round by round.

    Raises TooManyHistories with more than MOST_HISTORIES in a round.
    """
    (actions,) = set(game.enumeration.legal.values())
    met = [(pool, opponent) for pool in OBJECTIVE_POOLS for opponent in game.pool(pools, pool).values()]
    is_train_O = np.array([pool == "train" for pool, _ in met])
    shares = _shares(game, pools)
    nodes: list[tuple[tuple[Round, ...], np.ndarray]] = [((), np.ones(len(met)))]
    found = []
    for number in range(game.rounds):
        edges: dict[tuple[int, int, object], np.ndarray] = {}
        children: dict[tuple[int, int, object], list] = {}
        for at, (rounds, reach_O) in enumerate(nodes):
            for o, (_, opponent) in enumerate(met):
                if not reach_O[o]:
                    continue
                for branch in game.enumeration.branches(game, opponent, rounds):
                    mine, theirs = branch.round.actions
                    key = (at, actions.index(mine), theirs)
                    p = reach_O[o] * branch.probability
                    edges.setdefault(key, np.zeros(shares.shape[-1]))
                    edges[key] += p * _quantities(game, branch.round) @ shares[o]
                    child = children.setdefault(key, [(*rounds, branch.round), np.zeros(len(met))])
                    child[1][o] += p
        last = number == game.rounds - 1
        found.append(
            Level(
                np.array([reach_O[is_train_O].mean() for _, reach_O in nodes]),
                np.array([key[0] for key in edges]),
                np.array([key[1] for key in edges]),
                np.full(len(edges), -1) if last else np.arange(len(edges)),
                np.array(list(edges.values())) / game.rounds,
            )
        )
        nodes = [tuple(child) for child in children.values()]
        if not last and len(nodes) > MOST_HISTORIES:
            raise TooManyHistories(
                f"{game.name} has {len(nodes):,} histories of {number + 1} rounds, and at most "
                f"{MOST_HISTORIES:,} are searched."
            )
    return found


def best(game: Game, weights: Weights, tree: Sequence[Level], payoff_first: bool = False) -> Best:
    """The strategy with the highest J, or with `payoff_first` that of the strategies with the highest u.

    `tree`: the histories against the opponents of a pool set (`levels`). Raises RuntimeError if column
    generation does not end.
    """
    factor, exploiters = tabular.coefficients(game, weights), tree[0].values_EV.shape[1] - 3
    linear, charge = np.array([factor["u"], factor["c"], factor["x"]]), -factor["e"] / exploiters
    barred = [np.zeros((len(level.reach_H), 1 + level.action_E.max())) for level in tree]
    if payoff_first:
        only_u = np.eye(3 + exploiters)[0]
        barred = [
            np.where(gain < (gain.max(axis=1) - TIE * level.reach_H)[:, None], -np.inf, 0.0)
            for level, gain in zip(tree, _gains(tree, barred, only_u), strict=True)
        ]
    known, prices = [], np.zeros(exploiters)
    for _ in range(MOST_STRATEGIES):
        price_V = np.concatenate([linear, -prices])
        new_V = _values(tree, _gains(tree, barred, price_V))
        if len(known) and new_V @ price_V <= np.max(known @ price_V) + TIE:
            break
        known = np.array([*known, new_V])
        mix, prices = _mixed(known, linear, charge)
    else:
        raise RuntimeError(f"The highest J of {game.name} was not found with {MOST_STRATEGIES} strategies.")
    u, c, x, *margins = (mix @ known).tolist()
    terms = {"u": u, "e": float(np.maximum(margins, 0.0).mean()), "c": c, "x": x}
    return Best(terms, objective.objective(game, *terms.values(), weights), int((mix > TIE).sum()))


def _gains(tree: Sequence[Level], barred: Sequence[np.ndarray], price_V: np.ndarray) -> list[np.ndarray]:
    """For every history and action, what the action and the best ones after it are worth (H, A), by backward
    induction."""
    after, found = np.zeros(1), []
    for level, bar in zip(reversed(tree), reversed(barred), strict=True):
        gain = bar.copy()
        np.add.at(gain, (level.from_E, level.action_E), level.values_EV @ price_V + after[level.to_E])
        after = gain.max(axis=1)
        found.append(gain)
    return found[::-1]


def _values(tree: Sequence[Level], gains: Sequence[np.ndarray]) -> np.ndarray:
    """The quantities (V,) of the strategy that takes the best action after every history."""
    reached, total = np.array([True]), 0.0
    for level, gain in zip(tree, gains, strict=True):
        taken_E = reached[level.from_E] & (gain.argmax(axis=1)[level.from_E] == level.action_E)
        total = total + level.values_EV[taken_E].sum(axis=0)
        reached = taken_E
    return total


def _mixed(known_NV: np.ndarray, linear: np.ndarray, charge: float) -> tuple[np.ndarray, np.ndarray]:
    """The mixture (N,) of the known strategies with the highest J, and the price of every margin (K,).

    `charge` is what an exploiter's max(0, margin) costs.
    """
    number, exploiters = len(known_NV), known_NV.shape[1] - 3
    cost = np.concatenate([-known_NV[:, :3] @ linear, np.full(exploiters, charge)])
    above = np.hstack([known_NV[:, 3:].T, -np.eye(exploiters)])
    equal = np.concatenate([np.ones(number), np.zeros(exploiters)])[None]
    found = linprog(cost, above, np.zeros(exploiters), equal, [1.0], method="highs")
    if not found.success:
        raise RuntimeError(f"The linear program of the highest J was not solved: {found.message}")
    return found.x[:number], -found.ineqlin.marginals


def _shares(game: Game, pools: str) -> np.ndarray:
    """How the own payoff, other payoff, collusion and externality of a round with opponent o count in u, c, x
    and the margins: shape (O, 4, V)."""
    sizes = {pool: len(game.pool(pools, pool)) for pool in OBJECTIVE_POOLS}
    charged = sizes["train"] + sizes["exploiter"]
    shares = []
    exploiter = 0
    for pool in OBJECTIVE_POOLS:
        for _ in range(sizes[pool]):
            share = np.zeros((4, 3 + sizes["exploiter"]))
            if pool == "train":
                share[0, 0] = 1 / sizes[pool]
            if pool == "collusive":
                share[2, 1] = 1 / sizes[pool]
            else:
                share[3, 2] = 1 / charged
            if pool == "exploiter":
                share[0, 3 + exploiter], share[1, 3 + exploiter] = -1.0, 1.0
                exploiter += 1
            shares.append(share)
    return np.array(shares)


def _quantities(game: Game, played: Round) -> np.ndarray:
    return np.array([*played.payoffs, game.collusion([played])[0], game.externality([played])[0]])
