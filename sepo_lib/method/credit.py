"""Credit assignment: recorded episodes in, one advantage per decision out (METHOD section 6).

The paper's estimator, that of its authors' current code and the unbiased one differ in five switches:

    switch    published     authors_current    unbiased   what it decides
    credit    per_rollout   credited           credited   whose actions a penalty is charged to (the *arm*)
    horizon   immediate     immediate_scaled   to_go      payoff of this round, or of this and all later ones
    clamp     episode       episode            mean       max(0, margin) of each episode, or the signed margin
                                                          of the exploiters whose mean margin (in the batch,
                                                          or better known where it is given) is positive
    scale     group_std     group_std          batch      divide by each group's standard deviation, or by one
                                                          number
    weights   equal         equal              pool       groups weigh the same, or as in J (1 / opponents in
                                                          the pool)

Under both immediate horizons every round is charged the whole penalty of its episode. `immediate` leaves the
payoff in points, `immediate_scaled` multiplies it by s, as J does. Where s is 1, `authors_current` therefore
equals `published+credit` (`same` says in which games). Two details of the authors' code change no direction
and are not copied: it divides by the population standard deviation (all advantages of a group of G are then
longer by sqrt(G / (G - 1))), and it adds 1e-8 to it where this module adds 1e-4. Not copied either: in Kuhn
poker it counts rounds by decision and ends a group's episodes with the shortest (docs/DEVIATIONS.md).

A sum that was clamped as a whole cannot be split into rounds. Under `to_go` the clamp `episode` therefore
charges every round of an exploiter's episode the penalty of the whole episode: turning `clamp` alone in
`unbiased` turns the horizon of the exploiters' groups as well.

`scale = "none"` leaves the advantages in units of J: then the sum over decisions of A grad log pi, divided
by the rollouts of a group, estimates grad J itself. It is what is held against the exact gradient.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sepo_lib.games.base import OBJECTIVE_POOLS, Game, Opponent, Weights
from sepo_lib.method import random_play
from sepo_lib.method.records import Episode, by_opponent

ARMS = ("reward_only", "constant", "per_rollout", "credited")
POOLS = OBJECTIVE_POOLS
SWITCHES = {
    "arm": ARMS,
    "horizon": ("immediate", "immediate_scaled", "to_go", "episode", "role"),
    "clamp": ("episode", "mean"),
    "scale": ("group_std", "batch", "none", "role_std"),
    "weights": ("equal", "pool"),
    "baseline": ("group", "mean", "role", "turn", "other_batches"),
}
_IMMEDIATE = ("immediate", "immediate_scaled")
_STD_FLOOR = 1e-4  # added to a standard deviation before dividing, as TRL's GRPO does
_NO_SPREAD = 1e-9  # a standard deviation below this is rounding: the rollouts earned the same


@dataclass(frozen=True)
class Estimator:
    """One setting of the five switches, and the baseline. Raises ValueError for a value that does not exist.

    Only `published.ELSEWHERE` has the horizons `episode` (all rounds answer for the whole episode) and `role`
    (for all rounds of the seat that the policy had), the scale `role_std`, and a baseline other than `group`.
    The baseline is what is subtracted from a return:

    group           mean of the other rollouts of the group at that round (under scale group_std the mean of
                    all: the factor G / (G - 1) between the two is that of the deviation too)
    mean            mean of all rollouts of the group at that round
    role            mean over all turns of a role: the decisions against one opponent from one seat
    turn            sum over the rollout's own turns in that round of the group's mean reward at that turn
    other_batches   mean return of the role in all batches but this one
    """

    arm: str
    horizon: str
    clamp: str
    scale: str
    weights: str
    baseline: str = "group"

    def __post_init__(self) -> None:
        for switch, choices in SWITCHES.items():
            if getattr(self, switch) not in choices:
                raise ValueError(
                    f"Unknown {switch} '{getattr(self, switch)}'; choose from {', '.join(choices)}."
                )

    def with_(self, **switches: str) -> "Estimator":
        """The same estimator with some switches turned."""
        return replace(self, **switches)


PRESETS = {
    "published": Estimator("per_rollout", "immediate", "episode", "group_std", "equal"),
    "authors_current": Estimator("credited", "immediate_scaled", "episode", "group_std", "equal"),
    "unbiased": Estimator("credited", "to_go", "mean", "batch", "pool"),
}


#: The names of the switches and the field of `Estimator` that each one turns.
TURNS = {"credit" if field == "arm" else field: field for field in SWITCHES if field != "baseline"}


def preset(name: str, arm: str | None = None) -> Estimator:
    """The preset `name`, with `arm` in the place of its own where given.

    `published+horizon` is the published preset with its horizon as in `unbiased`, and so for every switch of
    `TURNS`. Raises ValueError for a preset or a switch that does not exist.
    """
    base, *turned = name.split("+")
    if base not in PRESETS:
        raise ValueError(f"Unknown preset '{base}'; choose from {', '.join(PRESETS)}.")
    how = PRESETS[base]
    for switch in turned:
        how = _turned(how, switch, PRESETS["unbiased"])
    return how if arm is None else how.with_(arm=arm)


def _turned(how: Estimator, switch: str, to: Estimator) -> Estimator:
    """`how` with one switch of `TURNS` as in `to`. Raises ValueError for a switch that does not exist."""
    if switch not in TURNS:
        raise ValueError(f"Unknown switch '{switch}'; choose from {', '.join(TURNS)}.")
    return how.with_(**{TURNS[switch]: getattr(to, TURNS[switch])})


@dataclass(frozen=True)
class Rollouts:
    """The rollouts against one opponent, as far as credit looks at them: arrays of one shape (..., N, G, T).

    `own` and `other` payoff (points), `collusion` and `externality` (rates) of each round, and `decisions`,
    how many the policy took in it. N is the number of groups against this opponent in a batch (the trainer
    plays 1), G the rollouts of a group, T the rounds; leading axes are batches that know nothing of one
    another. Raises ValueError for another shape, an empty group or a single rollout.
    """

    own: np.ndarray
    other: np.ndarray
    collusion: np.ndarray
    externality: np.ndarray
    decisions: np.ndarray

    def __post_init__(self) -> None:
        shapes = {
            getattr(self, name).shape for name in ("own", "other", "collusion", "externality", "decisions")
        }
        shape = self.own.shape
        if len(shapes) > 1 or len(shape) < 3:
            raise ValueError(
                f"Rollouts are arrays of one shape (..., groups, rollouts, rounds); found {shapes}."
            )
        if 0 in shape:
            raise ValueError(f"A rollout group is empty: its arrays have the shape {shape}.")
        if shape[-2] < 2:
            raise ValueError("A rollout group needs at least 2 rollouts: one alone has no baseline.")


Pools = Mapping[str, Mapping[tuple[str, str], Rollouts]]  # pool -> (pool, opponent) -> its rollouts
_BATCH = (-3, -2, -1)  # the axes N, G and T


def _margins(
    exploiters: Mapping[tuple[str, str], Rollouts], clamp: str, means: Mapping[str, float]
) -> dict[tuple[str, str], np.ndarray]:
    """Opponent's minus own payoff per exploiter, shape (..., N, G, T), as far as the clamp lets it count.

    Its mean over T is the e of one episode: max(0, margin) under `episode`; under `mean` the signed margin
    of an exploiter that is ahead on average (by `means`, or in this batch where they lack it), else 0.
    """
    counted = {}
    for key, rollouts in exploiters.items():
        margin = rollouts.other - rollouts.own
        if clamp == "episode":
            ahead = margin.mean(axis=-1, keepdims=True)
        else:
            ahead = means.get(key[1], margin.mean(axis=_BATCH, keepdims=True))
        counted[key] = margin * (ahead > 0)
    return counted


def mean_margins(episodes: Sequence[Episode]) -> dict[str, float]:
    """Exploiter -> its mean margin in a batch: its payoff minus the policy's (points per round)."""
    return {
        opponent: float(np.mean([np.subtract(e.other_T, e.own_T).mean() for e in group]))
        for (_, opponent), group in by_opponent(episodes, "exploiter").items()
    }


