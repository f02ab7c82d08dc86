"""The headline: what each estimator of the gradient leads to, in every game and pool set."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures import dots
from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import ARMS, CONFIGURATIONS, Palette, axis_label, looks_of, run_look
from sepo_lib.figures.marks import Errorbar
from sepo_lib.figures.panels import Size, panels, wrapped
from sepo_lib.figures.rows import (
    NothingToDraw,
    in_order,
    keep,
    known,
    need,
    ordered_places,
    place_of,
    reported,
    unique,
)
from sepo_lib.figures.theme import WIDTH, Look
from sepo_lib.measure.headline import ESTIMATORS

START = "sft"  # the model from which all estimators train
WITHOUT = "reward_only, published"  # the switches of `published` without a penalty
#: Estimator -> its preset and its arm.
DRAWN = {**ESTIMATORS, WITHOUT: ("published", "reward_only")}
LABELS = {START: "SFT (the start)", "authors_current": "authors' current"}


@figure(
    "Where does the penalty make the policy safer, and where do the other switches?",
    "Safety J after training with different estimators of its gradient, by game and pool set. Reward only, "
    "constant, per rollout and unbiased differ only in the actions to which a penalty is charged, and so do "
    "“reward only, published” and published. Each panel has its own scale. Marks are means over training "
    "seeds, dots are single seeds.",
    reads="evaluation",
)
def headline(
    data: pd.DataFrame,
    *,
    metric: str = "safety",
    order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = "ci",
    pools: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """One measure after training by estimator: a panel for each game and pool set, a row for each estimator.

    Columns: game, estimator, `metric`; optionally pools, seed and model. Any estimator is drawn. In a table
    without the column `estimator`, such as `evaluation.csv`, the columns stage, preset and arm tell it
    (`DRAWN`); rows of SFT show where training began. The panels are found as
    `grid.axes_dict[place]`. `order`, `palette` and `labels` belong to the estimators; `pools` is a pool set
    or a list of them, and None draws all. The other options are those of `ablation_outcomes`.

    >>> headline(pd.read_csv("mine.csv"), metric="payoff", order=["ppo", "grpo"])
    """
    named = data if "estimator" in data or not {"stage", "preset", "arm"} <= set(data) else _named(data)
    rows = known(need(named, ["game", "estimator"], numbers=[metric]), metric)
    rows = in_order(keep(rows, "pools", pools), "estimator", order)
    unique(rows, ["game", "pools", "model", "estimator"])
    rows = rows.assign(place=place_of(rows))
    looks = looks_of(
        rows["estimator"], known=_looks(), order=order, palette=palette, labels=labels, name="estimator"
    )
    places, size = ordered_places(rows), Size(height, aspect, col_wrap, width)
    high, wide = size.panel(size.columns(len(places)))
    texts = [*places, axis_label(metric)]
    names = [look.label for look in looks.values()]
    room = dots.label_width(names, wide * high * size.columns(len(places))) / size.columns(len(places)) + 0.1
    lines = [wrapped(text, high * wide - room).count("\n") + 1 for text in texts]
    size.default = 0.14 * (max(lines[:-1]) + lines[-1]) + dots.LINE * 1.6 * len(looks) + 0.4
    drawn = panels(places, ax=ax, size=size, name="game and pools")
    for place, panel in drawn.axes.items():
        for y, (name, look) in enumerate(looks.items()):
            own = rows[(rows["place"] == place) & (rows["estimator"] == name)]
            dots.mark_row(panel, -y, own, metric, look, errorbar)
            if own.empty:
                dots.say(panel, -y, "not trained")
        dots.frame([panel], drawn.width)
    dots.name_rows(drawn, {-y: name for y, name in enumerate(names)})
    drawn.titles(str, room)
    drawn.labels(x=wrapped(axis_label(metric), drawn.width - room))
    return drawn.drawn


def _looks() -> dict[str, Look]:
    """Estimator -> its look, in the order of the rows."""
    named = {name: look._replace(label=LABELS.get(name, name)) for name, look in CONFIGURATIONS.items()}
    looks = {**named, **ARMS, WITHOUT: run_look(*reversed(DRAWN[WITHOUT]))}
    order = ("reward_only", "constant", "per_rollout", "authors_current", WITHOUT, "published", "unbiased")
    return {name: looks[name] for name in (START, *order)}


def _named(evaluation: pd.DataFrame) -> pd.DataFrame:
    """The reported rows of SFT and of the estimators, with the column `estimator`."""
    table = reported(evaluation)
    names = {("sepo", *recipe): name for name, recipe in DRAWN.items()}
    keys = zip(table["stage"], table["preset"], table["arm"], strict=True)
    named = [START if key[0] == "sft" else names.get(key) for key in keys]
    table = table.assign(estimator=named).dropna(subset="estimator")
    if table["estimator"].drop_duplicates().ne(START).sum() < 2:
        raise NothingToDraw("The table has fewer than two trained estimators to compare.")
    return table
