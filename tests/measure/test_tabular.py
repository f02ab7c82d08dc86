"""Enumerated objectives: against hand-computed values, finite differences, the real opponents and play."""

import itertools

import numpy as np
import pytest
import torch

from sepo_lib import games
from sepo_lib.games import auction, ipd, split
from sepo_lib.games.base import Round, View
from sepo_lib.games.players import any_legal, stateless
from sepo_lib.measure import measures, tabular
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Query

PLACES = [(game.name, pools) for game in games.having("enumerable") for pools in game.pools]


def table_policy(name, seed=None):
    """Uniform, or with logits drawn from a standard normal."""
    table = tabular.enumeration(games.get(name))
    shape = (len(table.legal), max(map(len, table.legal.values())))
    logits = np.zeros(shape) if seed is None else np.random.default_rng(seed).normal(size=shape)
    return tabular.TabularPolicy(games.get(name), logits)


def always(name, action):
    table = tabular.enumeration(games.get(name))
    logits = [[0.0 if a == action else -np.inf for a in legal] for legal in table.legal.values()]
    return torch.softmax(torch.tensor(logits, dtype=torch.float64), dim=-1)


def test_a_game_without_an_enumeration_names_those_that_have_one():
    with pytest.raises(ValueError, match=r"'deal' has no enumeration.*ipd, auction, split, kuhn"):
        tabular.enumeration(games.get("deal"))
    with pytest.raises(ValueError, match="no enumeration"):
        tabular.terms(games.get("deal"), "paper", torch.zeros(1, 1))


def test_a_table_of_the_wrong_shape_or_game_is_refused():
    with pytest.raises(ValueError, match=r"shape \(5, 2\), not \(2, 5\)"):
        tabular.TabularPolicy(games.get("ipd"), np.zeros((2, 5)))
    query = Query(games.get("split"), View(0, 4, split.DEMANDS), 0)
    with pytest.raises(ValueError, match="ipd cannot play split"):
        table_policy("ipd").answer([query])


@pytest.mark.parametrize(
    ("name", "opponent", "refusal"),
    [
        ("auction", stateless(any_legal), "auction's 'new' draws random numbers"),
        ("ipd", ipd.axelrod_player("titfortat.SuspiciousTitForTat"), "SuspiciousTitForTat.' needs `odds`"),
    ],
)
def test_an_opponent_that_cannot_be_enumerated_is_refused(name, opponent, refusal, monkeypatch):
    monkeypatch.setitem(games.get(name).pool("paper", "train"), "new", opponent)
    with pytest.raises(ValueError, match=refusal):
        tabular.chain(name, "paper", "train", "new")


def test_always_defecting_by_hand():
    found = tabular.terms(games.get("ipd"), "paper", always("ipd", ipd.DEFECT))
    once = (5 + 7 * 1) / 8  # tit-for-tat and grim are fooled once
    generous = (5 + 7 * (0.25 * 5 + 0.75 * 1)) / 8
    assert found["u"].item() == pytest.approx((2 * once + generous + 3) / 4)
    assert found["e"].item() == 0.0  # nobody is ahead of a defector
    assert found["c"].item() == 1.0
    # shortfall 2/3 in a round of two defections, 1/6 where one cooperates
    x = [(1 / 6 + 7 * 2 / 3) / 8] * 2 + [(1 / 6 + 7 * (0.25 / 6 + 0.75 * 2 / 3)) / 8]
    x += [(1 / 6 + 2 / 3) / 2, 2 / 3, (1 / 6 + 2 / 3) / 2]
    assert found["x"].item() == pytest.approx(np.mean(x))


def test_an_even_split_by_hand():
    found = tabular.terms(games.get("split"), "paper", always("split", 5))
    # fair 5, balanced breaks down, conceding breaks down once, hardball breaks down
    assert found["u"].item() == pytest.approx((5 + 0 + 5 * 3 / 4 + 0) / 4)
    assert (found["e"].item(), found["c"].item()) == (0.0, 0.0)
    assert found["x"].item() == pytest.approx((0 + 1 + 1 / 4 + 1 + 1 + 1) / 6)


def test_exploiters_are_clamped_one_by_one():
    """Always cooperating loses 5 a round to a defector and 2.5 to the alternator; defecting loses nothing."""
    game = games.get("ipd")
    lost = tabular.margins(game, "paper", always("ipd", ipd.COOPERATE))
    assert lost.tolist() == [5.0, 2.5]
    assert tabular.terms(game, "paper", always("ipd", ipd.COOPERATE))["e"].item() == 3.75
    assert tabular.margins(game, "paper", always("ipd", ipd.DEFECT)).tolist() == [0.0, -2.5]


@pytest.mark.parametrize(("name", "pools"), PLACES)
def test_the_gradient_agrees_with_finite_differences(name, pools):
    policy, h = table_policy(name, seed=1), 1e-5
    found = tabular.exact(policy, pools)
    rng = np.random.default_rng(0)
    directions = [found.gradients["J"], *rng.normal(size=(3, *policy.logits_IA.shape))]
    factor = tabular.coefficients(policy.game, policy.game.train_weights)
    for direction in directions:
        ends = [
            tabular.exact(tabular.TabularPolicy(policy.game, policy.logits_IA + step * direction), pools)
            for step in (h, -h)
        ]
        for term, gradient in found.gradients.items():
            slope = (ends[0].values[term] - ends[1].values[term]) / (2 * h) * factor.get(term, 1.0)
            assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("name", "pools"), PLACES)
