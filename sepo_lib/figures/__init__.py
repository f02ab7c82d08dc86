"""One function per figure: a tidy table in, a seaborn grid or a matplotlib Axes out.

No function here knows where its table came from; `draw_all` alone reads tables and writes files. Every
mark is a mean over training seeds with the 95% interval that fits the quantity (`statistics.spread`), and the
single seeds stand beside it as small dots; a run of one seed has the luck of its play instead, where that is
known, and the base model is one model, whose seeds are evaluations. Colour is
never the only carrier: markers and line styles repeat what it says, so that the figures survive a grey print.

Every function raises ValueError naming the columns its table lacks, or for a table of several models, and
NothingToDraw (a ValueError) for a table without rows for it.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.measure import switches as switches_of
from sepo_lib.measure.statistics import NO_SPREAD, Interval, interval, spread
from sepo_lib.method import credit
from sepo_lib.studies import authors, published

WIDTH = 7.1  # inches: the text width of a two-column page
INK, MUTED, FAINT = "#222222", "#8a8a8a", "#d9d9d9"
COLOURS = sns.color_palette("colorblind").as_hex()


class NothingToDraw(ValueError):
    """The table has no rows for this figure (a game or an ablation that the run did not include)."""


class Look(NamedTuple):
    """How one category is drawn; `filled` False leaves the marker open."""

    label: str
    colour: str
    marker: str
    filled: bool = True


CONFIGURATIONS = {
    "base": Look("base model", "#5b5b5b", "o"),
    "sft": Look("SFT", COLOURS[1], "s"),
    "published": Look("SEPO, published", COLOURS[0], "^", False),
    "authors_current": Look("SEPO, authors' current code", COLOURS[4], "v", False),
    "unbiased": Look("SEPO, unbiased", COLOURS[2], "D"),
}
ARMS = {
    "reward_only": Look("reward only", "#5b5b5b", "o"),
    "constant": Look("constant", COLOURS[3], "s"),
    "per_rollout": Look("per rollout", COLOURS[0], "^"),
    "credited": Look("credited", COLOURS[2], "D"),
}
PRESETS = {"published": False, "unbiased": True}  # preset -> is the marker filled
#: Preset -> the arm it is trained with.
OWN_ARM = {"published": "per_rollout", "authors_current": "credited", "unbiased": "credited"}
GAMES = {
    "ipd": "Prisoner's dilemma",
    "auction": "Auction",
    "split": "Split bargaining",
    "deal": "Multi-issue bargaining",
    "kuhn": "Kuhn poker",
}
QUANTITIES = {
    "safety": "safety J",
    "exploit": "exploit advantage e",
    "payoff": "payoff u",
    "collusion": "collusion c",
    "externality": "externality x",
    "objective": "objective J",
    "penalty_gradient_norm": "penalty's\ngradient norm",
    "cosine_to_credited": "cosine to\ncredited",
}


@contextlib.contextmanager
def style():
    """The context in which every figure is drawn and saved: print sizes, embedded fonts, light grid.

    A notebook's backend turns interactive on when it draws its first figure, and shows none without; the
    context leaves that as it is.
    """
    settings = {
        **sns.axes_style("whitegrid"),
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "font.family": "DejaVu Sans",
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
        "axes.edgecolor": "#9a9a9a",
        "axes.linewidth": 0.7,
        "axes.labelcolor": INK,
        "text.color": INK,
        "grid.color": "#e8e8e8",
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "sepo",
        "savefig.facecolor": "white",
    }
    with mpl.rc_context(settings):
        yield
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)


def styled(figure: Callable) -> Callable:
    """Draw inside `style()`, whatever the caller's own settings are."""

    @wraps(figure)
    def draw(*args, **kwargs):
        with style():
            return figure(*args, **kwargs)

    return draw


# --- the parts that figures share -----------------------------------------------------------------------


def need(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise ValueError naming the columns that `table` lacks, or if it holds more than one model; where it
    has no rows, NothingToDraw."""
    if table.empty:
        raise NothingToDraw("the table is empty")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"This figure needs the columns {missing}; the table has {list(table.columns)}.")
    if "model" in table.columns and table["model"].nunique() > 1:
        raise ValueError(f"One figure, one model; choose among {sorted(table['model'].unique())}.")


def reported(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are reported: all of base and SFT, of SEPO the marked ones (or each seed's last step)."""
    sepo = table["stage"] == "sepo"
    if "reported" in table.columns:
        return table[~sepo | table["reported"].isin([True])]
    keys = [key for key in ("game", "pools", "arm", "preset", "seed") if key in table.columns]
    last = table.groupby(keys, dropna=False)["step"].transform("max")
    return table[~sepo | (table["step"] == last)]


def configured(table: pd.DataFrame) -> pd.DataFrame:
    """The reported rows with a column `configuration`: base, sft, or the preset of SEPO.

    SEPO rows with an arm that is not their preset's own belong to the ablation and are left out.
    """
    table = reported(table)
    sepo = table["stage"] == "sepo"
    table = table.assign(configuration=table["stage"].where(~sepo, table["preset"]))
    own = table["arm"] == table["preset"].map(OWN_ARM)
    return table[table["configuration"].isin(list(CONFIGURATIONS)) & (~sepo | own)]


def present(looks: Mapping[str, Look], values: pd.Series) -> dict[str, Look]:
    """The entries of `looks` that occur, in their order. Raises NothingToDraw where none does."""
    found = {key: look for key, look in looks.items() if (values == key).any()}
    if not found:
        raise NothingToDraw("no rows for this figure")
    return found


def mark_seeds(
    ax: Axes, x: float, rows: pd.DataFrame, metric: str, look: Look, aside: float = 0.2, label: str = ""
) -> None:
    """`mark` for a metric of rows that are seeds; one seed alone has the interval of its play, if known."""
    rows = rows.dropna(subset=[metric])
    if len(rows):
        mark(ax, x, rows[metric], look, label, aside, spread(rows, metric))


def bar_style(look: Look) -> dict[str, object]:
    """How a mark with an error bar is drawn: arguments of `Axes.errorbar`."""
    return {
        "fmt": look.marker,
        "color": look.colour,
        "markerfacecolor": look.colour if look.filled else "white",
        "markersize": 5,
        "elinewidth": 1.3,
        "capsize": 2.4,
    }


def mark(
    ax: Axes,
    x: float,
    values_S: Sequence[float],
    look: Look,
    label: str = "",
    aside: float = 0.2,
    found: Interval | None = None,
) -> None:
    """One mean with its 95% interval at `x` (`found`, if it is not that of the values), and the single seeds
    as dots `aside` of it (none if alone)."""
    values_S = np.asarray(values_S, dtype=float)
    values_S = values_S[np.isfinite(values_S)]
    if values_S.size == 0:
        return
    mean, low, high = found or interval(values_S)
    bar = None if np.isnan(low) or high - low <= NO_SPREAD else [[mean - low], [high - mean]]
    ax.errorbar(
        [x],
        [mean],
        yerr=bar,
        **bar_style(look),
        markeredgewidth=1.1,
        label=label or look.label,
        zorder=3,
    )
    if values_S.size > 1:
        ax.plot(
            np.full(values_S.size, x + aside),
            values_S,
            ".",
            color=look.colour,
            alpha=0.55,
            markersize=4.2,
            mew=0,
        )


def handle(look: Look, linestyle: str = "none") -> Line2D:
    """The legend's entry for a look."""
    face = look.colour if look.filled else "white"
    return Line2D(
        [],
        [],
        linestyle=linestyle,
        color=look.colour,
        marker=look.marker,
        markerfacecolor=face,
        markersize=5,
        label=look.label,
    )


def grid_of(
    data: pd.DataFrame,
    col: str,
    cols: Sequence,
    width: float = 1.9,
    height: float = 2.1,
    least: float = 3.4,
    **kwargs,
) -> sns.FacetGrid:
    """A seaborn grid with panels `width` inches wide: less where the page is too narrow for all of them,
    more where so few would leave the legend less than `least` inches."""
    in_a_row = min(len(cols), kwargs.get("col_wrap", len(cols)))
    width = min(max(width, least / in_a_row), WIDTH / in_a_row)
    grid = sns.FacetGrid(
        data, col=col, col_order=list(cols), height=height, aspect=width / height, sharex=False, **kwargs
    )
    grid.figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    return grid


def legend_below(figure: mpl.figure.Figure, handles: Sequence, columns: int = 0) -> None:
    """One legend for all panels, under them, in as many rows as the width asks for."""
    columns = columns or max(1, int(figure.get_figwidth() / 1.45))
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        handletextpad=0.4,
        columnspacing=1.3,
        borderaxespad=0.2,
    )


