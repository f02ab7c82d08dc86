"""The course of training: means, bands, smoothing, and NashConv by step."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figure_tables import SEEDS, bars, nashconv_rows, training

from sepo_lib import figures
from sepo_lib.measure.statistics import NON_NEGATIVE, interval

ONE = {"game": "ipd", "metrics": ["payoff"]}


def lines(ax) -> dict[str, np.ndarray]:
    """Label -> the points of a labelled line."""
    return {line.get_label(): line.get_xydata() for line in ax.lines if line.get_label()[0] != "_"}


def legend(drawn) -> list[str]:
    return [text.get_text() for text in drawn.figure.legends[0].get_texts()]


def ablation(*arms) -> pd.DataFrame:
    """Both presets with each of `arms`, whose payoff is that of the arm before it plus 1."""
    table = training()
    return pd.concat(
        [table.assign(arm=arm, payoff=table["payoff"] + number) for number, arm in enumerate(arms)]
    )


# ----------------------------------------------------------------------------------- training_curves


def test_training_curves_are_means_with_the_range_of_the_seeds():
    table = training()
    grid = figures.training_curves(table)
    assert [metric for metric, _ in grid.axes_dict] == [
        *("payoff", "exploit", "collusion", "externality", "objective")
    ]
    for (metric, _), ax in grid.axes_dict.items():
        by_step = table[table.arm == "credited"].groupby("step")[metric]
        assert lines(ax)["SEPO, unbiased"][:, 1] == pytest.approx(by_step.mean())
        band = ax.collections[1].get_paths()[0].vertices
        for step, low, high in zip(by_step.min().index, by_step.min(), by_step.max(), strict=True):
            at = band[band[:, 0] == step, 1]
            assert (at.min(), at.max()) == pytest.approx((low, high))
    assert "from the lowest seed to the highest" in grid.caption


def test_training_curves_smooth_seed_by_seed():
    table = training()
    ax = figures.training_curves(table, window=3).axes_dict["payoff", ""]
    rows = table[(table.arm == "credited") & table.step.isin([4, 5, 6])]
    assert lines(ax)["SEPO, unbiased"][-1, 1] == pytest.approx(rows.payoff.mean())
    assert "running mean of 3" in figures.training_curves(table, window=3, **ONE).axes.flat[0].get_xlabel()


def test_presets_with_several_arms_have_panels_of_their_own():
    grid = figures.training_curves(ablation("credited", "mine"), metrics=["payoff", "exploit"])
    assert list(grid.axes_dict) == [
        *(("payoff", "published"), ("payoff", "unbiased")),
        *(("exploit", "published"), ("exploit", "unbiased")),
    ]
    left, right, *_ = grid.axes_dict.values()
    assert list(lines(left)) == list(lines(right)) == ["credited", "mine"]
    assert left.get_ylim() == right.get_ylim()
    assert right.get_title() == "payoff u, unbiased"


def test_arms_with_equal_values_share_a_line_and_a_label():
    table = ablation("reward_only", "credited")
    equal = table[table["arm"] == "reward_only"].assign(arm="constant")
    grid = figures.training_curves(pd.concat([table, equal]), **ONE)
    assert legend(grid) == ["reward only = constant", "credited"]
    assert "reward only and constant, which have equal values" in grid.caption
    equal.loc[equal["step"] == 6, "payoff"] += 1e-6
    assert len(legend(figures.training_curves(pd.concat([table, equal]), **ONE))) == 3


def test_a_preset_with_a_changed_switch_is_left_out_beside_others_and_said():
    changed = training().query("preset == 'published'").assign(preset="published+horizon+scale")
    grid = figures.training_curves(pd.concat([training(), changed]))
    assert grid.axes_dict.keys() == figures.training_curves(training()).axes_dict.keys()
    assert f"{len(changed)} rows of a changed switch" in grid.caption
    assert figures.training_curves(changed).axes_dict


def test_a_preset_and_an_arm_that_the_kit_does_not_know_are_drawn():
    table = training()
    mine = table[table["preset"] == "unbiased"].assign(preset="mine", arm="my arm")
    grid = figures.training_curves(pd.concat([table, mine.assign(payoff=5.0)]), **ONE)
    assert list(lines(grid.axes.flat[0])) == ["SEPO, published", "SEPO, unbiased", "mine"]
    columns = ["arm", "preset", "seed", "model", "game", "pools", "profile"]
    ax = figures.training_curves(mine.query("seed == 1").drop(columns=columns), metrics=["payoff"]).axes
    assert list(lines(ax.flat[0])) == ["all rows"]


def test_twelve_models_are_lines():
    table = training().query("preset == 'unbiased'")
    models = [table.assign(model=f"model {n:02}", payoff=table["payoff"] + n) for n in range(12)]
    grid = figures.training_curves(pd.concat(models), **ONE)
    assert legend(grid) == [f"model {n:02}" for n in range(12)]
    some = figures.training_curves(
        pd.concat(models),
        hue_order=["model 03", "model 01"],
        palette=["black", "#ff0000"],
        labels={"model 01": "mine"},
        **ONE,
    )
    assert legend(some) == ["model 03", "mine"]
    assert [line.get_color() for line in some.axes.flat[0].lines] == ["#000000", "#ff0000"]
    assert "Drawn: model = model 03, model 01." in some.caption


def test_a_metric_that_never_changes_is_left_out_and_said():
    table = training().assign(externality=0.0, collusion=np.nan)
    grid = figures.training_curves(table)
    assert [metric for metric, _ in grid.axes_dict] == ["payoff", "exploit", "objective"]
    assert "externality x, which is 0 in every row" in grid.caption
    assert "collusion c, which has no value" in grid.caption
    assert list(figures.training_curves(table, metrics=["externality"]).axes_dict) == [("externality", "")]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.drop(columns="step"), {}, r"needs the columns \['step'\]"),
        (lambda t: pd.concat([t, t]), {}, "72 rows occur more than once .* arm per_rollout.* step 1, seed 1"),
        (lambda t: t.assign(payoff="high"), {}, "'payoff' must hold finite numbers; it holds 'high'"),
        (
            lambda t: pd.concat([t, t.assign(game="kuhn")]),
            {},
            r"one value of the column 'game'.*\['ipd', 'kuhn'\].*`game=`",
        ),
        (lambda t: t, {"game": "chess"}, r"No row has game = chess; the table has \['ipd'\]"),
        (lambda t: t, {"hue": "lr"}, r"needs the columns \['lr'\]"),
        (lambda t: t, {"hue_order": ["mine"]}, r"names \['mine'\], but .* has \['published', 'unbiased'\]"),
        (lambda t: t, {"errorbar": "iqr"}, "no errorbar 'iqr'"),
    ],
)
def test_a_table_that_cannot_be_drawn_is_refused_in_one_sentence(change, options, message):
    with pytest.raises(ValueError, match=message):
        figures.training_curves(change(training()), **options)


def test_a_figure_of_training_draws_on_the_axes_of_the_caller():
    _, (one, two) = plt.subplots(1, 2)
    assert figures.training_curves(training(), ax=one, **ONE) is one
    assert list(lines(one)) == ["SEPO, published", "SEPO, unbiased"]
    table = pd.DataFrame(nashconv_rows())
    assert figures.nashconv_training(table, metrics=["nashconv"], ax=two) is two
    with pytest.raises(ValueError, match="`ax` takes one panel"):
        figures.training_curves(training(), ax=one)


# --------------------------------------------------------------------------------- NashConv by step


def test_nashconv_through_training_begins_at_the_sft_models():
    table = pd.DataFrame(nashconv_rows() + nashconv_rows(pools="conflict", nashconv=99.0))
    grid = figures.nashconv_training(table)
    ax = grid.axes_dict["nashconv", ""]
    drawn = [*bars(ax)["SFT"], *bars(ax)["SEPO, unbiased"]]
    assert [x for x, *_ in drawn] == [0, 15, 30]
    for (_, *found), (stage, step) in zip(drawn, (("sft", 250), ("sepo", 15), ("sepo", 30)), strict=True):
        rows = table[(table.pools == "paper") & (table.stage == stage) & (table.step == step)]
        assert found == pytest.approx(list(interval(rows.nashconv, NON_NEGATIVE)))
    path = ax.lines[0].get_xydata()
    assert path.tolist() == [pytest.approx(point[:2]) for point in drawn]
    assert "3 rows of the base model" in grid.caption and "pools = paper (12 of 24 rows)" in grid.caption


def test_the_sft_models_are_drawn_once_for_all_arms():
    rows = pd.DataFrame(nashconv_rows())
    trained = rows[rows["stage"] == "sepo"]
    arms = [trained.assign(arm=arm, nashconv=trained["nashconv"] + n) for n, arm in enumerate("abc")]
    grid = figures.nashconv_training(
        pd.concat([rows, *arms, *(arm.assign(preset="published") for arm in arms)])
    )
    assert list(grid.axes_dict)[:2] == [("nashconv", "published"), ("nashconv", "unbiased")]
    for ax in grid.axes.flat:
        assert len(bars(ax)["SFT"]) == 1
    assert legend(grid) == ["SFT", "credited", "a", "b", "c"]


def test_a_line_starts_at_the_sft_models_of_its_own_seeds():
    rows = pd.DataFrame(nashconv_rows())
    few = rows[(rows["stage"] != "sepo") | (rows["seed"] != SEEDS[0])]
    ax = figures.nashconv_training(few).axes_dict["nashconv", ""]
    sft = rows[(rows["stage"] == "sft") & (rows["seed"] != SEEDS[0])]
    assert ax.lines[0].get_ydata()[0] == pytest.approx(sft["nashconv"].mean())
    assert bars(ax)["SFT"][0][1] == pytest.approx(sft["nashconv"].mean())


def test_a_stage_of_a_reader_is_a_line_and_two_models_are_lines():
    rows = pd.DataFrame(nashconv_rows())
    ppo = rows[rows["stage"] == "sepo"].assign(stage="ppo", preset="", arm="")
    ppo["nashconv"] += 1
    assert "ppo" in bars(figures.nashconv_training(pd.concat([rows, ppo])).axes_dict["nashconv", ""])
    both = pd.concat([rows, rows.assign(model="n", nashconv=rows["nashconv"] + 1)])
    ax = figures.nashconv_training(both).axes_dict["nashconv", ""]
    assert list(bars(ax)) == ["m", "n"]
    assert [x for x, *_ in bars(ax)["n"]] == pytest.approx([0, 15, 30], abs=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="step"), r"needs the columns \['step'\]"),
        (lambda t: t[t["stage"] == "sft"], r"No row belongs to training; the stages are \['sft'\]"),
        (lambda t: pd.concat([t, t]), "12 rows occur more than once"),
        (lambda t: t.assign(pools="mine"), r"No row has pools = paper; the table has \['mine'\]"),
    ],
)
def test_a_table_of_nashconv_that_cannot_be_drawn_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        figures.nashconv_training(change(pd.DataFrame(nashconv_rows())))


@pytest.mark.parametrize("baselines", [False, True])
def test_exploiters_stand_side_by_side(baselines):
    kinds = [kind for kind in figures.EXPLOITERS if ("," in kind) == baselines]
    kinds += ["an exploiter of my own, group" if baselines else "an exploiter of my own"]
    rows = [row | {"exploiter": kind} for kind in kinds for row in nashconv_rows()]
    table = pd.DataFrame(rows)
    table = table[table.stage != "base"]
    table["nashconv"] += table["exploiter"].map(kinds.index)
    whole = table
    if baselines:
        parts = table["exploiter"].str.split(", ", expand=True)
        table = table.assign(exploiter=parts[0], baseline=parts[1])
    ax = figures.exploiter_training(table).axes_dict["nashconv", ""]
    for kind in kinds:
        last = whole[(whole.exploiter == kind) & (whole.step == 30)]
        label = figures.EXPLOITERS[kind].label if kind in figures.EXPLOITERS else kind
        assert bars(ax)[label][-1][1:] == pytest.approx(tuple(interval(last.nashconv, NON_NEGATIVE)))
        assert len(bars(ax)[label]) == 3  # the SFT models differ, so that each line has its own
