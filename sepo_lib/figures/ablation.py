"""The ablations: outcomes by arm and preset, one switch changed at a time, and the penalty's gradient."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns

from sepo_lib import games
from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import ARMS, CONFIGURATIONS, PRESETS, quantity
from sepo_lib.figures.marks import handle, mark_seeds, zero_line
from sepo_lib.figures.old import grid_of, legend_below, present
from sepo_lib.figures.rows import need, ordered_places, place_of
from sepo_lib.figures.theme import COLOURS, INK, MUTED, Look
from sepo_lib.measure import switches as switches_of

#: The text in the place of a switch that cannot change any advantage.
NO_EFFECT = "no effect by construction"
#: Preset, or the published preset with one switch changed -> its look.
RECIPES = {
    "published": CONFIGURATIONS["published"],
    "published+credit": Look("credited", COLOURS[1], "o"),
    "published+horizon": Look("reward to go", COLOURS[1], "o"),
    "published+clamp": Look("mean margin", COLOURS[1], "o"),
    "published+scale": Look("batch scale", COLOURS[1], "o"),
    "published+weights": Look("pool weights", COLOURS[1], "o"),
    "unbiased": CONFIGURATIONS["unbiased"],
}


@figure(
    "Question to be written?",
    "Outcomes after training by arm: the arm decides to which episodes a penalty is charged. Open markers: "
    "published preset; filled markers: unbiased preset. Mean over training seeds with its 95% interval; dots "
    "are single seeds.",
    reads="ablation",
)
def ablation_outcomes(ablation: pd.DataFrame) -> sns.FacetGrid:
    """Safety, payoff and exploit advantage after training, by arm, preset, game and pool set.

    The rows of the kind `outcome` at the last step of each seed are drawn. Columns: kind, game, pools, arm,
    preset, seed, step, safety, payoff, exploit.
    """
    metrics = ["safety", "payoff", "exploit"]
    need(ablation, ["kind", "game", "pools", "arm", "preset", "seed", "step", *metrics])
    rows = ablation[ablation["kind"] == "outcome"]
    last = rows.groupby(["game", "pools", "arm", "preset", "seed"])["step"].transform("max")
    return _by_arm(rows[rows["step"] == last], metrics)


@figure(
    "Question to be written?",
    "The published recipe, the same recipe with one switch changed, and the unbiased recipe, in the "
    "prisoner's dilemma: mean over training seeds with its 95% interval; dots are single seeds.",
    reads="switches",
    study=True,
)
def switch_outcomes(switches: pd.DataFrame) -> sns.FacetGrid:
    """Safety and its terms after training: published, published with one switch changed, and unbiased.

    A text replaces the mark of a recipe whose switch cannot act (`idle_recipes`). Columns: game, pools,
    preset, seed, safety, payoff, exploit, collusion.
    """
    metrics = ["safety", "payoff", "exploit", "collusion"]
    need(switches, ["preset", "seed", *metrics])
    present(RECIPES, switches["preset"])
    idle = idle_recipes(switches)
    shown = {*idle, *switches["preset"]}
    recipes = {preset: look for preset, look in RECIPES.items() if preset in shown}
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
        ax.set(title=quantity(metric), xlabel="", ylabel="", xlim=(-0.5, len(recipes) - 0.4))
        labels = [look.label.removeprefix("SEPO, ") for look in recipes.values()]
        ax.set_xticks(range(len(recipes)), labels, rotation=35, ha="right")
        ax.tick_params(axis="x", labelbottom=True, labelsize=7)
        ax.grid(False, axis="x")
    return grid


@figure(
    "Question to be written?",
    "Norm of the penalty's gradient by arm, and its cosine with that gradient of the credited arm. A norm of "
    "0 means that the penalty does not train the policy. Mean over training seeds with its 95% interval.",
    reads="ablation",
)
def penalty_gradient(ablation: pd.DataFrame) -> sns.FacetGrid:
    """The norm of the penalty's gradient by arm, and its cosine with that of the credited arm if known.

    The rows of the kind `gradient` are drawn; the steps of a seed are averaged first. Columns: kind, game,
    pools, arm, preset, seed, penalty_gradient_norm, and optionally cosine_to_credited.
    """
    need(ablation, ["kind", "game", "pools", "arm", "preset", "seed", "penalty_gradient_norm"])
    metrics = ["penalty_gradient_norm"]
    rows = ablation[ablation["kind"] == "gradient"]
    if "cosine_to_credited" in rows.columns and rows["cosine_to_credited"].notna().any():
        metrics.append("cosine_to_credited")
    rows = rows.groupby(["game", "pools", "arm", "preset", "seed"], sort=False)[metrics].mean().reset_index()
    return _by_arm(rows, metrics)


def idle_recipes(switches: pd.DataFrame) -> list[str]:
    """The recipes `published+<switch>` whose switch cannot act in the game and pool set of the table."""
    if not {"game", "pools"} <= set(switches.columns) or switches.empty:
        return []
    game, pools = switches.iloc[0][["game", "pools"]]
    return switches_of.idle("published", games.get(game), pools)


def _by_arm(ablation: pd.DataFrame, metrics: Sequence[str]) -> sns.FacetGrid:
    """Rows: metrics; columns: places; x: arms. Open markers: published preset; filled markers: unbiased."""
    data = ablation.assign(place=place_of(ablation))
    arms = present(ARMS, data["arm"])
    presets = [preset for preset in PRESETS if (data["preset"] == preset).any()]
    places = ordered_places(data)
    panels = pd.DataFrame([(m, p) for m in metrics for p in places], columns=["metric", "place"])
    grid = grid_of(panels, "place", places, 2.3, 1.55, row="metric", row_order=list(metrics), sharey=False)
    offsets = dict(zip(presets, (0.0,) if len(presets) == 1 else (-0.2, 0.16), strict=True))
    for (metric, place), ax in grid.axes_dict.items():
        rows = data[data["place"] == place]
        for x, arm in enumerate(arms):
            for preset, offset in offsets.items():
                chosen = rows[(rows["arm"] == arm) & (rows["preset"] == preset)]
                look = ARMS[arm]._replace(filled=PRESETS[preset])
                mark_seeds(ax, x + offset, chosen, metric, look, 0.13, f"{arm}, {preset}")
        zero_line(ax)
        ax.margins(y=0.12)
        if metric == "cosine_to_credited":
            ax.set(ylim=(-1.3, 1.3), yticks=[-1, 0, 1])
        ax.set(xlim=(-0.55, len(arms) - 0.4), xlabel="")
        ax.set_title(place if metric == metrics[0] else "")
        ax.set_ylabel(quantity(metric).replace("exploit ", "exploit\n") if place == places[0] else "")
        last = metric == metrics[-1]
        labels = [look.label.replace(" ", "\n") for look in arms.values()]
        narrow = grid.figure.get_figwidth() / len(places) < 2.0
        ax.set_xticks(range(len(arms)), labels if last else [""] * len(arms))
        ax.tick_params(axis="x", labelbottom=last, labelsize=6.5, rotation=90 if narrow else 0)
        ax.grid(False, axis="x")
    shades = [handle(Look(f"{preset} preset", INK, "o", PRESETS[preset])) for preset in presets]
    legend_below(grid.figure, shades, columns=2)
    return grid
