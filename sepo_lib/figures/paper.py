"""The models of the paper's authors: their J beside ours, and their NashConv in Kuhn poker."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import CONFIGURATIONS, OWN_ARM, Palette, axis_label, labels_among, looks_of
from sepo_lib.figures.marks import (
    Errorbar,
    bar_style,
    dodge,
    draw_mean,
    handle,
    kind_of,
    mark_seeds,
    zero_line,
    zero_line_x,
)
from sepo_lib.figures.notes import count, note, of_kit
from sepo_lib.figures.panels import Size, name_categories, panels
from sepo_lib.figures.rows import (
    NothingToDraw,
    configured,
    filled,
    in_order,
    in_turn,
    keep,
    known,
    need,
    ordered_games,
    title_of,
    unique,
)
from sepo_lib.figures.theme import FAINT, INK, MARKERS, MUTED, WIDTH, Look, shades
from sepo_lib.measure import authors

#: The two measures that `paper_nashconv` compares.
NASHCONV = {
    "pool_advantage": Look("printed advantage", MUTED, "o", False),
    "nashconv": Look("NashConv of the printed frequencies", INK, "D"),
}
SIDES = {False: "the authors' models", True: "ours"}


@figure(
    "Do the authors' models and ours move the same way from base to SFT to SEPO?",
    "J of the authors' models (left) and of ours (right). A line follows one model from base to SFT to each "
    "of its recipes; right is safer. The two panels of one game have one scale. The models differ, so "
    "compare the directions of the lines rather than their positions.",
    of_kit="J has the same weights in both. The authors store one model each, without an interval.",
    reads="evaluation",
    also=authors.load,
)
def paper_against_ours(
    data: pd.DataFrame,
    paper: pd.DataFrame,
    *,
    order: Sequence | None = None,
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    ablation: bool = False,
    height: float | None = None,
    aspect: float | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid:
    """Do the authors' models and ours change in the same direction from base to SFT to SEPO?

    Two panels per game: the authors' models and ours; one row per stage or recipe; x: J with the evaluation
    weights. Our rows are those of the pool set `paper`, which the authors' rows belong to.

    `paper` is the table of `authors.load`; its rows with an empty `reason` are drawn. A recipe, a stage or a
    model that the kit does not know is drawn too.

    Columns of `data`: game, stage, safety; optionally pools, arm, preset, seed, model, and step or reported.
    Columns of `paper`: game, who, recipe, safety; optionally reason, and step for several checkpoints of a
    recipe.

    order       the recipes that are drawn, in their order: base, sft, constant, published, ...
    hue_order   the models that are drawn, in their order, such as "nano (ours)"
    palette     colours of the models
    labels      labels of models and recipes
    ablation    True draws the rows of other arms and changed switches as well
    height, aspect, width   of a panel and of the grid, in inches

    >>> paper_against_ours(pd.read_csv("mine.csv"), pd.read_csv("theirs.csv"))
    """
    rows = _ours(data, ablation)
    theirs = _theirs(paper)
    compared = authors.side_by_side(rows, theirs)
    if compared.empty:
        raise NothingToDraw(
            f"The authors' table has no comparable row in the games {ordered_games(rows)}; it has "
            f"those of {ordered_games(theirs)}."
        )
    if alone := in_turn(set(rows["game"]) - set(compared["game"])):
        missing = ", ".join(map(title_of, alone))
        note("Left out", f"{missing}, without a comparable row of the authors")
    if alone := in_turn(set(theirs["game"]) - set(compared["game"])):
        note("Left out", f"game = {', '.join(map(str, alone))} of the authors, without a row of ours")
    compared = in_order(in_order(compared, "recipe", order), "who", hue_order)
    found = [*authors.STAGES, *compared["recipe"].drop_duplicates()]
    recipes = list(order or dict.fromkeys(key for key in found if (compared["recipe"] == key).any()))
    of_models = labels_among(labels, compared["who"], compared["recipe"])
    looks = looks_of(
        compared["who"],
        known=_models(compared),
        order=hue_order,
        palette=palette,
        labels=of_models,
        name="who",
    )
    games = ordered_games(compared)
    values = [(game, ours) for game in games for ours in SIDES]
    size = Size(height, aspect, 2, width, default=0.6 + 0.36 * len(recipes), most=3.5)
    figure = panels(values, size=size, name="game and side")
    for game in games:
        figure.axes[game, True].sharex(figure.axes[game, False])
    for (game, ours), ax in figure.axes.items():
        here = compared[(compared["game"] == game) & (compared["ours"] == ours)]
        models = [who for who in looks if (here["who"] == who).any()]
        for offset, who in zip(dodge(len(models), 0.62), models, strict=True):
            _path_of_model(ax, here[here["who"] == who], recipes, offset, looks[who])
        for y, recipe in enumerate(recipes):
            if not (here["recipe"] == recipe).any():
                where = {"xycoords": ("axes fraction", "data"), "va": "center"}
                ax.annotate("no data", (0.02, y), fontsize=6, color=MUTED, **where)
    names = [_recipe(key, labels or {}) for key in recipes]
    for ax in figure.axes.values():  # the two panels of a game must be complete: they have one scale
        _rows_of_recipes(ax, names, ax in figure.left, figure.width)
    figure.titles(lambda value: f"{title_of(value[0])}, {SIDES[value[1]]}")
    figure.labels(x=axis_label("safety"))
    entries = [handle(look, "-") for look in looks.values()]
    if not compared["last"].all():
        entries.append(handle(Look("earlier checkpoints", MUTED, ".")))
    figure.legend(entries)
    return figure.drawn


def _ours(data: pd.DataFrame, ablation: bool) -> pd.DataFrame:
    """Our reported rows as `authors.side_by_side` reads them; missing columns get one value."""
    rows = need(data, ["game", "stage"], numbers=["safety"])
    rows = known(configured(keep(rows, "pools", "paper"), ablation), "safety")
    missing = {"pools": "paper", "model": "model", "arm": None, "preset": None, "step": 0}
    rows = known(filled(rows, missing), "model")
    unique(rows, ["game", "model", "configuration"])
    for _, seeds in rows.groupby(["game", "model", "configuration"]):
        note("Error bars", kind_of(seeds, "safety"))
    # `side_by_side` takes the arm and preset of a SEPO row from the kit's presets; others count as a stage.
    own = (rows["stage"] == "sepo") & rows["configuration"].isin(list(OWN_ARM))
    arm = rows["arm"].astype(object).where(rows["arm"].notna(), rows["preset"].map(OWN_ARM))
    return rows.assign(stage=rows["configuration"].mask(own, "sepo"), arm=arm)


def _theirs(paper: pd.DataFrame) -> pd.DataFrame:
    """The authors' rows that are compared."""
    rows = need(paper, ["game", "who", "recipe"], numbers=["safety"])
    rows = filled(rows, dict.fromkeys(["reason", "step", *authors.TERMS], np.nan))
    rows = rows.assign(reason=rows["reason"].fillna("").astype(str))
    if others := int((rows["reason"] != "").sum()):
        note("Left out", f"{count(others, 'row')} of the authors that cannot be compared (column `reason`)")
    rows = rows[rows["reason"] == ""]
    if rows.empty:
        raise NothingToDraw("No row of the authors can be compared: the column `reason` is never empty.")
    return known(rows, "safety")


