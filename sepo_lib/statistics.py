"""Intervals over training seeds: short pure functions on SciPy.

The unit of replication is the training seed (axis `_S`), never the episode: episodes of one seed share a
model. Every interval over seeds comes from here; how far the luck of play moves the measures of one seed,
`evaluation.safety_interval` and `exploitability.nashconv_interval` say. `_K` are games (or other tasks),
`_E` episodes, `_R` bootstrap resamples.

With few seeds use `interval`. A percentile bootstrap reuses the spread of the sample, which is too small by
sqrt((S - 1) / S) and knows nothing of its own error: of normal values its nominal 95% covers about 75% at
3 seeds and 83% at 5, where Student's t covers 95% (tests/test_statistics.py measures it).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy
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


def spread(rows: pd.DataFrame, name: str) -> Interval:
    """The interval of column `name` over seeds, one row each; of a single seed that of its own play where
    the table knows it (columns `name`_low and `name`_high). Raises ValueError as `interval` does."""
    if len(rows) == 1 and f"{name}_low" in rows:
        return Interval(*(float(rows[column].iloc[0]) for column in (name, f"{name}_low", f"{name}_high")))
    return interval(rows[name])


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


def hierarchical_bootstrap(
    values: Sequence[Sequence[float]],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over seeds of the mean over episodes, resampling both levels.

    `values`: one sequence of episode values per seed; the lengths may differ. Each resample draws S seeds
    with replacement, then within each as many episodes as it has. The second level counts the noise of the
    episodes twice (the means of the seeds hold it already), which is harmless where there are many episodes
    a seed and wide where there are few. Below about 20 seeds it covers too little (see the module's
    docstring). Raises ValueError without values, with an empty seed or with a value that is not finite.
    """
    groups = [np.asarray(group, dtype=float) for group in values]
    if not groups or any(group.ndim != 1 or not group.size for group in groups):
        raise ValueError("A hierarchical bootstrap needs at least one seed, and episodes for every seed.")
    if not all(np.isfinite(group).all() for group in groups):
        raise ValueError("A hierarchical bootstrap needs finite values.")
    sizes_S = np.array([group.size for group in groups])
    values_SE = np.zeros((len(groups), sizes_S.max()))
    for row, group in zip(values_SE, groups, strict=True):
        row[: group.size] = group
    rng = np.random.default_rng(seed)
    mean_R = np.zeros(resamples)
    for _ in groups:  # one drawn seed after the other, all resamples at once
        drawn_R = rng.integers(len(groups), size=resamples)
        size_R1 = sizes_S[drawn_R, None]
        episode_RE = (rng.random((resamples, values_SE.shape[1])) * size_R1).astype(int)
        taken_RE = np.arange(values_SE.shape[1]) < size_R1
        mean_R += (values_SE[drawn_R[:, None], episode_RE] * taken_RE).sum(axis=1) / size_R1[:, 0]
    return percentile(float(np.mean([group.mean() for group in groups])), mean_R / len(groups), confidence)


def interquartile_mean(
    values_KS: Sequence, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean of the middle half of all values, and its stratified percentile bootstrap interval.

    `values_KS`: shape (K, S), tasks by seeds, or (S,); seeds are resampled within each task (Agarwal et al.,
    NeurIPS 2021). Below about 10 seeds a task the interval covers too little. Raises ValueError for
    another shape or a value that is not finite.
    """
    values_KS = _tasks(values_KS)
    drawn_RKS = _resampled(values_KS, resamples, np.random.default_rng(seed))
    iqm_R = stats.trim_mean(drawn_RKS.reshape(resamples, -1), 0.25, axis=1)
    return percentile(float(stats.trim_mean(values_KS, 0.25, axis=None)), iqm_R, confidence)


def probability_of_improvement(
    a_KS: Sequence, b_KS: Sequence, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """P(a > b) + P(a = b) / 2 for one seed of each, mean over tasks, and its stratified bootstrap interval.

    Shapes (K, S) and (K, S'), or (S,) and (S',): the seeds of a and b are not paired (Agarwal et al.,
    NeurIPS 2021). Where every a beats every b the interval has width zero, however few seeds there are.
    Raises ValueError for other shapes, different numbers of tasks, or a value that is not finite.
    """
    a_KS, b_KS = _tasks(a_KS), _tasks(b_KS)
    if len(a_KS) != len(b_KS):
        raise ValueError(f"Both sides need the same tasks; found {len(a_KS)} and {len(b_KS)}.")
    rng = np.random.default_rng(seed)
    drawn_a, drawn_b = _resampled(a_KS, resamples, rng), _resampled(b_KS, resamples, rng)

    def improvement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        pairs = np.sign(a[..., :, None] - b[..., None, :])
        return 0.5 + pairs.mean(axis=(-3, -2, -1)) / 2

    return percentile(float(improvement(a_KS, b_KS)), improvement(drawn_a, drawn_b), confidence)


def _tasks(values: Sequence) -> np.ndarray:
    """Values as (K, S). Raises ValueError where they are not."""
    values_KS = np.atleast_2d(np.asarray(values, dtype=float))
    if values_KS.ndim != 2 or not values_KS.size or not np.isfinite(values_KS).all():
        raise ValueError(
            f"Values of shape (tasks, seeds) are needed, all finite; the shape is {values_KS.shape}."
        )
    return values_KS


def _resampled(values_KS: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Seeds drawn with replacement within each task, shape (R, K, S)."""
    drawn_RKS = rng.integers(values_KS.shape[1], size=(resamples, *values_KS.shape))
    return np.take_along_axis(values_KS[None], drawn_RKS, axis=2)


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
    preset, arm, step ...) and so would be mixed. A table without a column `seed` is not checked.
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
    return table.groupby(by, sort=False, dropna=False)


def summarize(table: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """One row per group and metric: the columns `by`, then metric, mean, ci_low, ci_high, n.

    Each row of a group is one seed. Values that are missing are left out and show in n; where all of them
    are, n is 0 and the rest nan. Raises ValueError for missing columns, and as `grouped` does.
    """
    by, values = list(by), list(values)
    missing = [column for column in by + values if column not in table.columns]
    if missing:
        raise ValueError(f"The table lacks the columns {missing}; it has {list(table.columns)}.")
    rows = []
    for key, group in grouped(table, by):
        for metric in values:
            values_S = group[metric].dropna().to_numpy(dtype=float)
            found = interval(values_S) if values_S.size else Interval(np.nan, np.nan, np.nan)
            rows.append((*key, metric, *found, values_S.size))
    return pd.DataFrame(rows, columns=[*by, "metric", "mean", "ci_low", "ci_high", "n"])


def as_text(row: pd.Series) -> str:
    """A row of `summarize` as `mean ± half the interval`, or the mean alone where there is no interval."""
    half = (row["ci_high"] - row["ci_low"]) / 2
    return f"{row['mean']:.3f}" if pd.isna(half) else f"{row['mean']:.3f} ± {half:.3f}"
