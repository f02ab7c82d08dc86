"""The course of training: the measures of the training batches, and NashConv in Kuhn poker, by step."""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import ARMS, OWN_ARM, PRESETS, quantity, run_look
from sepo_lib.figures.marks import handle, mark_seeds, zero_line
from sepo_lib.figures.old import grid_of, legend_below, present
from sepo_lib.figures.rows import need, title_of
from sepo_lib.figures.theme import COLOURS, Look

#: What a model is trained against -> its look in `exploiter_training`.
EXPLOITERS = {
    "pool": Look("the fixed pool", COLOURS[0], "^", False),
    "best_response": Look("best response and train pool", COLOURS[1], "s"),
    "best_response_only": Look("best response only", COLOURS[2], "D"),
}
MEASURES = {"nashconv": "NashConv", "pool_advantage": "exploiter pool's advantage"}
METRICS = ["payoff", "exploit", "collusion", "externality", "objective"]


@figure(
    "Question to be written?",
    "Kuhn poker during training: NashConv and the exploiter pool's advantage, in chips per hand, from "
    "sampled actions. Lines: mean over training seeds; bars: 95% intervals. An advantage of 0 does not imply "
    "a NashConv of 0.",
    reads="exploitability",
    split=("pools",),
)
def nashconv_training(exploitability: pd.DataFrame, pools: str = "paper") -> sns.FacetGrid:
    """Kuhn poker: NashConv and the exploiter pool's advantage during training, by arm and preset.

    Both are computed from action probabilities, which are sampled if the answers cannot be enumerated.
    Every line starts at the SFT models of its seeds. Columns: pools, stage, arm, preset, seed, step,
    pool_advantage, nashconv.
    """
    need(exploitability, ["pools", "stage", "arm", "preset", "seed", "step", *MEASURES])
    rows = exploitability[exploitability["pools"] == pools]
    trained = rows[rows["stage"] == "sepo"]
    trained = trained.assign(run=trained["arm"] + ", " + trained["preset"])
    sft = rows[rows["stage"] == "sft"]
    runs = {f"{arm}, {preset}": run_look(arm, preset) for preset in PRESETS for arm in ARMS}
    others = {preset: arm for preset, arm in OWN_ARM.items() if preset not in PRESETS}
    runs |= {f"{arm}, {preset}": run_look(arm, preset) for preset, arm in others.items()}
    starts = [sft[sft["seed"].isin(group["seed"])].assign(run=run) for run, group in trained.groupby("run")]
    return _by_step(pd.concat([*starts, trained]), "run", runs)


@figure(
    "Question to be written?",
    "Kuhn poker, trained against the fixed pool of exploiters or against best responses: NashConv and the "
    "pool's advantage, in chips per hand, from sampled actions. Lines: mean over training seeds; bars: 95% "
    "intervals.",
    reads="exploiters",
    study=True,
)
def exploiter_training(exploiter: pd.DataFrame) -> sns.FacetGrid:
    """Kuhn poker: NashConv during training against the fixed pool and against best responses.

    The action probabilities are sampled if the answers cannot be enumerated. Columns: exploiter, stage,
    seed, step, pool_advantage, nashconv.
    """
    need(exploiter, ["exploiter", "stage", "seed", "step", *MEASURES])
    return _by_step(exploiter, "exploiter", EXPLOITERS)


