"""The strategy with the highest J in Kuhn poker, exactly, by a linear program.

In sequence form (Koller, Megiddo and von Stengel 1996) a strategy is the vector of its realization
probabilities, and its payoff against a fixed opponent is linear in this vector. So u and c are linear, and e
is a mean of maxima of linear functions. The maximum of J = s u - le s e - lc c is therefore a linear program.
This holds whether e is taken over the fixed exploiter pool or over the best response to the strategy itself;
in the second case e is NashConv.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from sepo_lib.games.base import Opponent, Weights
from sepo_lib.games.kuhn import HISTORIES
from sepo_lib.measure.kuhn_strategy import game_with_nashconv

EXPLOITERS = ("pool", "best_response")

# Where each option begins in a vector of realization probabilities; an option has an entry for J, Q and K.
# First mover: bet | pass and call a bet | pass and fold to a bet. Second mover: call | fold | bet | pass.
_BET, _PASS_CALL, _PASS_FOLD, _CALL, _FOLD, _BET_2, _PASS_2 = range(0, 21, 3)
_SIZE = 21
# The options of a player at each of its information sets with one card: they exclude each other.
_OPTIONS = ((_BET, _PASS_CALL, _PASS_FOLD), (_CALL, _FOLD), (_BET_2, _PASS_2))
_WINS = np.sign(np.subtract.outer(np.arange(3), np.arange(3))).astype(float)  # [own card, other's card]
_DEALT = 1.0 - np.eye(3)  # the two cards differ
_TOLERANCE = 1e-9  # how far below the highest J the second program may go


class Optimum(NamedTuple):
    """A strategy with the highest J: `objective` J itself, `payoff` u, `exploit` e, `collusion` c.

    `nashconv` (chips per hand) is the lowest among all such strategies, and `strategy`, shape (4, 3) as in
    `games.kuhn.STRATEGIES`, is the one that has it. `jack_calls` is the lowest probability, among all such
    strategies, that the second mover calls a bet with J. Such a call is dominated: J always loses.
    """

    objective: float
    payoff: float
    exploit: float
    collusion: float
    nashconv: float
    jack_calls: float
    strategy: np.ndarray


def optimum(
    weights: Weights, pools: str = "paper", exploiter: str = "pool", payoff_first: bool = False
) -> Optimum:
    """The highest J of any Kuhn strategy, and the lowest NashConv (chips per hand) among the best strategies.

    `weights`: of J; `pools`: the pool set of u and c; `exploiter`: whether e is over that set's exploiters
    (`pool`) or over the best response to the strategy itself (`best_response`; e is then NashConv). With
    `payoff_first`, only strategies with the highest u are considered. Raises ValueError for another exploiter
    or pool set, RuntimeError if the solver fails.
    """
    if exploiter not in EXPLOITERS:
        raise ValueError(f"There is no exploiter '{exploiter}'; choose from {', '.join(EXPLOITERS)}.")
    game = game_with_nashconv()
    u = np.mean([_PAYOFF @ _realized(other) for other in game.pool(pools, "train").values()], axis=0)
    c = np.mean([_fold_rate(_realized(other)) for other in game.pool(pools, "collusive").values()], axis=0)
    margins = [2.0 * _realized(other) @ _PAYOFF for other in game.pool(pools, "exploiter").values()]
    sets = _responses()

    # Variables: x (21), e_k >= max(0, margin_k) for the exploiters, v_s >= each option of response set s.
    n_e, n_v = len(margins), len(sets)
    size = _SIZE + n_e + n_v
    above = []
    for k, margin in enumerate(margins):
        row = np.zeros(size)
        row[:_SIZE], row[_SIZE + k] = margin, -1.0
        above.append(row)
    for s, options in enumerate(sets):
        for option in options:
            row = np.zeros(size)
            row[:_SIZE], row[_SIZE + n_e + s] = option @ _PAYOFF, -1.0
            above.append(row)
    limits = np.zeros(len(above))
    nashconv = np.zeros(size)
    nashconv[_SIZE + n_e :] = 2.0  # over both seats a best response earns NashConv / 2 a hand
    exploit = nashconv
    if exploiter == "pool":
        exploit = np.zeros(size)
        exploit[_SIZE : _SIZE + n_e] = 1.0 / n_e
    j = np.zeros(size)
    j[:_SIZE] = game.scale * u - weights.collusion * c
    j = j - weights.exploit * game.scale * exploit
    equal, ones = _constraints()
    equal = np.hstack([equal, np.zeros((len(equal), size - _SIZE))])
    bounds = [(0, 1)] * _SIZE + [(0, None)] * n_e + [(None, None)] * n_v

    def lowest(cost: np.ndarray) -> np.ndarray:
        """The variables with the lowest cost; from then on, only those are considered."""
        nonlocal limits
        found = _solve(cost, above, limits, equal, ones, bounds)
        above.append(cost)
        limits = np.append(limits, float(cost @ found) + _TOLERANCE)
        return found

    if payoff_first:
        lowest(np.append(-u, np.zeros(n_e + n_v)))
    best = lowest(-j)
    jack = np.eye(size)[_CALL]
    calls = _solve(jack, above, limits, equal, ones, bounds)
    found = lowest(nashconv)
    x = found[:_SIZE]
    return Optimum(
        float(j @ best),
        float(u @ x),
        float(exploit @ found),
        float(c @ x),
        max(0.0, float(nashconv @ found)),
        float(np.clip(jack @ calls, 0.0, 1.0)),
        _behaviour(x),
    )


def table(
    pools: str = "paper",
    exploit_weights: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 6.0),
    collusion_weights: Sequence[float] = (0.0, 1.0, 2.4),
    own: Weights | None = None,
) -> pd.DataFrame:
    """`optimum` for both exploiters over a grid of weights, to which `own` is added.

    `own` are the training weights of a run; None: those of the game. Columns: pools, exploiter,
    exploit_weight, collusion_weight, own (whether these are `own`), objective, payoff, exploit, collusion,
    nashconv, jack_calls.
    """
    own = own or game_with_nashconv().train_weights
    exploit_weights = sorted({*exploit_weights, own.exploit})
    collusion_weights = sorted({*collusion_weights, own.collusion})
    rows = []
    for exploiter in EXPLOITERS:
        for collusion in collusion_weights:
            for exploit in exploit_weights:
                weights = Weights(exploit, collusion, 0.0)
                found = optimum(weights, pools, exploiter)._asdict()
                del found["strategy"]
                where = {"pools": pools, "exploiter": exploiter, "exploit_weight": exploit}
                rows.append({**where, "collusion_weight": collusion, "own": weights == own} | found)
    return pd.DataFrame(rows)


def _realized(opponent: Opponent) -> np.ndarray:
    """The realization probabilities of an opponent's strategy, shape (21,)."""
    o, r, c, k = np.array([opponent.odds[history] for history in HISTORIES], dtype=float)
    return np.concatenate([o, (1 - o) * k, (1 - o) * (1 - k), c, 1 - c, r, 1 - r])


