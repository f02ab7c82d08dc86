"""The highest J of any strategy: against a linear program over all pure strategies of a short game."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from sepo_lib import games
from sepo_lib.games.base import Weights
from sepo_lib.games.ipd import ACTIONS, IPD
from sepo_lib.measure import tabular
from sepo_lib.method import objective
from sepo_lib.studies import every_strategy, headroom


class Short(IPD):
    """Two rounds: a pure strategy is a first action and a second one after each of the four pairs."""

    rounds = 2


def quantities(game, pools, strategy):
    """u, c, x and the margins of a pure strategy, by hand: both rounds, with the opponents' probabilities."""
    first, second = strategy[0], dict(zip(itertools.product(ACTIONS, repeat=2), strategy[1:], strict=True))
    means = {}
    for pool in ("train", "exploiter", "collusive"):
        means[pool] = []
        for opponent in game.pool(pools, pool).values():
            total = np.zeros(4)
            for theirs in itertools.product(ACTIONS, repeat=2):
                mine = (first, second[first, theirs[0]])
                chances = [opponent.odds([], []), opponent.odds(mine[:1], theirs[:1])]
                p = np.prod([c if a == ACTIONS[0] else 1 - c for c, a in zip(chances, theirs, strict=True)])
                pay = {("C", "C"): (3, 3), ("C", "D"): (0, 5), ("D", "C"): (5, 0), ("D", "D"): (1, 1)}
                for a, b in zip(mine, theirs, strict=True):
                    own, other = pay[a[0], b[0]]
                    total += p * np.array([own, other, a[0] == "D", (3 - (own + other) / 2) / 3]) / 2
            means[pool].append(total)
    train, exploiter, collusive = map(np.array, means.values())
    x = np.concatenate([train, exploiter])[:, 3].mean()
    margins = exploiter[:, 1] - exploiter[:, 0]
    return np.array([train[:, 0].mean(), collusive[:, 2].mean(), x, *margins])


@pytest.mark.parametrize("pools", ["paper", "conflict"])
@pytest.mark.parametrize("weights", [(2.4, 1.0, 1.8), (0.7, 0.2, 0.4), (6.0, 0.0, 0.0), (0.0, 3.0, 0.0)])
def test_it_is_the_best_mixture_of_all_pure_strategies(pools, weights):
    game, weights = Short(), Weights(*weights)
    known = np.array([quantities(game, pools, s) for s in itertools.product(ACTIONS, repeat=5)])
    found = every_strategy.best(game, weights, every_strategy.levels(game, pools))
    number, k = len(known), known.shape[1] - 3
    charge = weights.exploit * game.scale / k
    cost = -(game.scale * known[:, 0] - weights.collusion * known[:, 1] - weights.externality * known[:, 2])
    solved = linprog(
        np.append(cost, np.full(k, charge)),
        np.hstack([known[:, 3:].T, -np.eye(k)]),
        np.zeros(k),
        np.append(np.ones(number), np.zeros(k))[None],
        [1.0],
    )
    assert found.objective == pytest.approx(-solved.fun, abs=1e-9)
    assert found.objective == pytest.approx(objective.objective(game, *found.terms.values(), weights))
    first = every_strategy.best(game, weights, every_strategy.levels(game, pools), payoff_first=True)
    assert first.terms["u"] == pytest.approx(known[:, 0].max()) and first.objective <= found.objective + 1e-9
    pure = objective.objective(
        game, known[:, 0], np.maximum(known[:, 3:], 0).mean(axis=1), known[:, 1], known[:, 2], weights
    )
    assert first.objective >= pure[known[:, 0] >= known[:, 0].max() - 1e-9].max() - 1e-9


def test_mixing_can_be_better_than_every_pure_strategy():
    """One round: with probability d of defecting, u = 3 + 2d, c = d, and the margin is 0.5 - 5d.

    J = 3 + 2d - max(0, 0.5 - 5d) - 3d is highest at d = 0.1.
    """

    class Once(IPD):
        rounds = 1
        pools = {  # noqa: RUF012
            "paper": IPD.pools["paper"]
            | {
                "train": IPD.pools["paper"]["collusive"],
                "exploiter": {"mostly_cooperate": IPD.pools["conflict"]["train"]["mostly_cooperate"]},
            }
        }

    game = Once()
    found = every_strategy.best(game, Weights(1.0, 3.0, 0.0), every_strategy.levels(game, "paper"))
    assert found.objective == pytest.approx(2.9) and found.mixes == 2
    assert found.terms["u"] == pytest.approx(3.2) and found.terms["e"] == pytest.approx(0.0, abs=1e-9)


def test_a_small_loss_at_a_rare_history_is_still_a_loss():
    """Against a train opponent that nearly always cooperates, always defecting has the highest u, and nothing
    else has: a history of eight defections of the opponent is as rare as 1e-13."""

    class Rare(IPD):
        pools = {  # noqa: RUF012
            "paper": IPD.pools["paper"]
            | {"train": {"p": replace(IPD.pools["paper"]["train"]["random"], odds=lambda theirs, own: 0.97)}}
        }

    game = Rare()
    tree = every_strategy.levels(game, "paper")
    found = every_strategy.best(game, Weights(0.0, 0.0, 1.8), tree, payoff_first=True)
    x_train = 0.97 / 6 + 0.03 * 2 / 3  # defecting against C and D
    x_alternator = (1 / 6 + 2 / 3) / 2
    x = (x_train + 2 / 3 + x_alternator) / 3  # always_defect answers with D in every round
    assert found.terms["u"] == pytest.approx(0.97 * 5 + 0.03)
    assert found.objective == pytest.approx(0.97 * 5 + 0.03 - 1.8 * x)


def test_it_applies_where_both_act_once_a_round_without_chance():
    found = {name for name in games.GAMES if every_strategy.applies_to(games.get(name), "paper")}
    assert found == {"ipd", "split"}


def test_the_papers_dilemma_has_headroom_for_strategies_that_remember():
    """Memory one has none with the paper's pools; the gap of the conflict pools falls from 0.676."""
    for pools, gap in (("paper", 0.071875), ("conflict", 0.1229)):
        family, every = (
            headroom.measure(games.get("ipd"), pools, 0).query("weights == 'train'").to_dict("records")
        )
        assert (family["family"], every["family"]) == ("enumerated", "every")
        assert every["gap"] == pytest.approx(gap, abs=1e-4)
        assert every["best_J"] > family["best_J"] and every["best_payoff_u"] > family["best_payoff_u"]


def test_kuhns_rows_hold_the_strategies_they_name():
    found = headroom.measure(games.get("kuhn"), "conflict", 0).query("family == 'every'").iloc[0]
    for prefix in ("best", "best_payoff"):
        p = np.array(found[f"{prefix}_strategy"].split(), dtype=float)
        with np.errstate(divide="ignore"):
            policy = tabular.TabularPolicy(games.get("kuhn"), np.log(np.stack([1 - p, p], axis=1)))
        exact = tabular.exact(policy, "conflict")
        assert exact.values["J"] == pytest.approx(found[f"{prefix}_J"], abs=2e-3)  # three digits
    assert found["gap"] == pytest.approx(0.7875, abs=1e-5)


def test_a_game_with_too_many_histories_says_so(monkeypatch, capsys):
    monkeypatch.setattr(every_strategy, "MOST_HISTORIES", 10)
    found = headroom.measure(games.get("ipd"), "paper", 0)
    assert (found["family"] == "enumerated").all()
    assert "ipd has 16 histories of 2 rounds, and at most 10 are searched." in capsys.readouterr().out
