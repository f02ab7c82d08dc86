"""The strategy of a policy: what it does in each situation, and the known strategies that do the same."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib import games
from sepo_lib.figures import dots
from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import Palette
from sepo_lib.figures.marks import Errorbar, dodge, handle, mark_seeds
from sepo_lib.figures.notes import note, noting, of_kit
from sepo_lib.figures.panels import Size, name_categories, panels, single
from sepo_lib.figures.rows import (
    NothingToDraw,
    by_hue,
    configured,
    keep,
    need,
    title_of,
    without,
)
from sepo_lib.figures.theme import WIDTH, Look
from sepo_lib.measure import agreement

#: The error bars of shares of decisions, in the words of a caption.
BARS = "95% t over seeds{}, cut to [0, 1] and widened to Wilson's interval of all decisions"
OF_BASE = " (of the base model: over its evaluations)"


@figure(
    "What does the policy do in each situation?",
    "What the policy does in each situation that it meets in its evaluation: shares of its decisions, or "
    "means of a number. Marks are means over training seeds, dots are single seeds.",
    reads="behaviour",
    study=True,
    split=("game",),
)
def behaviour(
    data: pd.DataFrame,
    *,
    game: str | None = None,
    least: int = 10,
    hue: str = "configuration",
    order: Sequence | None = None,
    hue_order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = "ci",
    pools: str | None = None,
    ablation: bool = False,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """What a policy does in each situation of one game, one panel per action or number, by stage.

    The situations stand in the order of the table. An action whose share follows from that of another one has
    no panel.

    Columns: stage, situation, action (or the name of a number), value; optionally kind (rows of the kind
    `situation` are drawn), decisions, game, pools, preset and arm, seed, model, and reported or step.

    game        the game that is drawn, for a table of several games; a game with NashConv has another figure,
                `kuhn_strategy`
    least       rows of fewer decisions are left out

    The other options are those of `kuhn_strategy`.

    >>> behaviour(pd.read_csv("mine.csv"), order=["before", "ppo"])
    """
    if game in games.GAMES and "nashconv" in games.GAMES[game].traits:
        raise NothingToDraw(f"`kuhn_strategy` draws the information sets of {title_of(game)}.")
    data = keep(_of_kind(need(data, [], numbers=["value"]), "situation"), "game", game)
    situations = list(dict.fromkeys(need(data, ["situation"])["situation"].map(str)))
    met = data[data["decisions"] > 0] if "decisions" in data else data
    rows, looks = _selected(met, ["situation"], hue, (order, hue_order, palette, labels), pools, ablation)
    rows = rows.assign(situation=rows["situation"].map(str))
    if "decisions" in rows:
        rows = without(rows, rows["decisions"] < least, f"fewer than {least} decisions")
    keys = [key for key in ("situation", hue, "seed") if key in rows]
    shared = (rows.groupby(keys, dropna=False)["value"].transform("sum") - 1).abs().max() < agreement.SUM
    rows, metric = (agreement.shares(rows), "probability") if shared else (rows, "value")
    actions = _free(rows, keys) if shared else list(rows["action"].unique())
    drawn = [name for name in situations if name in set(rows["situation"])]
    tall = 2.0 if len(actions) == 1 else 1.5
    size = Size(height, aspect, col_wrap, width, default=tall, most=width, least=0.4 * len(drawn))
    figure = panels(actions, ax=ax, size=size, name="action", columns=None if len(drawn) < 6 else 1)
    places = dodge(len(looks), 0.7)
    for action, panel in figure.axes.items():
        of_action = rows[rows["action"] == action]
        for x, situation in enumerate(drawn):
            here = of_action[of_action["situation"] == situation]
            for shift, (value, look) in zip(places, looks.items(), strict=True):
                own = here[here[hue] == value]
                with _one_note(rows, metric, errorbar):
                    mark_seeds(
                        panel, x + shift - 0.02, own, metric, look, 0.25 / len(looks), errorbar=errorbar
                    )
        name_categories(panel, drawn, figure.width - 0.5)
        if shared:
            panel.set(ylim=(-0.06, 1.06), yticks=[0, 0.5, 1])
        panel.set_ylabel("share of decisions" if shared else action.replace(" (", "\n("))
    title = title_of(game or rows["game"].iloc[0]) if game or "game" in rows else ""
    figure.titles(lambda action: ": ".join(filter(None, [title, str(action) if shared else ""])))
    figure.labels(x=_looked_at(rows))
    figure.legend([handle(look) for look in looks.values()])
    return figure.drawn


@figure(
    "Which known strategies would do the same as the policy?",
    "Agreement: the share of the policy's decisions at which the strategy, with the same history, would "
    "have done the same. Strategies that never differed share a row. Marks are means over training seeds, "
    "dots are single seeds.",
    reads="behaviour",
    study=True,
    split=("game",),
)
def nearest_strategies(
    data: pd.DataFrame,
    *,
    game: str | None = None,
    kind: str = "opponent",
    most: int = 3,
    order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    errorbar: Errorbar = "ci",
    pools: str | None = None,
    ablation: bool = False,
    ax: Axes | None = None,
    height: float | None = None,
    width: float = WIDTH,
) -> Axes:
    """The strategies that agree most with the policies of one game, by stage: the `most` nearest of each.

    Columns: stage, action (the name of the strategy), value (the agreement); optionally kind (rows of the
    kind `kind` are drawn), decisions, game, pools, preset and arm, seed, model, and reported or step. The
    strategies stand in the order of their agreement with the last stage. The other options are those of
    `behaviour`.

    >>> nearest_strategies(pd.read_csv("mine.csv"), most=5)
    """
    data = keep(_of_kind(need(data, [], numbers=["value"]), kind), "game", game)
    options = (order, None, palette, labels)
    rows, looks = _selected(data, [], "configuration", options, pools, ablation)
    rows = agreement.shares(agreement.merged(rows.assign(kind=kind), kind))
    means = rows.groupby(["configuration", "action"], sort=False)["value"].mean().unstack("action")
    near = {name for stage in looks for name in means.loc[stage].nlargest(most).index}
    ranked = means.loc[list(looks)[-1]].sort_values(ascending=False, kind="stable").index
    names = [name for name in ranked if name in near]
    inches = height or 0.7 + 0.16 * len(names) * max(1.0, 0.6 * len(looks))
    figure = single(ax, width=width, height=inches)
    for y, name in enumerate(names):
        for shift, (stage, look) in zip(dodge(len(looks), 0.72), looks.items(), strict=True):
            own = rows[(rows["action"] == name) & (rows["configuration"] == stage)]
            with _one_note(rows, "probability", errorbar):
                dots.mark_row(figure.drawn, -y - shift, own, "probability", look, errorbar)
    dots.name_rows(figure, {-y: name.replace("_", " ") for y, name in enumerate(names)})
    figure.drawn.set(xlim=(-0.02, 1.02), xlabel="agreement (share of decisions)")
    if "game" in rows and not figure.drawn.get_title():
        figure.drawn.set_title(title_of(rows["game"].iloc[0]))
    figure.legend([handle(look) for look in looks.values()])
    return figure.drawn


def _one_note(rows: pd.DataFrame, metric: str, errorbar: Errorbar) -> AbstractContextManager:
    """One note on the error bars of shares, in the place of one for each number of decisions."""
    counted = {"seed", "samples"} <= set(rows.columns) and rows["seed"].nunique() > 1
    if errorbar != "ci" or metric != "probability" or not counted:
        return nullcontext()
    base = "stage" in rows.columns and (rows["stage"] == "base").any()
    note("Error bars", BARS.format(OF_BASE if base and of_kit() else ""))
    return noting()  # these notes are dropped


def _of_kind(data: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind; all rows of a table without kinds."""
    return data[data["kind"] == kind] if "kind" in data else data


