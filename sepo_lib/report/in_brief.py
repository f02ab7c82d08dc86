"""What was found, in a few sentences at the top of README; the numbers come from the tables of one run."""

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.report import claims, estimators_page, headline_page, short_verdicts
from sepo_lib.report.found import words
from sepo_lib.report.verdicts import MARKS, NOT_RUN, SUPPORTED

_LIMITS = (
    "These intervals are not corrected for their number, and the exploiters are those of the training "
    "([more](#is-the-policy-safer))."
)
MIXED = "parts with different verdicts"


def sentences(run: str) -> list[str]:
    """The gradient, the penalty and the paper's claims; a sentence whose table is missing is left out."""
    penalty = headline_page.in_short(headline_page.effects_of(run))[:1]
    penalty = [f"{sentence} {_LIMITS}" for sentence in penalty]
    return [sentence for sentence in (estimators_page.in_brief(run), *penalty, verdicts(run)) if sentence]


def verdicts(run: str) -> str | None:
    """The verdicts on the paper's claims for its own recipe, and which of them hold without a penalty too."""
    if not paths.table(run, "claims").exists():
        return None
    decided = claims.read(run)
    decided = decided[decided["claim"].isin(short_verdicts.of_the_paper(decided))]
    if not ((decided["recipe"] == "published") & (decided["verdict"] != NOT_RUN)).any():
        return None
    names: dict[str, list[str]] = {}
    for claim, own in decided[decided["recipe"].isin(["published", ""])].groupby("claim", sort=False):
        one = own["verdict"].nunique() == 1
        names.setdefault(own["verdict"].iloc[0] if one else MIXED, []).append(claim)
    told = [
        f"{words(names[verdict])} {'have' if verdict == MIXED else 'are'} {verdict}"
        if len(names[verdict]) > 1
        else f"{names[verdict][0]} {'has' if verdict == MIXED else 'is'} {verdict}"
        for verdict in (*MARKS, MIXED)
        if verdict in names
    ]
    text = f"Of [the paper's claims](#the-papers-claims), judged for its own recipe, {'; '.join(told)}."
    without = [claim for claim in _holding(claims.control(run)) if claim in _holding(decided, "published")]
    if without:
        text += f" {words(without)} {'hold' if len(without) > 1 else 'holds'} without a penalty too."
    return text


def _holding(decided: pd.DataFrame, recipe: str = claims.CONTROL) -> list[str]:
    """The claims of which every part is supported for the recipe."""
    if decided.empty:
        return []
    own = decided[decided["recipe"] == recipe].groupby("claim", sort=False)["verdict"]
    return [claim for claim, verdicts in own if (verdicts == SUPPORTED).all()]
