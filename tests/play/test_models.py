"""Loading models, and the tokenizer of nano."""

import re

import pytest
import torch

from sepo_lib import games
from sepo_lib.chat import templates
from sepo_lib.config import cards
from sepo_lib.play import models
from sepo_lib.training import demonstrations


@pytest.fixture(scope="module")
def nano():
    return models.load("nano")


def test_nano_is_what_the_design_says(nano):
    model, tokenizer = nano
    assert model.config.model_type == "qwen3"
    assert 0.8e6 < model.num_parameters() < 1.2e6
    assert not model.training
    assert templates.end_ids(model, tokenizer) == [tokenizer.eos_token_id]


@pytest.mark.parametrize("game", games.GAMES)
def test_the_tokenizer_loses_nothing_and_keeps_what_carries_the_state_apart(nano, game):
    _, tokenizer = nano
    for row in demonstrations.build(game, 20, seed=3):
        for message in row["prompt"] + row["completion"]:
            ids = tokenizer(message["content"])["input_ids"]
            assert tokenizer.decode(ids) == message["content"]
            for piece in map(tokenizer.decode, ids):
                assert piece == "\n" or "\n" not in piece
                assert not re.search(r"\d.*[A-Za-z]|[A-Za-z].*\d", piece), piece


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="pass its folder: MODEL=/path/to/folder"):
        models.load("nobody/no-such-model")


def test_a_missing_nano_names_the_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="00_base_model"):
        models.load("nano")


@pytest.mark.parametrize(("asked", "set_up"), [("", 1), ("cpu", 0)])
def test_a_gpu_is_set_up_when_it_is_chosen(asked, set_up, monkeypatch):
    """The memory limit of jobs that share a GPU, and SEPO_DETERMINISTIC, are set there and only there."""
    calls = []
    monkeypatch.setattr(models.gpu, "set_up", lambda: calls.append(1))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setenv(cards.DEVICE, asked)
    assert models.device().type == (asked or "cuda")
    assert len(calls) == set_up
