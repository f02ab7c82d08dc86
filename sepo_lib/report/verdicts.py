"""From an interval to a verdict and its reason in words; the rules of the claims share these functions."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from sepo_lib.measure.statistics import NO_SPREAD, UNKNOWN, Interval, interval

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
NOT_RUN = "not run"
#: Verdict -> the mark that repeats it for readers who see no colour, in the order of tables and pages.
MARKS = {SUPPORTED: "✓", NOT_SUPPORTED: "✗", INCONCLUSIVE: "?", NOT_RUN: "–"}
#: The profile that only shows that the code runs.
SMOKE = "smoke"


@dataclass(frozen=True)
class Tables:
    """The tables that a rule may read, cut to one profile and model."""

    evaluation: pd.DataFrame
    ablation: pd.DataFrame
    exploitability: pd.DataFrame
    estimators: pd.DataFrame
    exploiters: pd.DataFrame
    transfer: pd.DataFrame
    replication: pd.DataFrame


def where(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows with these values."""
    # Comparing arrays is faster than comparing columns, and a verdict compares many.
    return table[np.logical_and.reduce([table[name].to_numpy() == value for name, value in values.items()])]


class Finding(NamedTuple):
    """The measured value, the ends and the kind of its interval, the verdict and its reason.

    `scope` distinguishes several findings of one rule, such as those on two games.
    """

    measured: float
    ci_low: float
    ci_high: float
    interval: str
    verdict: str
    reason: str
    scope: str = ""


def nothing(reason: str, scope: str = "", verdict: str = NOT_RUN) -> Finding:
    """A finding without a number."""
    return Finding(*UNKNOWN, "none", verdict, reason, scope)


def because(*reasons: str) -> str:
    """The reasons that are not empty, as one text."""
    return "; ".join(filter(None, reasons))


def lacking(seeds: int, of: int, what: str) -> str:
    """That some seeds lack something; empty if there are none."""
    return f"{seeds} of {of} seeds lack {what}" if seeds else ""


def weakest(verdicts: Collection[str]) -> str:
    """The verdict on parts that must all be supported; not run without parts."""
    ranking = (NOT_RUN, NOT_SUPPORTED, INCONCLUSIVE, SUPPORTED)  # the first that occurs decides
    return next((one for one in ranking if one in verdicts), NOT_RUN)


def judge(
    values_S: pd.Series,
    side: str = "above",
    at: float = 0.0,
    absent: str = "not trained here",
    bounds: tuple[float, float] | None = None,
    note: str = "",
    scope: str = "",
) -> Finding:
    """Judge by its t interval whether the mean over seeds is `above`, `below` or `at most` the value `at`.

    Values that are equal in all seeds have no interval; the value itself is judged. `absent` is the reason
    that is given without values, `bounds` the range of the values, and `note` is added to the reason.
    """
    if not len(values_S):
        return nothing(absent, scope)
    found = interval(values_S.to_numpy(), bounds)
    if len(values_S) == 1:
        return Finding(*found, "none", INCONCLUSIVE, because("one seed", note), scope)
    if found.high - found.low <= NO_SPREAD:
        verdict = verdict_on(found, side, at)[0]
        reason = because(f"equal in all {len(values_S)} seeds", note)
        return Finding(found.mean, *UNKNOWN[1:], "none: equal in all seeds", verdict, reason, scope)
    kind = f"95% t over {len(values_S)} seeds" + (", cut at 0" if bounds else "")
    return Finding(*found, kind, *verdict_on(found, side, at, note), scope)


def verdict_on(found: Interval, side: str, at: float, note: str = "") -> tuple[str, str]:
    """The verdict on an interval, and its reason in words; `side` and `at` as for `judge`."""
    holds = {"above": found.low > at, "below": found.high < at, "at most": found.high <= at}[side]
    fails = {"above": found.high <= at, "below": found.low >= at, "at most": found.low > at}[side]
    if holds:
        where = "reaches at most" if side == "at most" else f"lies {side}"
        return SUPPORTED, because(f"the interval {where} {at:g}", note)
    if fails:
        no_part = {"above": "above", "below": "below", "at most": "at or below"}[side]
        return NOT_SUPPORTED, because(f"no part of the interval lies {no_part} {at:g}", note)
    return INCONCLUSIVE, because(f"the interval contains {at:g}", note)


def caution(profile: str) -> str:
    """What stands beside the verdicts and numbers of a profile that is too small for them; else empty."""
    if profile != SMOKE:
        return ""
    return f"The profile {SMOKE} only shows that the code runs: its verdicts and numbers mean nothing."


def in_words(found: Interval) -> str:
    """`mean [low, high]` in three significant digits; the mean alone without an interval; a dash for nan."""
    if pd.isna(found.low):
        return number(found.mean)
    return f"{number(found.mean)} [{number(found.low)}, {number(found.high)}]"


def measured(row) -> str:
    """`in_words` of a `Finding`, or of a row of claims.csv."""
    return in_words(Interval(row.measured, row.ci_low, row.ci_high))


def which(row, between: str = " ") -> str:
    """The recipe and the scope of a row of claims.csv, as far as it has them."""
    return between.join(filter(None, (row.recipe, row.scope)))


def number(value: float) -> str:
    """Three significant digits, without a trailing zero; a dash for nan."""
    return "–" if pd.isna(value) else f"{value + 0.0:.3g}"
