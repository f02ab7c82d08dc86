"""The study of estimators: their cosine with the exact gradient of J, their bias and their noise."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib import games
from sepo_lib.figures.ablation import NO_EFFECT
from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import PRESETS
from sepo_lib.figures.marks import handle, zero_line_x
from sepo_lib.figures.old import grid_of, legend_below, present
from sepo_lib.figures.rows import mean_of_intervals, nearest, need, ordered_places, place_of
from sepo_lib.figures.theme import BASE, COLOURS, MUTED, Look
from sepo_lib.measure import switches
from sepo_lib.method import credit

POLICIES = {
    "uniform": Look("uniform", BASE, "o"),
    "random": Look("random", COLOURS[1], "s"),
    "cooperative": Look("over-cooperative", COLOURS[0], "^"),
    "equilibrium": Look("near equilibrium", COLOURS[2], "D"),
}
#: (preset, switch) -> its label in `estimator_cosines`. The switch has the value of the other preset.
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
#: The estimators of this kit in `estimators_elsewhere`, and their labels.
OURS = {
    "published": "SEPO, published",
    "authors_current": "SEPO, authors' code",
    "unbiased, margins known": "unbiased, margins known",
}
#: The lines of `estimator_bias`.
ESTIMATOR_LINES = {
    "unbiased, pooled": Look("unbiased, many groups in a batch", COLOURS[4], "v"),
    "unbiased, known": Look("unbiased, margins known", COLOURS[3], "P"),
    "unbiased": Look("unbiased", COLOURS[2], "D"),
    "unbiased, credit": Look("... charged per rollout", COLOURS[0], "^"),
    "unbiased, clamp": Look("... clamp per episode", COLOURS[1], "s"),
    "unbiased, horizon": Look("... immediate payoff", BASE, "o"),
}
#: The two measures of `estimators_elsewhere`.
COSINES = {
    "cosine": Look("of the mean", COLOURS[2], "D"),
    "batch_cosine": Look("of one batch", COLOURS[0], "o", False),
}
_KEYS = ["game", "pools", "policy", "how", "switch", "group_size", "groups", "groups_per_batch", "term"]


@figure(
    "Question to be written?",
    "Cosine between the mean of each estimator and the exact gradient of J: both presets, and each preset "
    "with one switch changed to the other. A cosine of 1 is the exact direction. Bars: 95% bootstrap "
    "intervals. Open markers: J has no gradient at this policy.",
    reads="estimators",
    study=True,
)
def estimator_cosines(estimators: pd.DataFrame, group_size: int = 8) -> sns.FacetGrid:
    """Cosine of every estimator's mean with the exact gradient of J, one panel per game and pool set.

    Upper block: the published preset and, indented, each of its switches changed alone. Lower block: the
    unbiased preset with many groups in a batch, with the exact margins, and as it is; then, indented, each of
    its switches changed alone. If a switch cannot act, a text says so. Bars: 95% bootstrap intervals. Open
    markers: a margin is exactly 0, so that J has a kink and no gradient.

    Columns: game, pools, policy, how (preset), switch, arm, group_size (the value nearest to the argument is
    drawn), groups, groups_per_batch, term, nearest_margin, cosine, cosine_low, cosine_high.
    """
    need(estimators, [*_KEYS, "arm", "nearest_margin", "cosine", "cosine_low", "cosine_high"])
    rows = _of_presets(estimators)
    looks = present(POLICIES, rows["policy"])
    rows = rows[rows["group_size"] == nearest(rows["group_size"], group_size)]
    many = (rows["groups_per_batch"] > 1) & (rows["switch"] == "none")
    rows = rows[many | (rows["groups_per_batch"] == 1)]
    rows = rows.assign(switch=rows["switch"].mask(many, "pooled"))
    grid = grid_of(rows, "place", ordered_places(rows), 2.2, 2.9, col_wrap=3, sharey=True)
    height = {key: -y - 0.8 * (key[0] == "unbiased") for y, key in enumerate(ESTIMATORS)}
    for place, ax in grid.axes_dict.items():
        in_panel = rows[rows["place"] == place]
        for number, (policy, look) in enumerate(looks.items()):
            for row in in_panel[in_panel["policy"] == policy].itertuples():
                y = height[row.how, row.switch] + 0.27 - 0.18 * number
                face = look.colour if row.nearest_margin else "white"
                ax.plot([row.cosine_low, row.cosine_high], [y, y], color=look.colour, lw=1.2)
                ax.plot(row.cosine, y, look.marker, color=look.colour, mfc=face, ms=3.6, mew=0.9)
        measured = set(zip(in_panel["how"], in_panel["switch"], strict=True))
        for key in [key for key in height if key not in measured]:
            where = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "center"}
            ax.annotate(NO_EFFECT, (0.5, height[key]), fontsize=6, color=MUTED, **where)
        _cosine_axis(ax, place)
        labels = [
            ("" if switch in ("none", "pooled", "known") else "   ") + label
            for (_, switch), label in ESTIMATORS.items()
        ]
        ax.set_yticks(list(height.values()), labels, ha="left")
        ax.tick_params(axis="y", pad=94, labelsize=7)
    for ax in grid.axes.flat[-3:]:
        ax.set_xlabel("cosine with the exact gradient")
    legend_below(grid.figure, [handle(look) for look in looks.values()])
    return grid


@figure(
    "Question to be written?",
    "Bias and noise of the estimators against the group size, in units of the exact gradient's length. Top: "
    "error of the mean estimate; dotted: the error that sampling noise alone causes. Bottom: standard "
    "deviation of one batch. A solid line above its dotted line shows a bias.",
    reads="estimators",
    study=True,
)
def estimator_bias(estimators: pd.DataFrame, policy: str = "equilibrium") -> sns.FacetGrid:
    """Bias and noise against the group size G at one policy, in units of the exact gradient's length.

    Upper row: length of the error of the mean estimate; dotted: the length that sampling noise alone causes.
    Lower row: standard deviation of the estimate of one batch. Only estimators with the scale `none` are
    drawn, because the others have no length to compare.

    Columns: game, pools, policy, how (preset), switch, arm, group_size, groups, groups_per_batch, term,
    bias_norm, noise_norm, variance, exact_norm.
    """
    need(estimators, [*_KEYS, "arm", "bias_norm", "noise_norm", "variance", "exact_norm"])
    rows = _lines(_of_presets(estimators), policy)
    looks = present(ESTIMATOR_LINES, rows["line"])
    places = ordered_places(rows)
    sizes = sorted(rows["group_size"].unique())
    panels = pd.DataFrame([(m, p) for m in ("bias", "noise") for p in places], columns=["measure", "place"])
    grid = grid_of(
        panels, "place", places, 1.9, 1.7, row="measure", row_order=["bias", "noise"], sharey=False
    )
    for (measure, place), ax in grid.axes_dict.items():
        for key, look in looks.items():
            if measure == "noise" and key == "unbiased, pooled":  # its batches have another size
                continue
            line = rows[(rows["place"] == place) & (rows["line"] == key)].sort_values("group_size")
            length, size = line["exact_norm"], line["group_size"]
            values = line["bias_norm"] if measure == "bias" else np.sqrt(line["variance"])
            ax.plot(size, values / length, color=look.colour, marker=look.marker, ms=3.6, lw=1.2)
            if measure == "bias":
                ax.plot(size, line["noise_norm"] / length, color=look.colour, lw=0.9, linestyle=":")
        ax.set(xscale="log", yscale="log", xlabel="group size G" if measure == "noise" else "")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
        ax.set_title(place if measure == "bias" else "")
        ax.set_ylabel({"bias": "error of the mean", "noise": "sd of a batch"}[measure] * (place == places[0]))
    legend_below(grid.figure, [handle(look, "-") for look in looks.values()], columns=2)
    return grid


@figure(
    "Question to be written?",
    "Estimators of other papers and of this kit: cosine with the exact gradient of J, of the mean estimate "
    "(filled) and of one batch (open). Mean over policies; bars: 95% bootstrap intervals. The mean shows the "
    "bias, one batch shows bias and noise.",
    reads="estimators",
    study=True,
)
def estimators_elsewhere(estimators: pd.DataFrame, group_size: int = 8) -> sns.FacetGrid:
    """Estimators of other papers and of this kit: cosine with the exact gradient of J, by game and pool set.

    Filled: cosine of the mean estimate. Open: cosine of the estimate of one batch, mean over batches. Marks
    are means over the policies at which J has a gradient. Bars are 95% bootstrap intervals of this mean; the
    policies are simulated independently. Our estimators use the exact margins, as those of other papers do.

    Columns: game, pools, policy, how (estimator), switch, group_size (the value nearest to the argument is
    drawn), groups, groups_per_batch, term, nearest_margin, and cosine and batch_cosine with their intervals
    in _low and _high.
    """
    ends = [f"{measure}{end}" for measure in COSINES for end in ("", "_low", "_high")]
    need(estimators, [*_KEYS, "nearest_margin", *ends])
    rows = estimators[(estimators["term"] == "J") & (estimators["switch"] == "none")]
    rows = rows[(rows["groups"] == rows["groups"].max()) & (rows["groups_per_batch"] == 1)]
    labels = labels_of(rows["how"])
    rows = rows[(rows["nearest_margin"] != 0) & rows["how"].isin(labels)]
    rows = rows[rows["group_size"] == nearest(rows["group_size"], group_size)]
    present(dict.fromkeys(labels), rows["how"])
    rows = rows.assign(place=place_of(rows))
    grid = grid_of(rows, "place", ordered_places(rows), 2.2, 2.3, col_wrap=3, sharey=True)
    for place, ax in grid.axes_dict.items():
        for y, name in enumerate(labels):
            policies = rows[(rows["place"] == place) & (rows["how"] == name)]
            for (measure, look), offset in zip(COSINES.items(), (0.13, -0.13), strict=True):
                mean, low, high = mean_of_intervals(policies, measure)
                ax.plot([low, high], [offset - y] * 2, color=look.colour, lw=1.2)
                ax.plot(mean, offset - y, look.marker, color=look.colour, mfc=look.face, ms=4, mew=0.9)
        _cosine_axis(ax, place)
        ax.set_yticks([-y for y in range(len(labels))], list(labels.values()))
        ax.tick_params(axis="y", labelsize=7)
    for ax in grid.axes.flat[-3:]:
        ax.set_xlabel("cosine with the exact gradient")
    legend_below(grid.figure, [handle(look) for look in COSINES.values()], columns=2)
    return grid


def labels_of(names: Sequence[str]) -> dict[str, str]:
    """The labels of the estimators in `names`: those of other papers in their order, then those of `OURS`.

    A name whose part before a comma is a preset is one of ours. Its variants that `OURS` lacks are left out.
    A preset that was added to the kit's three stands last.
    """
    names = list(dict.fromkeys(names))
    others = [name for name in names if name.split(",")[0] not in credit.PRESETS]
    added = [name for name in names if name in credit.PRESETS and name not in (*OURS, "unbiased")]
    ours = {name: OURS[name] for name in OURS if name in names}
    return {name: name for name in others} | ours | {name: f"SEPO, {name}" for name in added}


def acting(rows: pd.DataFrame) -> list[bool]:
    """Whether the switch of each row can change the advantages of its preset; True if none is changed.

    `rows` have the columns how (preset), switch, game and pools.
    """
    return [
        row.switch not in credit.FIELD_OF_SWITCH
        or switches.acts(credit.PRESETS[row.how], row.switch, games.get(row.game), row.pools)
        for row in rows.itertuples()
    ]


def _of_presets(estimators: pd.DataFrame) -> pd.DataFrame:
    """The rows of the gradient of J with the most groups, of both presets and of each switch changed alone.

    A switch is drawn if it can act. The unbiased preset with known margins has the switch `known`. The
    new column `place` names game and pool set.
    """
    rows = estimators[estimators["term"] == "J"]
    known = rows["how"] == "unbiased, margins known"
    rows = rows.assign(how=rows["how"].mask(known, "unbiased"), switch=rows["switch"].mask(known, "known"))
    rows = rows[rows["groups"] == rows.groupby(["game", "pools"])["groups"].transform("max")]
    arm = rows["how"].map({"published": "credited", "unbiased": "per_rollout"})
    rows = rows[rows["how"].isin(PRESETS) & ((rows["switch"] != "credit") | (rows["arm"] == arm))]
    rows = rows[acting(rows)]
    return rows.assign(place=place_of(rows))


def _lines(rows: pd.DataFrame, policy: str) -> pd.DataFrame:
    """The rows of the unbiased preset at one policy; the new column `line` is a key of `ESTIMATOR_LINES`."""
    rows = rows[(rows["policy"] == policy) & (rows["how"] == "unbiased")]
    many = rows["groups_per_batch"] > 1
    rows = rows[~many | (rows["switch"] == "none")]
    line = "unbiased" + rows["switch"].map(lambda switch: "" if switch == "none" else f", {switch}")
    return rows.assign(line=line.mask(many, "unbiased, pooled"))


def _cosine_axis(ax: Axes, place: str) -> None:
    """The x axis of a panel of cosines, with lines at 0 and at 1."""
    zero_line_x(ax)
    ax.axvline(1.0, color=MUTED, linewidth=0.8, zorder=1)
    ax.set(title=place, xlabel="", ylabel="", xlim=(None, 1.06))
