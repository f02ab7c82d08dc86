"""The ablations: outcomes by arm and preset, one switch changed at a time, and the penalty's gradient."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib import games
from sepo_lib.figures import dots
from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import ARMS, CONFIGURATIONS, PRESETS, Palette, labels_among, looks_of, named
from sepo_lib.figures.marks import Errorbar, dodge, handle
from sepo_lib.figures.notes import count, note, of_kit
from sepo_lib.figures.panels import Panels, Size
from sepo_lib.figures.rows import in_order, keep, need, ordered_places, place_of, unique, without
from sepo_lib.figures.theme import INK, WIDTH, Look
from sepo_lib.measure import switches as switches_of

#: The text in the place of a switch that cannot change any advantage.
NO_EFFECT = "no effect by construction"
#: Preset, or the published preset with one switch changed -> its look.
RECIPES = {
    "published": CONFIGURATIONS["published"],
    "published+credit": Look("+ credited", INK, "o"),
    "published+horizon": Look("+ reward to go", INK, "o"),
    "published+clamp": Look("+ mean margin", INK, "o"),
    "published+scale": Look("+ batch scale", INK, "o"),
    "published+weights": Look("+ pool weights", INK, "o"),
    "unbiased": CONFIGURATIONS["unbiased"],
    "authors_current": CONFIGURATIONS["authors_current"],
}
#: Safety and its terms, which `switch_outcomes` draws if the table has them.
TERMS = ("safety", "payoff", "exploit", "collusion", "externality")
#: Preset -> its marker in the figures of arms, where the colour shows the arm.
PRESET_LOOKS = {preset: Look(f"{preset} preset", INK, "o", filled) for preset, filled in PRESETS.items()}


@figure(
    "Which episodes should a penalty be charged to?",
    "Outcomes after training by arm: the arm is the rule that decides to which episodes a penalty is "
    "charged. Colours show the arm. Marks are means over training seeds, dots are single seeds. The panels "
    "of one game and measure have the same scale.",
    passes="_by_arm",
    reads="ablation",
)
def ablation_outcomes(
    data: pd.DataFrame, *, metrics: Sequence[str] = ("safety", "payoff", "exploit"), **options
) -> sns.FacetGrid | Axes:
    """Outcomes after training by arm and preset: one row of panels per game and pool set, one per metric.

    Columns: game, arm, `metrics`; optionally kind (rows of the kind `outcome` are drawn), pools, preset,
    seed, step (the last one is drawn) and model. The panels are found as `grid.axes_dict[metric, place]`.

    hue            a column whose values are drawn below one another. `preset` shows them by markers; another
                   column, such as model, has the colours
    order          the arms that are drawn, in their order
    hue_order      the values of `hue` that are drawn, in their order
    palette        colours of the arms, or of the hue if it is not the preset
    labels         labels of arms and of the values of `hue`
    errorbar       see `marks.interval_of`
    pools          a pool set or a list of them; None draws all
    ax             the Axes of a table with one game and pool set, and of one metric
    height, aspect, col_wrap, width   of the panels, in inches; see `panels.Size`

    >>> ablation_outcomes(pd.read_csv("mine.csv"), metrics=["safety"], order=["none", "all"])
    """
    rows = need(data, ["game", "arm"], numbers=metrics)
    return _by_arm(_last(_of_kind(rows, "outcome"), "arm"), metrics, **options)


@figure(
    "What does each switch of the recipe change?",
    "Outcomes after training by recipe. Marks are means over training seeds, dots are single seeds.",
    of_kit="A + is the published recipe with one switch set as in the unbiased recipe.",
    reads="switches",
    study=True,
)
def switch_outcomes(
    data: pd.DataFrame,
    *,
    metrics: Sequence[str] | None = None,
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
    """Safety and its terms after training: published, published with one switch changed, and unbiased.

    Columns: preset and `metrics` (by default those of safety, payoff, exploit, collusion and externality that
    the table has); optionally game, pools, seed, step (the last one is drawn) and model. A text replaces the
    mark of a recipe whose switch cannot act (`idle_recipes`). `order`, `palette` and `labels` belong to the
    recipes; any recipe is drawn. The other options are those of `ablation_outcomes`.

    >>> switch_outcomes(pd.read_csv("mine.csv"), order=["grpo", "rloo"])
    """
    rows = need(data, ["preset"])
    metrics = metrics or [term for term in TERMS if term in rows.columns]
    if not metrics:
        raise ValueError(
            f"This figure needs one of the columns {list(TERMS)}; choose others with `metrics=`."
        )
    rows = _last(keep(need(rows, [], numbers=metrics), "pools", pools), "preset")
    rows = in_order(rows, "preset", order)
    unique(rows, ["game", "pools", "model", "preset"])
    rows = rows.assign(place=place_of(rows) if "game" in rows.columns else "")
    idle = {place: idle_recipes(here) if of_kit() else [] for place, here in rows.groupby("place")}
    unmoved = [name for found in idle.values() for name in found]
    if "published" not in set(rows["preset"]) or order is not None:
        unmoved = [name for name in unmoved if (rows["preset"] == name).any()]
    looks = looks_of(
        [*rows["preset"], *unmoved],
        known=named(RECIPES),
        order=order,
        palette=palette,
        labels=labels,
        name="preset",
    )
    size = Size(height, aspect, col_wrap, width)
    places = ordered_places(rows) if "game" in rows.columns else [""]
    names = {key: look.label.removeprefix("SEPO, ") for key, look in looks.items()}
    figure = dots.grid_of_metrics(metrics, places, names.values(), lines=1.3 * len(looks), ax=ax, size=size)
    for (metric, place), panel in figure.axes.items():
        here = rows[rows["place"] == place]
        for y, (recipe, look) in enumerate(looks.items()):
            own = here[here["preset"] == recipe]
            if recipe in idle[place]:
                dots.say(panel, -y, NO_EFFECT if figure.width > 1.8 else NO_EFFECT.split(" by")[0])
                rows_of = f"{count(len(own), 'row')} of " if len(own) else ""
                note("Left out", f"{rows_of}{recipe}, which has {NO_EFFECT}")
            else:
                dots.mark_row(panel, -y, own, metric, look, errorbar)
    _finish(figure, names, rows)
    return figure.drawn


@figure(
    "Does the penalty reach the gradient of the policy?",
    "Norm of the penalty's gradient by arm, and its cosine with that gradient of the credited arm, if the "
    "table has it. A norm of 0 means that the penalty does not train the policy; it then has no cosine. "
    "Colours show the arm. Marks are means over training seeds, dots are single seeds.",
    of_kit="Norm and cosine are those of one batch, as means over batches.",
    passes="_by_arm",
    reads="ablation",
)
def penalty_gradient(
    data: pd.DataFrame, *, metrics: Sequence[str] | None = None, **options
) -> sns.FacetGrid | Axes:
    """The norm of the penalty's gradient by arm, and its cosine with that of the credited arm if known.

    The steps of a seed are averaged first. Columns: game, arm, penalty_gradient_norm; optionally
    cosine_to_credited, kind (rows of the kind `gradient` are drawn), pools, preset, seed and model. `metrics`
    replaces the two. Options: see `ablation_outcomes`.

    >>> penalty_gradient(pd.read_csv("mine.csv"), labels={"none": "no penalty"})
    """
    rows = need(data, ["game", "arm"])
    both = ["penalty_gradient_norm", "cosine_to_credited"]
    cosines = both[1] in rows.columns and rows[both[1]].notna().any()
    metrics = list(metrics or (both if cosines else both[:1]))
    rows = _of_kind(need(rows, [], numbers=metrics), "gradient")
    if {"seed", "step"} <= set(rows.columns):
        keys = [key for key in ("game", "pools", "arm", "preset", "seed", "model") if key in rows.columns]
        unique(rows, [*keys, "step"])
        rows = rows.groupby(keys, sort=False, dropna=False)[metrics].mean().reset_index()
    return _by_arm(rows, metrics, **options)


def idle_recipes(switches: pd.DataFrame) -> list[str]:
    """The recipes `published+<switch>` whose switch cannot act in the game and pool set of the table.

    None for a game or a pool set that the kit does not know.
    """
    if not {"game", "pools"} <= set(switches.columns) or switches.empty:
        return []
    game, pools = switches.iloc[0][["game", "pools"]]
    if game not in games.GAMES or pools not in games.get(game).pools:
        return []
    return switches_of.idle("published", games.get(game), pools)


def _of_kind(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind; all rows of a table without kinds."""
    if "kind" not in rows.columns:
        return rows
    others = ", ".join(str(value) for value in rows["kind"].unique() if value != kind)
    return without(rows, rows["kind"] != kind, f"another kind ({others})")


