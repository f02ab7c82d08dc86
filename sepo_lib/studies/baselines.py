"""Horizons, baselines and scales of other papers' estimators, as functions that `credit.Estimator` takes.

All arrays have the shape (..., N, G, T): groups, rollouts of a group, rounds. A *role* is one opponent and
one seat, so that its rounds are those that the policy has from that seat.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rule:
    """A function with the name that tables give it."""

    name: str
    function: Callable[..., np.ndarray]

    def __call__(self, *arguments) -> np.ndarray:
        return self.function(*arguments)

    def __str__(self) -> str:
        return self.name


def named(name: str) -> Callable[[Callable], Rule]:
    return lambda function: Rule(name, function)


@named("episode")
def episode_return(rewards: np.ndarray, seats: int) -> np.ndarray:
    """Every round gets the return of the whole episode."""
    return _sum_by_seat(rewards, seats=1)


@named("role")
def role_return(rewards: np.ndarray, seats: int) -> np.ndarray:
    """Every round gets the sum of the rewards in all rounds of its role."""
    return _sum_by_seat(rewards, seats)


@named("mean")
def group_mean(returns: np.ndarray, decisions: np.ndarray, seats: int) -> np.ndarray:
    """The mean of all rollouts of the group at a round; exactly the return itself if all are equal."""
    mean = returns.mean(axis=-2, keepdims=True)
    std = np.sqrt(((returns - mean) ** 2).sum(axis=-2, keepdims=True) / (returns.shape[-2] - 1))
    return np.where(std < 1e-9, returns, mean)


@named("role")
def role_mean(returns: np.ndarray, decisions: np.ndarray, seats: int) -> np.ndarray:
    """The mean over all decisions of a role."""
    return _mean_by_seat(returns, decisions, seats, (-2, -1))


@named("role_std")
def role_std(centred: np.ndarray, decisions: np.ndarray, seats: int) -> np.ndarray:
    """The root mean square over all decisions of a role."""
    return np.sqrt(_mean_by_seat(centred**2, decisions, seats, (-2, -1)))


@named("turn")
def turn_mean(returns: np.ndarray, decisions: np.ndarray, seats: int) -> np.ndarray:
    """The sum over a rollout's own turns in a round of the group's mean reward at that turn.

    A turn is a decision within a round. The mean at turn k is over the rollouts that have one; the reward
    of a round is that of its last turn.
    """
    baseline = np.zeros_like(returns)
    for turn in range(1, int(decisions.max()) + 1):
        taken, last = decisions >= turn, decisions == turn
        earned = (last * returns).sum(axis=-2, keepdims=True)
        baseline += taken * earned / np.maximum(taken.sum(axis=-2, keepdims=True), 1)
    return baseline


@named("other_batches")
def other_batches_mean(returns: np.ndarray, decisions: np.ndarray, seats: int) -> np.ndarray:
    """The mean return of the role in all batches (the first axis) but this one.

    Raises ValueError if there is no other batch.
    """
    if returns.ndim < 4 or len(returns) < 2:
        raise ValueError("The baseline other_batches needs at least two batches at once.")
    mean = _mean_by_seat(returns, np.ones_like(returns), seats, (-3, -2, -1))
    return (mean.sum(axis=0, keepdims=True) - mean) / (len(returns) - 1)


def _sum_by_seat(values_NGT: np.ndarray, seats: int) -> np.ndarray:
    """Every round's value replaced by the sum over all rounds that the policy has from the same seat."""
    total_NGT = np.empty_like(values_NGT)
    for seat in range(seats):
        total_NGT[..., seat::seats] = values_NGT[..., seat::seats].sum(axis=-1, keepdims=True)
    return total_NGT


def _mean_by_seat(values: np.ndarray, decisions: np.ndarray, seats: int, axes: tuple[int, ...]) -> np.ndarray:
    """Mean of a value per decision over `axes` and the rounds of each seat, in the shape of `values`."""
    mean = np.empty_like(values)
    for seat in range(seats):
        rounds = np.s_[..., seat::seats]
        count = decisions[rounds].sum(axis=axes, keepdims=True)
        total = (decisions[rounds] * values[rounds]).sum(axis=axes, keepdims=True)
        mean[rounds] = total / np.maximum(count, 1.0)
    return mean
