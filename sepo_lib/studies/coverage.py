"""How often the intervals of `statistics` contain the true value with three, five and ten seeds.

This is a simulation. Every data set first draws the true value of each seed (variation between training
seeds), then its measured value (evaluation noise). The true value of the quantity is the mean over all seeds.
`python -m sepo_lib coverage` writes data/results/coverage.csv in seconds; docs/CLAIMS.md shows it.

Axes: `_D` data sets, `_S` seeds, `_X` exploiters.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from sepo_lib.config import paths
from sepo_lib.measure import statistics
from sepo_lib.measure.statistics import BOUNDS, Interval

DATASETS = 20_000
SEEDS = (3, 5, 10)
DECISIONS, ANSWERS = 400, 1024  # per seed: decisions of a rate, answers at an information set of Kuhn poker
BETWEEN, PLAY = 0.05, 0.05  # standard deviation of a margin between seeds, and of its measurement
LOGIT = 0.3  # standard deviation of a rate between seeds, on the logit scale
STUDENT = "Student's t"


class Case(NamedTuple):
    """One situation: the measured values, the true value, and the kit's interval."""

    quantity: str
    setting: str
    truth: float
    values_DS: np.ndarray
    kind: str
    found: Interval


def run(datasets: int = DATASETS) -> pd.DataFrame:
    """Coverage by quantity, setting, number of seeds and kind of interval.

    Columns: quantity, setting, seeds, kind, coverage (share of data sets whose interval contains the
    true value), outside (share whose interval leaves the range of the quantity), width (mean), datasets.
    """
    rows = []
    for seeds in SEEDS:
        rng = np.random.default_rng(seeds)
        for case in (
            *_margins(rng, datasets, seeds),
            *_rates(rng, datasets, seeds),
            *_nashconvs(rng, datasets, seeds),
        ):
            ends = statistics.bounds(case.quantity) or (-np.inf, np.inf)
            for kind, (_, low, high) in {
                STUDENT: statistics.student(case.values_DS),
                case.kind: case.found,
            }.items():
                holds = (low <= case.truth + 1e-12) & (high >= case.truth - 1e-12)
                beyond = (low < ends[0] - 1e-12) | (high > ends[1] + 1e-12)
                rows.append(
                    {"quantity": case.quantity, "setting": case.setting, "seeds": seeds, "kind": kind}
                    | {"coverage": holds.mean(), "outside": beyond.mean(), "width": (high - low).mean()}
                    | {"datasets": datasets}
                )
    return pd.DataFrame(rows).round(4)


def file() -> Path:
    """The path of the committed table."""
    return paths.root() / "data" / "results" / "coverage.csv"


def write() -> pd.DataFrame:
    """Simulate, write the table, and return it."""
    table = run()
    paths.write_csv(table, file())
    return table


def _margins(rng: np.random.Generator, datasets: int, seeds: int) -> Iterator[Case]:
    """e = mean over exploiters of max(0, margin), for margins below, at and above 0 (points per round).

    If margins are played, the interval of e comes from the largest and the mean margin. Enumerated margins,
    such as those of `pool_advantage`, have no evaluation noise, and their mean is not in the tables.
    """
    for setting, means_X, between, play in _situations():
        true_DSX = np.array(means_X) + rng.normal(0, between, (datasets, seeds, len(means_X)))
        seen_DSX = true_DSX + rng.normal(0, play, true_DSX.shape)
        e_DS, worst_DS = np.maximum(seen_DSX, 0).mean(axis=-1), seen_DSX.max(axis=-1)
        truth = float(np.mean([_clamped_mean(mean, between) for mean in means_X]))
        quantity, mean_DS = ("exploit", seen_DSX.mean(axis=-1)) if play else ("pool_advantage", None)
        found = statistics.clamped(e_DS, worst_DS, mean_DS)
        yield Case(quantity, setting, truth, e_DS, "from the signed margin", found)
        if len(means_X) == 1 and play:
            yield Case("margin", setting, means_X[0], worst_DS, "as it is", statistics.interval(worst_DS))


def _situations() -> Iterator[tuple[str, tuple[float, ...], float, float]]:
    """(description, means of the exploiters' margins, standard deviation between seeds, evaluation noise)."""
    others = {"one exploiter": (), "another far below": (-1.0,), "another equal to it": (0.0,)}
    for name, more in others.items():
        for margin in (-0.1, -0.05, 0.0, 0.05, 0.2) if name != "another equal to it" else (0.0,):
            yield f"{name}, margin {margin:g}", (margin, *more), BETWEEN, PLAY
    for between, play in ((0.02, 0.1), (0.01, 0.3)):
        yield f"another equal to it, margin 0, {between:g} and {play:g}", (0.0, 0.0), between, play
    yield "another at 0, margin 0.2, 0.02 and 0.1", (0.2, 0.0), 0.02, 0.1
    for margin in (-0.2, -0.1, 0.0, 0.2):
        yield f"one exploiter, margin {margin:g}, enumerated", (margin,), BETWEEN, 0.0


def _clamped_mean(mean: float, deviation: float) -> float:
    """The mean of max(0, X) for a normal X."""
    z = mean / deviation
    return float(mean * stats.norm.cdf(z) + deviation * stats.norm.pdf(z))


def _rates(rng: np.random.Generator, datasets: int, seeds: int) -> Iterator[Case]:
    """Rates near 0, in the middle and near 1; the number of trials per seed is known or not known."""
    for trials, rate, known in [
        *((DECISIONS, rate, False) for rate in (0.001, 0.01, 0.05, 0.5, 0.95, 0.99)),
        *((ANSWERS, rate, True) for rate in (0.001, 0.01, 0.5)),
    ]:
        logits_DS = np.log(rate / (1 - rate)) + rng.normal(0, LOGIT, (datasets, seeds))
        true_DS = 1 / (1 + np.exp(-logits_DS))
        seen_DS = rng.binomial(trials, true_DS) / trials
        kind = "cut to [0, 1], and Wilson's" if known else "cut to [0, 1]"
        found = statistics.interval(seen_DS, BOUNDS["probability"], trials=trials if known else None)
        yield Case("probability", f"{rate:g}, {trials:,} trials", float(true_DS.mean()), seen_DS, kind, found)


def _nashconvs(rng: np.random.Generator, datasets: int, seeds: int) -> Iterator[Case]:
    """NashConv near 0 and far from it, skewed between seeds, with sampling noise of a tenth of its mean."""
    for mean in (0.02, 0.5):
        for spread in (0.2, 0.6):
            true_DS = rng.gamma(spread**-2, mean * spread**2, (datasets, seeds))
            seen_DS = np.maximum(true_DS + rng.normal(0, mean / 10, true_DS.shape), 0.0)
            setting = f"{mean:g}, standard deviation {spread * mean:g}"
            found = statistics.interval(seen_DS, statistics.NON_NEGATIVE)
            yield Case("nashconv", setting, mean, seen_DS, "cut at 0", found)
