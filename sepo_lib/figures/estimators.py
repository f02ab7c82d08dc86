"""The study of estimators: their cosine with the exact gradient of J, their bias and their noise."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from sepo_lib import games
from sepo_lib.figures import dots
from sepo_lib.figures.ablation import NO_EFFECT
from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import CONFIGURATIONS, Palette, labels_among, looks_of, named
from sepo_lib.figures.marks import dodge, handle, zero_line_x
from sepo_lib.figures.notes import count, note, of_kit
from sepo_lib.figures.panels import CHARACTER, Panels, Size, grow, panels, wrapped
from sepo_lib.figures.rows import (
    filled,
    in_order,
    keep,
    keep_nearest,
    known,
    mean_of_intervals,
    need,
    ordered_places,
    place_of,
    unique,
    without,
)
from sepo_lib.figures.theme import BASE, FAINT, INK, MUTED, WIDTH, Look
from sepo_lib.measure import switches
from sepo_lib.measure.statistics import Interval
from sepo_lib.method import credit

#: Policy at which the gradient is estimated -> its look.
POLICIES = {
    "uniform": Look("uniform", MUTED, "o"),
    "random": Look("random", BASE, "s"),
    "cooperative": Look("over-cooperative", MUTED, "^"),
    "equilibrium": Look("near equilibrium", INK, "D"),
}
#: (preset, switch) -> its label in `estimator_cosines`. The switch has the value of the other preset.
ESTIMATORS = {
    ("published", "none"): "published",
    ("published", "credit"): "+ credited",
    ("published", "horizon"): "+ reward to go",
    ("published", "clamp"): "+ mean margin",
    ("published", "scale"): "+ no scale",
    ("published", "weights"): "+ pool weights",
    ("unbiased", "pooled"): "unbiased, large batch",
    ("unbiased", "known"): "unbiased, margins known",
    ("unbiased", "none"): "unbiased",
    ("unbiased", "credit"): "+ per rollout",
    ("unbiased", "horizon"): "+ immediate payoff",
    ("unbiased", "clamp"): "+ clamp per episode",
    ("unbiased", "scale"): "+ group's deviation",
    ("unbiased", "weights"): "+ equal weights",
}
#: The estimators of this kit in `estimators_elsewhere`, and their labels.
OURS = {
    "published": "SEPO, published",
    "authors_current": "SEPO, authors' code",
    "unbiased, margins known": "unbiased, margins known",
    "unbiased, enumerated along play": "enumerated along play",
    "unbiased, enumerated": "enumerated",
}
_UNBIASED = CONFIGURATIONS["unbiased"].colour
#: The lines of `estimator_bias`.
ESTIMATOR_LINES = {
    "unbiased, pooled": Look("unbiased, many groups in a batch", _UNBIASED, "v", False),
    "unbiased, known": Look("unbiased, margins known", _UNBIASED, "P"),
    "unbiased": Look("unbiased", _UNBIASED, "D"),
    "unbiased, credit": Look("+ per rollout", INK, "^"),
    "unbiased, clamp": Look("+ clamp per episode", BASE, "s", False),
    "unbiased, horizon": Look("+ immediate payoff", MUTED, "o"),
}
#: The two measures of `estimators_elsewhere`.
COSINES = {
    "cosine": Look("of the mean of many batches", INK, "D"),
    "batch_cosine": Look("of one batch", INK, "o", False),
}
#: Measure of `estimator_bias` -> its axis label.
ERRORS = {
    "bias": "error of the mean\n(lengths of the gradient)",
    "noise": "deviation of a batch\n(lengths of the gradient)",
}
#: Columns that a table may lack, and the value that all of its rows then have.
_OPTIONAL = {"switch": "none", "groups_per_batch": 1}
_LABEL = "cosine with the exact gradient\n(-1 to 1)"


@figure(
    "Which estimators point in the direction of the gradient of J?",
    "Cosine between the mean of each estimator and the exact gradient of J, by policy. A cosine of 1 is the "
    "exact direction. Bars: the intervals of the table, if it has them. Open markers: J has no gradient at "
    "this policy, because a margin is exactly 0.",
    of_kit="A + is the preset with one switch set as in the other preset. The intervals are 95% bootstrap "
    "intervals.",
    reads="estimators",
    study=True,
    split=["pools"],
)
def estimator_cosines(
    data: pd.DataFrame,
    *,
    group_size: int = 8,
    pools: str | Sequence[str] | None = "paper",
    term: str = "J",
    order: Sequence[tuple[str, str]] | None = None,
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Cosine of every estimator's mean with the exact gradient of J, one panel per game and pool set.

    Upper block: the published preset, then each of its switches changed alone. Lower block: the unbiased
    preset with many groups in a batch, with the exact margins, and as it is; then each of its switches
    changed alone. If a switch cannot act, a text says so.

    Columns: game, policy, how (preset or estimator), cosine; optionally pools, switch, arm, group_size,
    groups, groups_per_batch, term, nearest_margin (0: an open marker), cosine_low and cosine_high.

    group_size     the value nearest to it is drawn
    pools, term    the pool set and the term of J that are drawn; None draws all pool sets
    order          pairs (how, switch): the estimators that are drawn. By default those of `ESTIMATORS` and
                   the presets that were added to the kit's; all estimators if the table has none of them
    hue_order, palette, labels   the policies that are drawn, their colours and labels; `labels` may name the
                   pairs of `order` too
    ax             the Axes of a table with one game and pool set
    height, aspect, col_wrap, width   of the panels, in inches; see `panels.Size`

    >>> estimator_cosines(pd.read_csv("mine.csv"), group_size=16)
    """
    rows = known(_prepared(data, ["cosine"], pools, term), "cosine")
    rows = _with_own_switches(keep_nearest(rows, "group_size", group_size))
    rows = rows.assign(pair=list(zip(rows["how"], rows["switch"], strict=True)))
    rows = _chosen(rows, "pair", order, ESTIMATORS)
    rows = in_order(rows, "policy", hue_order)
    unique(rows, ["game", "pools", "model", "policy", "how", "switch"], repeats=False)
    drawn = list(order or [pair for pair in ESTIMATORS if (rows["pair"] == pair).any()])
    drawn += [pair for pair in rows["pair"].unique() if pair not in drawn]
    looks = looks_of(
        rows["policy"],
        known=named(POLICIES),
        order=hue_order,
        palette=palette,
        labels=labels_among(labels, rows["policy"], rows["pair"]),
        name="policy",
    )
    names = {
        pair: ESTIMATORS.get(pair, pair[0] if pair[1] == "none" else ", ".join(map(str, pair)))
        for pair in drawn
    } | labels_among(labels, drawn, rows["policy"])
    blocks = [
        pair in ESTIMATORS and last in ESTIMATORS and pair[0] != last[0] for last, pair in pairwise(drawn)
    ]
    y_of = {pair: -y - 0.5 * sum(blocks[:y]) for y, pair in enumerate(drawn)}
    size, lines = Size(height, aspect, col_wrap, width), len(drawn) * (0.5 + 0.55 * len(looks))
    figure = _cosine_panels(rows, names.values(), lines, ax, size)
    acts = pd.Series(acting(rows) if of_kit() else True, index=rows.index)
    for place, panel in figure.axes.items():
        here = rows[rows["place"] == place]
        for pair, y in y_of.items():
            own = here[here["pair"] == pair]
            if len(own) and not acts[own.index].any():
                dots.say(panel, y, NO_EFFECT if figure.width > 2.0 else NO_EFFECT.split(" by")[0])
                continue
            for shift, (policy, look) in zip(dodge(len(looks), 0.88), looks.items(), strict=True):
                for row in own[own["policy"] == policy].itertuples():
                    kink = getattr(row, "nearest_margin", np.nan) == 0
                    found = Interval(*(getattr(row, f"cosine{end}", np.nan) for end in ("", "_low", "_high")))
                    dots.bar_row(panel, y - shift, found, look._replace(filled=not kink), 3.4)
    dots.name_rows(figure, {y_of[pair]: name for pair, name in names.items()})
    _finish_cosines(figure)
    figure.legend([handle(look) for look in looks.values()])
    return figure.drawn


