"""NashConv against values known from the literature and worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib import games
from sepo_lib.games.base import OBJECTIVE_POOLS
from sepo_lib.games.kuhn import HISTORIES, INFORMATION_SETS, STRATEGIES, by_table
from sepo_lib.measure import kuhn_strategy
from sepo_lib.method import objective, seeds
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer

KUHN = games.get("kuhn")


def table(strategy):
    bold = {
        history: dict(zip("JQK", row, strict=True)) for history, row in zip(HISTORIES, strategy, strict=True)
    }
    rows = {}
    for state, view in INFORMATION_SETS:
        p = bold[view.facts["history"]][view.facts["card"]]
        rows[state] = {view.legal[0]: 1 - p, view.legal[1]: p}
    return rows


@pytest.mark.parametrize("name, expected", [("nash", 0.0), ("nash_alpha_0", 0.0), ("random", 11 / 12)])
def test_known_strategies(name, expected):
    assert kuhn_strategy.kuhn_nashconv(table(STRATEGIES[name])) == pytest.approx(expected, abs=1e-9)


def test_always_folding_and_passing_loses_the_ante_to_a_bluffer():
    # Never betting and always folding: the best response bets always and wins the ante of 1 in both seats.
    assert kuhn_strategy.kuhn_nashconv(table([[0, 0, 0]] * 4)) == pytest.approx(2.0)


def test_the_pool_advantage_over_a_calling_station():
    # Value bettor: as first mover and as second it wins 1/3 a hand, so its margin is 2/3. Always bet: every
    # hand costs both 2 chips, so its margin is 0. The mean over the two exploiters is 1/3.
    rows = [
        {"reading": "sampled", "state": state, "action": word, "probability": p}
        for state, row in table(STRATEGIES["calling_station"]).items()
        for word, p in row.items()
    ]
    margin_K = kuhn_strategy.pool_margins(pd.DataFrame(rows), "sampled", KUHN, "paper")
    assert np.maximum(margin_K, 0).mean() == pytest.approx(1 / 3)


class Table:
    """A policy that plays a table."""

    def __init__(self, strategy):
        self.opponent = by_table(strategy)

    def answer(self, queries):
        return [Answer(self.opponent(seeds.generator(query.seed, "table"))(query.view)) for query in queries]


def kuhn_batch(strategy, rollouts_per_opponent=30):
    plans = rollouts.plan(KUHN, "paper", dict.fromkeys(OBJECTIVE_POOLS, rollouts_per_opponent), seed=3)
    return KUHN, rollouts.play(Table(strategy), plans)


def test_the_strategy_that_was_played_is_counted_from_the_hands():
    mixed = ((0.2, 0.5, 0.9), (0.4, 0.0, 1.0), (0.3, 0.6, 0.8), (0.1, 0.7, 1.0))
    _, batch = kuhn_batch(mixed, rollouts_per_opponent=150)
    assert kuhn_strategy.played_strategy(batch) == pytest.approx(np.array(mixed), abs=0.07)
    assert (kuhn_strategy.played_strategy([]) == 0.5).all()


def test_enumerated_margins_are_those_of_the_strategy_and_played_ones_are_noisy():
    game, batch = kuhn_batch(STRATEGIES["calling_station"])
    margins = kuhn_strategy.mean_margins(game, "paper", batch)  # worked out above
    assert margins == pytest.approx({"value_bettor": 2 / 3, "always_bet": 0.0})
    played = objective.margins(batch)
    assert all(0.01 < abs(played[name] - margins[name]) < 0.7 for name in margins)
    assert kuhn_strategy.mean_margins(games.get("ipd"), "paper", []) == {}


def test_incomplete_or_improper_strategies_are_refused():
    full = table(STRATEGIES["nash"])
    missing = {state: row for state, row in full.items() if state != "0"}
    with pytest.raises(ValueError, match="needs all 12"):
        kuhn_strategy.kuhn_nashconv(missing)
    with pytest.raises(ValueError, match="needs probabilities of"):
        kuhn_strategy.kuhn_nashconv({**full, "0": {"PASS": 0.5, "BET": 0.6}})
    with pytest.raises(ValueError, match="no reading"):
        kuhn_strategy.nashconv_of_strategy(pd.DataFrame({"reading": ["sampled"]}), "constrained")
    with pytest.raises(ValueError, match="at least 1 sample"):
        kuhn_strategy.read_strategy(None, KUHN, kuhn_strategy.Reading(0), 1)
