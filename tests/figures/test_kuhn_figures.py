"""Kuhn poker: the strategy, the Nash family, and NashConv beside the pool's advantage."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import bars, kuhn

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure import exploitability
from sepo_lib.measure.statistics import bounds, interval, spread


def test_kuhn_strategy_shows_the_chosen_reading_and_the_nash_family():
    _, table = kuhn()
    grid = figures.kuhn_strategy(table)
    ax = grid.axes_dict["first", "CALL"]
    rows = table[(table.stage == "sft") & (table.reading == "sampled") & (table.seat == "first")]
    rows = rows[rows.action == "CALL"]
    for (x, *values), card in zip(bars(ax)["SFT"], "JQK", strict=True):
        assert round(x) == "JQK".index(card)
        assert values == pytest.approx(list(spread(rows[rows.card == card], "probability")))
    bands = [box for box in (c.get_paths()[0].get_extents() for c in ax.collections) if box.width > 0.8]
    assert [(box.ymin, box.ymax) for box in bands] == [figures.nash_kuhn("first", "CALL", c) for c in "JQK"]


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1 / 3])
def test_the_nash_family_cannot_be_exploited(alpha):
    """Every probability lies at the same share 3 alpha of its range (Kuhn 1950)."""
    rows = [("first", "BET"), ("second", "BET"), ("second", "CALL"), ("first", "CALL")]
    ranges = np.array([[figures.nash_kuhn(seat, action, card) for card in "JQK"] for seat, action in rows])
    low_HC, high_HC = ranges[..., 0], ranges[..., 1]
    strategy_HC = low_HC + 3 * alpha * (high_HC - low_HC)
    assert exploitability.nashconv(strategy_HC) == pytest.approx(0.0, abs=1e-12)


def test_exploitability_shows_both_measures():
    table, _ = kuhn()
    ax = figures.exploitability(table)
    rows = table[(table.arm == "credited") & (table.step == 60)]
    for label, column in (("exploiter pool's advantage", "pool_advantage"), ("NashConv", "nashconv")):
        drawn = bars(ax)[label]
        assert len(drawn) == 4 and drawn[-1][1:] == pytest.approx(
            tuple(interval(rows[column], bounds(column)))
        )


def test_kuhns_figures_show_one_set_of_pools():
    exact, strategies = kuhn()
    other = [
        table.assign(pools="conflict", **{column: 0.9})
        for table, column in ((exact, "nashconv"), (strategies, "probability"))
    ]
    both = [
        pd.concat([table.assign(pools="paper"), more])
        for table, more in zip((exact, strategies), other, strict=True)
    ]
    assert bars(figures.exploitability(both[0])) == bars(figures.exploitability(exact))
    one, two = figures.kuhn_strategy(both[1]), figures.kuhn_strategy(strategies)
    for key, ax in two.axes_dict.items():
        assert bars(one.axes_dict[key]) == bars(ax)


def test_no_bar_of_the_committed_run_leaves_the_range_of_its_quantity():
    """Student's t drew probabilities below 0 and above 1, and exploitabilities below 0."""
    read = {name: paths.read_table("laptop", name) for name in ("strategies", "exploitability", "evaluation")}
    strategy = figures.kuhn_strategy(read["strategies"]).axes_dict.values()
    kuhn_ax = figures.exploitability(read["exploitability"])
    stages = figures.exploit_by_stage(read["evaluation"]).axes_dict.values()
    for axes, high in ((strategy, 1.0), ([kuhn_ax], np.inf), (stages, np.inf)):
        ends = [end for ax in axes for drawn in bars(ax).values() for _, _, *two in drawn for end in two]
        ends = [end for end in ends if not np.isnan(end)]
        assert ends and min(ends) >= -1e-9 and max(ends) <= high + 1e-9
