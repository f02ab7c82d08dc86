"""Intervals against numbers worked out by hand, and their coverage by simulation."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib.statistics import interval, paired, summarize

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


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [1.0, np.nan], [1.0, np.inf]])
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
    assert found.columns.tolist() == ["stage", "arm", "metric", "mean", "ci_low", "ci_high", "n"]
    assert found["metric"].tolist() == ["u", "nra", "u", "nra"]
    assert found["n"].tolist() == [3, 1, 1, 0]
    assert found["mean"].tolist()[:3] == [2.0, 0.5, 5.0]
    assert found.loc[0, "ci_low"] == pytest.approx(2.0 - T_2 / np.sqrt(3))
    assert np.isnan(found.loc[3, "mean"])


def test_summarize_names_what_is_missing():
    with pytest.raises(ValueError, match="lacks the columns \\['stage', 'u'\\]"):
        summarize(pd.DataFrame({"a": [1]}), ["stage"], ["u"])