def _models(compared: pd.DataFrame) -> dict[str, Look]:
    """The looks of models: ours black; the authors' in greys, open for their first runs."""
    ours = compared.loc[compared["ours"], "who"].unique()
    theirs = sorted(compared.loc[~compared["ours"], "who"].unique())
    names = list(dict.fromkeys(who.rsplit(" (", 1)[0] for who in theirs))
    looks = {ours[0]: Look(ours[0], INK, "D")} if len(ours) == 1 else {}
    colours = dict(zip(names, shades(len(names)), strict=True))
    for who in theirs:
        name = who.rsplit(" (", 1)[0]
        marker = MARKERS[names.index(name) % len(MARKERS)].replace("D", "v")
        looks[who] = Look(f"authors: {who}", colours[name], marker, not who.endswith("(first)"))
    return looks


def _recipe(key: str, labels: Mapping[Any, str]) -> str:
    """The label of a recipe, with the name of the preset where it has another."""
    label = authors.STAGES.get(key, str(key)) if of_kit() else str(key)
    other = "" if key in label or key in ("base", "sft") else f"\n({key})"
    return labels.get(key, label + other)


def _rows_of_recipes(ax: Axes, names: Sequence[str], left: bool, inches: float) -> None:
    """A y axis with one row for each recipe, named in the left panels, and a line at J = 0 if it is near.

    The panel is `inches` wide.
    """
    ax.margins(x=0.08)
    low, high = ax.get_xlim()
    if low - 0.3 * (high - low) < 0 < high + 0.3 * (high - low):
        zero_line_x(ax)
    ax.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), ylabel="")
    ax.set_yticklabels(names if left else [], linespacing=1.15)
    ax.tick_params(axis="y", length=0)
    ax.locator_params("x", nbins=5 if inches > 2 else 2)
    ax.grid(axis="y", visible=False)
    for edge in range(len(names) - 1):
        ax.axhline(edge + 0.5, color=FAINT, linewidth=0.7, zorder=0)


