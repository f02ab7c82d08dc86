"""Kuhn poker: the strategy, the Nash family, and NashConv beside the pool's advantage."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figure_tables import bars, kuhn, nashconv_rows

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure import exploitability
from sepo_lib.measure.statistics import bounds, interval, spread, wilson


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


def test_one_seed_has_wilsons_interval_of_its_samples():
    _, table = kuhn()
    table = table[(table["seed"] == 1) & (table["stage"] == "sft")]
    ax = figures.kuhn_strategy(table.assign(probability=0.25, samples=16)).axes_dict["first", "BET"]
    assert [values for _, *values in bars(ax)["SFT"]] == [pytest.approx(list(wilson(4, 16)))] * 3
    constrained = figures.kuhn_strategy(table.assign(samples=16), reading="constrained")
    assert all(len(box.lines[2]) == 0 for box in constrained.axes_dict["first", "BET"].containers)


def test_seats_0_and_1_and_tables_without_stages_are_drawn():
    _, table = kuhn()
    zero = table.assign(seat=table["seat"].map({"first": 0, "second": 1}))
    expected = figures.kuhn_strategy(table)
    for place, ax in figures.kuhn_strategy(zero).axes_dict.items():
        assert bars(ax) == bars(expected.axes_dict[place])
    columns = ["seat", "card", "action", "probability"]
    bare = table[table["stage"] == "sft"].query("reading == 'sampled' and seed == 1")[columns]
    containers = figures.kuhn_strategy(bare).axes_dict["second", "CALL"].containers
    assert [mark.get_label() for mark in containers] == ["all rows"] * 3


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda t: t.assign(seat="third"),
            {},
            r"'seat' holds \['third'\]; allowed are \['first', 'second'\]",
        ),
        (lambda t: t.assign(card="A"), {}, r"'card' holds \['A'\]; allowed are \['J', 'Q', 'K'\]"),
        (lambda t: t.assign(action="RAISE"), {}, r"'action' holds \['RAISE'\]"),
        (lambda t: t.assign(probability=1.5), {}, r"must lie in \[0, 1\]; it holds 1.5"),
        (lambda t: pd.concat([t, t]), {}, "rows occur more than once for the same seat, card, action"),
        (lambda t: pd.concat([t, t.assign(model="n")]), {}, r"column 'model'.*\['m', 'n'\].*`model=`"),
        (
            lambda t: pd.concat([t, t.assign(model="n")]),
            {"hue": "model"},
            "value of the column 'configuration'",
        ),
        (
            lambda t: t,
            {"reading": "guessed"},
            r"No row has reading = guessed; .*\['sampled', 'constrained'\]",
        ),
    ],
)
def test_a_strategy_that_cannot_be_drawn_is_refused_in_one_sentence(change, options, message):
    with pytest.raises(ValueError, match=message):
        figures.kuhn_strategy(change(kuhn()[1]), **options)


def test_models_are_hues_of_kuhns_figures():
    exact, strategies = kuhn()
    two = pd.concat([strategies, strategies.assign(model="n")])
    ax = figures.kuhn_strategy(two, hue="model", order=["sft"], hue_order=["n", "m"]).axes_dict[
        "first", "BET"
    ]
    assert list(bars(ax)) == ["n", "m"]
    ax = figures.exploitability(pd.concat([exact, exact.assign(model="n")]))
    assert [len(drawn) for drawn in bars(ax).values()] == [8, 8]  # four stages, two measures
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert texts == ["exploiter pool's advantage", "NashConv", "m", "n"]


def test_kuhns_figures_take_axes_palettes_orders_and_labels():
    _, (one, two) = plt.subplots(1, 2)
    exact, strategies = kuhn()
    first = strategies[(strategies["seat"] == "first") & strategies["action"].isin(["BET", "PASS"])]
    order = ["unbiased", "sft"]
    words = {"order": order, "labels": {"unbiased": "mine"}}
    assert figures.kuhn_strategy(first, ax=one, palette={"unbiased": "red", "sft": "black"}, **words) is one
    assert list(bars(one)) == ["mine", "SFT"] and one.containers[0].lines[0].get_color() == "red"
    assert figures.exploitability(exact, ax=two, **words) is two
    assert [label.get_text() for label in two.get_xticklabels()] == ["mine", "SFT"]


def test_a_stage_of_a_reader_and_values_that_are_missing():
    rows = pd.DataFrame(nashconv_rows())
    mine = rows[rows["stage"] == "sft"].assign(stage="ppo", nashconv=0.75)
    ax = figures.exploitability(pd.concat([rows, mine]))
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "base model",
        "SFT",
        "SEPO,\nunbiased",
        "ppo",
    ]
    rows.loc[(rows["stage"] == "base"), "pool_advantage"] = np.nan
    ax = figures.exploitability(rows)
    assert len(bars(ax)["exploiter pool's advantage"]) == 2 and len(bars(ax)["NashConv"]) == 3
    assert "3 rows without a value of pool_advantage" in ax.caption
