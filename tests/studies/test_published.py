"""Estimators of other papers, by hand on small batches."""

import numpy as np
import pytest

from sepo_lib import games
from sepo_lib.games.base import OBJECTIVE_POOLS
from sepo_lib.method import credit
from sepo_lib.studies import published

IPD, KUHN = games.get("ipd"), games.get("kuhn")


def elsewhere(name, batch, game=IPD, batches=1):
    """The advantages of a published estimator on one batch, by key, (G, T); more batches are copies of it."""
    pools = {
        pool: {
            key: credit.Rollouts(*(np.repeat(a[None], batches, axis=0) for a in vars(r).values()))
            for key, r in groups.items()
        }
        for pool, groups in batch.items()
    }
    given, _ = credit.advantages(pools, game, published.ELSEWHERE[name].estimator)
    return {key: advantage[0, 0] for key, advantage in given.items()}


def three_pools(own, decisions=None):
    """One batch in which the train group alone earns anything: `own` of shape (G, T)."""
    own = np.array(own, dtype=float)[None]
    nothing, ones = np.zeros_like(own), np.ones_like(own)
    counts = ones if decisions is None else np.array(decisions, dtype=float)[None]
    group, idle = (credit.Rollouts(o, nothing, nothing, nothing, counts) for o in (own, nothing))
    return {pool: {(pool, "a"): group if pool == "train" else idle} for pool in OBJECTIVE_POOLS}


def test_trajectory_estimators_by_hand():
    batch = three_pools([[1, 5], [0, 0], [6, 0]])
    returns = np.array([3.0, 0.0, 3.0])[:, None] * np.ones(2)  # s / T = 1/2, for every round of the episode
    mean, std = 2.0, np.sqrt(3.0)
    np.testing.assert_allclose(elsewhere("Dr. GRPO", batch)["train", "a"], returns - mean)
    np.testing.assert_allclose(elsewhere("RLOO", batch)["train", "a"], (returns - mean) * 3 / 2)
    np.testing.assert_allclose(
        elsewhere("GRPO by trajectory", batch)["train", "a"], (returns - mean) / std, rtol=1e-3
    )
    np.testing.assert_allclose(elsewhere("SPIRAL (RAE)", batch, batches=2)["train", "a"], returns - mean)
    with pytest.raises(ValueError, match="at least two batches"):
        elsewhere("SPIRAL (RAE)", batch)


def test_the_return_of_a_role_is_that_of_its_hands_alone():
    """Kuhn: hands 0 and 2 from the first seat, 1 and 3 from the second, which earns nothing; s / T = 3 / 8.
    The first seat earned 4 in both rollouts of the first batch, and 2 in those of the second."""
    own = np.array([[[[2.0, 0, 2, 0], [4, 0, 0, 0]]], [[[1, 0, 1, 0], [2, 0, 0, 0]]]])
    nothing, ones = np.zeros_like(own), np.ones_like(own)
    group, idle = (credit.Rollouts(o, nothing, nothing, nothing, ones) for o in (own, nothing))
    pools = {pool: {(pool, "a"): group if pool == "train" else idle} for pool in OBJECTIVE_POOLS}
    given = credit.advantages(pools, KUHN, published.ELSEWHERE["SPIRAL (RAE)"].estimator)[0]["train", "a"]
    # returns 4 and 2 with the baselines 2 and 4 from the first seat; 0 with the baseline 0 from the other
    np.testing.assert_allclose(given[0, 0], [[1.5 / 4 * 2, 0] * 2] * 2)
    np.testing.assert_allclose(given[1, 0], [[1.5 / 4 * -2, 0] * 2] * 2)
    whole = credit.advantages(pools, KUHN, published.ELSEWHERE["RLOO"].estimator)[0]["train", "a"]
    np.testing.assert_allclose(whole, 0.0)  # the six hands as one trajectory, in which all earned the same
    one_role = credit.advantages(pools, IPD, published.ELSEWHERE["SPIRAL (RAE)"].estimator)[0]["train", "a"]
    np.testing.assert_allclose(one_role[0, 0], 1 / 4 * 2 * np.ones((2, 4)))  # s / T = 1 / 4; every round


def test_a_role_is_normalized_over_all_its_turns():
    batch = three_pools([[1, 5], [0, 0]])
    to_go = np.array([[3.0, 2.5], [0.0, 0.0]])
    centred = to_go - to_go.mean()  # one seat: all four turns together
    np.testing.assert_allclose(elsewhere("MARSHAL, centred only", batch)["train", "a"], centred)
    np.testing.assert_allclose(elsewhere("MARSHAL", batch)["train", "a"], centred / to_go.std(), rtol=1e-3)
    # Kuhn: hand 0 from the first seat, hand 1 from the second; s / T = .75; turns count, not hands
    batch = three_pools([[2, -1], [-1, 1]], decisions=[[2, 1], [1, 1]])
    given = elsewhere("MARSHAL, centred only", batch, KUHN)["train", "a"]
    first = (2 * 1.5 - 0.75) / 3
    np.testing.assert_allclose(given, [[1.5 - first, -0.75], [-0.75 - first, 0.75]])


def test_a_baseline_by_turn_depends_on_how_many_turns_were_taken():
    """Rollouts 0 and 1 end after one turn, 2 and 3 take a second one; one hand, s = 1.5."""
    batch = three_pools([[4.0], [0.0], [2.0], [-2.0]], decisions=[[1], [1], [2], [2]])
    given = elsewhere("baseline by turn", batch, KUHN)["train", "a"][:, 0] / 1.5
    first, second = (4 + 0 + 0 + 0) / 4, (2 - 2) / 2  # all four have a first turn, two a second one
    np.testing.assert_allclose(given, [4 - first, 0 - first, 2 - first - second, -2 - first - second])
    even = three_pools([[4.0], [0.0], [2.0], [-2.0]])
    np.testing.assert_allclose(
        elsewhere("baseline by turn", even, KUHN)["train", "a"],
        elsewhere("Dr. GRPO", even, KUHN)["train", "a"],
    )


def test_presets_keep_the_baseline_of_their_group():
    assert {how.baseline for how in credit.PRESETS.values()} == {"group"}
    for one in published.ELSEWHERE.values():
        assert (one.estimator.arm, one.estimator.weights, one.estimator.clamp) == ("credited", "pool", "mean")
    with pytest.raises(ValueError, match="Unknown baseline 'value'; choose from group"):
        credit.preset("unbiased").with_(baseline="value")
