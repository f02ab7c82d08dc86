"""Outcomes: the measures of a policy by stage and game, and its payoff against other players."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import QUANTITIES
from sepo_lib.figures.marks import blank_x, grid_of, handle, legend_below, mark_seeds, zero_line
from sepo_lib.figures.rows import configured, looks_of, need, ordered_games, title_of
from sepo_lib.figures.theme import INK, WIDTH, styled


@figure(
    "Safety J by stage and game: mean over training seeds with its 95% interval; dots are single seeds. "
    "Higher is safer.",
    reads="evaluation",
)
def safety_by_stage(evaluation: pd.DataFrame, pools: str = "paper") -> sns.FacetGrid:
    """Safety (J with the evaluation weights) by stage and game; higher is better. Columns: see `by_stage`."""
    return by_stage(evaluation, "safety", pools)


@figure(
    "Exploit advantage e by stage and game, in points per round: mean over training seeds with its 95% "
    "interval; dots are single seeds. Lower is safer.",
    reads="evaluation",
)
def exploit_by_stage(evaluation: pd.DataFrame, pools: str = "paper") -> sns.FacetGrid:
    """Exploit advantage e (points per round) by stage and game; lower is better. Columns: see `by_stage`."""
    return by_stage(evaluation, "exploit", pools)


@styled
def by_stage(evaluation: pd.DataFrame, metric: str, pools: str = "paper") -> sns.FacetGrid:
    """Any metric of the evaluation by stage, one panel per game. Each panel has its own scale.

    Columns: game, pools, stage, arm, preset, seed, `metric`, and reported or step.
    """
    need(evaluation, ["game", "pools", "stage", "arm", "preset", "seed", metric])
    data = configured(evaluation[evaluation["pools"] == pools])
    looks = looks_of(data["configuration"])
    grid = grid_of(data, "game", ordered_games(data), sharey=False)
    for game, ax in grid.axes_dict.items():
        rows = data[data["game"] == game]
        for x, (key, look) in enumerate(looks.items()):
            mark_seeds(ax, x, rows[rows["configuration"] == key], metric, look)
        zero_line(ax)
        blank_x(ax, len(looks))
        ax.set_title(title_of(game))
        ax.margins(y=0.12)
    grid.set_ylabels(QUANTITIES.get(metric, metric))
    legend_below(grid.figure, [handle(look) for look in looks.values()])
    return grid


@figure(
    "Cross-play: payoff per round of the row's player against the column's player, with half the width of "
    "its 95% interval over episodes."
)
def crossplay(table: pd.DataFrame) -> Axes:
    """Heat map of the cross-play of one game: the row's payoff per round against the column.

    Each cell shows the mean and half the width of its 95% interval. Opponents of the pools stand to the right
    of the models. Columns: game, row, column, kind, payoff, ci_low, ci_high. Raises ValueError for a table of
    several games.
    """
    need(table, ["game", "row", "column", "kind", "payoff", "ci_low", "ci_high"])
    if table["game"].nunique() != 1:
        raise ValueError(f"A heat map shows one game; choose one of {sorted(table['game'].unique())}.")
    rows, columns = table["row"].unique(), table["column"].unique()
    payoff, texts = _cells(table, rows, columns)
    width = min(WIDTH, 1.6 + 0.75 * len(columns))
    _, ax = plt.subplots(figsize=(width, 0.9 + 0.45 * len(rows)), layout="constrained")
    sns.heatmap(
        payoff,
        annot=texts,
        fmt="",
        annot_kws={"fontsize": 6.5},
        cmap="crest",
        linewidths=0.5,
        cbar_kws={"label": "row's payoff per round"},
        ax=ax,
    )
    models = int((table[table["row"] == rows[0]]["kind"] == "model").sum())
    if models < len(columns):
        ax.axvline(models, color=INK, linewidth=1.2)
    ax.set(xlabel="against", ylabel="", title=title_of(table["game"].iloc[0]))
    ax.tick_params(axis="x", rotation=30)
    ax.tick_params(axis="y", rotation=0)
    return ax


def _cells(table: pd.DataFrame, rows: np.ndarray, columns: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """The payoffs and the texts of the cells, both (rows, columns)."""
    shaped = table.assign(half=(table["ci_high"] - table["ci_low"]) / 2).set_index(["row", "column"])
    payoff = shaped["payoff"].unstack().loc[rows, columns]
    half = shaped["half"].unstack().loc[rows, columns]
    texts = [
        [f"{p:.2f}\n±{h:.2f}" for p, h in zip(*line, strict=True)]
        for line in zip(payoff.to_numpy(), half.to_numpy(), strict=True)
    ]
    return payoff, np.array(texts)