@figure(
    "Question to be written?",
    "Measures of the training batches by step: mean over training seeds; the band reaches from the lowest "
    "seed to the highest.",
    reads="training",
    split=("game", "pools"),
    options={"window": None},
)
def training_curves(
    training: pd.DataFrame, game: str, pools: str = "paper", window: int | None = 1
) -> sns.FacetGrid:
    """u, e, c, x and J of the training batches by step, arm and preset, in one game and pool set.

    Line: mean over seeds; band: from the lowest seed to the highest. `window` is the number of steps of a
    running mean, which is taken for each seed first; None is a twentieth of all steps. Columns: game, pools,
    arm, preset, seed, step, payoff, exploit, collusion, externality, objective.
    """
    need(training, ["game", "pools", "arm", "preset", "seed", "step", *METRICS])
    rows = training[(training["game"] == game) & (training["pools"] == pools)].sort_values("step")
    window = max(1, rows["step"].nunique() // 20) if window is None else window
    arms = present(ARMS, rows["arm"])
    grid = grid_of(pd.DataFrame({"metric": METRICS}), "metric", METRICS, 2.35, 1.6, col_wrap=3, sharey=False)
    handles = []
    for (arm, preset), run in _runs(rows):
        look, line = run_look(arm, preset), "-" if preset == "unbiased" else (0, (4, 1.5))
        for metric, ax in grid.axes_dict.items():
            values = run.pivot(index="step", columns="seed", values=metric)
            values = values.rolling(window, min_periods=1).mean()
            _curve(ax, values, look, line, len(handles) * len(values) // 40)
        handles.append(handle(look, line))
    for metric, ax in grid.axes_dict.items():
        ax.set_title(quantity(metric))
        ax.set(xlabel="", ylabel="")
        ax.locator_params(nbins=4)
    for ax in grid.axes.flat[-3:]:
        ax.set_xlabel("training step")
    grid.axes.flat[0].tick_params(labelbottom=True)
    smoothed = f", running mean of {window} steps" if window > 1 else ""
    grid.figure.suptitle(f"{title_of(game)}, {pools} pools{smoothed}", fontsize=9)
    legend_below(grid.figure, handles, columns=len(arms))
    return grid


def _runs(rows: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """((arm, preset), rows) of every run that the table has, arm by arm."""
    pairs = [(arm, preset) for arm in ARMS for preset in OWN_ARM]
    runs = [(pair, rows[(rows["arm"] == pair[0]) & (rows["preset"] == pair[1])]) for pair in pairs]
    return [(pair, run) for pair, run in runs if len(run)]


def _curve(ax: Axes, values: pd.DataFrame, look: Look, line: object, first: int) -> None:
    """The mean over the seeds (columns) by step (index), with a band from the lowest seed to the highest.

    `first` is the step of the first marker, so that the markers of several curves do not hide one another.
    """
    every = (first, max(1, len(values) // 5))
    ax.plot(
        values.index,
        values.mean(axis=1),
        color=look.colour,
        linestyle=line,
        linewidth=1.3,
        marker=look.marker,
        markevery=every if len(values) > 5 else None,
        markersize=3.6,
        markerfacecolor=look.face,
        label=look.label,
    )
    ax.fill_between(values.index, values.min(axis=1), values.max(axis=1), color=look.colour, alpha=0.15, lw=0)


def _by_step(rows: pd.DataFrame, key: str, looks: Mapping[str, Look]) -> sns.FacetGrid:
    """NashConv and the pool's advantage (chips per hand) by step, one line for each value of column `key`.

    Rows of the stage `sft` are drawn at step 0. Lines: mean over seeds; bars: its interval.
    """
    rows = rows.assign(step=rows["step"].where(rows["stage"] != "sft", 0))
    looks = present(looks, rows[key])
    last = max(1, rows["step"].max())
    panels = pd.DataFrame({"measure": list(MEASURES)})
    grid = grid_of(panels, "measure", list(MEASURES), 3.0, 2.2, sharey=True)
    for measure, ax in grid.axes_dict.items():
        for number, (value, look) in enumerate(looks.items()):
            group = rows[rows[key] == value].sort_values("step")
            means = group.groupby("step")[measure].mean()
            shift = (number - (len(looks) - 1) / 2) * last / 60
            ax.plot(means.index + shift, means, color=look.colour, linewidth=1.1, zorder=2)
            for step, seeds in group.groupby("step"):
                mark_seeds(ax, step + shift, seeds, measure, look, offset=last / 90)
        zero_line(ax)
        ax.set(title=MEASURES[measure], xlabel="training step", ylabel="")
    grid.axes.flat[0].set_ylabel("chips per hand")
    columns = len(looks) if len(looks) <= 4 else 3
    legend_below(grid.figure, [handle(look, "-") for look in looks.values()], columns=columns)
    return grid
