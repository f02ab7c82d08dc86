"""Kuhn poker: the strategy at every information set, and NashConv beside the exploiter pool's advantage."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import Palette, labels_among, labels_for, looks_of, quantity
from sepo_lib.figures.marks import Errorbar, dodge, handle, mark_seeds, zero_line
from sepo_lib.figures.panels import Size, name_categories, panels, single
from sepo_lib.figures.rows import (
    by_hue,
    configured,
    filled,
    in_order,
    keep,
    known,
    need,
    one,
    several_models,
    unique,
)
from sepo_lib.figures.theme import FAINT, INK, MUTED, WIDTH, Look
from sepo_lib.measure.statistics import UNKNOWN, wilson

SEATS = {0: "first", 1: "second", "0": "first", "1": "second"}
#: Action that is drawn -> the other action of its information sets.
ACTIONS = {"BET": "PASS", "CALL": "FOLD"}
#: The two measures that `exploitability` compares.
MEASURES = {
    "pool_advantage": Look(quantity("pool_advantage"), MUTED, "o", False),
    "nashconv": Look(quantity("nashconv"), INK, "D"),
}


@figure(
    "How far is the Kuhn poker strategy from a Nash equilibrium?",
    "Kuhn poker: how often the policy bets when nobody has bet (left) and calls a bet (right), by card and "
    "seat. Grey: the range of the Nash equilibria. Marks are means over training seeds, dots are single "
    "seeds.",
    reads="strategies",
)
def kuhn_strategy(
    data: pd.DataFrame,
    *,
    hue: str = "configuration",
    order: Sequence | None = None,
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = "ci",
    reading: str | None = "sampled",
    pools: str | None = "paper",
    ablation: bool = False,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """P(bet) and P(call) at the twelve information sets of Kuhn poker, by card and seat.

    The reading `sampled` shows shares of sampled answers. The reading `enumerated`, if a table has it, has
    no sampling error. Grey bands show the family of Nash equilibria with alpha in [0, 1/3]. The other
    actions follow from BET and CALL and are not drawn. A single seed has Wilson's interval of its samples.

    Columns: seat (first and second, or 0 and 1), card (J, Q, K), action, probability; optionally stage,
    preset and arm, seed, model, samples, reading, pools, and reported or step.

    hue         the column whose values stand beside one another; by default the stage or preset. With
                `hue="model"`, `order` chooses one stage
    order       the stages and presets that are drawn, in their order
    ablation    True draws the rows of other arms and changed switches as well
    ax          the Axes of a table with one seat and one of the two actions

    The other options are those of `by_stage`.

    >>> kuhn_strategy(pd.read_csv("mine.csv"), order=["before", "ppo"])
    """
    data = filled(need(data, ["seat", "card", "action"], numbers=["probability"]), {"stage": "all rows"})
    rows = configured(keep(keep(data, "reading", reading), "pools", pools), ablation)
    rows = _checked(known(need(rows, [hue]), "probability"))
    rows, looks = by_hue(
        rows,
        hue,
        (order, hue_order, palette, labels),
        ["seat", "card", "action", "pools", "reading"],
        ("model", "configuration", "pools", "reading"),
    )
    places = [(seat, action) for seat in ("first", "second") for action in ACTIONS]
    found = set(zip(rows["seat"], rows["action"], strict=True))
    places = [place for place in places if place in found]
    size = Size(height, aspect, col_wrap, width, default=1.75, most=3.5, least=0.5 + 0.27 * len(looks))
    figure = panels(places, ax=ax, size=size, name="seat and action", columns=2)
    for (seat, action), panel in figure.axes.items():
        chosen = rows[(rows["seat"] == seat) & (rows["action"] == action)]
        _information_sets(panel, chosen, (hue, looks), errorbar)
        panel.set_ylabel(f"P({action.lower()} | card)\n(share of answers)")
    situation = {"BET": "no bet yet", "CALL": "facing a bet"}
    figure.titles(lambda place: f"{place[0]} seat, {situation[place[1]]}", room=0.65)
    nash = Patch(facecolor=FAINT, edgecolor=MUTED, label="Nash equilibria")
    figure.legend([*(handle(look) for look in looks.values()), nash])
    return figure.drawn


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of BET and CALL, with the names of seats, cards and actions as the kit writes them, and with
    Wilson's interval in sampled rows. Raises ValueError for other seats, cards, actions and probabilities."""
    rows = rows.assign(
        seat=rows["seat"].map(lambda seat: SEATS.get(seat, seat)),
        card=rows["card"].astype(str).str.upper(),
        action=rows["action"].astype(str).str.upper(),
    )
    allowed = {"seat": ["first", "second"], "card": ["J", "Q", "K"], "action": [*ACTIONS, *ACTIONS.values()]}
    for column, values in allowed.items():
        if others := [value for value in rows[column].unique().tolist() if value not in values]:
            raise ValueError(f"The column '{column}' holds {others}; allowed are {values}.")
    outside = rows["probability"][(rows["probability"] < 0) | (rows["probability"] > 1)]
    if len(outside):
        raise ValueError(f"The column 'probability' must lie in [0, 1]; it holds {outside.iloc[0]:g}.")
    rows = rows[rows["action"].isin(list(ACTIONS))]
    if rows.empty:
        raise ValueError(f"The column 'action' needs one of {list(ACTIONS)}; the table has the others only.")
    if "samples" in rows.columns and "probability_low" not in rows.columns:
        sampled = rows["samples"] > 0
        if "reading" in rows.columns:
            sampled &= rows["reading"] == "sampled"
        ends = [
            wilson(share * trials, trials) if counted else UNKNOWN
            for share, trials, counted in zip(rows["probability"], rows["samples"], sampled, strict=True)
        ]
        rows = rows.assign(
            probability_low=[end.low for end in ends], probability_high=[end.high for end in ends]
        )
    return rows


