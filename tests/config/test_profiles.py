"""The sizes of a run, and the paths and tables around them."""

import io
import json
import numbers
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Union, get_args, get_origin, get_type_hints

import pandas as pd
import pytest

from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.config.settings import document
from sepo_lib.measure.best_response import EXPLOITERS
from sepo_lib.method import credit

GAMES = tuple(games.GAMES)


def leaves(value):
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in leaves(one)]
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", profiles.hyperparameters())
def test_every_hyperparameter_says_what_it_is_and_what_the_paper_says(name):
    block = profiles.hyperparameters()[name]
    assert list(block)[:4] == ["meaning", "paper", "why", "default"]
    assert set(block) <= {"meaning", "paper", "why", "default", "choices", "by_model", "by_profile", "range"}
    assert all(
        isinstance(block[key], str) and block[key].endswith(".") for key in ("meaning", "paper", "why")
    )
    assert set(block.get("by_profile", ())) <= set(profiles.names())
    assert set(block.get("by_model", ())) <= set(profiles.MODELS)
    for values in (
        block["default"],
        *block.get("by_profile", {}).values(),
        *block.get("by_model", {}).values(),
    ):
        for leaf in leaves(values):  # YAML reads 1e-3 as text, and that must not go unnoticed
            text = isinstance(leaf, str) and not leaf[0].isdigit()
            assert leaf is None or text or isinstance(leaf, numbers.Number)


