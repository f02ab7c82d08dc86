"""Intervals against numbers worked out by hand, and their coverage by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sepo_lib.config import paths
from sepo_lib.measure.statistics import (
    BOUNDS,
    NON_NEGATIVE,
    clamped,
    detectable,
    holm,
    interval,
    kind,
    paired,
    spread,
    summarize,
    wilson,
)
from sepo_lib.studies import coverage

T_2 = 4.302652729911275  # the 97.5% point of Student's t with two degrees of freedom, from its table


def test_interval_of_three_values_by_hand():
    # mean 2, standard deviation 1, standard error 1 / sqrt(3)
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high - mean == pytest.approx(T_2 / np.sqrt(3))
    assert mean - low == pytest.approx(T_2 / np.sqrt(3))


def test_interval_of_two_values_at_half_confidence():
    # one degree of freedom is the Cauchy distribution, whose 75% point is 1; the standard error is 1
    assert interval([0.0, 2.0], confidence=0.5) == pytest.approx((1.0, 0.0, 2.0))


def test_one_seed_has_no_bounds():
    mean, low, high = interval([0.3])
    assert mean == 0.3 and np.isnan(low) and np.isnan(high)


def test_equal_values_have_width_zero_without_rounding():
    assert interval([0.1, 0.1, 0.1]) == (0.1, 0.1, 0.1)


@pytest.mark.parametrize("values", [[], 1.0, [1.0, np.nan], [1.0, np.inf]])
def test_interval_refuses(values):
    with pytest.raises(ValueError, match="interval needs"):
        interval(values)


def test_interval_refuses_a_confidence_in_percent():
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([1.0, 2.0], confidence=95)


def test_coverage_of_the_t_interval():
    """With five normal values, 95% of the intervals contain the mean (binomial error .005 here)."""
    rng = np.random.default_rng(7)
    found = [interval(values) for values in rng.normal(3.0, 2.0, size=(2000, 5))]
    assert np.mean([low <= 3.0 <= high for _, low, high in found]) == pytest.approx(0.95, abs=0.015)


def test_paired_uses_the_common_seeds_and_not_their_order():
    a = pd.Series([5.0, 1.0, 2.0, 9.0], index=[13, 11, 12, 99])
    b = pd.Series([0.0, 0.0, 2.0, 7.0], index=[11, 12, 13, 98])
    # differences of the seeds 11, 12, 13: 1, 2, 3
    assert paired(a, b) == pytest.approx((2.0, 2.0 - T_2 / np.sqrt(3), 2.0 + T_2 / np.sqrt(3)))


def test_pairing_removes_what_seeds_share():
    shared = pd.Series([-10.0, 0.0, 10.0], index=[1, 2, 3])
    assert paired(shared + 1.0, shared) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (pd.Series([1.0], index=[1]), pd.Series([1.0], index=[2]), "No seed in common"),
        (pd.Series([1.0, 2.0], index=[1, 1]), pd.Series([1.0], index=[1]), "twice"),
        (pd.Series([1.0, np.nan], index=[1, 2]), pd.Series([1.0, 1.0], index=[1, 2]), "missing"),
    ],
)
def test_paired_refuses(a, b, message):
    with pytest.raises(ValueError, match=message):
        paired(a, b)


def test_summarize_is_tidy_and_keeps_empty_groups_apart():
    table = pd.DataFrame(
        {
            "stage": ["sepo", "sepo", "base", "sepo"],
            "arm": ["credited", "credited", None, "credited"],
            "u": [1.0, 3.0, 5.0, 2.0],
            "nra": [np.nan, np.nan, np.nan, 0.5],
        }
    )
    found = summarize(table, ["stage", "arm"], ["u", "nra"])
    columns = ["stage", "arm", "metric", "mean", "ci_low", "ci_high", "n", "interval"]
    assert found.columns.tolist() == columns
    assert found["interval"].tolist() == ["95% t over 3 seeds", *["none: one seed"] * 2, "none"]
    assert found["metric"].tolist() == ["u", "nra", "u", "nra"]
    assert found["n"].tolist() == [3, 1, 1, 0]
    assert found["mean"].tolist()[:3] == [2.0, 0.5, 5.0]
    assert found.loc[0, "ci_low"] == pytest.approx(2.0 - T_2 / np.sqrt(3))
    assert np.isnan(found.loc[3, "mean"])


def test_summarize_names_what_is_missing():
    with pytest.raises(ValueError, match="lacks the columns \\['stage', 'u'\\]"):
        summarize(pd.DataFrame({"a": [1]}), ["stage"], ["u"])


@pytest.mark.parametrize("mixed", ["pools", "step"])
def test_summarize_refuses_a_seed_that_stands_twice(mixed):
    """Base and SFT are measured on the paper's and on the conflict pools: their mean is that of neither."""
    table = pd.DataFrame(
        {"game": "ipd", "stage": "base", "pools": "paper", "step": 0, "seed": [1, 2], "u": 1.0}
    )
    table = pd.concat([table, table.assign(**{mixed: "conflict" if mixed == "pools" else 15})])
    with pytest.raises(ValueError, match=f"seed twice, mixing \\['{mixed}'\\]"):
        summarize(table, ["game", "stage"], ["u"])
    assert summarize(table, ["game", "stage", mixed], ["u"])["n"].tolist() == [2, 2]


