"""The benchmark: decisions per second, and the seconds of a SEPO step."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.marks import handle
from sepo_lib.figures.old import grid_of, legend_below, present
from sepo_lib.figures.rows import NothingToDraw, need, ordered_games, title_of
from sepo_lib.figures.theme import BASE, COLOURS, MARKERS, MUTED, Look

BENCH_ARMS = {
    "one_at_a_time": Look("one at a time", BASE, "o"),
    "batched": Look("batched generate", COLOURS[1], "s"),
    "shared_prefix": Look("shared prefix (ours)", COLOURS[2], "D"),
}
#: Part of a step -> (colour, hatch).
STEP_PARTS = {
    "generation": (COLOURS[2], ""),
    "logps": (COLOURS[1], "//"),
    "update": (COLOURS[0], ".."),
    "rest": (MUTED, "xx"),
}


@figure(
    "Question to be written?",
    "Decisions per second by group size: median of the repetitions; bars reach from the lowest to the "
    "highest. Both axes are logarithmic.",
)
def bench_arms(bench: pd.DataFrame) -> sns.FacetGrid:
    """Decisions per second by group size, one panel per game.

    Marks: median of the repetitions; bars: from the lowest to the highest. The arms that call plain
    `generate` do not depend on the group size and are drawn across. Columns: game, part, arm, group_size,
    measure, value, low, high.
    """
    need(bench, ["game", "part", "arm", "group_size", "measure", "value", "low", "high"])
    data = bench[(bench["part"] == "arms") & (bench["measure"] == "decisions_per_second")]
    looks = present(BENCH_ARMS, data["arm"])
    grid = grid_of(data, "game", ordered_games(data), sharey=True)
    for game, ax in grid.axes_dict.items():
        rows = data[data["game"] == game]
        sizes = sorted(rows.loc[rows["arm"] == "shared_prefix", "group_size"])
        for arm, look in looks.items():
            line = rows[rows["arm"] == arm].sort_values("group_size")
            line = line if arm == "shared_prefix" else pd.concat([line] * len(sizes))
            bars = [line["value"] - line["low"], line["high"] - line["value"]]
            ax.errorbar(sizes, line["value"], yerr=bars, color=look.colour, marker=look.marker, ms=4, lw=1)
        ax.set(xscale="log", yscale="log", xticks=sizes, xticklabels=sizes, xlabel="group size G")
        ax.minorticks_off()
        ax.set_title(title_of(game))
    grid.set_ylabels("decisions per second")
    legend_below(grid.figure, [handle(look, "-") for look in looks.values()])
    return grid


@figure("Question to be written?", "Seconds of a SEPO step by group size, split into the parts of the step.")
def bench_step(bench: pd.DataFrame) -> sns.FacetGrid:
    """Seconds of a SEPO step by group size, split into its parts, one panel per game.

    Columns: game, part, group_size, measure, value.
    """
    need(bench, ["game", "part", "group_size", "measure", "value"])
    data = bench[bench["part"] == "step"]
    if data.empty:
        raise NothingToDraw("no steps were measured")
    grid = grid_of(data, "game", ordered_games(data), sharey=True)
    for game, ax in grid.axes_dict.items():
        cells = data[data["game"] == game].pivot(index="group_size", columns="measure", values="value")
        bottom = np.zeros(len(cells))
        for part, (colour, hatch) in STEP_PARTS.items():
            seconds = cells[f"{part}_seconds"].to_numpy()
            ax.bar(
                range(len(cells)), seconds, 0.7, bottom, color=colour, hatch=hatch, edgecolor="white", lw=0
            )
            bottom += seconds
        ax.set(xticks=range(len(cells)), xticklabels=cells.index, xlabel="group size G")
        ax.grid(axis="x", visible=False)
        ax.set_title(title_of(game))
    grid.set_ylabels("seconds per step")
    patches = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=part, lw=0)
        for part, (colour, hatch) in STEP_PARTS.items()
    ]
    legend_below(grid.figure, patches, columns=len(patches))
    return grid


@figure(
    "Question to be written?",
    "Seconds of a SEPO step against its number of episodes, by game. Dotted: proportional to the number of "
    "episodes. Both axes are logarithmic.",
)
def bench_scaling(scaling: pd.DataFrame) -> Axes:
    """Seconds of a SEPO step against its number of episodes, with a proportional line for each game.

    Columns: game, episodes, measure, value.
    """
    need(scaling, ["game", "episodes", "measure", "value"])
    data = scaling[scaling["measure"] == "step_seconds"]
    if data.empty:
        raise NothingToDraw("no steps were measured")
    _, ax = plt.subplots(figsize=(3.6, 2.7), layout="constrained")
    for number, game in enumerate(ordered_games(data)):
        rows = data[data["game"] == game].sort_values("episodes")
        x, y = rows["episodes"].to_numpy(float), rows["value"].to_numpy()
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        ax.plot(x, y, color=colour, marker=marker, ms=4, lw=1, label=title_of(game))
        ax.plot(x, y[0] * x / x[0], color=colour, lw=0.7, ls=":")
    ax.plot([], [], color=MUTED, lw=0.7, ls=":", label="proportional")
    ax.set(xscale="log", yscale="log", xlabel="episodes of a step", ylabel="seconds per step")
    ax.legend()
    return ax
