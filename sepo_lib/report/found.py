"""The section "What was found" of a notebook: a few sentences, from a template and the notebook's tables.

A template `templates/found/<notebook>.md.j2` writes the sentences. It takes every number, direction and count
from the tables that the notebook passes, by these functions:

    pick       rows with certain values              changes   differences between two sets of rows, by game
    value      `mean [low, high]` of a column        tally     "higher in 4 of 5 games (...); in ..."
    brackets   what the brackets in the text mean    listed    "Kuhn poker 0.12 [0.05, 0.19]; ..."
    title      the title of a game                   words     a list of names with "and"

Intervals and pairing by seed are those of `statistics`. The notebook passes every table that its template
names. A table of a study that the profile does not run has no rows, and its sentence is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from IPython.display import Markdown, display

from sepo_lib.config.profiles import Settings
from sepo_lib.figures import ordered_games
from sepo_lib.measure import statistics
from sepo_lib.measure.rows import reported
from sepo_lib.measure.statistics import NO_SPREAD, UNKNOWN, Interval
from sepo_lib.report.findings import over_seeds, title
from sepo_lib.run.templates import render


def show(notebook: str, settings: Settings, **tables: object) -> None:
    """Display the findings of a notebook (`text`)."""
    display(Markdown(text(notebook, settings, **tables)))


def text(notebook: str, settings: Settings, **tables: object) -> str:
    """The findings of a notebook as Markdown; `tables` are what its template names.

    Raises jinja2.UndefinedError for a table that the template names and the call lacks, and
    jinja2.TemplateNotFound for a notebook without a template.
    """
    written = render(f"report/templates/found/{notebook}.md.j2", settings=settings, **_FUNCTIONS, **tables)
    if settings.profile == "smoke":
        written += (
            "\n\nThe profile `smoke` only shows that the code runs; numbers of so small a run mean nothing."
        )
    return written


@dataclass(frozen=True)
class Change:
    """A difference of a measure between two sets of rows, paired by seed, in one game (or other category).

    `seeds` is 0 if one of the two sets has no rows. One seed gives a difference without an interval.
    """

    name: str
    found: Interval
    seeds: int

    @property
    def direction(self) -> str:
        """`up` or `down`, `same` for 0 in every seed, `open` if the interval contains 0, or `missing`.

        Without an interval (one seed, or equal differences in all seeds) the sign decides.
        """
        if self.seeds == 0:
            return "missing"
        if pd.notna(self.found.low) and self.found.high - self.found.low > NO_SPREAD:
            return "up" if self.found.low > 0 else "down" if self.found.high < 0 else "open"
        size = 0.0 if abs(self.found.mean) <= NO_SPREAD else self.found.mean
        return "up" if size > 0 else "down" if size < 0 else "same"


def pick(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The reported rows with these values; no rows if the table has none.

    Raises ValueError for a column that the table lacks.
    """
    if table.empty:
        return table
    if missing := [name for name in values if name not in table]:
        raise ValueError(f"The table lacks the columns {missing}; it has {list(table.columns)}.")
    rows = reported(table) if {"stage", "step"} <= set(table.columns) else table
    for name, value in values.items():
        rows = rows[rows[name] == value]
    return rows


def changes(
    table: pd.DataFrame,
    metric: str,
    after: Mapping[str, object],
    before: Mapping[str, object],
    by: str = "game",
) -> list[Change]:
    """`metric` in the rows `after` minus that in the rows `before` (values as in `pick`), for each `by`.

    Every value of `by` that either set of rows has counts, so that none is left out. Raises ValueError as
    `pick` and `statistics.difference` do.
    """
    if table.empty:
        return []
    rows = [pick(table, **values) for values in (after, before)]
    both = pd.concat(rows)
    names = ordered_games(both) if by == "game" else list(dict.fromkeys(both[by]))
    found = []
    for name in names:
        one, other = (own[own[by] == name].set_index("seed")[metric] for own in rows)
        paired = statistics.paired(one, other) if len(one) and len(other) else UNKNOWN
        seeds = len(one.index.intersection(other.index))
        found.append(Change(title(name), paired, seeds))
    return found


def tally(found: Sequence[Change], up: str, down: str, noun: str = "games") -> str:
    """In how many games a measure changed, in words: `higher in 2 of 3 games (A, B); in C the interval
    contains zero`. `up` and `down` are the words for a positive and a negative change.

    Raises ValueError without changes.
    """
    if not found:
        raise ValueError(f"There are no {noun} to count; leave the sentence out if its table has no rows.")
    clear = []
    for way, word in (("up", up), ("down", down), ("same", "unchanged")):
        if names := [one.name for one in found if one.direction == way]:
            clear.append(f"{word} in {_share(names, len(found), noun, short=bool(clear))}")
    parts = [words(clear) or f"neither clearly {up} nor clearly {down}"]
    opened = [one.name for one in found if one.direction == "open"]
    if opened:
        every = len(found) > 1 and len(opened) == len(found)
        where = f"all {len(found)} {noun}" if every else words(opened)
        parts.append(f"in {where} the interval contains zero")
    if missing := [one.name for one in found if one.direction == "missing"]:
        parts.append(f"not measured in {words(missing)}")
    return "; ".join(parts)


def listed(found: Iterable[Change], digits: int = 2) -> str:
    """The measured changes: `A 0.12 [0.05, 0.19]; B -0.30 [-0.41, -0.19]`."""
    return "; ".join(f"{one.name} {statistics.text(one.found, digits)}" for one in found if one.seeds)


def value(rows: pd.DataFrame, metric: str, digits: int = 2) -> str:
    """The mean of a column over seeds, one row each, with its interval: `0.31 [0.20, 0.42]`.

    One seed has the interval of its evaluation noise, if the table has one (`statistics.spread`).
    """
    return over_seeds(rows, metric, digits)


def brackets(table: pd.DataFrame) -> str:
    """What the brackets mean: the sentence depends on the number of training seeds in the table."""
    seeds = sorted(table["seed"].unique())
    if len(seeds) == 1:
        return (
            f"This run has one training seed ({seeds[0]}), so no difference has an interval over training "
            "seeds: the signs above may be evaluation noise."
        )
    return (
        f"Brackets are 95% intervals (Student's t) over the {len(seeds)} training seeds "
        f"{words(str(seed) for seed in seeds)}; differences are paired by seed."
    )


def words(names: Iterable[str]) -> str:
    """`A`, `A and B`, or `A, B and C`."""
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _share(names: Sequence[str], total: int, noun: str, short: bool) -> str:
    """`2 of 3 games (A, B)`, `all 3 games`, the name if there is only one game, or `2 (A, B)` if `short`."""
    if total == 1:
        return names[0]
    if len(names) == total:
        return f"all {total} {noun}"
    return f"{len(names)}{'' if short else f' of {total} {noun}'} ({', '.join(names)})"


_FUNCTIONS = {one.__name__: one for one in (pick, changes, tally, listed, value, brackets, words, title)}