def _selected(
    data: pd.DataFrame,
    columns: Sequence[str],
    hue: str,
    options: tuple[Sequence | None, Sequence | None, Palette | None, Mapping[Any, str] | None],
    pools: str | None,
    ablation: bool,
) -> tuple[pd.DataFrame, dict[Any, Look]]:
    """The rows of one game, pool set and model that are drawn, and the look of every value of `hue`."""
    rows = need(data, ["stage", "action", *columns], numbers=["value"])
    rows = configured(keep(rows, "pools", pools), ablation)
    return by_hue(rows, hue, options, ["action", *columns], ("game", "pools", "model", "configuration"))


def _free(rows: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """The actions without those whose share follows from one earlier action, as that of PASS from BET."""
    wide = rows.pivot_table(index=list(keys), columns="action", values="value", dropna=False)
    free: list[str] = []
    for action in rows["action"].unique():
        own = wide[action].dropna().index
        follows = (
            (wide.loc[own, other] + wide.loc[own, action] - 1).abs().max() < agreement.SUM for other in free
        )
        if not any(follows):
            free.append(action)
    return free


def _looked_at(rows: pd.DataFrame) -> str:
    """What the game's situations consist of, as the label of the axis."""
    game = rows["game"].iloc[0] if "game" in rows else None
    return games.GAMES[game].observed if game in games.GAMES else "situation"
