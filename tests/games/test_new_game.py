"""A sixth game is one file: Chicken runs through the whole kit, and a game that lacks a member is refused."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from sepo_lib import figures, games
from sepo_lib.config import paths, profiles
from sepo_lib.games.base import Game, Weights
from sepo_lib.games.players import Opponent
from sepo_lib.measure import tabular
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer
from sepo_lib.run import behaviour_table, demonstration_files, jobs, recipes, results
from sepo_lib.studies import estimators, headroom
from sepo_lib.training import demonstrations

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


@pytest.fixture
def chicken(monkeypatch):
    """The module of the game, which is registered for one test only."""
    monkeypatch.setenv("SEPO_GAMES", "")
    sys.modules.pop("chicken", None)
    yield importlib.import_module("chicken")
    games.GAMES.pop("chicken", None)


def test_the_game_is_short():
    assert len((HERE / "chicken.py").read_text().splitlines()) < 150


def test_a_new_game_runs_from_demonstrations_to_a_figure(chicken, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").symlink_to(REPOSITORY / "data" / "models")
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    sizes = {"seeds": "11", "steps": 2, "demonstrations_per_game": 60, "compare_with": []}
    settings = profiles.load("smoke", games="chicken", sft_games=["chicken"], **sizes)
    folder = recipes.demonstrations_folder(settings)
    demonstration_files.write(folder, ["chicken"], 60, seed=1)
    for stage in (recipes.sft_jobs, recipes.sepo_jobs):
        jobs.run(stage(settings), settings.run, stage.__name__)
    tables = results.write_tables(settings)
    evaluation = tables["evaluation"]
    assert set(evaluation["game"]) == {"chicken"} and set(evaluation["stage"]) == {"sft", "sepo"}
    assert evaluation[["payoff", "exploit", "collusion", "externality", "safety"]].notna().all(axis=None)
    assert "exploitability" not in tables  # it has no NashConv
    grid = figures.training_curves(tables["training"], game="chicken", pools="paper")
    assert grid.figure.get_axes()
    behaviour = behaviour_table.of_main_run(settings)
    assert set(behaviour[behaviour["kind"] == "expert"]["action"]) == {"answer", "careful"}
    assert list(figures.behaviour(behaviour, least=1).axes_dict) == ["SWERVE"]


def test_a_new_game_joins_the_studies_that_enumerate(chicken):
    game = games.get("chicken")
    assert game in games.having("enumerable") and game not in games.having("nashconv")
    for name in estimators.POLICIES:
        assert torch.isfinite(
            torch.as_tensor(tabular.exact(estimators.policy(name, game), "paper").gradients["J"])
        ).all()
    found = headroom.measure(game, "paper", 0)
    assert (found["strategies"] == 2**5).all()
    settings = profiles.load("study", games="chicken")
    assert settings.games == ("chicken",) and settings.sft_games == (*games.GAMES,)


def test_nano_reads_and_writes_words_that_it_has_never_seen(chicken):
    """Its tokenizer falls back to bytes, so every text survives; the prompts leave room for an answer."""
    tokenizer = AutoTokenizer.from_pretrained(paths.models() / "nano")
    rows = demonstrations.build("chicken", 40, seed=3)
    texts = [message["content"] for row in rows for message in row["prompt"] + row["completion"]]
    for text in {*texts, "Zugzwang? Ça va — 囚徒困境 🐔\n\tSWERVE"}:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    longest = max(len(tokenizer.apply_chat_template(row["prompt"])["input_ids"]) for row in rows)
    assert longest + 48 <= 1024  # nano's context


def test_a_process_that_is_started_later_knows_the_game(chicken):
    assert os.environ["SEPO_GAMES"] == "chicken"
    path = os.pathsep.join([str(HERE), str(REPOSITORY)])
    shown = subprocess.run(
        [sys.executable, "-c", "from sepo_lib import games; print(games.get('chicken').title)"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == "Game of Chicken"


def test_a_module_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setenv("SEPO_GAMES", "no_such_module")
    with pytest.raises(ImportError, match=r"SEPO_GAMES names 'no_such_module'"):
        games.registry.load_modules()


def variant(chicken, without=(), **changes):
    """A game as Chicken that lacks a member or has another one."""
    members = {name: value for name, value in vars(chicken.Chicken).items() if name not in without}
    return type(
        "Variant", (Game,), {**members, "name": "variant", **changes} if "name" not in without else members
    )()


def refusal(game):
    """The one sentence with which `register` refuses `game`."""
    with pytest.raises(ValueError) as error:
        games.register(game)
    sentence = str(error.value)
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence
    assert game not in games.GAMES.values()
    return sentence


REQUIRED = (
    *("name", "title", "short_title", "rounds", "max_payoff", "train_weights", "evaluation_weights", "pools"),
    *("experts", "play", "rules", "situation", "collusion", "externality"),
)


@pytest.mark.parametrize("member", REQUIRED)
def test_a_missing_member_is_named(chicken, member):
    assert f"has no `{member}`;" in refusal(variant(chicken, without=[member]))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("name", "Two Words"),
        ("name", 5),
        ("title", " "),
        ("max_payoff", "3"),
        ("experts", {"answer": 1.0}),
        ("rounds", 0),
        ("max_payoff", -1.0),
        ("train_weights", (1.0, 1.0, 1.0)),
        ("pools", {"other": {}}),
        ("experts", {"half": (0.5, lambda view, rng: ("SWERVE", "So."))}),
        ("naive", {}),
        ("kinds", frozenset({"fun"})),
        ("name", "others"),
        ("max_payoff", float("inf")),
        ("train_weights", Weights(-1.0, 1.0, 1.0)),
        ("evaluation_weights", Weights(1.0, float("nan"), 1.0)),
        ("experts", {"a": (1.5, print), "b": (-0.5, print)}),
        ("pools", "paper"),
        ("pools", {"paper": {"train": []}}),
    ],
)
def test_a_wrong_member_is_named(chicken, member, value):
    assert f"wrong `{member}`" in refusal(variant(chicken, **{member: value}))


@pytest.mark.parametrize(
    ("pool", "opponents", "reason"),
    [
        ("shift", {}, "needs train, exploiter, collusive, shift, in this order, none empty"),
        ("shift", {"copycat": Opponent(lambda rng: lambda view: "SWERVE", "Swerves.")}, "'copycat'"),
        ("train", {"silent": Opponent(lambda rng: lambda view: "SWERVE", "")}, "'silent'"),
        ("train", {"plain": lambda rng: lambda view: "SWERVE"}, "'plain'"),
    ],
)
def test_wrong_pools_are_named(chicken, pool, opponents, reason):
    pools = {"paper": {**chicken.PAPER, pool: opponents}}
    sentence = refusal(variant(chicken, pools=pools))
    assert "wrong `pools`" in sentence and reason in sentence


def test_names_are_unique_and_a_game_of_a_notebook_is_refused(chicken):
    with pytest.raises(ValueError, match="a game called 'chicken' already"):
        games.register(chicken.Chicken())
    sentence = refusal(variant(chicken, __module__="__main__"))
    assert "put the class and `games.register` in a file, and load it" in sentence


def test_the_traits_follow_from_the_members(chicken):
    assert variant(chicken).traits == {"enumerable"}
    assert variant(chicken, enumeration=None, kinds=frozenset({"zero_sum"})).traits == {"zero_sum"}
    assert variant(chicken, train_weights=Weights(1, 1, 1)).scale == 1.0
    with pytest.raises(ValueError, match="There is no trait 'fun'"):
        games.having("fun")


def test_a_class_is_no_game(chicken):
    with pytest.raises(ValueError, match="register an instance of a subclass of `Game`"):
        games.register(chicken.Chicken)


def test_nashconv_is_measured_in_one_game(chicken):
    known = games.having("nashconv")[0]
    sentence = refusal(variant(chicken, information_sets=known.information_sets))
    assert "`information_sets`" in sentence and known.name in sentence


def test_an_action_is_parsed_as_it_is_spelled(chicken):
    """Also an action whose text has the marks that a reply may have around it."""
    game = variant(chicken, spell=lambda self, action: f'"{action}  NOW."')
    for action in chicken.ACTIONS:
        assert game.parse(f"So.\n{game.spell(action)}", chicken.ACTIONS) == action


def one_episode(chicken, monkeypatch, **changes):
    monkeypatch.setitem(games.GAMES, "variant", variant(chicken, **changes))
    opponent = next(iter(chicken.PAPER["train"]))
    plans = [rollouts.Plan("variant", "paper", "train", opponent, 0, 1, 2)]
    return rollouts.play(Always(chicken.SWERVE), plans)


def test_an_illegal_action_of_an_opponent_stops_the_rollout(chicken, monkeypatch):
    wrong = Opponent(lambda rng: lambda view: "JUMP", "Jumps.")
    train = dict.fromkeys(chicken.PAPER["train"], wrong)
    with pytest.raises(ValueError, match="player 1 chose 'JUMP'"):
        one_episode(chicken, monkeypatch, pools={"paper": {**chicken.PAPER, "train": train}})


@pytest.mark.parametrize("rates", [[7.0] * 4, [float("nan")] * 4, []])
@pytest.mark.parametrize("name", ["collusion", "externality"])
def test_a_rate_is_one_number_from_0_to_1_per_round(chicken, monkeypatch, name, rates):
    with pytest.raises(ValueError, match="variant: c and x need one number in"):
        one_episode(chicken, monkeypatch, **{name: lambda self, rounds: rates})


class Always:
    """Takes one action, whatever it is asked."""

    def __init__(self, action):
        self.action = action

    def answer(self, queries):
        return [Answer(self.action) for _ in queries]
