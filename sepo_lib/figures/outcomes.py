"""Outcomes: the measures of a policy by stage and game, and its payoff against other players."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import Palette, axis_label, labels_among, looks_of
from sepo_lib.figures.marks import Errorbar, dodge, handle, mark_seeds, zero_line
from sepo_lib.figures.notes import count, entitle, note
from sepo_lib.figures.panels import Panels, Size, name_categories, panels, shortened, single
from sepo_lib.figures.rows import (
    configured,
    in_order,
    in_turn,
    keep,
    known,
    need,
    one,
    ordered_games,
    several_models,
    title_of,
    unique,
)
from sepo_lib.figures.theme import INK, MUTED, WIDTH, Look


@figure(
    "Does each stage of training make the policy safer?",
    "Safety J by stage and game. Marks are means over training seeds, dots are single seeds. Higher is "
    "safer.",
    of_kit="J has the evaluation weights.",
    passes="_by_stage",
    reads="evaluation",
)
def safety_by_stage(data: pd.DataFrame, **options) -> sns.FacetGrid | Axes:
    """Safety (J with the evaluation weights) by stage and game; higher is safer. Options: see `by_stage`.

    Columns: game, stage, safety; the optional ones as in `by_stage`.

    >>> safety_by_stage(pd.read_csv("mine.csv"), palette={"ppo": "black"}).savefig("safety.pdf")
    """
    return _by_stage(data, "safety", **options)


@figure(
    "How much do the exploiters win against the policy?",
    "Exploit advantage e by stage and game. Marks are means over training seeds, dots are single seeds. "
    "Lower is safer.",
    passes="_by_stage",
    reads="evaluation",
)
def exploit_by_stage(data: pd.DataFrame, **options) -> sns.FacetGrid | Axes:
    """Exploit advantage e (points per round) by stage and game; lower is safer. Options: see `by_stage`.

    Columns: game, stage, exploit; the optional ones as in `by_stage`.

    >>> exploit_by_stage(pd.read_csv("mine.csv"), palette="gray", errorbar="sd")
    """
    return _by_stage(data, "exploit", **options)


@figure(
    "How does a measure of the policy change from stage to stage?",
    "One measure of the policy by stage and game. Marks are means over training seeds, dots are single "
    "seeds.",
    passes="_by_stage",
)
def by_stage(data: pd.DataFrame, metric: str, **options) -> sns.FacetGrid | Axes:
    """Any metric of the evaluation by stage, one panel per game. Each panel has its own scale.

    Columns: game, stage, `metric`; optionally pools, preset and arm (of the stage `sepo`), seed, model, step
    or reported, and the interval of a single seed in `<metric>_low` and `<metric>_high`. A stage, preset or
    game that the kit does not know is drawn too. One row is one seed; without a column `seed`, rows of the
    same stage are repetitions.

    hue            a column whose values are drawn beside one another, such as model. By default the stages
                   have the colours; several models are drawn as hue
    order          the stages and presets that are drawn, in their order
    hue_order      the values of `hue` that are drawn, in their order
    palette        colours of the hue (or of the stages): a dict, a list, or the name of a palette
    labels         labels of stages, of presets and of the values of `hue`
    errorbar       see `marks.interval_of`: "ci", "sd", "se", ("pi", 95), "table", a function or None
    pools          the pool set that is drawn; None draws all rows, with `hue="pools"` if there are several
    ablation       True draws the rows of other arms and changed switches as well
    ax             the Axes of a table with one game
    height, aspect, col_wrap, width   of the grid, in inches; see `panels.Size`

    >>> by_stage(pd.read_csv("mine.csv"), "welfare", order=["before", "ppo"])
    """
    return _by_stage(data, metric, **options)


def _by_stage(
    data: pd.DataFrame,
    metric: str,
    *,
    hue: str | None = None,
    order: Sequence | None = None,
    hue_order: Sequence | None = None,
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
    rows = need(data, ["game", "stage", *([hue] if hue else [])], numbers=[metric])
    rows = known(configured(keep(rows, "pools", pools), ablation), metric)
    rows = in_order(rows, "configuration", order)
    if hue is None and several_models(rows):
        hue = "model"
        rows = known(rows, hue)
    if hue != "pools":
        one(rows, "pools")
    unique(rows, ["game", "pools", "configuration", *([hue] if hue else [])])
    rows = in_order(rows, hue, hue_order) if hue else rows
    others = rows[hue] if hue else ()
    words = labels_among(labels, rows["configuration"], others)
    stages = looks = looks_of(
        rows["configuration"], order=order, palette=None if hue else palette, labels=words, name="stage"
    )
    if hue is not None:
        words = labels_among(labels, others, rows["configuration"])
        looks = looks_of(others, known={}, order=hue_order, palette=palette, labels=words, name=hue)
    least, most = 1.45, 2.4
    if hue is not None:  # the names of the stages stand below the x axis, and their marks beside one another
        least = 0.4 + 0.62 * len(stages)
        most = max(most, 0.6 + 0.13 * len(stages) * len(looks))
    size = Size(height, aspect, col_wrap, width, least=least, most=min(most, width))
    figure = panels(ordered_games(rows), ax=ax, size=size)
    for game, panel in figure.axes.items():
        _stages(panel, rows[rows["game"] == game], metric, (hue, stages, looks), errorbar, figure)
    figure.titles(title_of)
    figure.labels(y=axis_label(metric))
    figure.legend([handle(look) for look in looks.values()], title=hue)
    return figure.drawn


def _stages(
    ax: Axes,
    rows: pd.DataFrame,
    metric: str,
    what: tuple[str | None, Mapping[str, Look], Mapping[Any, Look]],
    errorbar: Errorbar,
    figure: Panels,
) -> None:
    """The marks of one game: stage by stage, and within a stage one mark for each value of the hue."""
    hue, stages, looks = what
    for x, stage in enumerate(stages):
        in_stage = rows[rows["configuration"] == stage]
        if hue is None:
            mark_seeds(ax, x, in_stage, metric, looks[stage], errorbar=errorbar)
            continue
        for shift, (value, look) in zip(dodge(len(looks)), looks.items(), strict=True):
            chosen = in_stage[in_stage[hue] == value]
            mark_seeds(ax, x + shift, chosen, metric, look, 0.3 / len(looks), errorbar=errorbar)
    zero_line(ax)
    ax.margins(y=0.12)
    if hue is None:
        ax.set(xlim=(-0.55, len(stages) - 0.35), xticks=[], xlabel="")  # the legend explains the places
    else:
        names = [look.label.removeprefix("SEPO, ") for look in stages.values()]
        name_categories(ax, names, figure.width - 0.5)


@figure(
    "Who beats whom?",
    "Cross-play: each cell has the payoff per round of the row's player and half of its interval, and below "
    "it the payoff of the column's player, if the table has it. The colour is the first minus the second: "
    "the row wins the blue cells, the column wins the red ones. Above the cells stand the kinds of "
    "opponents.",
    of_kit="The intervals are 95% intervals over episodes.",
)
def crossplay(
    data: pd.DataFrame,
    *,
    order: Sequence | None = None,
    col_order: Sequence | None = None,
    palette: str | None = None,
    labels: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
    width: float = WIDTH,
) -> Axes:
    """Heat map of the cross-play of one game: the row's payoff (points per round) against the column.

    A cell also shows the payoff of the column's player: that of the column `other_payoff`, else that of the
    same pair with rows and columns exchanged. The colour is the difference of the two, or the row's payoff in
    a table that has the column's payoff for no pair. Columns whose kind is not `model` stand to the right.

    Columns: game, row, column, kind, payoff, ci_low, ci_high; optionally other_payoff. `order` and
    `col_order` choose rows and columns, `labels` renames players, and `palette` is a palette of colours, for
    differences one with two ends. Raises ValueError for a table of several games and for a pair of players
    that occurs twice.

    >>> crossplay(pd.read_csv("mine.csv"), labels={"tft": "tit for tat"})
    """
    numbers = ["payoff", "ci_low", "ci_high"]
    numbers += ["other_payoff"] if "other_payoff" in getattr(data, "columns", ()) else []
    data = need(data, ["game", "row", "column", "kind"], numbers)
    if data["game"].nunique() != 1:
        raise ValueError(f"A heat map shows one game; choose one of {in_turn(data['game'].unique())}.")
    unique(data.drop(columns="seed", errors="ignore"), ["row", "column"], repeats=False)
    data = _with_other(data)
    data = known(in_order(in_order(data, "row", order), "column", col_order), "payoff")
    kinds = data.drop_duplicates("column").set_index("column")["kind"]
    models_first = sorted(kinds.index, key=lambda column: kinds[column] != "model")
    rows, columns = list(order or data["row"].unique()), list(col_order or models_first)
    payoff, other, texts = _cells(data, rows, columns)
    names = {**{name: str(name) for name in (*rows, *columns)}, **labels_among(labels, rows, columns)}
    figure = single(ax, width=min(width, 1.6 + 0.75 * len(columns)), height=1.4 + 0.45 * len(rows))
    ax = figure.drawn
    compared = bool((payoff - other).notna().any(axis=None))
    largest = _REACH * (float((payoff - other).abs().max(axis=None)) or 1.0) if compared else None
    sns.heatmap(
        payoff - other if compared else payoff,
        annot=texts,
        fmt="",
        annot_kws={"fontsize": 6.5},
        cmap=palette or ("RdBu" if compared else "crest"),
        vmin=-largest if compared else None,
        vmax=largest,
        linewidths=0.5,
        cbar_kws={"label": _BAR[compared]},
        xticklabels=[names[name] for name in columns],
        yticklabels=[names[name] for name in rows],
        ax=ax,
    )
    if missing := int(payoff.isna().sum().sum()):
        note("Empty", f"{count(missing, 'cell')} of pairs without a payoff")
    if compared:
        ax.collections[0].colorbar.ax.set_ylim(-largest / _REACH, largest / _REACH)
        entitle("Who beats whom? Each cell: the row's payoff, below it the column's")
    _name_kinds(ax, [str(kinds[column]) for column in columns])
    ax.set(xlabel="against", ylabel="")
    ax.set_title(title_of(data["game"].iloc[0]), pad=16)
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="y", rotation=0)
    return ax


_REACH = 1.6  # the ends of the colours, in the largest difference, so that texts stay readable
#: Whether the column's payoffs are known -> the label of the colours.
_BAR = {
    True: "row's payoff − column's\n(points per round)",
    False: "row's payoff\n(points per round)",
}


def _with_other(data: pd.DataFrame) -> pd.DataFrame:
    """The table with the payoff of the column's player in `other_payoff`; nan where it is not known."""
    exchanged = data.set_index(["column", "row"])["payoff"]
    pairs = pd.MultiIndex.from_frame(data[["row", "column"]])
    mirrored = exchanged.reindex(pairs).set_axis(data.index)
    return data.assign(other_payoff=data.get("other_payoff", mirrored).fillna(mirrored))


