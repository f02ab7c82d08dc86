"""A person against a model: scripted input, what is shown and when, and the record of the game."""

import io
import json
import os
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from sepo_lib import __main__ as cli
from sepo_lib import games
from sepo_lib.config import bundled
from sepo_lib.games import players
from sepo_lib.measure import person
from sepo_lib.measure.inspection import open_policy
from sepo_lib.play import models, rollouts
from sepo_lib.play.policy import Answer, load_policy

KUHN = games.get("kuhn")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def policy():
    return load_policy("nano", "float32", 0.8, 32)[2]


def typing(*lines):
    """Somebody who types `lines` and then presses Ctrl-D."""
    waiting = list(lines)

    def ask(prompt):
        if not waiting:
            raise EOFError
        return waiting.pop(0)

    return ask


def quiet(text):
    pass


def sitting(game, ask, say=quiet):
    """That somebody in the seat of player 1."""
    return players.stateless(lambda view, rng: person.choose(game, view, ask, say))


def test_a_person_is_what_a_scripted_opponent_is(policy):
    game, seed = games.get("split"), 5
    scripted = rollouts.play(
        policy, [rollouts.Plan("split", "paper", "exploiter", "selfish", 0, seed, seed)]
    )[0]
    typed = person.play_episode(policy, game, seed, sitting(game, typing("7", "7", "7", "7")), quiet)
    assert typed.rounds == scripted.rounds
    assert [d.text for d in typed.decisions] == [d.text for d in scripted.decisions]


@pytest.mark.parametrize("name", list(games.GAMES))
def test_every_game_can_be_played_to_its_end(policy, name):
    game, seen = games.get(name), []

    def first_legal(prompt):
        words = {"ipd": ["coop"], "auction": ["LOW"], "split": ["5"], "deal": ["[0,0,0]"], "kuhn": ["p", "f"]}
        return words[name]["FOLD" in seen[-1]] if name == "kuhn" else words[name][0]

    episode = person.play_episode(policy, game, 2, sitting(game, first_legal, seen.append), seen.append)
    assert len(episode.rounds) == game.rounds
    word = game.round_word.capitalize()
    shown = [text for text in seen if " is over: you " in text]
    assert len(shown) == game.rounds
    for number, (line, played) in enumerate(zip(shown, episode.rounds, strict=True), start=1):
        assert line.startswith(f"\n{word} {number} of {game.rounds} is over: you ")
        won = f"The model wins {played.payoffs[0]:g}."  # this person never wins in Kuhn poker
        assert line.endswith(won if name == "kuhn" else f"You earn {played.payoffs[1]:g}.")
    asked = [text for text in seen if text.startswith(f"\n{word} ") and text not in shown]
    assert len(asked) >= game.rounds and all(text.count(" of ") <= 2 for text in asked)


class Script:
    """A model that always bets or calls and says so."""

    def answer(self, queries):
        bold = [query.view.legal[-1] for query in queries]
        return [Answer(action, text=f"Secret.\n{action}") for action in bold]


def test_what_the_model_wrote_is_shown_when_the_round_is_over_and_not_before():
    said = []

    def folds(prompt):
        assert sum("Secret" in text for text in said) == sum(" is over: " in text for text in said)
        return "FOLD" if "FOLD" in said[-1] else "PASS"

    episode = person.play_episode(Script(), KUHN, 0, sitting(KUHN, folds, said.append), said.append)
    assert [r.payoffs for r in episode.rounds] == [(1.0, -1.0)] * 6  # every hand is folded to its bet
    assert "  the model wrote: Secret. / BET" in "\n".join(said)
    shown = person.result(KUHN, episode)
    assert "Total of 6 hands: you -6, the model 6." in shown
    values = [float(line.split()[-1]) for line in shown.splitlines() if line.startswith("  ")]
    assert values == [1.0, -2.0, 0.0, 0.0]  # u, margin, c, x


class Cautious:
    """A model that bets and calls with K only."""

    def answer(self, queries):
        answers = []
        for view in (query.view for query in queries):
            word = view.legal[view.facts["card"] == "K"]
            answers.append(Answer(word, text=f"I hold {view.facts['card']}.\n{word}"))
        return answers


#: The first three hands of Kuhn poker with seed 0, in which (first mover, second mover) hold QK, QK, QJ.
TRANSCRIPT = """
Hand 1 of 6. Your card is K. You are second. History: other PASS. Choose PASS or BET.
[Your action (PASS or BET): BET]

Hand 1 of 6 is over: you BET; the model PASS, FOLD. You win 1.
  cards: you K, the model Q
  the model wrote: I hold Q. / PASS
  the model wrote: I hold Q. / FOLD

Hand 2 of 6. Your card is Q. You are first. History: none. Choose PASS or BET.
[Your action (PASS or BET): p]

Hand 2 of 6. Your card is Q. You are first. History: you PASS, other BET. Choose FOLD or CALL.
[Your action (FOLD or CALL): call]

Hand 2 of 6 is over: you PASS, CALL; the model BET. The model wins 2.
  cards: you Q, the model K
  the model wrote: I hold K. / BET

Hand 3 of 6. Your card is J. You are second. History: other PASS. Choose PASS or BET.
[Your action (PASS or BET): pass]

Hand 3 of 6 is over: you PASS; the model PASS. The model wins 1.
  cards: you J, the model Q
  the model wrote: I hold Q. / PASS
"""


