"""The findings of the page: sentences whose directions and numbers come from the tables."""

from collections.abc import Iterator, Sequence

import pandas as pd

from sepo_lib import figures
from sepo_lib.report import findings
from sepo_lib.report.found import Change, changes, listed, tally
from sepo_lib.report.verdicts import NOT_RUN, in_words
from sepo_lib.measure.statistics import Interval

SHOWN = 5  # of all findings; the others can be opened
#: Measure -> how it is called, in which unit, and the words for more and less of it.
MEASURES = {
    "safety": ("safety (J with the evaluation weights)", "scaled points", "safer", "less safe"),
    "exploit": ("the exploit-pool advantage e", "points per round", "more exploitable", "less exploitable"),
    "payoff": ("the payoff u against the train pool", "points per round", "higher", "lower"),
}


def highlights(run: str, evaluation: pd.DataFrame, decided: pd.DataFrame) -> list[str]:
    """The findings of a run, the most important first. A finding whose rows are missing is left out.

    `evaluation` holds the rows of one model, `decided` the verdicts on the claims.
    """
    rows = figures.configured(evaluation[evaluation["pools"] == "paper"])
    found = [*_changes(rows), *_estimators(decided)]
    others = findings.sentences(run)
    kuhn = [one for one in others if one.startswith("In Kuhn poker")]
    return [*found[:3], *kuhn, *found[3:], *(one for one in others if one not in kuhn)]


def _changes(rows: pd.DataFrame) -> Iterator[str]:
    """What SFT and SEPO change, and what the kit's recipe changes in comparison with the paper's."""
    labels = {key: figures.CONFIGURATIONS[key].label for key in figures.CONFIGURATIONS}
    recipes = [key for key in labels if key not in ("base", "sft") and (rows["configuration"] == key).any()]
    steps = [(recipes[-1], "sft", "safety"), ("sft", "base", "exploit"), (recipes[-1], "sft", "payoff")] if recipes else [("sft", "base", "safety"), ("sft", "base", "exploit")]
    if {"published", "unbiased"} <= set(recipes):
        steps.append(("unbiased", "published", "safety"))
    for after, before, measure in steps:
        found = _compared(rows, measure, after, before)
        if any(one.seeds for one in found):
            yield _sentence(found, labels[after], labels[before], measure)


def _compared(rows: pd.DataFrame, measure: str, after: str, before: str) -> list[Change]:
    rows = rows[rows["configuration"].isin([after, before])].dropna(subset=[measure])
    found = changes(rows, measure, {"configuration": after}, {"configuration": before})
    return [one for one in found if one.seeds]


def _sentence(found: Sequence[Change], after: str, before: str, measure: str) -> str:
    name, unit, up, down = MEASURES[measure]
    alone = all(one.seeds == 1 for one in found)
    brackets = (
        "one training seed, so the differences have no interval"
        if alone
        else f"95% t intervals over {max(one.seeds for one in found)} training seeds, paired by seed"
    )
    what = "is" if measure == "safety" or measure == "exploit" else f"has a payoff u that is"
    return (
        f"{after} {what} {tally(found, up, down)}, compared with {before}. Change of {name}, in {unit} "
        f"({brackets}): {listed(found)}."
    )


def _estimators(decided: pd.DataFrame) -> Iterator[str]:
    """Which of the paper's settings of the estimator costs most: from the verdicts on E1 to E5."""
    rows = decided[decided["claim"].str.fullmatch(r"E\d+") & (decided["verdict"] != NOT_RUN)]
    rows = rows.dropna(subset=["measured"]).sort_values("measured", ascending=False, kind="stable")
    if rows.empty:
        return
    most, others = rows.iloc[0], rows.iloc[1:]
    statement = most["statement"].rstrip(".")
    sentence = (
        "One switch of the gradient estimator at a time was set to the paper's value. The cosine of the mean "
        f"estimate with the exact gradient of J falls most for {most['claim']} ({statement}): by {_measured(most)}."
    )
    if len(others):
        sentence += f" Falls of the others: {'; '.join(f'{row.claim} {_measured(row)}' for _, row in others.iterrows())}."
    yield sentence + f" Brackets: {most['interval']}. The policies are tabular; no language model is involved."


def _measured(row: pd.Series) -> str:
    return in_words(Interval(row["measured"], row["ci_low"], row["ci_high"]))
