"""To be removed: what figures use that have not moved to `panels`, `keep` and `looks_of`."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
import seaborn as sns

from sepo_lib.figures.looks import CONFIGURATIONS
from sepo_lib.figures.rows import NothingToDraw
from sepo_lib.figures.theme import COLOURS, MARKERS, WIDTH, Look


def next_look(label, number):
    return Look(label, COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])


def grid_of(
    data: pd.DataFrame,
    col: str,
    cols: Sequence,
    width: float = 1.9,
    height: float = 2.1,
    least: float = 3.4,
    **kwargs,
) -> sns.FacetGrid:
    """A seaborn grid whose panels are `width` by `height` inches.

    Panels are narrower if the page is too narrow for all of them, and wider if the whole grid would be
    narrower than `least`, the width that a legend needs.
    """
    in_a_row = min(len(cols), kwargs.get("col_wrap", len(cols)))
    width = min(max(width, least / in_a_row), WIDTH / in_a_row)
    grid = sns.FacetGrid(
        data, col=col, col_order=list(cols), height=height, aspect=width / height, sharex=False, **kwargs
    )
    grid.figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    return grid


def legend_below(figure: mpl.figure.Figure, handles: Sequence, columns: int = 0) -> None:
    """One legend below all panels. By default the width of the figure decides the number of columns."""
    columns = columns or max(1, int(figure.get_figwidth() / 1.45))
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        handletextpad=0.4,
        columnspacing=1.3,
        borderaxespad=0.2,
    )


def of_pools(table: pd.DataFrame, pools: str) -> pd.DataFrame:
    """The rows of one pool set; all rows of a table without a column `pools`."""
    return table[table["pools"] == pools] if "pools" in table.columns else table


def present(looks: Mapping[str, Look], values: pd.Series) -> dict[str, Look]:
    """The entries of `looks` whose keys occur in `values`, in the order of `looks`.

    Raises NothingToDraw if none occurs.
    """
    found = {key: look for key, look in looks.items() if (values == key).any()}
    if not found:
        raise NothingToDraw("no rows for this figure")
    return found


def looks_of(configurations: pd.Series) -> dict[str, Look]:
    """The looks of stages and presets, in the order of `CONFIGURATIONS`. Names that it lacks stand last.

    Raises NothingToDraw if there are none.
    """
    others = [name for name in configurations.unique() if name not in CONFIGURATIONS]
    looks = {name: next_look(name, n) for n, name in enumerate(others, len(CONFIGURATIONS))}
    return present(CONFIGURATIONS | looks, configurations)
