"""The engine `generate` answers in batches only if the model answers each prompt as it would alone."""

import numpy as np
import pytest
import tiny_architectures
import tiny_models
import torch

from sepo_lib.config.errors import InputError
from sepo_lib.play import engines, models
from sepo_lib.play.engines import GenerateEngine

MINIMAX = tiny_architectures.ARCHITECTURES["minimax"]
BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2}
RWKV = {"attention_hidden_size": 32, "context_length": 1024}
BY_LENGTH = "which answers only prompts of equal length together: this model reads padding as text."
ALONE = "which answers one prompt at a time: in batches, this model answers otherwise."


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_models.tokenizer_of("chatml")


@pytest.fixture
def make(tokenizer, monkeypatch):
    def made(kind, fields):
        monkeypatch.setitem(tiny_architectures.ARCHITECTURES, kind, fields)
        return tiny_architectures.make(kind, tokenizer).to(models.device()).eval()

    return made


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [("minimax", MINIMAX, BY_LENGTH), ("bart", BART, BY_LENGTH), ("rwkv", RWKV, ALONE)],
)
def test_a_model_that_batches_change_gets_the_answers_of_single_prompts(
    kind, fields, said, make, tokenizer, capsys
):
    model = make(kind, fields)
    engine = engines.make(model, tokenizer, "generate")
    assert capsys.readouterr().out == f"Engine: generate, {said}\n"
    rng = np.random.default_rng(1)
    prompts = [rng.integers(40, 1200, size=size).tolist() for size in (30, 9, 30, 17, 9)]
    samples = engine.sample(prompts, rng.random((5, 6)), 0.8)
    for prompt, sample in zip(prompts, samples, strict=True):
        with torch.no_grad():
            ids = torch.tensor([prompt + sample.ids], device=model.device)
            rows = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(rows / 0.8, dim=-1)[range(len(sample.ids)), sample.ids]
        np.testing.assert_allclose(sample.logps, expected.cpu(), atol=2e-4)


def test_prompts_of_equal_length_are_answered_together_in_the_order_given(make, monkeypatch):
    model = make("llama", {})
    rng, sizes = np.random.default_rng(1), []
    prompts = [rng.integers(40, 1200, size=size).tolist() for size in (8, 9, 8, 9, 8)]
    drawn = rng.random((5, 3))
    expected = GenerateEngine(model, [1], at_once=1).sample(prompts, drawn, 1.0)
    whole = model.generate
    monkeypatch.setattr(
        model, "generate", lambda ids, **more: sizes.append(tuple(ids.shape)) or whole(ids, **more)
    )
    found = GenerateEngine(model, [1], at_once=2, pads=False).sample(prompts, drawn, 1.0)
    assert [sample.ids for sample in found] == [sample.ids for sample in expected]
    assert sizes == [(2, 8), (1, 8), (2, 9)]


def test_a_model_that_generate_cannot_serve_is_refused(make, tokenizer, monkeypatch):
    model = make("llama", {})

    def forgets(ids, attention_mask=None, **more):
        return {"input_ids": ids[:, -1:], "use_cache": False}

    monkeypatch.setattr(model, "prepare_inputs_for_generation", forgets)
    with pytest.raises(
        InputError, match=r"^LlamaForCausalLM cannot play: .*\(its log-probabilities differ by .*\); choose"
    ):
        engines.make(model, tokenizer, "generate")


def test_the_probe_reads_more_than_a_sparse_attention_keeps(make, tokenizer):
    """This version of transformers chooses other tokens behind a cache than without one."""
    sparse = {**tiny_architectures.DEEPSEEK, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 16}
    with pytest.raises(InputError, match="DeepseekV32ForCausalLM cannot play"):
        engines.make(make("deepseek_v32", sparse), tokenizer)
