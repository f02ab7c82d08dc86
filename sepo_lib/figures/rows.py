"""The selection of rows: the checks of a table, the rows that are drawn, and the order of the panels.

No row is dropped silently. Each function that leaves rows out says so in the caption (`notes.note`), and each
check raises one sentence that names the column, the values found and what is allowed.
"""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.figures.looks import OWN_ARM, Palette, check_named, looks_of, plain
from sepo_lib.figures.notes import count, note
from sepo_lib.figures.theme import Look
from sepo_lib.measure import rows as tables

#: Columns that a table may have. They hold numbers in every figure.
NUMBERS = (
    *("step", "group_size", "groups", "groups_per_batch", "nearest_margin", "own"),
    *("samples", "episodes", "margin", "worst_margin", "low", "high", "ci_low", "ci_high"),
)


class NothingToDraw(ValueError):
    """The table has no rows for this figure, for example because the run left out a game or an ablation."""


def need(data: pd.DataFrame, columns: Iterable[str], numbers: Iterable[str] = ()) -> pd.DataFrame:
    """The table with a new index, after the check that it can be drawn.

    `columns` must exist; rows with an empty cell in one of them are left out. `numbers` must exist and hold
    numbers (or empty cells), and so must those of `NUMBERS` and the intervals of `numbers` that the table
    has. Categories of pandas become plain values. Raises NothingToDraw for a table without rows, and
    ValueError, naming the column, for every other fault.
    """
    columns, numbers = list(columns), list(numbers)
    if not isinstance(data, pd.DataFrame):
        raise ValueError(
            f"A figure draws a pandas DataFrame, not {type(data).__name__}; see pandas.read_csv."
        )
    if data.empty:
        raise NothingToDraw("The table is empty.")
    if missing := [column for column in dict.fromkeys([*columns, *numbers]) if column not in data.columns]:
        raise ValueError(f"This figure needs the columns {missing}; the table has {list(data.columns)}.")
    if twice := data.columns[data.columns.duplicated()].unique().tolist():
        raise ValueError(f"The table has more than one column with the name {twice}; keep one of each.")
    data = data.reset_index(drop=True)
    for column in data.columns[[isinstance(kind, pd.CategoricalDtype) for kind in data.dtypes]]:
        data[column] = data[column].astype(data[column].cat.categories.dtype)
    ends = [(f"{column}_low", f"{column}_high") for column in numbers]
    optional = [column for column in (*NUMBERS, *(end for pair in ends for end in pair)) if column in data]
    for column in dict.fromkeys([*numbers, *optional]):
        data[column] = _numbers(data[column])
    for low, high in (*ends, ("low", "high"), ("ci_low", "ci_high")):
        _check_ends(data, low, high)
    return known(data, *columns)


def _check_ends(data: pd.DataFrame, low: str, high: str) -> None:
    """Raise ValueError if a table has one end of an interval without the other, or a low end above it."""
    if (low in data.columns) != (high in data.columns):
        here, missing = (low, high) if low in data.columns else (high, low)
        raise ValueError(f"The table has the column '{here}', but the other end '{missing}' is missing.")
    if low not in data.columns:
        return
    wrong = data[(data[low] > data[high]) | (data[low].isna() != data[high].isna())]
    if len(wrong):
        first = wrong.iloc[0]
        raise ValueError(
            f"The columns '{low}' and '{high}' hold the ends of an interval, both or none; they hold "
            f"{first[low]:g} and {first[high]:g}."
        )


def _numbers(column: pd.Series) -> pd.Series:
    """The column as numbers; empty cells stay empty, and whole numbers stay whole."""
    if column.dtype.kind in "iu" and isinstance(column.dtype, np.dtype):
        return column
    found = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = column[(found.isna() & column.notna()) | np.isinf(found)]
    if len(wrong):
        raise ValueError(
            f"The column '{column.name}' must hold finite numbers; it holds {wrong.tolist()[0]!r}."
        )
    return found


