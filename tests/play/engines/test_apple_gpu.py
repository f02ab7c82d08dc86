"""Apple's GPU has no float64: the engines draw on the CPU there, and say what they say on the CPU."""

import no_float64
import pytest
import torch

from sepo_lib.chat import templates
from sepo_lib.config import cards
from sepo_lib.config.errors import InputError
from sepo_lib.play import models
from sepo_lib.play.engines import base
from sepo_lib.play.engines.generate import GenerateEngine
from sepo_lib.play.engines.shared_prefix import SharedPrefixEngine
from sepo_lib.run import needs

PROMPTS = [[1, 5, 9, 12], [1, 5, 7], [1, 5, 9, 12]]


def answers(model, engine, end_ids):
    made = engine(model, end_ids)
    samples = made.sample(PROMPTS, base.uniforms([3, 4, 5], 6, "draws"), 0.8)
    return samples, made.score(PROMPTS, [s.ids for s in samples], 0.8)


@pytest.mark.parametrize("engine", [SharedPrefixEngine, GenerateEngine])
def test_the_engines_need_no_float64_on_the_device(engine, monkeypatch):
    model, tokenizer = models.load("nano")
    end_ids = templates.end_ids(model, tokenizer)
    samples, scores = answers(model, engine, end_ids)
    no_float64.moved(model)
    assert model.device == no_float64.DEVICE
    monkeypatch.setattr(base, "WITHOUT_FLOAT64", [no_float64.DEVICE.type])
    with no_float64.Emulation():
        again, scores_again = answers(model, engine, end_ids)
    assert [one.ids for one in again] == [one.ids for one in samples]
    for one, other in zip(again, samples, strict=True):
        assert one.logps == pytest.approx(other.logps, abs=1e-5)  # weights in another place in memory
    assert scores_again == pytest.approx(scores, abs=1e-4)  # in lines, not in trees


def test_the_stand_in_refuses_what_apples_gpu_refuses():
    with no_float64.Emulation(), pytest.raises(TypeError, match="float64"):
        torch.zeros(3, device=no_float64.DEVICE).double()
    with no_float64.Emulation(), pytest.raises(RuntimeError, match="two devices"):
        torch.zeros(3, device=no_float64.DEVICE) + torch.zeros(3)


def test_the_default_device_is_never_apples_gpu_and_a_variable_chooses(monkeypatch):
    """SEPO_DEVICE=cpu was not looked at on a machine with a GPU, and no other word was refused."""
    gpu = "mps"
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device(gpu))
    monkeypatch.delenv(cards.DEVICE, raising=False)
    assert models.device().type == "cpu"
    monkeypatch.setenv(cards.DEVICE, "mps")
    assert models.device().type == "mps"
    gpu = "cuda"
    monkeypatch.setenv(cards.DEVICE, "cpu")
    monkeypatch.setenv(cards.VISIBLE, "0")
    assert models.device().type == "cpu" and cards.visible() == [] and not needs._has_gpu()
    monkeypatch.delenv(cards.DEVICE)
    assert models.device().type == "cuda" and cards.visible() == ["0"] and needs._has_gpu()
    monkeypatch.setenv(cards.DEVICE, "mps")
    with pytest.raises(InputError, match=r"no device .* called 'mps'; choose from cpu, cuda"):
        models.device()
