"""The models of the paper's authors: their J beside ours, and their NashConv in Kuhn poker."""

import itertools
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.marks import bar_style, handle, zero_line, zero_line_x
from sepo_lib.figures.old import grid_of, legend_below
from sepo_lib.figures.rows import NothingToDraw, need, ordered_games, reported, title_of
from sepo_lib.figures.theme import COLOURS, FAINT, INK, MUTED, Look
from sepo_lib.measure import authors

#: The colours and markers of the authors' models; they repeat if there are more models.
AUTHORS_COLOURS = (COLOURS[5], COLOURS[4], COLOURS[9])
AUTHORS_MARKERS = ("o", "s", "^")


@figure(
    "Question to be written?",
    "J of the authors' models and of ours, computed with the same weights. A line follows one model from "
    "base to SFT to SEPO. Compare the directions of the lines, not their positions. Bars: 95% intervals over "
    "our training seeds; the authors store one model each.",
    reads="evaluation",
    also=authors.load,
)
def paper_against_ours(evaluation: pd.DataFrame, paper: pd.DataFrame) -> sns.FacetGrid:
    """Do the authors' models and ours change in the same direction from base to SFT to SEPO?

    One panel per game; one row per stage or recipe; x: J with the evaluation weights. A line follows one
    model from base to SFT and on to each of its recipes. `paper` is the table of `authors.load`; its rows
    with an empty `reason` are drawn. Columns of `evaluation`: game, pools, stage, arm, preset, seed, step,
    model, safety, and reported.
    """
    need(evaluation, ["game", "pools", "stage", "arm", "preset", "seed", "step", "model", "safety"])
    need(paper.drop(columns="model", errors="ignore"), ["game", "who", "recipe", "reason", "step", "safety"])
    data = authors.side_by_side(reported(evaluation), paper)
    if data.empty:
        raise NothingToDraw("no game that both have")
    looks = _looks_of_models(data)
    recipes = [key for key in authors.STAGES if (data["recipe"] == key).any()]
    games = ordered_games(data)
    grid_rows = -(-len(games) // 2)
    height = 2.0 + 1.3 / grid_rows  # title and legend need the same room for one row of panels as for two
    grid = grid_of(data, "game", games, width=3.4, height=height, col_wrap=min(2, len(games)), sharey=True)
    for game, ax in grid.axes_dict.items():
        in_panel = data[data["game"] == game]
        models = [who for who in looks if (in_panel["who"] == who).any()]
        for number, who in enumerate(models):
            offset = 0.62 * ((number + 0.5) / len(models) - 0.5)
            _path_of_model(ax, in_panel[in_panel["who"] == who], recipes, offset, looks[who])
        zero_line_x(ax)
        ax.set(ylim=(len(recipes) - 0.5, -0.5), yticks=range(len(recipes)), xlabel="", ylabel="")
        ax.set_yticklabels([_recipe_label(key, data) for key in recipes])
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        for edge in range(len(recipes) - 1):
            ax.axhline(edge + 0.5, color=FAINT, linewidth=0.7, zorder=0)
        ax.margins(x=0.06)
        ax.set_title(title_of(game))
    grid.figure.suptitle(
        "Do the authors' models and ours move the same way from base to SFT to SEPO?", fontsize=9
    )
    for ax in grid.axes.flat[-2:]:
        ax.set_xlabel("J (scaled points per round; right is safer)")
    entries = [handle(look, "-") for look in looks.values()]
    if not data["last"].all():
        entries.append(handle(Look("earlier checkpoints", MUTED, ".")))
    legend_below(grid.figure, entries, columns=3)
    return grid


@figure(
    "Question to be written?",
    "The authors' models in Kuhn poker: the exploiter pool's advantage as printed, and NashConv of the "
    "printed action frequencies with its 95% interval, in chips per hand. An advantage of 0 does not imply a "
    "NashConv of 0.",
    reads="paper_nashconv",
    study=True,
)
def paper_nashconv(paper: pd.DataFrame) -> Axes:
    """The authors' models in Kuhn poker: their printed pool advantage beside NashConv (chips per hand).

    NashConv follows from the printed action frequencies, its interval from the printed numbers of decisions.
    Columns: model, stage, step, pool_advantage, nashconv, nashconv_low, nashconv_high.
    """
    need(paper.drop(columns="model", errors="ignore"), ["stage", "step", "pool_advantage", "nashconv"])
    need(paper[:1], ["model", "nashconv_low", "nashconv_high"])
    rows = paper.reset_index(drop=True)
    figure, ax = plt.subplots(figsize=(5.2, 2.7), layout="constrained")
    exact = Look("NashConv of the shares", COLOURS[3], "D")
    pool = Look("printed advantage", COLOURS[0], "o", False)
    ends = [rows["nashconv"] - rows["nashconv_low"], rows["nashconv_high"] - rows["nashconv"]]
    ax.errorbar(
        rows.index + 0.12, rows["nashconv"], yerr=np.maximum(ends, 0.0), label=exact.label, **bar_style(exact)
    )
    ax.plot(
        rows.index - 0.12, rows["pool_advantage"], pool.marker, color=pool.colour, label=pool.label, mfc="w"
    )
    zero_line(ax)
    steps = rows["step"].map(lambda step: "" if pd.isna(step) else f" {step:.0f}")
    ax.set_xticks(rows.index, rows["model"].str.split("-").str[0] + "\n" + rows["stage"] + steps)
    ax.set(ylabel="chips per hand", xlim=(-0.6, len(rows) - 0.4))
    ax.grid(False, axis="x")
    sns.despine(ax=ax)
    legend_below(figure, [handle(exact), handle(pool)], columns=2)
    return ax


def _looks_of_models(data: pd.DataFrame) -> dict[str, Look]:
    """Colour and marker show the model. Markers of the authors' first runs are open, the others filled."""
    names = sorted({who.rsplit(" (", 1)[0] for who in data.loc[~data["ours"], "who"]})
    styles = dict(zip(names, itertools.cycle(zip(AUTHORS_COLOURS, AUTHORS_MARKERS, strict=True))))
    order = data[["who", "ours"]].drop_duplicates().sort_values(["ours", "who"], ascending=[False, True])
    looks = {}
    for who, ours in order.to_numpy():
        colour, marker = (INK, "D") if ours else styles[who.rsplit(" (", 1)[0]]
        label = who if ours else f"authors: {who}"
        looks[who] = Look(label, colour, marker, filled=not who.endswith("(first)"))
    return looks


def _path_of_model(ax: Axes, rows: pd.DataFrame, recipes: Sequence[str], offset: float, look: Look) -> None:
    """The marks of one model in one game at the heights of its recipes, with lines between the stages."""
    last = rows[rows["last"]].set_index("recipe")
    height = {key: recipes.index(key) + offset for key in last.index}
    for key in last.index:
        before = "sft" if key not in ("base", "sft") else "base"
        if before in last.index and key != before:
            ends = [last.loc[before, "safety"], last.loc[key, "safety"]]
            ax.plot(ends, [height[before], height[key]], color=look.colour, lw=1.1, alpha=0.6, zorder=2)
        x, low, high = last.loc[key, ["safety", "low", "high"]].astype(float)
        bar = None if np.isnan(low) else [[x - low], [high - x]]
        ax.errorbar([x], [height[key]], xerr=bar, **bar_style(look), label=look.label, zorder=3)
    early = rows[~rows["last"]]
    heights = [height[key] for key in early["recipe"]]
    ax.plot(early["safety"], heights, "o", color=look.colour, markersize=2.6, mew=0, alpha=0.7, zorder=2)


def _recipe_label(key: str, data: pd.DataFrame) -> str:
    """The label of a recipe's row, with the name of our preset, or with the side that alone has it."""
    label = authors.STAGES[key]
    if key in ("base", "sft"):
        return label
    ours = data.loc[data["recipe"] == key, "ours"]
    if ours.all():
        return f"{label}\n(ours only)"
    return f"{label}\n(ours: {key})" if ours.any() else f"{label}\n(authors only)"
