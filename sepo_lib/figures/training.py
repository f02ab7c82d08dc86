"""The course of training: the measures of the training batches, and NashConv in Kuhn poker, by step."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import (
    ARMS,
    CONFIGURATIONS,
    OWN_ARM,
    PRESETS,
    QUANTITIES,
    Palette,
    labels_among,
    labels_for,
    looks_of,
    named,
    quantity,
    run_look,
)
from sepo_lib.figures.marks import Errorbar, dodge, handle, interval_of, mark_seeds, zero_line
from sepo_lib.figures.notes import note, of_kit
from sepo_lib.figures.panels import Panels, Size, panels, wrapped
from sepo_lib.figures.rows import (
    NothingToDraw,
    filled,
    keep,
    known,
    need,
    one,
    several_models,
    title_of,
    unique,
    without,
)
from sepo_lib.figures.theme import BROKEN, WIDTH, Look, shades

MEASURES = ("nashconv", "pool_advantage")
METRICS = ("payoff", "exploit", "collusion", "externality", "objective")
DARK, MIDDLE, LIGHT = shades(3)
#: What a model is trained against -> its look in `exploiter_training`.
EXPLOITERS = {
    "pool": Look("the fixed pool", LIGHT, "o", False),
    "best_response": Look("best response and train pool", MIDDLE, "s"),
    "best_response_only": Look("best response only", DARK, "D"),
    "best_response_only, enumerated": Look("best response only, enumerated", DARK, "D"),
    "best_response_only, group": Look("best response only, baseline of the group", LIGHT, "o", False),
}
#: Where the measures of the kit's tables come from.
PROBABILITIES = (
    "Both follow from the model's action probabilities, which are enumerated or estimated from samples."
)


@figure(
    "Does SEPO training make the Kuhn poker strategy less exploitable?",
    "Kuhn poker during training: NashConv and the exploiter pool's advantage. Marks are means over training "
    "seeds, dots are single seeds. Lower is safer; an advantage of 0 does not imply a NashConv of 0.",
    of_kit=PROBABILITIES,
    reads="exploitability",
    split=("pools",),
)
def nashconv_training(
    data: pd.DataFrame,
    *,
    metrics: Sequence[str] = MEASURES,
    hue: str | None = None,
    hue_order: Sequence | None = None,
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
    """NashConv and the exploiter pool's advantage (chips per hand) during training, by arm and preset.

    Presets with several arms have panels of their own. Both measures follow from action probabilities, which
    are sampled if the answers cannot be enumerated. Rows of the stage `sft` are the start of the lines, at
    step 0; rows of the stage `base` are not drawn.

    Columns: step and those of `metrics`; optionally stage, arm, preset, seed, model, pools, and the interval
    of a single seed in `<metric>_low` and `<metric>_high`. The options are those of `training_curves`; `ax`
    takes one metric of one preset.

    >>> nashconv_training(pd.read_csv("mine.csv"), metrics=["nashconv"])
    """
    size = Size(height, aspect, col_wrap, width, default=2.0, most=3.5)
    rows = keep(need(data, [], numbers=["step", *metrics]), "pools", pools)
    return _by_step(rows, metrics, (hue, hue_order, palette, labels), errorbar, ax, size)


@figure(
    "Does training against a best response lower NashConv?",
    "Kuhn poker, by what the model is trained against: NashConv and the exploiter pool's advantage. Marks "
    "are means over training seeds, dots are single seeds. Lower is safer. NashConv of samples reads too "
    "high.",
    of_kit=f"{PROBABILITIES} The last step is read from more answers, so a drop there is partly the reading.",
    reads="exploiters",
    study=True,
)
def exploiter_training(
    data: pd.DataFrame,
    *,
    metrics: Sequence[str] = MEASURES,
    hue: str = "exploiter",
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = "ci",
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """NashConv and the pool's advantage (chips per hand) in Kuhn poker, by what the model is trained against.

    Columns: `hue`, step and those of `metrics`; optionally baseline, stage, seed and model. With several
    baselines, each has a line of its own, such as "best_response_only, group". An exploiter that the kit does
    not know is drawn too. Several models need `hue="model"` and rows of one exploiter. The options are those
    of `training_curves`.

    >>> exploiter_training(pd.read_csv("mine.csv"), labels={"pool": "fixed pool"})
    """
    size = Size(height, aspect, col_wrap, width, default=2.0, most=3.5)
    rows = need(data, [hue], numbers=["step", *metrics])
    if hue == "exploiter" and "baseline" in rows and rows["baseline"].nunique() > 1:
        rows = rows.assign(exploiter=rows["exploiter"].astype(str) + ", " + rows["baseline"].astype(str))
    return _by_step(rows, metrics, (hue, hue_order, palette, labels), errorbar, ax, size)


@figure(
    "How do the terms of J change during training?",
    "Measures of the training batches by step. Lines are means over training seeds; a band is the error "
    "bar of every step.",
    reads="training",
    split=("game", "pools"),
    options={"window": None},
)
def training_curves(
    data: pd.DataFrame,
    *,
    game: str | None = None,
    metrics: Sequence[str] = METRICS,
    hue: str | None = None,
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = ("pi", 100),
    pools: str | None = "paper",
    window: int | None = 1,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """u, e, c, x and J of the training batches by step, in one game and pool set.

    Presets with several arms have panels of their own, with one line for each arm. Otherwise there is one
    line for each preset. Arms with equal values share a line. A preset of the kit with a changed switch, such
    as `published+horizon`, is left out beside others. A metric that never changes has no panel. The caption
    says so.

    Columns: step and those of `metrics`; optionally game, pools, arm, preset, seed and model.

    game           the game that is drawn, for a table of several games
    metrics        the columns that are drawn, one panel each
    hue            a column with one line for each of its values, instead of the arms or presets; several
                   models are drawn as hue
    hue_order      the lines that are drawn, in their order
    palette        colours of the lines: a dict, a list, or the name of a palette
    labels         labels of the lines and presets
    errorbar       the band; see `marks.interval_of`. By default from the lowest seed to the highest
    pools          the pool set that is drawn; None for a table of one set
    window         steps of a running mean, taken seed by seed; None is a twentieth of all steps
    ax             the Axes for one metric of one preset
    height, aspect, col_wrap, width   of the grid, in inches; see `panels.Size`

    >>> training_curves(pd.read_csv("mine.csv"), metrics=["payoff", "exploit"], window=5)
    """
    rows = keep(keep(need(data, [], numbers=["step", *metrics]), "game", game), "pools", pools)
    if "preset" in rows.columns:
        parts = rows["preset"].astype(str).str.partition("+")
        changed = parts[0].isin(list(OWN_ARM)) & (parts[1] != "")
        rows = rows if changed.all() else without(rows, changed, "a changed switch")
    rows, looks = _lines(rows, metrics, hue, hue_order, palette, labels)
    window = max(1, rows["step"].nunique() // 20) if window is None else window
    smooth = rows.groupby(["line", "part", "replicate"], dropna=False)[list(metrics)]
    rows[list(metrics)] = smooth.transform(lambda column: column.rolling(window, min_periods=1).mean())
    size = Size(height, aspect, col_wrap, width, default=1.6, most=3.5)
    figure = _panels(rows, _changing(rows, metrics), ax, size, labels)
    for (metric, part), panel in figure.axes.items():
        for number, (line, look) in enumerate(looks.items()):
            chosen = rows[(rows["line"] == line) & (rows["part"] == part)].dropna(subset=[metric])
            if len(chosen):
                _curve(panel, chosen, metric, look, errorbar, number / len(looks))
        panel.locator_params("y", nbins=4)
    smoothed = f"\n(running mean of {window})" if window > 1 else ""
    return _finish(figure, rows, looks.values(), "training step" + smoothed)


def _lines(
    rows: pd.DataFrame,
    metrics: Sequence[str],
    hue: str | None,
    hue_order: Sequence | None,
    palette: Palette | None,
    labels: Mapping[Any, str] | None,
) -> tuple[pd.DataFrame, dict[Any, Look]]:
    """The rows by step with new columns, and the look of each line.

    line       what has a line of its own: a value of `hue`, else the arm or the preset
    part       what has panels of its own: the preset if one of them has several lines, else "" in all rows
    replicate  the seed, or the number of the repetition
    """
    rows = one(known(rows, "step"), "game", "pools")
    if hue is None and several_models(rows):
        hue = "model"
    if hue is not None:
        need(rows, [hue])
        rows = known(rows, hue)
    stage = filled(rows, {"stage": "all rows"})["stage"].astype(str)
    part, arm = (_filled(rows, column, stage) for column in ("preset", "arm"))
    line = arm if hue is None else rows[hue]
    apart = (line.groupby(part).nunique() > 1).any()
    if hue is not None:
        apart = part.nunique() > 1 and (apart or (part.groupby(line).nunique() > 1).any())
    if hue is None and not apart:
        line = part if (arm == part.map(OWN_ARM).fillna(arm)).all() else arm + ", " + part
    labels = labels_among(labels, line, part)
    rows = rows.assign(line=line, part=part if apart else "")
    if hue_order is not None:
        looks_of(line, order=hue_order, name=hue or "the lines")
        rows = rows[line.isin(list(hue_order))]
        note("Drawn", f"{hue or 'lines'} = {', '.join(map(str, hue_order))}")
    unique(rows, [hue or "arm", "preset", "step", "stage"])
    seed = rows["seed"] if "seed" in rows.columns else rows.groupby(["line", "part", "step"]).cumcount()
    rows = rows.assign(replicate=seed).sort_values("step", kind="stable")
    own = labels_for(labels, rows["line"])
    looks = looks_of(
        rows["line"], known=_known(), order=hue_order, palette=palette, labels=own, name=hue or "the lines"
    )
    return _merged(rows, metrics, looks)


def _filled(rows: pd.DataFrame, column: str, otherwise: pd.Series) -> pd.Series:
    """A column as text; where it is empty or missing, `otherwise`."""
    if column not in rows.columns:
        return otherwise
    return rows[column].astype(object).where(rows[column].notna() & (rows[column] != ""), otherwise)


def _known() -> dict[str, Look]:
    """The looks of all lines that the kit knows: arms, presets, arms of a preset, and exploiters."""
    runs = {f"{arm}, {preset}": run_look(arm, preset) for preset in PRESETS for arm in ARMS}
    return named(ARMS | CONFIGURATIONS | runs | EXPLOITERS)


def _merged(
    rows: pd.DataFrame, metrics: Sequence[str], looks: Mapping[Any, Look]
) -> tuple[pd.DataFrame, dict[Any, Look]]:
    """Rows and looks in which lines with equal values are one line that carries their labels."""
    keys = ["part", "step", "replicate"]
    values = {line: own.set_index(keys)[list(metrics)].sort_index() for line, own in rows.groupby("line")}
    merged: dict[Any, Look] = {}
    for line, look in looks.items():
        twin = next((one for one in merged if values[one].equals(values[line])), None)
        if twin is None:
            merged[line] = look
            continue
        note("One line", f"{merged[twin].label} and {look.label}, which have equal values")
        merged[twin] = merged[twin]._replace(label=f"{merged[twin].label} = {look.label}")
    return rows[rows["line"].isin(list(merged))], merged


def _changing(rows: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """The metrics that change; all that have a value if none changes. The caption names the others."""
    with_values = [metric for metric in metrics if rows[metric].notna().any()]
    if not with_values:
        raise NothingToDraw(f"The columns {list(metrics)} have no value.")
    changing = [metric for metric in with_values if np.ptp(rows[metric].dropna()) > 0] or with_values
    for metric in (metric for metric in metrics if metric not in changing):
        constant = f"is {rows[metric].iloc[0]:g} in every row" if metric in with_values else "has no value"
        note("Left out", f"{quantity(metric)}, which {constant}")
    for metric in changing:
        known(rows, metric)
    return changing


def _panels(
    rows: pd.DataFrame,
    metrics: Sequence[str],
    ax: Axes | None,
    size: Size,
    labels: Mapping[Any, str] | None,
    **sharing: bool,
) -> Panels:
    """One panel for each metric and part; panels of one metric share their y axis."""
    parts = list(looks_of(rows["part"]))
    values = [(metric, part) for metric in metrics for part in parts]
    columns = len(parts) if len(parts) > 1 else 2 if len(metrics) in (2, 4) else 3
    if len(parts) > 1:  # a row of panels for each metric
        size = replace(size, default=0.83 * size.default)
    figure = panels(values, ax=ax, size=size, name="metric and preset", columns=columns, **sharing)
    for metric, part in values:
        if part != parts[0] and not sharing:
            figure.axes[metric, part].sharey(figure.axes[metric, parts[0]])
    names = {part: f", {(labels or {}).get(part, part)}" if part else "" for part in parts}
    figure.titles(lambda value: quantity(value[0]) + names[value[1]], room=0.65)
    for (metric, part), panel in figure.axes.items():
        panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        unit = wrapped(QUANTITIES.get(metric, ("", ""))[1], (size.height or size.default) - 0.5)
        shared = panel not in figure.left and (part != parts[0] or sharing)
        panel.set_ylabel("" if shared else unit)
    return figure


def _finish(figure: Panels, rows: pd.DataFrame, looks: Sequence[Look], step: str) -> sns.FacetGrid | Axes:
    """Label the x axes and write the legend; its title names the game and the pools."""
    figure.labels(x=step)
    first = rows.iloc[0]
    title = [title_of(first["game"])] if "game" in rows.columns else []
    title += [f"{first['pools']} pools"] if "pools" in rows.columns else []
    handles = [handle(look, "-" if look.filled else BROKEN) for look in looks]
    figure.legend(handles, title=", ".join(title) or None)
    return figure.drawn


def _curve(ax: Axes, rows: pd.DataFrame, metric: str, look: Look, errorbar: Errorbar, first: float) -> None:
    """The mean by step with a band. `first` shifts the markers, so that those of several lines show."""
    steps = rows.groupby("step")
    found = np.array([interval_of(seeds, metric, errorbar) for _, seeds in steps])
    every = max(1, len(found) // 4)
    ax.plot(
        list(steps.groups),
        found[:, 0],
        color=look.colour,
        linestyle="-" if look.filled else BROKEN,
        linewidth=1.3,
        marker=look.marker,
        markevery=(int(first * every), every),
        markersize=3.8,
        markerfacecolor=look.face,
        label=look.label,
    )
    ax.fill_between(list(steps.groups), found[:, 1], found[:, 2], color=look.colour, alpha=0.15, lw=0)


def _by_step(
    rows: pd.DataFrame,
    metrics: Sequence[str],
    hues: tuple[str | None, Sequence | None, Palette | None, Mapping[Any, str] | None],
    errorbar: Errorbar,
    ax: Axes | None,
    size: Size,
) -> sns.FacetGrid | Axes:
    """Measures of the policy by step, with an error bar at each step. All panels share their axes."""
    stage = filled(rows, {"stage": ""})["stage"]
    rows = without(rows, stage == "base", "the base model" if of_kit() else "the stage base")
    trained, sft = rows[stage[rows.index] != "sft"], rows[stage[rows.index] == "sft"]
    if trained.empty:
        raise NothingToDraw(f"No row belongs to training; the stages are {stage.unique().tolist()}.")
    trained, looks = _lines(trained, metrics, *hues)
    starts, start = _starts(sft, trained), named(CONFIGURATIONS)["sft"]
    figure = _panels(trained, metrics, ax, size, hues[3], sharey=True)
    last, steps = trained["step"].max(), np.sort(trained["step"].unique())
    room = min(last / 12, 0.7 * min(np.diff(steps), default=last))
    for (metric, part), panel in figure.axes.items():
        here = starts[starts["part"] == part]
        # The lines share their start if each seed has one; then it is drawn once.
        common = len(here) > 0 and here.drop_duplicates(["replicate", *metrics])["replicate"].is_unique
        for shift, (line, look) in zip(dodge(len(looks), room), looks.items(), strict=True):
            own = [table[(table["line"] == line) & (table["part"] == part)] for table in (here, trained)]
            _path(panel, *own, metric, look, errorbar, (shift, last / 90, common))
        if common:
            first = here.drop_duplicates("replicate")
            mark_seeds(panel, 0, first, metric, start, -last / 60, errorbar=errorbar)
        zero_line(panel)
        panel.margins(y=0.1)
    if len(looks) > 1:
        note("Places", "the marks of one step stand side by side around this step")
    if len(starts):
        note("Start", f"every line starts at the rows of {start.label} with its seeds, at step 0")
    drawn = [start] if len(starts) and common else []
    return _finish(figure, trained, [*drawn, *looks.values()], "training step")


def _starts(sft: pd.DataFrame, trained: pd.DataFrame) -> pd.DataFrame:
    """The SFT rows from which each line starts: those with its seeds, its model and its exploiter."""
    keys = [key for key in ("model", "exploiter", "seed") if key in sft.columns]
    sft = sft.drop(columns=["line", "part", "replicate"], errors="ignore")
    lines = trained[[*keys, "line", "part"]].drop_duplicates()
    starts = sft.merge(lines, on=keys) if keys else sft.merge(lines, how="cross")
    seed = starts["seed"] if "seed" in starts.columns else starts.groupby(["line", "part"]).cumcount()
    starts = starts.assign(step=0, replicate=seed)
    if len(starts) < len(sft) and len(sft.merge(lines, on=keys, how="left").query("line.isna()")):
        note("Left out", "rows of the stage sft from which no line starts")
    return starts


def _path(
    ax: Axes,
    start: pd.DataFrame,
    rows: pd.DataFrame,
    metric: str,
    look: Look,
    errorbar: Errorbar,
    places: tuple[float, float, bool],
) -> None:
    """The means of one line by step with error bars. `places`: its shift to the right, the shift of the dots,
    and whether the lines start at a common mark."""
    shift, beside, common = places
    if rows[metric].notna().sum() == 0:
        return
    points = pd.concat([start, rows]).groupby("step")[metric].mean()
    x = [step if common and step == 0 else step + shift for step in points.index]
    ax.plot(x, points, color=look.colour, lw=1.1, ls="-" if look.filled else BROKEN, zorder=2)
    for step, seeds in (rows if common else pd.concat([start, rows])).groupby("step"):
        mark_seeds(ax, step + shift, seeds, metric, look, offset=beside, errorbar=errorbar)
