"""Safety against one weight, and the frontier."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import SEEDS

from sepo_lib import figures
from sepo_lib.studies import sensitivity


def evaluation():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {"game": "ipd", "pools": "paper", "stage": stage, "seed": seed, "reported": True}
        | {"arm": "credited", "preset": "unbiased"}
        | {term: rng.random() for term in sensitivity.TERMS}
        for stage in sensitivity.STAGES
        for seed in SEEDS
    )


def test_safety_against_a_weight():
    table = sensitivity.safety_by_weight(evaluation(), points=5).assign(profile="p")
    ax = figures.weight_sensitivity(table).axes_dict["ipd"]
    for stage, label in (("base", "base model"), ("sft", "SFT"), ("sepo", "SEPO, unbiased")):
        (line,) = (line for line in ax.lines if line.get_label() == label)
        rows = table[(table.stage == stage) & (table.weight == "exploit")]
        assert line.get_ydata() == pytest.approx(rows.groupby("value").safety.mean().to_numpy())
    assert any(list(line.get_xdata()) == [2.4, 2.4] for line in ax.lines)  # the game's own le
    with pytest.raises(ValueError, match=r"No row has weight = payoff; the table has \['exploit'"):
        figures.weight_sensitivity(table, weight="payoff")


def test_the_frontier_has_a_point_for_every_weight():
    rng = np.random.default_rng(2)
    table = pd.DataFrame(
        {"game": "kuhn", "seed": seed, "multiple": m, "payoff": rng.random(), "exploit": rng.random()}
        for m in (0.0, 0.5, 2.0)
        for seed in SEEDS
    )
    ax = figures.frontier(table).axes_dict["kuhn"]
    for m in (0.0, 0.5, 2.0):
        (bar,) = (bar for bar in ax.containers if bar.get_label() == f"le × {m:g}")
        rows = table[table.multiple == m]
        assert np.ravel(bar.lines[0].get_data()) == pytest.approx([rows.exploit.mean(), rows.payoff.mean()])


def test_two_weights_are_no_frontier_and_the_caption_says_so():
    table = pd.DataFrame(
        {"game": "kuhn", "seed": seed, "multiple": m, "payoff": m + seed, "exploit": seed}
        for m in (0.0, 1.0, 2.0)
        for seed in SEEDS
    )
    assert "Weights: two, which show" in figures.frontier(table, hue_order=[0.0, 1.0]).caption
    assert "Weights:" not in figures.frontier(table).caption


def test_the_bars_of_the_exploit_advantage_stay_at_or_above_0():
    table = pd.DataFrame(
        {"game": "kuhn", "seed": seed, "multiple": 1.0, "payoff": 1.0, "exploit": value}
        for seed, value in enumerate((0.0, 0.0, 3.0))
    )
    ax = figures.frontier(table).axes_dict["kuhn"]
    assert [bar.get_segments()[0][:, 0].min() for bar in ax.collections] == [0.0]


def test_a_single_seed_has_a_band_only_if_its_table_has_the_ends():
    table = sensitivity.safety_by_weight(evaluation(), points=5).query("seed == 1")
    bare = figures.weight_sensitivity(table)
    assert not bare.axes_dict["ipd"].collections and "Error bars: none: one seed" in bare.caption
    known = table.assign(safety_low=table["safety"] - 1, safety_high=table["safety"] + 1)
    ax = figures.weight_sensitivity(known).axes_dict["ipd"]
    assert len(ax.collections) == 3


def test_equal_lines_are_named():
    table = sensitivity.safety_by_weight(evaluation(), points=5).assign(profile="p")
    base = table.query("stage == 'base'")
    same = pd.concat([table.query("stage != 'sft'"), base.assign(stage="sft")])
    assert "One line over another: base model and SFT in Prisoner's dilemma" in (
        figures.weight_sensitivity(same).caption
    )
    assert "One line over another" not in figures.weight_sensitivity(table).caption
