"""Ablations: outcomes by arm, by switch, and the penalty's gradient."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import SEEDS, TERMS, ablation, shown

from sepo_lib import figures
from sepo_lib.measure.statistics import interval


def test_ablation_outcomes_by_arm_preset_and_place():
    table = ablation()
    grid = figures.ablation_outcomes(table)
    assert len(grid.axes_dict) == 6
    ax = grid.axes_dict["safety", "Prisoner's dilemma\nconflict pools"]
    rows = table[(table.kind == "outcome") & (table.step == 60) & (table.pools == "conflict")]
    for arm in figures.ARMS:
        for preset in figures.PRESETS:
            values = rows.loc[(rows.arm == arm) & (rows.preset == preset), "safety"]
            assert shown(ax, f"{arm}, {preset}") == pytest.approx(interval(values))
    assert [t.get_text() for t in grid.axes[-1, 0].get_xticklabels()] == (
        ["reward\nonly", "constant", "per\nrollout", "credited"]
    )


def test_penalty_gradient_shows_norm_and_cosine():
    table = ablation()
    grid = figures.penalty_gradient(table)
    rows = table[(table.kind == "gradient") & (table.pools == "paper") & (table.arm == "constant")]
    values = rows.loc[rows.preset == "published"]
    for metric in ("penalty_gradient_norm", "cosine_to_credited"):
        ax = grid.axes_dict[metric, "Prisoner's dilemma\npaper pools"]
        assert shown(ax, "constant, published") == pytest.approx(interval(values[metric]))
    assert len(figures.penalty_gradient(table.drop(columns="cosine_to_credited")).axes_dict) == 2


def test_switches_stand_between_the_published_and_the_unbiased_recipe():
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"preset": preset, "seed": seed} | dict(zip(TERMS, rng.random(4), strict=True))
        for preset in ("unbiased", "published+clamp", "published")
        for seed in SEEDS
    ).assign(safety=lambda rows: rows["payoff"] - rows["exploit"])
    ax = figures.switch_outcomes(table).axes_dict["safety"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["published", "mean margin", "unbiased"]
    drawn = [np.ravel(bar.lines[0].get_data()) for bar in ax.containers]
    means = table.groupby("preset")["safety"].mean()
    assert np.array(drawn) == pytest.approx(
        np.array([(x, means[p]) for x, p in enumerate(("published", "published+clamp", "unbiased"))])
    )


def test_a_switch_that_cannot_act_is_named_and_not_drawn():
    rows = [
        {"game": "ipd", "pools": "paper", "preset": preset, "seed": seed}
        | dict.fromkeys(("safety", "payoff", "exploit", "collusion"), value)
        for preset, value in (("published", 0.1), ("published+weights", 0.75), ("unbiased", 0.2))
        for seed in (1, 2)
    ]
    ax = figures.switch_outcomes(pd.DataFrame(rows)).axes_dict["safety"]
    labels = [tick.get_text() for tick in ax.get_xticklabels()]
    (words,) = [text for text in ax.texts if "no effect" in text.get_text()]
    assert labels[words.xy[0]] == "pool weights"
    assert not any(np.isclose(line.get_ydata(), 0.75).any() for line in ax.lines)
