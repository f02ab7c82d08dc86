"""Tables that a reader brings: other types, empty cells, several pools, ends of intervals, and keywords."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figure_tables import bars
from pages import REPOSITORY
from scipy import stats

from sepo_lib import figures

MINE = pd.DataFrame(
    [
        {"game": game, "stage": stage, "seed": seed, "safety": 1.0 * seed + number, "exploit": 0.1 * seed}
        for game in ("hawk-dove", "stag hunt")
        for number, stage in enumerate(("before", "ppo"))
        for seed in range(3)
    ]
)
ONE = MINE[MINE["game"] == "stag hunt"]
SINGLE = MINE[MINE["seed"] == 1]


def gallery(name):
    return pd.read_csv(REPOSITORY / "docs" / "gallery" / "tables" / f"{name}.csv")


@pytest.mark.parametrize("types", ["category", "pyarrow", "nullable"])
def test_types_of_pandas_draw_the_same_bars(types):
    if types == "category":
        data = MINE.astype({"game": "category", "stage": "category", "seed": "category"})
    else:
        data = MINE.convert_dtypes(dtype_backend="pyarrow" if types == "pyarrow" else "numpy_nullable")
    before = data.copy()
    drawn, plain = (figures.safety_by_stage(table) for table in (data, MINE))
    assert [bars(ax) for ax in drawn.axes.flat] == [bars(ax) for ax in plain.axes.flat]
    pd.testing.assert_frame_equal(data, before)


def test_categorical_presets_and_pools_are_drawn():
    table = gallery("replication")
    figures.paper_against_ours(table.astype({"preset": "category"}), gallery("original_study"))
    arms = gallery("penalties").assign(pools=pd.Categorical(["own"] * len(gallery("penalties"))))
    places = {place for _, place in figures.ablation_outcomes(arms, metrics=["safety"]).axes_dict}
    assert "stag hunt\nown pools" in places
    training = gallery("kuhn_training").astype({"step": "category", "seed": "category"})
    figures.nashconv_training(training, metrics=["nashconv"])


def test_games_may_be_numbers_and_names():
    grid = figures.safety_by_stage(MINE.assign(game=MINE["game"].astype(object).replace("stag hunt", 7)))
    assert list(grid.axes_dict) == [7, "hawk-dove"]


def test_an_empty_cell_of_a_category_is_left_out_and_said():
    for column in ("game", "stage"):
        gap = MINE.astype({column: object})
        gap.loc[0, column] = None
        assert f"Left out: 1 row without a value of {column}." in figures.safety_by_stage(gap).caption
    lab = MINE.assign(lab=MINE["seed"].map({0: "a", 1: "b"}))
    assert "Left out: 4 rows without a value of lab." in figures.safety_by_stage(lab, hue="lab").caption
    model = lab.rename(columns={"lab": "model"})
    assert "Left out: 4 rows without a value of model." in figures.safety_by_stage(model).caption
    arms = gallery("penalties").astype({"arm": object})
    arms.loc[0, "arm"] = None
    assert "1 row without a value of arm" in figures.ablation_outcomes(arms, metrics=["safety"]).caption


def _pools(data):
    return pd.concat([data.assign(pools="paper"), data.assign(pools="own")])


SEVERAL = {
    "by_stage": (lambda: figures.safety_by_stage(_pools(MINE), pools=None), "pools"),
    "list": (lambda: figures.safety_by_stage(_pools(MINE), pools=["paper", "own"]), "pools"),
    "exploitability": (lambda: figures.exploitability(_pools(gallery("kuhn_methods")), pools=None), "pools"),
    "games": (
        lambda: figures.exploitability(
            pd.concat([gallery("kuhn_methods").assign(game=game) for game in ("kuhn", "leduc")])
        ),
        "game",
    ),
    "weights": (lambda: figures.weight_sensitivity(_pools(gallery("weights")), pools=None), "pools"),
    "frontier": (lambda: figures.frontier(_pools(gallery("sweep")), pools=None), "pools"),
    "strategy": (lambda: figures.kuhn_strategy(_pools(gallery("kuhn_policies")), pools=None), "pools"),
    "reading": (
        lambda: figures.kuhn_strategy(
            pd.concat([gallery("kuhn_policies").assign(reading=reading) for reading in ("a", "b")]),
            reading=None,
        ),
        "reading",
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_rows_of_several_pools_or_games_are_not_counted_as_seeds(case):
    draw, column = SEVERAL[case]
    with pytest.raises(ValueError, match=f"draws one value of the column '{column}', and the table has"):
        draw()


def test_several_pools_are_drawn_as_hue():
    grid = figures.safety_by_stage(_pools(MINE), pools=None, hue="pools")
    assert set(bars(grid.axes.flat[0])) == {"paper", "own"} and "over 3 seeds" in grid.caption


FAULTS = {
    "names": (
        pd.concat([MINE, MINE[["game"]]], axis=1),
        {},
        r"more than one column .*\['game'\]",
    ),
    "other end": (SINGLE.assign(safety_low=0.0), {}, "'safety_low', but the other end 'safety_high' is miss"),
    "inverted": (SINGLE.assign(safety_low=2.0, safety_high=1.0), {}, "ends of an interval.* 2 and 1"),
    "half": (SINGLE.assign(safety_low=0.0, safety_high=np.nan), {}, "both or none; they hold 0 and nan"),
    "step": (MINE.assign(step="late"), {}, "'step' must hold finite numbers; it holds 'late'"),
    "ax": (ONE, {"ax": "left"}, "`ax` must be one Axes of matplotlib, not str"),
    "width": (MINE, {"width": -1}, "`width` must be a number above 0, not -1"),
    "height": (MINE, {"height": "3"}, "`height` must be a number above 0, not '3'"),
    "order": (MINE, {"order": []}, "`order` is empty"),
    "name": (MINE, {"palette": "nonesuch"}, "`palette` is no palette .*'nonesuch'"),
    "colour": (MINE, {"palette": {"before": "redd", "ppo": "red"}}, "`palette` holds 'redd'"),
    "level": (MINE, {"errorbar": ("pi", 150)}, "level is a number between 0 and 100"),
    "function": (MINE, {"errorbar": lambda values: 3}, r"returns the two ends \(low, high\), not 3"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence(fault):
    data, options, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        figures.safety_by_stage(data, **options)


@pytest.mark.parametrize("errorbar", ["ci", "sd", None])
def test_a_value_outside_its_range_names_the_column(errorbar):
    with pytest.raises(ValueError, match=r"'exploit' holds -0\.9; the values of .* are at least 0"):
        figures.exploit_by_stage(MINE.assign(exploit=-0.9), errorbar=errorbar)


def test_keywords_may_be_arrays_single_names_and_wider_palettes():
    palette = {"before": "#111111", "ppo": "#222222", "of another figure": "#333333"}
    grid = figures.safety_by_stage(MINE, order=np.array(["ppo"]), palette=palette)
    assert list(bars(grid.axes.flat[0])) == ["ppo"]
    assert list(bars(figures.safety_by_stage(MINE, order="ppo").axes.flat[0])) == ["ppo"]
    assert len(figures.training_curves(gallery("training"), metrics="payoff").axes_dict) == 1


@pytest.mark.parametrize(
    "errorbar, words",
    [
        ("sd", "one standard deviation to both sides"),
        (("sd", 2), "2 standard deviations to both sides"),
        (("se", 1.5), "1.5 standard errors to both sides"),
        (("pi", 50), "the middle 50% of the seeds"),
        ("pi", "the middle 95% of the seeds"),
    ],
)
def test_the_caption_says_the_level_of_the_error_bars(errorbar, words):
    assert f"Error bars: {words}." in figures.safety_by_stage(MINE, errorbar=errorbar).caption


def test_a_mean_outside_its_bar_is_drawn_with_the_whole_bar():
    skew = ONE.assign(safety=ONE["seed"].map({0: 0.0, 1: 0.1, 2: 50.0}))
    skew = pd.concat([skew, *(skew.iloc[:1].assign(seed=seed, safety=0.02 * seed) for seed in range(3, 9))])
    ax = figures.safety_by_stage(skew[skew["stage"] == "before"], errorbar=("pi", 50)).axes.flat[0]
    own = skew.loc[skew["stage"] == "before", "safety"]
    mark, bar = ax.containers
    assert mark.lines[0].get_ydata()[0] == pytest.approx(own.mean())
    ends = bar.lines[2][0].get_segments()[0][:, 1]
    assert ends == pytest.approx(np.percentile(own, [25, 75])) and ends[1] < own.mean()


def test_the_bars_are_those_of_student_by_hand():
    own = ONE.loc[ONE["stage"] == "ppo", "safety"].to_numpy()
    half = stats.t.ppf(0.975, 2) * own.std(ddof=1) / np.sqrt(3)
    ((_, mean, low, high),) = bars(figures.safety_by_stage(MINE).axes_dict["stag hunt"])["ppo"]
    assert (mean, low, high) == pytest.approx((own.mean(), own.mean() - half, own.mean() + half))


def test_steps_as_text_are_numbers_and_policies_without_steps_are_drawn():
    rows = [
        {"game": "g", "stage": "sepo", "preset": "unbiased", "seed": seed, "step": step, "safety": value}
        for seed in (1, 2)
        for step, value in (("60", 6.0 + seed), ("100", 10.0 + seed))
    ]
    table = pd.DataFrame(rows)
    ((_, mean, *_),) = bars(figures.safety_by_stage(table).axes.flat[0])["unbiased"]
    assert mean == 11.5
    drawn = figures.safety_by_stage(table[table["step"] == "60"].assign(step=np.nan))
    assert "earlier checkpoints" not in drawn.caption


def test_subfigures_take_figures():
    left, right = plt.figure(figsize=(7, 3)).subfigures(1, 2)
    figures.weight_sensitivity(gallery("weights").query("game == 'stag hunt'"), ax=left.subplots())
    arms = gallery("penalties").query("game == 'stag hunt'")
    figures.ablation_outcomes(arms, metrics=["safety"], ax=right.subplots())


def test_cross_play_refuses_a_pair_twice_and_says_which_cells_are_empty():
    table = gallery("round_robin")
    for again in (table.assign(payoff=1.0), table.assign(seed=2)):
        with pytest.raises(ValueError, match="rows occur more than once for the same row, column"):
            figures.crossplay(pd.concat([table.assign(seed=1), again]))
    assert "Empty: 1 cell of pairs without a payoff." in figures.crossplay(table.iloc[1:]).caption


def test_the_line_of_cross_play_stands_between_models_and_opponents():
    table = gallery("round_robin")
    models = table.loc[table["kind"] == "model", "column"].nunique()
    swapped = table["column"].unique()[::-1]
    lines = [figures.crossplay(part).lines for part in (table, table.iloc[1:])]
    assert [line.get_xdata()[0] for (line,) in lines] == [models, models]
    (line,) = figures.crossplay(table, col_order=swapped).lines
    assert line.get_xdata()[0] == len(swapped) - models
    mixed = ["tit for tat", "always defect", "win-stay", "my model"]
    assert not figures.crossplay(table, col_order=mixed).lines


def test_training_keeps_rows_without_a_seed_and_columns_of_the_reader():
    table = gallery("training")
    drawn = figures.training_curves(
        table.assign(seed=table["seed"].where(table["seed"] != 3)), metrics=["payoff", "exploit"]
    )
    assert "without a value" not in drawn.caption
    figures.nashconv_training(gallery("kuhn_training").assign(line=1, part=2, replicate=3))


def test_other_figures_name_what_they_leave_out_or_cannot_draw():
    seconds = gallery("step_seconds")
    other = pd.concat([seconds, seconds.iloc[:1].assign(measure="tokens")])
    assert "1 row of measures that are no seconds" in figures.bench_step(other).caption
    with pytest.raises(ValueError, match="'best_u' must hold finite numbers; it holds 'x'"):
        figures.headroom(gallery("best_strategies").assign(best_u="x"))
    sweep = gallery("sweep")
    figures.frontier(sweep.assign(multiple="x" + sweep["multiple"].astype(str)))
    with pytest.raises(ValueError, match="`window` must be a number above 0, not 0"):
        figures.training_curves(gallery("training"), metrics=["payoff"], window=0)


def test_long_labels_in_the_legend_of_the_caller_s_axes_are_shortened():
    _, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
    long = ONE.assign(stage=ONE["stage"].replace("ppo", "meta-llama/" + 9 * "Llama-3.3-" + "Instruct"))
    figures.safety_by_stage(long, ax=axes[0]).figure.canvas.draw()
    assert axes[0].get_legend().get_window_extent().width < 1.3 * axes[0].bbox.width
    assert axes[0].get_position().width > 0.12
