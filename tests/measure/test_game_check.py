"""The check of a game: every game of the kit passes, and each fault is named in one sentence."""

import random

import pytest

from sepo_lib import games
from sepo_lib.games.ipd import ACTIONS, COOPERATE, IPD, PAPER
from sepo_lib.games.players import stateless
from sepo_lib.measure import game_check

#: One opponent of the shift pool is enough here: the dilemma has 43.
SMALL = {"paper": {**PAPER, "shift": dict(list(PAPER["shift"].items())[:1])}}


@pytest.mark.parametrize("game", games.GAMES.values(), ids=games.GAMES.keys())
def test_the_games_of_the_kit_pass(game, monkeypatch):
    if game.name == "ipd":
        monkeypatch.setattr(game, "pools", SMALL)
    found = game_check.check(game)
    pools = [
        (s, p, name) for s, by_pool in game.pools.items() for p, pool in by_pool.items() for name in pool
    ]
    assert list(zip(found["pools"], found["pool"], found["opponent"], strict=True)) == pools
    if "zero_sum" in game.traits:
        assert (found["payoff"] == -found["other_payoff"]).all()


def test_the_measures_by_hand():
    """Against a player that always cooperates, a random one gets 3 or 5; a defection counts as collusion."""
    found = game_check.check(variant(pools=SMALL)).set_index("opponent").loc["always_cooperate"]
    defects = found["collusion"]
    assert 0.3 < defects < 0.7
    assert found["payoff"] == pytest.approx(3 + 2 * defects)
    assert found["other_payoff"] == pytest.approx(3 - 3 * defects)
    assert found["externality"] == pytest.approx(defects / 6)


def variant(**changes):
    return type("Variant", (IPD,), {"name": "variant", **changes})()


def with_opponent(rule):
    return {"pools": {"paper": {**SMALL["paper"], "collusive": {"odd": stateless(rule, "Odd.")}}}}


def tuples(self, rng):
    return self.simultaneous(ACTIONS, lambda actions: (actions, (1.0, 1.0)))


def blank(view, rng):
    return COOPERATE, " "


def short(view, rng):
    return COOPERATE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rules": lambda self: "word " * 66}, "The rules of variant have 66 words; shorten them to 65"),
        ({"rules": lambda self: "Choose."}, "must ask for the action alone on the last line"),
        ({"situation": lambda self, view: "Choose."}, "must name the action 'COOPERATE': 'Choose.'"),
        ({"situation": lambda self, view: view.card}, "stops with AttributeError: 'View' object"),
        ({"parse": lambda self, reply, legal: None}, "variant cannot parse its own text of the action"),
        ({"collusion": lambda self, rounds: [2.0] * 8}, "`collusion` must return one number from 0 to 1"),
        ({"externality": lambda self, rounds: []}, "`externality` must return one number from 0 to 1"),
        ({"situation": lambda self, view: view.card}, "has no attribute 'card' (test_game_check.py, line "),
        ({"play": tuples}, "; each round must be a Round, not a tuple"),
        ({"collusion": lambda self, rounds: 0.5}, "one number from 0 to 1 for each of the 8 rounds, not 0.5"),
        ({"externality": lambda self, rounds: ["no"] * 8}, "`externality` must return one number"),
        (with_opponent(lambda view, rng: "JUMP"), "against 'odd' (collusive pool) stops with ValueError"),
        (with_opponent(lambda view, rng: random.choice(ACTIONS)), "differs when it is repeated"),
        ({"experts": {"blank": (1.0, blank)}}, "The strategy 'blank' of variant against 'tit_for_tat'"),
        ({"experts": {"short": (1.0, short)}}, "must return an action and its reason, not 'COOPERATE'"),
    ],
)
def test_a_fault_is_named_in_one_sentence(changes, reason):
    with pytest.raises(ValueError) as error:
        game_check.check(variant(**changes))
    sentence = str(error.value)
    assert reason in sentence and sentence.endswith((".", ".'.")) and "\n" not in sentence


def test_the_longest_answer_by_hand():
    """Twelve words of a reason that only a defection brings out, the action, and the end of the answer."""

    def wordy(view, rng):
        return COOPERATE, "word " * 12 if "DEFECT" in view.theirs else "Yes."

    game = variant(pools=SMALL, experts={"wordy": (1.0, wordy)})
    tokens, answer = game_check.longest_answer(game, str.split)
    assert tokens == 14 and answer.startswith("word ") and answer.endswith(f"\n{COOPERATE}")
