"""The gallery: every figure with its question, its caption and the table that it reads; draws all of a run.

A figure is a function with the decorator `figure`. The decorator is the only place that names its question,
its caption and its table; the report, the notebooks and docs/gallery.md take all three from here.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from sepo_lib.config import paths
from sepo_lib.figures.looks import plain
from sepo_lib.figures.notes import RUN, drawing, of_kit, sentences, title_among
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
    of_kit: str = ""
    passes: str | None = None
    reads: str | None = None
    study: bool = False
    split: Sequence[str] = ()
    also: Callable[[], pd.DataFrame] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


#: Keywords that hold a list, and those that hold a size.
LISTS = ("order", "hue_order", "col_order", "metrics", "measures")
SIZES = ("height", "aspect", "width", "col_wrap", "window")
#: Name of the function -> its entry, in the order in which the report shows the figures.
FIGURES: dict[str, Figure] = {}


def figure(question: str, caption: str, **fields) -> Callable[[Callable], Callable]:
    """Add the decorated function to the gallery, and let it draw in the style of the kit.

    Every figure function takes the keyword `title`: a text, or None for no title above the figure. By default
    it is the question, or what the function says of its table (`notes.entitle`). With `ax=` the figure is the
    caller's: `title` is then the title of the Axes, and without it they get that of the panel.

    The axes are labelled as in seaborn: `grid.set_axis_labels("step", "wins")`, `grid.set_ylabels("wins")`,
    or `ax.set_ylabel("wins")` for a figure of one Axes, replace what the kit writes.

    What the function returns has an attribute `caption`: how to read the figure, which error bars it has,
    which rows it leaves out. The plain `savefig` of a figure of its own writes TrueType fonts.

    `fields` say more about the function, and how `drawn` calls it:

    of_kit   sentences of the caption that are true of the kit's own tables only
    passes   the function of the same module that takes the further keywords (`**options`)
    reads    the result table that it draws; without one, `draw_all` leaves the figure out
    study    the table may be missing, as that of a study of notebook 04, and it has one model
    split    columns: one figure for each of their values, which the function gets as keywords
    also     a function that reads a second table, passed after the first
    options  further keyword arguments
    """

    def add(draw: Callable) -> Callable:
        @wraps(draw)
        def drawn(*args, **kwargs):
            _check_names(entry, kwargs)
            kwargs = {name: _checked(name, value) for name, value in kwargs.items()}
            given = {"title": kwargs.pop("title")} if "title" in kwargs else {}
            table = args[0] if args else kwargs.get("data")
            with style(), drawing(table) as notes:
                made = draw(*args, **kwargs)
                computed = title_among(notes)
                title = given.get("title", plain(computed or question))
                if kwargs.get("ax") is None:
                    _finish(made.figure, title)
                elif given and title:
                    kwargs["ax"].set_title(title)
                words = [caption, entry.of_kit if of_kit() else "", sentences(notes)]
            made.caption = _of_rows(" ".join(filter(None, words)), table)
            return made

        entry = Figure(draw.__name__, drawn, question, caption, **fields)
        FIGURES[draw.__name__] = entry
        drawn.__signature__ = _with_title(inspect.signature(draw), question)
        return drawn

    return add


def _check_names(entry: Figure, given: Mapping[str, Any]) -> None:
    """Raise TypeError, naming the figure function, for a keyword that it does not take."""
    takes = _keywords(entry)
    if unknown := [name for name in given if name not in takes]:
        raise TypeError(f"{entry.name}() has no keyword `{unknown[0]}`; it takes {', '.join(takes)}.")


def _keywords(entry: Figure) -> list[str]:
    """The arguments of a figure function by name, with those that it passes on."""
    draw = inspect.unwrap(entry.draw)
    found = dict(inspect.signature(draw).parameters)
    if entry.passes:
        further = inspect.signature(draw.__globals__[entry.passes]).parameters.values()
        found |= {one.name: one for one in further if one.kind is one.KEYWORD_ONLY}
    return [name for name, one in found.items() if one.kind is not one.VAR_KEYWORD] + ["title"]


def _checked(name: str, value: Any) -> Any:
    """The value of a keyword: lists without repeated entries, positive sizes, and Axes of matplotlib.

    A single text in the place of a list is a list of one entry. None stays None. Raises ValueError, naming
    the keyword, for every other value.
    """
    if value is None:
        return None
    if name in LISTS:
        entries = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
        if not entries:
            raise ValueError(f"`{name}` is empty; leave it out to draw all.")
        return list(dict.fromkeys(entries))
    if name in SIZES and (isinstance(value, bool) or not isinstance(value, Real) or not value > 0):
        raise ValueError(f"`{name}` must be a number above 0, not {value!r}.")
    if name in ("col_wrap", "window") and value != int(value):
        raise ValueError(f"`{name}` must be a whole number, not {value!r}.")
    if name == "title" and not isinstance(value, str):
        raise ValueError(f"`title` must be a text, or None for no title, not {type(value).__name__}.")
    if name == "labels" and not isinstance(value, Mapping):
        raise ValueError(f"`labels` must be a dict of category and label, not {type(value).__name__}.")
    if name == "labels":
        return {key: str(label) for key, label in value.items()}
    if name == "ax" and not isinstance(value, Axes):
        raise ValueError(f"`ax` must be one Axes of matplotlib, not {type(value).__name__}.")
    return value


def _with_title(signature: inspect.Signature, default: str) -> inspect.Signature:
    """The signature of a figure function with the keyword `title`, which `figure` adds."""
    *first, last = signature.parameters.values()
    title = inspect.Parameter("title", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=str | None)
    parts = [*first, title, last] if last.kind is last.VAR_KEYWORD else [*first, last, title]
    return signature.replace(parameters=parts)


def _finish(figure: Any, title: str | None) -> None:
    """Give a figure of the kit its title and margins, and a `savefig` in the style of the kit."""
    if title:
        title = wrapped(title, figure.get_figwidth() - 0.2, 9.0)
        grow(figure, 0.17 * (1 + title.count("\n")))
        figure.suptitle(title, fontsize=9)
    keep_margin(figure)
    figure.__class__ = StyledFigure


def _of_rows(caption: str, table: object) -> str:
    """The caption; of a table without seeds, which the caption may not name, it names rows."""
    if not isinstance(table, pd.DataFrame) or "seed" in table.columns:
        return caption
    for words in ("training seeds", "single seeds"):
        caption = caption.replace(words, words.replace("training ", "").replace("seeds", "rows"))
    return caption


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
    """A table of a run, which may have no rows. Raises as `paths.read_table` does."""
    return paths.read_table(profile, name)


def table_of(run: str, entry: Figure) -> pd.DataFrame:
    """The table of an entry; an empty one if the run lacks a table that may be missing.

    A table without the column `profile`, such as `weights.csv`, gets it here, because it is one of the kit.
    """
    if entry.study and not paths.table(run, entry.reads).exists():
        return pd.DataFrame()
    table = paths.read_table(run, entry.reads)
    return table if RUN in table.columns or table.empty else table.assign(**{RUN: run})


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
