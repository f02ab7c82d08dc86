"""Every estimator of credit against the exact gradient of J, for tabular policies (METHOD section 6).

Many batches are simulated from the chains of `tabular`, `credit.advantages` (the trainer's own code) turns
them into advantages, and a batch's estimate is

    sum over decisions of A grad log pi / (G N)

for groups of G rollouts and N groups an opponent in a batch. Its mean over batches is held against the
exact gradient. With N = 1 a batch is what the trainer plays; with a large N the two things that look at a
whole batch, the clamp `mean` and the scale `batch`, know the margins and the scale almost exactly. With
KNOWN the clamp is told the exact margins, as the trainer nearly is in Kuhn (`exact.mean_margins`).

Axes: `_K` blocks of groups, the unit of the bootstrap; `_R` resamples; the rest as in `tabular`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.config.profiles import FEWEST_GROUPS
from sepo_lib.config.progress import Report
from sepo_lib.games.base import OBJECTIVE_POOLS, Game, Weights
from sepo_lib.measure import evaluation, tabular
from sepo_lib.measure.tabular import Chain, Exact, TabularPolicy
from sepo_lib.method import credit, seeds
from sepo_lib.method.credit import Estimator, Rollouts
from sepo_lib.studies import published
from sepo_lib.studies.comparison import ZERO, Measured, cosine, interval

BLOCKS = 40  # the bootstrap's; of two groups each where there are fewer than twice as many groups
FEWEST = FEWEST_GROUPS
TERMS_AT = 8  # the group size at which the terms are taken apart (the nearest one that is measured)
QUARTER = 4  # the presets' own arms are also shown after a quarter of the groups
STUDY_SEED = 1  # no training seed: nothing is trained here
MIX = 0.2  # the share of random play in the policies that have a plan
KNOWN = "unbiased, margins known"
ORDER = "F"  # how arrays lie in memory: the batches side by side, as they are what there is most of
OWN = "none"  # the `switch` of a preset with its own arm and no switch turned
SWITCHES = [switch for switch in credit.FIELD_OF_SWITCH if switch != "credit"]  # every arm is measured


# ------------------------------------------------------------------------------------------- policies


def _random(game: Game) -> np.ndarray:
    """One draw of standard normal logits, shape (I, A); the same in every study."""
    legal = tabular.enumeration(game).legal
    shape = (len(legal), max(map(len, legal.values())))
    return seeds.generator(0, "random policy", game.name).normal(size=shape)


def _mostly(game: Game, action_of) -> TabularPolicy:
    """1 - MIX on what `action_of` says of an information set (an action, or a probability of each legal
    one), the rest on the random policy: no action is impossible, and no margin is 0 by symmetry."""
    rows = []
    for seen, legal in tabular.enumeration(game).legal.items():
        wanted = action_of(seen)
        rows.append(wanted if isinstance(wanted, list) else [float(action == wanted) for action in legal])
    mixed_IA = (1 - MIX) * np.array(rows) + MIX * TabularPolicy(game, _random(game)).probabilities_IA
    return TabularPolicy(game, np.log(mixed_IA))


POLICIES = ("uniform", "random", "cooperative", "equilibrium")


def policy(name: str, game: Game) -> TabularPolicy:
    """A policy at which the estimators are measured.

    `uniform`; `random` (one draw of standard normal logits); `cooperative` (always cooperates, bids LOW,
    takes what the other leaves, bets and calls with the K only) and `equilibrium` (defects, bids half its
    value, demands 5, Kuhn's alpha 1/3), both with a fifth of `random`. Raises ValueError for another
    name or a game without an enumeration.
    """
    if name not in POLICIES:
        raise ValueError(f"There is no policy '{name}'; choose from {', '.join(POLICIES)}.")
    if name == "uniform":
        return TabularPolicy(game, np.zeros_like(_random(game)))
    if name == "random":
        return TabularPolicy(game, _random(game))
    return _mostly(game, getattr(tabular.enumeration(game), name))


# ------------------------------------------------------------------------------------------ estimators


@dataclass(frozen=True)
class Study:
    """One estimator of the study: the preset it starts from (or KNOWN, or a name of `published.ELSEWHERE`),
    the switch turned in it (or OWN), `pooled`: whether it is also measured with many groups in a batch, and
    `known`: whether the clamp is told the exact margins."""

    base: str
    switch: str
    how: Estimator
    pooled: bool = False
    known: bool = False


def studies() -> list[Study]:
    """Every arm under `published` and `unbiased`, every switch of the two turned alone to the other's value,
    `authors_current`, and the estimators of other papers.

    `unbiased` has scale none, so that its size can be compared, and so has KNOWN; `unbiased, scaled` is the
    preset as it is trained. A switch is turned in the preset with its own arm.
    """
    paper, trained = credit.PRESETS["published"], credit.PRESETS["unbiased"]
    unbiased = trained.with_(scale="none")
    found = [Study(KNOWN, OWN, unbiased, known=True)]
    found += [Study(name, OWN, one.estimator, known=True) for name, one in published.ELSEWHERE.items()]
    found.append(Study("authors_current", OWN, credit.PRESETS["authors_current"]))
    for base, how in (("published", paper), ("unbiased", unbiased), ("unbiased, scaled", trained)):
        found += [
            Study(base, OWN if arm == how.arm else "credit", how.with_(arm=arm), pooled=how == unbiased)
            for arm in credit.ARMS
        ]
    for base, how, other in (("published", paper, unbiased), ("unbiased", unbiased, paper)):
        found += [
            Study(base, switch, how.with_(**{switch: getattr(other, switch)}), pooled=how == unbiased)
            for switch in SWITCHES
        ]
    return found


# ---------------------------------------------------------------------------------------------- play


def simulate(
    of: Chain, p_IA: np.ndarray, shape: tuple[int, ...], rounds: int, rng: np.random.Generator
) -> np.ndarray:
    """Episodes of a policy against one opponent: the branch taken in each round, (*shape, T) integers."""
    flat = np.append(p_IA.ravel(), 1.0)
    p_M = of.chance_M * flat[of.decisions_MD].prod(axis=1)
    last_S = np.searchsorted(of.state_M, np.arange(of.states), side="right") - 1
    first_S = np.append(0, last_S[:-1] + 1)
    before_M = np.append(0.0, np.cumsum(p_M))[:-1]
    upto_M = of.state_M + np.cumsum(p_M) - before_M[first_S][of.state_M]  # ascending; state s: s to s + 1
    upto_M[last_S] = np.arange(of.states) + 1.0
    taken = np.empty((*shape, rounds), dtype=np.intp, order=ORDER)
    state = np.zeros(shape, dtype=np.intp)
    for t in range(rounds):
        branch = np.searchsorted(upto_M, state + rng.random(shape), side="right")
        taken[..., t] = np.minimum(branch, last_S[state])  # s + u may round up to s + 1
        state = of.next_M[taken[..., t]]
    return taken


@dataclass(frozen=True)
class Block:
    """Simulated batches: what credit needs of them, and the flat index of every decision in the table."""

    pools: credit.Pools
    decisions: Mapping[tuple[str, str], np.ndarray]  # (pool, opponent) -> (B, N, G, T, D)

    def pooled(self) -> "Block":
        """The same groups as one batch."""

        def one(array: np.ndarray) -> np.ndarray:
            return array.reshape(1, -1, *array.shape[2:])

        pools = {
            pool: {key: Rollouts(*(one(array) for array in vars(r).values())) for key, r in groups.items()}
            for pool, groups in self.pools.items()
        }
        return Block(pools, {key: one(array) for key, array in self.decisions.items()})


def play(policy: TabularPolicy, pools: str, batches: int, size: int, rng: np.random.Generator) -> Block:
    """`batches` batches of one group of `size` rollouts against every opponent of the three pools.

    Raises ValueError for fewer than 1 batch or 2 rollouts.
    """
    game, p_IA = policy.game, policy.probabilities_IA
    if batches < 1:
        raise ValueError(f"At least one batch has to be played, not {batches}.")
    recorded: dict[str, dict] = {}
    decisions = {}
    for pool in OBJECTIVE_POOLS:
        recorded[pool] = {}
        for opponent in game.pool(pools, pool):
            key, of = (pool, opponent), tabular.chain(game.name, pools, pool, opponent)
            branch = simulate(of, p_IA, (batches, 1, size), game.rounds, rng)
            counts_M = (of.decisions_MD < p_IA.size).sum(axis=1).astype(float)
            values = (of.own_M, of.other_M, of.collusion_M, of.externality_M, counts_M)
            recorded[pool][key] = Rollouts(*(np.asarray(value_M[branch], order=ORDER) for value_M in values))
            decisions[key] = np.asarray(of.decisions_MD[branch], order=ORDER)
    return Block(recorded, decisions)


def estimates(
    block: Block,
    policy: TabularPolicy,
    how: Estimator,
    weights: Weights,
    means: Mapping[str, float] | None = None,
) -> np.ndarray:
    """The gradient estimate of every batch, with respect to the logits: shape (B, I, A).

    `means`: the exploiters' mean margins, where they are known (see `credit.advantages`).
    """
    p_IA = policy.probabilities_IA
    given, _ = credit.advantages(block.pools, policy.game, how, weights, means)
    places = p_IA.size + 1  # the last one takes what stands where a round has fewer decisions
    total = 0.0
    for key, advantage in given.items():
        batches = np.arange(len(advantage)).reshape(-1, 1, 1, 1, 1)
        index = block.decisions[key] + places * batches
        charged = np.broadcast_to(advantage[..., None], index.shape)
        total = total + np.bincount(index.ravel(ORDER), charged.ravel(ORDER), places * len(advantage))
        rollouts = advantage.shape[1] * advantage.shape[2]
    weight = total.reshape(-1, places)[:, :-1].reshape(-1, *p_IA.shape) / rollouts
    return weight - weight.sum(axis=-1, keepdims=True) * p_IA  # grad log pi(a) = onehot(a) - pi


def _parts(weights: Weights, term: str) -> Weights:
    """Weights without `term`; without any penalty for u."""
    if term == "u":
        return Weights(0.0, 0.0, 0.0)
    return replace(weights, **{{"e": "exploit", "c": "collusion", "x": "externality"}[term]: 0.0})


def estimate_terms(
    block: Block,
    policy: TabularPolicy,
    how: Estimator,
    terms: Sequence[str],
    means: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """`estimates` of J and of its `terms`: what the estimate is without penalties (u), and what a penalty
    adds to it (e, c, x). Where the scale is none they add up to that of J. `means`: as in `estimates`."""
    weights = policy.game.train_weights
    found = {"J": estimates(block, policy, how, weights, means)}
    for term in terms:
        without = estimates(block, policy, how, _parts(weights, term), means)
        found[term] = without if term == "u" else found["J"] - without
    return found


# ----------------------------------------------------------------------------------------- measuring


#: The columns that a row of the table starts with, and those that are measured.
KEYS = (
    *("game", "pools", "policy", "how", "switch", "arm", "horizon", "clamp", "scale", "weights", "baseline"),
    *("group_size", "groups", "groups_per_batch", "term", "nearest_margin"),
)
MEASURES = (
    *("cosine", "cosine_low", "cosine_high"),
    *("batch_cosine", "batch_cosine_low", "batch_cosine_high"),
    *("change", "change_low", "change_high", "bias_norm"),
    *("size_ratio", "size_low", "size_high", "variance", "estimate_norm", "noise_norm", "exact_norm"),
)


def _measure(
    policy: TabularPolicy,
    pools: str,
    groups: int,
    size: int,
    separate: bool,
    exact: Exact,
    seed: int,
) -> dict[tuple[Study, str, int], Measured]:
    """All estimators on the same simulated groups, block by block, by (study, term, groups per batch)."""
    game = policy.game
    blocks = min(BLOCKS, groups // 2)
    per_block = groups // blocks
    factor = tabular.coefficients(game, game.train_weights)
    terms = [term for term in tabular.TERMS if separate and factor[term]]
    means: dict[tuple, list[np.ndarray]] = {}
    squares: dict[tuple, list[float]] = {}
    cosines: dict[tuple, list[float]] = {}
    every = [study for study in studies() if separate or study.base not in published.ELSEWHERE]
    for number in range(blocks):
        block = play(policy, pools, per_block, size, seeds.generator(seed, "block", number))
        pooled = block.pooled()
        made: dict[tuple, dict[str, np.ndarray]] = {}  # an estimator that two studies share is made once
        for study in every:
            known = study.known
            kinds = [(1, block, [] if known or study.base == "authors_current" else terms)] + (
                [(per_block, pooled, [])] if study.pooled and per_block > 1 else []
            )
            for together, played, wanted in kinds:
                once = (study.how, known, together)
                if once not in made:
                    told = exact.margins if known else None
                    made[once] = estimate_terms(played, policy, study.how, wanted, told)
                for term, estimate in made[once].items():
                    key = (study, term, together)
                    flat = estimate.reshape(len(estimate), -1)
                    means.setdefault(key, []).append(flat.mean(axis=0))
                    squares.setdefault(key, []).append(float((flat**2).sum(axis=1).mean()))
                    one = _batch_cosine(flat, exact.gradients[term].ravel()) if term == "J" else np.nan
                    cosines.setdefault(key, []).append(one)
    return {
        key: Measured(*(np.array(of[key]) for of in (means, squares, cosines)), per_block // key[2])
        for key in means
    }


def _batch_cosine(estimates_BP: np.ndarray, exact_P: np.ndarray) -> float:
    """Mean over batches of the cosine of one batch's estimate with the exact gradient, nan where that is
    zero. An estimate of zero has no direction and counts as 0."""
    if np.linalg.norm(exact_P) <= ZERO:
        return np.nan
    return float(np.nan_to_num(cosine(estimates_BP, exact_P)).mean())


def measure(
    policy_name: str, game: Game, pools: str, groups: int, sizes: Sequence[int], seed: int
) -> pd.DataFrame:
    """The rows of `estimators.csv` for one policy in one game: columns KEYS and MEASURES.

    `groups` of every size in `sizes` are played against every opponent, in blocks. `cosine` is that of the
    estimate's mean with the exact gradient of the term's contribution to J, with a bootstrap interval over
    blocks that is free of the noise of the mean (`comparison.resampled_cosines`); `batch_cosine`, for J
    alone, is the mean over batches of the cosine of one batch's estimate: a biased estimator with little
    noise can win there. Estimators of other papers are measured at one size, the one nearest to TERMS_AT.
    `change` is the cosine less that of the same preset without its switch turned, on the same play.
    `size_ratio` is the mean's component along the exact gradient over the length of that, and `bias_norm` the
    length of the error of the mean, both where the scale is none; pure noise would make an error of
    `noise_norm`. `variance` is the trace of the covariance of one batch's estimate. `nearest_margin` is the
    exact margin (points per round) of the exploiter closest to even: at 0 J has a kink and no gradient. All
    have six significant digits. Raises ValueError for an unknown policy, fewer groups than FEWEST, or a size
    below 2.
    """
    start = policy(policy_name, game)
    if groups < FEWEST:
        raise ValueError(f"The study needs at least {FEWEST} groups against every opponent; got {groups}.")
    if not sizes or min(sizes) < 2:
        raise ValueError(
            f"A rollout group needs at least 2 rollouts: one alone has no baseline; got {list(sizes)}."
        )
    exact = tabular.exact(start, pools)
    nearest = min(exact.margins.values(), key=abs)
    separated = min(sizes, key=lambda size: abs(size - TERMS_AT))
    blocks = min(BLOCKS, groups // 2)
    played = groups // blocks * blocks
    rows = []
    for size in sizes:
        path = (policy_name, game.name, pools, size)
        measured = _measure(start, pools, groups, size, size == separated, exact, seeds.derive(seed, *path))
        compared = {
            key: found.compare(exact.gradients[key[1]].ravel(), seed, key[0].how.scale == "none")
            for key, found in measured.items()
        }
        bases = {
            (study.base, *rest): found for (study, *rest), found in compared.items() if study.switch == OWN
        }
        for (study, term, together), (row, cosine_R) in compared.items():
            keys = {
                **{"game": game.name, "pools": pools, "policy": policy_name},
                **{"how": study.base, "switch": study.switch, **study.how.labels()},
                **{"group_size": size, "groups_per_batch": together, "term": term},
                "nearest_margin": nearest if abs(nearest) > ZERO else 0.0,
            }
            if study.switch != OWN:
                base, base_R = bases[study.base, term, together]
                row["change"] = row["cosine"] - base["cosine"]
                row |= interval("change", cosine_R - base_R, row["change"])
            rows.append({**keys, "groups": played, **row})
            if study.switch == OWN and term == "J" and study.base not in published.ELSEWHERE:
                part = measured[study, term, together].part(QUARTER)
                row, _ = part.compare(exact.gradients[term].ravel(), seed, study.how.scale == "none")
                rows.append({**keys, "groups": played // QUARTER, **row})
    table = pd.DataFrame(rows).reindex(columns=[*KEYS, *MEASURES])
    table[list(MEASURES)] = table[list(MEASURES)].map(lambda value: float(f"{value:.6g}"))
    return table


def run_estimators(
    folder: Path,
    report: Report,
    *,
    game: str,
    pools: str,
    policy_name: str,
    groups: int,
    group_sizes: list,
    seed: int,
    keys: dict,
    weights: dict | None = None,
) -> dict:
    """One job of the study: `measure`. Leaves estimators-log.parquet, whose rows also have the columns
    `keys`. Raises ValueError as `measure` does."""
    table = measure(policy_name, games.get(game, weights), pools, groups, group_sizes, seed)
    evaluation.save({"estimators": table.assign(**keys)}, folder, "log")
    report(1, {})
    return {"rows": len(table)}
