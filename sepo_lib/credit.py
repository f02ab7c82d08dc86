"""Credit assignment: recorded episodes in, one advantage per decision out (METHOD section 6).

The published estimator and the corrected one differ in five switches and nothing else:

    switch    published     unbiased   what it decides
    credit    per_rollout   credited   whose actions a penalty is charged to (the *arm*)
    horizon   immediate     to_go      payoff of this round, or of this round and all later ones
    clamp     episode       mean       max(0, margin) of each episode, or the signed margin of the
                                       exploiters whose mean margin in the batch is positive
    scale     group_std     batch      divide by each group's standard deviation, or by one number
    weights   equal         pool       groups weigh the same, or as in J (1 / opponents in the pool)

`scale = "none"` leaves the advantages in units of J: then the sum over decisions of A grad log pi, divided
by the rollouts of a group, estimates grad J itself. It is what is held against the exact gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .games.base import Game, Weights
from .records import Episode, by_opponent

ARMS = ("reward_only", "constant", "per_rollout", "credited")
_CHOICES = {
    "arm": ARMS,
    "horizon": ("immediate", "to_go"),
    "clamp": ("episode", "mean"),
    "scale": ("group_std", "batch", "none"),
    "weights": ("equal", "pool"),
}
_STD_FLOOR = 1e-4  # added to a standard deviation before dividing, as TRL's GRPO does
_NO_SPREAD = 1e-9  # a standard deviation below this is rounding: the rollouts earned the same


@dataclass(frozen=True)
class Estimator:
    """One setting of the five switches. Raises ValueError for a value that does not exist."""

    arm: str
    horizon: str
    clamp: str
    scale: str
    weights: str

    def __post_init__(self) -> None:
        for switch, choices in _CHOICES.items():
            if getattr(self, switch) not in choices:
                raise ValueError(
                    f"Unknown {switch} '{getattr(self, switch)}'; choose from {', '.join(choices)}."
                )

    def with_(self, **switches: str) -> "Estimator":
        """The same estimator with some switches turned."""
        return replace(self, **switches)


PRESETS = {
    "published": Estimator("per_rollout", "immediate", "episode", "group_std", "equal"),
    "unbiased": Estimator("credited", "to_go", "mean", "batch", "pool"),
}


def preset(name: str, arm: str | None = None) -> Estimator:
    """The preset `name`, with `arm` in the place of its own where given. Raises ValueError."""
    if name not in PRESETS:
        raise ValueError(f"Unknown preset '{name}'; choose from {', '.join(PRESETS)}.")
    return PRESETS[name] if arm is None else PRESETS[name].with_(arm=arm)


def _stack(group: Sequence[Episode], value: str) -> np.ndarray:
    """`own_T`, `other_T`, `collusion_T` or `externality_T` of a group's episodes, shape (G, T)."""
    return np.array([getattr(episode, value) for episode in group], dtype=float)


def _margins(exploiters: dict, clamp: str) -> dict[tuple[str, str], np.ndarray]:
    """Opponent's minus own payoff per exploiter, shape (G, T), as far as the clamp lets it count.

    Its mean over T is the e of one episode: max(0, margin) under `episode`; under `mean` the signed margin
    of an exploiter that is ahead on average in this batch, else 0.
    """
    counted = {}
    for key, group in exploiters.items():
        margin_GT = _stack(group, "other_T") - _stack(group, "own_T")
        if clamp == "episode":
            counts = margin_GT.mean(axis=1, keepdims=True) > 0
        else:
            counts = margin_GT.mean() > 0
        counted[key] = margin_GT * counts
    return counted


def _rollout_penalty(
    train: Sequence[Episode], pools: dict[str, dict], margins: dict, weights: Weights, scale: float
) -> np.ndarray:
    """P[r] = le s e[r] + lc c[r] + lx x[r] for the rollouts of one train opponent, shape (G,)."""
    e_G = np.mean([margin_GT.mean(axis=1) for margin_GT in margins.values()], axis=0)
    c_G = np.mean([_stack(g, "collusion_T").mean(axis=1) for g in pools["collusive"].values()], axis=0)
    hurt = [train, *pools["exploiter"].values()]
    x_G = np.mean([_stack(g, "externality_T").mean(axis=1) for g in hurt], axis=0)
    return weights.exploit * scale * e_G + weights.collusion * c_G + weights.externality * x_G


