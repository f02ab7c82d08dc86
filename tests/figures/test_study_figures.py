"""The figures of the estimator study: what they draw is what their tables hold."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib import figures
from sepo_lib.measure import exploitability
from sepo_lib.measure.statistics import NON_NEGATIVE, interval
from sepo_lib.studies import sensitivity

SEEDS = (1, 2, 3)


def points(ax, label):
    """[(x, mean, low, high)] of the error bars that carry `label` in one axes."""
    found = []
    for bar in ax.containers:
        if bar.get_label() == label:
            x, y = bar.lines[0].get_data()
            low, high = bar.lines[2][-1].get_segments()[0][:, 1]
            found.append((float(x[0]), float(y[0]), low, high))
    return sorted(found)


def nashconv_rows(**more):
    rng = np.random.default_rng(0)
    return [
        {"model": "m", "pools": "paper", "arm": "", "preset": "", "stage": stage, "seed": seed, "step": step}
        | {"pool_advantage": rng.random(), "nashconv": rng.random()}
        | more
        | ({"arm": "credited", "preset": "unbiased"} if stage == "sepo" else {})
        for stage, step in (("base", 0), ("sft", 250), ("sepo", 15), ("sepo", 30))
        for seed in SEEDS
    ]


def test_nashconv_through_training_begins_at_the_sft_models():
    table = pd.DataFrame(nashconv_rows() + nashconv_rows(pools="conflict", nashconv=99.0))
    grid = figures.nashconv_training(table)
    ax = grid.axes_dict["nashconv"]
    drawn = points(ax, "credited, unbiased")
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
        assert points(ax, look.label)[-1][1:] == pytest.approx(tuple(interval(last.nashconv, NON_NEGATIVE)))


def test_the_papers_nashconv_with_its_interval():
    table = exploitability.paper_nashconv()
    ax = figures.paper_nashconv(table)
    (bars,) = (bar for bar in ax.containers if bar.get_label() == "NashConv of the shares")
    assert bars.lines[0].get_ydata() == pytest.approx(table.nashconv)
    ends = np.array([segment[:, 1] for segment in bars.lines[2][-1].get_segments()])
    assert ends == pytest.approx(table[["nashconv_low", "nashconv_high"]].to_numpy())


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


def test_switches_stand_between_the_published_and_the_unbiased_recipe():
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"preset": preset, "seed": seed} | dict(zip(sensitivity.TERMS, rng.random(4), strict=True))
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


@pytest.mark.parametrize(
    "draw",
    [
        *(figures.nashconv_training, figures.exploiter_training, figures.paper_nashconv),
        *(figures.frontier, figures.switch_outcomes),
    ],
)
def test_empty_tables_and_missing_columns_are_named(draw):
    with pytest.raises(figures.NothingToDraw):
        draw(pd.DataFrame())
    with pytest.raises(ValueError, match="needs the columns"):
        draw(pd.DataFrame({"seed": [1]}))


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
