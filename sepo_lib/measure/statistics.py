"""Intervals over training seeds that respect the range of what they measure: short functions on SciPy.

The unit of replication is the training seed (axis `_S`, always the last), never the episode: episodes of one
seed share a model. The base model is one model evaluated several times, so its intervals cover evaluation
noise only; how far the luck of play moves the measures of one seed, `evaluation.safety_interval` and
`exploitability.nashconv_interval` say.

    signed and unbounded (safety, payoffs, margins, differences)   Student's t
    in [0, 1], in [-1, 1], or at least 0 (`BOUNDS`)                Student's t, cut to the range
    frequencies of which the number of trials is known (`TRIALS`)  that, widened to hold Wilson's interval
    e, a mean over exploiters of max(0, margin) (`SIGNED`)         `clamped`: from the signed margins
    a frequency within one seed                                    `wilson`
    anything else that is equal in all seeds                       none: no spread to estimate

`sepo_lib.studies.coverage` simulates how often each of them holds the truth with three, five and ten seeds
(docs/CLAIMS.md has the table). A bootstrap over three to five seeds covers .75 to .87 of a nominal .95 and is
not offered.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy
from scipy import optimize, stats

NON_NEGATIVE, RATE = (0.0, np.inf), (0.0, 1.0)
#: Metric -> the range of its values. What is not named here is signed and unbounded.
BOUNDS = {
    **dict.fromkeys(("exploit", "pool_advantage", "pool_advantage_played", "exploitability"), NON_NEGATIVE),
    **dict.fromkeys(("nashconv", "penalty_gradient_norm", "mean_gradient_norm"), NON_NEGATIVE),
    **dict.fromkeys(("collusion", "externality", "exploiter_externality"), RATE),
    **dict.fromkeys(("parse_rate", "probability"), RATE),
    **dict.fromkeys(("nra", "nra_benchmark"), (-1.0, 1.0)),
    **dict.fromkeys(("cosine_to_credited", "mean_cosine_to_credited"), (-1.0, 1.0)),
}
#: Clamped metric -> the column with the largest of the signed margins that it clamps.
SIGNED = {"exploit": "worst_margin", "pool_advantage": "worst_margin"}
#: Frequency -> the column with its number of trials in a seed, or with a smaller number. Collusion and
#: externality have none: `episodes` counts all pools, and they are measured against some of them.
TRIALS = {"probability": "samples", "parse_rate": "episodes"}
NO_SPREAD = 1e-12  # values that differ by less are equal but for rounding


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the unit of the values."""

    mean: float
    low: float
    high: float


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def bounds(metric: str) -> tuple[float, float] | None:
    """The range of a metric (`BOUNDS`; every kind of NashConv is at least 0), None for an unbounded one."""
    return NON_NEGATIVE if metric.startswith("nashconv") else BOUNDS.get(metric)


def student(values_S: np.ndarray, confidence: float = 0.95) -> Interval:
    """Student's t over the last axis; shape (..., S) in, three arrays (...) out; nan for one seed."""
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
    """Student's t interval of the mean over seeds, cut to `bounds`; shape (..., S) in, (mean, low, high) out.

    `trials`: the values are frequencies of that many trials a seed; the interval is then widened to hold
    Wilson's of all trials, because equal frequencies (0 of 1,024 in every seed) are no proof of a rate of 0.
    One seed carries no information on the spread: its bounds are nan. Equal values without `trials` give a
    width of zero, which is no interval to publish: `spread` and `verdicts.judge` leave it out. Raises
    ValueError without values, with nan among them, outside `bounds`, or for a confidence outside (0, 1).
    """
    values_S = _checked(values_S, confidence)
    found = student(values_S, confidence)
    if trials is not None and values_S.shape[-1] > 1:
        total = trials * values_S.shape[-1]
        pooled = wilson(values_S.mean(axis=-1) * total, total, confidence)
        found = Interval(found.mean, np.minimum(found.low, pooled.low), np.maximum(found.high, pooled.high))
    if bounds is not None:
        if (values_S < bounds[0] - 1e-9).any() or (values_S > bounds[1] + 1e-9).any():
            raise ValueError(
                f"The values {values_S.tolist()} do not lie in {list(bounds)}, the range given for them."
            )
        found = Interval(found.mean, *(np.clip(end, *bounds) for end in found[1:]))
    return _plain(found, values_S)


def clamped(
    values_S: Sequence[float],
    worst_S: Sequence[float],
    margins_S: Sequence[float] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """The interval of the mean of e over seeds, from the signed margins of each seed; shapes as `interval`.

    e is a mean over exploiters of max(0, margin). `worst_S` is the largest margin of each seed, `margins_S`
    their mean over exploiters. e is at least the mean margin, which noise does not bias, so the interval
    begins at the lower end of that one's t interval, or at 0. Without `margins_S` it begins at the lower end
    of e's own, or at 0 where the t interval of the largest margin reaches 0. Where that interval lies above
    0, it ends as Student's t on e. Elsewhere e may be 0 in most seeds, and the end is at least the mean of
    max(0, X), for a normal X with the upper end of the largest margin's interval as its mean and the upper
    90% confidence limit of that margin's standard deviation as its own. Raises ValueError as `interval` does.
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

    Raises ValueError where there are no trials, or more successes than trials.
    """
    if (
        trials <= 0
        or (np.asarray(successes) > trials * (1 + 1e-9)).any()
        or (np.asarray(successes) < 0).any()
    ):
        raise ValueError(f"A frequency needs 0 to {trials} successes of at least one trial, got {successes}.")
    z = stats.norm.ppf((1.0 + confidence) / 2.0)
    share = np.asarray(successes, dtype=float) / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = (
        z / (1 + z**2 / trials) * np.sqrt(np.maximum(share * (1 - share), 0) / trials + (z / trials) ** 2 / 4)
    )
    return _plain(Interval(share, np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)), share)


