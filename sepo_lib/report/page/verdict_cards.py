"""The verdicts on the claims, as cards: one claim each, with a row for every recipe that was run."""

import pandas as pd

from sepo_lib.report import claims
from sepo_lib.report.short_verdicts import RECIPES
from sepo_lib.report.verdicts import MARKS, NOT_RUN, measured, which

#: The groups of the claims.
OF_THE_MODEL = "About the models of this run"
OF_THE_ESTIMATOR = "About the gradient estimator"


def cards(decided: pd.DataFrame) -> dict[str, list[dict]]:
    """The claims by group; a claim without a recipe is about the estimator.

    Each card has rows for the verdicts that were run, and lines (recipes and reason) for those that were not.
    Recipes of which nothing was run (`idle`) are left out.
    """
    skipped = idle(decided)
    groups: dict[str, list[dict]] = {OF_THE_MODEL: [], OF_THE_ESTIMATOR: []}
    for (claim, statement), own in decided.groupby(["claim", "statement"], sort=False):
        run = own[own["verdict"] != NOT_RUN]
        rest = own[(own["verdict"] == NOT_RUN) & ~own["recipe"].isin(skipped)]
        groups[OF_THE_MODEL if (own["recipe"] != "").any() else OF_THE_ESTIMATOR].append(
            {
                "claim": claim,
                "statement": statement,
                "rule": claims.RULES[claim].text.replace("*", "") if claim in claims.RULES else "",
                "rows": [_row(row) for row in run.itertuples()],
                "not_run": [
                    {"which": "; ".join(filter(None, map(_which, rows.itertuples()))), "reason": reason}
                    for reason, rows in rest.groupby("reason", sort=False)
                ],
            }
        )
    return {group: made for group, made in groups.items() if made}


def idle(decided: pd.DataFrame) -> list[str]:
    """The recipes of which no verdict was run."""
    run = decided[decided["verdict"] != NOT_RUN]
    return [recipe for recipe in decided["recipe"].unique() if recipe and recipe not in set(run["recipe"])]


def counts(decided: pd.DataFrame) -> list[dict]:
    """How many verdicts there are of each kind, by recipe; a row without a recipe counts the others.

    Only claims that are decided for all recipes count for a recipe, so that the rows can be compared.
    """
    decided = decided[decided["claim"].isin(claims.SHARED) | (decided["recipe"] == "")]
    names = [*(name for name in RECIPES if name in set(decided["recipe"])), ""]
    names += [name for name in decided["recipe"].unique() if name not in names]
    of_recipes = f"{claims.SHARED[0]} to {claims.SHARED[-1]}"
    return [
        {"recipe": f"{RECIPES.get(name, name)}, {of_recipes}" if name else "the estimator alone"}
        | {verdict: int((own == verdict).sum()) for verdict in MARKS}
        for name in names
        if len(own := decided.loc[decided["recipe"] == name, "verdict"])
    ]


def _row(row) -> dict[str, object]:
    """A verdict with its mark, its recipe and scope, and the measured value in words."""
    return row._asdict() | {"recipe": _which(row), "mark": MARKS[row.verdict], "measured": measured(row)}


def _which(row) -> str:
    return which(row, ", ")
