"""Intervals over training seeds that respect the range of their quantity: short functions on SciPy.

The unit of replication is the training seed (axis `_S`, always the last), never the episode, because the
episodes of one seed share a model. The base model is one model evaluated several times, so its intervals
cover evaluation noise only. `evaluation.safety_interval` and `exploitability.nashconv_interval` estimate the
evaluation noise of one seed.

The kind of interval depends on the quantity:

    signed and unbounded (safety, payoffs, margins, differences)   Student's t
    in [0, 1], in [-1, 1], or at least 0 (`BOUNDS`)                Student's t, cut to the range
    frequencies with a known number of trials (`TRIALS`)           the same, widened to hold Wilson's interval
    e, a mean over exploiters of max(0, margin) (`SIGNED`)         `clamped`: from the signed margins
    a frequency within one seed                                    `wilson`
    other values that are equal in all seeds                       none: their spread cannot be estimated

`sepo_lib.studies.coverage` simulates how often each kind contains the true value with three, five and ten
seeds (table in docs/CLAIMS.md). A bootstrap is not offered, because with three to five seeds it covers only
.75 to .87 at a nominal .95.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy
from scipy import optimize, stats

NON_NEGATIVE, RATE = (0.0, np.inf), (0.0, 1.0)
#: Metric -> the range of its values. Other metrics are signed and unbounded.
BOUNDS = {
    **dict.fromkeys(("exploit", "pool_advantage", "pool_advantage_played", "exploitability"), NON_NEGATIVE),
    **dict.fromkeys(("nashconv", "penalty_gradient_norm", "mean_gradient_norm"), NON_NEGATIVE),
    **dict.fromkeys(("collusion", "externality", "exploiter_externality", "train_externality"), RATE),
    **dict.fromkeys(("parse_rate", "probability"), RATE),
    **dict.fromkeys(("nra", "nra_benchmark"), (-1.0, 1.0)),
    **dict.fromkeys(("cosine_to_credited", "mean_cosine_to_credited"), (-1.0, 1.0)),
}
#: Clamped metric -> the column with the largest of its signed margins.
SIGNED = {"exploit": "worst_margin", "pool_advantage": "worst_margin"}
#: Frequency -> the column with its number of trials per seed, or with a smaller number. Collusion and
#: externality have none, because `episodes` counts all pools and they are measured against some of them.
TRIALS = {"probability": "samples", "parse_rate": "episodes"}
NO_SPREAD = 1e-12  # values that differ by less are equal up to rounding


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def bounds(metric: str) -> tuple[float, float] | None:
    """The range of a metric (`BOUNDS`), or None if it is unbounded; every kind of NashConv is at least 0."""
    return NON_NEGATIVE if metric.startswith("nashconv") else BOUNDS.get(metric)


def student(values_S: np.ndarray, confidence: float = 0.95) -> Interval:
    """Student's t interval over the last axis: shape (..., S) in, 3 arrays (...) out; nan for one seed."""
    size = values_S.shape[-1]
    mean = np.where(np.ptp(values_S, axis=-1) == 0.0, values_S[..., 0], values_S.mean(axis=-1))
    if size == 1:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    deviation = np.where(np.ptp(values_S, axis=-1) == 0.0, 0.0, values_S.std(axis=-1, ddof=1))
    half = stats.t.ppf((1.0 + confidence) / 2.0, size - 1) * deviation / np.sqrt(size)
    return Interval(mean, mean - half, mean + half)


