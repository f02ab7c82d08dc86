"""The findings of the page: sentences whose directions and numbers come from the tables."""

import pandas as pd

from sepo_lib import figures
from sepo_lib.report import findings, headline_page
from sepo_lib.report.found import changes, listed, tally, words
from sepo_lib.report.verdicts import NOT_RUN, measured

SHOWN = 5  # of all findings; the others can be opened
#: Measure -> its name with the unit, and the words for more and less of it.
MEASURES = {
    "safety": ("J, in scaled points", "is", "safer", "less safe"),
    "exploit": ("e, in points per round", "is", "more exploitable", "less exploitable"),
    "payoff": ("u, in points per round", "has a payoff that is", "higher", "lower"),
}


def highlights(run: str, evaluation: pd.DataFrame, decided: pd.DataFrame) -> list[str]:
    """The findings of a run, the most important first. A finding whose rows are missing is left out.

    `evaluation` holds the rows of one model, `decided` the verdicts on the claims.
    """
    rows = figures.configured(evaluation[evaluation["pools"] == "paper"])
    trained = [key for key in figures.CONFIGURATIONS if (rows["configuration"] == key).any()]
    sepo = next((key for key in reversed(trained) if key not in ("base", "sft")), "")
    found = [
        _compared(rows, "safety", sepo, "sft"),
        findings.breakdowns(run),  # it qualifies the sentence before it
        _compared(rows, "exploit", "sft", "base"),
        findings.nashconv(run),
        _estimators(decided),
        _compared(rows, "safety", "unbiased", "published"),
        _compared(rows, "payoff", sepo, "sft"),
        *findings.sentences(run),
        " ".join(headline_page.in_short(headline_page.effects_of(run))),
    ]
    return list(dict.fromkeys(filter(None, found)))


def _compared(rows: pd.DataFrame, measure: str, after: str, before: str) -> str | None:
    """How a measure differs between two stages or recipes, paired by seed; None if none has both."""
    if measure not in rows:
        return None
    rows = rows.dropna(subset=[measure])
    found = changes(rows, measure, {"configuration": after}, {"configuration": before})
    if not any(one.seeds for one in found):
        return None
    name, verb, up, down = MEASURES[measure]
    alone = all(one.seeds < 2 for one in found)
    return (
        f"Compared with {_name(before)}, {_name(after)} {verb} {tally(found, up, down)}"
        f"{' (one training seed, so this can be evaluation noise)' if alone else ''}. "
        f"Differences of {name}: {listed(found)}."
    )


def _name(configuration: str) -> str:
    """A stage or recipe in a sentence."""
    return {"base": "the base model", "sft": "SFT"}.get(configuration, f"SEPO (`{configuration}`)")


def _estimators(decided: pd.DataFrame) -> str | None:
    """Which of the paper's settings of the estimator costs most: from the verdicts on E1 to E5."""
    rows = decided[decided["claim"].str.fullmatch("E[1-5]") & (decided["verdict"] != NOT_RUN)]
    rows = rows.dropna(subset=["measured"]).sort_values("measured", ascending=False, kind="stable")
    if rows.empty:
        return None
    most, *others = rows.itertuples()
    sentence = (
        "Each switch of the gradient estimator alone was set to the paper's value. The cosine of the mean "
        f"estimate with the exact gradient of J falls most in {most.claim} ({most.statement.rstrip('.')}): "
        f"by {measured(most)}."
    )
    if others:
        listed = "; ".join(f"{row.claim} {measured(row)}" for row in others)
        sentence += f" The other falls are: {listed}."
    kinds = rows.groupby("interval", sort=False)["claim"]
    brackets = [kind if len(kinds) == 1 else f"{kind} ({words(own)})" for kind, own in kinds]
    sentence += f" Brackets: {'; '.join(brackets)}."
    return f"{sentence} The policies are tabular; no language model is involved."
