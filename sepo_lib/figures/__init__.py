"""How is it shown? One function per figure: it takes a tidy table and returns a seaborn grid or an Axes.

    theme      sizes, fonts, colours; `save`         rows      which rows are drawn, and in which order
    looks      labels and looks of stages and arms   marks     the drawn parts that figures share
    gallery    captions, `draw_all`                  others    one module per family of figures

Only `draw_all` reads tables and writes files. A mark is a mean over training seeds with the 95% interval that
fits its quantity (`statistics.spread`); small dots show the single seeds. A single seed has an interval only
if its table has one, which covers evaluation noise. The base model is one model, so its intervals cover
evaluation noise only. Markers and line styles repeat what colour shows, for prints without colours.

Every function raises ValueError for a table that lacks a column (the message names it) or that holds several
models, and NothingToDraw, a ValueError, for a table without rows to draw.
"""

# The order of these imports is the order of the figures in the report.
# isort: off
from sepo_lib.figures.outcomes import by_stage, crossplay, exploit_by_stage, safety_by_stage
from sepo_lib.figures.paper import paper_against_ours, paper_nashconv
from sepo_lib.figures.kuhn import exploitability, kuhn_strategy, nash_kuhn
from sepo_lib.figures.ablation import (
    NO_EFFECT,
    RECIPES,
    ablation_outcomes,
    idle_recipes,
    penalty_gradient,
    switch_outcomes,
)
from sepo_lib.figures.estimators import (
    ESTIMATORS,
    acting,
    estimator_bias,
    estimator_cosines,
    estimators_elsewhere,
    labels_of,
)
from sepo_lib.figures.weights import frontier, headroom, weight_sensitivity
from sepo_lib.figures.training import EXPLOITERS, exploiter_training, nashconv_training, training_curves
from sepo_lib.figures.bench import bench_arms, bench_scaling, bench_step

# isort: on
from sepo_lib.figures.gallery import FIGURES, caption, draw_all, figure, read_or_empty
from sepo_lib.figures.looks import ARMS, CONFIGURATIONS, OWN_ARM, PRESETS, QUANTITIES, WEIGHTS, run_look
from sepo_lib.figures.marks import grid_of, handle, legend_below, mark, mark_seeds, zero_line
from sepo_lib.figures.rows import (
    NothingToDraw,
    configured,
    mean_of_intervals,
    need,
    ordered_games,
    ordered_places,
    place_of,
    present,
    reported,
    title_of,
)
from sepo_lib.figures.theme import COLOURS, FAINT, INK, MUTED, WIDTH, Look, save, style, styled

#: Name of a figure -> its caption.
CAPTIONS = {name: entry.caption for name, entry in FIGURES.items()}

__all__ = [
    "ARMS",
    "CAPTIONS",
    "COLOURS",
    "CONFIGURATIONS",
    "ESTIMATORS",
    "EXPLOITERS",
    "FAINT",
    "FIGURES",
    "INK",
    "MUTED",
    "NO_EFFECT",
    "OWN_ARM",
    "PRESETS",
    "QUANTITIES",
    "RECIPES",
    "WEIGHTS",
    "WIDTH",
    "Look",
    "NothingToDraw",
    "ablation_outcomes",
    "acting",
    "bench_arms",
    "bench_scaling",
    "bench_step",
    "by_stage",
    "caption",
    "configured",
    "crossplay",
    "draw_all",
    "estimator_bias",
    "estimator_cosines",
    "estimators_elsewhere",
    "exploit_by_stage",
    "exploitability",
    "exploiter_training",
    "figure",
    "frontier",
    "grid_of",
    "handle",
    "headroom",
    "idle_recipes",
    "kuhn_strategy",
    "labels_of",
    "legend_below",
    "mark",
    "mark_seeds",
    "mean_of_intervals",
    "nash_kuhn",
    "nashconv_training",
    "need",
    "ordered_games",
    "ordered_places",
    "paper_against_ours",
    "paper_nashconv",
    "penalty_gradient",
    "place_of",
    "present",
    "read_or_empty",
    "reported",
    "run_look",
    "safety_by_stage",
    "save",
    "style",
    "styled",
    "switch_outcomes",
    "title_of",
    "training_curves",
    "weight_sensitivity",
    "zero_line",
]