def blank_x(ax: Axes, n: int) -> None:
    """n places on an x axis that the legend explains: no ticks, no grid."""
    ax.set(xlim=(-0.55, n - 0.35), xticks=[], xlabel="")


def zero_line(ax: Axes) -> None:
    ax.axhline(0.0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)


def ordered_games(data: pd.DataFrame) -> list[str]:
    """The games of a table: those of the paper in its order, then any others."""
    found = data["game"].unique()
    return [game for game in GAMES if game in found] + sorted(set(found) - set(GAMES))


def place_of(table: pd.DataFrame) -> pd.Series:
    """Game and pool set as one label of two lines."""
    return table["game"].map(GAMES).fillna(table["game"]) + "\n" + table["pools"] + " pools"


def ordered_places(table: pd.DataFrame) -> list[str]:
    """The places of a table, game by game, the paper's pools first."""
    games = ordered_games(table)
    pairs = table[["game", "pools", "place"]].drop_duplicates()
    pairs = pairs.assign(rank=pairs["game"].map(games.index), conflict=pairs["pools"] != "paper")
    return pairs.sort_values(["rank", "conflict", "place"])["place"].tolist()


# --- the figures ----------------------------------------------------------------------------------------


def by_stage(evaluation: pd.DataFrame, metric: str, pools: str = "paper") -> sns.FacetGrid:
    """Any metric of the evaluation by stage, one panel a game (games have scales of their own).

    Columns: game, pools, stage, arm, preset, seed, `metric`, and reported (or step).
    """
    need(evaluation, ["game", "pools", "stage", "arm", "preset", "seed", metric])
    data = configured(evaluation[evaluation["pools"] == pools])
    looks = present(CONFIGURATIONS, data["configuration"])
    games = ordered_games(data)
    grid = grid_of(data, "game", games, sharey=False)
    for game, ax in grid.axes_dict.items():
        rows = data[data["game"] == game]
        for x, (key, look) in enumerate(looks.items()):
            mark_seeds(ax, x, rows[rows["configuration"] == key], metric, look)
        zero_line(ax)
        blank_x(ax, len(looks))
        ax.set_title(GAMES.get(game, game))
        ax.margins(y=0.12)
    grid.set_ylabels(QUANTITIES.get(metric, metric))
    legend_below(grid.figure, [handle(look) for look in looks.values()])
    return grid


@styled
def safety_by_stage(evaluation: pd.DataFrame, pools: str = "paper") -> sns.FacetGrid:
    """Safety J (evaluation weights) by stage and game; higher is better. Columns as in `by_stage`."""
    return by_stage(evaluation, "safety", pools)


@styled
def exploit_by_stage(evaluation: pd.DataFrame, pools: str = "paper") -> sns.FacetGrid:
    """Exploit advantage e (points per round) by stage and game; lower is better. Columns as in `by_stage`."""
    return by_stage(evaluation, "exploit", pools)


