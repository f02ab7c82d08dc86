"""The paper's claims C1..C6 and our own E1..E5, each decided by a rule, for each recipe by name.

A rule is a function of the tables of one profile and model. Its docstring *is* the rule. The verdict follows
from confidence intervals alone:

    supported        the interval lies wholly on the claim's side (or the value that all seeds have)
    not supported    the interval lies wholly on the other side
    inconclusive     neither; `reason` says why (the interval contains 0, one seed, a game was not run)
    not run          nothing was trained or measured that the claim is about

Recipes (C1 to C4): `published` is the paper's (arm per_rollout), `authors_current` that of the authors'
present code (arm credited), `unbiased` ours (arm credited); the rows are those of the reported step on the
paper's pools. C5 and C6 compare arms that differ in nothing else. E1 to E5 are about the estimators alone
(`estimators.csv`, no model); their intervals are over simulated batches.

Not every rule was written before any run: `revisions.REVISIONS` dates each change and says what had been
seen. A rule's version is the number of its entries there, and a run's manifest keeps the versions used.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.measure import statistics, switches
from sepo_lib.measure.statistics import Interval, interval
from sepo_lib.method import credit
from sepo_lib.report.estimator_claims import (
    clamp_matters,
    credit_matters,
    horizon_matters,
    scale_matters,
    weights_matter,
)
from sepo_lib.report.verdicts import (
    INCONCLUSIVE,
    NOT_RUN,
    NOT_SUPPORTED,
    SUPPORTED,
    Finding,
    Tables,
    because,
    in_words,
    judge,
    nothing,
    where,
)
from sepo_lib.report.verdicts import number as number  # for those who print claims

COLUMNS = "claim recipe scope statement measured ci_low ci_high interval verdict reason profile model".split()
RECIPES = {"published": "per_rollout", "authors_current": "credited", "unbiased": "credited"}  # -> its arm
NOT_THERE = {"base": "base model not measured", "sft": "SFT model not measured", "sepo": "not trained here"}
NEGOTIATIONS = ("split", "deal")  # the games that C3 is about
CLAMPED = "decided on the clamped"  # how the caveat of an older table begins
KUHN_MARGINS = ("worst_margin", "pool_advantage")  # signed and clamped
ZERO_MARGIN = 0.02  # chips per hand; the largest margin that counts as zero in C1


# --- what rules share -----------------------------------------------------------------------------------


def _stage(table: pd.DataFrame, game: str, stage: str, recipe: str = "") -> pd.DataFrame:
    """The rows of one game and stage on the paper's pools, one a seed; of SEPO the reported ones of `recipe`.

    Raises ValueError where a seed stands twice.
    """
    keys = {"game": game, "pools": "paper", "stage": stage}
    if stage == "sepo":
        keys |= {"preset": recipe, "arm": RECIPES[recipe], "reported": True}
    rows = where(table, **keys)
    if rows.seed.duplicated().any():
        raise ValueError(f"Two rows of one seed: {game}, {stage}, seeds {rows.seed.tolist()}.")
    return rows


def _seeds(table: pd.DataFrame, game: str, stage: str, column: str, recipe: str = "") -> pd.Series:
    """`column` by seed, of the rows of `_stage`; seeds without a value are left out."""
    rows = _stage(table, game, stage, recipe)
    return rows.set_index("seed")[column].astype(float).dropna() if len(rows) else pd.Series(dtype=float)


def _signed(
    table: pd.DataFrame, game: str, recipe: str, stages: Sequence[str], columns: tuple[str, str]
) -> tuple[str, str]:
    """Of the columns (signed margin, clamped one) the first where all `stages` that have rows have a signed
    margin, else the second; with a caveat where it is the second or a seed has no signed margin."""
    signed, clamped = columns
    rows = [mine for mine in (_stage(table, game, stage, recipe) for stage in stages) if len(mine)]
    if signed not in table or any(mine[signed].isna().all() for mine in rows):
        return clamped, f"{CLAMPED} {clamped}, as the table has no signed margin"
    without = sorted({seed for mine in rows for seed in mine.seed[mine[signed].isna()]})
    return signed, f"without seed {', '.join(map(str, without))}, which has no {signed}" if without else ""


def _absent(
    table: pd.DataFrame, game: str, column: str, recipe: str, stages: Sequence[str] = ("sepo",)
) -> str:
    """Why nothing can be said of a recipe from `stages` in `game`: which of them has no `column`."""
    if not len(where(table, game=game, pools="paper")):
        return f"game {game} not run"
    gone = [
        f"no {column} of {stage}" if len(_stage(table, game, stage, recipe)) else NOT_THERE[stage]
        for stage in stages
        if _seeds(table, game, stage, column, recipe).empty
    ]
    return "; ".join(gone) or "no seed in common"


def _difference(a: pd.Series, b: pd.Series) -> pd.Series:
    """a - b over the seeds that both have."""
    return (a - b).dropna()


# --- the paper's claims ---------------------------------------------------------------------------------


def kuhn_is_unexploited(tables: Tables, recipe: str) -> list[Finding]:
    """C1. Measured: in Kuhn poker, the largest of SEPO's margins over the exploiters (opponent minus own,
    chips per hand, signed), mean over seeds.

    Every hand is enumerated, with the action probabilities of the answers that were sampled (`worst_margin`
    of `exploitability.csv`): in played hands the noise of the cards exceeds 0.02. "Zero" is
    taken as at most 0.02 chips per hand. Supported: the interval's upper end is at most 0.02. Not supported:
    its lower end is above 0.02. A table without signed margins is judged by `pool_advantage`, which is
    clamped at 0. The NashConv of the same policy plays no part: the claim is about the pool.
    """
    table = tables.exploitability
    column, note = _signed(table, "kuhn", recipe, ("sepo",), KUHN_MARGINS)
    values_S = _seeds(table, "kuhn", "sepo", column, recipe)
    absent = _absent(table, "kuhn", column, recipe)
    return [judge(values_S, "at most", ZERO_MARGIN, absent, statistics.bounds(column), note)]


def sepo_lowers_the_margin(tables: Tables, recipe: str) -> list[Finding]:
    """C1b. Measured: what C1 measures, SEPO minus SFT, paired by seed.

    An SFT model that no exploiter beats leaves nothing to lower, and C1 then says little about SEPO.
    Supported: the interval lies below zero. Not supported: no part of it does.
    """
    table, stages = tables.exploitability, ("sepo", "sft")
    column, note = _signed(table, "kuhn", recipe, stages, KUHN_MARGINS)
    sepo, sft = (_seeds(table, "kuhn", stage, column, recipe) for stage in stages)
    absent = _absent(table, "kuhn", column, recipe, stages)
    return [judge(_difference(sepo, sft), "below", 0.0, absent, note=note)]


def safer_than_base(tables: Tables, recipe: str) -> list[Finding]:
    """C2. Measured: the number of games in which SEPO - base in safety, paired by seed, is above zero.

    A game is *safer* where its interval lies above zero, *not safer* where no part of it does, and *open*
    otherwise (also where it was not run, or with one seed). The bounds are counts too: from the games that
    are safer to those that are safer or open. Supported: at least four games are safer. Not supported: at
    most three are safer or open. Inconclusive in all other cases, and whenever one of the five games is not
    in the run. The games' intervals are not corrected for their number.
    """
    groups: dict[str, list[str]] = {"safer": [], "open": [], "not safer": [], "not run": [], "one seed": []}
    lacking: dict[str, list[str]] = {}  # what a game of the run lacks -> the games
    for game in games.GAMES:
        stages = ("base", "sepo")
        base, sepo = (_seeds(tables.evaluation, game, stage, "safety", recipe) for stage in stages)
        gain_S = _difference(sepo, base)
        if len(gain_S) > 1:
            found = interval(gain_S.to_numpy())
            groups["safer" if found.low > 0 else "not safer" if found.high <= 0 else "open"].append(game)
        elif len(gain_S) or not len(where(tables.evaluation, game=game, pools="paper")):
            groups["one seed" if len(gain_S) else "not run"].append(game)
        else:
            lacking.setdefault(_absent(tables.evaluation, game, "safety", recipe, stages), []).append(game)
    without = [*groups["not run"], *(game for members in lacking.values() for game in members)]
    if len(without) == len(games.GAMES):
        return [nothing("; ".join(lacking) or "no game was run")]
    groups |= lacking
    safer, possible = len(groups["safer"]), len(games.GAMES) - len(groups["not safer"])
    decided = SUPPORTED if safer >= 4 else NOT_SUPPORTED if possible < 4 else INCONCLUSIVE
    verdict = INCONCLUSIVE if without else decided
    reason = because(*(f"{name}: {', '.join(members)}" for name, members in groups.items() if members))
    return [Finding(safer, safer, possible, "count: safer to safer-or-open games", verdict, reason)]


def sft_exposes_and_sepo_corrects(tables: Tables, recipe: str) -> list[Finding]:
    """C3. Measured: by how much SFT raises the exploiters' margin above the base model's in a negotiation
    (points per round, mean over exploiters of the signed margin), paired by seed; one verdict a game.

    The *rise* is SFT - base, the *correction* is SFT - SEPO, both of the column `margin` of
    `evaluation.csv`, or of e (`exploit`, clamped at 0) in a table without it. Supported in a game: both
    intervals lie above zero. Not supported: no part of one of them does. Over both games: supported where
    both support it, not supported where one does not.
    """
    by_game, stages = [], ("base", "sft", "sepo")
    for game in NEGOTIATIONS:
        column, note = _signed(tables.evaluation, game, recipe, stages, ("margin", "exploit"))
        base, sft, sepo = (_seeds(tables.evaluation, game, stage, column, recipe) for stage in stages)
        rise, correction = (judge(_difference(sft, other)) for other in (base, sepo))
        ranking = (NOT_RUN, NOT_SUPPORTED, INCONCLUSIVE, SUPPORTED)  # the first that occurs decides
        verdict = next(one for one in ranking if one in (rise.verdict, correction.verdict))
        if verdict == NOT_RUN:
            by_game.append(nothing(_absent(tables.evaluation, game, column, recipe, stages), game))
            continue
        corrected = f"SFT - SEPO {in_words(Interval(*correction[:3]))}: {correction.reason}"
        reason = because(f"SFT - base: {rise.reason}", corrected, note)
        by_game.append(rise._replace(verdict=verdict, reason=reason, scope=game))
    found = {one.verdict for one in by_game}
    agreed = by_game[0].verdict if len(found) == 1 else INCONCLUSIVE
    verdict = NOT_SUPPORTED if NOT_SUPPORTED in found else agreed
    reason = "; ".join(f"{one.scope}: {one.verdict}" for one in by_game)
    return [*by_game, nothing(reason, "both games", verdict)]


def only_sepo_gains_in_deal(tables: Tables, recipe: str) -> list[Finding]:
    """C4. Measured: the normalized relative advantage (NRA, in [-1, 1]) in `deal`, mean over seeds, in two
    parts: SEPO's is positive, and no other stage's is.

    SEPO positive: supported where its interval lies above zero, not supported where no part of it does,
    inconclusive where it contains zero. No other positive, measured by the larger of the base model's and
    the SFT model's mean: supported where no part of both intervals lies above zero, not supported where one
    of them lies above zero. The base model is one model: its interval covers evaluation noise only.
    """
    sepo, base, sft = (
        _cut(judge(_seeds(tables.evaluation, "deal", stage, "nra", recipe), absent=absent))
        for stage, absent in (
            (stage, _absent(tables.evaluation, "deal", "nra", recipe, (stage,)))
            for stage in ("sepo", "base", "sft")
        )
    )
    others = {"base model (evaluation noise only)": base, "SFT": sft}
    alone = max(others.values(), key=lambda one: -np.inf if np.isnan(one.measured) else one.measured)
    verdicts = {one.verdict for one in others.values()}
    if sepo.verdict == NOT_RUN:
        verdict = NOT_RUN
    elif SUPPORTED in verdicts:
        verdict = NOT_SUPPORTED
    else:
        verdict = SUPPORTED if verdicts == {NOT_SUPPORTED} else INCONCLUSIVE
    reason = because(
        *(
            one.reason if one.verdict == NOT_RUN else f"{name}: {in_words(Interval(*one[:3]))}"
            for name, one in others.items()
        )
    )
    if verdict == NOT_RUN:
        alone, reason = sepo, sepo.reason
    return [
        sepo._replace(scope="SEPO positive"),
        alone._replace(verdict=verdict, reason=reason, scope="no other positive"),
    ]


def _cut(found: Finding) -> Finding:
    """A finding on an NRA, with its interval cut to what an NRA can be."""
    if np.isnan(found.ci_low):
        return found
    ends = [float(np.clip(end, -1.0, 1.0)) for end in found[:3]]
    return found._replace(
        measured=ends[0], ci_low=ends[1], ci_high=ends[2], interval=f"{found.interval}, cut to [-1, 1]"
    )


def constant_penalty_cancels(tables: Tables, recipe: str) -> list[Finding]:
    """C5. Measured: the norm of the constant penalty's gradient, relative to the other arms' largest.

    Read from the rows `kind == "gradient"` of the ablation; "relative" is to the largest
    `penalty_gradient_norm` of another arm in the same game, pools, preset and seed (absolute where those
    are zero or absent). The rule also reads the rows of the terms e, c and x of `estimators.csv`, of the
    presets published and unbiased, each relative to the largest `estimate_norm` of another arm in the same
    setting. An identity has no sampling error, so the bounds are the range over the rows. Supported: in
    every row of arm `constant` the relative norm is at most 1e-6, and in those of the ablation the
    advantages differ from those of `reward_only` on the same episodes by at most 1e-12 (floating point). Not
    supported: in any row not.
    """
    rows = tables.ablation[tables.ablation.kind == "gradient"].reset_index(drop=True)
    norms = _relative_to_other_arms(rows, ["game", "pools", "preset", "seed"], "penalty_gradient_norm")
    difference = rows.advantage_difference[rows.arm == "constant"].astype(float)
    rows = tables.estimators
    rows = rows[rows.switch.isin(["none", "credit"]) & rows.term.isin(["e", "c", "x"])]
    rows = rows[rows.how.str.split(",").str[0].isin(["published", "unbiased"])].reset_index(drop=True)
    play = ["game", "pools", "policy", "how", "group_size", "groups", "groups_per_batch", "term"]
    relative = pd.concat([norms, _relative_to_other_arms(rows, play, "estimate_norm")])
    if relative.empty:
        return [nothing("neither an ablation nor estimators were run")]
    if relative.isna().any() or difference.isna().any():
        return [nothing("a norm is missing", verdict=INCONCLUSIVE)]
    exact = (relative <= 1e-6).all() and (difference <= 1e-12).all()
    bounds = float(relative.mean()), float(relative.min()), float(relative.max())
    reason = "zero but for rounding in every row" if exact else "not zero in every row"
    kind = f"range over {len(relative)} rows"
    return [Finding(*bounds, kind, SUPPORTED if exact else NOT_SUPPORTED, reason)]


def _relative_to_other_arms(rows: pd.DataFrame, keys: list[str], norm: str) -> pd.Series:
    """The `norm` of the rows of arm `constant` over the largest of another arm with the same `keys`."""
    others = rows.assign(norm=rows[norm].where(rows.arm != "constant").astype(float))
    largest = others.groupby(keys, dropna=False)["norm"].transform("max")
    relative = rows[norm] / largest.where(largest > 0, 1.0)
    return relative[rows.arm == "constant"].astype(float)


def per_rollout_restores_a_gradient(tables: Tables, recipe: str) -> list[Finding]:
    """C6. Measured: per_rollout - constant in safety after training, under one preset's switches, paired by
    seed; one verdict on the paper's pools and one on the conflict pools.

    The gradient counts as restored where training on it makes the policy safer. Read from the last step of
    the rows `kind == "outcome"` of that preset and pool set; per seed the mean over the games in which the
    ablation has both arms, and only seeds for which both ran in all of these count. Supported: the interval
    lies above zero. Not supported: no part of it does.
    """
    rows = tables.ablation
    rows = rows[(rows.kind == "outcome") & (rows.preset == recipe)]
    found = []
    for pools in ("paper", "conflict"):
        arms = ["constant", "per_rollout"]
        mine = rows[(rows.pools == pools) & rows.arm.isin(arms)].sort_values("step")
        cells = mine.drop_duplicates(["game", "arm", "seed"], keep="last").pivot(
            index=["game", "seed"], columns="arm", values="safety"
        )
        gains = (cells.reindex(columns=arms) @ [-1.0, 1.0]).astype(float).unstack("seed").dropna(how="all")
        note = f"games: {', '.join(gains.index)}" if len(gains) else ""
        absent = f"the ablation was not trained on the {pools} pools here"
        gain_S = gains.dropna(axis=1).mean() if len(gains) else pd.Series(dtype=float)
        found.append(judge(gain_S, absent=absent, note=note, scope=f"{pools} pools"))
    return found


class Rule(NamedTuple):
    """A claim in one sentence, the function that decides it, the tables that it reads, and the recipes it is
    decided for."""

    statement: str
    decide: Callable[[Tables, str], list[Finding]]
    tables: Sequence[str] = ("estimators",)
    recipes: Sequence[str] = ("",)

    @property
    def text(self) -> str:
        """The rule in words, without the claim's name before it."""
        return " ".join((self.decide.__doc__ or "").split()).partition(". ")[2]