def _last(rows: pd.DataFrame, category: str) -> pd.DataFrame:
    """The rows of the last step of each seed."""
    if not {"seed", "step"} <= set(rows.columns):
        return rows
    keys = [key for key in ("game", "pools", "model", category, "preset", "seed") if key in rows.columns]
    last = rows.groupby(list(dict.fromkeys(keys)), dropna=False)["step"].transform("max")
    return without(rows, rows["step"] != last, "earlier checkpoints")


def _by_arm(
    rows: pd.DataFrame,
    metrics: Sequence[str],
    *,
    hue: str | None = "preset",
    order: Sequence | None = None,
    hue_order: Sequence | None = None,
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
    """The marks of each arm and each value of the hue, one row of panels for each place."""
    if hue == "preset" and "preset" not in rows.columns:
        hue = None
    rows = need(rows, [hue] if hue else [])
    rows = in_order(keep(rows, "pools", pools), "arm", order)
    rows = in_order(rows, hue, hue_order) if hue else rows.assign(none="")
    unique(rows, ["game", "pools", "arm", hue or "arm", *([] if hue == "model" else ["model"])])
    column, by_arm = hue or "none", hue in (None, "preset")
    arms = looks_of(
        rows["arm"],
        known=named(ARMS),
        order=order,
        palette=palette if by_arm else None,
        labels=labels_among(labels, rows["arm"], rows[column]),
        name="arm",
    )
    looks = looks_of(
        rows[column],
        known={"": Look("", INK, "o"), **PRESET_LOOKS} if by_arm else {},
        order=hue_order,
        palette=None if by_arm else palette,
        labels=labels_among(labels, rows[column], rows["arm"]),
        name=column,
    )
    rows = rows.assign(
        place=place_of(rows.drop(columns="model", errors="ignore") if hue == "model" else rows)
    )
    size = Size(height, aspect, col_wrap, width)
    lines = len(arms) * (0.6 + 0.7 * len(looks))
    names = {arm: look.label for arm, look in arms.items()}
    figure = dots.grid_of_metrics(
        metrics, ordered_places(rows), names.values(), lines=lines, ax=ax, size=size
    )
    shifts = [-shift for shift in dodge(len(looks), 0.8 if len(looks) > 1 else 0)]
    for (metric, place), panel in figure.axes.items():
        here = rows[rows["place"] == place]
        for y, (arm, look) in enumerate(arms.items()):
            for shift, (value, other) in zip(shifts, looks.items(), strict=True):
                own = here[(here["arm"] == arm) & (here[column] == value)]
                colour = look.colour if by_arm else other.colour
                label = f"{arm}, {value}" if hue else str(arm)
                mark = other._replace(colour=colour, label=label)
                dots.mark_row(panel, shift - y, own, metric, mark, errorbar)
    _finish(figure, names, rows)
    if by_arm and hue and len(looks) == 1:  # a legend of one black mark says nothing of the colours
        note("Preset", ", ".join(map(str, looks)))
    elif hue:
        figure.legend([handle(look._replace(colour=INK) if by_arm else look) for look in looks.values()])
    return figure.drawn


def _finish(figure: Panels, labels: Mapping[Any, str], rows: pd.DataFrame) -> None:
    """Name the rows, give the panels of one game and metric one x range, and say which values are missing."""
    for metric in dict.fromkeys(metric for metric, _ in figure.axes):
        if missing := int(rows[metric].isna().sum()):
            note("Left out", f"{count(missing, 'row')} without a value of {metric}")
    dots.name_rows(figure, {-y: label for y, label in enumerate(labels.values())})
    game = dict(zip(rows["place"], rows["game"] if "game" in rows.columns else rows["place"], strict=True))
    together: dict[tuple, list[Axes]] = {}
    for (metric, place), panel in figure.axes.items():
        together.setdefault((metric, game[place]), []).append(panel)
    for panels in together.values():
        dots.frame(panels, figure.width)
