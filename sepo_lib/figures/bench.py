"""The benchmark: decisions per second, and the seconds of a SEPO step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import Palette, labels_among, looks_of
from sepo_lib.figures.marks import bar_style, handle
from sepo_lib.figures.notes import count, note
from sepo_lib.figures.panels import Size, panels
from sepo_lib.figures.rows import (
    NothingToDraw,
    in_order,
    keep,
    known,
    need,
    ordered_games,
    several_models,
    title_of,
    unique,
)
from sepo_lib.figures.theme import BROKEN, INK, MUTED, WIDTH, Look, shades

DARK, MIDDLE, LIGHT, PALE = shades(4)
BENCH_ARMS = {
    "one_at_a_time": Look("one at a time", LIGHT, "o"),
    "batched": Look("batched generate", MIDDLE, "s"),
    "continuous": Look("continuous batching", PALE, "^"),
    "shared_prefix": Look("shared prefix (ours)", DARK, "D"),
}
#: Part of a step -> its look; the hatch stands in the place of the marker.
STEP_PARTS = {
    "generation": Look("generation", DARK, ""),
    "logps": Look("log-probabilities", LIGHT, "//"),
    "update": Look("update", MIDDLE, ".."),
    "rest": Look("rest", PALE, "xx"),
}
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo")


@figure(
    "How many decisions per second does each way of playing reach?",
    "Decisions per second by group size. Marks are the values of the table; bars reach from its column low "
    "to its column high. A broken line is a way of playing without groups. Both axes are logarithmic. Higher "
    "is faster.",
)
def bench_arms(
    data: pd.DataFrame,
    *,
    hue: str = "arm",
    order: Sequence | None = None,
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    part: str | None = "arms",
    measure: str = "decisions_per_second",
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Decisions per second by group size, one panel per game and model.

    Columns: game, group_size, value and `hue`; optionally model, part, measure, and low and high, the ends of
    the bars. An arm with a group size of 0 or 1 plays without groups, and is drawn across.

    hue             the column with one line for each of its values
    order           the games, in their order
    hue_order, palette, labels   as in `by_stage`
    part, measure   the rows that are drawn; None draws all parts
    ax              the Axes for one game of one model
    height, aspect, col_wrap, width   of the grid, in inches; see `panels.Size`

    >>> bench_arms(pd.read_csv("mine.csv"), hue_order=["one by one", "batched"])
    """
    rows = _rows(data, {"part": part, "measure": measure}, ["group_size", "value"], [hue], order)
    rows = in_order(_positive(known(rows, hue)), hue, hue_order)
    unique(rows, ["panel", "group_size", hue], repeats=False)
    looks = looks_of(rows[hue], known=BENCH_ARMS, order=hue_order, palette=palette, labels=labels, name=hue)
    sizes = sorted(rows.loc[rows["group_size"] > 1, "group_size"].unique()) or [1]
    figure = panels(rows["panel"].unique(), ax=ax, size=Size(height, aspect, col_wrap, width), sharey=True)
    for name, panel in figure.axes.items():
        own = rows[rows["panel"] == name]
        for value, look in looks.items():
            _throughput(panel, own[own[hue] == value].sort_values("group_size"), look)
        panel.set(xscale="log", yscale="log")
        _names(panel, sizes, sizes, figure.width - 0.5)
        panel.xaxis.set_minor_locator(NullLocator())
    _plain_ticks(panel.yaxis)
    figure.titles(str)
    figure.labels(x="group size G (rollouts)", y=measure.replace("_", " "))
    grouped = rows[rows["group_size"] > 1][hue]
    figure.legend(
        handle(look, "-") if (grouped == value).any() else handle(look._replace(marker=""), BROKEN)
        for value, look in looks.items()
    )
    return figure.drawn