def _payoff_matrix() -> np.ndarray:
    """A with x A y = first mover's payoff plus second mover's payoff of x, summed over the six deals, where
    both seats of x meet both seats of y; shape (21, 21)."""
    matrix = np.zeros((_SIZE, _SIZE))

    def add(first: int, second: int, value: np.ndarray) -> None:
        """`value[i, j]`: what the first mover with card i earns from the second with card j."""
        matrix[first : first + 3, second : second + 3] += value * _DEALT
        matrix[second : second + 3, first : first + 3] -= (value * _DEALT).T

    add(_BET, _CALL, 2 * _WINS)
    add(_BET, _FOLD, np.ones((3, 3)))
    for passed in (_PASS_CALL, _PASS_FOLD):
        add(passed, _PASS_2, _WINS)
    add(_PASS_CALL, _BET_2, 2 * _WINS)
    add(_PASS_FOLD, _BET_2, -np.ones((3, 3)))
    return matrix / 12.0  # six deals, each seat in half of the hands


def _fold_rate(opponent: np.ndarray) -> np.ndarray:
    """f with f . x = share of hands in which x folds against `opponent` (realization probabilities)."""
    rate = np.zeros(_SIZE)
    rate[_PASS_FOLD : _PASS_FOLD + 3] = _DEALT @ opponent[_BET_2 : _BET_2 + 3]
    rate[_FOLD : _FOLD + 3] = _DEALT @ opponent[_BET : _BET + 3]
    return rate / 12.0


def _responses() -> list[list[np.ndarray]]:
    """The options of a best responder at each of its information sets, as realization vectors with zeros
    elsewhere. A best response takes the best option of each."""
    return [[np.eye(_SIZE)[option + card] for option in options] for card in range(3) for options in _OPTIONS]


def _constraints() -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of the options at each information set sum to 1."""
    rows = np.array([np.sum(options, axis=0) for options in _responses()])
    return rows, np.ones(len(rows))


def _solve(cost, above, limits, equal, ones, bounds) -> np.ndarray:
    found = linprog(cost, np.array(above), limits, equal, ones, bounds, method="highs")
    if not found.success:
        raise RuntimeError(f"The linear program of Kuhn poker was not solved: {found.message}")
    return found.x


def _behaviour(x: np.ndarray) -> np.ndarray:
    """P(bold) by information set, shape (4, 3), of realization probabilities; 0 if it is never reached."""
    part = {name: x[start : start + 3] for name, start in (("o", _BET), ("r", _BET_2), ("c", _CALL))}
    passed = x[_PASS_CALL : _PASS_CALL + 3] + x[_PASS_FOLD : _PASS_FOLD + 3]
    call = np.divide(x[_PASS_CALL : _PASS_CALL + 3], passed, out=np.zeros(3), where=passed > 1e-12)
    return np.clip(np.array([part["o"], part["r"], part["c"], call]), 0.0, 1.0)


_PAYOFF = _payoff_matrix()
