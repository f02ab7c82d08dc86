"""How often the intervals of `statistics` hold the truth with three and five seeds, by simulation.

Every data set draws the true value of each seed (training varies), then what is measured of it (play is
luck). The truth is the mean over all seeds that training could have had. `python -m sepo_lib coverage` writes
data/results/coverage.csv in seconds; docs/CLAIMS.md shows it.

Axes: `_D` data sets, `_S` seeds, `_X` exploiters.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from . import paths, statistics
from .statistics import BOUNDS, Interval

DATASETS = 20_000
SEEDS = (3, 5)
DECISIONS, ANSWERS = 400, 1024  # a seed: decisions behind a rate, answers at an information set of Kuhn poker
BETWEEN, PLAY = 0.05, 0.05  # standard deviation of a margin between seeds, and of its measurement
LOGIT = 0.3  # standard deviation of a rate between seeds, on the logit scale
STUDENT = "Student's t"


class Case(NamedTuple):
    """One situation: what was measured, the truth, and the kit's interval beside Student's t."""

    quantity: str
    setting: str
    truth: float
    values_DS: np.ndarray
    kind: str
    found: Interval


def run(datasets: int = DATASETS) -> pd.DataFrame:
    """Coverage by quantity, setting, number of seeds and kind of interval.

    Columns: quantity, setting, seeds, kind, coverage (share of data sets whose interval holds the truth),
    outside (share whose interval leaves the range of the quantity), width (mean), datasets.
    """
    rows = []
    for seeds in SEEDS:
        rng = np.random.default_rng(seeds)
        for case in (
            *margins(rng, datasets, seeds),
            *rates(rng, datasets, seeds),
            *nashconvs(rng, datasets, seeds),
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


def margins(rng: np.random.Generator, datasets: int, seeds: int) -> Iterator[Case]:
    """e = mean over exploiters of max(0, margin), with the margins below, at and above 0 (points a round)."""
    others = {"one exploiter": (), "another far below": (-1.0,), "another equal to it": (0.0,)}
    for name, more in others.items():
        for margin in (-0.1, -0.05, 0.0, 0.05, 0.2) if name != "another equal to it" else (0.0,):
            means_X = margin + np.array([0.0, *more])
            true_DSX = means_X + rng.normal(0, BETWEEN, (datasets, seeds, len(means_X)))
            seen_DSX = true_DSX + rng.normal(0, PLAY, true_DSX.shape)
            e_DS, worst_DS = np.maximum(seen_DSX, 0).mean(axis=-1), seen_DSX.max(axis=-1)
            truth, setting = float(np.maximum(true_DSX, 0).mean()), f"{name}, margin {margin:g}"
            yield Case(
                "exploit", setting, truth, e_DS, "from the signed margin", statistics.clamped(e_DS, worst_DS)
            )
            if not more:
                yield Case("margin", setting, margin, worst_DS, "as it is", statistics.interval(worst_DS))


def rates(rng: np.random.Generator, datasets: int, seeds: int) -> Iterator[Case]:
    """Rates near 0, in the middle and near 1, from a number of trials a seed that is known or not."""
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


def nashconvs(rng: np.random.Generator, datasets: int, seeds: int) -> Iterator[Case]:
    """NashConv near 0 and far from it: skewed between seeds, and a tenth of it noise of the sample."""
    for mean in (0.02, 0.5):
        for spread in (0.2, 0.6):
            true_DS = rng.gamma(spread**-2, mean * spread**2, (datasets, seeds))
            seen_DS = np.maximum(true_DS + rng.normal(0, mean / 10, true_DS.shape), 0.0)
            setting = f"{mean:g}, standard deviation {spread * mean:g}"
            found = statistics.interval(seen_DS, statistics.NON_NEGATIVE)
            yield Case("nashconv", setting, mean, seen_DS, "cut at 0", found)


def file() -> Path:
    """Where the committed table stands."""
    return paths.root() / "data" / "results" / "coverage.csv"


def write() -> pd.DataFrame:
    """Simulate and write the table."""
    table = run()
    paths.write_csv(table, file())
    return table