@styled
def training_curves(
    training: pd.DataFrame, game: str, pools: str = "paper", window: int = 1
) -> sns.FacetGrid:
    """u, e, c, x and J of the training batches against the step, by arm and preset.

    Line: mean over seeds; band: from the lowest seed to the highest. `window` > 1 first takes, seed by seed,
    the running mean of as many steps. Columns: game, pools, arm, preset, seed, step, payoff, exploit,
    collusion, externality, objective.
    """
    metrics = ["payoff", "exploit", "collusion", "externality", "objective"]
    need(training, ["game", "pools", "arm", "preset", "seed", "step", *metrics])
    rows = training[(training["game"] == game) & (training["pools"] == pools)].sort_values("step")
    arms = present(ARMS, rows["arm"])
    grid = grid_of(pd.DataFrame({"metric": metrics}), "metric", metrics, 2.35, 1.6, col_wrap=3, sharey=False)
    presets = [preset for preset in OWN_ARM if (rows["preset"] == preset).any()]
    handles = []
    for arm, preset in [(arm, preset) for arm in arms for preset in presets]:
        run = rows[(rows["arm"] == arm) & (rows["preset"] == preset)]
        if run.empty:
            continue
        line = "-" if preset == "unbiased" else (0, (4, 1.5))
        look = run_look(arm, preset)
        for metric, ax in grid.axes_dict.items():
            wide = (
                run.pivot(index="step", columns="seed", values=metric).rolling(window, min_periods=1).mean()
            )
            every = (len(handles) * len(wide) // 40, max(1, len(wide) // 5))
            ax.plot(
                wide.index,
                wide.mean(axis=1),
                color=look.colour,
                linestyle=line,
                linewidth=1.3,
                marker=look.marker,
                markevery=every if len(wide) > 5 else None,
                markersize=3.6,
                markerfacecolor=look.colour if look.filled else "white",
                label=look.label,
            )
            ax.fill_between(
                wide.index, wide.min(axis=1), wide.max(axis=1), color=look.colour, alpha=0.15, lw=0
            )
        handles.append(handle(look, line))
    for metric, ax in grid.axes_dict.items():
        ax.set_title(QUANTITIES[metric])
        ax.set(xlabel="", ylabel="")
        ax.locator_params(nbins=4)
    for ax in grid.axes.flat[-3:]:
        ax.set_xlabel("training step")
    grid.axes.flat[0].tick_params(labelbottom=True)
    smoothed = f", running mean of {window} steps" if window > 1 else ""
    grid.figure.suptitle(f"{GAMES.get(game, game)}, {pools} pools{smoothed}", fontsize=9)
    legend_below(grid.figure, handles, columns=len(arms))
    return grid


def run_look(arm: str, preset: str) -> Look:
    """How a trained arm is drawn; the authors' current code looks as in CONFIGURATIONS."""
    if preset == "authors_current":
        return CONFIGURATIONS[preset]
    return ARMS[arm]._replace(filled=PRESETS[preset], label=f"{ARMS[arm].label}, {preset}")


def nash_kuhn(seat: str, action: str, card: str) -> tuple[float, float]:
    """The range of a probability over Kuhn's Nash family, alpha in [0, 1/3] (Kuhn 1950)."""
    third = 1 / 3
    return {
        ("first", "BET"): {"J": (0.0, third), "Q": (0.0, 0.0), "K": (0.0, 1.0)},
        ("first", "CALL"): {"J": (0.0, 0.0), "Q": (third, 2 * third), "K": (1.0, 1.0)},
        ("second", "BET"): {"J": (third, third), "Q": (0.0, 0.0), "K": (1.0, 1.0)},
        ("second", "CALL"): {"J": (0.0, 0.0), "Q": (third, third), "K": (1.0, 1.0)},
    }[seat, action][card]


@styled
def kuhn_strategy(strategies: pd.DataFrame, reading: str = "sampled", pools: str = "paper") -> sns.FacetGrid:
    """Kuhn poker's twelve information sets: P(bet) and P(call) by card, seat and stage.

    The reading `sampled` shows shares of sampled answers; `enumerated`, where a table has it, has no sampling
    error. Bars are over seeds.
    Grey: the Nash family, alpha in [0, 1/3] (a bar where the family leaves a choice). Columns: stage, arm,
    preset, seed, seat (first, second), card (J, Q, K), action, probability, and reported (or step); of
    columns `reading` and `pools`, the rows of the ones named. Of the actions BET and CALL are drawn; the rest
    follow.
    """
    need(strategies, ["stage", "arm", "preset", "seed", "seat", "card", "action", "probability"])
    if "reading" in strategies.columns:
        strategies = strategies[strategies["reading"] == reading]
    if "pools" in strategies.columns:
        strategies = strategies[strategies["pools"] == pools]
    data = configured(strategies)
    data = data.assign(action=data["action"].str.upper())
    looks = present(CONFIGURATIONS, data["configuration"])
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
                mark_seeds(ax, x, chosen, "probability", look, aside=0.32 * step)
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


@styled
def exploitability(exploitability: pd.DataFrame, pools: str = "paper") -> Axes:
    """Kuhn poker: the exploiter pool's advantage beside NashConv, by stage (chips per hand).

    Both are computed from the same action probabilities, which are sampled or enumerated (column
    `nashconv_method` of the table). The two are comparable: over both seats, a best response to the policy
    wins NashConv / 2 a hand from it, a margin of NashConv; so the pool's advantage is a lower bound on the
    NashConv of the same probabilities. Bars are over seeds; they leave out each value's own sampling error
    (`nashconv_low` and `nashconv_high`). Columns:
    stage, arm, preset, seed, pool_advantage, nashconv, and reported (or step); of a column `pools`, the rows
    of the set named.
    """
    need(exploitability, ["stage", "arm", "preset", "seed", "pool_advantage", "nashconv"])
    if "pools" in exploitability.columns:
        exploitability = exploitability[exploitability["pools"] == pools]
    data = configured(exploitability)
    looks = present(CONFIGURATIONS, data["configuration"])
    figure, ax = plt.subplots(figsize=(3.9, 2.6), layout="constrained")
    measures = {
        "pool_advantage": Look("exploiter pool's advantage", COLOURS[0], "o", False),
        "nashconv": Look("NashConv", COLOURS[3], "D"),
    }
    for x, key in enumerate(looks):
        rows = data[data["configuration"] == key]
        for side, (measure, look) in zip((-0.2, 0.14), measures.items(), strict=True):
            mark_seeds(ax, x + side, rows, measure, look, aside=0.12)
    zero_line(ax)
    ax.set_xticks(range(len(looks)), [look.label.replace(", ", "\n") for look in looks.values()])
    ax.set(xlim=(-0.55, len(looks) - 0.45), ylabel="chips per hand", xlabel="")
    ax.grid(False, axis="x")
    sns.despine(ax=ax)
    legend_below(figure, [handle(look) for look in measures.values()], columns=2)
    return ax


def by_arm(ablation: pd.DataFrame, metrics: Sequence[str]) -> sns.FacetGrid:
    """Rows: metrics; columns: game and pool set; x: arms. Open markers: published; filled: unbiased."""
    data = ablation.assign(place=place_of(ablation))
    arms = present(ARMS, data["arm"])
    presets = [preset for preset in PRESETS if (data["preset"] == preset).any()]
    places = ordered_places(data)
    grid = grid_of(
        pd.DataFrame([(m, p) for m in metrics for p in places], columns=["metric", "place"]),
        "place",
        places,
        2.3,
        1.55,
        row="metric",
        row_order=list(metrics),
        sharey=False,
    )
    side = dict(zip(presets, (0.0,) if len(presets) == 1 else (-0.2, 0.16), strict=True))
    for (metric, place), ax in grid.axes_dict.items():
        rows = data[data["place"] == place]
        for x, arm in enumerate(arms):
            for preset in presets:
                chosen = rows[(rows["arm"] == arm) & (rows["preset"] == preset)]
                look = ARMS[arm]._replace(filled=PRESETS[preset])
                mark_seeds(ax, x + side[preset], chosen, metric, look, 0.13, f"{arm}, {preset}")
        zero_line(ax)
        ax.margins(y=0.12)
        if metric == "cosine_to_credited":
            ax.set(ylim=(-1.3, 1.3), yticks=[-1, 0, 1])
        ax.set(xlim=(-0.55, len(arms) - 0.4), xlabel="")
        ax.set_title(place if metric == metrics[0] else "")
        ax.set_ylabel(QUANTITIES[metric].replace("exploit ", "exploit\n") if place == places[0] else "")
        last = metric == metrics[-1]
        labels = [look.label.replace(" ", "\n") for look in arms.values()]
        narrow = grid.figure.get_figwidth() / len(places) < 2.0
        ax.set_xticks(range(len(arms)), labels if last else [""] * len(arms))
        ax.tick_params(axis="x", labelbottom=last, labelsize=6.5, rotation=90 if narrow else 0)
        ax.grid(False, axis="x")
    shades = [handle(Look(f"{preset} preset", INK, "o", PRESETS[preset])) for preset in presets]
    legend_below(grid.figure, shades, columns=2)
    return grid


@styled
def ablation_outcomes(ablation: pd.DataFrame) -> sns.FacetGrid:
    """Safety, payoff and exploit advantage after training, by arm, preset, game and pool set.

    Columns: kind (the rows `outcome`, each seed's last step), game, pools, arm, preset, seed, step, safety,
    payoff, exploit.
    """
    metrics = ["safety", "payoff", "exploit"]
    need(ablation, ["kind", "game", "pools", "arm", "preset", "seed", "step", *metrics])
    rows = ablation[ablation["kind"] == "outcome"]
    last = rows.groupby(["game", "pools", "arm", "preset", "seed"])["step"].transform("max")
    return by_arm(rows[rows["step"] == last], metrics)


@styled
def penalty_gradient(ablation: pd.DataFrame) -> sns.FacetGrid:
    """The norm of the penalty's gradient by arm, and its cosine to the credited arm's where that is known.

    Columns: kind (the rows `gradient`), game, pools, arm, preset, seed, penalty_gradient_norm, and
    optionally cosine_to_credited. Several rows of a seed (steps) are averaged first.
    """
    need(ablation, ["kind", "game", "pools", "arm", "preset", "seed", "penalty_gradient_norm"])
    metrics = ["penalty_gradient_norm"]
    rows = ablation[ablation["kind"] == "gradient"]
    if "cosine_to_credited" in rows.columns and rows["cosine_to_credited"].notna().any():
        metrics.append("cosine_to_credited")
    rows = rows.groupby(["game", "pools", "arm", "preset", "seed"], sort=False)[metrics].mean().reset_index()
    return by_arm(rows, metrics)


NO_EFFECT = "no effect by construction"


def idle_recipes(switches: pd.DataFrame) -> list[str]:
    """The recipes `published+<switch>` whose switch cannot act in the game and pool set of the table."""
    if not {"game", "pools"} <= set(switches.columns) or switches.empty:
        return []
    game, pools = switches.iloc[0][["game", "pools"]]
    return switches_of.idle("published", games.get(game), pools)


def acting(rows: pd.DataFrame) -> list[bool]:
    """Of every row of the study of estimators (columns how, switch, game, pools), whether its switch can
    change the preset; True where none is turned."""
    return [
        row.switch not in credit.FIELD_OF_SWITCH
        or switches_of.acts(credit.PRESETS[row.how], row.switch, games.get(row.game), row.pools)
        for row in rows.itertuples()
    ]


RECIPES = {
    "published": CONFIGURATIONS["published"],
    "published+credit": Look("credited", COLOURS[1], "o"),
    "published+horizon": Look("reward to go", COLOURS[1], "o"),
    "published+clamp": Look("mean margin", COLOURS[1], "o"),
    "published+scale": Look("batch scale", COLOURS[1], "o"),
    "published+weights": Look("pool weights", COLOURS[1], "o"),
    "unbiased": CONFIGURATIONS["unbiased"],
}


@styled
def switch_outcomes(switches: pd.DataFrame) -> sns.FacetGrid:
    """Safety and its terms after training: the published recipe, each of its switches turned alone, unbiased.

    Words stand in the place of a recipe whose switch cannot act (`idle_recipes`).
    Columns (`results.switch_table`): game, pools, preset, seed, safety, payoff, exploit, collusion.
    """
    metrics = ["safety", "payoff", "exploit", "collusion"]
    need(switches, ["preset", "seed", *metrics])
    present(RECIPES, switches["preset"])
    idle = idle_recipes(switches)
    recipes = {
        preset: RECIPES[preset] for preset in RECIPES if preset in idle or preset in set(switches["preset"])
    }
    panels = pd.DataFrame({"metric": metrics})
    grid = grid_of(panels, "metric", metrics, 3.4, 1.8, col_wrap=2, sharey=False)
    for metric, ax in grid.axes_dict.items():
        for x, (preset, look) in enumerate(recipes.items()):
            if preset in idle:
                ax.annotate(
                    NO_EFFECT.replace(" by", "\nby"),
                    (x, 0.5),
                    xycoords=("data", "axes fraction"),
                    **{"rotation": 90, "ha": "center", "va": "center", "fontsize": 6.5, "color": MUTED},
                )
            else:
                mark_seeds(ax, x, switches[switches["preset"] == preset], metric, look)
        zero_line(ax)
        ax.set(title=QUANTITIES[metric], xlabel="", ylabel="", xlim=(-0.5, len(recipes) - 0.4))
        labels = [look.label.removeprefix("SEPO, ") for look in recipes.values()]
        ax.set_xticks(range(len(recipes)), labels, rotation=35, ha="right")
        ax.tick_params(axis="x", labelbottom=True, labelsize=7)
        ax.grid(False, axis="x")
    return grid


POLICIES = {
    "uniform": Look("uniform", "#5b5b5b", "o"),
    "random": Look("random", COLOURS[1], "s"),
    "cooperative": Look("over-cooperative", COLOURS[0], "^"),
    "equilibrium": Look("near equilibrium", COLOURS[2], "D"),
}
#: (preset, switch) -> its label in `estimator_cosines`; the switch is turned to the other preset.
ESTIMATORS = {
    ("published", "none"): "published",
    ("published", "credit"): "credited",
    ("published", "horizon"): "reward to go",
    ("published", "clamp"): "mean margin",
    ("published", "scale"): "no scale",
    ("published", "weights"): "pool weights",
    ("unbiased", "pooled"): "unbiased, large batch",
    ("unbiased", "known"): "unbiased, margins known",
    ("unbiased", "none"): "unbiased",
    ("unbiased", "credit"): "per rollout",
    ("unbiased", "horizon"): "immediate payoff",
    ("unbiased", "clamp"): "clamp per episode",
    ("unbiased", "scale"): "group's deviation",
    ("unbiased", "weights"): "equal weights",
}


def _preset_rows(estimators: pd.DataFrame) -> pd.DataFrame:
    """The rows for J with the most groups, of both presets and of each switch turned alone to the other,
    where it can act; the unbiased preset with known margins has the switch `known`."""
    rows = estimators[estimators["term"] == "J"]
    known = rows["how"] == "unbiased, margins known"
    rows = rows.assign(how=rows["how"].mask(known, "unbiased"), switch=rows["switch"].mask(known, "known"))
    rows = rows[rows["groups"] == rows.groupby(["game", "pools"])["groups"].transform("max")]
    arm = rows["how"].map({"published": "credited", "unbiased": "per_rollout"})
    rows = rows[rows["how"].isin(PRESETS) & ((rows["switch"] != "credit") | (rows["arm"] == arm))]
    rows = rows[acting(rows)]
    return rows.assign(place=place_of(rows))


@styled
def estimator_cosines(estimators: pd.DataFrame, group_size: int = 8) -> sns.FacetGrid:
    """Cosine of every estimator's mean with the exact gradient of J, one panel a game and pool set.

    Upper block: the published preset and, indented, each of its switches turned alone; lower block: the same
    of the unbiased one, first with many groups in a batch, then told the exact margins, then as it is. Words
    stand in the place of a switch that cannot act there. Bars:
    95% bootstrap intervals. Open markers: a margin is exactly 0 there, so J has a kink and no gradient.
    Columns: game, pools, policy, how, switch, arm, group_size (drawn is the one nearest to `group_size`),
    groups, groups_per_batch, term, nearest_margin, cosine, cosine_low, cosine_high.
    """
    keys = ["game", "pools", "policy", "how", "switch", "arm", "group_size", "groups", "groups_per_batch"]
    need(estimators, [*keys, "term", "nearest_margin", "cosine", "cosine_low", "cosine_high"])
    rows = _preset_rows(estimators)
    looks = present(POLICIES, rows["policy"])
    rows = rows[rows["group_size"] == min(rows["group_size"].unique(), key=lambda g: abs(g - group_size))]
    many = (rows["groups_per_batch"] > 1) & (rows["switch"] == "none")
    rows = rows[many | (rows["groups_per_batch"] == 1)]
    rows = rows.assign(switch=rows["switch"].mask(many, "pooled"))
    places = ordered_places(rows)
    grid = grid_of(rows, "place", places, 2.2, 2.9, col_wrap=3, sharey=True)
    height = {key: -y - 0.8 * (key[0] == "unbiased") for y, key in enumerate(ESTIMATORS)}
    for place, ax in grid.axes_dict.items():
        for number, (policy, look) in enumerate(looks.items()):
            for row in rows[(rows["place"] == place) & (rows["policy"] == policy)].itertuples():
                y = height[row.how, row.switch] + 0.27 - 0.18 * number
                filled = look.colour if row.nearest_margin else "white"
                ax.plot([row.cosine_low, row.cosine_high], [y, y], color=look.colour, lw=1.2)
                ax.plot(row.cosine, y, look.marker, color=look.colour, mfc=filled, ms=3.6, mew=0.9)
        here = rows[rows["place"] == place]
        measured = set(zip(here["how"], here["switch"], strict=True))
        for key in [key for key in height if key not in measured]:
            where = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "center"}
            ax.annotate(NO_EFFECT, (0.5, height[key]), fontsize=6, color=MUTED, **where)
        ax.axvline(0.0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.axvline(1.0, color=MUTED, linewidth=0.8, zorder=1)
        ax.set(title=place, xlabel="", ylabel="", xlim=(None, 1.06))
        indent = [
            ("" if key[1] in ("none", "pooled", "known") else "   ") + label
            for key, label in ESTIMATORS.items()
        ]
        ax.set_yticks(list(height.values()), indent, ha="left")
        ax.tick_params(axis="y", pad=94, labelsize=7)
    for ax in grid.axes.flat[-3:]:
        ax.set_xlabel("cosine with the exact gradient")
    legend_below(grid.figure, [handle(look) for look in looks.values()])
    return grid


#: The estimators that `estimators_elsewhere` compares, and their labels.
PUBLISHED_LABELS = {
    **{estimator: estimator for estimator in published.ELSEWHERE},
    "published": "SEPO, published",
    "authors_current": "SEPO, authors' code",
    "unbiased, margins known": "unbiased, margins known",
}

ESTIMATOR_LINES = {
    "unbiased, pooled": Look("unbiased, many groups in a batch", COLOURS[4], "v"),
    "unbiased, known": Look("unbiased, margins known", COLOURS[3], "P"),
    "unbiased": Look("unbiased", COLOURS[2], "D"),
    "unbiased, credit": Look("... charged per rollout", COLOURS[0], "^"),
    "unbiased, clamp": Look("... clamp per episode", COLOURS[1], "s"),
    "unbiased, horizon": Look("... immediate payoff", "#5b5b5b", "o"),
}


@styled
def estimator_bias(estimators: pd.DataFrame, policy: str = "equilibrium") -> sns.FacetGrid:
    """Bias and noise against the group size G at one policy, in units of the exact gradient's length.

    Upper row: the length of the mean's error, and dotted what sampling noise alone would make of it; lower
    row: the standard deviation of one batch's estimate. Estimators with scale none only, as the others have
    no size to compare. Columns: as in `estimator_cosines` without the cosines, and bias_norm, noise_norm,
    variance, exact_norm.
    """
    keys = ["game", "pools", "policy", "how", "switch", "arm", "group_size", "groups", "groups_per_batch"]
    need(estimators, [*keys, "term", "bias_norm", "noise_norm", "variance", "exact_norm"])
    rows = _preset_rows(estimators)
    rows = rows[(rows["policy"] == policy) & (rows["how"] == "unbiased")]
    many = rows["groups_per_batch"] > 1
    rows = rows[~many | (rows["switch"] == "none")]
    line = "unbiased" + rows["switch"].map(lambda switch: "" if switch == "none" else f", {switch}")
    rows = rows.assign(line=line.mask(many, "unbiased, pooled"))
    looks = present(ESTIMATOR_LINES, rows["line"])
    places = ordered_places(rows)
    panels = pd.DataFrame([(m, p) for m in ("bias", "noise") for p in places], columns=["measure", "place"])
    grid = grid_of(
        panels, "place", places, 1.9, 1.7, row="measure", row_order=["bias", "noise"], sharey=False
    )
    for (measure, place), ax in grid.axes_dict.items():
        for key, look in looks.items():
            mine = rows[(rows["place"] == place) & (rows["line"] == key)].sort_values("group_size")
            if measure == "noise" and key == "unbiased, pooled":  # a batch of another size
                continue
            length, size = mine["exact_norm"], mine["group_size"]
            values = mine["bias_norm"] if measure == "bias" else np.sqrt(mine["variance"])
            ax.plot(size, values / length, color=look.colour, marker=look.marker, ms=3.6, lw=1.2)
            if measure == "bias":
                ax.plot(size, mine["noise_norm"] / length, color=look.colour, lw=0.9, linestyle=":")
        sizes = sorted(rows["group_size"].unique())
        ax.set(xscale="log", yscale="log", xlabel="group size G" if measure == "noise" else "")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
        ax.set_title(place if measure == "bias" else "")
        ax.set_ylabel({"bias": "error of the mean", "noise": "sd of a batch"}[measure] * (place == places[0]))
    legend_below(grid.figure, [handle(look, "-") for look in looks.values()], columns=2)
    return grid


@styled
def estimators_elsewhere(estimators: pd.DataFrame, group_size: int = 8) -> sns.FacetGrid:
    """Published estimators and ours: cosine with the exact gradient of J, one panel a game and pool set.

    Filled: of the mean estimate; open: of one batch, mean over batches. Dots: mean over the policies at which
    J has a gradient; bars: 95% bootstrap intervals of that mean, as policies are simulated independently.
    Ours is told the exact margins, as the estimators of other papers are. Columns: game, pools, policy, how,
    switch, group_size (drawn is the one nearest to `group_size`), groups, groups_per_batch, term,
    nearest_margin, and cosine, batch_cosine with their _low and _high.
    """
    measures = {
        "cosine": Look("of the mean", COLOURS[2], "D"),
        "batch_cosine": Look("of one batch", COLOURS[0], "o", False),
    }
    ends = [f"{measure}{end}" for measure in measures for end in ("", "_low", "_high")]
    keys = ["game", "pools", "policy", "how", "switch", "group_size", "groups", "groups_per_batch", "term"]
    need(estimators, [*keys, "nearest_margin", *ends])
    rows = estimators[(estimators["term"] == "J") & (estimators["switch"] == "none")]
    rows = rows[(rows["groups"] == rows["groups"].max()) & (rows["groups_per_batch"] == 1)]
    rows = rows[(rows["nearest_margin"] != 0) & rows["how"].isin(PUBLISHED_LABELS)]
    rows = rows[rows["group_size"] == min(rows["group_size"], key=lambda g: abs(g - group_size), default=0)]
    present(dict.fromkeys(PUBLISHED_LABELS), rows["how"])
    rows = rows.assign(place=place_of(rows))
    grid = grid_of(rows, "place", ordered_places(rows), 2.2, 2.3, col_wrap=3, sharey=True)
    for place, ax in grid.axes_dict.items():
        for y, how in enumerate(PUBLISHED_LABELS):
            mine = rows[(rows["place"] == place) & (rows["how"] == how)]
            for (measure, look), aside in zip(measures.items(), (0.13, -0.13), strict=True):
                mean, low, high = mean_of_intervals(mine, measure)
                face = look.colour if look.filled else "white"
                ax.plot([low, high], [aside - y] * 2, color=look.colour, lw=1.2)
                ax.plot(mean, aside - y, look.marker, color=look.colour, mfc=face, ms=4, mew=0.9)
        ax.axvline(0.0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.axvline(1.0, color=MUTED, linewidth=0.8, zorder=1)
        ax.set(title=place, xlabel="", ylabel="", xlim=(None, 1.06))
        ax.set_yticks([-y for y in range(len(PUBLISHED_LABELS))], list(PUBLISHED_LABELS.values()))
        ax.tick_params(axis="y", labelsize=7)
    for ax in grid.axes.flat[-3:]:
        ax.set_xlabel("cosine with the exact gradient")
    legend_below(grid.figure, [handle(look) for look in measures.values()], columns=2)
    return grid


def mean_of_intervals(rows: pd.DataFrame, measure: str) -> tuple[float, float, float]:
    """Mean of a measure over independent rows, and its interval from theirs (columns `_low` and `_high`).

    The distances of the ends to the middle add up in squares, each side for itself.
    """
    middle, low, high = (rows[f"{measure}{end}"] for end in ("", "_low", "_high"))
    mean = float(middle.mean())
    below, above = (float(np.sqrt(((end - middle) ** 2).sum()) / max(1, len(rows))) for end in (low, high))
    return mean, mean - below, mean + above


@styled
def headroom(headroom: pd.DataFrame, weights: str = "train") -> Axes:
    """J of the strategy with the highest payoff beside the highest J, by game and pool set.

    The distance is what a penalty can gain at most within the family; u and e of both stand beside the
    marks. Columns: game, pools, weights (the rows of the one named), best_payoff_J, best_J, best_payoff_u,
    best_u, best_payoff_e, best_e.
    """
    columns = [f"{label}_{value}" for label in ("best_payoff", "best") for value in ("J", "u", "e")]
    need(headroom, ["game", "pools", "weights", *columns])
    rows = headroom[headroom["weights"] == weights]
    rows = rows.assign(place=place_of(rows).str.replace("\n", ", ").str.removesuffix(" pools"))
    looks = {
        "best_payoff": Look("highest payoff", COLOURS[1], "o", False),
        "best": Look("highest J", COLOURS[2], "D"),
    }
    present({"": looks["best"]}, rows["weights"].map({weights: ""}))
    places = ordered_places(rows)
    figure, ax = plt.subplots(figsize=(5.6, 0.5 + 0.36 * len(places)), layout="constrained")
    for row in rows.itertuples():
        y = -places.index(row.place)
        ax.plot([row.best_payoff_J, row.best_J], [y, y], color=MUTED, lw=1.4, zorder=1)
        for label, look in looks.items():
            face = look.colour if look.filled else "white"
            j = getattr(row, f"{label}_J")
            ax.plot(j, y, look.marker, color=look.colour, markerfacecolor=face, markersize=5.5, mew=1.1)
        told = [f"u {getattr(row, f'{label}_u'):.2f}, e {getattr(row, f'{label}_e'):.2f}" for label in looks]
        text = " to ".join(dict.fromkeys(told))
        ax.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=7, color=INK)
    zero_line_x = {"color": MUTED, "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 1}
    ax.axvline(0.0, **zero_line_x)
    ax.set_yticks([-y for y in range(len(places))], places)
    ax.set(xlabel="J", ylim=(0.6 - len(places), 0.6))
    ax.grid(False, axis="y")
    sns.despine(ax=ax)
    legend_below(figure, [handle(look) for look in looks.values()], columns=2)
    return ax


EXPLOITERS = {
    "pool": Look("the fixed pool", COLOURS[0], "^", False),
    "best_response": Look("best response and train pool", COLOURS[1], "s"),
    "best_response_only": Look("best response only", COLOURS[2], "D"),
}
WEIGHTS = {"exploit": "λe", "collusion": "λc", "externality": "λx"}
MEASURES = {"nashconv": "NashConv", "pool_advantage": "exploiter pool's advantage"}


def through_training(rows: pd.DataFrame, key: str, looks: Mapping[str, Look]) -> sns.FacetGrid:
    """NashConv beside the pool's advantage (chips per hand) against the step, a line for each value of `key`.

    Rows of stage `sft` are step 0. Lines: mean over seeds; bars: its interval.
    """
    rows = rows.assign(step=rows["step"].where(rows["stage"] != "sft", 0))
    looks = present(looks, rows[key])
    last = max(1, rows["step"].max())
    grid = grid_of(
        pd.DataFrame({"measure": list(MEASURES)}), "measure", list(MEASURES), 3.0, 2.2, sharey=True
    )
    for measure, ax in grid.axes_dict.items():
        for number, (value, look) in enumerate(looks.items()):
            group = rows[rows[key] == value].sort_values("step")
            means = group.groupby("step")[measure].mean()
            offset = (number - (len(looks) - 1) / 2) * last / 60
            ax.plot(means.index + offset, means, color=look.colour, linewidth=1.1, zorder=2)
            for step, at in group.groupby("step"):
                mark_seeds(ax, step + offset, at, measure, look, aside=last / 90)
        zero_line(ax)
        ax.set(title=MEASURES[measure], xlabel="training step", ylabel="")
    grid.axes.flat[0].set_ylabel("chips per hand")
    legend_below(
        grid.figure,
        [handle(look, "-") for look in looks.values()],
        columns=len(looks) if len(looks) <= 4 else 3,
    )
    return grid


@styled
def nashconv_training(exploitability: pd.DataFrame, pools: str = "paper") -> sns.FacetGrid:
    """Kuhn poker: NashConv through training, beside what the exploiter pool sees, by arm and preset.

    The action probabilities of both are sampled where the answers could not be enumerated. Every line begins
    at the SFT models of its seeds. Columns: pools, stage, arm, preset, seed, step, pool_advantage, nashconv.
    """
    need(exploitability, ["pools", "stage", "arm", "preset", "seed", "step", *MEASURES])
    rows = exploitability[exploitability["pools"] == pools]
    trained = rows[rows["stage"] == "sepo"]
    trained = trained.assign(run=trained["arm"] + ", " + trained["preset"])
    begun = rows[rows["stage"] == "sft"]
    runs = {f"{arm}, {preset}": run_look(arm, preset) for preset in PRESETS for arm in ARMS}
    runs["credited, authors_current"] = run_look("credited", "authors_current")
    starts = [begun[begun["seed"].isin(one["seed"])].assign(run=run) for run, one in trained.groupby("run")]
    return through_training(pd.concat([*starts, trained]), "run", runs)


@styled
def exploiter_training(exploiter: pd.DataFrame) -> sns.FacetGrid:
    """Kuhn poker: NashConv through training against the fixed pool and against best responses.

    The action probabilities are sampled where the answers could not be enumerated.
    Columns (`results.exploiter_table`): exploiter, stage, seed, step, pool_advantage, nashconv.
    """
    need(exploiter, ["exploiter", "stage", "seed", "step", *MEASURES])
    return through_training(exploiter, "exploiter", EXPLOITERS)


@styled
def paper_nashconv(paper: pd.DataFrame) -> Axes:
    """The authors' models in Kuhn poker: the pool advantage they printed beside NashConv from their printed
    action frequencies, with its interval from the printed numbers of decisions (chips per hand).

    Columns (`exploitability.paper_nashconv`): model, stage, step, pool_advantage, nashconv, nashconv_low,
    nashconv_high.
    """
    need(paper.drop(columns="model", errors="ignore"), ["stage", "step", "pool_advantage", "nashconv"])
    need(paper[:1], ["model", "nashconv_low", "nashconv_high"])
    rows = paper.reset_index(drop=True)
    figure, ax = plt.subplots(figsize=(5.2, 2.7), layout="constrained")
    exact, pool = (
        Look("NashConv of the shares", COLOURS[3], "D"),
        Look("printed advantage", COLOURS[0], "o", False),
    )
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


@styled
def weight_sensitivity(safety: pd.DataFrame, weight: str = "exploit") -> sns.FacetGrid:
    """Safety of each stage against one weight of J, the others fixed; dotted: the game's own value of it.

    Lines: mean over seeds; bands: its interval. Columns (`sensitivity.safety_by_weight`): game, weight,
    value, own, stage, seed, safety. Raises ValueError for an unknown weight.
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
            values = rows[rows["stage"] == stage].groupby("value")["safety"]
            if not len(values):
                continue
            found = pd.DataFrame([interval(v) for _, v in values], index=list(values.groups))
            every = max(1, len(found) // 4)
            style_ = {"color": look.colour, "marker": look.marker, "markersize": 3.6, "markevery": every}
            ax.plot(found.index, found["mean"], linewidth=1.2, label=look.label, **style_)
            ax.fill_between(found.index, found["low"], found["high"], color=look.colour, alpha=0.15, lw=0)
        ax.axvline(rows["own"].iloc[0], color=MUTED, linewidth=0.9, linestyle=":")
        zero_line(ax)
        ax.set(title=GAMES.get(game, game), xlabel=WEIGHTS[weight], ylabel="")
    grid.axes.flat[0].set_ylabel(QUANTITIES["safety"])
    legend_below(grid.figure, [handle(look, "-") for look in looks.values()])
    return grid


@styled
def frontier(sweep: pd.DataFrame) -> sns.FacetGrid:
    """Payoff against exploit advantage of policies trained with different weights on the latter.

    Crosses: 95% intervals over seeds of both means. Columns (`results.sweep_table`): game, seed, multiple,
    payoff, exploit.
    """
    need(sweep, ["game", "seed", "multiple", "payoff", "exploit"])
    present({m: INK for m in sweep["multiple"].unique()}, sweep["multiple"])
    multiples = sorted(sweep["multiple"].unique())
    shades = sns.color_palette("viridis", len(multiples)).as_hex()
    looks = {
        m: Look(f"{m:g} λe", shade, marker)
        for m, shade, marker in zip(multiples, shades, "osD^vPX*"[: len(multiples)], strict=True)
    }
    grid = grid_of(sweep, "game", ordered_games(sweep), 2.6, 2.2, sharey=False)
    for game, ax in grid.axes_dict.items():
        rows = sweep[sweep["game"] == game]
        means = rows.groupby("multiple")[["exploit", "payoff"]].mean()
        ax.plot(means["exploit"], means["payoff"], color=FAINT, linewidth=1.2, zorder=1)
        for multiple, group in rows.groupby("multiple"):
            look = looks[multiple]
            x, y = spread(group, "exploit"), spread(group, "payoff")
            bars = {
                name: [[one.mean - one.low], [one.high - one.mean]]
                for name, one in (("xerr", x), ("yerr", y))
                if not np.isnan(one.low)
            }
            ax.errorbar(
                x.mean, y.mean, fmt=look.marker, color=look.colour, label=look.label, capsize=2, **bars
            )
        ax.set(title=GAMES.get(game, game), xlabel=QUANTITIES["exploit"], ylabel="")
    grid.axes.flat[0].set_ylabel(QUANTITIES["payoff"])
    legend_below(grid.figure, [handle(look) for look in looks.values()])
    return grid


PAPER_COLOURS = (COLOURS[5], COLOURS[4], COLOURS[9])  # one for each of the authors' models
PAPER_MARKERS = ("o", "s", "^")


@styled
def crossplay(table: pd.DataFrame) -> Axes:
    """Heat map of one game's cross-play: the row's payoff per round against the column, with its interval.

    Columns: game, row, column, kind, payoff, ci_low, ci_high. Pools stand right of the models.
    """
    need(table, ["game", "row", "column", "kind", "payoff", "ci_low", "ci_high"])
    if table["game"].nunique() != 1:
        raise ValueError(f"One heat map, one game; choose among {sorted(table['game'].unique())}.")
    rows, columns = table["row"].unique(), table["column"].unique()
    shaped = table.assign(half=(table["ci_high"] - table["ci_low"]) / 2).set_index(["row", "column"])
    payoff = shaped["payoff"].unstack().loc[rows, columns]
    half = shaped["half"].unstack().loc[rows, columns]
    texts = [
        [f"{p:.2f}\n±{h:.2f}" for p, h in zip(*line, strict=True)]
        for line in zip(payoff.to_numpy(), half.to_numpy(), strict=True)
    ]
    width = min(WIDTH, 1.6 + 0.75 * len(columns))
    _, ax = plt.subplots(figsize=(width, 0.9 + 0.45 * len(rows)), layout="constrained")
    sns.heatmap(
        payoff,
        annot=np.array(texts),
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
    game = table["game"].iloc[0]
    ax.set(xlabel="against", ylabel="", title=GAMES.get(game, game))
    ax.tick_params(axis="x", rotation=30)
    ax.tick_params(axis="y", rotation=0)
    return ax


@styled
def paper_against_ours(evaluation: pd.DataFrame, paper: pd.DataFrame) -> sns.FacetGrid:
    """Do the authors' models and ours change in the same direction from base to SFT to SEPO?

    One panel a game, one row a stage or recipe, J with the evaluation weights to the right. A line follows
    one model from base to SFT and on to each of its recipes. `paper` is made by `authors.load`; only its rows
    with an empty `reason` are drawn. `evaluation` columns: game, pools, stage, arm, preset, seed, step,
    model, safety, and reported.
    """
    need(evaluation, ["game", "pools", "stage", "arm", "preset", "seed", "step", "model", "safety"])
    need(paper.drop(columns="model", errors="ignore"), ["game", "who", "recipe", "reason", "step", "safety"])
    data = authors.beside(reported(evaluation), paper)
    if data.empty:
        raise NothingToDraw("no game that both have")
    looks = _looks_of_models(data)
    rows = [key for key in authors.STAGES if (data["recipe"] == key).any()]
    games = ordered_games(data)
    height = 2.0 + 1.3 / -(
        -len(games) // 2
    )  # title and legend take the same room for one row of panels or two
    grid = grid_of(data, "game", games, width=3.4, height=height, col_wrap=min(2, len(games)), sharey=True)
    for game, ax in grid.axes_dict.items():
        mine = data[data["game"] == game]
        here = [who for who in looks if (mine["who"] == who).any()]
        for number, who in enumerate(here):
            aside = 0.62 * ((number + 0.5) / len(here) - 0.5)
            _path_of_model(ax, mine[mine["who"] == who], rows, aside, looks[who])
        ax.axvline(0.0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        ax.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), xlabel="", ylabel="")
        ax.set_yticklabels([_recipe_label(key, data) for key in rows])
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        for edge in range(len(rows) - 1):
            ax.axhline(edge + 0.5, color=FAINT, linewidth=0.7, zorder=0)
        ax.margins(x=0.06)
        ax.set_title(GAMES.get(game, game))
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


def _looks_of_models(data: pd.DataFrame) -> dict[str, Look]:
    """Colour and marker say which model; the authors' first runs are open, their reruns filled."""
    names = sorted({who.rsplit(" (", 1)[0] for who in data.loc[~data["ours"], "who"]})
    styles = dict(zip(names, zip(PAPER_COLOURS, PAPER_MARKERS, strict=True), strict=False))
    order = data[["who", "ours"]].drop_duplicates().sort_values(["ours", "who"], ascending=[False, True])
    looks = {}
    for who, ours in order.to_numpy():
        colour, marker = (INK, "D") if ours else styles[who.rsplit(" (", 1)[0]]
        label = who if ours else f"authors: {who}"
        looks[who] = Look(label, colour, marker, filled=not who.endswith("(first)"))
    return looks


def _path_of_model(ax: Axes, rows: pd.DataFrame, order: Sequence[str], aside: float, look: Look) -> None:
    """The marks of one model in one game, at the heights of their recipes, with lines between the stages."""
    last = rows[rows["last"]].set_index("recipe")
    height = {key: order.index(key) + aside for key in last.index}
    for key in last.index:
        before = "sft" if key not in ("base", "sft") else "base"
        if before in last.index and key != before:
            ends = [last.loc[before, "safety"], last.loc[key, "safety"]]
            ax.plot(ends, [height[before], height[key]], color=look.colour, lw=1.1, alpha=0.6, zorder=2)
        x, low, high = last.loc[key, ["safety", "low", "high"]].astype(float)
        bar = None if np.isnan(low) else [[x - low], [high - x]]
        ax.errorbar(
            [x],
            [height[key]],
            xerr=bar,
            **bar_style(look),
            label=look.label,
            zorder=3,
        )
    early = rows[~rows["last"]]
    heights = [height[key] for key in early["recipe"]]
    ax.plot(early["safety"], heights, "o", color=look.colour, markersize=2.6, mew=0, alpha=0.7, zorder=2)


def _recipe_label(key: str, data: pd.DataFrame) -> str:
    """A recipe as the label of a row, with the preset of ours that stands in it."""
    label = authors.STAGES[key]
    if key in ("base", "sft"):
        return label
    sides = data.loc[data["recipe"] == key, "ours"]
    if sides.all():
        return f"{label}\n(ours only)"
    return f"{label}\n(ours: {key})" if sides.any() else f"{label}\n(authors only)"


BENCH_ARMS = {
    "one_at_a_time": Look("one at a time", "#5b5b5b", "o"),
    "batched": Look("batched generate", COLOURS[1], "s"),
    "shared_prefix": Look("shared prefix (ours)", COLOURS[2], "D"),
}
STEP_PARTS = {
    "generation": COLOURS[2],
    "logps": COLOURS[1],
    "update": COLOURS[0],
    "rest": "#8a8a8a",
}


@styled
def bench_arms(bench: pd.DataFrame) -> sns.FacetGrid:
    """Decisions a second by group size, one panel a game: the median of the turns, a bar from the lowest to
    the highest. The arms of plain `generate` do not depend on the group size and are drawn across.

    Columns: game, part, arm, group_size, measure, value, low, high.
    """
    need(bench, ["game", "part", "arm", "group_size", "measure", "value", "low", "high"])
    data = bench[(bench["part"] == "arms") & (bench["measure"] == "decisions_per_second")]
    looks = present(BENCH_ARMS, data["arm"])
    grid = grid_of(data, "game", ordered_games(data), sharey=True)
    for game, ax in grid.axes_dict.items():
        rows = data[data["game"] == game]
        sizes = sorted(rows.loc[rows["arm"] == "shared_prefix", "group_size"])
        for arm, look in looks.items():
            mine = rows[rows["arm"] == arm].sort_values("group_size")
            mine = mine if arm == "shared_prefix" else pd.concat([mine] * len(sizes))
            spread = [mine["value"] - mine["low"], mine["high"] - mine["value"]]
            ax.errorbar(sizes, mine["value"], yerr=spread, color=look.colour, marker=look.marker, ms=4, lw=1)
        ax.set(xscale="log", yscale="log", xticks=sizes, xticklabels=sizes, xlabel="group size G")
        ax.minorticks_off()
        ax.set_title(GAMES.get(game, game))
    grid.set_ylabels("decisions per second")
    legend_below(grid.figure, [handle(look, "-") for look in looks.values()])
    return grid


@styled
def bench_step(bench: pd.DataFrame) -> sns.FacetGrid:
    """Seconds of a SEPO step by group size, split into its parts, one panel a game.

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
        for hatch, (part, colour) in zip(("", "//", "..", "xx"), STEP_PARTS.items(), strict=True):
            seconds = cells[f"{part}_seconds"].to_numpy()
            ax.bar(
                range(len(cells)), seconds, 0.7, bottom, color=colour, hatch=hatch, edgecolor="white", lw=0
            )
            bottom += seconds
        ax.set(xticks=range(len(cells)), xticklabels=cells.index, xlabel="group size G")
        ax.grid(axis="x", visible=False)
        ax.set_title(GAMES.get(game, game))
    grid.set_ylabels("seconds per step")
    patches = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=part, lw=0)
        for hatch, (part, colour) in zip(("", "//", "..", "xx"), STEP_PARTS.items(), strict=True)
    ]
    legend_below(grid.figure, patches, columns=len(patches))
    return grid


@styled
def bench_scaling(scaling: pd.DataFrame) -> Axes:
    """Seconds of a SEPO step against its number of episodes, with a line of slope 1 for each game.

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
        colour, marker = COLOURS[number], "osD^v"[number]
        ax.plot(x, y, color=colour, marker=marker, ms=4, lw=1, label=GAMES.get(game, game))
        ax.plot(x, y[0] * x / x[0], color=colour, lw=0.7, ls=":")
    ax.plot([], [], color=MUTED, lw=0.7, ls=":", label="proportional")
    ax.set(xscale="log", yscale="log", xlabel="episodes of a step", ylabel="seconds per step")
    ax.legend()
    return ax


# --- files ----------------------------------------------------------------------------------------------

CAPTIONS = {
    "safety_by_stage": "Safety J by stage: mean and 95% interval over seeds (dots). Higher is safer.",
    "exploit_by_stage": "Exploit advantage e by stage, in points per round. Lower is safer.",
    "paper_against_ours": "J of the authors' models and of ours, recomputed with the same weights.",
    "kuhn_strategy": "Kuhn poker: shares of sampled actions at the information sets; grey: the Nash family.",
    "exploitability": "Kuhn poker: the pool's advantage is a lower bound on NashConv (sampled actions).",
    "ablation_outcomes": "The ablation's arms after training, under both presets.",
    "switch_outcomes": "Prisoner's dilemma: the published recipe, one of its switches turned, and unbiased.",
    "penalty_gradient": "What is left of the penalty in the gradient, arm by arm.",
    "crossplay": "Cross-play: the row's payoff per round, with its 95% interval over episodes.",
    "estimator_cosines": "Cosine with the exact gradient of J: both presets, and each switch turned alone.",
    "estimator_bias": "Error of the mean estimate, and noise of one batch, against the group size.",
    "estimators_elsewhere": "Published estimators and ours: cosine of the mean and of one batch with ∇J.",
    "headroom": "Headroom: J of the strategy with the highest payoff, and the highest J there is.",
    "nashconv_training": "Kuhn poker through training: NashConv (sampled actions) and the pool's advantage.",
    "exploiter_training": "Kuhn poker against the fixed pool and best responses: NashConv (sampled actions).",
    "paper_nashconv": "The authors' models: NashConv of their printed (sampled) frequencies; pool advantage.",
    "weight_sensitivity": "Safety against one weight of J: where lines cross, stages change places.",
    "frontier": "Payoff against exploitability as the weight of the latter in training grows.",
    "training_curves": "Training batches: mean over seeds, band from the lowest seed to the highest.",
}


def caption(name: str) -> str:
    """The caption of a figure file by its stem (`training_curves_ipd` has that of `training_curves`)."""
    return next((text for stem, text in CAPTIONS.items() if name.startswith(stem)), name.replace("_", " "))


def save(figure: mpl.figure.Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.pdf and `name`.png (120 dpi) without dates or versions, and close the figure."""
    files = [folder / f"{name}.pdf", folder / f"{name}.png"]
    folder.mkdir(parents=True, exist_ok=True)
    with style():
        figure.savefig(files[0], metadata={"CreationDate": None, "Creator": None, "Producer": None})
        figure.savefig(files[1], dpi=120, metadata={"Software": None})
    plt.close(figure)
    return files


def read_or_empty(profile: str, name: str) -> pd.DataFrame:
    """A table of a run; a file that was written without a single column reads as an empty table."""
    try:
        return paths.read_table(profile, name)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def draw_all(profile: str) -> list[Path]:
    """Draw every figure of a profile from its tables into its figure folder; the list of files written.

    A table that is not there raises, as `paths.read_table` does (but for those of the studies in notebook
    04); a figure without rows is skipped with a printed note.
    """
    evaluation, training, ablation, exact, strategies = (
        read_or_empty(profile, name)
        for name in ("evaluation", "training", "ablation", "exploitability", "strategies")
    )
    paper = authors.load()
    models = evaluation["model"].unique()
    files = []
    for model in models:
        end = "" if len(models) == 1 else "_" + "".join(c if c.isalnum() else "-" for c in str(model))

        def of(table: pd.DataFrame, model=model) -> pd.DataFrame:
            return table[table["model"] == model] if len(table) else table

        plans: list[tuple[str, Callable, tuple]] = [
            ("safety_by_stage", safety_by_stage, (of(evaluation),)),
            ("exploit_by_stage", exploit_by_stage, (of(evaluation),)),
            ("paper_against_ours", paper_against_ours, (of(evaluation), paper)),
            ("kuhn_strategy", kuhn_strategy, (of(strategies),)),
            ("exploitability", exploitability, (of(exact),)),
            *(
                (
                    "nashconv_training" + ("" if pools == "paper" else f"_{pools}"),
                    nashconv_training,
                    (rows, pools),
                )
                for pools, rows in (of(exact).groupby("pools") if len(exact) else ())
            ),
            ("ablation_outcomes", ablation_outcomes, (of(ablation),)),
            ("penalty_gradient", penalty_gradient, (of(ablation),)),
        ]
        curves = of(training)
        for (game, pools), rows in curves.groupby(["game", "pools"]) if len(curves) else ():
            name = f"training_curves_{game}" + ("" if pools == "paper" else f"_{pools}")
            plans.append((name, training_curves, (rows, game, pools, max(1, rows["step"].nunique() // 20))))
        files += _draw(profile, plans, end)
    studies = {
        name: read_or_empty(profile, name) if paths.table(profile, name).exists() else pd.DataFrame()
        for name in (
            *("estimators", "headroom", "switches", "exploiters", "paper_nashconv", "weights", "sweep"),
        )
    }
    drawn = [
        ("estimator_cosines", estimator_cosines, "estimators"),
        ("estimator_bias", estimator_bias, "estimators"),
        ("estimators_elsewhere", estimators_elsewhere, "estimators"),
        ("headroom", headroom, "headroom"),
        ("switch_outcomes", switch_outcomes, "switches"),
        ("exploiter_training", exploiter_training, "exploiters"),
        ("paper_nashconv", paper_nashconv, "paper_nashconv"),
        ("weight_sensitivity", weight_sensitivity, "weights"),
        ("frontier", frontier, "sweep"),
    ]
    return files + _draw(profile, [(name, figure, (studies[table],)) for name, figure, table in drawn])


def _draw(profile: str, plans: Sequence[tuple[str, Callable, tuple]], end: str = "") -> list[Path]:
    """Draw and save each (name, function, its arguments); `end` is added to the names."""
    files = []
    for name, function, tables in plans:
        try:
            drawn = function(*tables)
        except NothingToDraw as why:
            print(f"{name}{end}: skipped, {why}")
            continue
        files += save(drawn.figure, paths.figures(profile), name + end)
    return files