def matches(value: Any, kind: Any) -> bool:
    """Whether `value` is of the annotated type `kind`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Union or origin is type(int | None):
        return any(matches(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(matches(one, inner[0]) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(matches(one, inner[1]) for one in value.values())
    return type(value) is (type(None) if kind is None else kind) or (kind is float and type(value) is int)


@pytest.mark.parametrize("name", profiles.names())
def test_the_fields_of_settings_are_the_blocks_of_the_file_and_hold_what_they_say(name):
    assert [field.name for field in fields(profiles.Settings)] == [
        "profile",
        "run",
        "changes",
        *profiles.hyperparameters(),
    ]
    settings = profiles.load(name)
    for field, kind in get_type_hints(profiles.Settings).items():
        assert matches(getattr(settings, field), kind), (field, getattr(settings, field), kind)


def test_choices_are_those_of_the_code_that_uses_them():
    blocks = profiles.hyperparameters()
    assert blocks["arm"]["choices"] == blocks["ablation_arms"]["choices"] == list(credit.ARMS)
    assert blocks["preset"]["choices"] == list(credit.PRESETS)
    assert blocks["exploiter"]["choices"] == blocks["exploiters"]["choices"] == list(EXPLOITERS)
    assert set(blocks["pools"]["choices"]) == {pools for game in games.GAMES.values() for pools in game.pools}
    for name in (
        "games",
        "sft_games",
        "study_games",
        "ablation_games",
        "sweep_games",
        "switch_game",
        "exploiter_game",
        "replication_game",
    ):
        assert blocks[name]["choices"] == "games"
    assert games.get(blocks["exploiter_game"]["default"]) in games.having("nashconv")
    experts = games.get(blocks["replication_game"]["default"]).experts
    assert blocks["replication_strategies"]["choices"] == list(experts)


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_loads_with_a_value_for_every_game(name):
    settings = profiles.load(name)
    assert settings.profile == name
    expected = ("ipd", "split", "kuhn") if name == "smollm2" else GAMES
    assert settings.study_games == settings.games == expected
    assert profiles.load(name, games="all").games == GAMES
    for game in GAMES:
        assert settings.of("rollouts_per_opponent", game) >= 2
        assert 0 < settings.of("sepo_learning_rate", game) < 1
    assert set(settings.as_dict()) == {"profile", *profiles.hyperparameters()}


def test_a_run_has_a_name_that_keeps_it_apart_from_the_committed_runs():
    assert profiles.load("laptop").run == "by-hand/laptop"
    assert profiles.load("laptop", run="laptop").run == "laptop"  # as `make reproduce` calls it
    assert profiles.load("laptop", by_hand=False).run == "laptop"
    assert profiles.load("laptop", run="lr-1e-4").run == "lr-1e-4"
    assert "run" not in profiles.load("laptop").as_dict()  # it changes no number


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"games": "ipd", "seeds": "1,2"}, "laptop-ipd-seeds-1-2"),
        ({"seeds": [2, 1], "games": ["ipd"]}, "laptop-ipd-seeds-1-2"),
        ({"games": "kuhn,auction"}, "laptop-auction-kuhn"),
        ({"games": "kuhn,deal,split,ipd,auction", "seeds": "13,12,11", "model": "nano"}, "laptop"),
        ({"steps": 30}, "laptop-steps-30"),
        ({"sepo_steps": {"kuhn": 60, "deal": 30, "others": 20}, "sft_steps": 250}, "laptop"),
        ({"steps": 250}, "laptop-sepo-steps-250"),  # the profile has 250 steps of SFT
        ({"model": "Qwen/Qwen3-0.6B"}, "laptop-qwen-qwen3-0-6b"),
        ({"kl_beta": 0.2, "estimator_groups": 40}, "laptop-kl-beta-0-2-estimator-groups-40"),
        ({"train_weights": {"kuhn": {"exploit": 2}}}, "laptop-train-weights-kuhn-exploit-2"),
        ({"train_weights": {"kuhn": {"exploit": 1.5}}}, "laptop"),  # the game's own weight
    ],
)
def test_a_run_with_other_values_than_its_profile_is_a_run_of_its_own(changed, name):
    settings = profiles.load("laptop", by_hand=False, **changed)
    assert (settings.run, profiles.load("laptop", **changed).run) == (name, f"by-hand/{name}")
    if name == "laptop":
        assert settings == profiles.load("laptop", run="laptop")
    else:
        with pytest.raises(
            ValueError, match=r"^The run 'laptop' is that of the profile laptop without changes, "
        ):
            profiles.load("laptop", run="laptop", **changed)


def test_a_long_name_is_cut_and_still_tells_runs_apart():
    first, second = (
        profiles.load("study", games="ipd,kuhn", seeds=range(n), by_hand=False).run for n in (40, 41)
    )
    assert first[:-8] == second[:-8] and first != second and len(first) <= profiles.LONGEST_NAME
    assert first.startswith("study-ipd-kuhn-seeds-0-1-2-3-4-5-")
    assert profiles.load("smoke", run="a" * 100 + profiles.OWN_GAME).run


def test_a_folder_of_this_machine_does_not_show_in_the_name_of_a_run(tmp_path):
    names = []
    for folder in (tmp_path / "one" / "It's me", tmp_path / "two" / "It's me"):
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
        names.append(profiles.load("smoke", model=str(folder), by_hand=False).run)
    assert names[0] != names[1] and all(re.fullmatch("smoke-it-s-me-[0-9a-f]{6}", name) for name in names)


@pytest.mark.parametrize(
    ("before", "given", "told"),
    [
        ({}, {}, None),
        ({"seeds": [1]}, {}, r"\(seeds 1; here seeds 11, 12\)"),
        ({"profile": "laptop"}, {}, r"\(profile laptop; here profile smoke\)"),
        ({"not_yet": 1, "clip": 0.3}, {}, r"\(clip 0.3; here clip 0.2\)"),
        ({"clip": 0.3}, {"run": "smoke"}, None),  # the run of a profile follows profiles.yaml
        ({"games": ["ipd"], "clip": 0.3}, {"games": "ipd"}, None),  # a made name, too, but for its games
        ({"model": "a/b-c", "clip": 0.3}, {"model": "a-b/c"}, r"\(model a/b-c; here model a-b/c\)"),
    ],
)
def test_a_run_that_exists_with_other_settings_is_refused(before, given, told, tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    given = {"run": "mine"} | given if set(given) <= {"run"} else given
    settings = profiles.load("smoke", by_hand=False, **given)
    manifest = {"settings": settings.as_dict() | before}
    paths.replace_text(paths.manifest(settings.run), json.dumps(manifest))
    if told is None:
        assert profiles.load("smoke", by_hand=False, **given) == settings
        return
    with pytest.raises(
        ValueError, match=rf"^The run '{settings.run}' exists with other settings {told}; choose"
    ):
        profiles.load("smoke", by_hand=False, **given)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("../laptop", r"cannot be called '\.\./laptop'; choose letters, digits, - and _, such as 'my-run'"),
        ("by-hand/../laptop", "cannot be called"),
        ("two words", "cannot be called"),
        ("bench", "but not by-hand or bench or crossplay"),
        ("laptop", "belongs to the profile laptop, and this is the profile smoke; choose another name"),
        ("Laptop", "belongs to the profile laptop"),  # the same folder on many file systems
        ("by-hand/laptop", "belongs to the profile laptop"),
    ],
)
def test_a_name_that_could_write_elsewhere_is_refused(run, said):
    with pytest.raises(ValueError, match=said):
        profiles.load("smoke", run=run)


def test_values_come_from_the_profile_the_model_and_the_game():
    laptop, paper = profiles.load("laptop"), profiles.load("paper")
    assert (laptop.of("sepo_steps", "kuhn"), laptop.of("sepo_steps", "ipd"), paper.sepo_steps) == (
        60,
        20,
        100,
    )
    assert (
        laptop.of("sepo_learning_rate", "kuhn") == 2e-4 and laptop.of("sepo_learning_rate", "ipd") == 1.5e-4
    )
    assert paper.of("kl_beta", "kuhn") == 0.2 and paper.of("kl_beta", "deal") == 0.01
    assert laptop.of("clip", "kuhn") == laptop.clip == 0.2
    assert laptop.of("lora_dropout", "sft") == 0.05
    other = profiles.load("laptop", model="org/name")
    assert (
        other.of("sepo_steps", "ipd") == 20
        and not other.full_finetuning
        and other.of("sepo_learning_rate", "ipd") == 1e-5
    )


def test_what_make_passes_is_understood():
    settings = profiles.load("laptop", model="", seeds="1, 2", games="auction,ipd", steps="5")
    assert (settings.model, settings.seeds, settings.games) == ("nano", (1, 2), ("ipd", "auction"))
    assert (settings.sft_steps, settings.sepo_steps, settings.pretrain_steps) == (5, 5, 1500)
    assert settings.ablation_games == ("ipd",)
    assert settings.study_games == settings.games
    assert profiles.load("study", games="kuhn").study_games == ("kuhn",)
    assert profiles.load(seeds=3).seeds == (3,)
    assert profiles.load("paper", sepo_steps=3).sft_steps is None


def test_the_order_in_which_games_and_seeds_are_given_does_not_matter():
    lists = {"ablation_games": ["kuhn", "ipd"], "sweep_games": ["kuhn", "ipd"]}
    asked = profiles.load("study", games="kuhn,ipd", seeds="13,2", **lists)
    lists = {"ablation_games": ["ipd", "kuhn"], "sweep_games": ["ipd", "kuhn"]}
    assert asked == profiles.load("study", games="ipd,kuhn", seeds="2,13", **lists)
    assert (asked.games, asked.seeds) == (("ipd", "kuhn"), (2, 13))


def test_supervised_fine_tuning_takes_the_games_of_the_profile_whichever_are_asked_for():
    assert profiles.load("laptop", games="ipd").sft_games == profiles.load("laptop").sft_games == GAMES
    assert profiles.load("laptop", games="ipd", sft_games=["split"]).sft_games == ("split",)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "big"}, "There is no profile 'big'; choose from smoke, laptop, smollm2, gpu,"),
        ({"games": "ipd,chess"}, "There is no game 'chess'; choose from ipd, auction, split, deal, kuhn, or"),
        ({"seeds": "1,1"}, "The seed 1 is given twice; name each one once."),
        ({"seeds": ["1", 1]}, "The seed 1 is given twice"),
        ({"games": "kuhn,ipd,kuhn"}, "The game kuhn is given twice"),
        ({"games": ","}, "At least one of the games is needed."),
        (
            {"model": "runs/nope"},
            "There is no model 'runs/nope'; choose nano, smollm2, an existing folder, or",
        ),
        ({"model": "gpt"}, "There is no model 'gpt'; choose nano, smollm2, an existing folder, or a hub id"),
        ({"seeds": "1,x"}, "A seed must be a whole number, at least 0 and at most 4294967295, not 'x'."),
        (
            {"seeds": 2**32},
            "A seed must be a whole number, at least 0 and at most 4294967295, not '4294967296'.",
        ),
        ({"seeds": "9" * 5000}, "A seed must be a whole number, at least 0 and at most 4294967295, not '999"),
        (
            {"estimator_groups": -3},
            "The number of groups must be a whole number, at least 16 and at most 1000000000, not '-3'.",
        ),
        (
            {"steps": "0"},
            "The number of steps must be a whole number, at least 1 and at most 1000000000, not '0'.",
        ),
        (
            {"arm": "none"},
            "There is no arm 'none'; choose from reward_only, constant, per_rollout, credited.",
        ),
        ({"kl_beta": {"khun": 1.0}}, "There is no key of kl_beta 'khun'; choose from others, ipd, auction,"),
        ({"train_weights": {"chess": {}}}, "There is no game of train_weights called 'chess'; choose"),
        ({"train_weights": {"ipd": {"le": 1}}}, "There is no weight of J 'le'; choose from exploit, coll"),
        ({"train_weights": {"ipd": 2.0}}, "The train_weights of ipd must be weights by name, not '2.0'."),
        ({"evaluation_weights": None}, "The evaluation_weights must map games to weights by name"),
        ({"switches": ["none"]}, "There is no switch 'none'; choose from credit, horizon"),
        (
            {"evaluation_weights": {"ipd": {"exploit": -1}}},
            "The weight exploit of ipd must be a number of at least 0",
        ),
        ({"learning_rate": 1}, "There is no hyperparameter 'learning_rate'; choose from model, games, seeds"),
    ],
)
def test_errors_are_one_sentence_with_the_choices(arguments, sentence):
    with pytest.raises(ValueError) as caught:
        profiles.load(**arguments)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"by_profiles": {}}, "There is no entry of clip in profiles.yaml called 'by_profiles'; choose from"),
        (
            {"by_profile": {"smok": 1}},
            "There is no profile for by_profile of clip called 'smok'; choose",
        ),
    ],
)
def test_a_misspelt_entry_of_the_file_is_refused(block, sentence, monkeypatch):
    content = {"profiles": {"smoke": {}}, "hyperparameters": {"clip": {"default": 0.2, **block}}}
    monkeypatch.setattr("yaml.safe_load", lambda text: content)
    with pytest.raises(ValueError, match=sentence):
        document.__wrapped__()


def test_unknown_names_on_settings_raise():
    with pytest.raises(AttributeError, match="no attribute 'sepo_step'"):
        _ = profiles.load().sepo_step
    with pytest.raises(ValueError, match="no key of lora_dropout 'kuhn'; choose from sft, sepo"):
        profiles.load().of("lora_dropout", "kuhn")


def test_settings_cannot_be_changed():
    settings = profiles.load()
    with pytest.raises(AttributeError):
        settings.clip = 0.3
    with pytest.raises(TypeError):
        settings.kl_beta["kuhn"] = 1.0


def test_a_game_gives_its_weights_and_a_profile_replaces_some():
    settings = profiles.load(train_weights={"kuhn": {"exploit": 2.0}})
    assert settings.train_weights["kuhn"] == {"exploit": 2.0, "collusion": 2.4, "externality": 0.0}
    for game in games.GAMES.values():
        assert settings.evaluation_weights[game.name] == vars(game.evaluation_weights)
        assert game.name == "kuhn" or settings.train_weights[game.name] == vars(game.train_weights)
    assert settings.changed_weights("kuhn") == {"train": settings.train_weights["kuhn"]}
    assert settings.changed_weights("ipd") == profiles.load().changed_weights("kuhn") == {}
    assert json.loads(json.dumps(settings.as_dict()))["train_weights"]["kuhn"]["exploit"] == 2.0
    changed = games.get("kuhn", settings.changed_weights("kuhn"))
    assert (changed.train_weights.exploit, games.get("kuhn").train_weights.exploit) == (2.0, 1.5)
    with pytest.raises(ValueError, match="J has no weight 'le'; choose from exploit"):
        games.get("kuhn", {"train": {"le": 1.0}})


def test_a_folder_is_a_model(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match=r"^The folder 'mine' holds no model: .*adapter_config.json; pass"):
        profiles.load(model="mine")
    (tmp_path / "mine" / "config.json").touch()
    (tmp_path / "job" / "model").mkdir(parents=True)
    (tmp_path / "job" / "model" / "adapter_config.json").touch()
    for same in ("job", "job/", "./job", "mine/../job"):  # by_model would take them for other models
        found = profiles.load(model=same)
        assert (found.model, found.run) == ("job", "by-hand/laptop-job")
    assert paths.model("mine") == tmp_path / "mine" and paths.model("yours") is None


def test_the_table_has_a_row_per_hyperparameter():
    table = profiles.table().set_index("hyperparameter")
    assert list(table.index) == list(profiles.hyperparameters())
    assert table.loc["rollouts_per_opponent", "laptop"] == "8; kuhn 48"
    assert table.loc["sft_steps", "paper"] == "-"


@pytest.mark.parametrize("name", ["claims", "episodes"])
def test_tables_are_written_in_one_step_and_read_back(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    frame = pd.DataFrame({"claim": ["C1", "C2"], "measured": [0.5, 1.5]})
    path = paths.write_table(frame, "smoke", name)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    pd.testing.assert_frame_equal(paths.read_table("smoke", name, ["claim"]), frame)
    with pytest.raises(ValueError, match="has no column 'verdict'; it has claim, measured"):
        paths.read_table("smoke", name, ["verdict"])


def test_a_long_table_has_its_rows_by_game_and_is_small(tmp_path, monkeypatch):
    """A row group holds one game, so its columns need few bits for each value."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    frame = pd.DataFrame({"game": ["b", "a"] * 5000, "rollout": range(10000)})
    frame = frame.assign(payoff=frame["game"].map({"a": 1.0, "b": None}))
    path = paths.write_table(frame, "smoke", "episodes")
    found = paths.read_table("smoke", "episodes")
    pd.testing.assert_frame_equal(found, pd.concat([frame[::2], frame[1::2]], ignore_index=True))
    assert path.stat().st_size < 6000 < io.BytesIO(frame.to_parquet(index=False)).getbuffer().nbytes


