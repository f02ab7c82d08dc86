"""What a policy does in each situation, and which strategies do the same: scripts of which both are known."""

import copy
import dataclasses

import pandas as pd
import pytest
from uniform_play import KEYS, SIZES, played

from sepo_lib import games
from sepo_lib.games.base import View
from sepo_lib.measure import agreement, behaviour, evaluation
from sepo_lib.method import seeds
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """One rollout against every opponent is compared with the strategies."""
    monkeypatch.setattr(behaviour, "COMPARED", 1)


class Script:
    """Plays as one of the opponents that remember nothing between their decisions."""

    def __init__(self, act):
        self.act = act

    def answer(self, queries):
        return [Answer(self.act(query.view)) for query in queries]


def recorded(game, episodes):
    return evaluation.episode_table(episodes, {"game": game, "pools": "paper", **KEYS})


def table_of(game, act, **sizes):
    plans = rollouts.plan(games.get(game), "paper", SIZES | sizes, seeds.derive(KEYS["seed"], "evaluation"))
    return behaviour.table(recorded(game, rollouts.play(Script(act), plans)))


def tit_for_tat(view):
    return view.theirs[-1] if view.theirs else "COOPERATE"


def test_tit_for_tat_is_found_by_its_history_and_by_its_name():
    table = table_of("ipd", tit_for_tat)
    rows = table[(table["kind"] == "situation") & (table["action"] == "COOPERATE")]
    assert dict(zip(rows["situation"], rows["value"], strict=True)) == {
        "first round": 1.0,
        "COOPERATE, COOPERATE": 1.0,
        "COOPERATE, DEFECT": 0.0,
        "DEFECT, COOPERATE": 1.0,
        "DEFECT, DEFECT": 0.0,
    }
    episodes = sum(SIZES[pool] * len(games.get("ipd").pool("paper", pool)) for pool in SIZES)
    assert rows["decisions"].iloc[0] == episodes and rows["decisions"].sum() == 8 * episodes
    near = agreement.nearest(agreement.merged(table))
    assert near[0][0] == "tit_for_tat" and near[0][1].mean == 1.0 > near[1][1].mean


@pytest.mark.parametrize(
    ("game", "opponent"),
    [("auction", "shaded"), ("split", "conceding"), ("deal", "greedy"), ("kuhn", "bluffer")],
)
def test_an_opponent_agrees_with_itself_and_the_table_is_complete(game, opponent):
    kit = games.get(game)
    (itself,) = (pool[opponent] for pool in kit.pools["paper"].values() if opponent in pool)
    table = table_of(game, itself(seeds.generator(1)))
    assert list(table) == list(behaviour.COLUMNS)
    agrees = table[(table["kind"] == "opponent") & (table["action"] == opponent)]
    assert agrees["value"].tolist() == [1.0]
    named = {name for by_pool in kit.pools.values() for pool in by_pool.values() for name in pool}
    assert set(table[table["kind"] == "opponent"]["action"]) == named
    assert set(table[table["kind"] == "expert"]["action"]) == set(kit.experts)
    if kit.enumeration:
        situations = table[table["kind"] == "situation"]["situation"]
        assert situations.nunique() == len(kit.enumeration.legal)


def test_a_situation_that_never_occurs_keeps_its_place_without_an_action():
    rows = table_of("split", lambda view: 5).query("kind == 'situation'")
    assert rows["situation"].tolist() == ["first round", *"123456789"]
    never = rows[rows["situation"].isin(["1", "2", "9"])]  # no opponent of the pools demands these
    assert set(never["action"]) == {""} and never["value"].isna().all() and not never["decisions"].any()


def test_demands_have_means_in_points_and_as_shares_of_the_value():
    rows = table_of("split", lambda view: 4 if view.theirs else 6).query("kind == 'situation'")
    means = rows.dropna().set_index("situation")["value"]
    assert means["first round"] == 6.0 and set(means[1:]) == {4.0} and means.index[1] == "3"
    facts = {"pool": (2, 1, 4), "values": (1, 4, 1)}
    view = View(1, 4, (), mine=((0, 0, 0),), theirs=((0, 1, 2),), facts=facts)
    deal = games.get("deal")
    assert deal.observe(view) == (0.5,)  # 2 books and 2 balls are left: 4 of the 10 points of the pool
    assert deal.quantities(view, (2, 1, 0)) == {"demand (share of the value)": 0.6}


def test_a_game_without_an_enumeration_is_seen_by_its_last_actions(monkeypatch):
    other = copy.copy(games.get("split"))
    other.enumeration = None
    monkeypatch.setitem(games.GAMES, "split", other)
    seen = table_of("split", lambda view: 9).query("kind == 'situation'")["situation"].tolist()
    assert seen[0] == "first round" and {"9, 5", "9, 8"} < set(seen) and seen[1:] == sorted(seen[1:])


def test_an_information_set_need_not_be_a_tuple(monkeypatch):
    other = copy.copy(games.get("split"))
    sets = {"observe": lambda view: "later" if view.theirs else "first", "legal": {"first": (), "later": ()}}
    other.enumeration = dataclasses.replace(other.enumeration, **sets)
    monkeypatch.setitem(games.GAMES, "split", other)
    rows = table_of("split", lambda view: 3).query("kind == 'situation'")
    assert rows["situation"].tolist() == ["first", "later"]


def test_only_the_first_rollouts_are_read_and_other_rules_are_refused(monkeypatch):
    table = recorded("split", played("split"))
    monkeypatch.setattr(behaviour, "ROLLOUTS", 2)
    first = behaviour.table(table)
    assert first.equals(behaviour.table(table[table["rollout"] < 2]))
    with pytest.raises(ValueError, match="recorded with other rules or opponents"):
        behaviour.table(table.assign(other_action="9"))


def test_strategies_that_never_differ_share_a_name_and_seeds_have_an_interval():
    values = {"hawk": (0.8, 0.9), "bold": (0.8, 0.9), "dove": (0.2, 0.1), "coin": (0.8, 0.5)}
    rows = pd.DataFrame(
        {"kind": "opponent", "stage": "sft", "seed": seed, "action": name, "value": value, "decisions": 600}
        for name, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    )
    first, second, _ = agreement.nearest(agreement.merged(rows))
    assert first[0] == "hawk or bold" and second[0] == "coin"
    assert first[1].mean == pytest.approx(0.85) and 0 <= first[1].low < 0.85 < first[1].high <= 1
    with pytest.raises(ValueError, match=r"those of one policy; the rows differ in \['stage'\]"):
        agreement.nearest(pd.concat([rows, rows.assign(stage="sepo")]))
