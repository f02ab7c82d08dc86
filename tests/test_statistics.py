"""Intervals against numbers worked out by hand, and their coverage by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sepo_lib.statistics import (
    hierarchical_bootstrap,
    interquartile_mean,
    interval,
    paired,
    probability_of_improvement,
    spread,
    summarize,
)

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


def covered(find, truth, draw, datasets):
    """Share of simulated data sets whose interval holds the truth; its standard error is about .006."""
    rng = np.random.default_rng(5)
    found = [find(draw(rng), number) for number in range(datasets)]
    return np.mean([low <= truth <= high for _, low, high in found])


def seeds_and_episodes(seeds, episodes):
    """Normal episodes around normal seeds, the mean of all being 0; the seeds differ more."""
    return lambda rng: rng.normal(0, 1, (seeds, 1)) + rng.normal(0, 0.5, (seeds, episodes))


def two_arms(rng):
    """Three tasks, ten seeds; the first arm is better by half a standard deviation."""
    return rng.normal(0.5, 1, (3, 10)), rng.normal(0, 1, (3, 10))


@pytest.mark.parametrize(
    ("find", "truth", "draw"),
    [
        (
            lambda data, seed: hierarchical_bootstrap(data, resamples=300, seed=seed),
            0.0,
            seeds_and_episodes(40, 3),
        ),
        (
            lambda data, seed: interquartile_mean(data, resamples=300, seed=seed),
            0.0,
            lambda rng: rng.normal(0, 1, (3, 16)),
        ),
        (
            lambda data, seed: probability_of_improvement(*data, resamples=300, seed=seed),
            stats.norm.cdf(0.5 / np.sqrt(2)),
            two_arms,
        ),
        (
            lambda data, seed: paired(pd.Series(data[0]), pd.Series(data[1])),
            0.5,
            lambda rng: rng.normal(0, 1, 5) + rng.normal([[0.5], [0.0]], 1, (2, 5)),
        ),
    ],
    ids=["hierarchical_bootstrap", "interquartile_mean", "probability_of_improvement", "paired"],
)
def test_a_nominal_95_percent_interval_covers_between_93_and_97(find, truth, draw):
    assert 0.93 <= covered(find, truth, draw, 1200) <= 0.97


@pytest.mark.parametrize(("seeds", "bootstrap"), [(3, 0.75), (5, 0.83)])
def test_with_few_seeds_the_bootstrap_covers_too_little_and_students_t_does_not(seeds, bootstrap):
    """One episode a seed, so that the second level adds nothing. At 3 seeds the ends are the lowest and the
    highest value, which hold the mean with probability 1 - 2 / 2**3 = 3/4."""

    def draw(rng):
        return rng.normal(0, 1, (seeds, 1))

    def resample(data, seed):
        return hierarchical_bootstrap(data, resamples=1000, seed=seed)

    assert covered(resample, 0.0, draw, 1200) == pytest.approx(bootstrap, abs=0.025)
    assert 0.93 <= covered(lambda data, _: interval(data[:, 0]), 0.0, draw, 1200) <= 0.97


def test_the_hierarchical_bootstrap_of_two_seeds_by_hand():
    # Without spread within a seed the resampled means are 0, 1 and 2 with probabilities 1/4, 1/2 and 1/4.
    values = [[0.0, 0.0, 0.0], [2.0]]
    assert hierarchical_bootstrap(values) == (1.0, 0.0, 2.0)
    assert hierarchical_bootstrap(values, confidence=0.4) == (1.0, 1.0, 1.0)
    # With one seed the episodes alone are resampled.
    mean, low, high = hierarchical_bootstrap([[0.0] * 50 + [1.0] * 50], resamples=20000)
    half = 1.96 * 0.05
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=0.01)


def test_seeds_weigh_the_same_however_many_episodes_they_have():
    assert hierarchical_bootstrap([[1.0] * 9, [3.0]]).mean == 2.0


def test_the_interquartile_mean_leaves_out_a_quarter_on_each_side():
    assert interquartile_mean([1.0, 2.0, 4.0, 100.0]).mean == 3.0
    assert interquartile_mean([[5.0, 5.0], [5.0, 5.0]]) == (5.0, 5.0, 5.0)


def test_the_probability_of_improvement_counts_pairs_and_half_of_the_ties():
    # Task 1: of the four pairs (1,1) ties and three are won; task 2: all are lost.
    a, b = [[1.0, 2.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 1.0]]
    assert probability_of_improvement(a, b).mean == pytest.approx((3.5 / 4 + 0.0) / 2)
    assert probability_of_improvement([2.0, 3.0], [0.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(3).normal(size=(4, 6))
    assert hierarchical_bootstrap(values, seed=1) == hierarchical_bootstrap(values, seed=1)
    assert hierarchical_bootstrap(values, seed=1) != hierarchical_bootstrap(values, seed=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hierarchical_bootstrap([]), "at least one seed"),
        (lambda: hierarchical_bootstrap([[1.0], []]), "episodes for every seed"),
        (lambda: hierarchical_bootstrap([[1.0, np.nan]]), "finite"),
        (lambda: hierarchical_bootstrap([[1.0]], confidence=95), "between 0 and 1"),
        (lambda: interquartile_mean([]), "tasks, seeds"),
        (lambda: interquartile_mean([[[1.0]]]), "tasks, seeds"),
        (lambda: probability_of_improvement([[1.0], [2.0]], [[1.0]]), "same tasks; found 2 and 1"),
        (lambda: probability_of_improvement([np.inf], [1.0]), "finite"),
    ],
)
def test_bad_input_to_the_bootstraps_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_seed_is_spread_by_its_own_play_and_several_by_training():
    rows = pd.DataFrame({"value": [2.0], "value_low": [1.5], "value_high": [2.75], "other": [3.0]})
    assert spread(rows, "value") == (2.0, 1.5, 2.75)
    assert spread(rows, "other")[0] == 3.0 and np.isnan(spread(rows, "other").low)
    assert spread(pd.concat([rows, rows]), "value") == (2.0, 2.0, 2.0)
