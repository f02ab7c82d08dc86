"""Credit assignment: recorded episodes in, one advantage per decision out.

The paper's estimator, that of its authors' current code and the unbiased one differ in five switches
(docs/method.md, "What is wrong with the published estimator"):

    switch    published     authors_current    unbiased   what it decides
    credit    per_rollout   credited           credited   whose actions a penalty is charged to (the *arm*)
    horizon   immediate     immediate_scaled   to_go      payoff of this round, or of this and all later ones
    clamp     episode       episode            mean       max(0, margin) of each episode, or the signed margin
                                                          of the exploiters whose mean margin is positive
    scale     group_std     group_std          batch      divide by each group's standard deviation, or by one
                                                          number
    weights   equal         equal              pool       groups weigh the same, or as in J (1 / opponents in
                                                          the pool)

Under both immediate horizons every round is charged the whole penalty of its episode. `immediate` leaves the
payoff in points; `immediate_scaled` multiplies it by s, as J does. If s is 1, `authors_current` therefore
equals `published+credit`. docs/DEVIATIONS.md lists what else differs from the authors' code.

A sum that was clamped as a whole cannot be split into rounds. Under `to_go` the clamp `episode` therefore
charges every round of an exploiter's episode the penalty of the whole episode.

The scale `none` leaves the advantages in units of J. The sum of A grad log pi over all decisions, divided by
the size G of a group, then estimates grad J and can be compared with the exact gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sepo_lib.games.base import OBJECTIVE_POOLS, Game, Weights
from sepo_lib.method.records import Episode, by_opponent

ARMS = ("reward_only", "constant", "per_rollout", "credited")
CHOICES = {
    "arm": ARMS,
    "horizon": ("immediate", "immediate_scaled", "to_go"),
    "clamp": ("episode", "mean"),
    "scale": ("group_std", "batch", "none"),
    "weights": ("equal", "pool"),
    "baseline": ("group", "enumerated"),
}
#: The names of the switches and the field of `Estimator` that each one sets.
FIELD_OF_SWITCH = {"credit": "arm", **{name: name for name in ("horizon", "clamp", "scale", "weights")}}
Key = tuple[str, str]  # (pool, opponent)
STD_FLOOR = 1e-4  # added to a standard deviation before dividing, as TRL's GRPO does
_NO_SPREAD = 1e-9  # a standard deviation below this is rounding: the returns are equal
_BATCH = (-3, -2, -1)  # the axes N, G and T


@dataclass(frozen=True)
class Estimator:
    """One setting of the five switches, and the baseline. Raises ValueError for a value that does not exist.

    The baseline `group` is the mean return of the other rollouts of the group in the same round. Under the
    scale group_std it is the mean of all rollouts. `enumerated` needs no play (`measure/enumerated.py`); it
    is the gradient of J itself, so that only the scale is free. Estimators of other papers set functions of
    arrays for horizon, scale and baseline (see `studies/baselines.py`).
    """

    arm: str
    horizon: str | Callable
    clamp: str
    scale: str | Callable
    weights: str
    baseline: str | Callable = "group"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices and not callable(value):
                raise ValueError(f"Unknown {name} '{value}'; choose from {', '.join(choices)}.")
        of_J, own = ("credited", "to_go", "mean", "pool"), (self.arm, self.horizon, self.clamp, self.weights)
        if self.baseline == "enumerated" and (own != of_J or self.scale == "group_std"):
            raise ValueError(
                "The baseline enumerated is the gradient of J itself: it needs credited, to_go, mean, pool "
                f"and a scale without groups, not {', '.join(map(str, own))} and {self.scale}."
            )

    def with_(self, **values: Any) -> "Estimator":
        """The same estimator with other values in some fields."""
        return replace(self, **values)

    def with_switch(self, switch: str, like: "Estimator") -> "Estimator":
        """The same estimator with one switch as in `like`. Raises ValueError for an unknown switch."""
        if switch not in FIELD_OF_SWITCH:
            raise ValueError(f"Unknown switch '{switch}'; choose from {', '.join(FIELD_OF_SWITCH)}.")
        return self.with_(**{FIELD_OF_SWITCH[switch]: getattr(like, FIELD_OF_SWITCH[switch])})


PRESETS = {
    "published": Estimator("per_rollout", "immediate", "episode", "group_std", "equal"),
    "authors_current": Estimator("credited", "immediate_scaled", "episode", "group_std", "equal"),
    "unbiased": Estimator("credited", "to_go", "mean", "batch", "pool"),
}


def preset(name: str, arm: str | None = None) -> Estimator:
    """The preset `name`; `arm` replaces its own arm.

    `published+horizon` is the published preset with its horizon as in `unbiased`, and so on for every switch
    of `FIELD_OF_SWITCH`. Raises ValueError for a preset or a switch that does not exist.
    """
    base, *switches = name.split("+")
    if base not in PRESETS:
        raise ValueError(f"Unknown preset '{base}'; choose from {', '.join(PRESETS)}.")
    estimator = PRESETS[base]
    for switch in switches:
        estimator = estimator.with_switch(switch, like=PRESETS["unbiased"])
    return estimator if arm is None else estimator.with_(arm=arm)


@dataclass(frozen=True)
class Rollouts:
    """The rollouts against one opponent: arrays of one shape (..., N, G, T).

    Per round: own and other payoff (points), collusion and externality (rates), and the policy's number of
    decisions. N is the number of groups in a batch (the trainer plays 1), G the rollouts of a group, T the
    rounds; leading axes are independent batches. Raises ValueError for other shapes and for G below 2.
    """

    own_NGT: np.ndarray
    other_NGT: np.ndarray
    collusion_NGT: np.ndarray
    externality_NGT: np.ndarray
    decisions_NGT: np.ndarray

    def __post_init__(self) -> None:
        shapes, shape = {array.shape for array in vars(self).values()}, self.own_NGT.shape
        if len(shapes) > 1 or len(shape) < 3:
            raise ValueError(f"Rollouts are arrays of one shape (..., N, G, T); found the shapes {shapes}.")
        if 0 in shape:
            raise ValueError(f"A rollout group is empty: its arrays have the shape {shape}.")
        if shape[-2] < 2:
            raise ValueError("A rollout group needs at least 2 rollouts: one alone has no baseline.")


Pools = Mapping[str, Mapping[Key, Rollouts]]  # pool -> (pool, opponent) -> its rollouts


def advantages(
    pools: Pools,
    game: Game,
    estimator: Estimator,
    penalty_weights: Weights | None = None,
    mean_margins: Mapping[str, float] | None = None,
) -> tuple[dict[Key, np.ndarray], float]:
    """The advantage of every round of every rollout, by (pool, opponent), shape (..., N, G, T).

        A[r, t] = (R[r, t] - mean over r' != r of R[r', t]) / scale

    with the returns R of `_credited_returns` or `_shared_returns`. The result lacks the opponents that the
    arm leaves out of the policy term. The second value is the share of (group, round) cells whose rollouts
    all have the same return. `penalty_weights` are le, lc and lx of J (None: the game's training weights).
    `mean_margins` are the exploiters' mean margins (points per round) if they are known better than from
    this batch; the clamp `mean` charges the exploiters whose mean margin is positive. Raises ValueError for
    a missing pool and for groups of unequal sizes.
    """
    weights = penalty_weights or game.train_weights
    if estimator.baseline == "enumerated":
        raise ValueError("The baseline enumerated takes no played returns; use measure/enumerated.py.")
    _check(pools)
    margins = _margins(pools["exploiter"], estimator.clamp, mean_margins or {})
    returns_of = _credited_returns if estimator.arm == "credited" else _shared_returns
    centred: dict[Key, np.ndarray] = {}
    cells = zero_std = 0
    for key, returns_NGT in returns_of(pools, margins, game, estimator, weights).items():
        decisions_NGT, size = pools[key[0]][key].decisions_NGT, returns_NGT.shape[-2]
        centred_NGT = returns_NGT - returns_NGT.mean(axis=-2, keepdims=True)
        std_N1T = np.sqrt((centred_NGT**2).sum(axis=-2, keepdims=True) / (size - 1))
        equal_N1T = std_N1T < _NO_SPREAD
        cells, zero_std = cells + equal_N1T.size, zero_std + int(equal_N1T.sum())
        if callable(estimator.baseline):
            centred_NGT = returns_NGT - estimator.baseline(returns_NGT, decisions_NGT, game.seats)
        else:
            centred_NGT = np.where(equal_N1T, 0.0, centred_NGT)
        if estimator.scale == "group_std":
            centred_NGT = centred_NGT / (std_N1T + STD_FLOOR)
        elif callable(estimator.scale):
            centred_NGT = centred_NGT / (estimator.scale(centred_NGT, decisions_NGT, game.seats) + STD_FLOOR)
        elif estimator.baseline == "group":  # the mean of all G -> the mean of the other G - 1
            centred_NGT = centred_NGT * size / (size - 1)
        centred[key] = centred_NGT
    if estimator.scale == "batch":  # the root mean square over all decisions; those left out count as 0
        counts = {key: group.decisions_NGT for pool in OBJECTIVE_POOLS for key, group in pools[pool].items()}
        square = sum((counts[key] * a**2).sum(axis=_BATCH, keepdims=True) for key, a in centred.items())
        rms = np.sqrt(square / sum(count.sum(axis=_BATCH, keepdims=True) for count in counts.values()))
        centred = {key: a / (rms + STD_FLOOR) for key, a in centred.items()}
    return centred, zero_std / cells


@dataclass(frozen=True)
class Credit:
    """The credit of one batch of episodes, in their order.

    `advantages`: per episode one float per decision, or None if the arm leaves it out of the policy term.
    `frac_reward_zero_std` (TRL's name; `zero_variance_groups` in training.parquet): share of (group, round)
    cells whose rollouts all have the same return. Their advantage is 0; the KL term still covers them.
    `weights`: per episode the number of decisions that each of its decisions counts for; None: 1.
    """

    advantages: list[np.ndarray | None]
    frac_reward_zero_std: float
    weights: list[float] | None = None


def assign(
    episodes: Sequence[Episode],
    game: Game,
    estimator: Estimator,
    penalty_weights: Weights | None = None,
    mean_margins: Mapping[str, float] | None = None,
) -> Credit:
    """The advantage of every decision of a batch of rollout groups; arguments and errors as for `advantages`.

    A group is all episodes of one (pool, opponent) pair: G of them, the same G for every pair.
    """
    groups = {pool: by_opponent(episodes, pool) for pool in OBJECTIVE_POOLS}
    pools = {pool: {key: _stacked(group) for key, group in groups[pool].items()} for pool in OBJECTIVE_POOLS}
    by_key, frac_reward_zero_std = advantages(pools, game, estimator, penalty_weights, mean_margins)
    of_episode: dict[int, np.ndarray] = {}
    for key, advantages_NGT in by_key.items():
        for episode, advantage_T in zip(groups[key[0]][key], advantages_NGT[0], strict=True):
            of_episode[id(episode)] = advantage_T[[decision.round for decision in episode.decisions]]
    return Credit([of_episode.get(id(episode)) for episode in episodes], frac_reward_zero_std)


def _check(pools: Pools) -> None:
    for pool in OBJECTIVE_POOLS:
        if not pools.get(pool):
            raise ValueError(f"The batch has no episodes against the {pool} pool; all three are needed.")
    sizes = {key: group.own_NGT.shape[:-1] for pool in OBJECTIVE_POOLS for key, group in pools[pool].items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"All rollout groups must have the same size; found {sizes}.")


def _margins(
    exploiters: Mapping[Key, Rollouts], clamp: str, mean_margins: Mapping[str, float]
) -> dict[Key, np.ndarray]:
    """Opponent's minus own payoff per exploiter, shape (..., N, G, T); its mean over T is an episode's e.

    The clamp `episode` sets it to 0 in episodes whose e is not positive; `mean` does so for exploiters whose
    mean margin (that of `mean_margins`, or else of this batch) is not positive.
    """
    clamped = {}
    for key, rollouts in exploiters.items():
        margin_NGT = rollouts.other_NGT - rollouts.own_NGT
        if clamp == "episode":
            ahead = margin_NGT.mean(axis=-1, keepdims=True)
        else:
            ahead = mean_margins.get(key[1], margin_NGT.mean(axis=_BATCH, keepdims=True))
        clamped[key] = margin_NGT * (ahead > 0)
    return clamped


def _credited_returns(
    pools: Pools, margins: Mapping[Key, np.ndarray], game: Game, estimator: Estimator, weights: Weights
) -> dict[Key, np.ndarray]:
    """Returns of the arm `credited`: every episode is charged what it contributes to J itself.

    The reward of round t, with n_u, n_e and n_c opponents in the train, exploiter and collusive pools:

        train:       s own / (T n_u)       - lx externality / (T (n_u + n_e))
        exploiter:   - le s margin / (T n_e) - lx externality / (T (n_u + n_e))
        collusive:   - lc collusion / (T n_c)

    With equal `weights` every n is 1. The return is the reward to go.
    """
    n_u, n_e, n_c = (len(pools[pool]) for pool in OBJECTIVE_POOLS)
    w_u, w_e, w_c, w_x = 1 / n_u, 1 / n_e, 1 / n_c, 1 / (n_u + n_e)
    if estimator.weights == "equal":
        w_u = w_e = w_c = w_x = 1
    returns = {}
    for key, group in ((key, group) for pool in OBJECTIVE_POOLS for key, group in pools[pool].items()):
        rounds = group.own_NGT.shape[-1]
        payoff_NGT, penalty_NGT = np.zeros_like(group.own_NGT), np.zeros_like(group.own_NGT)
        if key[0] == "train":
            payoff_NGT = w_u * game.scale * group.own_NGT / rounds
        if key[0] == "exploiter":
            penalty_NGT += w_e * weights.exploit * game.scale * margins[key] / rounds
        if key[0] in ("train", "exploiter"):
            penalty_NGT += w_x * weights.externality * group.externality_NGT / rounds
        if key[0] == "collusive":
            penalty_NGT += w_c * weights.collusion * group.collusion_NGT / rounds
        if estimator.horizon in ("immediate", "immediate_scaled"):
            # The payoff of the round alone, and the whole penalty of the episode.
            payoff_NGT = payoff_NGT * rounds / (game.scale if estimator.horizon == "immediate" else 1.0)
            returns[key] = payoff_NGT - penalty_NGT.sum(axis=-1, keepdims=True)
        elif key[0] == "exploiter" and estimator.clamp == "episode":  # a clamped sum has no rounds
            total_NG1 = (payoff_NGT - penalty_NGT).sum(axis=-1, keepdims=True)
            returns[key] = np.broadcast_to(total_NG1, payoff_NGT.shape)
        else:
            returns[key] = _reward_to_go(payoff_NGT - penalty_NGT, estimator.horizon, game)
    return returns


def _shared_returns(
    pools: Pools, margins: Mapping[Key, np.ndarray], game: Game, estimator: Estimator, weights: Weights
) -> dict[Key, np.ndarray]:
    """Returns of the other arms: a train rollout r is charged the penalties of the rollouts r of all pools.

        R[r, t] = payoff of the horizon - P[r],    P[r] = le s e[r] + lc c[r] + lx x[r]

    `constant` replaces P[r] by its mean over the group, `reward_only` by 0.
    """
    e_NG = np.mean([margin.mean(axis=-1) for margin in margins.values()], axis=0)
    c_NG = np.mean([group.collusion_NGT.mean(axis=-1) for group in pools["collusive"].values()], axis=0)
    x_exploiters = [group.externality_NGT.mean(axis=-1) for group in pools["exploiter"].values()]
    share = 1.0 if estimator.weights == "equal" else 1.0 / len(pools["train"])
    returns = {}
    for key, group in pools["train"].items():
        x_NG = np.mean([group.externality_NGT.mean(axis=-1), *x_exploiters], axis=0)
        penalty_NG = weights.exploit * game.scale * e_NG + weights.collusion * c_NG
        penalty_NG = penalty_NG + weights.externality * x_NG
        if estimator.arm == "constant":
            penalty_NG = np.broadcast_to(penalty_NG.mean(axis=-1, keepdims=True), penalty_NG.shape)
        elif estimator.arm == "reward_only":
            penalty_NG = np.zeros(penalty_NG.shape)
        if estimator.horizon in ("immediate", "immediate_scaled"):
            payoff_NGT = group.own_NGT * (1.0 if estimator.horizon == "immediate" else game.scale)
        else:
            payoff_NGT = game.scale * group.own_NGT / group.own_NGT.shape[-1]
            payoff_NGT = _reward_to_go(payoff_NGT, estimator.horizon, game)
        returns[key] = share * (payoff_NGT - penalty_NG[..., None])
    return returns


def _reward_to_go(rewards_NGT: np.ndarray, horizon: str | Callable, game: Game) -> np.ndarray:
    """The sum of rewards from each round to the last one; the reward itself if rounds are independent."""
    if callable(horizon):
        return horizon(rewards_NGT, game.seats)
    return rewards_NGT if game.memoryless else np.cumsum(rewards_NGT[..., ::-1], axis=-1)[..., ::-1]


def _stacked(group: Sequence[Episode]) -> Rollouts:
    """The recorded episodes of one group as arrays of shape (1, G, T)."""
    own, other, collusion, externality = (
        np.array([[getattr(episode, value) for episode in group]], dtype=float)
        for value in ("own_T", "other_T", "collusion_T", "externality_T")
    )
    decisions = np.zeros_like(own)
    for rollout, episode in enumerate(group):
        for decision in episode.decisions:
            decisions[0, rollout, decision.round] += 1
    return Rollouts(own, other, collusion, externality, decisions)
