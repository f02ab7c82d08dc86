"""The verdicts on the claims as a narrow table for a notebook: under each claim, a row for every recipe."""

import itertools

import pandas as pd
from IPython.display import display

from sepo_lib.report import claims
from sepo_lib.report.verdicts import INCONCLUSIVE, MARKS, NOT_RUN, NOT_SUPPORTED, SUPPORTED, measured, which
from sepo_lib.run.templates import render

#: Verdict -> its colour.
COLOURS = {SUPPORTED: "#1a7f37", NOT_SUPPORTED: "#b3261e", INCONCLUSIVE: "#8a6100", NOT_RUN: "#6e6e6e"}
ALL = "all recipes"  # of a claim that does not depend on the recipe


def show(decided: pd.DataFrame) -> None:
    """Display the verdicts of `claims.decide` below a cell. A reader can unfold the rule of each claim."""
    text = claims.as_text(decided)
    display({"text/html": as_html(decided), "text/plain": text}, raw=True)


def as_html(decided: pd.DataFrame) -> str:
    """The table as an HTML element."""
    return render(
        "report/templates/verdict_table.html.j2",
        claims=entries(decided),
        cautions=claims.cautions(decided),
        marks=MARKS,
        colours=COLOURS,
    )


def entries(decided: pd.DataFrame) -> list[dict]:
    """The claims in their order: name, statement, rule and the rows of their verdicts.

    A row has the recipe (with the scope of the verdict), the verdict, the measured value with its interval
    (or the reason, without a value) and the kind of the interval. Verdicts that were not run share a row if
    they have the same reason.
    """
    found = []
    for (claim, statement), own in decided.fillna(claims.EMPTY).groupby(["claim", "statement"], sort=False):
        run = [_row(row) for row in own[own["verdict"] != NOT_RUN].itertuples()]
        skipped = own[own["verdict"] == NOT_RUN].groupby("reason", sort=False)
        idle = [
            {"recipe": _joined(rows), "verdict": NOT_RUN, "measured": reason, "interval": ""}
            for reason, rows in skipped
        ]
        rule = claims.RULES[claim].text
        found.append({"claim": claim, "statement": statement, "rule": rule, "rows": run + idle})
    return found


def _row(row) -> dict[str, str]:
    return {
        "recipe": which(row, ": ") or ALL,
        "verdict": row.verdict,
        "measured": measured(row) if pd.notna(row.measured) else row.reason,
        "interval": "" if row.interval == "none" else row.interval,
    }


def _joined(rows: pd.DataFrame) -> str:
    """The recipes of rows, each with its scopes."""
    parts = []
    for recipe, own in itertools.groupby(rows.itertuples(), key=lambda row: row.recipe):
        scopes = ", ".join(filter(None, (row.scope for row in own)))
        parts.append(": ".join(filter(None, (recipe, scopes))))
    return "; ".join(filter(None, parts)) or ALL
