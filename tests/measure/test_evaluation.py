"""The record of play: every measure is computed again from it alone, and a record is played again."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from episodes import episode
from uniform_play import KEYS, played

from sepo_lib import games
from sepo_lib.measure import evaluation, job_tables, measures
from sepo_lib.method.records import Options

COMMITTED = Path(__file__).resolve().parents[2] / "data" / "results" / "laptop"


def record(game, pools="paper"):
    return evaluation.episode_table(played(game, pools), {"game": game, "pools": pools, **KEYS})


@pytest.mark.parametrize("game", games.GAMES)
def test_every_measure_is_that_of_the_record_alone(game):
    episodes = played(game)
    for number, mass in enumerate((-7.0, -1.5, -2.0)):
        decision = episodes[number].decisions[0]
        decision.parsed, decision.options = False, Options((decision.action,), ((1,),), np.ones(1), mass)
    luck = evaluation.safety_interval(games.get(game), episodes)
    measured = measures.measure(games.get(game), episodes) | {
        "safety_low": luck.low,
        "safety_high": luck.high,
    }
    table = evaluation.episode_table(episodes, {"game": game, "pools": "paper", **KEYS})
    assert all(group["round"].nunique() == games.get(game).rounds for _, group in _episodes(table))
    (row,) = evaluation.measures_from(table).to_dict("records")
    assert list(row) == [*evaluation.KEYS, *measured]
    assert {name: row[name] for name in measured} == pytest.approx(measured, rel=0, abs=1e-12)
    assert row["option_log10_mass"] == -3.5
    (older,) = evaluation.measures_from(table.drop(columns="option_log10_mass")).to_dict("records")
    assert np.isnan(older["option_log10_mass"]) and older["safety"] == row["safety"]


def _episodes(table):
    return table.groupby(["pool", "opponent", "rollout"])


def test_policies_are_told_apart_and_a_round_with_two_decisions_counts_once():
    """Two hands of Kuhn poker, the first with two decisions (pass, then fold): c is 1/2 and not 2/3."""
    own, other = [-1.0, 2.0], [1.0, -2.0]
    plans = [("train", "t"), ("exploiter", "e"), ("collusive", "c")]
    hands = [episode(*plan, 0, own, other, collusion=[1.0, 0.0], game="kuhn") for plan in plans]
    for one in hands:
        one.decisions.insert(0, one.decisions[0])
    table = evaluation.episode_table(hands, {"game": "kuhn", "pools": "paper", **KEYS})
    both = pd.concat([table, table.assign(seed=4, own_payoff=table["own_payoff"] - 1)])
    first, second = evaluation.measures_from(both).to_dict("records")
    assert (first["seed"], first["payoff"], first["collusion"], first["margin"]) == (3, 0.5, 0.5, -1.0)
    assert (second["seed"], second["payoff"], second["margin"]) == (4, -0.5, 0.0)


def test_a_round_without_a_decision_is_refused():
    hand = episode("train", "t", 0, [0, 0], [0, 0])
    del hand.decisions[0]
    with pytest.raises(ValueError, match=r"no decision in the rounds \[0\] of an episode of ipd"):
        evaluation.episode_table([hand], {})


def test_the_winner_of_a_tie_is_stored_and_an_older_record_gets_it_from_its_seeds():
    table = record("auction")
    ties = table[table["action"] == table["other_action"]]
    assert {json.loads(facts)["winner"] for facts in ties["facts"]} == {0, 1}
    older = table.drop(columns=["collusion", "externality", "facts"])
    with pytest.raises(ValueError, match=r"lack the columns .'collusion', 'externality'.*replayed"):
        evaluation.measures_from(older)
    pd.testing.assert_frame_equal(evaluation.replayed(older)[list(table)], table)


@pytest.mark.parametrize("game", ["deal", "kuhn"])
def test_what_the_record_of_a_run_leaves_out_follows_from_it(game):
    """Kuhn poker has six parts with seeds of their own, and rounds of two decisions."""
    table = record(game).assign(prompt="a prompt", answer="an answer")
    small = job_tables.without_bulk(table)
    first = table["rollout"] == 0
    assert first.any() and not first.all() and "decision_seed" not in small
    assert small["prompt"].notna().equals(first) and small["answer"].notna().equals(first)
    again = evaluation.replayed(small)
    pd.testing.assert_series_equal(again["decision_seed"], table["decision_seed"])
    (whole,), (kept,) = (evaluation.measures_from(one).to_dict("records") for one in (table, small))
    assert kept == pytest.approx(whole, nan_ok=True)
    for part in (small.drop(index=small.index[-1]), pd.concat([small, small.tail(1)])):
        with pytest.raises(ValueError, match=r"an episode or a decision is missing|1 decisions are too many"):
            evaluation.replayed(part.reset_index(drop=True))


@pytest.mark.parametrize("column, value", [("own_payoff", 99), ("other_action", "LOW"), ("decision_seed", 1)])
def test_a_record_of_other_rules_is_not_played_again(column, value):
    with pytest.raises(ValueError, match="recorded with other rules or opponents"):
        evaluation.replayed(record("auction").assign(**{column: value}))


# ----------------------------------------------------------------------------------- the committed run


def rates(table, game):
    """(c, x) per decision by docs/method.md, of the games in which the actions and the payoffs tell them."""
    own, other = table["own_payoff"], table["other_payoff"]
    action, none = table["action"].astype(str), pd.Series(0.0, table.index)
    if game == "ipd":
        return action == "DEFECT", 1 - (own + other) / 2 / 3
    if game == "split":
        return action.astype(int) >= 7, (own == 0) & (other == 0)
    # Kuhn poker: a hand folds or not, whichever of its decisions is kept.
    hand = ["seed", "stage", "step", "arm", "preset", "pools", "pool", "opponent", "rollout", "round"]
    return (action == "FOLD").groupby([table[key] for key in hand], observed=True).transform("max"), none


def committed(game, columns=()):
    names = "pool opponent rollout round action parsed other_action own_payoff other_payoff".split()
    names += [*evaluation.KEYS, *columns]
    texts = {"pool", "opponent", "action", "other_action", *evaluation.KEYS} - {"seed", "step"}
    table = pq.read_table(
        COMMITTED / "episodes.parquet",
        columns=names,
        filters=[("game", "=", game)],
        read_dictionary=sorted(texts),
    )
    return table.to_pandas()


@pytest.mark.parametrize("game", games.GAMES)
def test_the_committed_measures_are_those_of_the_committed_episodes(game):
    stored = {"collusion", "externality"} <= set(pq.read_schema(COMMITTED / "episodes.parquet").names)
    table = committed(game, ["collusion", "externality", "option_log10_mass"] * stored)
    if game in ("ipd", "split", "kuhn"):
        by_rule = pd.concat([rate.astype(float) for rate in rates(table, game)], axis=1)
        by_rule.columns = ["collusion", "externality"]
        table = table if stored else table.assign(**by_rule)
        assert np.allclose(table[list(by_rule)], by_rule, atol=1e-9)
    elif not stored:
        table = evaluation.replayed(table.astype(dict.fromkeys(table.select_dtypes("category"), str)))
    found = evaluation.measures_from(table, intervals=False).astype({"arm": str, "preset": str})
    keys = list(evaluation.KEYS)
    csv = pd.read_csv(COMMITTED / "evaluation.csv").fillna({"arm": "", "preset": ""})
    both = csv[csv["game"] == game].merge(found, on=keys, suffixes=("", "_again"), validate="one_to_one")
    assert len(both) == len(found) == (csv["game"] == game).sum()
    for name in [name for name in found if name in csv and name not in keys]:
        assert (both[name] - both[f"{name}_again"]).abs().max() < 1e-9, name
