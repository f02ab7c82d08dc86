"""Advantages of J by enumeration: against the exact gradient, by hand, and as the batch of a step."""

import numpy as np
import pytest

from sepo_lib import games
from sepo_lib.config import profiles
from sepo_lib.config.errors import InputError
from sepo_lib.games.base import Weights
from sepo_lib.games.kuhn import HISTORIES, INFORMATION_SETS, OPPONENTS, by_table
from sepo_lib.measure import best_response, enumerated, exploitability, tabular
from sepo_lib.measure.tabular import TabularPolicy
from sepo_lib.method import credit
from sepo_lib.play.policy import Answer
from sepo_lib.studies import estimators

KUHN = games.get("kuhn")
ESTIMATOR = credit.preset("unbiased").with_(baseline="enumerated", scale="none")
UNIFORM_IA = np.full((12, 2), 0.5)


def by_set(values_I):
    return {
        (v.facts["history"], v.facts["card"]): x for (_, v), x in zip(INFORMATION_SETS, values_I, strict=True)
    }


class Table:
    """Plays BET or CALL with the probabilities `bold_I`, and says nothing."""

    def __init__(self, bold_I):
        self.bold = {
            (v.facts["history"], v.facts["card"]): p
            for (_, v), p in zip(INFORMATION_SETS, bold_I, strict=True)
        }

    def answer(self, queries):
        drawn = [np.random.default_rng(query.seed).random() for query in queries]
        seen = [(query.view.facts["history"], query.view.facts["card"]) for query in queries]
        return [
            Answer(query.view.legal[int(u < self.bold[key])], completion_ids=[1])
            for query, u, key in zip(queries, drawn, seen, strict=True)
        ]


@pytest.mark.parametrize("pools", ["paper", "conflict"])
def test_weighted_by_visits_and_probability_the_advantages_are_the_exact_gradient(pools):
    for seed in range(5):
        policy = TabularPolicy(KUHN, np.random.default_rng(seed).normal(size=(12, 2)))
        p_IA = policy.probabilities_IA
        found = enumerated.slopes(KUHN, pools, p_IA)
        gradient_IA = p_IA * enumerated.advantages(found) * found.visits_I[:, None]
        expected = tabular.exact(policy, pools)
        np.testing.assert_allclose(gradient_IA, expected.gradients["J"], atol=1e-12)
        assert found.values["J"].item() == pytest.approx(expected.values["J"])


def test_the_advantage_of_a_bet_by_hand():
    """Everybody calls and never bets. To open with K, a bet earns 2 and a pass 1; with J they lose that much.

    J = s u with s = 3/2 and u the mean of six hands, so that one chip in one hand is 1/4. A hand against the
    train pool is one of three that are dealt with K, and v is halfway between both values at p = 1/2.
    """
    same = {"station": OPPONENTS["calling_station"]}
    met = enumerated.against(KUHN, "paper", dict.fromkeys(("train", "exploiter", "collusive"), same))
    found = enumerated.slopes(met, "paper", UNIFORM_IA, Weights(0.0, 0.0, 0.0))
    advantage_IA = enumerated.advantages(found)
    rows = {
        (v.facts["history"], v.facts["card"]): row
        for (_, v), row in zip(INFORMATION_SETS, advantage_IA, strict=True)
    }
    assert rows[(), "K"] == pytest.approx([-1 / 24, 1 / 24]) and rows[(), "J"] == pytest.approx(
        [1 / 24, -1 / 24]
    )
    assert rows[("PASS",), "K"] == pytest.approx([-1 / 24, 1 / 24])
    assert rows[("BET",), "K"] == pytest.approx([0.0, 0.0])  # never reached: nobody bets
    assert found.visits_I.reshape(len(HISTORIES), 3)[:2] == pytest.approx(np.full((2, 3), 3.0))


def test_answers_that_say_what_the_policy_would_do_have_its_gradient_and_its_nashconv():
    """2,000 answers per set; the best response replaces two pools, as in the exploiter study."""
    bold_I = np.random.default_rng(1).uniform(0.2, 0.8, size=12)
    asked = enumerated.ask(Table(bold_I), KUHN, 2000, seed=3)
    assert np.abs(asked.strategy_IA[:, 1] - bold_I).max() < 0.05
    response = by_table(best_response.best_response(asked.strategy))
    met = {pool: {"best_response": response} for pool in ("train", "exploiter")}
    weights = Weights(0.5, 0.0, 0.0)
    given, measured = asked.credit(ESTIMATOR, "paper", weights, met)
    nashconv = float(exploitability.nashconv(asked.strategy_IA[:, 1].reshape(4, 3)))
    assert measured["nashconv"] == pytest.approx(nashconv)
    assert measured["exploit"] == measured["margin/best_response"] == pytest.approx(nashconv)
    assert measured["objective"] == pytest.approx(-1.5 * nashconv)  # s u - s e / 2, u = -NashConv / 2
    assert np.mean(given.weights) == pytest.approx(1.0) and given.frac_reward_zero_std == 0.0
    assert max(abs(advantage_D.sum()) for advantage_D in given.advantages) < 1e-9  # centred at every set
    scaled, _ = asked.credit(ESTIMATOR.with_(scale="batch"), "paper", weights, met)
    square = [weight * (a**2).mean() for weight, a in zip(scaled.weights, scaled.advantages, strict=True)]
    assert np.mean(square) == pytest.approx(1.0, rel=0.05)


def test_the_mean_is_unbiased_and_one_batch_is_closer_than_a_played_one():
    table = estimators.measure("random", KUHN, "paper", groups=80, group_sizes=[8], seed=1)
    own = table[(table.switch == "none") & (table.term == "J") & (table.groups == 80)]
    own = own[own.groups_per_batch == 1].set_index("how")
    new, known, along = (
        own.loc[name] for name in (estimators.ENUMERATED, estimators.KNOWN, estimators.ALONG_PLAY)
    )
    assert new.baseline == along.baseline == "enumerated" and known.baseline == "group"
    assert new.cosine > 0.999 and 0.97 < new.size_ratio < 1.03
    assert new.batch_cosine > along.batch_cosine > known.batch_cosine_high
    assert new.variance < along.variance < known.variance / 2
    others = estimators.measure("random", games.get("ipd"), "paper", groups=16, group_sizes=[2], seed=1)
    assert estimators.ENUMERATED not in set(others.how)  # its prompts show more than an information set


def test_what_cannot_be_enumerated_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"it needs credited, to_go, mean, pool and .* not per_rollout"):
        credit.preset("published").with_(baseline="enumerated")
    with pytest.raises(ValueError, match="a scale without groups"):
        ESTIMATOR.with_(scale="group_std")
    with pytest.raises(ValueError, match="takes no played returns"):
        credit.advantages({}, KUHN, ESTIMATOR)
    with pytest.raises(ValueError, match=r"known information sets \(kuhn\), not ipd"):
        enumerated.check(games.get("ipd"), 4)
    with pytest.raises(ValueError, match="2 or more answers per set, not 1"):
        enumerated.check(KUHN, 1)
    with pytest.raises(InputError, match="The baseline of ipd cannot be enumerated"):
        profiles.load("laptop", baseline="enumerated")
    with pytest.raises(InputError, match=r"The ablation compares arms in kuhn on the pools of the main run"):
        profiles.load("laptop", ablation_games="kuhn", ablation_pools="paper")
    assert profiles.load("laptop", games="kuhn", baseline="enumerated").of("baseline", "kuhn") == "enumerated"
