"""The shared-prefix cache: where prompts are split, and gradients that are the same in every run."""

import numpy as np
import torch

from sepo_lib.play import models
from sepo_lib.play.engines import prefix_cache


def test_prompts_are_cut_where_the_fewest_tokens_are_read(monkeypatch):
    prompts = [[1, 2, *own, 9, 9, 9, last, 5] for own in ([3, 3], [4, 4], [5, 5]) for last in (6, 7, 8)]
    monkeypatch.setattr(prefix_cache, "_CALL_COST", 1)
    cuts = [(column, len(set(groups.tolist()))) for column, groups in prefix_cache.cuts(prompts)]
    assert cuts == [(2, 1), (7, 3)]  # 1 x 2, then 3 x 5, then 9 x 2 tokens and two calls: 37 of 81
    monkeypatch.setattr(prefix_cache, "_CALL_COST", 30)
    assert [column for column, _ in prefix_cache.cuts(prompts)] == [7]  # 3 x 7 + 30 + 9 x 2
    monkeypatch.setattr(prefix_cache, "_CALL_COST", 1000)
    assert prefix_cache.cuts(prompts) == []
    assert prefix_cache.cuts([[1]]) == prefix_cache.cuts([[1], [2]]) == []


def test_a_shared_beginning_leaves_every_prompt_a_token():
    assert prefix_cache.all_alike([(1, 2, 3), (1, 2, 4, 5), (1, 2, 3, 9)]) == 2
    assert prefix_cache.all_alike([(1, 2), (1, 2, 3)]) == prefix_cache.all_alike([(1, 2)]) == 1
    assert prefix_cache.all_alike([(1,), (2,)]) == 0


def test_the_gradient_through_a_shared_prefix_is_the_same_at_every_run():
    """A run that died must end as if it had not: with indexing in the place of `index_select` the order of
    two threads shows in the last bits, nearly every time."""
    model, _ = models.load("nano", "float32")
    rng = np.random.default_rng(1)
    begin = rng.integers(40, 1200, size=60).tolist()
    prompts = [begin + rng.integers(40, 1200, size=4).tolist() for _ in range(48)]

    def gradient():
        model.zero_grad()
        cache, read = prefix_cache.read_shared(model, prompts)
        assert read == len(begin)
        rest = torch.tensor([prompt[read:] for prompt in prompts], device=model.device)
        model(input_ids=rest, past_key_values=cache, use_cache=True).logits.logsumexp(-1).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradient()
        assert first.norm() > 0
        assert all(torch.equal(first, gradient()) for _ in range(5))
    finally:
        torch.set_num_threads(threads)