@figure(
    "Where does the time of a SEPO step go?",
    "Seconds of a SEPO step by group size, split into the parts of the step. Bars are the values of the "
    "table; thin lines reach from low to high of the whole step. Every panel has its own scale.",
)
def bench_step(
    data: pd.DataFrame,
    *,
    order: Sequence | None = None,
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    part: str | None = "step",
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Seconds of a SEPO step by group size, split into its parts, one panel per game and model.

    Columns: game, group_size, measure, value; optionally model, part, and low and high. A measure
    `<part>_seconds` is a part of the step; `step_seconds` is the whole step, whose low and high are drawn.

    hue_order   the parts of the step that are drawn, from below
    palette, labels   of the parts

    The other options are those of `bench_arms`.

    >>> bench_step(pd.read_csv("mine.csv"), hue_order=["play", "update"])
    """
    rows = _rows(data, {"part": part}, ["group_size", "value"], ["measure"], order)
    seconds = rows[rows["measure"].astype(str).str.endswith("_seconds")]
    if others := len(rows) - len(seconds):
        note("Left out", f"{count(others, 'row')} of measures that are no seconds")
    seconds = seconds.assign(of=seconds["measure"].str.removesuffix("_seconds"))
    unique(seconds, ["panel", "group_size", "measure"], repeats=False)
    whole, parts = seconds[seconds["of"] == "step"], seconds[seconds["of"] != "step"]
    if parts.empty:
        raise ValueError(
            "The column 'measure' needs values such as generation_seconds; it holds "
            f"{rows['measure'].unique().tolist()}."
        )
    parts = in_order(parts, "of", hue_order)
    looks = looks_of(
        parts["of"], known=STEP_PARTS, order=hue_order, palette=palette, labels=labels, name="the parts"
    )
    hatches = {
        of: look.marker if of in STEP_PARTS else HATCHES[n % 7] for n, (of, look) in enumerate(looks.items())
    }
    figure = panels(rows["panel"].unique(), ax=ax, size=Size(height, aspect, col_wrap, width))
    for name, panel in figure.axes.items():
        cells = parts[parts["panel"] == name].pivot(index="group_size", columns="of", values="value")
        bottom = np.zeros(len(cells))
        for of, look in looks.items():
            heights = cells[of].fillna(0).to_numpy() if of in cells else np.zeros(len(cells))
            bar = {"color": look.colour, "hatch": hatches[of], "edgecolor": "white", "lw": 0}
            panel.bar(range(len(cells)), heights, 0.7, bottom, **bar)
            bottom += heights
        if hue_order is None:
            _whole_step(panel, whole[whole["panel"] == name].set_index("group_size").reindex(cells.index))
        _names(panel, range(len(cells)), cells.index, figure.width - 0.5)
        panel.grid(axis="x", visible=False)
    figure.titles(str)
    figure.labels(x="group size G (rollouts)", y="seconds per step")
    figure.legend(
        Patch(facecolor=look.colour, hatch=hatches[of], edgecolor="white", label=look.label, lw=0)
        for of, look in looks.items()
    )
    return figure.drawn


@figure(
    "Does the time of a SEPO step grow more slowly than its number of episodes?",
    "Seconds of a SEPO step against its number of episodes. Dotted: proportional to the number of episodes, "
    "from the smallest step. Both axes are logarithmic. Lower is faster.",
)
def bench_scaling(
    data: pd.DataFrame,
    *,
    hue: str | None = None,
    order: Sequence | None = None,
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    measure: str = "step_seconds",
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Seconds of a SEPO step against its number of episodes, with a proportional line, one panel per game.

    Columns: game, episodes, value; optionally model, measure, and low and high. Several models have panels of
    their own, unless `hue="model"`. The options are those of `bench_arms`.

    >>> bench_scaling(pd.read_csv("mine.csv"), hue="model")
    """
    rows = _rows(
        data, {"measure": measure}, ["episodes", "value"], [hue] if hue else [], order, hue == "model"
    )
    rows, looks = _positive(rows), {None: Look("measured", INK, "o")}
    if hue is not None:
        rows = in_order(known(rows, hue), hue, hue_order)
        looks = looks_of(rows[hue], known={}, order=hue_order, palette=palette, labels=labels, name=hue)
    else:
        labels_among(labels, ())  # without `hue` nothing has a label
    unique(rows, ["panel", "episodes", *([hue] if hue else [])], repeats=False)
    figure = panels(rows["panel"].unique(), ax=ax, size=Size(height, aspect, col_wrap, width), sharey=True)
    for name, panel in figure.axes.items():
        own = rows[rows["panel"] == name]
        for value, look in looks.items():
            line = (own if hue is None else own[own[hue] == value]).sort_values("episodes")
            if line.empty:
                continue
            x, y = line["episodes"].to_numpy(float), line["value"].to_numpy()
            panel.errorbar(x, y, yerr=_ends(line), **_thin(look))
            panel.plot(x, y[0] * x / x[0], color=look.colour if hue else MUTED, lw=0.9, ls=":")
        panel.set(xscale="log", yscale="log")
        _plain_ticks(panel.xaxis, most=int((figure.width - 0.5) / 0.42))
    _plain_ticks(panel.yaxis)
    figure.titles(str)
    figure.labels(x="episodes of a step", y="seconds per step")
    dotted = Line2D([], [], color=MUTED, lw=0.9, ls=":", label="proportional")
    figure.legend([*(handle(look, "-") for look in looks.values()), dotted])
    return figure.drawn


def _rows(
    data: pd.DataFrame,
    chosen: Mapping[str, str | None],
    numbers: Sequence[str],
    columns: Sequence[str],
    order: Sequence | None,
    one_panel: bool = False,
) -> pd.DataFrame:
    """The chosen rows with a new column `panel`: the game and, if there are several, the model."""
    rows = need(data, ["game", *columns], numbers=numbers)
    for column, value in chosen.items():
        rows = keep(rows, column, value)
    rows = in_order(known(rows, *numbers), "game", order)
    games = list(order or ordered_games(rows))
    panel = rows["game"].map(title_of)
    if not one_panel and several_models(rows):
        panel = panel + "\n" + rows["model"].astype(str)
    return rows.assign(panel=panel).sort_values(
        "game", key=lambda column: column.map(games.index), kind="stable"
    )


def _positive(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that a logarithmic axis can show."""
    if other := int((rows["value"] <= 0).sum()):
        note("Left out", f"{count(other, 'row')} with a value of at most 0, which has no logarithm")
    if other == len(rows):
        raise NothingToDraw("The column 'value' has no value above 0.")
    return rows[rows["value"] > 0]


def _throughput(ax: Axes, rows: pd.DataFrame, look: Look) -> None:
    """One arm of one game: its marks by group size, and a line across for rows without groups."""
    grouped, across = rows[rows["group_size"] > 1], rows[rows["group_size"] <= 1]
    for _, row in across.iterrows():
        ax.axhline(row["value"], color=look.colour, lw=1.2, ls=BROKEN)
        if {"low", "high"} <= set(rows.columns) and row["low"] > 0:
            ax.axhspan(row["low"], row["high"], color=look.colour, alpha=0.15, lw=0)
    if len(grouped):
        ax.errorbar(grouped["group_size"], grouped["value"], yerr=_ends(grouped), **_thin(look))


def _thin(look: Look) -> dict[str, Any]:
    """The style of a line with marks and error bars."""
    return {**bar_style(look), "fmt": f"{look.marker}-", "markersize": 4, "lw": 1.1, "label": look.label}


def _ends(rows: pd.DataFrame) -> np.ndarray | None:
    """The lengths of the error bars below and above the values, or None if the table has none."""
    if not {"low", "high"} <= set(rows.columns):
        return None
    lengths = np.array([rows["value"] - rows["low"], rows["high"] - rows["value"]], dtype=float)
    return np.maximum(np.nan_to_num(lengths), 0.0)


def _whole_step(ax: Axes, whole: pd.DataFrame) -> None:
    """The range of the whole steps as thin lines on the bars."""
    lengths = _ends(whole)
    if lengths is not None and (lengths > 0).any():
        ax.errorbar(
            range(len(whole)), whole["value"], yerr=lengths, fmt="none", ecolor=INK, elinewidth=1, capsize=2.4
        )


def _names(ax: Axes, places: Iterable[float], names: Iterable[float], width: float) -> None:
    """Name as many places of an x axis as fit its width."""
    places, names = list(places), [f"{name:g}" for name in names]
    every = max(1, int(np.ceil(len(names) * 0.27 / width)))
    ax.set_xticks(places, [name if n % every == 0 else "" for n, name in enumerate(names)])


def _plain_ticks(axis: Axis, most: int = 8) -> None:
    """Plain numbers on a logarithmic axis: the coarsest set of three to `most` ticks, else two or more."""
    low, high = axis.get_view_interval()
    locators = [LogLocator(10, subs=subs, numticks=12) for subs in ([1], [1, 3], [1, 2, 5], range(1, 10))]
    shown = [sum(low <= tick <= high for tick in locator.tick_values(low, high)) for locator in locators]
    fits = [locator for locator, number in zip(locators, shown, strict=True) if 3 <= number <= most]
    some = [locator for locator, number in zip(locators, shown, strict=True) if number >= 2]
    axis.set_major_locator([*fits, *some, MaxNLocator(4)][0])
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