@pytest.mark.parametrize("name", ["claims", "episodes"])
@pytest.mark.parametrize(
    ("columns", "what"),
    [([" "], "a blank name"), (["a", ""], "a blank name"), (["a", "a"], "'a' twice"), ([], "no columns")],
)
def test_a_table_that_cannot_be_read_back_is_not_written(columns, what, name, tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    with pytest.raises(ValueError, match=rf"^The table data/results/smoke/{name}\..* {what}.*; give"):
        paths.write_table(pd.DataFrame(columns=columns), "smoke", name)
    assert not paths.table("smoke", name).exists()


def test_every_text_in_a_table_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    frame = pd.DataFrame({"a\rb": ["x\ry", "\r\n", 'say "1,2"\n', " z"], "n": [1, 2, 3, 4]})
    written = paths.write_table(frame, "smoke", "claims")
    pd.testing.assert_frame_equal(paths.read_table("smoke", "claims"), frame)
    plain = frame.drop(columns="a\rb")
    assert paths.write_csv(plain, written).read_bytes() == b"n\n1\n2\n3\n4\n"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = paths.replace_text(tmp_path / "a.txt", "old")

    def fail(temporary):
        temporary.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        paths.replace(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_next_write_removes_what_a_killed_one_has_left(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / f".a.txt.{ended.pid}").touch()  # of a process that was killed
    others = {tmp_path / f".a.txt.{os.getppid()}", tmp_path / ".a.txt.old", tmp_path / f".b.txt.{ended.pid}"}
    for other in others:
        other.touch()
    written = paths.replace_text(tmp_path / "a.txt", "new")
    assert set(tmp_path.iterdir()) == others | {written}


def test_a_notebook_shows_values_beside_what_the_paper_says():
    shown = profiles.load("laptop").table("kl_beta", "clip").data
    assert list(shown.index) == ["kl_beta", "clip"] and shown.loc["clip", "laptop"] == "0.2"
    assert shown.loc["kl_beta", "the paper says"].startswith("0.01")
    with pytest.raises(ValueError, match="There is no hyperparameter 'nothing'"):
        profiles.load("laptop").table("nothing")
    for name in profiles.names():  # the profile `paper` had two columns of one name, which pandas cannot show
        assert "0.2" in profiles.load(name).table("clip").to_html()


@pytest.mark.parametrize("name", profiles.names())
def test_every_evaluation_is_long_enough_for_cross_play(name):
    settings = profiles.load(name)
    for game in settings.games:
        episodes = settings.of("evaluation_episodes", game)
        assert episodes >= 4 and episodes % 2 == 0


def test_all_weights_are_trained_in_a_format_that_can_hold_a_step():
    """bfloat16 keeps three digits, and a step of training changes the fourth."""
    both = {"model": "data/models/nano", "full_finetuning": True}
    assert profiles.sampling(profiles.load("gpu", **both, dtype="auto"))["dtype"] == "float32"
    assert profiles.sampling(profiles.load("gpu", dtype="auto"))["dtype"] == "auto"
    assert profiles.sampling(profiles.load("gpu", dtype="bfloat16"))["dtype"] == "bfloat16"
    with pytest.raises(ValueError, match="bfloat16 rounds most of an update away; set dtype to float32"):
        profiles.load("gpu", **both, dtype="bfloat16")
