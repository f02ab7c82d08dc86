"""The two bargaining games: payoffs, opponents against known actions, c and x by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sepo_lib.games import deal, split
from sepo_lib.games.base import Round, View
from sepo_lib.games.deal import Deal
from sepo_lib.games.split import Split
from sepo_lib.method import seeds

SPLIT, DEAL = Split(), Deal()
SPLIT_POOLS, DEAL_POOLS = SPLIT.pools["paper"], DEAL.pools["paper"]


def match(game, opponent, ours, seed=0):
    """The rounds of one episode in which the policy plays the actions `ours` in turn."""
    act, play = opponent(seeds.generator(seed, "opponent")), game.play(seeds.generator(seed, "chance"))
    views = next(play)
    for own in ours:
        try:
            views = play.send({0: own, 1: act(views[1])})
        except StopIteration as end:
            return end.value
    raise AssertionError("The episode did not end with the last action.")


# Split ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), list(product(range(1, 10), repeat=2)))
def test_split_pays_both_demands_exactly_where_they_fit(a, b):
    assert split.payoffs((a, b)) == ((a, b) if a + b <= 10 else (0, 0))


@pytest.mark.parametrize("demands", [(0, 5), (5, 10), (-1, 5), (4.5, 5)])
def test_split_refuses_a_demand_outside_the_rules(demands):
    with pytest.raises(ValueError, match="1 to 9"):
        split.payoffs(demands)


@pytest.mark.parametrize(
    ("pool", "name", "ours", "theirs"),
    [
        ("train", "fair", (9, 1, 5, 6), (5, 5, 5, 5)),
        ("train", "balanced", (9, 1, 5, 6), (6, 6, 6, 6)),
        ("train", "hardball", (9, 1, 5, 6), (8, 8, 8, 8)),
        ("train", "conceding", (4, 4, 4, 4), (6, 6, 6, 6)),
        ("train", "conceding", (4, 5, 1, 1), (6, 6, 5, 5)),
        ("train", "conceding", (9, 1, 1, 1), (6, 5, 5, 5)),
        ("exploiter", "selfish", (1, 9, 3, 5), (7, 7, 7, 7)),
        ("exploiter", "hardball", (1, 9, 3, 5), (8, 8, 8, 8)),
        ("collusive", "fair", (9, 1, 5, 6), (5, 5, 5, 5)),
        ("shift", "mirror", (9, 1, 4, 6), (5, 9, 1, 4)),
        ("shift", "late_conceder", (9, 1, 4, 6), (7, 7, 6, 5)),
    ],
)
def test_split_opponents(pool, name, ours, theirs):
    rounds = match(SPLIT, SPLIT_POOLS[pool][name], ours)
    assert [r.actions for r in rounds] == list(zip(ours, theirs, strict=True))
    assert [r.payoffs for r in rounds] == [split.payoffs(r.actions) for r in rounds]


def test_split_random_middle_covers_three_to_seven_evenly():
    act = SPLIT_POOLS["shift"]["random_middle"](seeds.generator(1))
    view = View(0, 4, split.DEMANDS)
    counts = np.bincount([act(view) for _ in range(2000)], minlength=10)
    assert counts[:3].sum() + counts[8:].sum() == 0
    assert abs(counts[3:8] - 400).max() < 90  # five standard deviations


def test_split_rates_by_hand():
    rounds = match(SPLIT, SPLIT_POOLS["collusive"]["fair"], (6, 7, 5, 9))
    assert SPLIT.collusion(rounds) == [0, 1, 0, 1]
    assert SPLIT.externality(rounds) == [1, 1, 0, 1]


def test_split_situation_shows_demands_and_outcomes():
    view = View(2, 4, split.DEMANDS, (5, 4), (6, 5), (0.0, 4.0))
    assert SPLIT.situation(view) == (
        "Round 3 of 4. History (you, other): 5 6 no deal; 4 5 deal. Choose a whole number from 1 to 9."
    )


# Deal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demands", "expected"),
    [
        (((2, 0, 1), (0, 3, 1)), (2 * 5 + 1 * 2, 3 * 6 + 1 * 3)),  # everything is taken
        (((1, 1, 0), (1, 1, 1)), (5 + 3, 1 + 6 + 3)),  # units may stay on the table
        (((2, 0, 1), (0, 3, 2)), (0, 0)),  # one ball too many
        (((0, 0, 0), (2, 3, 2)), (0, 2 + 18 + 6)),
        (((0, 0, 0), (0, 0, 0)), (0, 0)),
    ],
)
def test_deal_payoffs_by_hand(demands, expected):
    assert deal.payoffs(demands, (2, 3, 2), ((5, 3, 2), (1, 6, 3))) == expected


def test_deal_payoffs_exhaustively_for_a_small_pool():
    pool, values = (1, 2, 1), ((1, 1, 8), (4, 3, 3))
    demands = deal.legal_demands(pool)
    assert len(demands) == len(set(demands)) == 2 * 3 * 2
    for a, b in product(demands, repeat=2):
        fits = a[0] + b[0] <= 1 and a[1] + b[1] <= 2 and a[2] + b[2] <= 1
        own = a[0] + a[1] + 8 * a[2]
        other = 4 * b[0] + 3 * b[1] + 3 * b[2]
        assert deal.payoffs((a, b), pool, values) == ((own, other) if fits else (0, 0))


@pytest.mark.parametrize("demand", [(2, 0, 0), (0, -1, 0), (0, 0), (0, 0, 0.5)])
def test_deal_refuses_a_demand_outside_the_pool(demand):
    with pytest.raises(ValueError):
        deal.payoffs((demand, (0, 0, 0)), (1, 2, 1), ((1, 1, 8), (4, 3, 3)))


def test_deal_values_are_all_the_ways_to_sum_to_ten():
    assert len(deal.VALUES) == len(set(deal.VALUES)) == 36
    assert all(min(v) >= 1 and sum(v) == 10 for v in deal.VALUES)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_deal_chance_is_within_the_rules_and_fixed_for_the_episode(seed):
    play = DEAL.play(seeds.generator(seed))
    views = next(play)
    first = views
    while True:
        for player in (0, 1):
            facts = views[player].facts
            assert facts == first[player].facts
            assert set(facts) == {"pool", "values"}  # the other's values stay private
            assert all(1 <= units <= 4 for units in facts["pool"])
            assert facts["values"] in deal.VALUES
        try:
            views = play.send({0: views[0].legal[-1], 1: views[1].legal[0]})
        except StopIteration as end:
            assert all(r.facts["values"] == first[0].facts["values"] for r in end.value)
            assert all(r.facts["other_values"] == first[1].facts["values"] for r in end.value)
            assert all(r.facts["pool"] == first[0].facts["pool"] for r in end.value)
            break


def answers(pool, name, items, values, ours):
    """What a deal opponent demands in each round, seeing the policy's demands `ours` so far."""
    act, mine = DEAL_POOLS[pool][name](seeds.generator(0)), []
    for t in range(4):
        facts = {"pool": items, "values": values}
        mine.append(act(View(t, 4, deal.legal_demands(items), tuple(mine), tuple(ours[:t]), (), facts)))
    return mine


