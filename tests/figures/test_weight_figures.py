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
    table = sensitivity.safety_by_weight(evaluation(), points=5)
    ax = figures.weight_sensitivity(table).axes_dict["ipd"]
    for stage, label in (("base", "base model"), ("sft", "SFT"), ("sepo", "SEPO, unbiased")):
        (line,) = (line for line in ax.lines if line.get_label() == label)
        rows = table[(table.stage == stage) & (table.weight == "exploit")]
        assert line.get_ydata() == pytest.approx(rows.groupby("value").safety.mean().to_numpy())
    assert any(list(line.get_xdata()) == [2.4, 2.4] for line in ax.lines)  # the game's own le
    with pytest.raises(ValueError, match="no weight 'payoff'"):
        figures.weight_sensitivity(table, "payoff")


def test_the_frontier_has_a_point_for_every_weight():
    rng = np.random.default_rng(2)
    table = pd.DataFrame(
        {"game": "kuhn", "seed": seed, "multiple": m, "payoff": rng.random(), "exploit": rng.random()}
        for m in (0.0, 0.5, 2.0)
        for seed in SEEDS
    )
    ax = figures.frontier(table).axes_dict["kuhn"]
    for m in (0.0, 0.5, 2.0):
        (bar,) = (bar for bar in ax.containers if bar.get_label() == f"{m:g} λe")
        rows = table[table.multiple == m]
        assert np.ravel(bar.lines[0].get_data()) == pytest.approx([rows.exploit.mean(), rows.payoff.mean()])
