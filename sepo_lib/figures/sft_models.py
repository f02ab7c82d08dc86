"""The replication of the authors' result: safety after SEPO against the payoff of the SFT model."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import (
    CONFIGURATIONS,
    QUANTITIES,
    Palette,
    axis_label,
    looks_of,
    named,
)
from sepo_lib.figures.marks import Errorbar, bar_style, draw_mean, handle, interval_of
from sepo_lib.figures.notes import note
from sepo_lib.figures.panels import Size, wrapped
from sepo_lib.figures.rows import configured, in_order, keep, known, need, one, unique
from sepo_lib.figures.theme import INK, WIDTH, Look
from sepo_lib.figures.weights import by_game
from sepo_lib.measure import authors

#: The authors' model in the figure, before and after SEPO.
THEIRS = {"sft": Look("authors: SFT", INK, "s", False), "authors_current": Look("authors: SEPO", INK, "v")}


@figure(
    "Does the outcome of SEPO depend on the SFT model that it starts from?",
    "Safety after training against the payoff of the model that training starts from. Coloured marks are "
    "means over training seeds with the error bars of both axes, dots are single seeds, and a line connects "
    "the values of the column share in their order; the numbers beside the stage sft are these values.",
    of_kit="Training is SEPO, and share is the share of the demonstrations of SFT that was replaced.",
    reads="replication",
    study=True,
    also=authors.load,
)
def replication(
    data: pd.DataFrame,
    paper: pd.DataFrame | None = None,
    *,
    order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = "ci",
    pools: str | None = "paper",
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Safety of the SFT models and of SEPO from each of them, against the payoff of the SFT model.

    `paper` is the table of `authors.load`, whose rows of the authors' current recipe and of its SFT model are
    drawn as well. Without it, there are no marks of the authors.

    Columns of `data`: game, share, stage, start_payoff, safety; optionally arm, preset, seed, pools,
    model (several models have panels of their own), and top_p (rows below 1 have marks of their own).
    Columns of `paper`: game, who, recipe, payoff, safety; optionally reason and step.

    order          the stages and presets that are drawn, in their order
    palette, labels   colours and labels of the stages and presets
    errorbar       see `marks.interval_of`; it is drawn for both means
    pools          the pool set that is drawn; None draws all rows
    ax             the Axes of a table with one game
    height, aspect, col_wrap, width   of the panels, in inches; see `panels.Size`

    >>> replication(pd.read_csv("mine.csv"), labels={"sft": "before"})
    """
    rows = need(data, ["game", "stage"], numbers=["share", "start_payoff", "safety"])
    rows = known(keep(rows, "pools", pools), "share", "safety", "start_payoff")
    rows = one(in_order(_with_top_p(configured(rows)), "configuration", order), "pools")
    unique(rows, ["game", "model", "configuration", "share"])
    looks = looks_of(rows["configuration"], order=order, palette=palette, labels=labels, name="stage")
    rows, figure = by_game(rows, ax, Size(height, aspect, col_wrap, width, default=2.4, most=3.5))
    theirs = _theirs(paper, rows)
    if len(theirs):
        note("Black", "the authors' model, before SEPO and after the last step of their current recipe")
    for panel_of, panel in figure.axes.items():
        here = rows[rows["panel"] == panel_of]
        for name, look in looks.items():
            _line(panel, here[here["configuration"] == name], look, errorbar)
        for share, own in here[here["configuration"] == "sft"].groupby("share"):
            place = own[["start_payoff", "safety"]].mean()
            style = {"fontsize": 6.5, "ha": "left", "va": "top", "zorder": 5}
            box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.4}
            panel.annotate(f"{share:g}", place, (3.5, -4), textcoords="offset points", bbox=box, **style)
        for _, own in theirs[theirs["game"].isin(here["game"])].groupby("who", sort=False):
            _model(panel, own.set_index("recipe"))
        panel.margins(0.1)
    under = wrapped("{} ({})".format(*QUANTITIES["start_payoff"]), figure.width - 0.5)
    figure.labels(x=under, y=axis_label("safety"))
    entries = [handle(look, "-") for look in looks.values()]
    figure.legend(entries + ([handle(look) for look in THEIRS.values()] if len(theirs) else []))
    return figure.drawn


def _with_top_p(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows; those with another top-p than 1 have a configuration of their own."""
    if "top_p" not in rows.columns:
        return rows
    top_p = need(rows, [], ["top_p"])["top_p"].set_axis(rows.index).fillna(1.0)
    known_ = {key: look.label for key, look in named(CONFIGURATIONS).items()}
    full = rows["configuration"].replace(known_) + top_p.map(", top-p {:g}".format)
    return rows.assign(configuration=rows["configuration"].where(top_p == 1, full))


def _theirs(paper: pd.DataFrame | None, rows: pd.DataFrame) -> pd.DataFrame:
    """The authors' SFT models and their last rows of `authors_current`, of models that have both."""
    columns = ["game", "who", "recipe", "payoff", "safety"]
    if paper is None:
        return pd.DataFrame(columns=columns)
    found = need(paper, ["game", "who", "recipe"], numbers=["payoff", "safety"])
    if "reason" in found.columns:
        found = found[found["reason"].fillna("") == ""]
    found = found[found["recipe"].isin(list(THEIRS)) & found["game"].isin(rows["game"])]
    if "step" in found.columns:
        found = found.sort_values("step", kind="stable")
    found = found.drop_duplicates(["game", "who", "recipe"], keep="last")
    both = found.groupby(["game", "who"])["recipe"].transform("nunique") == len(THEIRS)
    return found.loc[both, columns]


def _line(ax: Axes, rows: pd.DataFrame, look: Look, errorbar: Errorbar) -> None:
    """The means of one stage or preset by share, connected, with the single seeds as dots."""
    if rows.empty:
        return
    at = [
        [interval_of(own, metric, errorbar) for metric in ("start_payoff", "safety")]
        for _, own in rows.groupby("share")
    ]
    ax.plot([x.mean for x, _ in at], [y.mean for _, y in at], color=look.colour, linewidth=1.1, zorder=2)
    for x, y in at:
        style = {**bar_style(look), "label": look.label, "zorder": 3}
        draw_mean(ax, (x.mean, y.mean), style, x_ends=x[1:], y_ends=y[1:])
    if rows.duplicated("share").any():
        dots = {"color": look.colour, "alpha": 0.55, "markersize": 4.2, "mew": 0}
        ax.plot(rows["start_payoff"], rows["safety"], ".", **dots)


def _model(ax: Axes, rows: pd.DataFrame) -> None:
    """One model of the authors: a vertical line from its SFT model to SEPO."""
    x, heights = rows.loc["sft", "payoff"], rows.loc[list(THEIRS), "safety"]
    ax.plot([x, x], heights, color=INK, linewidth=1.0, linestyle=":", zorder=2)
    for height, look in zip(heights, THEIRS.values(), strict=True):
        ax.plot(x, height, look.marker, color=look.colour, mfc=look.face, ms=5, zorder=4, label=look.label)