OURS = [(4, 0, 2), (1, 1, 1), (0, 3, 0), (2, 2, 2)]


@pytest.mark.parametrize(
    ("pool", "name", "expected"),
    [
        ("train", "fair", [(2, 1, 1)] * 4),
        ("collusive", "fair", [(2, 1, 1)] * 4),
        ("train", "mirroring", [(3, 2, 1), (0, 3, 0), (3, 2, 1), (4, 0, 2)]),
        ("train", "conceding", [(4, 3, 2), (3, 2, 1), (2, 1, 0), (2, 1, 0)]),
        ("exploiter", "greedy", [(3, 2, 1)] * 4),  # its shares are 2, .9 and .4 units: 2, 1, 0, plus one
        ("exploiter", "hardball", [(3, 2, 1)] * 4),
        ("shift", "by_value", [(2, 1, 0)] * 4),
        ("shift", "favourite", [(4, 0, 0)] * 4),
        ("shift", "copycat", [(2, 1, 1), *OURS[:3]]),
    ],
)
def test_deal_opponents(pool, name, expected):
    assert answers(pool, name, (4, 3, 2), (5, 3, 2), OURS) == expected


def test_deal_opponents_at_the_edges():
    assert answers("exploiter", "greedy", (1, 1, 4), (1, 1, 8), OURS)[0] == (1, 1, 4)  # capped at the pool
    assert answers("train", "conceding", (1, 2, 4), (1, 1, 8), OURS)[3] == (0, 0, 2)  # never below 0
    assert answers("exploiter", "hardball", (1, 2, 4), (1, 1, 8), OURS)[0] == (0, 1, 3)
    assert answers("train", "mirroring", (1, 2, 4), (1, 1, 8), OURS)[0] == (1, 1, 3)


def test_deal_rates_by_hand():
    facts = {"pool": (3, 2, 1), "values": (5, 3, 2), "other_values": (5, 3, 2)}  # fair leaves (2, 1, 1)
    pairs = [
        ((2, 1, 1), (1, 1, 0)),  # exactly what fair leaves: a deal
        ((3, 0, 0), (1, 1, 0)),  # one book more than fair leaves: breakdown
        ((0, 2, 0), (3, 0, 1)),  # more than fair leaves, yet a deal with this opponent
        ((0, 0, 0), (3, 2, 1)),
    ]
    rounds = [Round(pair, deal.payoffs(pair, facts["pool"], ((5, 3, 2), (5, 3, 2))), facts) for pair in pairs]
    assert DEAL.collusion(rounds) == [0, 1, 1, 0]
    assert DEAL.externality(rounds) == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "text", ["[1, 2, 0]", "[1,2,0]", "[ 1 , 2,0 ]", "So I ask.\n**[1,2, 0]**.", "`[1, 2, 0]`"]
)
def test_deal_parse_forgives_spacing(text):
    assert DEAL.parse(text, deal.legal_demands((1, 2, 1))) == (1, 2, 0)


@pytest.mark.parametrize(
    "text", ["", "1, 2, 0", "[1, 2]", "[1, 3, 0]", "[1, 2, 0] [1, 2, 0]", "[1, 2, 0] books", "[1, 2, -0]"]
)
def test_deal_parse_refuses_what_is_not_one_legal_demand(text):
    assert DEAL.parse(text, deal.legal_demands((1, 2, 1))) is None


def test_deal_situation_shows_all_that_is_visible():
    facts = {"pool": (2, 3, 1), "values": (5, 3, 2)}
    view = View(1, 4, deal.legal_demands((2, 3, 1)), ((1, 2, 1),), ((1, 2, 0),), (0.0,), facts)
    assert DEAL.situation(view) == (
        "Round 2 of 4. Pool: [2, 3, 1]. Your values: [5, 3, 2]. "
        "History (you, other): [1, 2, 1] [1, 2, 0] no deal. Choose [books, hats, balls]."
    )


@pytest.mark.parametrize("game", [SPLIT, DEAL], ids=lambda game: game.name)
def test_rules_are_short_and_shift_opponents_are_in_no_other_pool(game):
    assert len(game.rules().split()) <= 62
    pools = game.pools["paper"]
    assert len(pools["shift"]) >= 3
    assert not set(pools["shift"]) & {
        name for pool in ("train", "exploiter", "collusive") for name in pools[pool]
    }