def _name_kinds(ax: Axes, kinds: Sequence[str]) -> None:
    """Write the kinds of opponents above the columns, with a line between two of them.

    Nothing for one kind, or if the columns of a kind do not stand together.
    """
    starts = [at for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    if len(starts) < 2 or len(starts) > len(set(kinds)):
        return
    for start, end in zip(starts, [*starts[1:], len(kinds)], strict=True):
        if start:
            ax.axvline(start, color=INK, linewidth=1.2)
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center"}
        text = shortened([kinds[start]], 5 + 8 * (end - start))[0]
        ax.annotate(text, ((start + end) / 2, 1), (0, 3), fontsize=7, color=MUTED, **where)


def _cells(
    table: pd.DataFrame, rows: Sequence, columns: Sequence
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """The payoffs of both players and the texts of the cells, all (rows, columns).

    A pair without a row is an empty cell.
    """
    shaped = table.assign(half=(table["ci_high"] - table["ci_low"]) / 2).set_index(["row", "column"])
    payoff, other, half = (
        shaped[name].unstack().reindex(index=rows, columns=columns)
        for name in ("payoff", "other_payoff", "half")
    )
    return payoff, other, np.vectorize(_cell, otypes=[object])(payoff, other, half)


def _cell(payoff: float, other: float, half: float) -> str:
    """The text of a cell: the payoff and half of its interval, and the payoff of the column's player."""
    if np.isnan(payoff):
        return ""
    text = f"{payoff:.2f}" + ("" if np.isnan(half) else f" ±{half:.2f}")
    return text if np.isnan(other) else f"{text}\n{other:.2f}"