def keep(rows: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """The rows in which `column` has `value`, or one of its values if it is a list; None keeps all rows.

    All rows of a table without this column. Raises NothingToDraw, naming the values found, if none has it.
    """
    if column not in rows.columns or value is None:
        return rows
    wanted = list(value) if isinstance(value, list | tuple | set) else [value]
    kept = rows[rows[column].isin(wanted)]
    shown = ", ".join(map(_shown, wanted))
    if kept.empty:
        found = rows[column].unique().tolist()
        raise NothingToDraw(f"No row has {column} = {shown}; the table has {found}. Choose with `{column}=`.")
    if len(kept) < len(rows):
        note("Drawn", f"{column} = {shown} ({len(kept):,} of {count(len(rows), 'row')})")
    return kept


def _shown(value: object) -> str:
    """A value of a table in a sentence: 8 for 8.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def known(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows with a value in each of `columns`. Raises NothingToDraw if no row has one."""
    for column in columns:
        kept = rows[rows[column].notna()]
        if kept.empty:
            raise NothingToDraw(f"The column '{column}' has no value.")
        if len(kept) < len(rows):
            note("Left out", f"{count(len(rows) - len(kept), 'row')} without a value of {column}")
        rows = kept
    return rows


def several_models(rows: pd.DataFrame) -> bool:
    """Whether the table has more than one model."""
    return "model" in rows.columns and rows["model"].nunique() > 1


def one(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows, after the check that each of `columns` that the table has has one value."""
    for column in columns:
        found = rows[column].unique().tolist() if column in rows.columns else []
        if len(found) > 1:
            how = "the rows of one of them" if column in ("model", "configuration") else f"with `{column}=`"
            raise ValueError(
                f"This figure draws one value of the column '{column}', and the table has {found}. "
                f"Choose {how}."
            )
    return rows


def without(rows: pd.DataFrame, out: pd.Series, what: str) -> pd.DataFrame:
    """The rows outside of `out`; the caption says how many rows of `what` are left out.

    Raises NothingToDraw if no row remains.
    """
    if out.all():
        raise NothingToDraw(f"All {count(len(rows), 'row')} of the table are {what}, which are not drawn.")
    if out.any():
        note("Left out", f"{count(int(out.sum()), 'row')} of {what}")
    return rows[~out]


def unique(rows: pd.DataFrame, keys: Iterable[str], repeats: bool = True) -> pd.DataFrame:
    """The rows, after the check that no two have the same `keys` (those that the table has) and seed.

    In a table without seeds, rows with equal keys are repetitions, and only equal rows are refused. Without
    `repeats` they are refused as well.
    """
    keys = [key for key in dict.fromkeys([*keys, "seed"]) if key in rows.columns]
    again = rows.duplicated(keys if "seed" in rows.columns or not repeats else None, keep=False)
    if again.any():
        first = rows.loc[again.idxmax(), keys].to_dict()
        where = ", ".join(f"{key} {_shown(value)}" for key, value in first.items())
        raise ValueError(
            f"{count(int(again.sum()), 'row')} occur more than once for the same {', '.join(keys)}, such as "
            f"those with {where}; keep one row of each, or draw a column that tells them apart as hue."
        )
    return rows


def reported(rows: pd.DataFrame) -> pd.DataFrame:
    """The reported rows: the last step of every policy (`measure.rows.reported`).

    A table without the columns `stage` and `step` or `reported` is not selected. Raises ValueError if the
    column `reported` holds anything but True, False and empty cells.
    """
    if "stage" not in rows.columns or not {"step", "reported"} & set(rows.columns):
        return rows
    if "reported" in rows.columns:
        text = rows["reported"].replace({"True": True, "False": False})
        wrong = text[text.notna() & ~text.isin([True, False])]
        if len(wrong):
            raise ValueError(
                f"The column 'reported' must hold True or False; it holds {wrong.tolist()[0]!r}."
            )
        rows = rows.assign(reported=text)
    else:  # a policy without steps has no earlier checkpoint
        rows = rows.assign(step=rows["step"].fillna(-np.inf))
    kept = tables.reported(rows)
    if len(kept) < len(rows):
        note("Left out", f"{count(len(rows) - len(kept), 'row')} of earlier checkpoints")
    return kept


def configured(rows: pd.DataFrame, ablation: bool = False) -> pd.DataFrame:
    """The reported rows with a new column `configuration`: the stage, or the preset of a SEPO model.

    A SEPO row whose arm is not the one of its preset, or whose preset has a changed switch (such as
    `published+horizon`), belongs to an ablation. Such rows are left out unless `ablation` is True; then their
    configuration is the preset and, if the arm was changed, the arm.
    """
    rows = reported(rows)
    configuration = rows["stage"].astype(str)
    changed = pd.Series(False, index=rows.index)
    if "preset" in rows.columns:
        trained = (rows["stage"] == "sepo") & rows["preset"].notna()
        preset = rows["preset"].fillna("").astype(str)
        configuration = configuration.mask(trained, preset)
        if "arm" in rows.columns:
            other = trained & rows["arm"].notna() & (rows["arm"] != preset.map(OWN_ARM))
            changed = other & preset.isin(list(OWN_ARM))
            configuration = configuration.mask(changed, preset + ", " + rows["arm"].astype(str))
        changed |= trained & preset.str.contains("+", regex=False)
    rows = rows.assign(configuration=configuration)
    if ablation or not changed.any():
        return rows
    note("Left out", f"{count(int(changed.sum()), 'row')} of the ablation (`ablation=True` draws them)")
    if changed.all():
        raise NothingToDraw("All rows belong to the ablation; `ablation=True` draws them.")
    return rows[~changed]


def in_order(rows: pd.DataFrame, column: str, order: Sequence | None) -> pd.DataFrame:
    """The rows whose category is in `order`; None keeps all. Raises ValueError for an entry without a row."""
    if order is None:
        return rows
    found = rows[column].unique().tolist()
    check_named(found, order, column, "order")
    kept = rows[rows[column].isin(list(order))]
    if len(kept) < len(rows):
        out = (str(value) for value in found if value not in order)
        others = ", ".join(f"“{value}”" if "," in value else value for value in out)
        note("Left out", f"{column} = {others}")
    return kept


def by_hue(
    rows: pd.DataFrame,
    hue: str,
    options: tuple[Sequence | None, Sequence | None, Palette | None, Mapping[Any, str] | None],
    keys: Sequence[str],
    ones: Sequence[str],
) -> tuple[pd.DataFrame, dict[Any, Look]]:
    """The configured rows that are drawn, and the look of every value of `hue`.

    `options` are order, hue_order, palette and labels. Each column of `ones` other than `hue` has one value,
    and `keys` with the hue are `unique`.
    """
    order, hue_order, palette, labels = options
    rows = in_order(in_order(need(rows, [hue]), "configuration", order), hue, hue_order)
    one(rows, *(column for column in ones if column != hue))
    unique(rows, [*keys, hue])
    name, drawn = hue, hue_order
    if hue == "configuration":
        name, drawn = "stage", order if hue_order is None else hue_order
    return rows, looks_of(rows[hue], order=drawn, palette=palette, labels=labels, name=name)


def keep_nearest(rows: pd.DataFrame, column: str, target: float) -> pd.DataFrame:
    """The rows with the value of `column` that is nearest to `target`; all rows of a table without it."""
    if column not in rows.columns:
        return rows
    return keep(rows, column, min(rows[column].unique(), key=lambda value: abs(value - target)))


def filled(rows: pd.DataFrame, values: Mapping[str, object]) -> pd.DataFrame:
    """The rows with the columns of `values`; one that they lack has its value in all rows."""
    return rows.assign(**{column: value for column, value in values.items() if column not in rows.columns})


def title_of(game: str) -> str:
    """The short title of a registered game; the name itself of any other game."""
    return games.GAMES[game].short_title if game in games.GAMES else plain(game)


def ordered_games(table: pd.DataFrame) -> list[str]:
    """The games of a table: the registered ones in the order of the registry, then the others by name."""
    found = set(table["game"].unique())
    return [game for game in games.GAMES if game in found] + in_turn(found - set(games.GAMES))


def in_turn(values: Iterable) -> list:
    """Numbers in rising order, then all other values in the order of their text."""
    return sorted(values, key=lambda v: (0, v, "") if isinstance(v, Real) else (1, 0, str(v)))


def place_of(table: pd.DataFrame) -> pd.Series:
    """The place of each row: the game's title and, if the table has one, the pool set in a second line.

    In a table of several models, the model stands in a line of its own.
    """
    places = table["game"].map(title_of)
    if "pools" in table.columns:
        places = places + ("\n" + table["pools"].astype(str) + " pools").where(table["pools"].notna(), "")
    if several_models(table):
        places = places + "\n" + table["model"].astype(str)
    return places


def ordered_places(table: pd.DataFrame) -> list[str]:
    """The values of the column `place`, game by game, the paper's pools first."""
    order = ordered_games(table)
    pairs = filled(table, {"pools": "paper"})[["game", "pools", "place"]].drop_duplicates()
    pairs = pairs.assign(rank=pairs["game"].map(order.index), conflict=pairs["pools"] != "paper")
    return pairs.sort_values(["rank", "conflict", "place"])["place"].tolist()


def mean_of_intervals(rows: pd.DataFrame, measure: str) -> tuple[float, float, float]:
    """The mean of a measure over independent rows, and the ends of its interval.

    The interval of each row stands in the columns `<measure>_low` and `<measure>_high`. The distances from
    the mean to the lower ends add up in squares, and so do those to the upper ends.
    """
    middle, low, high = (rows[f"{measure}{end}"] for end in ("", "_low", "_high"))
    mean = float(middle.mean())
    below, above = (float(np.sqrt(((end - middle) ** 2).sum()) / max(1, len(rows))) for end in (low, high))
    return mean, mean - below, mean + above
