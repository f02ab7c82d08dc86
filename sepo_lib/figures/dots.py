"""Dot plots with one row for each category: names stand at the left, so that none of them is turned."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sepo_lib.figures.looks import axis_label
from sepo_lib.figures.marks import Errorbar, bar_style, interval_of, zero_line_x
from sepo_lib.figures.notes import note
from sepo_lib.figures.panels import CHARACTER, Panels, Size, grow, panels, shortened, wrapped
from sepo_lib.figures.theme import MUTED, Look
from sepo_lib.measure.statistics import NO_SPREAD, Interval

BAND = "#f6f6f6"  # the background of every second row
REACH = 0.6  # how far error bars may widen an axis to each side, in lengths of the range of its marks
LINE = 0.12  # inches: the height of a row


def grid_of_metrics(
    metrics: Sequence[str],
    places: Sequence[str],
    names: Iterable[str],
    *,
    lines: float,
    ax: Axes | None,
    size: Size,
) -> Panels:
    """Panels by (metric, place): a row of panels for each place, with one panel for each metric.

    `names` are the names of the rows of a panel; `lines` is its height, in `LINE`.
    """
    size.least = 1.05
    columns = size.together(len(metrics), len(places))
    height, aspect = size.panel(columns)
    inside = columns * height * aspect - label_width(names, columns * height * aspect) - 0.15
    texts = {metric: wrapped(axis_label(metric), inside / columns + 0.1) for metric in metrics}
    titles = {place: wrapped(place.replace("\n", ", "), inside) for place in places}
    label, title = (0.14 * max(1 + text.count("\n") for text in group.values()) for group in (texts, titles))
    below = columns == len(metrics)  # one label below all panels of a metric is enough
    size.default = LINE * lines + 0.56 + title + (0 if below else label)
    keys = [(metric, place) for place in places for metric in metrics]
    figure = panels(keys, ax=ax, size=size, name="(metric, place)", columns=columns)
    for (metric, place), panel in figure.axes.items():
        if metric == metrics[0] and not figure.own:
            panel.set_title(panel.get_title() or titles[place])
        elif metric == metrics[0]:  # it may reach over the next panels; the blank title keeps its room
            panel.set_title("\n".join(" " for _ in titles[place].split("\n")))
            where = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
            panel.annotate(titles[place], (0, 1), (0, 5), fontsize=8, **where).set_in_layout(False)
        panel.set_xlabel("" if below and panel not in figure.bottom else texts[metric])
    if below and figure.own:
        grow(figure.figure, label)
    return figure


def name_rows(figure: Panels, labels: Mapping[float, str]) -> None:
    """Write the names of the rows at the places `labels` (y -> name) of the first panels.

    Every second row has a grey background.
    """
    texts = shortened(list(labels.values()), _most(figure.figure.get_figwidth()))
    for ax in figure.axes.values():
        named = ax in figure.left
        ax.set_yticks(list(labels), texts if named else [""] * len(texts), fontsize=7)
        ax.tick_params(axis="y", labelleft=named, length=0)
        ax.set(ylim=(min(labels) - 0.6, max(labels) + 0.6), ylabel="")
        ax.grid(False, axis="y")
        for y in list(labels)[::2]:
            ax.axhspan(y - 0.5, y + 0.5, color=BAND, zorder=0, lw=0)


def label_width(labels: Iterable[str], width: float) -> float:
    """The width in inches that the names of the rows take in a figure of `width` inches."""
    return min(max(map(len, labels)), _most(width)) * CHARACTER * 7 + 0.1


def mark_row(
    ax: Axes, y: float, rows: pd.DataFrame, metric: str, look: Look, errorbar: Errorbar = "ci"
) -> None:
    """Draw the mean of `metric` over the seeds (one row each) with its error bar, and the seeds as dots."""
    rows = rows.dropna(subset=[metric])
    if rows.empty:
        return
    bar_row(ax, y, interval_of(rows, metric, errorbar), look)
    if len(rows) > 1:
        dots = {"color": look.colour, "alpha": 0.5, "markersize": 3.6, "mew": 0}
        ax.plot(rows[metric], np.full(len(rows), y - 0.17), ".", **dots)


def bar_row(ax: Axes, y: float, found: Interval, look: Look, size: float = 4.6) -> None:
    """Draw a mean with its error bar along the row `y`. An interval without a width is not drawn.

    The bar is drawn from end to end, also if the mean lies outside, as it can with a percentile bootstrap.
    """
    mean, low, high = found
    bar = not np.isnan([low, high]).any() and high - low > NO_SPREAD
    style = {**bar_style(look), "markersize": size, "capsize": 0, "markeredgewidth": 1.0}
    made = ax.errorbar([mean], [y], xerr=[0.0] if bar else None, label=look.label, zorder=3, **style)
    for line in made.lines[2]:
        line.set_segments([[(low, y), (high, y)]])


def bars_of(ax: Axes) -> list[np.ndarray]:
    """The error bars of an Axes as segments, arrays (2, 2): (end, x and y)."""
    return [bar for made in ax.containers for lines in made.lines[2] for bar in lines.get_segments()]


def frame(axes: Sequence[Axes], width: float) -> None:
    """Give the panels one x range that holds their marks, and a dashed line at 0 if it lies inside.

    Error bars widen the range by at most `REACH` of the range of the marks; one that reaches further ends in
    a triangle at the edge, and the caption says so. `width` is that of a panel in inches.
    """
    marks = [x for ax in axes for line in ax.lines for x in np.ravel(line.get_xdata())]
    if not marks:
        return
    low, high = min(marks), max(marks)
    reach = REACH * (high - low or abs(high) or 1.0)
    bars = [(ax, x, segment[0, 1]) for ax in axes for segment in bars_of(ax) for x in segment[:, 0]]
    ends = [x for _, x, _ in bars]
    low, high = max(min([low, *ends]), low - reach), min(max([high, *ends]), high + reach)
    pad = (0.12 if width < 1.25 else 0.06) * (high - low or abs(high) or 1.0)
    for ax in axes:
        ax.set_xlim(low - pad, high + pad)
        ax.xaxis.set_major_locator(MaxNLocator(2 if width < 1.25 else 3 if width < 2.0 else 4, min_n_ticks=2))
        if low - pad <= 0.0 <= high + pad:
            zero_line_x(ax)
    for ax, x, y in bars:
        for edge, marker in ((low - pad, "<"), (high + pad, ">")):
            if (x < low - 1e-9) if marker == "<" else (x > high + 1e-9):
                ax.plot(edge, y, marker, color=MUTED, ms=3.4, mew=0, clip_on=False, zorder=4)
                note("Scale", "an error bar that leaves its panel ends in a triangle")


def say(ax: Axes, y: float, text: str) -> None:
    """Write a text into the row `y`, in the place of a mark."""
    where = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "center"}
    ax.annotate(text, (0.5, y), fontsize=6, color=MUTED, **where)


def _most(width: float) -> int:
    """The most characters of the name of a row: 45% of the width of the figure."""
    return max(10, int(width * 0.45 / CHARACTER / 7))
