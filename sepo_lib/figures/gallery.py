"""The gallery: every figure with its caption and the table that it reads, and the command that draws all.

A figure is a function with the decorator `figure`. The decorator is the only place that names its caption and
its table; `caption`, `draw_all` and the report take both from the gallery.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.figures.rows import NothingToDraw
from sepo_lib.figures.theme import save, styled


@dataclass(frozen=True)
class Figure:
    """One entry of the gallery; the fields are explained in `figure`."""

    name: str
    draw: Callable
    caption: str
    reads: str | None = None
    study: bool = False
    split: Sequence[str] = ()
    also: Callable[[], pd.DataFrame] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


#: Name of the function -> its entry, in the order in which the report shows the figures.
FIGURES: dict[str, Figure] = {}


def figure(caption: str, **fields) -> Callable[[Callable], Callable]:
    """Add the decorated function to the gallery, and let it draw in the style of the kit.

    `fields` say how `draw_all` calls the function:

    reads    the result table that it draws; without one, `draw_all` leaves the figure out
    study    the table belongs to a study of notebook 04: it may be missing, and it has one model
    split    columns: one figure for each of their values, which the function gets as further arguments
    also     a function that reads a second table, passed after the first
    options  further keyword arguments
    """

    def add(draw: Callable) -> Callable:
        drawn = styled(draw)
        FIGURES[draw.__name__] = Figure(draw.__name__, drawn, caption, **fields)
        return drawn

    return add


def caption(name: str) -> str:
    """The caption of a figure file by its stem: `training_curves_ipd` has that of `training_curves`."""
    found = max((stem for stem in FIGURES if name.startswith(stem)), key=len, default=None)
    return FIGURES[found].caption if found else name.replace("_", " ")


def draw_all(profile: str) -> list[Path]:
    """Draw every figure of a profile from its tables into its figure folder, and return the files.

    A figure without rows is skipped with a printed note. Raises FileNotFoundError, as `paths.read_table`
    does, for a missing table that does not belong to a study.
    """
    entries = [entry for entry in FIGURES.values() if entry.reads]
    tables = {entry.reads: _read(profile, entry) for entry in entries}
    models = tables["evaluation"]["model"].unique()
    files = []
    for model in models:
        end = "" if len(models) == 1 else "_" + "".join(c if c.isalnum() else "-" for c in str(model))
        for entry in (entry for entry in entries if not entry.study):
            table = tables[entry.reads]
            files += _draw(entry, table[table["model"] == model] if len(table) else table, profile, end)
    for entry in (entry for entry in entries if entry.study):
        files += _draw(entry, tables[entry.reads], profile)
    return files


def read_or_empty(profile: str, name: str) -> pd.DataFrame:
    """A table of a run. A file without a single column reads as an empty table.

    Raises FileNotFoundError as `paths.read_table` does.
    """
    try:
        return paths.read_table(profile, name)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _read(profile: str, entry: Figure) -> pd.DataFrame:
    """The table of an entry; an empty one for a study that the profile does not run."""
    if entry.study and not paths.table(profile, entry.reads).exists():
        return pd.DataFrame()
    return read_or_empty(profile, entry.reads)


def _draw(entry: Figure, table: pd.DataFrame, profile: str, end: str = "") -> list[Path]:
    """Draw and save an entry; `end` is appended to the names of its files. Returns the files."""
    files = []
    further = (entry.also(),) if entry.also else ()
    for part, rows, key in _parts(entry, table):
        name = entry.name + part + end
        try:
            drawn = entry.draw(rows, *further, *key, **entry.options)
        except NothingToDraw as reason:
            print(f"{name}: skipped, {reason}")
            continue
        except ValueError as error:
            raise ValueError(f"The figure {name} could not be drawn. {error}") from error
        files += save(drawn.figure, paths.figures(profile), name)
    return files


def _parts(entry: Figure, table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, tuple]]:
    """(suffix of the file name, rows, values of the split) by figure; the paper's pools have no suffix."""
    if not entry.split:
        yield "", table, ()
    elif len(table):
        for key, rows in table.groupby(list(entry.split)):
            names = [
                str(value)
                for column, value in zip(entry.split, key, strict=True)
                if not (column == "pools" and value == "paper")
            ]
            yield "".join(f"_{name}" for name in names), rows, key
