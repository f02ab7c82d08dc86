"""The decode loop against plain `generate`, a full forward, and the model's own distribution."""

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import Qwen3Config, Qwen3ForCausalLM, set_seed

from sepo_lib.engine import SharedPrefixEngine

VOCABULARY, END = 24, 1


@pytest.fixture(scope="module")
def model():
    set_seed(3)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        pad_token_id=0,
        eos_token_id=END,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config).eval()


def prompts_of(count, seed=0):
    """Prompts that share their beginning, of different lengths, some of them equal."""
    rng = np.random.default_rng(seed)
    return [
        [2, 3, 4, *rng.integers(2, VOCABULARY, size=rng.integers(1, 5)).tolist()] for _ in range(count - 1)
    ] + [[2, 3, 4, 5]]


def uniforms(count, length, seed=1):
    return np.random.default_rng(seed).random((count, length))


def test_greedy_answers_equal_generate_token_for_token(model):
    prompts = prompts_of(12)
    samples = SharedPrefixEngine(model, [END]).sample(prompts, uniforms(12, 10), temperature=0)
    for prompt, sample in zip(prompts, samples, strict=True):
        ids = torch.tensor([prompt])
        whole = model.generate(ids, max_new_tokens=10, do_sample=False, attention_mask=torch.ones_like(ids))
        assert sample.ids == whole[0, len(prompt) :].tolist()


@pytest.mark.parametrize("max_rows", [2, 1024])
def test_a_batch_samples_what_each_prompt_samples_alone(model, max_rows):
    engine = SharedPrefixEngine(model, [END], max_rows=max_rows)
    prompts, u = prompts_of(20) * 2, uniforms(40, 8)
    together = engine.sample(prompts, u, temperature=0.8)
    for number, prompt in enumerate(prompts):
        alone = engine.sample([prompt], u[number : number + 1], temperature=0.8)[0]
        assert together[number].ids == alone.ids


def test_log_probabilities_equal_a_full_forward(model):
    prompts = prompts_of(10)
    for prompt, sample in zip(
        prompts, SharedPrefixEngine(model, [END]).sample(prompts, uniforms(10, 8), 0.8), strict=True
    ):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + sample.ids])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / 0.8, dim=-1)[range(len(sample.ids)), sample.ids]
        np.testing.assert_allclose(sample.logps, expected.numpy(), atol=1e-5)


def test_the_sampled_distribution_is_the_model_s(model):
    prompt, count = [2, 3, 4, 5], 6000
    samples = SharedPrefixEngine(model, [END]).sample([prompt] * count, uniforms(count, 1), temperature=1.0)
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].double(), dim=-1).numpy()
    seen = np.bincount([s.ids[0] for s in samples], minlength=VOCABULARY)
    assert stats.chisquare(seen, p * count).pvalue > 1e-3
    wrong = np.roll(p, 1)
    assert stats.chisquare(seen, wrong * count).pvalue < 1e-6  # the test can fail


def test_scores_are_the_log_probabilities_of_the_options(model):
    prompt, options = [2, 3, 4], [[5, END], [6, 7, END], [8, END]]
    scores = SharedPrefixEngine(model, [END]).score(prompt, options, temperature=0.8)
    for option, score in zip(options, scores, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + option])).logits[0, len(prompt) - 1 : -1]
        expected = torch.log_softmax(logits / 0.8, dim=-1)[range(len(option)), option].sum()
        assert score == pytest.approx(float(expected), abs=1e-5)


def test_an_answer_ends_at_the_end_token_and_empty_prompts_are_refused(model):
    engine = SharedPrefixEngine(model, list(range(VOCABULARY)))
    assert [len(s.ids) for s in engine.sample([[2, 3], [4]], uniforms(2, 6), 0.8)] == [1, 1]
    with pytest.raises(ValueError, match="no empty prompt"):
        engine.sample([[]], uniforms(1, 2), 0.8)
