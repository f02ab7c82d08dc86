"""Sample games are chosen by a rule and shown in the model's own words."""

import pandas as pd
import pytest

from sepo_lib.config import paths
from sepo_lib.report.page import sample_games
from sepo_lib.report.page.sample_games import Move

PROMPT = (
    "<|system|>Rules: demand points.<|end|>"
    "<|user|>Round {} of 2. History (you, other): {}. Choose.<|end|><|assistant|>"
)


def decisions(**changed) -> pd.DataFrame:
    """Two rounds of one episode per stage; the answers name the stage."""
    rows = []
    for stage, arm, preset, step in (
        ("base", "", "", 0),
        ("sft", "", "", 9),
        ("sepo", "credited", "unbiased", 5),
        ("sepo", "credited", "unbiased", 10),
    ):
        for turn in (0, 1):
            rows.append(
                dict(game="split", pools="paper", pool="exploiter", opponent="selfish", rollout=0, seed=4)
                | dict(
                    stage=stage,
                    arm=arm,
                    preset=preset,
                    step=step,
                    decision=turn,
                    round=turn,
                    parsed=turn == 0,
                )
                | dict(prompt=PROMPT.format(turn + 1, "none" if turn == 0 else "5 7 no deal"))
                | dict(answer=f"{stage} {step} <b>\n5", action="5", other_action="('PASS', 'FOLD')")
                | dict(own_payoff=1.0, other_payoff=-1.0)
                | changed
            )
    return pd.DataFrame(rows)


def test_the_rule_takes_the_smallest_seed_and_the_first_exploiter(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    others = [
        decisions(seed=11, answer="later seed"),
        decisions(rollout=1, answer="later episode"),
        decisions(opponent="hardball", answer="second exploiter"),
        decisions(pool="train", answer="train pool"),
        decisions(pools="conflict", answer="conflict pools"),
    ]
    paths.write_table(pd.concat([*others, decisions()]), "p", "episodes")
    (game,) = sample_games.sample_games(sample_games.read("p"))
    assert (game.title, game.opponent, game.seed) == ("Split bargaining", "selfish", 4)
    assert [play.label for play in game.plays] == ["base model", "SFT", "SEPO, unbiased"]
    assert [play.moves[0].answer for play in game.plays] == [
        "base 0 <b>\n5",
        "sft 9 <b>\n5",
        "sepo 10 <b>\n5",
    ]
    assert game.plays[0].totals == (2.0, -2.0)


def test_a_move_has_what_was_read_written_and_won():
    (game,) = sample_games.sample_games(decisions())
    assert game.rules == "Rules: demand points."
    first, second = game.plays[0].moves
    assert first == Move(
        number=1,
        situation="Round 1 of 2. History (you, other): none. Choose.",
        answer="base 0 <b>\n5",
        parsed=True,
        action="5",
        other_action="PASS, FOLD",
        payoffs=(1.0, -1.0),
    )
    assert second.situation == "Round 2 of 2. Choose." and not second.parsed


def test_a_round_of_two_decisions_counts_once():
    table = decisions().assign(round=0)
    play = sample_games.sample_games(table)[0].plays[0]
    assert play.totals == (1.0, -1.0)
    assert [move.payoffs for move in play.moves] == [(), (1.0, -1.0)]


def test_an_unknown_game_and_recipe_and_a_table_without_prompts():
    table = decisions(game="chicken", opponent="mine").drop(columns="prompt")
    table["preset"] = table["preset"].replace("unbiased", "my_preset")
    (game,) = sample_games.sample_games(table)
    assert (game.title, game.opponent, game.rules) == ("chicken", "mine", "")
    assert [play.label for play in game.plays] == ["base model", "SFT", "SEPO, my_preset"]


def test_a_run_without_episodes_has_none_and_a_broken_table_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    assert sample_games.sample_games(sample_games.read("p")) == []
    paths.write_table(decisions().drop(columns="answer"), "p", "episodes")
    with pytest.raises(ValueError, match=r"episodes\.parquet lacks the columns \['answer'\]"):
        sample_games.read("p")
