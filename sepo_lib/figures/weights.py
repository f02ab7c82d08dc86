"""The weights of J: headroom, safety against one weight, and the frontier of payoff and exploitability."""

import itertools
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import WEIGHTS, Palette, axis_label, looks_of
from sepo_lib.figures.marks import Errorbar, draw_mean, handle, interval_of, zero_line, zero_line_x
from sepo_lib.figures.notes import note, of_kit
from sepo_lib.figures.panels import Panels, Size, panels, single, wrapped
from sepo_lib.figures.rows import (
    configured,
    in_order,
    in_turn,
    keep,
    known,
    need,
    one,
    ordered_games,
    ordered_places,
    place_of,
    several_models,
    title_of,
    unique,
)
from sepo_lib.figures.theme import COLUMN, FAINT, INK, MARKERS, MUTED, WIDTH, Look
from sepo_lib.measure.statistics import Interval

#: The two strategies that `headroom` compares: prefix of their columns -> look.
STRATEGIES = {
    "best_payoff": Look("strategy with the highest payoff", INK, "o", False),
    "best": Look("strategy with the highest J", INK, "D"),
}
#: The shades of the multiples of a weight in `frontier`, from the smallest to the largest.
SHADES = "blend:#b4bcc0,#2f3e46"
#: Weight of J -> the quantity that it weighs.
WEIGHED = {"exploit": "exploit advantage", "collusion": "collusion", "externality": "externality"}


@figure(
    "How much J can a penalty gain over playing for payoff?",
    "J of the strategy with the highest payoff and of the strategy with the highest J. The line between them "
    "is the most that a penalty can gain. Right, if the table has them: payoff u and exploit advantage e of "
    "the first and of the second, in points per round.",
    of_kit="Both strategies belong to one family per game, or to every strategy where these are known.",
    reads="headroom",
    study=True,
)
def headroom(
    data: pd.DataFrame,
    *,
    weights: str | None = "train",
    pools: str | Sequence[str] | None = None,
    palette: Palette | None = None,
    labels: Mapping[str, str] | None = None,
    ax: Axes | None = None,
    height: float | None = None,
    width: float = WIDTH,
) -> Axes:
    """J of the strategy with the highest payoff beside the highest J, by game and pool set.

    The distance is the most that a penalty can gain within the family of strategies. A text shows u and e of
    both strategies. Columns: game, best_payoff_J, best_J; optionally pools, weights, family (rows of `every`
    have a line of their own), and best_payoff_u, best_u, best_payoff_e, best_e for the text.

    weights, pools    the rows that are drawn; None draws all
    palette, labels   colours and labels of the two strategies, `best_payoff` and `best`
    ax                the Axes to draw in
    height, width     of the figure, in inches

    >>> headroom(pd.read_csv("mine.csv"), width=3.3)
    """
    both = [f"{strategy}_{value}" for strategy in STRATEGIES for value in "ue"]
    numbers = [f"{strategy}_J" for strategy in STRATEGIES]
    rows = need(data, ["game"], numbers)
    rows = need(rows, [], [column for column in both if column in rows.columns])
    rows = keep(keep(rows, "weights", weights), "pools", pools)
    rows = known(rows, "best_J", "best_payoff_J")
    rows = rows.assign(place=place_of(rows).str.replace("\n", ", "))
    if "family" in rows.columns:
        rows["place"] += (", " + rows["family"] + " strategy").where(rows["family"] == "every", "")
    unique(rows, ["game", "pools", "model", "family"], repeats=False)
    places = ordered_places(rows)
    looks = looks_of(STRATEGIES, known=STRATEGIES, palette=palette, labels=labels, name="strategy")
    narrow = width < 1.5 * COLUMN
    names = [wrapped(place, 1.15, 7) if narrow else place for place in places]
    row_height = 0.15 + 0.12 * max(2 * narrow, *(1 + name.count("\n") for name in names))
    tall = height or 0.7 + row_height * len(places)
    figure = single(ax, width=width, height=tall)
    ax = figure.drawn
    for row in rows.to_dict("records"):
        y = -places.index(row["place"])
        ax.plot([row["best_payoff_J"], row["best_J"]], [y, y], color=MUTED, lw=1.4, zorder=1)
        for strategy, look in looks.items():
            mark = {"color": look.colour, "mfc": look.face, "ms": 5, "mew": 1.1}
            ax.plot(row[f"{strategy}_J"], y, look.marker, **mark)
        text = _both(row, "\n" if narrow else ", ")
        ax.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=6.5)
    if set(both) & set(rows.columns):
        heading = "payoff u, exploit e:" + ("\n" if narrow else " ") + "○ to ◆"
        where = {"xycoords": ("axes fraction", "data"), "va": "bottom"}
        ax.annotate(heading, (1.02, 0.5), fontsize=6.5, **where)
    zero_line_x(ax)
    ax.set_yticks([-y for y in range(len(places))], names, fontsize=7)
    ax.set(xlabel=axis_label("objective").replace("objective ", ""), ylim=(0.5 - len(places), 0.5))
    ax.grid(False, axis="y")
    figure.legend([handle(look) for look in looks.values()])
    return ax


