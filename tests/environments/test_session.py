"""An episode that is played from outside is the episode of the kit's own loop, with the stated rewards."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import outside_play
import pytest

from sepo_lib import games
from sepo_lib.environments.session import Session, Setup, Table, setups
from sepo_lib.games.base import OBJECTIVE_POOLS, POOLS
from sepo_lib.measure.measures import measure
from sepo_lib.method.objective import objective

NUMBER = dict.fromkeys(POOLS, 3)


def play(setup, reward="payoff"):
    session = Session(setup, reward)
    while not session.over:
        session.act(outside_play.choose(session.game, session.view))
    return session


def facts(episode):
    path = episode.game, episode.pools, episode.pool, episode.opponent, episode.rollout, episode.seed
    actions = [(decision.round, decision.action) for decision in episode.decisions]
    return path, actions, episode.rounds, episode.collusion_T, episode.externality_T


@pytest.mark.parametrize(
    ("game", "pools"), [(game.name, pools) for game in games.GAMES.values() for pools in game.pools]
)
def test_the_same_actions_give_the_episode_of_the_kit(game, pools):
    own = outside_play.played(game, NUMBER, pools, seed=7)
    sessions = [play(setup) for setup in setups(game, NUMBER, pools, seed=7)]
    assert [facts(session.episode()) for session in sessions] == [facts(episode) for episode in own]
    assert [session.total for session in sessions] == [outside_play.points(episode) for episode in own]
    assert len({outside_play.points(episode) for episode in own}) > 2  # the play is not constant


@pytest.mark.parametrize("game", games.GAMES)
def test_the_objective_reward_adds_up_to_j_with_the_mean_margin_in_the_place_of_e(game):
    sessions = [play(setup, "objective") for setup in setups(game, NUMBER, seed=3) if setup.pool != "shift"]
    by_pool = {
        pool: np.mean([session.total for session in sessions if session.setup.pool == pool])
        for pool in OBJECTIVE_POOLS
    }
    rules = games.get(game)
    found = measure(rules, [session.episode() for session in sessions])
    expected = objective(
        rules,
        *(found[name] for name in ("payoff", "margin", "collusion", "externality")),
        rules.train_weights,
    )
    assert sum(by_pool.values()) == pytest.approx(expected)
    assert sum(by_pool.values()) >= found["objective"] - 1e-9


def test_measures_are_those_of_the_record():
    session = play(setups("deal", {"exploiter": 1})[0])
    played = session.episode()
    assert session.measures() == {
        "payoff": pytest.approx(played.own_T.mean()),
        "margin": pytest.approx((played.other_T - played.own_T).mean()),
        "collusion": pytest.approx(np.mean(played.collusion_T)),
        "externality": pytest.approx(np.mean(played.externality_T)),
        "forfeited": 0.0,
    }


class TakeTurns(games.Game):
    """One part with two rounds. In each, a player says a number and the other doubles it or not."""

    name, rounds = "turns", 2

    def play(self, rng):
        rounds = []
        while len(rounds) < self.rounds:
            first = len(rounds) % 2
            number = (yield {first: self.view(rounds, first, (1, 2))})[first]
            double = (yield {1 - first: self.view(rounds, 1 - first, (False, True), number=number)})[
                1 - first
            ]
            points = [0.0, 0.0]
            points[first], points[1 - first] = float(number * (1 + double)), float(number)
            said = (number, double) if first == 0 else (double, number)
            rounds.append(games.Round(said, tuple(points)))
        return rounds


def test_a_game_whose_players_take_turns_stops_only_at_the_seats_that_are_open():
    doubles = games.Opponent(lambda rng: lambda view: view.legal[-1], "Says the largest, and doubles.")
    alone, both = Table(TakeTurns(), 0, 0, doubles), Table(TakeTurns(), 0, 0)
    alone.act({0: 1})
    assert alone.views[0].facts == {"number": 2} and alone.payoffs(0) == [2.0] and not alone.rounds
    alone.act({0: False})
    asked = []
    for action in (1, True, 2, False):
        (seat,) = both.views
        asked.append((seat, both.payoffs(0)))
        both.act({seat: action})
    assert asked == [(0, []), (1, []), (1, []), (0, [2.0])]
    assert alone.over and both.over and alone.rounds == both.rounds
    assert alone.payoffs(0) == both.payoffs(0) == [2.0, 2.0] and both.payoffs(1) == [1.0, 2.0]


def test_the_texts_are_the_prompts_of_the_kit():
    session = Session(Setup("auction", opponent="truthful"))
    assert session.messages == session.game.messages(session.view)
    session.answer("I bid low.\nLOW")
    assert (
        session.situation.startswith("Round 2 of 6.") and session.messages[1]["content"] == session.situation
    )
    while not session.over:
        session.answer("LOW")
    assert session.situation == f"The game is over after 6 rounds. Your points: {session.total:g}."


@pytest.mark.parametrize("game", games.GAMES)
def test_an_answer_without_an_action_ends_the_episode_and_costs_no_less_than_playing(game):
    setup = setups(game, {"train": 1})[0]
    session = Session(setup)
    first = session.act(outside_play.choose(session.game, session.view))
    lost = session.answer("I do not know.")
    rounds, best = session.game.rounds, session.game.max_payoff
    assert session.over and session.forfeited in (rounds, rounds - 1)
    assert session.total == first + lost == pytest.approx(first - session.forfeited * best)
    assert session.measures() == {"payoff": session.total / rounds, "forfeited": session.forfeited}
    worst = min(round.payoffs[0] for episode in outside_play.played(game, NUMBER) for round in episode.rounds)
    assert worst >= -best
    with pytest.raises(ValueError, match="not played to its end"):
        session.episode()


def test_a_forfeited_episode_has_the_worst_term_of_its_pool():
    for pool in OBJECTIVE_POOLS:
        for setup in setups("kuhn", {pool: 4}):
            left = Session(setup, "objective")
            assert left.forfeit() == left.total <= play(setup, "objective").total


def test_equal_setups_are_equal_and_other_seeds_are_not():
    setup = setups("auction", {"shift": 1}, seed=1)[0]
    rewards = [
        [Session(one).act("LOW"), play(one).total]
        for one in (setup, setup, *(replace(setup, seed=seed) for seed in range(2, 9)))
    ]
    assert rewards[0] == rewards[1]
    assert any(other != rewards[0] for other in rewards[2:])


@pytest.mark.parametrize(
    ("setup", "reward", "sentence"),
    [
        (Setup("chess"), "payoff", "no game 'chess'; choose from ipd"),
        (
            Setup("ipd", pools="large"),
            "payoff",
            r"no pool set 'large'; choose one of \['conflict', 'paper'\]",
        ),
        (Setup("ipd", pool="test"), "payoff", "'test' is no pool; choose one of"),
        (Setup("ipd"), "payoff", "train pool of ipd has no opponent ''; choose from tit_for_tat"),
        (Setup("ipd", opponent="grim"), "safety", "no reward 'safety'; choose from payoff, objective"),
        (Setup("split", pool="shift", opponent="mirror"), "objective", "no term for the shift pool"),
    ],
)
def test_a_wrong_setup_is_one_sentence_with_the_choices(setup, reward, sentence):
    with pytest.raises(ValueError, match=sentence):
        Session(setup, reward)


def test_illegal_actions_and_actions_after_the_end_raise():
    session = Session(Setup("ipd", opponent="grim"))
    with pytest.raises(ValueError, match="Illegal action"):
        session.act("PASS")
    session.forfeit()
    for wrong in (lambda: session.act("DEFECT"), lambda: session.answer("DEFECT"), session.forfeit):
        with pytest.raises(ValueError, match="This episode is over"):
            wrong()


def test_nothing_large_is_imported():
    code = "import sys, sepo_lib.environments.session, sepo_lib.environments.trl_env; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "sepo_lib.environments.session" in loaded
    assert not {"torch", "transformers", "trl", "gymnasium", "datasets"} & set(loaded)
