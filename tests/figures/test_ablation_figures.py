"""Ablations: outcomes by arm, by switch, and the penalty's gradient."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import SEEDS, TERMS, ablation, across

from sepo_lib import figures
from sepo_lib.measure.statistics import interval

PAPER, CONFLICT = (f"Prisoner's dilemma\n{pools} pools" for pools in ("paper", "conflict"))


def test_ablation_outcomes_by_arm_preset_and_place():
    table = ablation()
    grid = figures.ablation_outcomes(table)
    assert len(grid.axes_dict) == 6
    ax = grid.axes_dict["safety", "Prisoner's dilemma\nconflict pools"]
    rows = table[(table.kind == "outcome") & (table.step == 60) & (table.pools == "conflict")]
    for arm in figures.ARMS:
        for preset in figures.PRESETS:
            values = rows.loc[(rows.arm == arm) & (rows.preset == preset), "safety"]
            ((_, *drawn),) = across(ax)[f"{arm}, {preset}"]
            assert drawn == pytest.approx(interval(values))
            (line,) = (bar.lines[0] for bar in ax.containers if bar.get_label() == f"{arm}, {preset}")
            assert (line.get_markerfacecolor() == "white") == (preset == "published")
    names = [tick.get_text() for tick in grid.axes_dict["safety", PAPER].get_yticklabels()]
    assert names == ["reward only", "constant", "per rollout", "credited"]


def test_the_panels_of_one_game_have_one_scale_for_each_metric():
    axes = figures.ablation_outcomes(ablation()).axes_dict
    for metric in ("safety", "payoff", "exploit"):
        assert axes[metric, PAPER].get_xlim() == axes[metric, CONFLICT].get_xlim()
    assert axes["safety", PAPER].get_xlim() != axes["payoff", PAPER].get_xlim()


def test_a_bar_that_is_longer_than_all_marks_ends_in_a_triangle_and_hides_no_mark():
    """Two seeds at 0 and 1 have the interval 0.5 ± 6.4; the marks of both arms lie between 0 and 1."""
    table = pd.DataFrame(
        {"game": "ipd", "arm": arm, "seed": seed, "safety": value, "payoff": 1.0, "exploit": 0.0}
        for arm, values in (("constant", (0.0, 1.0)), ("credited", (0.5, 0.5)))
        for seed, value in enumerate(values)
    )
    grid = figures.ablation_outcomes(table, metrics=["safety"])
    ax = grid.axes_dict["safety", "Prisoner's dilemma"]
    low, high = ax.get_xlim()
    assert -1.0 < low < 0.0 and 1.0 < high < 2.0
    assert [line.get_marker() for line in ax.lines if line.get_marker() in "<>"] == ["<", ">"]
    assert "an error bar that leaves its panel ends in a triangle" in grid.caption
    short = figures.ablation_outcomes(table, metrics=["safety"], errorbar=("pi", 100))
    assert "triangle" not in short.caption


def test_penalty_gradient_shows_norm_and_cosine():
    table = ablation()
    grid = figures.penalty_gradient(table)
    rows = table[(table.kind == "gradient") & (table.pools == "paper") & (table.arm == "constant")]
    values = rows.loc[rows.preset == "published"]
    for metric in ("penalty_gradient_norm", "cosine_to_credited"):
        ((_, *drawn),) = across(grid.axes_dict[metric, PAPER])["constant, published"]
        assert drawn == pytest.approx(interval(values[metric]))
    assert len(figures.penalty_gradient(table.drop(columns="cosine_to_credited")).axes_dict) == 2


def test_switches_stand_between_the_published_and_the_unbiased_recipe():
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"profile": "p", "preset": preset, "seed": seed} | dict(zip(TERMS, rng.random(4), strict=True))
        for preset in ("unbiased", "published+clamp", "published")
        for seed in SEEDS
    ).assign(safety=lambda rows: rows["payoff"] - rows["exploit"])
    grid = figures.switch_outcomes(table)
    assert [metric for metric, _ in grid.axes_dict] == [
        "safety",
        "payoff",
        "exploit",
        "collusion",
        "externality",
    ]
    ax = grid.axes_dict["safety", ""]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["published", "+ mean margin", "unbiased"]
    drawn = [np.ravel(bar.lines[0].get_data()) for bar in ax.containers]
    means = table.groupby("preset")["safety"].mean()
    assert np.array(drawn) == pytest.approx(
        np.array([(means[p], -y) for y, p in enumerate(("published", "published+clamp", "unbiased"))])
    )


def test_a_switch_that_cannot_act_is_named_and_not_drawn():
    rows = [
        {"profile": "p", "game": "ipd", "pools": "paper", "preset": preset, "seed": seed}
        | dict.fromkeys(("safety", "payoff", "exploit", "collusion"), value)
        for preset, value in (("published", 0.1), ("published+weights", 0.75), ("unbiased", 0.2))
        for seed in (1, 2)
    ]
    grid = figures.switch_outcomes(pd.DataFrame(rows))
    ax = grid.axes_dict["safety", PAPER]
    labels = dict(zip(ax.get_yticks(), [tick.get_text() for tick in ax.get_yticklabels()], strict=True))
    (words,) = [text for text in ax.texts if "no effect" in text.get_text()]
    assert labels[words.xy[1]] == "+ pool weights"
    assert not any(np.isclose(line.get_xdata(), 0.75).any() for line in ax.lines)
    assert "2 rows of published+weights, which has no effect by construction" in grid.caption
    trained = [row for row in rows if row["preset"] != "published+weights"]
    caption = figures.switch_outcomes(pd.DataFrame(trained)).caption
    assert "Left out: published+weights, which has no effect by construction." in caption
