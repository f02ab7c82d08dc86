"""What training in one game changes in the others: a matrix of models and games."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import labels_among, plain, quantity
from sepo_lib.figures.notes import count, note
from sepo_lib.figures.panels import CHARACTER, single, wrapped
from sepo_lib.figures.rows import NothingToDraw, in_order, known, need, one, ordered_games, title_of
from sepo_lib.figures.theme import INK, WIDTH
from sepo_lib.measure.statistics import NO_SPREAD
from sepo_lib.measure.transfer import ALL, SFT, changes

ANNOTATION = 6.5  # points: the font of the cells


@figure(
    "What does training in one game change in the others?",
    "The measure in the game of the column after training on the row, minus that of the reference: mean over "
    "training seeds and its 95% t interval, paired by seed. Bold cells with a star have an interval without "
    "0; the number of cells is not corrected for. The colour is the change divided by the largest change of "
    "its column. Frames mark the game that the model was trained on.",
    of_kit="Training is SEPO, and it starts from the SFT model, the reference. Blue is safer.",
    reads="transfer",
    study=True,
)
def transfer_matrix(
    data: pd.DataFrame,
    *,
    metric: str = "safety",
    reference: str = SFT,
    order: Sequence | None = None,
    col_order: Sequence | None = None,
    palette: str = "RdBu",
    labels: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
    width: float = WIDTH,
) -> Axes:
    """Heat map of the change of a measure: a row for every training, a column for every game.

    A change is `metric` minus that of the model whose `trained_on` is `reference`, paired by seed. Without
    several seeds a cell has no interval. Columns: trained_on, game, seed and `metric`; optionally model.
    `order` and `col_order` choose rows and columns, and `labels` renames both. Raises ValueError for a table
    of several models and for a model that occurs twice in a game.

    >>> transfer_matrix(pd.read_csv("mine.csv"), labels={"all": "every game"})
    """
    data = known(one(need(data, ["trained_on", "game", "seed"], [metric]), "model"), metric)
    found = changes(data, metric, reference)
    if found.empty:
        raise NothingToDraw(f"All rows are those of {reference}, from which changes are counted.")
    found = in_order(in_order(found, "trained_on", order), "game", col_order)
    columns, trained = list(col_order or ordered_games(found)), found["trained_on"].unique().tolist()
    games = [game for game in ordered_games(data) if game in trained]
    rows = list(order or [*games, *(row for row in trained if row not in (*games, ALL))])
    rows += [ALL] if order is None and ALL in trained else []
    cells = found.set_index(["trained_on", "game"]).reindex(pd.MultiIndex.from_product([rows, columns]))
    mean = cells["mean"].unstack().reindex(index=rows, columns=columns)
    largest = mean.abs().max()
    names = {**{name: title_of(name) for name in (*rows, *columns)}, ALL: "all games"}
    names |= labels_among(labels, rows, columns)
    wide = min(width, 1.8 + 1.0 * len(columns))
    beside = [wrapped(names[name], 0.22 * wide, 7.5) for name in rows]
    longest = max(len(line) for name in beside for line in name.split("\n"))
    cell = (wide - 0.45 - longest * CHARACTER * 7.5) / len(columns)
    narrow = cell < 13 * CHARACTER * ANNOTATION  # too narrow for an interval in one line
    shown = [_cell(*row, narrow) for row in cells[["mean", "low", "high"]].to_numpy()]
    high = max(0.53 if narrow else 0.42, 0.13 * max(name.count("\n") + 2 for name in beside))
    drawn = single(ax, width=wide, height=1.25 + high * len(rows))
    ax = drawn.drawn
    sns.heatmap(
        mean / largest.where(largest > 0, 1.0),
        annot=np.array(shown).reshape(mean.shape),
        fmt="",
        annot_kws={"fontsize": ANNOTATION},
        cmap=palette,
        vmin=-1.8,  # 0 is the middle of the colours, and texts stay readable on the darkest cells
        vmax=1.8,
        cbar=False,
        linewidths=0.5,
        yticklabels=beside,
        ax=ax,
    )
    for text in ax.texts:
        text.set_color(INK)
        text.set_fontweight("bold" if text.get_text().endswith("*") else "normal")
    for row, trained_on in enumerate(rows):
        if trained_on in columns:
            place = (columns.index(trained_on), row)
            ax.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=INK, linewidth=1.2, clip_on=False))
    if missing := int(mean.isna().sum().sum()):
        note("Empty", f"{count(missing, 'cell')} without a seed that has both models")
    if equal := int((cells["high"] - cells["low"] <= NO_SPREAD).sum()):
        note("Without an interval", f"{count(equal, 'cell')} with the same change in all seeds")
    note("Measure", f"{quantity(metric)}, minus that of trained_on = {reference}")
    seeds = sorted(found["seeds"][found["seeds"] > 0].unique())
    note("Seeds", " to ".join(str(number) for number in dict.fromkeys((seeds[0], seeds[-1]))))
    star = "\n* the interval does not contain 0" if any(text.endswith("*") for text in shown) else ""
    ax.set(xlabel=f"change of {plain(metric)} in{star}", ylabel="trained on")
    below = [names[name] for name in columns]
    if max(len(word) for name in below for word in name.split()) * CHARACTER * 7.5 < cell:
        below, turned = [wrapped(name, cell, 7.5) for name in below], {"rotation": 0}
    else:
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(np.arange(len(columns)) + 0.5, below, **turned)
    ax.tick_params(axis="y", rotation=0)
    ax.grid(False)
    return ax


def _cell(mean: float, low: float, high: float, narrow: bool) -> str:
    """The text of a cell: change and interval, and a star if the interval does not contain 0.

    A change that is equal in all seeds has no interval. `narrow` writes the two ends below each other.
    """
    if np.isnan(mean):
        return ""
    text = "0.00" if abs(mean) < 0.005 else f"{mean:+.2f}"
    if np.isnan(low) or high - low <= NO_SPREAD:
        return text
    ends = (",\n" if narrow else ", ").join(f"{round(end, 2) + 0.0:.2f}" for end in (low, high))
    return f"{text}\n[{ends}]" + ("*" if low > 0 or high < 0 else "")
