"""Every estimator of credit against the exact gradient of J, for tabular policies.

The study simulates many batches from the chains of `tabular`. `credit.advantages`, which is also the
trainer's code, turns them into advantages. The gradient estimate of a batch is

    sum over decisions of A grad log pi / (G N)

for groups of G rollouts and N groups per opponent in a batch. The mean of the estimate over batches is
compared with the exact gradient (docs/method.md, "What is wrong with the published estimator"). With N = 1 a
batch is what the trainer plays. With a large N, the clamp `mean` and the scale `batch`, which look at a whole
batch, know the margins and the scale almost exactly. With KNOWN the clamp gets the exact margins; the trainer
nearly knows them in Kuhn poker (`kuhn_strategy.mean_margins`).

Axes: `_K` blocks of groups, the unit of the bootstrap; `_R` resamples; the rest as in `tabular`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.config import progress
from sepo_lib.config.profiles import FEWEST_GROUPS, STUDY_POLICIES
from sepo_lib.config.progress import Report
from sepo_lib.games.base import OBJECTIVE_POOLS, Action, Game, InformationSet, Weights
from sepo_lib.measure import enumerated, job_tables, tabular
from sepo_lib.measure.tabular import Chain, Exact, TabularPolicy
from sepo_lib.method import credit, seeds
from sepo_lib.method.credit import Estimator, Rollouts
from sepo_lib.studies import published
from sepo_lib.studies.comparison import ZERO, Measured, cosine, interval

BLOCKS = 40  # blocks of the bootstrap, of at least two groups each
FEWEST = FEWEST_GROUPS
TERMS_AT = 8  # the group size at which the terms are measured apart (the nearest one that is measured)
QUARTER = 4  # the presets' own arms are also shown after a quarter of the groups
MIX = 0.2  # the share of random play in the policies `cooperative` and `equilibrium`
KNOWN = "unbiased, margins known"
ENUMERATED = "unbiased, enumerated"  # as many answers at all information sets as play asks for
ALONG_PLAY = "unbiased, enumerated along play"  # q - v of the exact strategy at the decisions that are played
ORDER = "F"  # memory order of the arrays: batches are the longest axis and lie side by side
OWN = "none"  # the `switch` of a preset with its own arm and all its own settings
SWITCHES = [
    switch for switch in credit.FIELD_OF_SWITCH if switch != "credit"
]  # for credit every arm is measured
POLICIES = STUDY_POLICIES
#: The columns that identify a row of the table, and the measured ones.
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


def policy(name: str, game: Game) -> TabularPolicy:
    """A policy at which the estimators are measured.

    `uniform`; `random` (one draw of standard normal logits); `cooperative` and `equilibrium`, which are those
    of the game's `Enumeration` with a share MIX of `random`. So no action is impossible, and no margin is 0
    by symmetry. Raises ValueError for another name or a game without an enumeration.
    """
    if name not in POLICIES:
        raise ValueError(f"There is no policy '{name}'; choose from {', '.join(POLICIES)}.")
    if name == "uniform":
        return TabularPolicy(game, np.zeros_like(_random_logits(game)))
    random = TabularPolicy(game, _random_logits(game))
    if name == "random":
        return random
    wanted_IA = _probabilities(game, getattr(tabular.enumeration(game), name))
    return TabularPolicy(game, np.log((1 - MIX) * wanted_IA + MIX * random.probabilities_IA))


@dataclass(frozen=True)
class Study:
    """One row of the study's list of estimators.

    `base`: the preset it starts from, or KNOWN, or a name of `published.ELSEWHERE`. `switch`: the setting
    that differs from the base, or OWN. `pooled`: whether it is also measured with many groups in a batch.
    `known`: whether the clamp gets the exact margins.
    """

    base: str
    switch: str
    estimator: Estimator
    pooled: bool = False
    known: bool = False


def studies() -> list[Study]:
    """All estimators of the study.

    They are every arm under `published` and `unbiased`, each switch of these two presets changed alone to the
    other preset's value, every other preset, and the estimators of other papers. `unbiased` and KNOWN have
    scale none, so that their size can be compared; `unbiased, scaled` is the preset that is trained. A switch
    is changed in the preset with its own arm. ENUMERATED and ALONG_PLAY are for games with NashConv.
    """
    paper, trained = credit.PRESETS["published"], credit.PRESETS["unbiased"]
    unbiased = trained.with_(scale="none")
    found = [Study(KNOWN, OWN, unbiased, known=True)]
    found += [Study(name, OWN, unbiased.with_(baseline="enumerated")) for name in (ENUMERATED, ALONG_PLAY)]
    found += [Study(name, OWN, one.estimator, known=True) for name, one in published.ELSEWHERE.items()]
    compared = ("published", "unbiased")
    found += [Study(name, OWN, one) for name, one in credit.PRESETS.items() if name not in compared]
    for base, estimator in (("published", paper), ("unbiased", unbiased), ("unbiased, scaled", trained)):
        found += [
            Study(
                base,
                OWN if arm == estimator.arm else "credit",
                estimator.with_(arm=arm),
                pooled=estimator == unbiased,
            )
            for arm in credit.ARMS
        ]
    for base, estimator, other in (("published", paper, unbiased), ("unbiased", unbiased, paper)):
        found += [
            Study(
                base,
                switch,
                estimator.with_(**{switch: getattr(other, switch)}),
                pooled=estimator == unbiased,
            )
            for switch in SWITCHES
        ]
    return found


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
    """Simulated batches, for `credit.advantages`, and the flat index of every decision in the table."""

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


def play_groups(
    policy: TabularPolicy, pools: str, batches: int, size: int, rng: np.random.Generator
) -> Block:
    """`batches` batches of one group of `size` rollouts against every opponent of the three pools.

    Raises ValueError for fewer than 1 batch or 2 rollouts.
    """
    game, p_IA = policy.game, policy.probabilities_IA
    if batches < 1:
        raise ValueError(f"The number of batches must be at least 1, not {batches}.")
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
    estimator: Estimator,
    weights: Weights,
    means: Mapping[str, float] | None = None,
) -> np.ndarray:
    """The gradient estimate of every batch, with respect to the logits: shape (B, I, A).

    `means`: the mean margins of the exploiters, if they are known (see `credit.advantages`).
    """
    advantages, _ = credit.advantages(block.pools, policy.game, estimator, weights, means)
    return _gradients(block, policy, {key: advantage[..., None] for key, advantage in advantages.items()})


def along_play(block: Block, policy: TabularPolicy, pools: str) -> np.ndarray:
    """As `estimates`, with the enumerated q - v of the policy itself at every decision of the play."""
    advantage_IA = enumerated.advantages(enumerated.slopes(policy.game, pools, policy.probabilities_IA))
    flat = np.append(advantage_IA.ravel(), 0.0)
    return _gradients(block, policy, {key: flat[index] for key, index in block.decisions.items()})


def ask(policy: TabularPolicy, pools: str, batches: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """As `estimates`, of `batches` batches of answers at every information set (`measure/enumerated.py`).

    A batch has as many answers as play with groups of `size` asks for, on average.
    """
    p_IA = policy.probabilities_IA
    visits_I = enumerated.slopes(policy.game, pools, p_IA).visits_I
    answers = max(2, round(size * visits_I.mean()))
    share_BIA = rng.multinomial(answers, p_IA, size=(batches, len(p_IA))) / answers
    found = enumerated.slopes(policy.game, pools, share_BIA)
    weight = share_BIA * enumerated.advantages(found, answers) * found.visits_I[..., None]
    return weight - weight.sum(axis=-1, keepdims=True) * p_IA


def _gradients(
    block: Block, policy: TabularPolicy, advantages: Mapping[tuple[str, str], np.ndarray]
) -> np.ndarray:
    """The sum of A grad log pi over the decisions of each batch, over G N: shape (B, I, A)."""
    p_IA = policy.probabilities_IA
    places = p_IA.size + 1  # the last one takes the padding of rounds with fewer decisions
    total = 0.0
    for key, advantage in advantages.items():
        batches = np.arange(len(advantage)).reshape(-1, 1, 1, 1, 1)
        index = block.decisions[key] + places * batches
        charged = np.broadcast_to(advantage, index.shape)
        total = total + np.bincount(index.ravel(ORDER), charged.ravel(ORDER), places * len(advantage))
        rollouts = advantage.shape[1] * advantage.shape[2]
    weight = total.reshape(-1, places)[:, :-1].reshape(-1, *p_IA.shape) / rollouts
    return weight - weight.sum(axis=-1, keepdims=True) * p_IA  # grad log pi(a) = onehot(a) - pi


def estimate_terms(
    block: Block,
    policy: TabularPolicy,
    estimator: Estimator,
    terms: Sequence[str],
    means: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """`estimates` of J and of its `terms`.

    That of u is the estimate without penalties. That of e, c or x is what its penalty adds to the estimate of
    J. With the scale none they add up to the estimate of J. `means`: as in `estimates`.
    """
    weights = policy.game.train_weights
    found = {"J": estimates(block, policy, estimator, weights, means)}
    for term in terms:
        without = estimates(block, policy, estimator, _parts(weights, term), means)
        found[term] = without if term == "u" else found["J"] - without
    return found


def measure(
    policy_name: str, game: Game, pools: str, groups: int, group_sizes: Sequence[int], seed: int
) -> pd.DataFrame:
    """The rows of `estimators.parquet` for one policy in one game: columns KEYS and MEASURES.

    `groups` groups of every size in `group_sizes` are played against every opponent, in blocks.

    - `cosine`: that of the mean estimate with the exact gradient of the term's contribution to J. Its
      interval is a bootstrap over blocks without the noise of the mean (`comparison.resampled_cosines`).
    - `batch_cosine`, for J alone: the mean over batches of the cosine of one batch's estimate. A biased
      estimator with little noise can have the highest.
    - `change`: the cosine minus that of the same preset with its own settings, on the same play.
    - `size_ratio`: the component of the mean along the exact gradient, over the length of that gradient;
      `bias_norm`: the length of the error of the mean; `noise_norm`: the length of the error that noise alone
      would cause. The first two are given if the scale is none.
    - `variance`: the trace of the covariance of one batch's estimate.
    - `nearest_margin`: the exact margin (points per round) of the exploiter closest to even. At 0 J has no
      gradient.

    Estimators of other papers are measured at one size, the one nearest to TERMS_AT. All numbers have six
    significant digits. Raises ValueError for an unknown policy, fewer groups than FEWEST, or a size below 2.
    """
    start = policy(policy_name, game)
    if groups < FEWEST:
        raise ValueError(f"The study needs at least {FEWEST} groups against every opponent; got {groups}.")
    if not group_sizes or min(group_sizes) < 2:
        raise ValueError(
            f"A group needs at least 2 rollouts, because one alone has no baseline; got {list(group_sizes)}."
        )
    exact = tabular.exact(start, pools)
    nearest = min(exact.margins.values(), key=abs)
    separated = min(group_sizes, key=lambda size: abs(size - TERMS_AT))
    blocks = min(BLOCKS, groups // 2)
    played = groups // blocks * blocks
    rows = []
    for size in group_sizes:
        path = (policy_name, game.name, pools, size)
        measured = _measure(start, pools, groups, size, size == separated, exact, seeds.derive(seed, *path))
        compared = {
            key: found.compare(exact.gradients[key[1]].ravel(), seed, key[0].estimator.scale == "none")
            for key, found in measured.items()
        }
        bases = {
            (study.base, *rest): found for (study, *rest), found in compared.items() if study.switch == OWN
        }
        for (study, term, together), (row, cosine_R) in compared.items():
            values = vars(study.estimator).items()
            switches = {name: getattr(value, "__name__", str(value)) for name, value in values}
            keys = {
                **{"game": game.name, "pools": pools, "policy": policy_name},
                **{"how": study.base, "switch": study.switch, **switches},
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
                row, _ = part.compare(exact.gradients[term].ravel(), seed, study.estimator.scale == "none")
                rows.append({**keys, "groups": played // QUARTER, **row})
    table = pd.DataFrame(rows).reindex(columns=[*KEYS, *MEASURES])
    table[list(MEASURES)] = table[list(MEASURES)].map(lambda value: float(f"{value:.6g}"))
    return table


def run_estimators(
    folder: Path, report: Report, *, game: str, labels: dict, weights: dict | None = None, **settings
) -> dict:
    """One job of the study. `weights`: see `games.get`; `settings`: the other arguments of `measure`.

    It leaves estimators-log.parquet, whose rows also have the columns `labels`. Raises ValueError as
    `measure` does.
    """
    table = measure(game=games.get(game, weights), **settings)
    job_tables.save({"estimators": table.assign(**labels)}, folder, "log")
    report(1, {})
    return {"rows": len(table)}


def _random_logits(game: Game) -> np.ndarray:
    """One draw of standard normal logits, shape (I, A); the same in every study."""
    legal = tabular.enumeration(game).legal
    shape = (len(legal), max(map(len, legal.values())))
    return seeds.generator(0, "random policy", game.name).normal(size=shape)


def _probabilities(game: Game, choice: Callable[[InformationSet], Action | list[float]]) -> np.ndarray:
    """The probabilities of a policy that is given by its action, or by the probability of each legal action,
    at every information set; shape (I, A)."""
    rows = []
    for seen, legal in tabular.enumeration(game).legal.items():
        wanted = choice(seen)
        rows.append(wanted if isinstance(wanted, list) else [float(action == wanted) for action in legal])
    return np.array(rows)


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
    if "nashconv" not in game.traits:
        every = [study for study in every if study.estimator.baseline != "enumerated"]
    for number in range(blocks):
        progress.doing(f"groups of {size} rollouts, block {number + 1} of {blocks}")
        block = play_groups(policy, pools, per_block, size, seeds.generator(seed, "block", number))
        pooled = block.pooled()
        estimated: dict[tuple, dict[str, np.ndarray]] = {}  # two studies may share an estimator
        for study in every:
            known = study.known
            kinds = [(1, block, [] if known or study.base == "authors_current" else terms)] + (
                [(per_block, pooled, [])] if study.pooled and per_block > 1 else []
            )
            for together, played, wanted in kinds:
                once = (study.estimator, known, together)
                if study.base == ENUMERATED:
                    rng = seeds.generator(seed, "answers", number)
                    estimated[once] = {"J": ask(policy, pools, per_block, size, rng)}
                elif study.base == ALONG_PLAY:
                    estimated[once] = {"J": along_play(block, policy, pools)}
                elif once not in estimated:
                    margins = exact.margins if known else None
                    estimated[once] = estimate_terms(played, policy, study.estimator, wanted, margins)
                for term, estimate in estimated[once].items():
                    key = (study, term, together)
                    flat = estimate.reshape(len(estimate), -1)
                    means.setdefault(key, []).append(flat.mean(axis=0))
                    squares.setdefault(key, []).append(float((flat**2).sum(axis=1).mean()))
                    one = batch_cosine(flat, exact.gradients[term].ravel()) if term == "J" else np.nan
                    cosines.setdefault(key, []).append(one)
    return {
        key: Measured(*(np.array(of[key]) for of in (means, squares, cosines)), per_block // key[2])
        for key in means
    }


def batch_cosine(estimates_BP: np.ndarray, exact_P: np.ndarray) -> float:
    """Mean over batches of the cosine of one batch's estimate with the exact gradient.

    nan if the exact gradient is zero. An estimate of zero has no direction and counts as 0.
    """
    if np.linalg.norm(exact_P) <= ZERO:
        return np.nan
    return float(np.nan_to_num(cosine(estimates_BP, exact_P)).mean())


def _parts(weights: Weights, term: str) -> Weights:
    """Weights without `term`; without any penalty for u."""
    if term == "u":
        return Weights(0.0, 0.0, 0.0)
    return replace(weights, **{{"e": "exploit", "c": "collusion", "x": "externality"}[term]: 0.0})