def _path_of_model(ax: Axes, rows: pd.DataFrame, recipes: Sequence[str], offset: float, look: Look) -> None:
    """The marks of one model in one game at the heights of its recipes, with lines between the stages."""
    last = rows[rows["last"]].set_index("recipe")
    height = {key: recipes.index(key) + offset for key in last.index}
    for key in last.index:
        before = "sft" if key not in ("base", "sft") else "base"
        if before in last.index and key != before:
            ends = [last.loc[before, "safety"], last.loc[key, "safety"]]
            ax.plot(ends, [height[before], height[key]], color=look.colour, lw=1.1, alpha=0.6, zorder=2)
        x, low, high = last.loc[key, ["safety", "low", "high"]].astype(float)
        style = {**bar_style(look), "label": look.label, "zorder": 3}
        draw_mean(ax, (x, height[key]), style, x_ends=(low, high))
    early = rows[~rows["last"]]
    heights = [height[key] for key in early["recipe"]]
    ax.plot(early["safety"], heights, "o", color=look.colour, markersize=2.6, mew=0, alpha=0.7, zorder=2)


@figure(
    "Are the authors' models near a Nash equilibrium in Kuhn poker?",
    "The authors' models in Kuhn poker: the exploiter pool's advantage as printed, and NashConv of the "
    "printed action frequencies with the interval of the table. Numbers below the axis are "
    "training steps. Lower is safer; an advantage of 0 does not imply a NashConv of 0.",
    reads="paper_nashconv",
    study=True,
)
def paper_nashconv(
    data: pd.DataFrame,
    *,
    order: Sequence | None = None,
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
    """The authors' models in Kuhn poker: their printed pool advantage beside NashConv (chips per hand).

    One panel per model. NashConv follows from the printed action frequencies, its interval from the printed
    numbers of decisions. Columns: model, stage, pool_advantage, nashconv; optionally step, generation, seed,
    nashconv_low and nashconv_high. Several generations of a model have panels of their own.

    order       the models, in their order
    hue_order   the two measures, in their order: pool_advantage, nashconv
    palette     their colours
    labels      labels of models, stages and measures
    ax          the Axes of a table with one model

    The other options are those of `by_stage`.

    >>> paper_nashconv(pd.read_csv("mine.csv"), col_wrap=2)
    """
    rows = in_order(need(data, ["model", "stage"], numbers=NASHCONV), "model", order)
    for measure in NASHCONV:
        known(rows, measure)
    step = need(rows, [], ["step"])["step"] if "step" in rows.columns else np.nan
    rows = rows.assign(step=step, panel=rows["model"].astype(str))
    if "generation" in rows.columns and (rows.groupby("model")["generation"].nunique() > 1).any():
        rows["panel"] += "\n(" + rows["generation"].astype(str) + ")"
    unique(rows, ["panel", "stage", "step"], repeats=False)
    names = labels_among(labels, NASHCONV, [*rows["panel"], *rows["stage"]])
    marks = looks_of(
        NASHCONV, known=NASHCONV, order=hue_order, palette=palette, labels=names, name="the measures"
    )
    places = rows.groupby("panel")[["stage", "step"]].apply(lambda table: len(table.drop_duplicates())).max()
    size = Size(height, aspect, col_wrap, width, default=1.9, most=2.7, least=0.6 + 0.26 * places)
    figure = panels(rows["panel"].unique(), ax=ax, size=size, name="model", sharey=True)
    for name, panel in figure.axes.items():
        own = rows[rows["panel"] == name]
        stages = own[["stage", "step"]].drop_duplicates()
        for x, (stage, step) in enumerate(zip(stages["stage"], stages["step"], strict=True)):
            here = own[(own["stage"] == stage) & own["step"].isin([step])]
            for shift, (measure, look) in zip(dodge(len(marks), 0.5), marks.items(), strict=True):
                mark_seeds(panel, x + shift, here, measure, look, offset=0.12, errorbar=errorbar)
        zero_line(panel)
        texts = [_place(*place, labels or {}) for place in stages.itertuples(index=False)]
        name_categories(panel, texts, figure.width - 0.4)
    figure.titles(lambda name: (labels or {}).get(name, name))
    figure.labels(y="chips per hand")
    figure.legend([handle(look) for look in marks.values()])
    return figure.drawn


def _place(stage: str, step: float, labels: Mapping[Any, str]) -> str:
    """The label of a stage and its step below the x axis."""
    known_ = {"base": "base", "sft": CONFIGURATIONS["sft"].label, "sepo": "SEPO"}
    name = labels.get(stage, known_.get(stage, str(stage)))
    return name if pd.isna(step) else f"{name}\n{step:.0f}"
