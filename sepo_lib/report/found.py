"""What was found: sentences below a notebook's figures and at its end, from templates and its tables.

`templates/found/<notebook>.md.j2` writes the section "What was found" of a notebook (`show`), and
`templates/found/<notebook>/<section>.md.j2` the reading of one of its sections (`reading`). A template takes
every number, direction and count from the tables that the notebook passes, by these functions:

    pick       rows with certain values              changes   differences between two sets of rows, by game
    value      `mean [low, high]` of a column        against   differences of all other values to one
    brackets   what the brackets in the text mean    tally     "higher in 4 of 5 games (...); in ..."
    title      the title of a game                   listed    "Kuhn poker 0.12 [0.05, 0.19]; ..."
    places     game and pool set of every row        words     a list of names with "and"
    verdicts   claims by their verdict               amount    the size of one difference
    became     the nearest strategies, by game       text      `mean [low, high]` of an interval
    origins    changes of J by its four terms       illegible seeds with a low parse rate

Intervals and pairing by seed are those of `statistics`. A notebook passes every table that its template
names. A table of a study that the run does not have has no rows; the template then says so or leaves the
sentence out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from scipy import stats

from sepo_lib import games
from sepo_lib.config.profiles import Settings
from sepo_lib.figures import ordered_games
from sepo_lib.measure import statistics
from sepo_lib.measure.rows import reported
from sepo_lib.measure.statistics import NO_SPREAD, UNKNOWN, Interval
from sepo_lib.method import credit
from sepo_lib.method.objective import objective
from sepo_lib.report.became import became
from sepo_lib.report.findings import TERMS, over_seeds, title
from sepo_lib.report.verdicts import INCONCLUSIVE, NOT_RUN, NOT_SUPPORTED, SUPPORTED, caution
from sepo_lib.run.templates import markdown_table, render


def show(notebook: str, settings: Settings, **tables: object) -> None:
    """Display the findings of a notebook (`text`)."""
    display(Markdown(text(notebook, settings, **tables)))


def reading(notebook: str, section: str, settings: Settings, **tables: object) -> None:
    """Display what the results of one section of a notebook say, in a sentence or two."""
    display(Markdown(f"**Result.** {written(notebook, section, settings, **tables)}"))


def written(notebook: str, section: str, settings: Settings | None = None, **tables: object) -> str:
    """The sentences of `reading`. Only those on a table without rows need `settings`."""
    return _rendered(f"{notebook}/{section}", settings, tables)


def table(rows: Sequence[Mapping[str, object]] | pd.DataFrame, note: str = "", digits: int = 3) -> None:
    """Display rows as a small table with a note below: games by their titles, numbers with `digits` decimals.

    An empty cell is shown as a dash. Nothing is displayed without rows.
    """
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    cells = [{name: _cell(name, value, digits) for name, value in row.items()} for row in records]
    if cells:
        below = f"\n\n<small>{note}</small>" if note else ""
        display(Markdown(markdown_table(cells) + below))


def text(notebook: str, settings: Settings, **tables: object) -> str:
    """The findings of a notebook as Markdown; `tables` are what its template names.

    Raises jinja2.UndefinedError for a table that the template names and the call lacks, and
    jinja2.TemplateNotFound for a notebook without a template.
    """
    written = _rendered(notebook, settings, tables)
    return "\n\n".join(filter(None, [written, caution(settings.profile)]))


#: With a lower parse rate after training, results are not presented as the model's own play (`illegible`).
LEGIBLE = 0.9

#: Of more than this many games (or other categories) a sentence gives the number and not the names.
_NAMED = 5


@dataclass(frozen=True)
class Change:
    """A difference of a measure between two sets of rows, paired by seed, in one game (or other category).

    `seeds` is 0 if one of the two sets has no rows. One seed gives a difference without an interval. `p` is
    the p-value of the paired t test, nan without an interval, and `key` what `name` says: column -> value.
    """

    name: str
    found: Interval
    seeds: int
    p: float = float("nan")
    key: Mapping[str, str] = field(default_factory=dict, compare=False)

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
    by: str | Sequence[str] = "game",
) -> list[Change]:
    """`metric` in the rows `after` minus that in the rows `before` (values as in `pick`), for each `by`.

    Every value of `by` that either set of rows has counts, so that none is left out. Raises ValueError as
    `pick` and `statistics.difference` do.
    """
    if table.empty:
        return []
    by = [by] if isinstance(by, str) else list(by)
    rows = [pick(table, **values) for values in (after, before)]
    both = pd.concat(rows).drop_duplicates(by)
    if "game" in by:
        both = both.sort_values("game", key=lambda game: game.map(ordered_games(both).index), kind="stable")
    found = []
    for key in both[by].itertuples(index=False, name=None):
        one, other = (own[(own[by] == list(key)).all(axis=1)] for own in rows)
        named = dict(zip(by, key, strict=True))
        found.append(replace(_change(_name(named), one, other, metric), key=named))
    return found


def against(table: pd.DataFrame, metric: str, column: str, reference: str) -> list[Change]:
    """`metric` of every other value of `column` minus that of the value `reference`, in the table's order.

    Raises ValueError as `changes` does.
    """
    if table.empty:
        return []
    at = pick(table, **{column: reference})
    others = [name for name in table[column].unique() if name != reference]
    return [_change(f"`{name}`", pick(table, **{column: name}), at, metric) for name in others]


def tally(found: Sequence[Change], up: str, down: str, noun: str = "games", at: str = "in") -> str:
    """In how many games a measure changed: `higher in 2 of 3 games (A, B); in C the interval contains zero`.

    `up` and `down` are the words for a positive and a negative change, `noun` and `at` those for what is
    counted. Of more than five, only the numbers are given. Raises ValueError without changes.
    """
    if not found:
        raise ValueError(f"There are no {noun} to count; leave the sentence out if its table has no rows.")
    total = len(found)
    clear, rest = [], []
    for way, word in (("up", up), ("down", down), ("same", "unchanged")):
        if names := [one.name for one in found if one.direction == way]:
            clear.append(f"{word} {at} {_share(names, total, noun, short=bool(clear))}")
    for way, word in (("open", "the interval contains zero"), ("missing", "nothing was measured")):
        if names := [one.name for one in found if one.direction == way]:
            if len(names) == total > 1:
                where = _all(total, noun)
            else:
                where = words(names) if total <= _NAMED else f"{len(names)}"
            rest.append(f"{at} {where} {word}")
    return "; ".join([words(clear) or f"neither clearly {up} nor clearly {down}", *rest])


def listed(found: Iterable[Change]) -> str:
    """The measured changes: `A 0.12 [0.05, 0.19]; B -0.30 [-0.41, -0.19]`."""
    return "; ".join(f"{one.name} {amount(one)}" for one in found if one.seeds)


def by_terms(
    table: pd.DataFrame,
    after: Mapping[str, object],
    before: Mapping[str, object],
    by: str | Sequence[str] = "game",
    weights: Mapping[str, Mapping[str, float]] | None = None,
) -> list[tuple[Change, dict[str, str]]]:
    """Each change of safety (as `changes`), and its parts: term of J -> how much it adds, such as `+0.23`.

    A positive number makes J larger. `weights`: the evaluation weights that differ from those of the games.
    Returns nothing for a table that lacks the terms.
    """
    if not {*TERMS} <= set(table.columns):
        return []
    parts = table.copy()
    for game, rows in table.groupby("game"):
        own = games.get(game, {"evaluation": (weights or {}).get(game, {})})
        for name, term in TERMS.items():
            alone = dict.fromkeys("uecx", 0.0) | {term: rows[name]}
            parts.loc[rows.index, f"J by {term}"] = objective(own, **alone, weights=own.evaluation_weights)
    found = {term: changes(parts, f"J by {term}", after, before, by) for term in TERMS.values()}
    return [
        (one, {term: _signed(several[number]) for term, several in found.items()})
        for number, one in enumerate(changes(table, "safety", after, before, by))
        if one.seeds
    ]


def origins(*rows: object, **options: object) -> list[str]:
    """`by_terms` as texts (`origin`)."""
    return [origin(*one) for one in by_terms(*rows, **options)]


def origin(change: Change, parts: Mapping[str, str]) -> str:
    """One result of `by_terms` as text: `Kuhn poker +0.59 = u -0.19, e +0.05, c +0.73, x 0.00`."""
    return f"{change.name} {_signed(change)} = " + ", ".join(f"{term} {part}" for term, part in parts.items())


def amount(change: Change) -> str:
    """The size of a change alone: `0.12 [0.05, 0.19]`."""
    return statistics.text(change.found, 2)


def value(rows: pd.DataFrame, metric: str, digits: int = 2) -> str:
    """The mean of a column over seeds, one row each, with its interval: `0.31 [0.20, 0.42]`.

    One seed has the interval of its evaluation noise, if the table has one (`statistics.spread`).
    """
    return over_seeds(rows, metric, digits)


def illegible(rows: pd.DataFrame) -> list[str]:
    """The training seeds with a row whose `parse_rate` is below LEGIBLE."""
    return [str(seed) for seed in sorted(rows["seed"][rows["parse_rate"] < LEGIBLE].unique())]


def brackets(table: pd.DataFrame) -> str:
    """What the brackets mean: the sentences depend on the number of training seeds in the table."""
    seeds = sorted(table["seed"].unique())
    if len(seeds) == 1:
        return (
            f"This run has one training seed ({seeds[0]}), so no difference has an interval over training "
            "seeds: the signs above may be noise. Brackets, where there are any, cover evaluation noise only."
        )
    return (
        f"Brackets are 95% intervals (Student's t) over the {len(seeds)} training seeds "
        f"{words(str(seed) for seed in seeds)}; differences are paired by seed."
    )


def verdicts(decided: pd.DataFrame) -> str:
    """How many verdicts of each kind, and on which claims: `1 supported: C5; 1 not run: C6 (paper pools)`.

    A claim with several verdicts stands once for each, with its scope.
    """
    names = decided["claim"] + decided["scope"].fillna("").map(lambda scope: f" ({scope})" if scope else "")
    parts = []
    for verdict in (SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE, NOT_RUN):
        own = names[decided["verdict"] == verdict]
        if len(own) or verdict == SUPPORTED:
            parts.append(f"{len(own)} {verdict}" + (f": {words(own)}" if len(own) else ""))
    return "; ".join(parts)


def words(names: Iterable[str]) -> str:
    """`A`, `A and B`, or `A, B and C`."""
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _signed(change: Change) -> str:
    """The mean with its sign and two decimals; `0.00` has none."""
    mean = change.found.mean
    return "0.00" if abs(mean) < 0.005 else f"{mean:+.2f}"


def _share(names: Sequence[str], total: int, noun: str, short: bool) -> str:
    """`2 of 3 games (A, B)`, `all 3 games`, the name if there is only one game, or `2 (A, B)` if `short`."""
    if total == 1:
        return names[0]
    if len(names) == total:
        return _all(total, noun)
    listing = f" ({', '.join(names)})" if total <= _NAMED else ""
    return f"{len(names)}{'' if short else f' of {total} {noun}'}{listing}"


def _all(total: int, noun: str) -> str:
    return f"both {noun}" if total == 2 else f"all {total} {noun}"


def places(rows: pd.DataFrame) -> list[str]:
    """Game and pool set of every row, as `Kuhn poker (conflict pools)`."""
    return [f"{title(game)} ({pools} pools)" for game, pools in zip(rows["game"], rows["pools"], strict=True)]


def _rendered(template: str, settings: Settings | None, tables: Mapping[str, object]) -> str:
    return render(f"report/templates/found/{template}.md.j2", settings=settings, **_FUNCTIONS, **tables)


def _change(name: str, after: pd.DataFrame, before: pd.DataFrame, metric: str) -> Change:
    if after.empty or before.empty:
        return Change(name, UNKNOWN, 0)
    gain_S = statistics.difference(*(rows.set_index("seed")[metric] for rows in (after, before)))
    varies = len(gain_S) > 1 and np.ptp(gain_S) > NO_SPREAD
    p = float(stats.ttest_1samp(gain_S, 0.0).pvalue) if varies else float("nan")
    return Change(name, statistics.interval(gain_S), len(gain_S), p)


def _name(key: Mapping[str, str]) -> str:
    """`Kuhn poker`, or `Kuhn poker with conflict pools and `published``, or the values in backticks."""
    rest = [
        f"{value} pools" if name == "pools" else f"`{value}`" for name, value in key.items() if name != "game"
    ]
    named = [title(key["game"])] if "game" in key else []
    return " with ".join([*named, *([" and ".join(rest)] if rest else [])])


def _cell(name: str, value: object, digits: int) -> object:
    if name == "game":
        return title(str(value))
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value + 0.0:.{digits}f}"
    return "–" if value is None or value == "" else value


_FUNCTIONS = {
    "became": became,
    "text": lambda found: statistics.text(found, 2),
    "all_switches": list(credit.FIELD_OF_SWITCH),
    "limit": LEGIBLE,
} | {
    one.__name__: one
    for one in (
        *(pick, changes, against, tally, listed, amount, origins),
        *(value, brackets, illegible, verdicts, words, title, places),
    )
}
