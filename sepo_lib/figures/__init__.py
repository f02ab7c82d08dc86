"""How is it shown? One function per figure: it takes a tidy table and returns a seaborn grid or an Axes.

    theme    sizes, fonts, colours, `save`     panels   the grid, or the Axes of the caller; legends, titles
    looks    labels and looks of categories    marks    marks with error bars, legend entries
    rows     checks, and which rows are drawn  notes    what a figure leaves out, for its caption
    gallery  captions, `draw_all`, keywords    dots     dot plots with one row for each category
    others   one module per family of figures

All figure functions follow seaborn: `data, *, hue, order, hue_order, palette, labels, errorbar, ax, height,
aspect`, where they make sense, and take a `title` (`gallery.figure`). Any number of games, models, stages,
arms, presets and seeds is drawn; those that the kit does not know get the next free colour. A filter is an
argument with a visible default.

What a function returns has an attribute `caption`: how to read the figure, which error bars it has, and which
rows of the table it leaves out. A table that cannot be drawn raises ValueError with one sentence that names
the column, the values found and what is allowed; NothingToDraw, a ValueError, means that no row is left. No
function changes matplotlib's settings, and plain `savefig` writes TrueType fonts (with `ax=`, use `style()`).

A mark is a mean over training seeds with the 95% interval that fits its quantity (`statistics.spread`); small
dots show the single seeds. A single seed has an interval only if its table has one. Markers and line styles
repeat what colour shows, for prints without colours.

Labels and captions say no more than the columns of the table. What the kit knows of its own stages, recipes
and intervals (the base model is one model, so its intervals cover evaluation noise only) is said of a table
of the kit, which has the column `profile` (`notes.of_kit`).
"""

# The order of these imports is the order of the figures in the report.
# isort: off
from sepo_lib.figures.outcomes import by_stage, crossplay, exploit_by_stage, safety_by_stage
from sepo_lib.figures.paper import paper_against_ours, paper_nashconv
from sepo_lib.figures.strategies import behaviour, nearest_strategies
from sepo_lib.figures.kuhn import exploitability, kuhn_strategy, nash_kuhn
from sepo_lib.figures.ablation import (
    NO_EFFECT,
    ablation_outcomes,
    idle_recipes,
    penalty_gradient,
    switch_outcomes,
)
from sepo_lib.figures.penalties import headline
from sepo_lib.figures.estimators import (
    ESTIMATORS,
    acting,
    estimator_bias,
    estimator_cosines,
    estimators_elsewhere,
    labels_of,
)
from sepo_lib.figures.weights import frontier, headroom, weight_sensitivity
from sepo_lib.figures.sft_models import replication
from sepo_lib.figures.training import EXPLOITERS, exploiter_training, nashconv_training, training_curves
from sepo_lib.figures.transfer import transfer_matrix
from sepo_lib.figures.bench import bench_arms, bench_scaling, bench_step

# isort: on
from sepo_lib.figures.gallery import (
    FIGURES,
    caption_of,
    draw_all,
    figure,
    read_or_empty,
    tables_of,
)
from sepo_lib.figures.looks import ARMS, CONFIGURATIONS, OWN_ARM, PRESETS, looks_of, run_look
from sepo_lib.figures.marks import handle
from sepo_lib.figures.notes import note
from sepo_lib.figures.panels import single
from sepo_lib.figures.rows import (
    NothingToDraw,
    configured,
    mean_of_intervals,
    ordered_games,
    reported,
    title_of,
)
from sepo_lib.figures.theme import COLUMN, WIDTH, Look, as_svg, save, style
