"""The drawn parts that figures share: marks with intervals, grids of panels, legends and zero lines."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sepo_lib.figures.theme import DASHED, MUTED, WIDTH, Look
from sepo_lib.measure.statistics import NO_SPREAD, Interval, interval, spread


def mark_seeds(
    ax: Axes, x: float, rows: pd.DataFrame, metric: str, look: Look, offset: float = 0.2, label: str = ""
) -> None:
    """Draw the mean of `metric` over the seeds (one row each) with the interval of `statistics.spread`.

    For a single seed this is the interval of its evaluation noise, if the table has it.
    """
    rows = rows.dropna(subset=[metric])
    if len(rows):
        mark(ax, x, rows[metric], look, label, offset, spread(rows, metric))


def mark(
    ax: Axes,
    x: float,
    values_S: Sequence[float],
    look: Look,
    label: str = "",
    offset: float = 0.2,
    known: Interval | None = None,
) -> None:
    """Draw the mean of `values_S` at `x` with its 95% interval, and the single values as dots.

    `known` replaces Student's t interval of the values. The dots stand at `x + offset`; a single value has
    none. An interval without a width is not drawn.
    """
    values_S = np.asarray(values_S, dtype=float)
    values_S = values_S[np.isfinite(values_S)]
    if values_S.size == 0:
        return
    mean, low, high = known or interval(values_S)
    bar = None if np.isnan(low) or high - low <= NO_SPREAD else [[mean - low], [high - mean]]
    ax.errorbar(
        [x],
        [mean],
        yerr=bar,
        **bar_style(look),
        markeredgewidth=1.1,
        label=label or look.label,
        zorder=3,
    )
    if values_S.size > 1:
        ax.plot(
            np.full(values_S.size, x + offset),
            values_S,
            ".",
            color=look.colour,
            alpha=0.55,
            markersize=4.2,
            mew=0,
        )


def bar_style(look: Look) -> dict[str, object]:
    """The arguments of `Axes.errorbar` for a mark with an error bar."""
    return {
        "fmt": look.marker,
        "color": look.colour,
        "markerfacecolor": look.face,
        "markersize": 5,
        "elinewidth": 1.3,
        "capsize": 2.4,
    }


def handle(look: Look, linestyle: str = "none") -> Line2D:
    """The entry of a look in a legend."""
    return Line2D(
        [],
        [],
        linestyle=linestyle,
        color=look.colour,
        marker=look.marker,
        markerfacecolor=look.face,
        markersize=5,
        label=look.label,
    )


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


def blank_x(ax: Axes, n: int) -> None:
    """An x axis with n places that only the legend explains: no ticks, no label."""
    ax.set(xlim=(-0.55, n - 0.35), xticks=[], xlabel="")


def zero_line(ax: Axes) -> None:
    """A dashed horizontal line at 0."""
    ax.axhline(0.0, color=MUTED, linewidth=0.8, linestyle=DASHED, zorder=1)


def zero_line_x(ax: Axes) -> None:
    """A dashed vertical line at 0."""
    ax.axvline(0.0, color=MUTED, linewidth=0.8, linestyle=DASHED, zorder=1)