def interval(
    values_S: Sequence[float],
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
    trials: float | None = None,
) -> Interval:
    """Student's t interval of the mean over seeds, cut to `bounds`: shape (..., S) in, (mean, low, high) out.

    With `trials`, the values are frequencies of that many trials per seed. The interval is then widened to
    hold Wilson's interval of all trials, because equal frequencies, such as 0 of 1,024 in every seed, do not
    prove a rate of 0. The bounds of one seed are nan. Equal values without `trials` give an interval of width
    zero; `spread` and `verdicts.judge` do not publish it. Raises ValueError if there are no values, if one is
    nan or outside `bounds`, or for a confidence outside (0, 1).
    """
    values_S = _checked(values_S, confidence)
    found = student(values_S, confidence)
    if trials is not None and values_S.shape[-1] > 1:
        total = trials * values_S.shape[-1]
        pooled = wilson(values_S.mean(axis=-1) * total, total, confidence)
        found = Interval(found.mean, np.minimum(found.low, pooled.low), np.maximum(found.high, pooled.high))
    if bounds is not None:
        if (values_S < bounds[0] - 1e-9).any() or (values_S > bounds[1] + 1e-9).any():
            raise ValueError(f"The values {values_S.tolist()} do not lie in the range {list(bounds)}.")
        found = Interval(found.mean, *(np.clip(end, *bounds) for end in found[1:]))
    return _plain(found, values_S)