def test_an_interval_is_cut_to_the_range_of_its_metric():
    # t of 0, 0, .3: .1 +- 4.303 * .1; of 1, 1, .7: .9 +- .43
    assert interval([0.0, 0.0, 0.3], (0.0, 1.0)) == pytest.approx((0.1, 0.0, 0.1 + T_2 / 10))
    assert interval([1.0, 1.0, 0.7], (0.0, 1.0)) == pytest.approx((0.9, 0.9 - T_2 / 10, 1.0))
    assert interval([0.0, 0.0, 0.3], NON_NEGATIVE).low == 0.0 > interval([0.0, 0.0, 0.3]).low
    assert interval([0.2, 0.4], NON_NEGATIVE, confidence=0.5) == pytest.approx((0.3, 0.2, 0.4))
    with pytest.raises(ValueError, match="do not lie in"):
        interval([1.0, 1.2], (0.0, 1.0))


def test_equal_frequencies_of_known_trials_have_wilsons_interval():
    """0 of 1,024 answers in each of three seeds is no proof of a probability of 0."""
    z = 1.959963984540054
    high = z**2 / (3 * 1024 + z**2)  # Wilson's upper end of no success
    assert interval([0.0, 0.0, 0.0], (0.0, 1.0), trials=1024) == pytest.approx((0.0, 0.0, high))
    assert wilson(0, 3 * 1024) == pytest.approx((0.0, 0.0, high))
    # 5 of 10: the middle stays, half the width is z / (1 + z^2 / 10) sqrt(.025 + (z / 10)^2 / 4)
    half = z / (1 + z**2 / 10) * np.sqrt(0.025 + (z / 10) ** 2 / 4)
    assert wilson(5, 10) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    with pytest.raises(ValueError, match="0 to 3 successes"):
        wilson(4, 3)


