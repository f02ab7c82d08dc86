"""A training that is killed at any moment, or whose checkpoint is damaged, ends with the same bytes."""

import json
import re
import shutil

import pytest
import torch
from chats import GOOD, chat, pairs
from transformers import TrainerState

from sepo_lib.config.files import sha256
from sepo_lib.play import models
from sepo_lib.play.engines.checkpoints import LIST, Checkpoints
from sepo_lib.training import sft

DATA = pairs([GOOD, *[chat(f"{number} it is") for number in range(7)]])
SIZES = {"epochs": 1, "batch": 2, "learning_rate": 1e-3, "max_length": 512, "seed": 1, "checkpoint_every": 2}
#: 8 examples in batches of 2: the training ends in the middle of the second epoch, or with it.
LONG, LORA = {"steps": 7}, {"epochs": 2, "lora": {"rank": 2, "alpha": 4, "dropout": 0.3}, "micro_batches": 2}
WRITTEN = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "training_args.bin"}


class Killed(BaseException):
    """Ends the training where it is raised, as a kill does."""


def train(folder, sizes, report=lambda step, metrics: None):
    """The log, as text, and the checksums of what is left without the checkpoints."""
    torch.manual_seed(0)
    model, tokenizer = models.load("nano", "float32")
    log = sft.train(model, tokenizer, DATA, folder, sft.SFTSettings(**{**SIZES, **sizes}), report)
    left = [file for file in folder.rglob("*") if file.is_file() and "trainer" not in file.parts]
    return json.dumps(log), {file.relative_to(folder).as_posix(): sha256(file) for file in left}


def killed_at(last):
    def report(step, metrics):
        if step == last:
            raise Killed

    return report


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the training of `LONG` leaves if it is not disturbed."""
    return train(tmp_path_factory.mktemp("whole"), LONG)


@pytest.fixture(scope="module")
def halted(tmp_path_factory):
    """The folder of a training that was killed in step 7, with the checkpoints 4 and 6."""
    folder = tmp_path_factory.mktemp("halted")
    with pytest.raises(Killed):
        train(folder, LONG, killed_at(7))
    assert {path.name for path in (folder / "trainer").iterdir()} > {"checkpoint-4", "checkpoint-6"}
    assert WRITTEN < json.loads((folder / "trainer/checkpoint-6" / LIST).read_bytes()).keys()
    return folder


def test_a_checkpoint_that_was_being_written_does_not_count(whole, tmp_path, monkeypatch, capsys):
    def interrupted(state, path):
        if state.global_step == 4:
            raise Killed  # model and optimizer are there, the state is not
        save(state, path)

    save = TrainerState.save_to_json
    monkeypatch.setattr(TrainerState, "save_to_json", interrupted)
    with pytest.raises(Killed):
        train(tmp_path, LONG)
    monkeypatch.undo()
    steps = []
    assert train(tmp_path, LONG, lambda step, metrics: steps.append(step)) == whole
    assert steps[0] == 3 and "damaged" not in capsys.readouterr().out
    assert train(tmp_path, LONG) == whole  # it had finished: not one step more than it was asked for
    assert [path.name for path in (tmp_path / "trainer").iterdir()] == ["checkpoint-6"]


def test_dropout_and_the_order_of_the_examples_continue_too(tmp_path):
    undisturbed = train(tmp_path / "whole", LORA)
    with pytest.raises(Killed):
        train(tmp_path / "killed", LORA, killed_at(7))
    assert train(tmp_path / "killed", LORA) == undisturbed


def truncate(file):
    file.write_bytes(file.read_bytes()[:-10])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("optimizer.pt", truncate, "optimizer.pt has .* bytes in the place of"),
        ("model.safetensors", flip, "model.safetensors has another content"),
        ("trainer_state.json", lambda file: file.unlink(), "trainer_state.json is missing"),
        (LIST, truncate, f"{LIST} cannot be read"),
        (LIST, lambda file: file.unlink(), f"{LIST} is missing"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    halted, name, damage, reason, tmp_path, capsys
):
    folder = shutil.copytree(halted / "trainer", tmp_path / "trainer")
    damage(folder / "checkpoint-6" / name)
    assert Checkpoints(folder).newest() == str(folder / "checkpoint-4")
    said = capsys.readouterr().out
    assert said.startswith(f"{folder / 'checkpoint-6'} is damaged and skipped: ") and said.count("\n") == 1
    assert re.search(reason, said)


def test_the_training_continues_from_the_checkpoint_before_a_damaged_one_or_from_the_beginning(
    whole, halted, tmp_path
):
    for damaged in (["checkpoint-6"], ["checkpoint-6", "checkpoint-4"]):
        folder = shutil.copytree(halted, tmp_path / str(len(damaged)))
        for name in damaged:
            truncate(folder / "trainer" / name / "optimizer.pt")
        steps = []
        assert train(folder, LONG, lambda step, metrics, seen=steps: seen.append(step)) == whole
        assert steps[0] == {1: 5, 2: 1}[len(damaged)]
