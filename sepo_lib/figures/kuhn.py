"""Kuhn poker: the strategy at every information set, and NashConv beside the exploiter pool's advantage."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.marks import handle, mark_seeds, zero_line
from sepo_lib.figures.old import grid_of, legend_below, looks_of, of_pools
from sepo_lib.figures.rows import configured, need
from sepo_lib.figures.theme import COLOURS, FAINT, MUTED, Look

#: The two measures that `exploitability` compares.
MEASURES = {
    "pool_advantage": Look("exploiter pool's advantage", COLOURS[0], "o", False),
    "nashconv": Look("NashConv", COLOURS[3], "D"),
}


@figure(
    "Question to be written?",
    "Kuhn poker: share of sampled answers that bet (left) or call (right), by card, seat and stage, with 95% "
    "intervals over training seeds. Grey: the range of the Nash equilibria.",
    reads="strategies",
)
def kuhn_strategy(strategies: pd.DataFrame, reading: str = "sampled", pools: str = "paper") -> sns.FacetGrid:
    """P(bet) and P(call) at the twelve information sets of Kuhn poker, by card, seat and stage.

    The reading `sampled` shows shares of sampled answers. The reading `enumerated`, if a table has it, has
    no sampling error. Bars are intervals over seeds. Grey bands show the family of Nash equilibria with alpha
    in [0, 1/3]. The other actions follow from BET and CALL and are not drawn.

    Columns: stage, arm, preset, seed, seat (first, second), card (J, Q, K), action, probability, and reported
    or step. Of the optional columns `reading` and `pools`, the rows of the arguments are drawn.
    """
    need(strategies, ["stage", "arm", "preset", "seed", "seat", "card", "action", "probability"])
    if "reading" in strategies.columns:
        strategies = strategies[strategies["reading"] == reading]
    data = configured(of_pools(strategies, pools))
    data = data.assign(action=data["action"].str.upper())
    looks = looks_of(data["configuration"])
    grid = grid_of(
        data, "action", ["BET", "CALL"], 3.0, 1.9, row="seat", row_order=["first", "second"], sharey=False
    )
    step = 0.8 / len(looks)
    for (seat, action), ax in grid.axes_dict.items():
        rows = data[(data["seat"] == seat) & (data["action"] == action)]
        for c, card in enumerate("JQK"):
            low, high = nash_kuhn(seat, action, card)
            ax.fill_between([c - 0.45, c + 0.45], low, high, color=FAINT, lw=0, zorder=0.9)
            for end in (low, high):
                ax.plot([c - 0.45, c + 0.45], [end, end], color=MUTED, lw=1.8, alpha=0.7, zorder=0.95)
            for k, (key, look) in enumerate(looks.items()):
                chosen = rows[(rows["card"] == card) & (rows["configuration"] == key)]
                x = c + (k - (len(looks) - 1) / 2) * step - 0.02
                mark_seeds(ax, x, chosen, "probability", look, offset=0.32 * step)
        ax.set(xlim=(-0.55, 2.55), ylim=(-0.06, 1.06), xlabel="", yticks=[0, 0.5, 1])
        ax.set_xticks(range(3), ["J", "Q", "K"])
        ax.tick_params(labelbottom=True)
        ax.grid(False, axis="x")
        verb, situation = ("bet", "no bet yet") if action == "BET" else ("call", "facing a bet")
        ax.set_title(f"{seat} seat, {situation}")
        ax.set_ylabel(f"P({verb} | card)")
    nash = Patch(facecolor=FAINT, edgecolor=MUTED, label="Nash, α in [0, 1/3]")
    legend_below(grid.figure, [*(handle(look) for look in looks.values()), nash], columns=5)
    return grid


@figure(
    "Question to be written?",
    "Kuhn poker: the exploiter pool's advantage and NashConv by stage, in chips per hand, from the same "
    "sampled action frequencies. The advantage is a lower bound on NashConv. Bars: 95% intervals over "
    "training seeds.",
    reads="exploitability",
)
def exploitability(exploitability: pd.DataFrame, pools: str = "paper") -> Axes:
    """Kuhn poker: the exploiter pool's advantage beside NashConv, by stage (chips per hand).

    Both are computed from the same action probabilities, which are sampled or enumerated (column
    `nashconv_method` of the table). Over both seats, a best response wins NashConv / 2 a hand from the
    policy, which is a margin of NashConv. The pool's advantage is therefore a lower bound on NashConv. Bars
    are intervals over seeds; they leave out the sampling error of each value (`nashconv_low`,
    `nashconv_high`).

    Columns: stage, arm, preset, seed, pool_advantage, nashconv, and reported or step. Of the optional column
    `pools`, the rows of the argument are drawn.
    """
    need(exploitability, ["stage", "arm", "preset", "seed", *MEASURES])
    data = configured(of_pools(exploitability, pools))
    looks = looks_of(data["configuration"])
    figure, ax = plt.subplots(figsize=(3.9, 2.6), layout="constrained")
    for x, key in enumerate(looks):
        rows = data[data["configuration"] == key]
        for side, (measure, look) in zip((-0.2, 0.14), MEASURES.items(), strict=True):
            mark_seeds(ax, x + side, rows, measure, look, offset=0.12)
    zero_line(ax)
    ax.set_xticks(range(len(looks)), [look.label.replace(", ", "\n") for look in looks.values()])
    ax.set(xlim=(-0.55, len(looks) - 0.45), ylabel="chips per hand", xlabel="")
    ax.grid(False, axis="x")
    sns.despine(ax=ax)
    legend_below(figure, [handle(look) for look in MEASURES.values()], columns=2)
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