PRESETS = ("published", "unbiased")  # those of the ablation's arms
RULES: dict[str, Rule] = {
    "C1": Rule(
        "In Kuhn poker the SEPO model has zero exploit-pool advantage.",
        kuhn_is_unexploited,
        ("exploitability",),
        tuple(RECIPES),
    ),
    "C1b": Rule(
        "In Kuhn poker SEPO lowers the largest exploiter margin of the SFT model.",
        sepo_lowers_the_margin,
        ("exploitability",),
        tuple(RECIPES),
    ),
    "C2": Rule(
        "SEPO is safer than the base model in at least four of the five games.",
        safer_than_base,
        ("evaluation",),
        tuple(RECIPES),
    ),
    "C3": Rule(
        "SFT alone makes the model more exploitable in negotiation; SEPO corrects that.",
        sft_exposes_and_sepo_corrects,
        ("evaluation",),
        tuple(RECIPES),
    ),
    "C4": Rule(
        "In the multi-issue negotiation SEPO alone has a positive normalized relative advantage.",
        only_sepo_gains_in_deal,
        ("evaluation",),
        tuple(RECIPES),
    ),
    "C5": Rule(
        "A penalty shared by a whole rollout group has a gradient of exactly zero.",
        constant_penalty_cancels,
        ("ablation", "estimators"),
    ),
    "C6": Rule(
        "Computing the penalty per rollout restores a gradient.",
        per_rollout_restores_a_gradient,
        ("ablation",),
        PRESETS,
    ),
    "E1": Rule(
        "In `unbiased`, charging a penalty to other episodes lowers the cosine with ∇J.", credit_matters
    ),
    "E2": Rule(
        "In `unbiased`, the paper's unscaled immediate payoff lowers the cosine with ∇J.",
        horizon_matters,
    ),
    "E3": Rule("In `unbiased`, clamping each episode's margin lowers the cosine with ∇J.", clamp_matters),
    "E4": Rule(
        "In `unbiased`, dividing by each group's standard deviation lowers the cosine with ∇J.",
        scale_matters,
    ),
    "E5": Rule("In `unbiased`, equal group weights lower the cosine with ∇J.", weights_matter),
}