def _information_sets(
    ax: Axes, rows: pd.DataFrame, what: tuple[str, Mapping[Any, Look]], errorbar: Errorbar
) -> None:
    """One panel: for each card the range of the equilibria, and one mark for each value of the hue."""
    hue, looks = what
    seat, action = rows[["seat", "action"]].iloc[0]
    for c, card in enumerate("JQK"):
        low, high = nash_kuhn(seat, action, card)
        ax.fill_between([c - 0.45, c + 0.45], low, high, color=FAINT, lw=0, zorder=0.9)
        for end in (low, high):
            ax.plot([c - 0.45, c + 0.45], [end, end], color=MUTED, lw=1.8, alpha=0.7, zorder=0.95)
        for shift, (value, look) in zip(dodge(len(looks)), looks.items(), strict=True):
            chosen = rows[(rows["card"] == card) & (rows[hue] == value)]
            x, beside = c + shift - 0.02, 0.256 / len(looks)
            mark_seeds(ax, x, chosen, "probability", look, offset=beside, errorbar=errorbar)
    ax.set(xlim=(-0.55, 2.55), ylim=(-0.06, 1.06), xlabel="", yticks=[0, 0.5, 1])
    ax.set_xticks(range(3), ["J", "Q", "K"])
    ax.grid(False, axis="x")


@figure(
    "How much of NashConv does the exploiter pool find?",
    "Kuhn poker: the exploiter pool's advantage and NashConv by stage. The advantage is a lower bound on "
    "NashConv. Marks are means over training seeds, dots are single seeds. Lower is safer.",
    of_kit="Both follow from the same sampled action frequencies.",
    reads="exploitability",
)
def exploitability(
    data: pd.DataFrame,
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
    height: float = 2.3,
    aspect: float | None = None,
    width: float = WIDTH,
) -> Axes:
    """The exploiter pool's advantage beside NashConv, by stage, in Kuhn poker (chips per hand).

    Both are computed from the same action probabilities, which are sampled or enumerated (column
    `nashconv_method` of the table). Over both seats, a best response wins NashConv / 2 a hand from the
    policy, which is a margin of NashConv. The pool's advantage is therefore a lower bound on NashConv. Bars
    of several seeds leave out the sampling error of each value (`nashconv_low`, `nashconv_high`).

    Columns: stage, pool_advantage, nashconv; optionally preset and arm, seed, model, pools, and reported or
    step. Several models are drawn as hue: open marks are the pool's advantage, filled ones NashConv. `width`
    is the largest width. The other options are those of `by_stage`.

    >>> exploitability(pd.read_csv("mine.csv"), hue="model")
    """
    rows = need(data, ["stage", *([hue] if hue else [])], numbers=MEASURES)
    rows = in_order(configured(keep(rows, "pools", pools), ablation), "configuration", order)
    for measure in MEASURES:
        known(rows, measure)
    if hue is None and several_models(rows):
        hue = "model"
    words = labels_among(labels, rows["configuration"], rows[hue] if hue else ())
    stages = looks_of(rows["configuration"], order=order, labels=words, name="stage")
    one(rows, *(column for column in ("game", "pools") if column != hue))
    unique(rows, ["game", "pools", "configuration", *([hue] if hue else [])])
    looks, marks = {None: None}, MEASURES
    if hue is not None:
        rows = in_order(known(rows, hue), hue, hue_order)
        words = labels_for(labels, rows[hue])
        looks = looks_of(rows[hue], known={}, order=hue_order, palette=palette, labels=words, name=hue)
    elif palette is not None:
        marks = looks_of(MEASURES, known=MEASURES, palette=palette, name="the measures")
    inches = min(width, height * aspect if aspect else 1.2 + len(stages) * max(0.7, 0.25 * len(looks)))
    figure = single(ax, width=inches, height=height)
    ax = figure.drawn
    for x, stage in enumerate(stages):
        in_stage = rows[rows["configuration"] == stage]
        places = [(value, measure) for value in looks for measure in MEASURES]
        for shift, (value, measure) in zip(dodge(len(places), 0.68), places, strict=True):
            chosen = in_stage if hue is None else in_stage[in_stage[hue] == value]
            look = marks[measure]
            if hue is not None:
                look = looks[value]._replace(filled=measure == "nashconv")
            mark_seeds(ax, x + shift - 0.03, chosen, measure, look, 0.24 / len(places), errorbar=errorbar)
    zero_line(ax)
    name_categories(ax, [look.label for look in stages.values()], inches - 0.6)
    ax.set_ylabel("chips per hand")
    if hue is None:
        entries = list(marks.values())
    else:
        entries = [Look(look.label, MUTED, "o", look.filled) for look in marks.values()] + [*looks.values()]
    figure.legend([handle(look) for look in entries])
    return ax


def nash_kuhn(seat: str, action: str, card: str) -> tuple[float, float]:
    """The range of an action's probability over the Nash equilibria, alpha in [0, 1/3] (Kuhn 1950)."""
    third = 1 / 3
    return {
        ("first", "BET"): {"J": (0.0, third), "Q": (0.0, 0.0), "K": (0.0, 1.0)},
        ("first", "CALL"): {"J": (0.0, 0.0), "Q": (third, 2 * third), "K": (1.0, 1.0)},
        ("second", "BET"): {"J": (third, third), "Q": (0.0, 0.0), "K": (1.0, 1.0)},
        ("second", "CALL"): {"J": (0.0, 0.0), "Q": (third, third), "K": (1.0, 1.0)},
    }[seat, action][card]