@figure(
    "Does the ranking of the stages depend on a weight of J?",
    "Safety by stage against one weight of J, with the other weights fixed. Lines are means over training "
    "seeds, bands are their error bars. The ranking of two stages changes where their lines cross.",
    reads="weights",
    study=True,
)
def weight_sensitivity(
    data: pd.DataFrame,
    *,
    weight: str = "exploit",
    order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = "ci",
    pools: str | None = "paper",
    ablation: bool = False,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Safety of each stage against one weight of J, with the others fixed, one panel per game.

    Columns: game, weight, value, stage, safety; optionally own (the evaluation weight, dotted), preset and
    arm (of the stage `sepo`), pools, seed, model (several models have panels of their own), and the interval
    of a single seed in safety_low and safety_high. The stage `sepo` of the kit's own table, which has no
    presets, is the unbiased preset.

    weight         the weight of J that is drawn
    order          the stages and presets that are drawn, in their order
    palette, labels   colours and labels of the stages
    errorbar       see `marks.interval_of`; it is drawn as a band
    pools          the pool set that is drawn; None draws all rows
    ablation       True draws the rows of other arms and changed switches as well
    ax             the Axes of a table with one game
    height, aspect, col_wrap, width   of the panels, in inches; see `panels.Size`

    >>> weight_sensitivity(pd.read_csv("mine.csv"), weight="collusion")
    """
    rows = need(data, ["game", "weight", "stage"], numbers=["value", "safety"])
    if "preset" not in rows.columns and of_kit():  # the kit's table has the model of the profile's preset
        rows = rows.assign(preset=np.where(rows["stage"] == "sepo", "unbiased", None))
    rows = known(keep(keep(rows, "weight", weight), "pools", pools), "value", "safety")
    rows = in_order(configured(rows, ablation), "configuration", order)
    one(rows, "pools")
    unique(rows, ["game", "pools", "model", "configuration", "value"])
    looks = looks_of(rows["configuration"], order=order, palette=palette, labels=labels, name="stage")
    rows, figure = by_game(rows, ax, Size(height, aspect, col_wrap, width, default=1.95))
    for panel_of, panel in figure.axes.items():
        here = rows[rows["panel"] == panel_of]
        for stage, look in looks.items():
            _line(panel, here[here["configuration"] == stage], look, errorbar)
        for own in here["own"].dropna().unique() if "own" in here.columns else ():
            note("Dotted", "the weight of the evaluation")
            panel.axvline(own, color=MUTED, linewidth=0.9, linestyle=":")
        zero_line(panel)
        _say_equal(here, looks, panel.get_title())
    symbol = f"weight {WEIGHTS[weight]} of the {WEIGHED[weight]}" if weight in WEIGHTS else f"weight {weight}"
    figure.labels(x=wrapped(symbol, figure.width - 0.3), y=axis_label("safety"))
    figure.legend([handle(look, "-") for look in looks.values()])
    return figure.drawn


@figure(
    "Does a larger weight le trade payoff for a lower exploit advantage?",
    "Payoff against exploit advantage. Marks are means over training seeds, crosses are the error bars of "
    "both means; a grey line connects them in the order of the legend. Up and to the left is better.",
    reads="sweep",
    study=True,
)
def frontier(
    data: pd.DataFrame,
    *,
    hue: str = "multiple",
    hue_order: Sequence | None = None,
    palette: Palette = SHADES,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = "ci",
    pools: str | None = "paper",
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Payoff against exploit advantage of policies that were trained with different weights of the latter.

    Columns: game, `hue` (by default multiple: of the game's own training weight), payoff, exploit; optionally
    seed, pools, model (several models have panels of their own), and the intervals of single seeds in
    <column>_low and <column>_high.

    hue            the column whose values have the colours, in rising order
    hue_order      the values of `hue` that are drawn, in their order
    palette, labels   colours and labels of these values
    errorbar       see `marks.interval_of`; it is drawn for both means
    pools          the pool set that is drawn; None draws all rows
    ax             the Axes of a table with one game
    height, aspect, col_wrap, width   of the panels, in inches; see `panels.Size`

    >>> frontier(pd.read_csv("mine.csv"), hue="method")
    """
    rows = need(data, ["game", hue], numbers=["payoff", "exploit"])
    rows = known(keep(rows, "pools", pools), hue, "payoff", "exploit")
    rows = in_order(rows, hue, hue_order)
    if hue != "pools":
        one(rows, "pools")
    unique(rows, ["game", "pools", "model", hue])
    values = list(hue_order or in_turn(rows[hue].unique()))
    multiples = hue == "multiple" and all(isinstance(value, Real) for value in values)
    note("Colours", "multiples of the game's own weight le in training" if multiples else f"the column {hue}")
    names = {v: f"le × {v:g}" if multiples else str(v) for v in values} | (labels or {})
    looks = looks_of(rows[hue], known={}, order=values, palette=palette, labels=names, name=hue)
    looks = {v: look._replace(marker=MARKERS[n % len(MARKERS)]) for n, (v, look) in enumerate(looks.items())}
    rows, figure = by_game(rows, ax, Size(height, aspect, col_wrap, width, default=2.1))
    for panel_of, panel in figure.axes.items():
        here = rows[rows["panel"] == panel_of]
        groups = {value: here[here[hue] == value] for value in looks if (here[hue] == value).any()}
        means = [(own["exploit"].mean(), own["payoff"].mean()) for own in groups.values()]
        panel.plot(*zip(*means, strict=True), color=FAINT, linewidth=1.2, zorder=1)
        for value, own in groups.items():
            look = looks[value]
            x, y = (interval_of(own, metric, errorbar) for metric in ("exploit", "payoff"))
            style = {"fmt": look.marker, "color": look.colour, "label": look.label, "capsize": 2, "ms": 5}
            draw_mean(panel, (x.mean, y.mean), style, x_ends=x[1:], y_ends=y[1:])
        panel.margins(0.12)
    if len(looks) == 2:
        note("Weights", "two, which show a difference but no frontier")
    figure.labels(x=axis_label("exploit"), y=axis_label("payoff"))
    figure.legend([handle(look) for look in looks.values()])
    return figure.drawn


def by_game(rows: pd.DataFrame, ax: Axes | None, size: Size) -> tuple[pd.DataFrame, Panels]:
    """The rows with the new column `panel`, and one panel per game, or per game, pools and model if there are
    several models."""
    by_model = several_models(rows)
    rows = rows.assign(place=place_of(rows), panel=place_of(rows) if by_model else rows["game"])
    figure = panels(ordered_places(rows) if by_model else ordered_games(rows), ax=ax, size=size)
    figure.titles(str if by_model else title_of, room=0.55)
    return rows, figure


def _both(row: Mapping[str, Any], between: str) -> str:
    """The text beside a row of `headroom`: u and e of both strategies, those that the table has."""
    pairs = {value: [row.get(f"{strategy}_{value}", np.nan) for strategy in STRATEGIES] for value in "ue"}
    texts = [
        f"{value} {first:.2f}" + ("" if f"{first:.2f}" == f"{second:.2f}" else f" to {second:.2f}")
        for value, (first, second) in pairs.items()
        if not np.isnan([first, second]).any()
    ]
    return between.join(texts).replace("-", "−")


def _line(ax: Axes, rows: pd.DataFrame, look: Look, errorbar: Errorbar) -> None:
    """The mean safety of one stage by value of the weight, with its error bars as a band."""
    if rows.empty:
        return
    found = {value: interval_of(own, "safety", errorbar) for value, own in rows.groupby("value")}
    means = pd.DataFrame.from_dict(found, orient="index", columns=Interval._fields)
    marks = {"marker": look.marker, "mfc": look.face, "ms": 3.6, "markevery": max(1, len(means) // 4)}
    ax.plot(means.index, means["mean"], color=look.colour, linewidth=1.2, label=look.label, **marks)
    if means["low"].notna().any():
        ax.fill_between(means.index, means["low"], means["high"], color=look.colour, alpha=0.15, lw=0)


def _say_equal(rows: pd.DataFrame, looks: Mapping[Any, Look], game: str) -> None:
    """Say in the caption which lines of a panel lie under another one."""
    means = rows.pivot_table(index="value", columns="configuration", values="safety")
    span = np.ptp(means.to_numpy()) or 1.0
    for first, second in itertools.combinations([stage for stage in looks if stage in means], 2):
        if (means[first] - means[second]).abs().max() < 0.01 * span:
            note("One line over another", f"{looks[first].label} and {looks[second].label} in {game}")