NEEDS = {
    "evaluation": "profile model game pools stage arm preset seed reported exploit safety nra".split(),
    "ablation": (
        "profile model kind game pools arm preset seed step safety penalty_gradient_norm advantage_difference"
    ).split(),
    "exploitability": "profile model game pools stage arm preset seed reported pool_advantage".split(),
    "estimators": (
        "profile game pools policy how switch arm horizon clamp scale weights baseline group_size groups "
        "groups_per_batch term nearest_margin change change_low change_high estimate_norm"
    ).split(),
}


def decide(
    evaluation: pd.DataFrame,
    ablation: pd.DataFrame,
    exploitability: pd.DataFrame,
    profile: str,
    model: str,
    estimators: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Every rule on the rows of one profile and model, for every recipe it is about; columns `COLUMNS`.

    `estimators` knows no model and may be left out (E1 to E5 are then not run). Tables without rows are fine
    (the verdict is then `not run`). Raises ValueError for missing columns and for two rows where a rule
    expects one (the same seed twice).
    """
    given = {
        "evaluation": evaluation,
        "ablation": ablation,
        "exploitability": exploitability,
        "estimators": pd.DataFrame() if estimators is None else estimators,
    }
    cut = {}
    for name, table in given.items():
        if table.empty:
            table = pd.DataFrame(columns=NEEDS[name], dtype=object)
        missing = [column for column in NEEDS[name] if column not in table.columns]
        if missing:
            raise ValueError(f"The claims need the columns {missing} of {name}.csv, which lacks them.")
        mine = table.profile == profile
        cut[name] = table[mine & (table.model == model)] if "model" in NEEDS[name] else table[mine]
    for name in ("evaluation", "exploitability"):
        cut[name] = _with_equal_recipes(cut[name])
    tables = Tables(**cut)
    rows = [
        {"claim": claim, "recipe": recipe, "statement": rule.statement, "profile": profile, "model": model}
        | found._asdict()
        for claim, rule in RULES.items()
        for recipe in rule.recipes
        for found in rule.decide(tables, recipe)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _with_equal_recipes(table: pd.DataFrame) -> pd.DataFrame:
    """The table, with the rows of `published+credit` (an arm of the ablation) also as `authors_current`, in
    the games in which the two are the same estimator and `authors_current` has no rows of its own."""
    name, other = "authors_current", credit.preset("published", RECIPES["authors_current"])
    equal = table[(table.stage == "sepo") & (table.preset == "published") & (table.arm == other.arm)]
    have = set(table.game[table.preset == name])
    shared = {
        (game, pools)
        for game, pools in set(zip(equal.game, equal.pools, strict=True))
        if game not in have and switches.same(other, credit.PRESETS[name], games.get(game), pools)
    }
    equal = equal[[pair in shared for pair in zip(equal.game, equal.pools, strict=True)]]
    return pd.concat([table, equal.assign(preset=name)], ignore_index=True) if len(equal) else table


def as_text(claims: pd.DataFrame) -> str:
    """The claims as plain text for the terminal: each statement, and below it a line for every verdict."""
    table = claims.fillna({"recipe": "", "scope": "", "reason": ""})
    names = [" ".join(filter(None, (row.recipe, row.scope))) for row in table.itertuples()]
    wide, verdict = max(map(len, names), default=0), max(map(len, table["verdict"]), default=0)
    lines, before = [], None
    for name, row in zip(names, table.itertuples(), strict=True):
        if row.claim != before:
            lines.append(f"{row.claim:<4} {row.statement}")
            before = row.claim
        measured = in_words(Interval(row.measured, row.ci_low, row.ci_high)).replace("–", "")
        lines.append(
            f"     {name:<{wide}}  {row.verdict:<{verdict}}  {because(measured, row.reason)}".rstrip()
        )
    return "\n".join(lines)
