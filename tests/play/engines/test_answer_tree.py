"""Answer trees give the log-probabilities of plain forward passes and read no token twice."""

import numpy as np
import pytest
import tiny_architectures
import tiny_models
import torch

from sepo_lib.play import models
from sepo_lib.play.engines import answer_tree, scoring

PROMPTS = [(7, 8, 9), (7, 8, 9), (7, 5), (7, 8, 9), (7, 5), (7, 8, 9, 4)]
ANSWERS = [(3, 4, 1), (3, 4, 6, 1), (2, 1), (3, 1), (2, 2, 2, 2, 1), (5,)]


@pytest.fixture(scope="module")
def model():
    return models.load("nano")[0].eval()


def test_answers_that_begin_alike_share_nodes():
    tree = answer_tree.AnswerTree((7, 8, 9))
    assert tree.add((3, 4, 1)) == [1, 2, 3]
    assert tree.add((3, 4, 6, 1)) == [1, 2, 4, 5]
    assert tree.add((3, 1)) == [1, 6]
    assert tree.tokens == [9, 3, 4, 1, 6, 1, 1]
    assert tree.parents == [0, 0, 1, 2, 2, 4, 1]
    assert tree.depths == [0, 1, 2, 3, 3, 4, 2]
    assert tree.read() == [0, 1, 2, 4]  # the last token of an answer is not read


def plain(model, width, temperature):
    """One forward pass a row."""
    logps = torch.zeros(len(PROMPTS), width, device=model.device)
    entropies = torch.zeros_like(logps)
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        logits = model(torch.tensor([[*prompt, *answer]], device=model.device)).logits[
            0, len(prompt) - 1 : -1
        ]
        all_logps = torch.log_softmax(logits / temperature, dim=-1)
        logps[row, : len(answer)] = all_logps[range(len(answer)), answer]
        entropies[row, : len(answer)] = -(all_logps.exp() * all_logps).sum(dim=-1)
    return logps, entropies


@pytest.mark.parametrize("positions", [1024, 6, 1])  # all at once; trees in parts; an answer at a time
def test_values_and_gradients_are_those_of_plain_forward_passes(model, positions, monkeypatch):
    monkeypatch.setattr(answer_tree, "_POSITIONS", positions)
    drawn = np.random.default_rng(0).normal(size=(6, 7))
    weights = torch.as_tensor(drawn, dtype=torch.float32, device=model.device)
    gradients = []
    ours = answer_tree.logps(model, PROMPTS, ANSWERS, 7, 0.8, entropy=True)
    theirs = plain(model, 7, 0.8)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    for logps in (ours[0], theirs[0]):
        model.zero_grad()
        (logps * weights).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    model.zero_grad()
    torch.testing.assert_close(*gradients, atol=1e-4 * float(gradients[1].abs().max()), rtol=0)


def test_nothing_is_read_twice(model):
    read = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    answer_tree.logps(model, [(7, 8, 9)] * 3, [(3, 4, 1), (3, 4, 6, 1), (3, 1)], 4, 1.0)
    hook.remove()
    assert sum(read) == 3 + 3  # the prompt's tokens, and the three nodes that have children


def test_short_prompts_that_begin_alike_share_a_tree_and_long_ones_do_not(model, monkeypatch):
    prompts = [(7, 8, 9, 4), (7, 8, 5, 6), (7, 8, 5, 3), (2, 3)]
    answers = [(3, 4, 1), (3, 4, 1), (2, 1), (3, 1)]

    def reading():
        read = []
        hook = model.register_forward_pre_hook(
            lambda module, args, kwargs: read.append(kwargs["input_ids"].shape), with_kwargs=True
        )
        found = answer_tree.logps(model, prompts, answers, 3, 1.0)[0]
        hook.remove()
        return found, sum(rows for rows, _ in read)

    together, rows = reading()
    monkeypatch.setattr(answer_tree, "_TOGETHER", 1)
    apart, more = reading()
    assert (rows, more) == (2, 4)  # trees: three prompts share one, until only single prompts may have one
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


def test_what_goes_together_stays_within_its_bounds(monkeypatch):
    rng = np.random.default_rng(1)
    trees = []
    for number in range(40):
        tree = answer_tree.AnswerTree((number,))
        for _ in range(rng.integers(1, 8)):
            tree.add(rng.integers(0, 3, size=rng.integers(1, 6)).tolist())
        trees.append(tree)
    monkeypatch.setattr(answer_tree, "_ROWS", 5)
    found = list(answer_tree.batches(trees, most=60))
    assert sorted(n for batch in found for n in batch) == list(range(40))
    assert max(map(len, found)) == 5
    assert all(
        len(batch) * max(len(trees[n].read()) for n in batch) <= 60 or len(batch) == 1 for batch in found
    )
    likes = [max(-(-len(trees[n].read()) // answer_tree._SIMILAR) for n in batch) for batch in found]
    assert likes == sorted(likes) and len(set(likes)) > 2


def test_a_model_that_takes_no_mask_over_pairs_of_tokens_reads_rows(monkeypatch):
    """Falcon with ALiBi makes its positions from a mask over single tokens, as its configuration says."""
    fields = {"alibi": True, "head_dim": None, "multi_query": True, "new_decoder_architecture": False}
    monkeypatch.setitem(tiny_architectures.ARCHITECTURES, "falcon", fields)
    model = tiny_architectures.make("falcon", tiny_models.tokenizer_of("chatml")).eval()
    assert model.config._attn_implementation == "sdpa" and not answer_tree.supports(model)
    prompts, answers = [[9, 8, 7, 6], [9, 8, 5], [9, 8, 5]], [[4], [3, 2, 9], [3, 7]]
    found = scoring.totals(model, prompts, answers, 1.0)
    for prompt, answer, total in zip(prompts, answers, found, strict=True):
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        logp_L = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(answer)[:, None])
        torch.testing.assert_close(total, logp_L.sum(), atol=1e-4, rtol=0)
