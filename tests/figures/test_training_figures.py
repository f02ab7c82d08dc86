"""The course of training: means, bands, smoothing, and NashConv by step."""

import pandas as pd
import pytest
from figure_tables import bars, nashconv_rows, training

from sepo_lib import figures
from sepo_lib.measure.statistics import NON_NEGATIVE, interval


def test_training_curves_are_means_with_the_range_of_the_seeds():
    table = training()
    grid = figures.training_curves(table, "ipd")
    assert list(grid.axes_dict) == ["payoff", "exploit", "collusion", "externality", "objective"]
    for metric, ax in grid.axes_dict.items():
        by_step = table[table.arm == "credited"].groupby("step")[metric]
        (line,) = [line for line in ax.lines if line.get_label() == "credited, unbiased"]
        assert line.get_ydata() == pytest.approx(by_step.mean())
        band = ax.collections[1].get_paths()[0].vertices
        for step, low, high in zip(by_step.min().index, by_step.min(), by_step.max(), strict=True):
            at = band[band[:, 0] == step, 1]
            assert (at.min(), at.max()) == pytest.approx((low, high))


def test_training_curves_smooth_seed_by_seed():
    table = training()
    ax = figures.training_curves(table, "ipd", window=3).axes_dict["payoff"]
    rows = table[(table.arm == "credited") & table.step.isin([4, 5, 6])]
    (line,) = [line for line in ax.lines if line.get_label() == "credited, unbiased"]
    assert line.get_ydata()[-1] == pytest.approx(rows.payoff.mean())


def test_nashconv_through_training_begins_at_the_sft_models():
    table = pd.DataFrame(nashconv_rows() + nashconv_rows(pools="conflict", nashconv=99.0))
    grid = figures.nashconv_training(table)
    ax = grid.axes_dict["nashconv"]
    drawn = bars(ax)["credited, unbiased"]
    assert [x for x, *_ in drawn] == [0, 15, 30]
    for (_, *found), (stage, step) in zip(drawn, (("sft", 250), ("sepo", 15), ("sepo", 30)), strict=True):
        rows = table[(table.pools == "paper") & (table.stage == stage) & (table.step == step)]
        assert found == pytest.approx(list(interval(rows.nashconv, NON_NEGATIVE)))


def test_exploiters_stand_side_by_side():
    rows = [row | {"exploiter": kind} for kind in figures.EXPLOITERS for row in nashconv_rows()]
    table = pd.DataFrame(rows)
    table = table[table.stage != "base"]
    table.loc[table.exploiter == "pool", "nashconv"] += 1.0
    ax = figures.exploiter_training(table).axes_dict["nashconv"]
    for kind, look in figures.EXPLOITERS.items():
        last = table[(table.exploiter == kind) & (table.step == 30)]
        assert bars(ax)[look.label][-1][1:] == pytest.approx(tuple(interval(last.nashconv, NON_NEGATIVE)))