def test_e_has_the_interval_of_the_signed_margin():
    # The largest margin lies clearly above 0: Student's t on e itself.
    expected = tuple(interval([0.1, 0.2, 0.3], NON_NEGATIVE))
    assert clamped([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]) == pytest.approx(expected)
    # Margins -1, 0, 1: the interval of e begins at 0 and ends above the end of the margins' interval, 2.48.
    mean, low, high = clamped([0.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
    assert (mean, low) == (pytest.approx(1 / 3), 0.0)
    d = np.sqrt(
        2 / (-2 * np.log(0.9))
    )  # the upper 90% limit of the deviation: chi-square, 2 degrees of freedom
    z, end = T_2 / np.sqrt(3) / d, T_2 / np.sqrt(3)
    assert high == pytest.approx(end * stats.norm.cdf(z) + d * stats.norm.pdf(z))
    # Without a spread nothing is added: e of a margin of -1 is 0.
    assert clamped([0.0, 0.0], [-1.0, -1.0]) == (0.0, 0.0, 0.0)
    # It begins at the lower end of the mean margin's interval: .2 +- T / 10 sqrt(3), and at 0 below 0.
    worst, means = [0.4, 0.5, 0.6], np.array([0.1, 0.2, 0.3])
    assert clamped([0.2, 0.3, 0.4], worst, means).low == 0.0 == clamped([0.2, 0.3, 0.4], worst, -means).low
    assert clamped([1.2, 1.3, 1.4], worst, 1 + means).low == pytest.approx(1.2 - T_2 / 10 / np.sqrt(3))
    assert np.isnan(clamped([0.0], [-1.0]).low)


def test_a_metric_has_the_interval_that_fits_it_and_its_name():
    rows = pd.DataFrame(
        {"stage": "sepo", "seed": [1, 2, 3], "exploit": [0.0, 0.0, 1.0], "safety": [-1, 0, 1]}
    )
    assert spread(rows, "safety") == pytest.approx(tuple(interval([-1, 0, 1])))
    assert kind(rows, "safety") == "95% t over 3 seeds"
    assert spread(rows, "exploit").low == 0.0 and kind(rows, "exploit") == "95% t over 3 seeds, cut at 0"
    signed = rows.assign(worst_margin=[-1.0, 0.0, 1.0])
    assert spread(signed, "exploit") == clamped([0.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
    assert kind(signed, "exploit") == "95% t over 3 seeds, from the signed margin"
    assert kind(rows.assign(nra=[0.5, 0.5, 0.25]), "nra") == "95% t over 3 seeds, cut to [-1, 1]"
    assert kind(rows.assign(nashconv_enumerated=[0.5, 0.5, 0.25]), "nashconv_enumerated").endswith("cut at 0")
    base = rows.assign(stage="base")  # one model: no training seeds
    assert kind(base, "safety") == "95% t over 3 evaluations of one model"
    assert (
        kind(rows[:1].assign(safety_low=0.0, safety_high=1.0), "safety")
        == "95%, evaluation noise of one seed"
    )
    assert kind(rows[:1], "safety") == "none: one seed"


def test_every_bounded_column_of_the_committed_tables_lies_in_its_bounds():
    for profile, name in (("laptop", "evaluation"), ("study", "evaluation"), ("laptop", "exploitability")):
        table = paths.read_table(profile, name)
        for metric in BOUNDS.keys() & set(table.columns):
            low, high = BOUNDS[metric]
            assert table[metric].dropna().between(low, high).all(), metric


def test_holm_by_hand():
    # smallest first: 3 * .01 = .03, 2 * .03 = .06, 1 * .04 = .04, which may not fall below .06
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0] and len(holm([])) == 0


def test_what_three_five_and_ten_seeds_can_show():
    """In standard deviations at 80% power; a simulation of five seeds agrees."""
    assert [round(detectable(seeds), 1) for seeds in (3, 5, 10)] == [3.3, 1.7, 1.0]
    values = np.random.default_rng(1).normal(detectable(5), 1, (4000, 5))
    assert np.mean(interval(values).low > 0) == pytest.approx(0.8, abs=0.02)


def test_the_kits_intervals_cover_and_students_t_on_clamped_values_does_not():
    """Nominal 95% at three to ten seeds, also where noise inflates the largest of two equal margins. The
    exception is named: events that most seeds do not see."""
    table = coverage.run(datasets=4000)
    rare = table["setting"] == "0.001, 400 trials"
    chosen = table[(table["kind"] != coverage.STUDENT) & ~rare]
    assert (chosen["coverage"] >= 0.915).all() and set(table["seeds"]) == {3, 5, 10}
    assert (chosen["outside"] == 0).all()
    old = table[(table["kind"] == coverage.STUDENT) & (table["quantity"] == "exploit")]
    old = old[old["seeds"] < 10]
    for margin in ("-0.1", "-0.05"):
        assert (old[old["setting"].str.endswith(f"margin {margin}")]["coverage"] < 0.79).all()
    at_zero = old[old["setting"] == "one exploiter, margin 0"]
    assert (at_zero["coverage"] < 0.91).all() and (at_zero["outside"] > 0.8).all()


def test_the_committed_coverage_is_what_the_code_simulates():
    committed = pd.read_csv(coverage.file())
    pd.testing.assert_frame_equal(coverage.run(int(committed["datasets"].iloc[0])), committed, atol=2e-4)


def test_one_seed_is_spread_by_its_own_play_and_several_by_training():
    rows = pd.DataFrame({"value": [2.0], "value_low": [1.5], "value_high": [2.75], "other": [3.0]})
    assert spread(rows, "value") == (2.0, 1.5, 2.75)
    assert spread(rows, "other")[0] == 3.0 and np.isnan(spread(rows, "other").low)
    assert np.isnan(
        spread(pd.concat([rows, rows]), "value").low
    )  # equal in both: nothing to estimate it from


@pytest.mark.parametrize(
    ("metric", "value"), [("collusion", 0.0), ("parse_rate", 1.0), ("nashconv", 0.0), ("safety", 1.5)]
)
def test_equal_values_have_no_interval_but_that_of_their_trials(metric, value):
    """0 in all seeds is no proof of 0: Wilson's interval where the trials are known, none elsewhere."""
    rows = pd.DataFrame({"seed": [1, 2, 3], metric: value, "game": "ipd", "stage": "sepo"})
    (found,) = summarize(rows, ["game"], [metric]).to_dict("records")
    assert found["mean"] == value and np.isnan(found["ci_low"]) and np.isnan(found["ci_high"])
    assert found["interval"] == "none: equal in all seeds"
    assert kind(rows.assign(stage="base"), metric) == "none: equal in all evaluations of one model"
    (known,) = summarize(rows.assign(episodes=96), ["game"], [metric]).to_dict("records")
    if metric == "parse_rate":
        assert known["interval"].endswith("cut to [0, 1], and Wilson's of 288 episodes")
        assert (known["ci_low"], known["ci_high"]) == pytest.approx(tuple(wilson(288, 288))[1:])
    else:  # `episodes` counts all pools: more than are behind c, x or NashConv
        assert known["interval"] == "none: equal in all seeds"


def test_two_models_are_not_one():
    """With other seeds nothing stands twice, and the mean would be that of neither."""
    table = pd.DataFrame({"game": "ipd", "seed": [1, 2], "u": [1.0, 2.0], "model": ["nano", "smollm2"]})
    with pytest.raises(ValueError, match=r"mixes the models \['nano', 'smollm2'\]"):
        summarize(table, ["game"], ["u"])
    assert summarize(table, ["game", "model"], ["u"])["n"].tolist() == [1, 1]