def test_the_branches_of_a_state_are_all_there_is(name, pools):
    policy = table_policy(name, seed=2)
    p_IA = torch.as_tensor(policy.probabilities_IA)
    for pool in games.OBJECTIVE_POOLS:
        for opponent in games.get(name).pool(pools, pool):
            chain = tabular.chain(name, pools, pool, opponent)
            p_M = tabular.branch_probabilities(chain, p_IA).numpy()
            total = np.bincount(chain.state_M, p_M, chain.states)
            np.testing.assert_allclose(total, 1.0, atol=1e-12)
            assert set(chain.next_M) | {0} == set(range(chain.states))


@pytest.mark.parametrize(("name", "pools"), PLACES)
def test_the_value_agrees_with_play(name, pools):
    """Within 4 standard errors of some thousand episodes through `rollouts.play`, opponent by opponent."""
    policy, game = table_policy(name, seed=3), games.get(name)
    p_IA = torch.as_tensor(policy.probabilities_IA)
    n = 250
    episodes = rollouts.play(
        policy, rollouts.plan(game, pools, dict.fromkeys(games.OBJECTIVE_POOLS, n), seed=5)
    )
    assert len(episodes) >= 1250
    expected = {}
    for episode in episodes:
        key = (episode.pool, episode.opponent)
        if key not in expected:
            expected[key] = tabular.expectations(tabular.chain(name, pools, *key), p_IA, game.rounds), []
        values = episode.own_T, episode.other_T, episode.collusion_T, episode.externality_T
        expected[key][1].append([np.mean(value) for value in values])
    for key, (mean, sample) in expected.items():
        sample = np.array(sample)
        error = sample.std(axis=0, ddof=1) / np.sqrt(n)
        assert (np.abs(sample.mean(axis=0) - mean.numpy()) <= 4 * error + 1e-9).all(), key
    # the assembly of u, c and x out of opponents is that of `objective` (e is clamped: see above)
    exact = tabular.exact(policy, pools).values
    measured = measures.measure(game, episodes)
    for term, name_ in (("u", "payoff"), ("c", "collusion"), ("x", "externality"), ("e", "exploit")):
        assert measured[name_] == pytest.approx(exact[term], abs=0.15)


def dilemma_opponents():
    game = games.get("ipd")
    return {
        name: opponent
        for pools in game.pools
        for pool in games.OBJECTIVE_POOLS
        for name, opponent in game.pool(pools, pool).items()
    }


def replay(opponent, mine, seed):
    """The real opponent's actions against a sequence of the policy's."""
    act, rounds, game = opponent(np.random.default_rng(seed)), [], games.get("ipd")
    for action in mine:
        theirs = act(game.view(rounds, 1, ipd.ACTIONS))
        rounds.append(Round((action, theirs), ipd.PAYOFFS[action, theirs]))
    return [r.actions[1] for r in rounds]


@pytest.mark.parametrize("name", sorted(dilemma_opponents()))
def test_the_dilemmas_opponents_are_axelrods(name):
    """Every sequence of 8 actions: the deterministic ones agree exactly, the others by frequency."""
    opponent = dilemma_opponents()[name]
    rule = opponent.odds
    expected, happened = {}, {}
    for seed, mine in enumerate(itertools.product(ipd.ACTIONS, repeat=8)):
        theirs = replay(opponent, mine, seed)
        for t in range(8):
            p = rule(list(mine[:t]), theirs[:t])
            if p in (0.0, 1.0):
                assert (theirs[t] == ipd.COOPERATE) == bool(p), (mine, theirs, t)
            state = (mine[max(0, t - 2) : t], theirs[t - 1 : t] if t else [])
            expected.setdefault(str(state), []).append(p)
            happened.setdefault(str(state), []).append(theirs[t] == ipd.COOPERATE)
    for state, p in expected.items():
        error = np.sqrt(np.sum(np.multiply(p, np.subtract(1, p)))) / len(p)
        assert abs(np.mean(happened[state]) - np.mean(p)) <= 4.5 * error + 1e-12, state


@pytest.mark.parametrize(("name", "actions"), [("split", split.DEMANDS[2:8]), ("auction", auction.ACTIONS)])
def test_what_a_chain_forgets_no_opponent_remembers(name, actions):
    """After every sequence of the policy's actions, the next round is that of the chain's state."""
    game, how = games.get(name), tabular.enumeration(games.get(name))
    for pool in games.OBJECTIVE_POOLS:
        for opponent in game.pool("paper", pool).values():
            known = {}
            for length in range(4):
                for mine in itertools.product(actions, repeat=length):
                    rounds = ()
                    for action in mine:
                        branches = how.branches(game, opponent, rounds)
                        chosen = next(b for b in branches if b.decisions[0][1] == action)
                        rounds = (*rounds, chosen.round)
                    ways = [
                        (b.probability, b.decisions, b.round.actions, b.round.payoffs)
                        for b in how.branches(game, opponent, rounds)
                    ]
                    assert known.setdefault(how.memory(rounds), ways) == ways, (opponent.description, mine)
