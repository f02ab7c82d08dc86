"""The rule of the kit's claim E9: does the authors' result with their current recipe replicate?

The rule reads `replication.csv`. Its docstring *is* the rule.
"""

import numpy as np
import pandas as pd

from sepo_lib.report.verdicts import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    Finding,
    Tables,
    because,
    judge,
    lacking,
    where,
)

#: J of the authors' model before and after SEPO with their current recipe (Gemma 4, temperature 0.8), from
#: data/paper/authors_results.csv with the kit's evaluation weights.
THEIRS = {"sft": 1.336, "sepo": 1.752}
#: Half of the authors' own rise: the largest difference of J at which two outcomes count as the same.
MARGIN = (THEIRS["sepo"] - THEIRS["sft"]) / 2


def authors_result_replicates(tables: Tables, recipe: str) -> list[Finding]:
    """E9. Measured: J (evaluation weights) in the prisoner's dilemma before and after SEPO with the authors'
    current recipe, from the SFT model with the largest `share` in `replication.csv`. It is nearest to
    tit-for-tat.

    There are four verdicts. *J rises*: SEPO - SFT, paired by seed. Supported: the interval lies above zero.
    Not supported: no part of it does. *The level is theirs*: J after SEPO minus that of the authors' model
    (1.752). Supported: the interval lies within half of the authors' own rise of 1.336 to 1.752 (±0.208) of
    zero. Not supported: no part of it does. *This start helps*: the rise from this SFT model minus the rise
    from that of the main run (share 0), paired by seed. Supported: the interval lies above zero. Not
    supported: no part of it does. *J rises with their top-p*: as the first verdict, with top-p 0.95 in play
    and evaluation, before and after. The first three verdicts read the rows without top-p.
    """
    every = tables.replication
    rows, filtered = every[every.top_p == 1], every[every.top_p < 1]
    share = every.share[every.share > 0].max()
    absent = f"no SFT model or no {recipe} here"
    if np.isnan(share):
        only = "only the main run's SFT model (share 0) here"
        absent = "the replication was not run here" if every.empty else only
    after, before = _after(rows, recipe, share), _before(rows, share)
    rise, at_zero = after - before, _rise(rows, recipe, 0.0)
    note = f"share {share:g}"
    return [
        _judged(rise, absent, note, "J rises"),
        _same(after.reindex(rise.index) - THEIRS["sepo"], absent, note),
        _judged(
            rise - at_zero,
            f"{recipe} was not trained from the main run's SFT model" if rise.notna().any() else absent,
            note,
            "this start helps",
        ),
        _judged(
            _rise(filtered, recipe, share),
            absent if np.isnan(share) else f"no {recipe} with top-p here",
            note,
            "J rises with their top-p",
        ),
    ]


def _judged(values_S: pd.Series, absent: str, note: str, scope: str) -> Finding:
    """Whether the mean over seeds is above 0; the reason says how many seeds have no value."""
    return judge(values_S.dropna(), absent=absent, note=because(note, _lacking(values_S)), scope=scope)


def _lacking(values_S: pd.Series) -> str:
    return lacking(int(values_S.isna().sum()), len(values_S), "a model")


def _same(values_S: pd.Series, absent: str, note: str) -> Finding:
    """Whether the mean over seeds is 0 up to MARGIN, by its interval (or the value that all seeds have)."""
    found = _judged(values_S, absent, note, "the level is theirs")
    low, high = (found.measured if np.isnan(end) else end for end in (found.ci_low, found.ci_high))
    if values_S.count() < 2:
        return found
    ends, note = f"within ±{MARGIN:.3f}", because(note, _lacking(values_S))
    if -MARGIN <= low and high <= MARGIN:
        return found._replace(verdict=SUPPORTED, reason=because(f"the interval lies {ends}", note))
    if high < -MARGIN or low > MARGIN:
        return found._replace(verdict=NOT_SUPPORTED, reason=because(f"no part lies {ends}", note))
    return found._replace(verdict=INCONCLUSIVE, reason=because(f"the interval lies partly {ends}", note))


def _rise(rows: pd.DataFrame, recipe: str, share: float) -> pd.Series:
    """J after SEPO minus J after SFT from the SFT model with this share, by seed; nan if one is missing."""
    return _after(rows, recipe, share) - _before(rows, share)


def _after(rows: pd.DataFrame, recipe: str, share: float) -> pd.Series:
    return _by_seed(where(rows, share=share, stage="sepo", preset=recipe))


def _before(rows: pd.DataFrame, share: float) -> pd.Series:
    return _by_seed(where(rows, share=share, stage="sft"))


def _by_seed(rows: pd.DataFrame) -> pd.Series:
    """J by seed. Raises ValueError if a seed occurs twice."""
    if rows.seed.duplicated().any():
        raise ValueError(f"replication.csv has a seed twice (seeds {rows.seed.tolist()}); keep one row each.")
    return rows.set_index("seed")["safety"].astype(float)
