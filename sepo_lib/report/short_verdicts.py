"""The verdicts on the claims in words alone, as two short tables for README; CLAIMS.md has the numbers.

`sentences` are those at the top of README; their numbers come from the tables of one run.
"""

from collections.abc import Mapping

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.report import claims, estimators_page, headline_page
from sepo_lib.report.found import words
from sepo_lib.report.transfer_claim import SCOPES
from sepo_lib.report.verdicts import MARKS, NOT_RUN, SUPPORTED

RECIPES = {
    "published": "published (the paper's)",
    "authors_current": "the authors' code",
    "unbiased": "unbiased (ours)",
}
#: Recipe, or the arm without a penalty -> its name in a table.
TITLES = RECIPES | {claims.CONTROL: f"no penalty (`{claims.CONTROL}`)"}
#: Scope of a verdict -> what it asks, where the scope alone does not say it.
_ASKS = {
    SCOPES[0]: "other games get safer",
    SCOPES[1]: "no other game is harmed",
    SCOPES[2]: "one model learns all games",
}
_EVERY = "every game"  # ends the scope of a verdict on all games of a pool set
_MIXED = "parts with different verdicts"
_LIMITS = (
    "These intervals are not corrected for their number, and the exploiters are those of the training "
    "([more](#is-the-policy-safer))."
)


def sentences(run: str) -> list[str]:
    """The gradient, the penalty and the paper's claims; a sentence whose table is missing is left out."""
    penalty = headline_page.in_short(headline_page.effects_of(run))[:1]
    penalty = [f"{sentence} {_LIMITS}" for sentence in penalty]
    return [sentence for sentence in (estimators_page.in_brief(run), *penalty, in_brief(run)) if sentence]


def in_brief(run: str) -> str | None:
    """The verdicts on the paper's claims for its own recipe, and which of them hold without a penalty too."""
    if not paths.table(run, "claims").exists():
        return None
    decided = claims.read(run)
    decided = decided[decided["claim"].isin(of_the_paper(decided))]
    if not ((decided["recipe"] == "published") & (decided["verdict"] != NOT_RUN)).any():
        return None
    names: dict[str, list[str]] = {}
    for claim, own in decided[decided["recipe"].isin(["published", ""])].groupby("claim", sort=False):
        one = own["verdict"].nunique() == 1
        names.setdefault(own["verdict"].iloc[0] if one else _MIXED, []).append(claim)
    told = []
    for verdict in filter(names.get, (*MARKS, _MIXED)):
        has, are = ("have", "are") if len(names[verdict]) > 1 else ("has", "is")
        told.append(f"{words(names[verdict])} {has if verdict == _MIXED else are} {verdict}")
    text = f"Of [the paper's claims](#the-papers-claims), judged for its own recipe, {'; '.join(told)}."
    without = [claim for claim in _holding(claims.control(run)) if claim in _holding(decided, "published")]
    if len(without) == 1:
        statement = decided.set_index("claim")["statement"][without[:1]].iloc[0].rstrip(".")
        without = [f"{without[0]} ({statement})"]
    if without:
        text += f" {words(without)} {'hold' if len(without) > 1 else 'holds'} without a penalty too."
    return text


def _holding(decided: pd.DataFrame, recipe: str = claims.CONTROL) -> list[str]:
    """The claims of which every part is supported for the recipe."""
    if decided.empty:
        return []
    own = decided[decided["recipe"] == recipe].groupby("claim", sort=False)["verdict"]
    return [claim for claim, verdicts in own if (verdicts == SUPPORTED).all()]


def by_recipe(decided: pd.DataFrame) -> list[dict[str, str]]:
    """The claims of the paper as rows, with a column for each recipe of which anything was run.

    A claim without a recipe has the same verdict in all columns, but for that without a penalty.
    """
    run = decided[decided["verdict"] != NOT_RUN]
    shown = [name for name in TITLES if (run["recipe"] == name).any()]
    rows = []
    for claim in of_the_paper(decided):
        own = decided[decided["claim"] == claim]
        cells = {TITLES[name]: in_words(own[own["recipe"].isin(_counted(name))]) for name in shown}
        rows.append({"claim": claim, "statement": own["statement"].iloc[0]} | cells)
    return rows


def by_run(decided: Mapping[str, pd.DataFrame]) -> list[dict[str, str]]:
    """The kit's own claims as rows, with a column for each run; the recipe of C1b is the run's own."""
    every = pd.concat(list(decided.values()))
    own_claims, rows = every[~every["claim"].isin(of_the_paper(every))], []
    for claim, statement in own_claims.groupby("claim", sort=False)["statement"].first().items():
        row = {"claim": claim, "statement": statement}
        for run, table in decided.items():
            own = table[table["claim"] == claim]
            if len(set(own["recipe"])) > 1:
                own = own[own["recipe"] == "unbiased"]
            row[f"`{run}`"] = in_words(own)
        rows.append(row)
    return rows


def in_words(own: pd.DataFrame) -> str:
    """`✓ supported`, or the verdict on each part where they differ: `✓ deal; ✗ split`; a dash without rows.

    Beside a verdict on every game, those on single games are left out.
    """
    every = own["scope"].str.endswith(_EVERY)
    own = own[every] if every.any() else own
    if own["verdict"].nunique() > 1:
        parts = zip(own["verdict"], own["scope"].replace(_ASKS), strict=True)
        return "; ".join(f"{MARKS[verdict]} {asked}" for verdict, asked in parts)
    return f"{MARKS[own['verdict'].iloc[0]]} {own['verdict'].iloc[0]}" if len(own) else MARKS[NOT_RUN]


def _counted(recipe: str) -> list[str]:
    """The recipes in a column: its own, and verdicts without one, but not for training without a penalty."""
    return [recipe] if recipe == claims.CONTROL else [recipe, ""]


def of_the_paper(decided: pd.DataFrame) -> list[str]:
    """C1, C2 and so on; C1b is the kit's."""
    return list(dict.fromkeys(decided.loc[decided["claim"].str.fullmatch(r"C\d"), "claim"]))