def _rollout_penalties(
    pools: Pools, margins: dict, weights: Weights, scale: float
) -> dict[tuple[str, str], np.ndarray]:
    """P[r] = le s e[r] + lc c[r] + lx x[r] for the rollouts of every train opponent, each (..., N, G)."""
    e = np.mean([margin.mean(axis=-1) for margin in margins.values()], axis=0)
    c = np.mean([rollouts.collusion.mean(axis=-1) for rollouts in pools["collusive"].values()], axis=0)
    shared = weights.exploit * scale * e + weights.collusion * c
    hurt = [rollouts.externality.mean(axis=-1) for rollouts in pools["exploiter"].values()]
    return {
        key: shared + weights.externality * np.mean([train.externality.mean(axis=-1), *hurt], axis=0)
        for key, train in pools["train"].items()
    }


def _per_round(
    key: tuple[str, str], pools: Pools, margins: dict, game: Game, weights: Weights, equal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A credited group's own (payoff, penalty) per round, both (..., N, G, T), weighted by its share of J.

    Their sums over rounds are the episode's contributions to s u and to the penalties.
    """
    pool, group = key[0], pools[key[0]][key]
    n_train, n_exploiter, n_collusive = (len(pools[p]) for p in ("train", "exploiter", "collusive"))
    w_u, w_e, w_c = (1, 1, 1) if equal else (1 / n_train, 1 / n_exploiter, 1 / n_collusive)
    w_x = 1 if equal else 1 / (n_train + n_exploiter)
    rounds = group.own.shape[-1]
    payoff = np.zeros_like(group.own)
    penalty = np.zeros_like(group.own)
    if pool == "train":
        payoff = w_u * game.scale * group.own / rounds
    if pool == "exploiter":
        penalty += w_e * weights.exploit * game.scale * margins[key] / rounds
    if pool in ("train", "exploiter"):
        penalty += w_x * weights.externality * group.externality / rounds
    if pool == "collusive":
        penalty += w_c * weights.collusion * group.collusion / rounds
    return payoff, penalty


def _later(value: np.ndarray, horizon: str, game: Game) -> np.ndarray:
    """What a round answers for, shape (..., T): under to_go the sum from it to the last round (itself where
    rounds are independent), under role that over all rounds of its seat, under episode over all rounds."""
    if horizon == "to_go":
        return value if game.memoryless else np.cumsum(value[..., ::-1], axis=-1)[..., ::-1]
    seats = game.seats if horizon == "role" else 1
    total = np.empty_like(value)
    for seat in range(seats):
        total[..., seat::seats] = value[..., seat::seats].sum(axis=-1, keepdims=True)
    return total


def _returns(
    key: tuple[str, str],
    pools: Pools,
    margins: dict,
    penalties: dict,
    game: Game,
    weights: Weights,
    how: Estimator,
) -> np.ndarray:
    """What each round of each rollout against one opponent is rewarded with, before any baseline, shape
    (..., N, G, T). `penalties` are the rollouts' P where the arm charges them."""
    group, equal = pools[key[0]][key], how.weights == "equal"
    rounds = group.own.shape[-1]
    if how.arm == "credited":
        payoff, penalty = _per_round(key, pools, margins, game, weights, equal)
        if how.horizon in _IMMEDIATE:  # the payoff of the round, the whole penalty of the episode
            payoff = payoff * rounds / (game.scale if how.horizon == "immediate" else 1.0)
            return payoff - penalty.sum(axis=-1, keepdims=True)
        clamped = how.clamp == "episode" and key[0] == "exploiter"  # a clamped sum has no rounds
        return _later(payoff - penalty, "episode" if clamped else how.horizon, game)

    if how.arm == "reward_only":
        penalty = np.zeros(group.own.shape[:-1])
    else:
        penalty = penalties[key]
        if how.arm == "constant":
            penalty = np.broadcast_to(penalty.mean(axis=-1, keepdims=True), penalty.shape)
    share = 1.0 if equal else 1.0 / len(pools["train"])
    if how.horizon in _IMMEDIATE:
        payoff = group.own * (1.0 if how.horizon == "immediate" else game.scale)
    else:
        payoff = _later(game.scale * group.own / rounds, how.horizon, game)
    return share * (payoff - penalty[..., None])


def _role_mean(value: np.ndarray, decisions: np.ndarray, seats: int, over: tuple[int, ...]) -> np.ndarray:
    """Mean of a value per decision over the axes `over` and the rounds of each seat: (..., N, G, T)."""
    mean = np.empty_like(value)
    for seat in range(seats):
        mine = np.s_[..., seat::seats]
        count = decisions[mine].sum(axis=over, keepdims=True)
        mean[mine] = (decisions[mine] * value[mine]).sum(axis=over, keepdims=True) / np.maximum(count, 1.0)
    return mean


def _turn_baseline(reward: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """Sum over a rollout's own turns in a round of the group's mean reward at that turn: (..., N, G, T).

    The mean at turn k is over the rollouts that have one; the reward of a round is that of its last turn.
    """
    baseline = np.zeros_like(reward)
    for turn in range(1, int(decisions.max()) + 1):
        there, last = decisions >= turn, decisions == turn
        earned = (last * reward).sum(axis=-2, keepdims=True)
        baseline += there * earned / np.maximum(there.sum(axis=-2, keepdims=True), 1)
    return baseline


def _baseline(reward: np.ndarray, decisions: np.ndarray, kind: str, seats: int) -> np.ndarray:
    """The baseline role, turn or other_batches of rewards (..., N, G, T), in that shape.

    Raises ValueError for `other_batches` where there is no other batch.
    """
    if kind == "role":
        return _role_mean(reward, decisions, seats, (-2, -1))
    if kind == "turn":
        return _turn_baseline(reward, decisions)
    if reward.ndim < 4 or len(reward) < 2:
        raise ValueError("The baseline other_batches needs at least two batches at once.")
    mean = _role_mean(reward, np.ones_like(reward), seats, _BATCH)
    return (mean.sum(axis=0, keepdims=True) - mean) / (len(reward) - 1)


def advantages(
    pools: Pools,
    game: Game,
    how: Estimator,
    weights: Weights | None = None,
    means: Mapping[str, float] | None = None,
) -> tuple[dict[tuple[str, str], np.ndarray], float]:
    """The advantage of every round of every rollout, by (pool, opponent), shape (..., N, G, T).

    The core that the trainer (through `assign`) and the study of estimators share. Opponents that the arm
    leaves out of the loss are left out of the answer. The second value is the share of (group, round) cells
    in which all rollouts got the same reward, in [0, 1]. `weights` default to the game's training weights.
    `means` holds the mean margins of exploiters (points per round) that are known better than from the batch
    itself, whose mean is noisy where the game has much chance: the clamp `mean` charges the exploiters whose
    mean margin is positive. Raises ValueError for a missing pool and for groups of unequal sizes.
    """
    weights = weights or game.train_weights
    for pool in POOLS:
        if not pools.get(pool):
            raise ValueError(
                f"The batch has no episodes against the {pool} pool; credit needs all three pools."
            )
    sizes = {key: group.own.shape[:-1] for pool in POOLS for key, group in pools[pool].items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"All rollout groups must have the same size; found {sizes}.")

    margins = _margins(pools["exploiter"], how.clamp, means or {})
    charged = how.arm in ("constant", "per_rollout")
    penalties = _rollout_penalties(pools, margins, weights, game.scale) if charged else {}
    given: dict[tuple[str, str], np.ndarray] = {}
    cells = zero = 0
    for pool in POOLS if how.arm == "credited" else ("train",):
        for key in pools[pool]:
            reward = _returns(key, pools, margins, penalties, game, weights, how)
            size = reward.shape[-2]
            centred = reward - reward.mean(axis=-2, keepdims=True)
            std = np.sqrt((centred**2).sum(axis=-2, keepdims=True) / (size - 1))
            equal = std < _NO_SPREAD
            cells += std.size
            zero += int(equal.sum())
            decisions = pools[pool][key].decisions
            if how.baseline in ("group", "mean"):
                centred = np.where(equal, 0.0, centred)
            else:
                centred = reward - _baseline(reward, decisions, how.baseline, game.seats)
            if how.scale == "group_std":
                given[key] = centred / (std + _STD_FLOOR)
            elif how.scale == "role_std":
                square = _role_mean(centred**2, decisions, game.seats, (-2, -1))
                given[key] = centred / (np.sqrt(square) + _STD_FLOOR)
            elif how.baseline == "group":  # G / (G - 1) leaves the rollout itself out: without bias
                given[key] = centred * size / (size - 1)
            else:
                given[key] = centred

    if how.scale == "batch":  # the root mean square over all decisions of a batch; what is left out counts 0
        counts = {key: group.decisions for pool in POOLS for key, group in pools[pool].items()}
        square = sum((counts[key] * given[key] ** 2).sum(axis=_BATCH, keepdims=True) for key in given)
        rms = np.sqrt(square / sum(count.sum(axis=_BATCH, keepdims=True) for count in counts.values()))
        given = {key: advantage / (rms + _STD_FLOOR) for key, advantage in given.items()}
    return given, zero / cells


@dataclass(frozen=True)
class Credit:
    """`advantages`: per episode (in the order given) one float per decision, or None where the arm leaves
    the episode out of the policy term. `zero_variance`: share of (group, round) cells in which all rollouts
    got the same reward, in [0, 1] (`zero_variance_groups` in training.csv). Their advantage is 0, and they
    still move the weights: the KL term covers every decision. That is intended."""

    advantages: list[np.ndarray | None]
    zero_variance: float


def _of_episodes(group: Sequence[Episode]) -> Rollouts:
    """The recorded episodes of one group as arrays of shape (1, G, T)."""

    def stack(value: str) -> np.ndarray:
        return np.array([[getattr(episode, value) for episode in group]], dtype=float)

    own = stack("own_T")
    decisions = np.zeros_like(own)
    for rollout, episode in enumerate(group):
        for decision in episode.decisions:
            decisions[0, rollout, decision.round] += 1
    return Rollouts(own, stack("other_T"), stack("collusion_T"), stack("externality_T"), decisions)


def assign(
    episodes: Sequence[Episode],
    game: Game,
    how: Estimator,
    weights: Weights | None = None,
    means: Mapping[str, float] | None = None,
) -> Credit:
    """The advantage of every decision of a batch of rollout groups.

    A group is all episodes of one (pool, opponent) pair, G of them, the same G for every pair; `weights` and
    `means` are as for `advantages`. Raises ValueError for missing pools, G < 2 or unequal groups.
    """
    groups = {pool: by_opponent(episodes, pool) for pool in POOLS}
    pools = {pool: {key: _of_episodes(group) for key, group in groups[pool].items()} for pool in POOLS}
    given, zero_variance = advantages(pools, game, how, weights, means)
    of_episode: dict[int, np.ndarray] = {}
    for key, advantage in given.items():
        for episode, advantage_T in zip(groups[key[0]][key], advantage[0], strict=True):
            of_episode[id(episode)] = advantage_T[[d.round for d in episode.decisions]]
    return Credit([of_episode.get(id(episode)) for episode in episodes], zero_variance)


def largest_difference(
    episodes: Sequence[Episode],
    game: Game,
    how: Estimator,
    arm: str,
    weights: Weights | None = None,
    means: Mapping[str, float] | None = None,
) -> float:
    """Largest absolute difference of an advantage of `how` to that of the same estimator with another `arm`.

    An episode that one of the two leaves out of the loss counts as 0 there. Arguments and errors: as for
    `assign`.
    """
    pairs = zip(
        *(assign(episodes, game, one, weights, means).advantages for one in (how, how.with_(arm=arm))),
        strict=True,
    )
    differences = [
        np.abs((0.0 if a is None else a) - (0.0 if b is None else b)).max()
        for a, b in pairs
        if a is not None or b is not None
    ]
    return float(max(differences))


_PROBE = (8, 1, 8)  # batches, groups and rollouts that `same` plays


@functools.cache
def _probe(game: Game, pools: str) -> Pools:
    """Batches that the game can give: random play against the opponents of a pool set, arrays (*_PROBE, T).

    All payoffs and rates are multiplied by 2^10, which keeps `_STD_FLOOR` out of sight and rounds nothing.
    """
    rng = np.random.default_rng(0)

    def rollouts(opponent: Opponent) -> Rollouts:
        values = random_play.record(game, opponent, math.prod(_PROBE), rng)
        *measures, decisions = values.reshape(5, *_PROBE, game.rounds)
        return Rollouts(*(2.0**10 * measure for measure in measures), decisions)

    return {
        pool: {(pool, name): rollouts(opponent) for name, opponent in game.pool(pools, pool).items()}
        for pool in POOLS
    }


@functools.cache
def same(one: Estimator, other: Estimator, game: Game, pools: str = "paper") -> bool:
    """Whether two estimators give the same advantages on all batches that a game's pool set can give.

    The same but for rounding, and for what `_STD_FLOOR` adds to a deviation: two estimators whose rewards
    differ by one factor are the same, although in play, where deviations are small, the floor moves their
    advantages apart by up to a percent. Decided by computing both on random play (`_probe`), with the game's
    training weights. An episode that one of them leaves out of the loss counts as 0 there.
    """
    batch = _probe(game, pools)
    first, second = (advantages(batch, game, how)[0] for how in (one, other))
    return all(
        np.allclose(first.get(key, 0.0), second.get(key, 0.0), rtol=1e-4, atol=1e-4) for key in first | second
    )


def acts(how: Estimator, switch: str, game: Game, pools: str = "paper") -> bool:
    """Whether a switch of `TURNS` can change an advantage of `how`: whether its value in `published` and its
    value in `unbiased` give different ones (`same`). Raises ValueError for a switch that does not exist."""
    ends = (_turned(how, switch, PRESETS[name]) for name in ("published", "unbiased"))
    return not same(*ends, game, pools)


def clamp_acts(game: Game, pools: str = "paper") -> bool:
    """Whether the clamp itself can act: whether an exploiter that is ahead on average can be behind in an
    episode, or the reverse. (In `unbiased` the switch changes the horizon of exploiters too, so `acts`.)"""
    return acts(PRESETS["published"], "clamp", game, pools)


def idle(name: str, game: Game, pools: str = "paper") -> list[str]:
    """The recipes `<preset>+<switch>` whose switch cannot act in the preset, whichever of its two values it
    has (`acts`). `unbiased+<switch>` is `unbiased` in any case, and listed by the same rule."""
    return [f"{name}+{switch}" for switch in TURNS if not acts(preset(name), switch, game, pools)]
