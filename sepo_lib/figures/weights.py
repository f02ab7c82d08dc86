"""The weights of J: headroom, safety against one weight, and the frontier of payoff and exploitability."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import CONFIGURATIONS, WEIGHTS, quantity
from sepo_lib.figures.marks import handle, zero_line, zero_line_x
from sepo_lib.figures.old import grid_of, legend_below, present
from sepo_lib.figures.rows import (
    NothingToDraw,
    need,
    ordered_games,
    ordered_places,
    place_of,
    title_of,
)
from sepo_lib.figures.theme import COLOURS, FAINT, INK, MARKERS, MUTED, Look
from sepo_lib.measure.statistics import Interval, interval, spread

#: The two strategies that `headroom` compares.
STRATEGIES = {
    "best_payoff": Look("highest payoff", COLOURS[1], "o", False),
    "best": Look("highest J", COLOURS[2], "D"),
}


@figure(
    "Question to be written?",
    "Headroom: J of the strategy with the highest payoff and the highest J, within one family of strategies "
    "per game. The line between them is the most that a penalty can gain. Right: payoff u and exploit "
    "advantage e of both.",
    reads="headroom",
    study=True,
)
def headroom(headroom: pd.DataFrame, weights: str = "train") -> Axes:
    """J of the strategy with the highest payoff beside the highest J, by game and pool set.

    The distance is the most that a penalty can gain within the family of strategies. A text shows u and e of
    both strategies. Columns: game, pools, weights (the rows of the argument are drawn), best_payoff_J,
    best_J, best_payoff_u, best_u, best_payoff_e, best_e.
    """
    columns = [f"{strategy}_{value}" for strategy in STRATEGIES for value in ("J", "u", "e")]
    need(headroom, ["game", "pools", "weights", *columns])
    rows = headroom[headroom["weights"] == weights]
    if rows.empty:
        raise NothingToDraw("no rows for this figure")
    rows = rows.assign(place=place_of(rows).str.replace("\n", ", ").str.removesuffix(" pools"))
    places = ordered_places(rows)
    figure, ax = plt.subplots(figsize=(5.6, 0.5 + 0.36 * len(places)), layout="constrained")
    for row in rows.to_dict("records"):
        y = -places.index(row["place"])
        ax.plot([row["best_payoff_J"], row["best_J"]], [y, y], color=MUTED, lw=1.4, zorder=1)
        for strategy, look in STRATEGIES.items():
            ax.plot(
                *(row[f"{strategy}_J"], y, look.marker),
                **{"color": look.colour, "markerfacecolor": look.face, "markersize": 5.5, "mew": 1.1},
            )
        values = [f"u {row[f'{strategy}_u']:.2f}, e {row[f'{strategy}_e']:.2f}" for strategy in STRATEGIES]
        text = " to ".join(dict.fromkeys(values))
        ax.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=7, color=INK)
    zero_line_x(ax)
    ax.set_yticks([-y for y in range(len(places))], places)
    ax.set(xlabel="J", ylim=(0.6 - len(places), 0.6))
    ax.grid(False, axis="y")
    sns.despine(ax=ax)
    legend_below(figure, [handle(look) for look in STRATEGIES.values()], columns=2)
    return ax


@figure(
    "Question to be written?",
    "Safety by stage against one weight of J, with the other weights fixed: mean over training seeds; bands: "
    "95% intervals. Dotted: the weight of the evaluation. Crossings mark the weights at which the ranking of "
    "the stages changes.",
    reads="weights",
    study=True,
)
def weight_sensitivity(safety: pd.DataFrame, weight: str = "exploit") -> sns.FacetGrid:
    """Safety of each stage against one weight of J, with the others fixed, one panel per game.

    Dotted: the evaluation weight of the game. Lines: mean over seeds; bands: its interval. Columns: game,
    weight, value, own (the evaluation weight), stage, seed, safety. Raises ValueError for an unknown weight.
    """
    need(safety, ["game", "weight", "value", "own", "stage", "seed", "safety"])
    if weight not in WEIGHTS:
        raise ValueError(f"There is no weight '{weight}'; choose from {', '.join(WEIGHTS)}.")
    data = safety[safety["weight"] == weight]
    stages = {"base": "base", "sft": "sft", "sepo": "unbiased"}
    looks = present({s: CONFIGURATIONS[c] for s, c in stages.items()}, data["stage"])
    grid = grid_of(data, "game", ordered_games(data), sharey=False)
    for game, ax in grid.axes_dict.items():
        rows = data[data["game"] == game]
        for stage, look in looks.items():
            means = _by_value(rows[rows["stage"] == stage])
            if means.empty:
                continue
            every = max(1, len(means) // 4)
            marks = {"color": look.colour, "marker": look.marker, "markersize": 3.6, "markevery": every}
            ax.plot(means.index, means["mean"], linewidth=1.2, label=look.label, **marks)
            ax.fill_between(means.index, means["low"], means["high"], color=look.colour, alpha=0.15, lw=0)
        ax.axvline(rows["own"].iloc[0], color=MUTED, linewidth=0.9, linestyle=":")
        zero_line(ax)
        ax.set(title=title_of(game), xlabel=WEIGHTS[weight], ylabel="")
    grid.axes.flat[0].set_ylabel(quantity("safety"))
    legend_below(grid.figure, [handle(look, "-") for look in looks.values()])
    return grid


@figure(
    "Question to be written?",
    "Payoff against exploit advantage of policies that were trained with different weights λe: means over "
    "training seeds; crosses: 95% intervals of both means. Up and to the left is better.",
    reads="sweep",
    study=True,
)
def frontier(sweep: pd.DataFrame) -> sns.FacetGrid:
    """Payoff against exploit advantage of policies that were trained with different weights of the latter.

    Crosses: 95% intervals over seeds of both means. Columns: game, seed, multiple (of the game's own training
    weight), payoff, exploit.
    """
    need(sweep, ["game", "seed", "multiple", "payoff", "exploit"])
    multiples = sorted(sweep["multiple"].unique())
    shades = sns.color_palette("viridis", len(multiples)).as_hex()
    looks = {
        multiple: Look(f"{multiple:g} λe", shade, MARKERS[number % len(MARKERS)])
        for number, (multiple, shade) in enumerate(zip(multiples, shades, strict=True))
    }
    grid = grid_of(sweep, "game", ordered_games(sweep), 2.6, 2.2, sharey=False)
    for game, ax in grid.axes_dict.items():
        rows = sweep[sweep["game"] == game]
        means = rows.groupby("multiple")[["exploit", "payoff"]].mean()
        ax.plot(means["exploit"], means["payoff"], color=FAINT, linewidth=1.2, zorder=1)
        for multiple, seeds in rows.groupby("multiple"):
            look = looks[multiple]
            x, y = spread(seeds, "exploit"), spread(seeds, "payoff")
            bars = {
                name: [[found.mean - found.low], [found.high - found.mean]]
                for name, found in (("xerr", x), ("yerr", y))
                if not np.isnan(found.low)
            }
            ax.errorbar(
                x.mean, y.mean, fmt=look.marker, color=look.colour, label=look.label, capsize=2, **bars
            )
        ax.set(title=title_of(game), xlabel=quantity("exploit"), ylabel="")
    grid.axes.flat[0].set_ylabel(quantity("payoff"))
    legend_below(grid.figure, [handle(look) for look in looks.values()])
    return grid


def _by_value(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean safety over seeds and its interval (columns mean, low, high) by value of the weight (index)."""
    values = rows.groupby("value")["safety"]
    return pd.DataFrame(
        [interval(seeds) for _, seeds in values], index=list(values.groups), columns=Interval._fields
    )
