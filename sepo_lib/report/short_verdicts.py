"""The verdicts on the claims in words alone, as two short tables for README; CLAIMS.md has the numbers."""

from collections.abc import Mapping

import pandas as pd

from sepo_lib.report import claims
from sepo_lib.report.verdicts import MARKS, NOT_RUN

RECIPES = {
    "published": "published (the paper's)",
    "authors_current": "the authors' code",
    "unbiased": "unbiased (ours)",
}
#: Recipe, or the arm without a penalty -> its name in a table.
TITLES = RECIPES | {claims.CONTROL: f"no penalty (`{claims.CONTROL}`)"}
_EVERY = "every game"  # ends the scope of a verdict on all games of a pool set


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
        return "; ".join(f"{MARKS[row.verdict]} {row.scope}" for row in own.itertuples())
    return f"{MARKS[own['verdict'].iloc[0]]} {own['verdict'].iloc[0]}" if len(own) else MARKS[NOT_RUN]


def _counted(recipe: str) -> list[str]:
    """The recipes in a column: its own, and verdicts without one, but not for training without a penalty."""
    return [recipe] if recipe == claims.CONTROL else [recipe, ""]


def of_the_paper(decided: pd.DataFrame) -> list[str]:
    """C1, C2 and so on; C1b is the kit's."""
    return list(dict.fromkeys(decided.loc[decided["claim"].str.fullmatch(r"C\d"), "claim"]))