@figure(
    "How large are the bias and the noise of each estimator?",
    "Bias and noise against the group size G, in units of the exact gradient's length. Error of the mean "
    "estimate; the grey band is the error that sampling noise alone causes, from the least to the most noisy "
    "of the estimators. A line above the band shows a bias. Deviation: the standard deviation of one batch.",
    of_kit="A + changes one switch of the unbiased preset.",
    reads="estimators",
    study=True,
    split=["pools"],
)
def estimator_bias(
    data: pd.DataFrame,
    *,
    policy: str = "equilibrium",
    pools: str | Sequence[str] | None = "paper",
    term: str = "J",
    measures: Sequence[str] = ("bias", "noise"),
    hue_order: Sequence[str] | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Bias and noise against the group size G at one policy, in units of the exact gradient's length.

    The panels are found as `grid.axes_dict[measure, place]`. All panels of a measure have one scale.

    Columns: game, policy, how (preset or estimator), group_size, bias_norm, noise_norm, variance, exact_norm;
    optionally pools, switch, arm, groups, groups_per_batch and term.

    policy, pools, term   the rows that are drawn; None draws all pool sets
    measures       `bias`, `noise` or both
    hue_order      the lines that are drawn. A line is named after its estimator and its switch, such as
                   `unbiased` and `unbiased, credit`. By default those of `ESTIMATOR_LINES` and the presets
                   that were added to the kit's; all lines if the table has none of them
    palette, labels   colours and labels of the lines
    ax             the Axes of a table with one game and pool set, and of one measure
    height, aspect, col_wrap, width   of the panels, in inches; see `panels.Size`

    >>> estimator_bias(pd.read_csv("mine.csv"), policy="uniform", measures=["bias"])
    """
    if unknown := [measure for measure in measures if measure not in ERRORS]:
        raise ValueError(f"`measures` names {unknown}; choose from {list(ERRORS)}.")
    numbers = ["group_size", "bias_norm", "noise_norm", "variance", "exact_norm"]
    rows = keep(_prepared(data, numbers, pools, term), "policy", policy)
    rows = rows[acting(rows)] if of_kit() else rows
    rows = _with_own_switches(rows)
    line = rows["how"].astype(str) + rows["switch"].map(lambda s: "" if s == "none" else f", {s}")
    rows = rows.assign(line=line)
    rows = known(_chosen(rows, "line", hue_order, ESTIMATOR_LINES), "bias_norm")
    unique(rows, ["game", "pools", "model", "line", "group_size"], repeats=False)
    looks = looks_of(
        rows["line"], known=ESTIMATOR_LINES, order=hue_order, palette=palette, labels=labels, name="line"
    )
    places, size = ordered_places(rows), Size(height, aspect, col_wrap, width, least=1.5)
    keys, columns = [(measure, place) for measure in measures for place in places], size.columns(len(places))
    if turned := len(places) % columns > 0:  # a row of panels for each place, not for each measure
        keys, columns = [(measure, place) for place in places for measure in measures], len(measures)
    figure = panels(keys, ax=ax, size=size, name="(measure, place)", columns=columns)
    for (measure, place), panel in figure.axes.items():
        _errors(panel, measure, rows[rows["place"] == place], looks)
        panel.set_title(wrapped(place, figure.width - 0.45) if figure.own else panel.get_title() or place)
    for measure in measures:
        _decades([panel for key, panel in figure.axes.items() if key[0] == measure])
    for (measure, _), panel in figure.axes.items():
        panel.set_ylabel(ERRORS[measure] if turned or panel in figure.left else "")
        panel.set_xlabel(wrapped("group size G\n(episodes)", figure.width) if panel in figure.bottom else "")
    band = [Patch(color=FAINT, label="error by sampling noise alone")] if "bias" in measures else []
    figure.legend([*(handle(look, "-") for look in looks.values()), *band])
    return figure.drawn


@figure(
    "Do estimators of other papers point in the direction of the gradient of J?",
    "Cosine with the exact gradient of J, of the mean estimate and of the estimate of one batch, by "
    "estimator. The mean shows the bias, one batch shows bias and noise. Marks are means over policies; "
    "bars: the intervals of the table, if it has them.",
    of_kit="The intervals are 95% bootstrap intervals.",
    reads="estimators",
    study=True,
    split=["pools"],
)
def estimators_elsewhere(
    data: pd.DataFrame,
    *,
    group_size: int = 8,
    pools: str | Sequence[str] | None = "paper",
    term: str = "J",
    order: Sequence[str] | None = None,
    labels: Mapping[Any, str] | None = None,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """Estimators of other papers and of this kit: cosine with the exact gradient of J, by game and pool set.

    Filled: cosine of the mean estimate. Open: cosine of the estimate of one batch, mean over batches. Marks
    are means over the policies at which J has a gradient. Bars are 95% bootstrap intervals of this mean; the
    policies are simulated independently. Our estimators use the exact margins, as those of other papers do.

    Columns: game, policy, how (estimator), cosine, batch_cosine; optionally pools, switch, group_size,
    groups, groups_per_batch, term, nearest_margin, and the intervals in _low and _high. `order` chooses
    estimators (by default `labels_of`), `labels` renames them. The other options are those of
    `estimator_cosines`.

    >>> estimators_elsewhere(pd.read_csv("mine.csv"), order=["reinforce", "rloo"])
    """
    rows = _prepared(data, list(COSINES), pools, term)
    rows = without(rows, rows["switch"] != "none", "changed switches")
    rows = without(rows, rows["groups_per_batch"] > 1, "large batches")
    if "nearest_margin" in rows.columns:
        rows = without(rows, rows["nearest_margin"] == 0, "policies at which J has no gradient")
    rows = known(keep_nearest(rows, "group_size", group_size), "cosine", "batch_cosine")
    rows = in_order(rows, "how", order if order is not None else list(labels_of(rows["how"])) or None)
    unique(rows, ["game", "pools", "model", "policy", "how"], repeats=False)
    drawn = list(order or labels_of(rows["how"]) or rows["how"].unique())
    own = labels_of(drawn) if of_kit() else {}
    names = {name: str(name) for name in drawn} | own | labels_among(labels, drawn)
    size = Size(height, aspect, col_wrap, width)
    figure = _cosine_panels(rows, names.values(), 1.7 * len(drawn), ax, size)
    for place, panel in figure.axes.items():
        for y, name in enumerate(drawn):
            policies = rows[(rows["place"] == place) & (rows["how"] == name)]
            if policies.empty:
                continue
            for (measure, look), offset in zip(COSINES.items(), (0.18, -0.18), strict=True):
                ends = {f"{measure}_low", f"{measure}_high"} <= set(rows.columns)
                middle = Interval(policies[measure].mean(), np.nan, np.nan)
                found = Interval(*mean_of_intervals(policies, measure)) if ends else middle
                dots.bar_row(panel, offset - y, found, look, 4.0)
    dots.name_rows(figure, {-y: names[name] for y, name in enumerate(drawn)})
    _finish_cosines(figure)
    figure.legend([handle(look) for look in COSINES.values()])
    return figure.drawn


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

    `rows` have the columns how (preset), switch, game and pools. True as well for a preset, a game or a pool
    set that the kit does not know.
    """
    return [
        row.switch not in credit.FIELD_OF_SWITCH
        or row.how not in credit.PRESETS
        or row.game not in games.GAMES
        or getattr(row, "pools", "paper") not in games.get(row.game).pools
        or switches.acts(
            credit.PRESETS[row.how], row.switch, games.get(row.game), getattr(row, "pools", "paper")
        )
        for row in rows.itertuples()
    ]


def _prepared(
    data: pd.DataFrame, numbers: Sequence[str], pools: str | Sequence[str] | None, term: str
) -> pd.DataFrame:
    """The rows of one term with the most groups, of each estimator and of each switch changed alone.

    Of the switch of the credit, the arm that the other preset has is kept. The new column `place` names game
    and pool set.
    """
    rows = filled(need(data, ["game", "policy", "how"], numbers), _OPTIONAL)
    rows = keep(keep(rows, "pools", pools), "term", term)
    if "groups" in rows.columns:
        keys = [key for key in ("game", "pools") if key in rows.columns]
        rows = without(rows, rows["groups"] < rows.groupby(keys)["groups"].transform("max"), "fewer groups")
    if "arm" in rows.columns:
        arm = rows["how"].map({"published": "credited", "unbiased": "per_rollout"})
        other = (rows["switch"] == "credit") & arm.notna() & (rows["arm"] != arm)
        others = ", ".join(rows.loc[other, "arm"].astype(str).unique())
        rows = without(rows, other, f"other arms ({others})")
    return rows.assign(place=place_of(rows))


def _with_own_switches(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without changed switches in large batches; two more variants of a preset count as switches.

    The switch of a preset in large batches is `pooled`, that of the unbiased one with known margins `known`.
    """
    large = rows["groups_per_batch"] > 1
    rows = without(rows, large & (rows["switch"] != "none"), "switches in large batches")
    switch = rows["switch"].mask(rows["groups_per_batch"] > 1, "pooled")
    margins = (rows["how"] == "unbiased, margins known") & (switch == "none")
    return rows.assign(how=rows["how"].mask(margins, "unbiased"), switch=switch.mask(margins, "known"))


def _chosen(
    rows: pd.DataFrame, column: str, order: Sequence | None, usual: Mapping[Any, object]
) -> pd.DataFrame:
    """The rows of `order`; by default of the `usual` values and of presets that were added to the kit's.

    All rows if there are none of these.
    """
    if order is not None:
        return in_order(rows, column, order)
    added = [preset for preset in credit.PRESETS if preset not in CONFIGURATIONS]
    drawn = rows[column].isin(list(usual)) | rows["how"].isin(added)
    others = rows.loc[~drawn, column].nunique()
    return without(rows, ~drawn, f"{count(others, 'further estimator')}") if drawn.any() else rows


def _cosine_panels(
    rows: pd.DataFrame, names: Iterable[str], lines: float, ax: Axes | None, size: Size
) -> Panels:
    """The panels of a figure of cosines by place; `lines` is the height of a panel, in `dots.LINE`."""
    places = ordered_places(rows)
    columns = size.columns(len(places))
    height, aspect = size.panel(columns)
    room = dots.label_width(names, columns * height * aspect) / columns + 0.1
    titles = max(wrapped(place, height * aspect - room).count("\n") + 1 for place in places)
    size.default = 0.45 + 0.14 * titles + dots.LINE * max(5, lines)
    figure = panels(places, ax=ax, size=size, name="place")
    figure.titles(str, room)
    if figure.own:
        texts = wrapped(_LABEL, figure.width - room)
        grow(figure.figure, 0.14 * (1 + texts.count("\n")))
        for panel in figure.bottom:
            panel.set_xlabel(texts)
    else:
        figure.drawn.set_xlabel(_LABEL)
    return figure


def _finish_cosines(figure: Panels) -> None:
    """The x axes of panels of cosines: one range, and lines at 0 and at 1."""
    ends = [x for ax in figure.axes.values() for line in ax.lines for x in np.ravel(line.get_xdata())]
    ends += [x for ax in figure.axes.values() for bar in dots.bars_of(ax) for x in bar[:, 0]]
    for ax in figure.axes.values():
        zero_line_x(ax)
        ax.axvline(1.0, color=MUTED, linewidth=0.8, zorder=1)
        ax.set_xlim(min([0.0, *ends]) - 0.08, 1.08)
        ticks = (-1, 0, 1) if figure.width < 2 and min(ends) < -0.7 else (-1, -0.5, 0, 0.5, 1)
        ax.set_xticks([tick for tick in ticks if tick >= ax.get_xlim()[0]])


def _errors(ax: Axes, measure: str, rows: pd.DataFrame, looks: Mapping[str, Look]) -> None:
    """One panel of `estimator_bias`: the lines, and for the bias the band of sampling noise."""
    noise = (rows["noise_norm"] / rows["exact_norm"]).groupby(rows["group_size"])
    if measure == "bias":
        ax.fill_between(list(noise.groups), noise.min(), noise.max(), color=FAINT, lw=0.8, zorder=1)
    for key, look in looks.items():
        if measure == "noise" and key.endswith(", pooled"):  # its batches have another size
            continue
        line = rows[rows["line"] == key].sort_values("group_size")
        values = line["bias_norm"] if measure == "bias" else np.sqrt(line["variance"])
        if (values <= 0).any():
            note("Left out", f"values of 0, which a logarithmic axis cannot show ({look.label})")
        style = {"color": look.colour, "marker": look.marker, "mfc": look.face, "ms": 3.8, "lw": 1.2}
        ax.plot(line["group_size"], values / line["exact_norm"], **style)
    sizes = sorted(rows["group_size"].unique())
    ax.set(xscale="log", yscale="log", xlim=(min(sizes) * 0.85, max(sizes) * 1.18))
    shown = sizes if len(sizes) * 3 * CHARACTER * 8 < 1.2 else [sizes[0], sizes[-1]]
    ax.set_xticks(shown, [f"{size:g}" for size in shown])
    ax.minorticks_off()


def _decades(axes: Sequence[Axes]) -> None:
    """Give the panels one logarithmic y axis of whole decades, so that it has two ticks or more."""
    values = [y for ax in axes for line in ax.lines for y in np.ravel(line.get_ydata()) if y > 0]
    bands = [y for ax in axes for made in ax.collections for y in made.get_paths()[0].vertices[:, 1] if y > 0]
    if values:
        low, high = np.log10(min(values + bands)), np.log10(max(values + bands))
        first, last = np.floor(low + 0.05), np.ceil(high - 0.05)
        last = max(last, first + 1)
        for ax in axes:
            ax.set_ylim(10 ** min(first, low - 0.1), 10 ** max(last, high + 0.1))
            ax.set_yticks(10 ** np.arange(first, last + 1))