def test_a_transcript_of_kuhn_poker_by_hand(monkeypatch):
    said, typed = [], ["BET", "p", "call", "pass", "B", "FOLD", "p", "f"]

    def ask(prompt):
        said.append(f"[{prompt}{typed[0]}]")
        return typed.pop(0)

    monkeypatch.setattr("sepo_lib.measure.inspection.open_policy", lambda model: Cautious())
    episode = person.play_against("kuhn", ask=ask, say=said.append)
    text = "\n".join(said)
    assert said[0] == "Loading nano ..."
    assert said[1].startswith("Kuhn poker: you against nano, 6 hands.\n\nThe rules, as the model reads them:")
    assert "When the hand is over, you see both cards, both players' actions" in said[1]
    assert text.split("`quit` leaves.\n")[1].startswith(TRANSCRIPT)
    assert [r.payoffs[1] for r in episode.rounds] == [1, -2, -1, -2, -1, -1]
    assert "Total of 6 hands: you -6, the model 6." in text


def test_it_can_be_played_in_a_notebook_cell_and_an_interrupt_leaves():
    manager, client = start_new_kernel(env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    said, asked, typed = [], [], []

    def show(message):
        if message["msg_type"] == "stream":
            said.append(message["content"]["text"])
        assert message["msg_type"] != "error", message

    def answer(request):
        asked.append(request["content"]["prompt"])
        if typed:
            client.input(typed.pop(0))
        else:
            manager.interrupt_kernel()

    cell = "from sepo_lib.measure import person\nperson.play_against('split')"
    try:
        for lines in (["5", "x", "quit"], []):
            typed[:] = lines
            said.clear()
            client.execute_interactive(
                cell, allow_stdin=True, stdin_hook=answer, output_hook=show, timeout=120
            )
            text = "".join(said)
            assert text.startswith("Loading nano ...\n") and "\nRound 1 of 4. " in text
            assert text.endswith("\n\nYou left; a game that did not end has no result.\n")
            assert ("'x' is not possible here; type one of 1 to 9, or quit.\n" in text) == bool(lines)
        assert asked == ["Your action (one of 1 to 9): "] * 4
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_what_cannot_be_played_is_asked_again_and_quit_leaves():
    said = []
    view = games.kuhn.INFORMATION_SETS[0][1]
    assert person.choose(KUHN, view, typing("", "call", "be"), said.append) == "BET"
    assert said == [
        "'' is not possible here; type PASS or BET, or quit.",
        "'call' is not possible here; type PASS or BET, or quit.",
    ]
    with pytest.raises(person.Quit):
        person.choose(KUHN, view, typing("QUIT"), said.append)
    split = games.base.View(round=0, rounds=4, legal=games.get("split").play(None).send(None)[1].legal)
    assert person.choose(games.get("split"), split, typing("10", "9"), said.append) == 9


@pytest.mark.parametrize("line", ["5\nquit\n", "5\n"])  # the second ends with Ctrl-D
def test_the_command_ends_on_quit_and_on_the_end_of_its_input(line, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert cli.main(["play", "split", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Loading nano ...\nSplit bargaining: you against nano, 4 rounds.\n")
    assert "Round 1 of 4 is over: you 5; the model " in said
    assert said.endswith("You left; a game that did not end has no result.\n")


def test_an_opponent_of_the_pools_can_be_watched(monkeypatch, capsys):
    """In the person's place it plays the episode that it plays in its own."""
    assert cli.main(["play", "split", "--seed", "5", "--watch", "selfish"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n> 7\n") == 4 and "type your action" not in said
    assert "Split bargaining: selfish against nano, 4 rounds.\n" in said
    plan = rollouts.Plan("split", "paper", "exploiter", "selfish", 0, 5, 5)
    episode = rollouts.play(open_policy("nano"), [plan])[0]
    assert f"Total of 4 rounds: selfish {episode.other_T.sum():g}, the model {episode.own_T.sum():g}." in said
    assert said.count(" is over: selfish 7; the model ") == said.count(" selfish earns ") == 4
    assert "over: you" not in said and "You earn" not in said and "  margin of the opponent " in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["play", "kuhn", "--watch", "nobody"], "Kuhn poker has no opponent 'nobody'; choose from nash"),
        (["play", "chess"], "There is no game 'chess'; choose from ipd, auction, split, deal, kuhn, or"),
        (["play", "kuhn", "--model", "nowhere"], "There is no model 'nowhere'"),
        (["play", "kuhn", "--model", "nobody/nothing"], "no model hub could be reached. Download it"),
    ],
)
def test_bad_input_is_one_sentence(arguments, sentence, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_the_folder_of_a_job_is_played_as_the_job_played_it(tmp_path, monkeypatch):
    model, tokenizer = models.load("nano")
    job = tmp_path / "job"
    model.save_pretrained(job / "model")
    tokenizer.save_pretrained(job / "model")
    load = {"dtype": "float32", "temperature": 0.5, "max_new_tokens": 7}
    (job / "started.json").write_text(json.dumps({"arguments": {"sampling": load}}))
    monkeypatch.chdir(tmp_path)
    for folder in (str(job), str(job / "model")):
        policy = open_policy(folder)
        assert (policy.temperature, policy.max_new_tokens) == (0.5, 7)
        assert policy.engine.model.num_parameters() == model.num_parameters()
    assert bundled.resolve("job").as_posix() == "job/model"  # from where one stands
