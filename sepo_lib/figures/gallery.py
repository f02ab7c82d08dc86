"""The gallery: every figure with its question, its caption and the table that it reads; draws all of a run.

A figure is a function with the decorator `figure`. The decorator is the only place that names its question,
its caption and its table; the report, the notebooks and docs/gallery.md take all three from here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.figures.checks import checked
from sepo_lib.figures.notes import noting, sentences
from sepo_lib.figures.panels import grow, keep_margin, wrapped
from sepo_lib.figures.rows import NothingToDraw, ordered_games
from sepo_lib.figures.theme import StyledFigure, save, style


@dataclass(frozen=True)
class Figure:
    """One entry of the gallery; the fields are explained in `figure`."""

    name: str
    draw: Callable
    question: str
    caption: str
    reads: str | None = None
    study: bool = False
    split: Sequence[str] = ()
    also: Callable[[], pd.DataFrame] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


#: Name of the function -> its entry, in the order in which the report shows the figures.
FIGURES: dict[str, Figure] = {}


def figure(question: str, caption: str, **fields) -> Callable[[Callable], Callable]:
    """Add the decorated function to the gallery, and let it draw in the style of the kit.

    A figure of its own gets the question as its title, and its plain `savefig` writes TrueType fonts. With
    `ax=` the figure is the caller's: it gets neither. In both cases, what the function returns has an
    attribute `caption`: how to read the figure, which error bars it has, which rows it leaves out.

    `fields` say how `drawn` calls the function:

    reads    the result table that it draws; without one, `draw_all` leaves the figure out
    study    the table may be missing, as that of a study of notebook 04, and it has one model
    split    columns: one figure for each of their values, which the function gets as keywords
    also     a function that reads a second table, passed after the first
    options  further keyword arguments
    """

    def add(draw: Callable) -> Callable:
        @wraps(draw)
        def drawn(*args, **kwargs):
            kwargs = {name: checked(name, value) for name, value in kwargs.items()}
            with style(), noting() as notes:
                made = draw(*args, **kwargs)
                if kwargs.get("ax") is None:
                    title = wrapped(question, made.figure.get_figwidth() - 0.2, 9.0)
                    grow(made.figure, 0.17 * (1 + title.count("\n")))
                    made.figure.suptitle(title, fontsize=9)
                    keep_margin(made.figure)
                    made.figure.__class__ = StyledFigure
            made.caption = " ".join(filter(None, (caption, sentences(notes))))
            return made

        FIGURES[draw.__name__] = Figure(draw.__name__, drawn, question, caption, **fields)
        return drawn

    return add


def caption(name: str) -> str:
    """The caption of a figure file by its stem: `training_curves_ipd` has that of `training_curves`."""
    found = max((stem for stem in FIGURES if name.startswith(stem)), key=len, default=None)
    return FIGURES[found].caption if found else name.replace("_", " ")


def caption_of(drawn: Any) -> str:
    """The caption of what a figure function has returned."""
    return getattr(drawn, "caption", "")


def tables_of(run: str, model: str | None = None) -> dict[str, pd.DataFrame]:
    """The tables of a run that the figures read, by name; with `model`, only this model's rows.

    A study that the run does not have is an empty table. Raises FileNotFoundError as `paths.read_table` does.
    """
    tables = {}
    for entry in FIGURES.values():
        if entry.reads and entry.reads not in tables:
            table = table_of(run, entry)
            own = model is not None and not entry.study and len(table)
            tables[entry.reads] = table[table["model"] == model] if own else table
    return tables


def drawn(profile: str, only: str | None = None) -> Iterator[tuple[str, Any]]:
    """Draw every figure of a profile from its tables: pairs of its file's stem and what the function returns.

    `only` names one model whose figures are drawn. The caller closes the figures. A figure without rows is
    skipped with a printed note. Raises FileNotFoundError, as `paths.read_table` does, for a missing table
    that does not belong to a study.
    """
    entries = [entry for entry in FIGURES.values() if entry.reads]
    tables = tables_of(profile)
    models = tables["evaluation"]["model"].unique()
    for model in (model for model in models if only in (None, model)):
        end = "" if len(models) == 1 else "_" + "".join(c if c.isalnum() else "-" for c in str(model))
        for entry in (entry for entry in entries if not entry.study):
            table = tables[entry.reads]
            yield from _draw(entry, table[table["model"] == model] if len(table) else table, end)
    for entry in (entry for entry in entries if entry.study):
        yield from _draw(entry, tables[entry.reads])


def draw_all(profile: str) -> list[Path]:
    """Draw every figure of a profile (`drawn`) into its figure folder, and return the files."""
    files: list[Path] = []
    for name, made in drawn(profile):
        files += save(made.figure, paths.figures(profile), name)
    return files


def read_or_empty(profile: str, name: str) -> pd.DataFrame:
    """A table of a run. A file without a single column reads as an empty table.

    Raises FileNotFoundError as `paths.read_table` does.
    """
    try:
        return paths.read_table(profile, name)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def table_of(run: str, entry: Figure) -> pd.DataFrame:
    """The table of an entry; an empty one if the run lacks a table that may be missing."""
    if entry.study and not paths.table(run, entry.reads).exists():
        return pd.DataFrame()
    return read_or_empty(run, entry.reads)


def _draw(entry: Figure, table: pd.DataFrame, end: str = "") -> Iterator[tuple[str, Any]]:
    """Draw an entry once for each value of its split; `end` is appended to the names of the files."""
    further = (entry.also(),) if entry.also else ()
    for part, key in _parts(entry, table):
        name = entry.name + part + end
        try:
            yield name, entry.draw(table, *further, **key, **entry.options)
        except NothingToDraw as reason:
            print(f"{name}: skipped. {reason}")
        except ValueError as error:
            raise ValueError(f"The figure {name} could not be drawn. {error}") from error


def _parts(entry: Figure, table: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    """(suffix of the file name, split values) by figure; the paper's pools come first and have no suffix.

    The figure function selects the rows, so that its caption names the game and the pool set.
    """
    if not entry.split:
        yield "", {}
    elif len(table):
        found = table[list(entry.split)].drop_duplicates().sort_values(list(entry.split))
        if "pools" in found:
            found = found.sort_values("pools", key=lambda pools: pools != "paper", kind="stable")
        if "game" in found:
            order = ordered_games(found)
            found = found.sort_values("game", key=lambda game: game.map(order.index), kind="stable")
        for values in found.itertuples(index=False, name=None):
            key = dict(zip(entry.split, values, strict=True))
            names = [str(v) for column, v in key.items() if not (column == "pools" and v == "paper")]
            yield "".join(f"_{name}" for name in names), key
