"""The paper's claims C1..C6 and the kit's own C1b and E1..E9, each decided by a rule for each recipe.

A rule is a function of the tables of one profile and model (`paper_claims`, `estimator_claims`). Its
docstring *is* the rule. The verdict follows from confidence intervals alone:

    supported        the interval lies wholly on the claim's side (or the value that all seeds have)
    not supported    the interval lies wholly on the other side
    inconclusive     neither; `reason` says why (the interval contains 0, one seed, a game was not run)
    not run          nothing was trained or measured that the claim is about

Recipes of C1 to C4: `published` is the paper's (arm per_rollout), `authors_current` is that of the authors'
current code (arm credited), and `unbiased` is the kit's (arm credited). These claims read the rows of the
reported step on the paper's pools. C5 and C6 compare arms that differ in nothing else. E1 to E5 are about the
estimators alone (`estimators.parquet`, no model); their intervals are over simulated batches. E6 is about
training against a best response, E7 about the arms in all games, E8 about what carries over between games,
and E9 about a result of the authors.

Not every rule was written before any run: `revisions.REVISIONS` dates each change and says which results had
been seen. The version of a rule is the number of its entries there. A run's manifest keeps the versions used.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.measure import switches
from sepo_lib.method import credit
from sepo_lib.report import (
    estimator_claims,
    findings,
    paper_claims,
    replication_claim,
    training_claims,
    transfer_claim,
)
from sepo_lib.report.paper_claims import RECIPES
from sepo_lib.report.verdicts import NOT_RUN, Finding, Tables, because, caution, measured, which
from sepo_lib.run import revisions

COLUMNS = "claim recipe scope statement measured ci_low ci_high interval verdict reason profile model".split()
CONTROL = "reward_only"  # the arm without a penalty; `control` judges it by the rules of C1 to C4
EMPTY = {"recipe": "", "scope": "", "reason": ""}  # read_csv makes nan of these cells if they are empty


class Rule(NamedTuple):
    """A claim in one sentence, the function that decides it, the tables that the function reads, and the
    recipes for which the claim is decided."""

    statement: str
    decide: Callable[[Tables, str], list[Finding]]
    tables: Sequence[str] = ("estimators",)
    recipes: Sequence[str] = ("",)

    @property
    def text(self) -> str:
        """The rule in words, without the name of the claim."""
        return " ".join((self.decide.__doc__ or "").split()).partition(". ")[2]


RULES: dict[str, Rule] = {
    "C1": Rule(
        "In Kuhn poker the SEPO model has zero exploit-pool advantage.",
        paper_claims.kuhn_is_unexploited,
        ("exploitability",),
        tuple(RECIPES),
    ),
    "C1b": Rule(
        "In Kuhn poker SEPO lowers the largest exploiter margin of the SFT model.",
        paper_claims.sepo_lowers_the_margin,
        ("exploitability",),
        tuple(RECIPES),
    ),
    "C2": Rule(
        "SEPO is safer than the base model in at least four of the five games.",
        paper_claims.safer_than_base,
        ("evaluation",),
        tuple(RECIPES),
    ),
    "C3": Rule(
        "SFT alone makes the model more exploitable in negotiation; SEPO corrects that.",
        paper_claims.sft_exposes_and_sepo_corrects,
        ("evaluation",),
        tuple(RECIPES),
    ),
    "C4": Rule(
        "In the multi-issue negotiation, only SEPO has a positive normalized relative advantage (NRA).",
        paper_claims.only_sepo_gains,
        ("evaluation",),
        tuple(RECIPES),
    ),
    "C5": Rule(
        "A penalty shared by a whole rollout group has a gradient of exactly zero.",
        paper_claims.constant_penalty_cancels,
        ("ablation", "estimators"),
    ),
    "C6": Rule(
        "Computing the penalty per rollout restores a gradient.",
        paper_claims.per_rollout_restores_a_gradient,
        ("ablation",),
        ("published", "unbiased"),  # the presets of the ablation's arms
    ),
    "E1": Rule(
        "Charging a penalty to the wrong episodes biases the gradient.", estimator_claims.credit_matters
    ),
    "E2": Rule("Rewarding only the immediate payoff biases the gradient.", estimator_claims.horizon_matters),
    "E3": Rule("Clamping each episode's margin at 0 biases the gradient.", estimator_claims.clamp_matters),
    "E4": Rule(
        "Dividing by each group's standard deviation biases the gradient.", estimator_claims.scale_matters
    ),
    "E5": Rule("Equal group weights bias the gradient.", estimator_claims.weights_matter),
    "E6": Rule(
        "With enumerated advantages against a best response, the language model's NashConv is at most 0.02 "
        "chips on every seed.",
        training_claims.equilibrium_is_reached,
        ("exploiters",),
    ),
    "E7": Rule(
        "A penalty that is charged to the episodes that cause it makes the policy safer.",
        training_claims.credited_penalty_makes_safer,
        ("ablation",),
        ("unbiased",),
    ),
    "E8": Rule(
        "SEPO on one game makes the other games safer and harms none, and one model can learn all games.",
        transfer_claim.safety_carries_over,
        ("transfer",),
        ("unbiased",),
    ),
    "E9": Rule(
        "From an SFT model near tit-for-tat, the authors' current recipe makes the policy safer, as it did "
        "with their model.",
        replication_claim.authors_result_replicates,
        ("replication",),
        ("authors_current",),
    ),
}

#: The claims that are decided for every recipe.
SHARED = [name for name, rule in RULES.items() if set(rule.recipes) == set(RECIPES)]

#: Table -> the columns that the rules need.
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
    "replication": "profile model share top_p stage preset seed safety".split(),
    "transfer": "profile model trained_on game preset seed safety".split(),
    "exploiters": (
        "profile model exploiter baseline stage seed step nashconv nashconv_low nashconv_high"
    ).split(),
}


def decide(
    evaluation: pd.DataFrame,
    ablation: pd.DataFrame,
    exploitability: pd.DataFrame,
    profile: str,
    model: str,
    estimators: pd.DataFrame | None = None,
    **studies: pd.DataFrame,
) -> pd.DataFrame:
    """The verdicts of all rules on the rows of one profile and model, with the columns `COLUMNS`.

    `estimators` has no model and may be left out, as may the other tables of NEEDS (`studies`). A verdict is
    `not run` if its table has no rows. Raises ValueError for a rule without a date, for missing columns, and
    if a seed occurs twice where a rule expects one row per seed.
    """
    if undated := [claim for claim in RULES if claim not in revisions.REVISIONS]:
        raise ValueError(f"The rule {undated[0]} has no date; add its entry to sepo_lib/run/revisions.py.")
    tables = {"evaluation": evaluation, "ablation": ablation, "exploitability": exploitability}
    tables |= {"estimators": estimators} | studies
    cut = {}
    for name, needed in NEEDS.items():
        table = tables.get(name)
        if table is None or table.empty:
            table = pd.DataFrame(columns=needed, dtype=object)
        if name == "exploiters" and "baseline" not in table:
            table = table.assign(baseline="group")  # older tables
        if missing := [column for column in needed if column not in table]:
            raise ValueError(f"{name}.csv lacks the columns {missing}, which the claims need.")
        own = table[table.profile == profile]
        cut[name] = own[own.model == model] if "model" in needed else own
    for name in ("evaluation", "exploitability"):
        cut[name] = _with_equal_recipes(cut[name])
    used = Tables(**cut)
    rows = [
        {"claim": claim, "recipe": recipe, "statement": rule.statement, "profile": profile, "model": model}
        | found._asdict()
        for claim, rule in RULES.items()
        for recipe in rule.recipes
        for found in rule.decide(used, recipe)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def read(profile: str) -> pd.DataFrame:
    """claims.csv of a run, cut to the run's model, with empty texts for missing ones.

    Raises as `paths.read_table` and `provenance.own_rows` do.
    """
    return findings.read(profile, "claims").fillna(EMPTY)


def control(run: str) -> pd.DataFrame:
    """The verdicts on C1 to C4 of a run if the arm CONTROL stands in the place of `unbiased`; as in `read`.

    The two differ only in the penalty, so that a claim that holds for both says nothing about the penalty.
    """
    if not all(paths.table(run, name).exists() for name in ("evaluation", "exploitability")):
        return pd.DataFrame()
    tables = []
    for name in ("evaluation", "exploitability"):
        table = findings.read(run, name)
        table = table.reindex(columns=dict.fromkeys([*table.columns, *NEEDS[name]]))
        other = (table["preset"] == "unbiased") & (table["arm"] == CONTROL)
        tables.append(table[(table["stage"] != "sepo") | other].assign(arm="credited"))
    evaluation, exploitability = tables
    if (evaluation["stage"] != "sepo").all():
        return pd.DataFrame()
    known = (evaluation["profile"].iloc[0], evaluation["model"].iloc[0])
    decided = decide(evaluation, pd.DataFrame(), exploitability, *known).fillna(EMPTY)
    own = decided["claim"].isin(SHARED) & (decided["recipe"] == "unbiased")
    return decided[own].assign(recipe=CONTROL)


def as_text(claims: pd.DataFrame) -> str:
    """The claims as plain text for the terminal: each statement, and below it a line for every verdict.

    It begins with the caution about the profile, if there is one. The last line lists what was not run.
    """
    table = claims.fillna(EMPTY)
    skipped, run = table[table["verdict"] == NOT_RUN], table[table["verdict"] != NOT_RUN]
    names = [*map(which, run.itertuples())]
    wide, verdict = max(map(len, names), default=0), max(map(len, run["verdict"]), default=0)
    lines, before = cautions(table), None
    for name, row in zip(names, run.itertuples(), strict=True):
        if row.claim != before:
            lines.append(f"{row.claim:<4} {row.statement}")
            before = row.claim
        reason = because(measured(row).replace("–", ""), row.reason)
        lines.append(f"     {name:<{wide}}  {row.verdict:<{verdict}}  {reason}".rstrip())
    if len(skipped):
        parts = [
            f"{claim} ({'; '.join(map(which, rows.itertuples()))})" if claim in set(run["claim"]) else claim
            for claim, rows in skipped.groupby("claim", sort=False)
        ]
        lines.append(f"Not run: {', '.join(parts)}.")
    return "\n".join(lines)


def cautions(claims: pd.DataFrame) -> list[str]:
    """The caution about the profile of the claims, if there is one, as a list of at most one sentence."""
    profiles = claims["profile"].dropna().unique() if "profile" in claims else []
    return list(filter(None, map(caution, profiles)))


def _with_equal_recipes(table: pd.DataFrame) -> pd.DataFrame:
    """The table, with the rows of `published+credit` repeated as `authors_current`.

    This is done for games in which the two are the same estimator and `authors_current` has no rows.
    """
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