def _checked(values_S: Sequence[float], confidence: float) -> np.ndarray:
    """Values as an array (..., S). Raises ValueError as `interval` says."""
    values_S = np.asarray(values_S, dtype=float)
    if values_S.ndim == 0 or values_S.size == 0:
        raise ValueError(f"An interval needs values of shape (..., S) with S >= 1, got {values_S.shape}.")
    if not np.isfinite(values_S).all():
        raise ValueError(f"An interval needs finite values, got {values_S.tolist()}.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"A confidence lies strictly between 0 and 1, got {confidence}.")
    return values_S


def _plain(found: Interval, values: np.ndarray) -> Interval:
    """Floats where the values are those of one interval."""
    return Interval(*map(float, found)) if np.ndim(values) <= 1 and np.ndim(found.mean) == 0 else found


def spread(rows: pd.DataFrame, name: str) -> Interval:
    """The interval of column `name` over seeds, one row each, of the kind that fits it (`kind` says which);
    of a single seed that of its own play where the table has it (columns `name`_low and `name`_high).

    Values that are equal in all seeds have none (nan), but for frequencies of known trials. Raises
    ValueError as `interval` does.
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
    """The kind of the interval that `spread` gives, in words."""
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
    """The number of trials of a frequency in the mean seed, None where it is not known."""
    trials = rows[TRIALS[name]] if TRIALS.get(name) in rows else pd.Series([np.nan])
    return None if trials.isna().any() else float(trials.mean())


def _equal(rows: pd.DataFrame, name: str) -> bool:
    """Whether several seeds have one value, and nothing else in the table tells how it might vary."""
    names = [name, SIGNED[name]] if _signed(rows, name) else [name]
    same = len(rows) > 1 and all(np.ptp(rows[one].astype(float)) <= NO_SPREAD for one in names)
    return same and _trials(rows, name) is None


def difference(a: pd.Series, b: pd.Series) -> np.ndarray:
    """a - b over the seeds that both have; two Series indexed by seed, shape (S,) each.

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
    return difference_S.to_numpy()


def paired(a: pd.Series, b: pd.Series, confidence: float = 0.95) -> Interval:
    """Student's t interval of `difference`: a - b paired by seed. Raises ValueError as that does."""
    return interval(difference(a, b), confidence=confidence)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values: each times the number of those not smaller, never falling, at most 1."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    return adjusted


def detectable(seeds: int, power: float = 0.8, level: float = 0.05) -> float:
    """The effect, in standard deviations over seeds, that a two-sided t test of `seeds` values finds with
    probability `power`."""
    critical = stats.t.ppf(1 - level / 2, seeds - 1)

    def missing(effect: float) -> float:  # the other tail adds nothing at a power worth asking for
        return stats.nct.sf(critical, seeds - 1, effect * np.sqrt(seeds)) - power

    return float(optimize.brentq(missing, 0.0, 10.0))


def percentile(estimate: float, resampled_R: np.ndarray, confidence: float) -> Interval:
    """An estimate with the ends of its percentile interval."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"A confidence lies strictly between 0 and 1, got {confidence}.")
    tail = (1.0 - confidence) / 2.0
    return Interval(estimate, *(float(end) for end in np.quantile(resampled_R, [tail, 1.0 - tail])))


def grouped(table: pd.DataFrame, by: Sequence[str]) -> DataFrameGroupBy:
    """`table.groupby(by)` for means over seeds: no group may hold a seed twice.

    Empty cells in `by` (the arm of the base model) form groups of their own. Groups come in the order of
    their first row. Raises ValueError naming the columns that tell the rows of one seed apart (pools,
    preset, arm, step ...) and so would be mixed, and for a group of several models. A table without a column
    `seed` is not checked.
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
                f"Grouped by {by}, the table has a seed twice, mixing {mixed or 'equal rows'}: choose among "
                "these or group by them too."
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
    """One row per group and metric: the columns `by`, then metric, mean, ci_low, ci_high, n, interval.

    Each row of a group is one seed; `interval` says of which kind the interval is (`spread`, `kind`). Values
    that are missing are left out and show in n; where all of them are, n is 0 and the rest nan. Raises
    ValueError for missing columns, and for a group in which a seed stands twice, as `grouped` does.
    """
    by, values = list(by), list(values)
    missing = [column for column in by + values if column not in table.columns]
    if missing:
        raise ValueError(f"The table lacks the columns {missing}; it has {list(table.columns)}.")
    rows = []
    for key, group in grouped(table, by):
        for metric in values:
            mine = group.dropna(subset=[metric])
            found = spread(mine, metric) if len(mine) else UNKNOWN
            rows.append((*key, metric, *found, len(mine), kind(mine, metric) if len(mine) else "none"))
    return pd.DataFrame(rows, columns=[*by, "metric", "mean", "ci_low", "ci_high", "n", "interval"])


def as_text(row: pd.Series) -> str:
    """A row of `summarize` as `mean [low, high]`, as the mean alone for one seed, and as `mean (no spread)`
    where several seeds are equal."""
    mean, low, high = (f"{row[name] + 0.0:.3f}" for name in ("mean", "ci_low", "ci_high"))
    if pd.isna(row["ci_low"]):
        return f"{mean} (no spread)" if row["n"] > 1 else mean
    return f"{mean} [{low}, {high}]"
