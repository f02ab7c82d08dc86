"""Outcomes by stage: heights, interval ends and dots are those of the reported rows."""

import matplotlib.pyplot as plt
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
    _, (equal, apart) = plt.subplots(1, 2)
    for ax, values in ((equal, [0.5, 0.5, 0.5]), (apart, [0.5, 0.5, 0.6])):
        figures.mark(ax, 0.0, values, figures.CONFIGURATIONS["sft"])
    assert len(equal.collections) == 0 < len(apart.collections)
