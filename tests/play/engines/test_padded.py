"""Padded lines give the log-probabilities, gradients and distributions of plain forward passes."""

import numpy as np
import pytest
import tiny_models
import torch
from peft import get_peft_model

from sepo_lib.play import models
from sepo_lib.play.engines import answer_tree, padded, scoring
from sepo_lib.pretrained import adapters

TEMPERATURE, WIDTH = 0.8, 9
_rng = np.random.default_rng(0)
START, *ENDS = (_rng.integers(5, 1200, size=size).tolist() for size in (30, 3, 50, 17))
PROMPTS = [tuple(START + ENDS[number]) for number in (0, 1, 0, 2, 1, 0, 0)]
ANSWERS = [tuple(_rng.integers(5, 1200, size=size).tolist()) for size in (4, 6, 1, 3, 9, 2, 5)]
WEIGHTS = torch.as_tensor(_rng.normal(size=(len(PROMPTS), WIDTH)), dtype=torch.float32)


@pytest.fixture(scope="module", params=("nano", *tiny_models.MODELS))
def model(request, tmp_path_factory):
    """nano in full; the paper's architectures with an adapter, whose weights are not zero."""
    if request.param == "nano":
        return models.load("nano")[0].train()
    base, _ = models.load(str(tiny_models.make(request.param, tmp_path_factory.mktemp("model"))))
    adapted = get_peft_model(base, adapters.lora(base, 4, 8, 0.0))
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.1, generator=torch.Generator().manual_seed(1))
    return adapted


def plain(model):
    """Log-probabilities and entropies by one forward pass a row."""
    found = [torch.zeros(WEIGHTS.shape, device=model.device) for _ in range(2)]
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        logits = model(torch.tensor([[*prompt, *answer]], device=model.device)).logits
        all_logps = torch.log_softmax(logits[0, len(prompt) - 1 : -1] / TEMPERATURE, dim=-1)
        found[0][row, : len(answer)] = all_logps[range(len(answer)), list(answer)]
        found[1][row, : len(answer)] = -(all_logps.exp() * all_logps).sum(dim=-1)
    return found


def gradient(model, logps):
    model.zero_grad()
    (logps * WEIGHTS.to(model.device)).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.fixture(scope="module")
def expected(model):
    logps, entropies = plain(model)
    return logps, entropies, gradient(model, logps)


@pytest.mark.parametrize("tokens", [None, 150, 1])  # all at once; in parts; a line at a time
def test_values_and_gradients_are_those_of_plain_forward_passes(model, expected, tokens, monkeypatch):
    monkeypatch.setattr(padded, "_SLICE", 3 * 1300)  # probabilities of three tokens at a time
    found = padded.logps(model, PROMPTS, ANSWERS, WIDTH, TEMPERATURE, entropy=True, tokens=tokens)
    for ours, theirs in zip(found, expected, strict=False):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    size = float(expected[2].abs().max())
    torch.testing.assert_close(gradient(model, found[0]), expected[2], atol=5e-5 * size, rtol=0)


def test_with_activation_checkpointing_they_are_the_same(model, expected):
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    bare.activation_checkpointing_enable()
    try:
        (found,) = padded.logps(model, PROMPTS, ANSWERS, WIDTH, TEMPERATURE)
        size = float(expected[2].abs().max())
        torch.testing.assert_close(gradient(model, found), expected[2], atol=5e-5 * size, rtol=0)
    finally:
        bare.activation_checkpointing_disable()


def test_distributions_behind_beginnings_are_those_of_plain_forward_passes(model):
    prefixes = [answer[:-1] for answer in ANSWERS]
    with torch.no_grad():
        found = padded.following(model, PROMPTS, prefixes, TEMPERATURE)
        for ours, prompt, prefix in zip(found, PROMPTS, prefixes, strict=True):
            logits = model(torch.tensor([[*prompt, *prefix]], device=model.device)).logits[0, -1]
            torch.testing.assert_close(
                ours, torch.log_softmax(logits / TEMPERATURE, dim=-1), atol=1e-5, rtol=1e-5
            )


def test_a_part_holds_lines_of_similar_length_within_its_tokens():
    model = models.load("nano")[0]
    found = padded.parts(model, PROMPTS, ANSWERS, 150)
    assert sorted(row for part in found for row in part.rows) == list(range(len(PROMPTS)))
    own = {row: len(PROMPTS[row]) - 30 for row in range(len(PROMPTS))}  # 30 tokens are read once
    assert [sorted(part.rows) for part in found] == [[0, 2, 3, 5, 6], [1, 4]]
    assert found[0].tokens == 2 * (own[3] + 2) and found[1].tokens == own[1] + 5 + 8
    (whole,) = padded.parts(model, PROMPTS, ANSWERS, np.inf)
    assert sorted(whole.rows) == list(range(len(PROMPTS)))


def test_what_all_prompts_share_is_read_once_and_so_is_a_prompt_of_several_answers():
    model, read = models.load("nano")[0], []
    padded.fits(model)
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    with torch.no_grad():
        padded.logps(model, PROMPTS, ANSWERS, WIDTH, TEMPERATURE, tokens=np.inf)
    hook.remove()
    longest = 50 + 5 + 8  # the rest of a prompt and its two answers, but for their last tokens
    assert read == [(1, 30), (3, longest + -(30 + longest) % 8)]


def test_rounding_of_bfloat16_does_not_count_as_another_result():
    """SmolLM2's logits are off by 0.2 standard deviations on a CPU, and it was read one answer at a time."""
    model = models.load("nano", "bfloat16")[0]
    layer = model.model.layers[0]
    layer.register_forward_hook(lambda *call: call[-1] * (1 + 0.1 * (call[-1].shape[0] > 1)))
    assert padded.takes_masks(model)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_looks_ahead_is_found_out_and_read_as_usual(dtype):
    model = models.load("nano", dtype)[0]
    hook = model.model.layers[0].register_forward_hook(
        lambda *call: call[-1] + call[-1].mean(1, keepdim=True)
    )
    assert not padded.fits(model)
    hook.remove()
    other = models.load("nano")[0]
    other.get_output_embeddings = lambda: None
    assert not padded.fits(other) and padded.fits(models.load("nano")[0])


@pytest.mark.parametrize("way", ["padded", "masked"])
def test_totals_and_following_are_the_same_without_trees(way, monkeypatch):
    model = models.load("nano")[0]
    totals = scoring.totals(model, PROMPTS, ANSWERS, TEMPERATURE)
    after = scoring.following(model, PROMPTS, ANSWERS, TEMPERATURE)
    monkeypatch.setattr(answer_tree, "supports", lambda model: False)
    monkeypatch.setattr(padded, "fits", lambda model: way == "padded")
    torch.testing.assert_close(
        scoring.totals(model, PROMPTS, ANSWERS, TEMPERATURE), totals, atol=1e-4, rtol=0
    )
    torch.testing.assert_close(
        scoring.following(model, PROMPTS, ANSWERS, TEMPERATURE), after, atol=1e-4, rtol=0
    )
