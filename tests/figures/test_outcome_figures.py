"""Outcomes by stage: heights, interval ends and dots are those of the reported rows."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import bars, evaluation, shown

from sepo_lib import figures
from sepo_lib.measure.statistics import bounds, interval


@pytest.mark.parametrize(
    ("figure", "metric"), [(figures.safety_by_stage, "safety"), (figures.exploit_by_stage, "exploit")]
)
def test_stages_show_the_statistics_of_the_reported_rows(figure, metric):
    table = evaluation()
    grid = figure(table)
    assert list(grid.axes_dict) == ["ipd", "kuhn"]
    for game, ax in grid.axes_dict.items():
        rows = table[(table.game == game) & (table.pools == "paper")]
        chosen = {
            "base model": rows[rows.stage == "base"],
            "SFT": rows[rows.stage == "sft"],
            "SEPO, published": rows[rows.arm == "per_rollout"],
            "SEPO, unbiased": rows[(rows.arm == "credited") & (rows.step == 60)],
        }
        assert list(bars(ax)) == list(chosen)
        for label, values in chosen.items():
            assert shown(ax, label) == pytest.approx(tuple(interval(values[metric], bounds(metric))))
        dots = [line.get_ydata() for line in ax.lines if line.get_marker() == "."]
        assert [sorted(d) for d in dots] == [sorted(values[metric]) for values in chosen.values()]


def test_a_method_of_a_reader_is_drawn_beside_those_of_the_kit():
    table = evaluation(games=("ipd",))
    mine = table[table["preset"] == "unbiased"].assign(preset="mine", arm=None)
    switched = mine.assign(preset="published+horizon")
    ax = figures.safety_by_stage(pd.concat([table, mine, switched])).axes_dict["ipd"]
    assert list(bars(ax)) == ["base model", "SFT", "SEPO, published", "SEPO, unbiased", "mine"]


def test_every_category_has_a_colour_and_a_marker_of_its_own():
    for looks in (figures.CONFIGURATIONS, figures.ARMS):
        assert len({look.colour for look in looks.values()}) == len(looks)
        assert len({look.marker for look in looks.values()}) == len(looks)


def test_one_seed_has_a_mean_and_no_bar():
    table = evaluation()
    ax = figures.safety_by_stage(table[table.seed == 1]).axes_dict["ipd"]
    assert len(ax.containers) == 4
    assert all(container.lines[2] == () for container in ax.containers)


def test_one_seed_has_the_bar_of_its_play():
    """And none where its table does not know it."""
    one = evaluation().query("seed == 1")
    known = one.assign(safety_low=one["safety"] - 0.5, safety_high=one["safety"] + 0.25)

    def heights(table):
        ax = next(iter(figures.safety_by_stage(table).axes_dict.values()))
        return [np.ptp(bar.get_segments()[0][:, 1]) for bar in ax.collections]

    assert heights(known) and heights(known) == pytest.approx([0.75] * len(heights(known)))
    assert heights(one) == []


def test_without_the_mark_the_last_step_is_reported():
    table = evaluation()
    pd.testing.assert_frame_equal(
        figures.reported(table.drop(columns="reported")), figures.reported(table).drop(columns="reported")
    )


def test_equal_seeds_have_a_mark_without_a_bar():
    table = evaluation(games=("ipd",)).query("stage == 'sft'")
    for values, number in (([0.5, 0.5, 0.5], 0), ([0.5, 0.5, 0.6], 1)):
        ax = figures.safety_by_stage(table.assign(safety=values * 2)).axes_dict["ipd"]
        assert len(ax.collections) == number


def test_several_models_stand_beside_one_another():
    table = evaluation(games=("ipd",))
    two = pd.concat([table, table.assign(model="n", safety=table["safety"] + 10)])
    ax = figures.safety_by_stage(two, hue_order=["n", "m"], labels={"n": "new"}).axes_dict["ipd"]
    places: dict[str, list] = {}
    for bar in ax.containers:
        places.setdefault(bar.get_label(), []).append(bar.lines[0].get_xdata()[0])
    assert list(places) == ["new", "m"]
    assert [round(x) for x in places["new"]] == [round(x) for x in places["m"]] == [0, 1, 2, 3]
    assert all(new < m for new, m in zip(places["new"], places["m"], strict=True))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == [
        "base model",
        "SFT",
        "published",
        "unbiased",
    ]


def test_the_ablation_is_left_out_and_said_unless_it_is_asked_for():
    table = evaluation(games=("ipd",))
    assert "3 rows of the ablation (`ablation=True` draws them)" in figures.safety_by_stage(table).caption
    whole = figures.safety_by_stage(table, ablation=True)
    assert "published, constant" in bars(whole.axes_dict["ipd"])
    assert "ablation" not in whole.caption


@pytest.mark.parametrize(
    ("errorbar", "ends"),
    [
        ("sd", (0.0, 2.0)),
        ("se", (1 - 3**-0.5, 1 + 3**-0.5)),
        (("pi", 100), (0.0, 2.0)),
        ("table", (0.5, 3.0)),
        (lambda values: (values.min() - 1, 9.0), (-1.0, 9.0)),
    ],
)
def test_the_error_bar_is_that_of_the_call(errorbar, ends):
    """Three seeds with the values 0, 1 and 2: mean 1, standard deviation 1."""
    table = evaluation(games=("ipd",)).query("stage == 'sft' and pools == 'paper'")
    table = table.assign(safety=[0.0, 1.0, 2.0], safety_low=0.5, safety_high=3.0)
    ax = figures.safety_by_stage(table, errorbar=errorbar).axes_dict["ipd"]
    assert shown(ax, "SFT") == pytest.approx((1.0, *ends))
    without = figures.safety_by_stage(table, errorbar=None).axes_dict["ipd"]
    assert len(without.collections) == 0


def test_a_bar_stays_in_the_range_of_its_quantity():
    table = (
        evaluation(games=("ipd",))
        .query("stage == 'sft' and pools == 'paper'")
        .assign(exploit=[0.0, 0.0, 3.0])
    )
    ax = figures.exploit_by_stage(table, errorbar="sd").axes_dict["ipd"]
    assert shown(ax, "SFT") == pytest.approx((1.0, 0.0, 1.0 + 3**0.5))


def test_cross_play_takes_an_order_and_labels():
    pairs = [("a", "a"), ("a", "b"), ("b", "a")]
    cell = {"game": "ipd", "kind": "model", "payoff": 1.0, "ci_low": 0.5, "ci_high": 1.5}
    table = pd.DataFrame([{**cell, "row": row, "column": column} for row, column in pairs])
    ax = figures.crossplay(table, order=["b", "a"], labels={"a": "mine"})
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "mine"]
    assert [text.get_text() for text in ax.texts] == ["1.00 ±0.50\n1.00"] * 3  # b against b is not known
    with pytest.raises(ValueError, match="row b, column a"):
        figures.crossplay(pd.concat([table, table[2:]]))


def test_cross_play_shows_who_wins():
    """a gets 3 against b and b gets 1: the cell of a is blue, that of b red, and a tie is white."""
    table = pd.DataFrame(
        {"game": "g", "row": row, "column": column, "kind": kind, "payoff": payoff, "ci_low": 0, "ci_high": 9}
        for row, column, kind, payoff in (
            *(("a", "a", "model", 2), ("a", "b", "model", 3), ("b", "a", "model", 1)),
            *(("b", "b", "model", 2), ("a", "bot", "pool", 5), ("b", "bot", "pool", 5)),
        )
    )
    ax = figures.crossplay(table)
    margins = ax.collections[0].get_array().filled(np.nan).reshape(2, 3)
    assert margins[:, :2].tolist() == [[0, 2], [-2, 0]] and np.isnan(margins[:, 2]).all()
    red, white, blue = (ax.collections[0].cmap(ax.collections[0].norm(value)) for value in (-2, 0, 2))
    assert red[0] > red[2] and blue[2] > blue[0] and min(white[:3]) > 0.95
    texts = [text.get_text() for text in ax.texts]
    assert "3.00 ±4.50\n1.00" in texts and texts[-2:] == ["model", "pool"]
    assert (
        ax.figure.get_suptitle().replace("\n", " ").startswith("Who beats whom? Each cell: the row's payoff")
    )
    known = figures.crossplay(table.assign(other_payoff=4.0))
    assert "5.00 ±4.50\n4.00" in [text.get_text() for text in known.texts]
    bots = figures.crossplay(table[table["column"] == "bot"])
    assert bots.figure.get_suptitle() == "Who beats whom?"
    assert bots.collections[0].get_array().tolist() == [[5], [5]]
