"""The whole way of a real model for many architectures: load, LoRA, a step of SEPO, save, load, play.

docs/MODELS.md has their table, which these tests compare with what they see.
"""

import gc

import numpy as np
import pytest
import tiny_architectures
import tiny_models
import torch
from peft import AutoPeftModelForCausalLM
from trainers import configuration

from sepo_lib import games
from sepo_lib.play import models
from sepo_lib.play.policy import load_policy
from sepo_lib.pretrained import adapters
from sepo_lib.training import sepo

LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}


@pytest.fixture(scope="module", autouse=True)
def fast():
    """Hands of one round against one opponent a pool; the garbage collector leaves the libraries alone."""
    with pytest.MonkeyPatch.context() as patch:
        game = games.get("kuhn")
        few = {pool: dict(list(opponents.items())[:1]) for pool, opponents in game.pools["paper"].items()}
        patch.setattr(game, "rounds", 1)
        patch.setattr(game, "pools", {"paper": few})
        gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_models.tokenizer_of("chatml")


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(40, 60, device=model.device)[None]).logits


def check_play(policy, model):
    """Answers, and the log-probabilities of answers, are those that plain calls of `model` give."""
    rules = {"role": "system", "content": "Rules."}
    chats = [[rules, {"role": "user", "content": state}] for state in ("State.", "Another state.", "State.")]
    prompts = [ids for _, ids in policy.encode(chats)]
    samples = policy.engine.sample(prompts, np.random.default_rng(1).random((3, 4)), 0.8)
    scores = policy.engine.score(prompts, [sample.ids for sample in samples], 0.8)
    for prompt, sample, score in zip(prompts, samples, scores, strict=True):
        ids = torch.tensor([prompt + sample.ids], device=model.device)
        with torch.no_grad():
            rows = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        expected = torch.log_softmax(rows / 0.8, dim=-1)[range(len(sample.ids)), sample.ids].cpu()
        np.testing.assert_allclose(sample.logps, expected, atol=2e-4)
        assert score == pytest.approx(float(expected.sum()), abs=1e-3)


@pytest.mark.parametrize("kind", tiny_architectures.ARCHITECTURES)
def test_an_architecture_is_trained_saved_loaded_and_plays(kind, tokenizer, tmp_path):
    tiny_architectures.make(kind, tokenizer).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model, tokenizer, policy = load_policy(str(tmp_path / "base"), "float32", 0.8, 4)
    if models.device().type == "cpu":
        row = tiny_architectures.row(kind, model, policy.engine)
        assert row in tiny_architectures.written()
    before, layers = logits(model), adapters.lora(model, **LORA).target_modules

    config = configuration(game=games.get("kuhn"), steps=1, learning_rate=1e-2, max_new_tokens=4, lora=LORA)
    log = sepo.train(model, tokenizer, policy.engine, tmp_path, config, lambda *a: None, lambda step: None)
    assert np.isfinite(log[0]["loss"]) and log[0]["grad_norm"] > 0
    trained = logits(model)
    assert (trained - before).abs().max() > 1e-4
    reached = [bool(p.any()) for name, p in model.named_parameters() if "lora_B" in name]
    assert len(reached) == len(layers) and all(reached)

    merged, _, again = load_policy(str(tmp_path / "model"), "float32", 0.8, 4)
    assert torch.allclose(logits(merged), trained, atol=1e-4)
    check_play(again, model)
    by_peft_alone = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "model").to(models.device())
    assert torch.allclose(logits(by_peft_alone), trained, atol=1e-4)


def test_the_table_has_a_row_for_every_architecture():
    lines = tiny_architectures.written().splitlines()[3:-1]
    assert [line.split(" | ")[0].strip("| ") for line in lines] == list(tiny_architectures.ARCHITECTURES)