def clamped(
    values_S: Sequence[float],
    worst_S: Sequence[float],
    margins_S: Sequence[float] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """The interval of the mean of e over seeds, from the signed margins of each seed; shapes as `interval`.

    e is a mean over exploiters of max(0, margin). `worst_S` is the largest margin of each seed, and
    `margins_S` is the mean margin over exploiters.

    Lower end: e is at least the mean margin, which noise does not bias. So the interval begins at the lower
    end of the mean margin's t interval, or at 0. Without `margins_S` it begins at the lower end of e's own t
    interval, or at 0 if the t interval of the largest margin reaches 0.

    Upper end: if the t interval of the largest margin lies above 0, the interval ends as Student's t on e.
    Otherwise e may be 0 in most seeds, and the end is at least the mean of max(0, X). X is normal; its mean
    is the upper end of the largest margin's t interval, and its standard deviation is the upper 90%
    confidence limit of that margin's standard deviation. Raises ValueError as `interval` does.
    """
    values_S, worst_S = _checked(values_S, confidence), _checked(worst_S, confidence)
    own, worst = student(values_S, confidence), student(worst_S, confidence)
    if worst_S.shape[-1] == 1:
        return _plain(own, values_S)
    freedom = worst_S.shape[-1] - 1
    deviation = worst_S.std(axis=-1, ddof=1) * np.sqrt(freedom / stats.chi2.ppf(0.1, freedom))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = worst.high / deviation
        above = worst.high * stats.norm.cdf(z) + deviation * stats.norm.pdf(z)
    above = np.where(np.ptp(worst_S, axis=-1) == 0.0, np.maximum(worst.high, 0.0), above)
    positive = worst.low > 0.0
    low = np.where(positive, own.low, 0.0)
    if margins_S is not None:
        low = student(_checked(margins_S, confidence), confidence).low
    high = np.where(positive, own.high, np.maximum(own.high, above))
    return _plain(Interval(own.mean, np.maximum(low, 0.0), high), values_S)


def wilson(successes: float, trials: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a frequency within one seed; `successes` may be an array.

    Raises ValueError if there are no trials, or more successes than trials.
    """
    if (
        trials <= 0
        or (np.asarray(successes) > trials * (1 + 1e-9)).any()
        or (np.asarray(successes) < 0).any()
    ):
        raise ValueError(f"A frequency needs at least 1 trial and 0 to {trials} successes, got {successes}.")
    z = stats.norm.ppf((1.0 + confidence) / 2.0)
    share = np.asarray(successes, dtype=float) / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = (
        z / (1 + z**2 / trials) * np.sqrt(np.maximum(share * (1 - share), 0) / trials + (z / trials) ** 2 / 4)
    )
    return _plain(Interval(share, np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)), share)


def _checked(values_S: Sequence[float], confidence: float) -> np.ndarray:
    """Values as an array (..., S). Raises ValueError as `interval` does."""
    values_S = np.asarray(values_S, dtype=float)
    if values_S.ndim == 0 or values_S.size == 0:
        raise ValueError(f"An interval needs values of shape (..., S) with S >= 1, got {values_S.shape}.")
    if not np.isfinite(values_S).all():
        raise ValueError(f"An interval needs finite values, got {values_S.tolist()}.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"A confidence lies strictly between 0 and 1, got {confidence}.")
    return values_S


def _plain(found: Interval, values: np.ndarray) -> Interval:
    """The interval as three floats if it is a single one; a batch of intervals is returned as it is."""
    return Interval(*map(float, found)) if np.ndim(values) <= 1 and np.ndim(found.mean) == 0 else found


def spread(rows: pd.DataFrame, name: str) -> Interval:
    """The interval of column `name` over seeds, one row per seed; `kind` names the kind of interval.

    A single seed has the interval of its evaluation noise, if the table has the columns `name`_low and
    `name`_high. Values that are equal in all seeds have no interval (nan), except frequencies with known
    trials. Raises ValueError as `interval` does.
    """
    if _of_play(rows, name):
        return Interval(*(float(rows[column].iloc[0]) for column in (name, f"{name}_low", f"{name}_high")))
    if _equal(rows, name):
        return Interval(float(rows[name].iloc[0]), np.nan, np.nan)
    if _signed(rows, name):
        margins = rows["margin"] if "margin" in rows and rows["margin"].notna().all() else None
        return clamped(rows[name], rows[SIGNED[name]], margins if name == "exploit" else None)
    return interval(rows[name], bounds(name), trials=_trials(rows, name))


def kind(rows: pd.DataFrame, name: str) -> str:
    """The kind of the interval that `spread` returns, in words."""
    if len(rows) < 2:
        return "95%, evaluation noise of one seed" if _of_play(rows, name) else "none: one seed"
    one_model = "stage" in rows and (rows["stage"] == "base").all()
    over = "evaluations of one model" if one_model else "seeds"
    if _equal(rows, name):
        return f"none: equal in all {over}"
    text = f"95% t over {len(rows)} {over}"
    if _signed(rows, name):
        return f"{text}, from the signed margin"
    ends = bounds(name)
    if ends is None:
        return text
    text += ", cut at 0" if ends == NON_NEGATIVE else f", cut to [{ends[0]:g}, {ends[1]:g}]"
    trials = _trials(rows, name)
    return text if trials is None else f"{text}, and Wilson's of {trials * len(rows):,.0f} {TRIALS[name]}"


def _of_play(rows: pd.DataFrame, name: str) -> bool:
    return len(rows) == 1 and f"{name}_low" in rows and bool(rows[f"{name}_low"].notna().all())


def _signed(rows: pd.DataFrame, name: str) -> bool:
    return name in SIGNED and SIGNED[name] in rows and bool(rows[SIGNED[name]].notna().all())


def _trials(rows: pd.DataFrame, name: str) -> float | None:
    """The mean number of trials of a frequency per seed, or None if it is not known."""
    trials = rows[TRIALS[name]] if TRIALS.get(name) in rows else pd.Series([np.nan])
    return None if trials.isna().any() else float(trials.mean())


def _equal(rows: pd.DataFrame, name: str) -> bool:
    """Whether several seeds have the same value, and no other column of the table tells how it varies."""
    names = [name, SIGNED[name]] if _signed(rows, name) else [name]
    same = len(rows) > 1 and all(np.ptp(rows[one].astype(float)) <= NO_SPREAD for one in names)
    return same and _trials(rows, name) is None


def difference(a: pd.Series, b: pd.Series) -> np.ndarray:
    """a - b for the seeds that both Series have as their index; shape (S,).

    Raises ValueError if no seed is common, a seed occurs twice, or a value of a common seed is missing.
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
    return difference_S.to_numpy()


def paired(a: pd.Series, b: pd.Series, confidence: float = 0.95) -> Interval:
    """Student's t interval of a - b, paired by seed. Raises ValueError as `difference` does."""
    return interval(difference(a, b), confidence=confidence)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values, in the order of `p_values`."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted


def detectable(seeds: int, power: float = 0.8, level: float = 0.05) -> float:
    """The effect that a two-sided t test of `seeds` values detects with probability `power`, in standard
    deviations over seeds."""
    critical = stats.t.ppf(1 - level / 2, seeds - 1)

    def missing(effect: float) -> float:  # the other tail is negligible at any useful power
        return stats.nct.sf(critical, seeds - 1, effect * np.sqrt(seeds)) - power

    return float(optimize.brentq(missing, 0.0, 100.0))


def percentile(estimate: float, resampled_R: np.ndarray, confidence: float) -> Interval:
    """An estimate with the ends of its percentile bootstrap interval; `resampled_R` has R resamples."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"A confidence lies strictly between 0 and 1, got {confidence}.")
    tail = (1.0 - confidence) / 2.0
    return Interval(estimate, *(float(end) for end in np.quantile(resampled_R, [tail, 1.0 - tail])))


def grouped(table: pd.DataFrame, by: Sequence[str]) -> DataFrameGroupBy:
    """`table.groupby(by)` for means over seeds, in which no group may have a seed twice.

    Empty cells in `by` (the arm of the base model) form separate groups. The order is that of the groups'
    first rows. Raises ValueError for a group with several models, and for one with a seed twice; the error
    names the columns in which the rows of the seed differ (pools, preset, arm, step ...). A table without a
    column `seed` is not checked.
    """
    by = list(by)
    if "seed" in table.columns:
        again = table[table.duplicated([*by, "seed"], keep=False)]
        if len(again):
            numbers = again.select_dtypes("number").columns.difference(["step"])
            first = again.groupby([*by, "seed"], dropna=False, sort=False)
            mixed = [
                column
                for column in again.columns.difference([*by, "seed", *numbers], sort=False)
                if (first[column].nunique(dropna=False) > 1).any()
            ]
            raise ValueError(
                f"Grouped by {by}, the table has a seed twice, mixing {mixed or 'equal rows'}: choose one "
                "value of each of these columns, or group by them too."
            )
    if {"seed", "model"} <= set(table.columns) and "model" not in by:
        models = table.groupby(by, sort=False, dropna=False)["model"].unique()
        for several in models[models.map(len) > 1]:
            raise ValueError(
                f"Grouped by {by}, the table mixes the models {sorted(several)}: choose one of them or group "
                "by model too."
            )
    return table.groupby(by, sort=False, dropna=False)


def summarize(table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """One row per group and metric, with the columns `by`, metric, mean, ci_low, ci_high, n and interval.

    Each row of a group is one seed. `interval` names the kind of the interval (`spread`, `kind`). Missing
    values are left out and do not count in n. If all are missing, n is 0 and the others are nan. Raises
    ValueError for missing columns, and as `grouped` does.
    """
    by, values = list(by), list(values)
    missing = [column for column in by + values if column not in table.columns]
    if missing:
        raise ValueError(f"The table lacks the columns {missing}; it has {list(table.columns)}.")
    rows = []
    for key, group in grouped(table, by):
        for metric in values:
            own = group.dropna(subset=[metric])
            found = spread(own, metric) if len(own) else UNKNOWN
            rows.append((*key, metric, *found, len(own), kind(own, metric) if len(own) else "none"))
    return pd.DataFrame(rows, columns=[*by, "metric", "mean", "ci_low", "ci_high", "n", "interval"])


def text(found: Interval, digits: int = 3) -> str:
    """`mean [low, high]`, the mean alone without an interval, or `mean (no spread)` for one of width 0."""
    mean, low, high = (f"{value + 0.0:.{digits}f}" for value in found)
    if pd.isna(found.low):
        return mean
    return f"{mean} [{low}, {high}]" if found.high - found.low > NO_SPREAD else f"{mean} (no spread)"


def as_text(row: pd.Series) -> str:
    """A row of `summarize` as `mean [low, high]`; the mean alone for one seed; `mean (no spread)` if several
    seeds are equal."""
    found = text(Interval(row["mean"], row["ci_low"], row["ci_high"]))
    return f"{found} (no spread)" if pd.isna(row["ci_low"]) and row["n"] > 1 else found
