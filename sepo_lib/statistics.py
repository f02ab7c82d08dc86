"""Intervals over training seeds: short pure functions on SciPy.

The unit of replication is the training seed (axis `_S`), never the episode: episodes of one seed share a
model. Every interval of the kit comes from here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def interval(values_S: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean over seeds; shape (S,) in, (mean, low, high) out.

    One seed carries no information on the spread: its bounds are nan. Equal values give an interval of
    width zero. Raises ValueError without values, with nan among them, or for a confidence outside (0, 1).
    """
    values_S = np.asarray(values_S, dtype=float)
    if values_S.ndim != 1 or values_S.size == 0:
        raise ValueError(f"An interval needs values of shape (S,) with S >= 1, got {values_S.shape}.")
    if not np.isfinite(values_S).all():
        raise ValueError(f"An interval needs finite values, got {values_S.tolist()}.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"A confidence lies strictly between 0 and 1, got {confidence}.")
    if np.ptp(values_S) == 0.0:  # the mean of equal values is that value, without a rounding error
        mean = float(values_S[0])
        return Interval(mean, mean, mean) if values_S.size > 1 else Interval(mean, np.nan, np.nan)
    mean = float(values_S.mean())
    half = float(stats.t.ppf((1.0 + confidence) / 2.0, values_S.size - 1) * stats.sem(values_S))
    return Interval(mean, mean - half, mean + half)


def paired(a: pd.Series, b: pd.Series, confidence: float = 0.95) -> Interval:
    """The interval of a - b over the seeds that both have; two Series indexed by seed, shape (S,) each.

    Raises ValueError where no seed is common, a seed occurs twice, or a value of a common seed is missing.
    """
    for name, series in (("first", a), ("second", b)):
        if not series.index.is_unique:
            raise ValueError(f"The {name} series has a seed twice: {series.index.tolist()}.")
    common = a.index.intersection(b.index)
    if common.empty:
        raise ValueError(f"No seed in common: {a.index.tolist()} and {b.index.tolist()}.")
    difference_S = a.loc[common].astype(float) - b.loc[common].astype(float)
    if difference_S.isna().any():
        raise ValueError(
            f"A value is missing for the seeds {difference_S.index[difference_S.isna()].tolist()}."
        )
    return interval(difference_S.to_numpy(), confidence)


def summarize(table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """One row per group and metric: the columns `by`, then metric, mean, ci_low, ci_high, n.

    Each row of a group is one seed. Values that are missing are left out and show in n; where all of them
    are, n is 0 and the rest nan. Empty cells in `by` (the arm of the base model) form groups of their own.
    Groups come in the order of their first row. Raises ValueError for missing columns.
    """
    by, values = list(by), list(values)
    missing = [column for column in by + values if column not in table.columns]
    if missing:
        raise ValueError(f"The table lacks the columns {missing}; it has {list(table.columns)}.")
    rows = []
    for key, group in table.groupby(by, sort=False, dropna=False):
        for metric in values:
            values_S = group[metric].dropna().to_numpy(dtype=float)
            found = interval(values_S) if values_S.size else Interval(np.nan, np.nan, np.nan)
            rows.append((*key, metric, *found, values_S.size))
    return pd.DataFrame(rows, columns=[*by, "metric", "mean", "ci_low", "ci_high", "n"])


def as_text(row: pd.Series) -> str:
    """A row of `summarize` as `mean ± half the interval`, or the mean alone where there is no interval."""
    half = (row["ci_high"] - row["ci_low"]) / 2
    return f"{row['mean']:.3f}" if pd.isna(half) else f"{row['mean']:.3f} ± {half:.3f}"