def _per_round(
    key: tuple[str, str], pools: dict[str, dict], margins: dict, game: Game, weights: Weights, equal: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A credited group's own (payoff, penalty) per round, both (G, T), weighted by its share of J.

    Their sums over rounds are the episode's contributions to s u and to the penalties.
    """
    pool, group = key[0], pools[key[0]][key]
    n_train, n_exploiter, n_collusive = (len(pools[p]) for p in ("train", "exploiter", "collusive"))
    w_u, w_e, w_c = (1, 1, 1) if equal else (1 / n_train, 1 / n_exploiter, 1 / n_collusive)
    w_x = 1 if equal else 1 / (n_train + n_exploiter)
    own_GT = _stack(group, "own_T")
    rounds = own_GT.shape[1]
    payoff_GT = np.zeros_like(own_GT)
    penalty_GT = np.zeros_like(own_GT)
    if pool == "train":
        payoff_GT = w_u * game.scale * own_GT / rounds
    if pool == "exploiter":
        penalty_GT += w_e * weights.exploit * game.scale * margins[key] / rounds
    if pool in ("train", "exploiter"):
        penalty_GT += w_x * weights.externality * _stack(group, "externality_T") / rounds
    if pool == "collusive":
        penalty_GT += w_c * weights.collusion * _stack(group, "collusion_T") / rounds
    return payoff_GT, penalty_GT


def _to_go(value_GT: np.ndarray, memoryless: bool) -> np.ndarray:
    """Sum from each round to the last, shape (G, T); the round itself where rounds are independent."""
    return value_GT if memoryless else np.cumsum(value_GT[:, ::-1], axis=1)[:, ::-1]


def _returns(
    key: tuple[str, str], pools: dict[str, dict], margins: dict, game: Game, weights: Weights, how: Estimator
) -> np.ndarray:
    """What each round of each rollout of one group is rewarded with, before any baseline, shape (G, T)."""
    group, equal = pools[key[0]][key], how.weights == "equal"
    own_GT = _stack(group, "own_T")
    rounds = own_GT.shape[1]
    if how.arm == "credited":
        payoff_GT, penalty_GT = _per_round(key, pools, margins, game, weights, equal)
        if how.horizon == "immediate":  # payoff of the round as published; the episode's whole penalty
            payoff_GT = payoff_GT * rounds / game.scale
            return payoff_GT - penalty_GT.sum(axis=1, keepdims=True)
        if how.clamp == "episode" and key[0] == "exploiter":  # a clamped sum cannot be split into rounds
            return np.broadcast_to(-penalty_GT.sum(axis=1, keepdims=True), own_GT.shape)
        return _to_go(payoff_GT - penalty_GT, game.memoryless)

    if how.arm == "reward_only":
        penalty_G = np.zeros(len(group))
    else:
        penalty_G = _rollout_penalty(group, pools, margins, weights, game.scale)
        if how.arm == "constant":
            penalty_G = np.full_like(penalty_G, penalty_G.mean())
    share = 1.0 if equal else 1.0 / len(pools["train"])
    if how.horizon == "immediate":
        payoff_GT = own_GT
    else:
        payoff_GT = _to_go(game.scale * own_GT / rounds, game.memoryless)
    return share * (payoff_GT - penalty_G[:, None])


@dataclass(frozen=True)
class Credit:
    """`advantages`: per episode (in the order given) one float per decision, or None where the arm leaves
    the episode out of the loss. `zero_variance`: share of (group, round) cells in which all rollouts got
    the same reward, in [0, 1]."""

    advantages: list[np.ndarray | None]
    zero_variance: float


def assign(episodes: Sequence[Episode], game: Game, how: Estimator, weights: Weights | None = None) -> Credit:
    """The advantage of every decision of a batch of rollout groups.

    A group is all episodes of one (pool, opponent) pair, G of them, the same G for every pair; `weights`
    default to the game's training weights. Raises ValueError for missing pools, G < 2 or unequal groups.
    """
    weights = weights or game.train_weights
    pools = {pool: by_opponent(episodes, pool) for pool in ("train", "exploiter", "collusive")}
    for pool, groups in pools.items():
        if not groups:
            raise ValueError(
                f"The batch has no episodes against the {pool} pool; credit needs all three pools."
            )
    sizes = {key: len(group) for groups in pools.values() for key, group in groups.items()}
    if min(sizes.values()) < 2:
        raise ValueError("A rollout group needs at least 2 rollouts: one alone has no baseline.")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"All rollout groups must have the same size; found {sizes}.")

    margins = _margins(pools["exploiter"], how.clamp)
    in_loss = tuple(pools) if how.arm == "credited" else ("train",)
    of_episode: dict[int, np.ndarray] = {}
    cells = zero = 0
    for pool in in_loss:
        for key, group in pools[pool].items():
            return_GT = _returns(key, pools, margins, game, weights, how)
            centred_GT = return_GT - return_GT.mean(axis=0)
            std_T = return_GT.std(axis=0, ddof=1)
            cells += std_T.size
            equal_T = std_T < _NO_SPREAD
            zero += int(equal_T.sum())
            centred_GT[:, equal_T] = 0.0
            if how.scale == "group_std":
                advantage_GT = centred_GT / (std_T + _STD_FLOOR)
            else:  # G / (G - 1): the baseline leaves the rollout itself out, so the estimate is unbiased
                advantage_GT = centred_GT * len(group) / (len(group) - 1)
            for episode, advantage_T in zip(group, advantage_GT, strict=True):
                of_episode[id(episode)] = advantage_T[[d.round for d in episode.decisions]]

    if how.scale == "batch":
        every = np.concatenate(list(of_episode.values()))
        rms = float(np.sqrt(np.mean(every**2)))
        of_episode = {key: advantage / (rms + _STD_FLOOR) for key, advantage in of_episode.items()}
    return Credit([of_episode.get(id(episode)) for episode in episodes], zero / cells)
