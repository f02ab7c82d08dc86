"""What did the policies become? The facts of `behaviour.csv` for the sentences of notebook 03, by game."""

from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from sepo_lib import figures, games
from sepo_lib.measure import agreement, statistics
from sepo_lib.measure.statistics import Interval

LIKE = 0.5  # a policy is like a known strategy if it agrees with it in this share of its decisions
LEAST = 10  # a change is reported of situations with so many decisions before and after, in every seed


class Nearest(NamedTuple):
    """The known strategy that agrees most with a policy, and the share of decisions in which it does."""

    strategy: str
    agreement: Interval

    @property
    def like(self) -> bool:
        """Whether the policy is like this strategy; else it is like none."""
        return self.agreement.mean >= LIKE


@dataclass(frozen=True)
class Change:
    """What a policy does in one situation before and after: means over seeds, and their paired difference."""

    situation: str
    action: str
    before: float
    after: float
    difference: Interval
    share: bool  # whether the values are shares of decisions
    observed: str  # what the situation consists of, in words

    @property
    def verb(self) -> str:
        """`rises` or `falls`; `changes` if the interval contains 0, and `stays` if both means are equal."""
        if abs(self.difference.mean) <= statistics.NO_SPREAD:
            return "stays"
        if self.difference.low <= 0 <= self.difference.high:
            return "changes"
        return "rises" if self.difference.mean > 0 else "falls"


@dataclass(frozen=True)
class Became:
    """The policies of one game. `nearest`: the policy in words -> the strategy that is nearest to it."""

    game: str
    nearest: dict[str, Nearest]
    last: Nearest | None  # the nearest to SEPO with the chosen preset; None if it has no rows
    change: Change | None  # the largest one from SFT to that SEPO; None if both never meet one situation


def became(table: pd.DataFrame, preset: str) -> list[Became]:
    """What the policies of every game became (`behaviour.csv`); the change is that to SEPO with `preset`."""
    if table.empty:
        return []
    rows = figures.configured(table)
    found = []
    for game in figures.ordered_games(rows):
        own = rows[rows["game"] == game]
        strategies = agreement.merged(own)
        looks = figures.looks_of(own["configuration"])
        listed = {
            stage: agreement.nearest(strategies[strategies["configuration"] == stage]) for stage in looks
        }
        near = {stage: Nearest(*named[0]) for stage, named in listed.items() if named}
        nearest = {looks[stage].label: named for stage, named in near.items()}
        found.append(Became(game, nearest, near.get(preset), largest_change(own, "sft", preset)))
    return found


def largest_change(rows: pd.DataFrame, before: str, after: str) -> Change | None:
    """The largest change of a mean in a situation that both configurations meet often enough (`LEAST`)."""
    rows = rows[(rows["kind"] == "situation") & (rows["decisions"] >= LEAST)]
    one, other = (_by_seed(rows[rows["configuration"] == name]) for name in (before, after))
    seeds = one.columns.intersection(other.columns)
    difference_S = (other[seeds] - one[seeds]).dropna()
    if difference_S.empty or not len(seeds):
        return None
    place = difference_S.mean(axis=1).abs().round(3).idxmax()
    found = statistics.paired(other.loc[place, seeds], one.loc[place, seeds])
    means = (float(values.loc[place, seeds].mean()) for values in (one, other))
    legal = rows[rows["configuration"] == after].groupby(["seed", "situation"])["value"].sum()
    share = bool(((legal - 1).abs() < agreement.SUM).all())
    return Change(*place, *means, found, share, games.get(rows["game"].iloc[0]).observed)


def _by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """The values: a row for each (situation, action) in the order of the table, a column for each seed."""
    rows = rows.assign(situation=rows["situation"].map(str))
    wide = rows.pivot(index=["situation", "action"], columns="seed", values="value")
    return wide.loc[pd.MultiIndex.from_frame(rows[["situation", "action"]].drop_duplicates())]
