"""The shared-prefix key-value cache: tokens that prompts have in common at their beginning are read once.

    prompts   a b c d x     -> read a b            (1 row)
              a b c d y        then  c d | e f     (2 rows)
              a b e f z        leaves x, y, z to the caller, with a cache of 3 rows and 4 columns

Each further call of the model has a cost, so `cuts` chooses the columns at which to split.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import DynamicCache, PreTrainedModel

_CALL_COST = 200  # the cost of one more call of the model, in tokens read


def attends_to_everything(model: PreTrainedModel) -> bool:
    """Whether every layer attends to all previous tokens and stores its own keys and values for them.

    A shared prefix can be cached only then. It is False for Qwen 3.5 (three layers of four have a recurrent
    state) and for Gemma 4 (sliding windows, and layers that share keys and values).
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"]
    shared = getattr(config, "num_kv_shared_layers", 0)
    return set(kinds) == {"full_attention"} and not shared and not getattr(model, "_is_stateful", False)


def read_shared(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> tuple[DynamicCache, int]:
    """(cache with one row per prompt, number of tokens read), where each distinct prefix is read once.

    At least one token of every prompt is left to read. Gradients flow through the cache if they are enabled.
    """
    inner = bare(model)
    cache, read, parent_R = DynamicCache(config=inner.config.get_text_config()), 0, None
    for column, group_R in cuts(prompts):
        _, first_G = np.unique(group_R, return_index=True)
        if parent_R is not None:
            take_rows(cache, torch.as_tensor(parent_R[first_G], device=inner.device))
        part = torch.tensor([list(prompts[row][read:column]) for row in first_G], device=inner.device)
        cache = model(input_ids=part, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
        read, parent_R = column, group_R
    if read:
        take_rows(cache, torch.as_tensor(parent_R, device=inner.device))
    return cache, read


def cuts(prompts: Sequence[Sequence[int]]) -> list[tuple[int, np.ndarray]]:
    """The columns at which to split the prompts so that reading costs least, as [(column, group_R)].

    Prompts of equal group_R are equal up to the column. Only columns at which prefixes diverge are
    considered; dynamic programming chooses among them.
    """
    rows, limit = len(prompts), min(map(len, prompts)) - 1
    tokens_RL = np.array([prompt[:limit] for prompt in prompts], dtype=np.int64).reshape(rows, limit)
    group_R = np.zeros(rows, dtype=np.int64)
    candidates = []
    for column in range(limit):
        _, finer_R = np.unique((group_R << 32) + tokens_RL[:, column], return_inverse=True)
        if column and finer_R.max() > group_R.max():
            candidates.append((column, group_R))
        group_R = finer_R
        if group_R.max() + 1 == rows:
            break
    else:
        candidates.append((limit, group_R))
    best = [(0, 0, [])]  # for every last cut: (cost, columns read, cuts)
    for column, group_R in candidates:
        groups = int(group_R.max()) + 1
        costs = [cost + groups * (column - read) + _CALL_COST for cost, read, _ in best]
        least = int(np.argmin(costs))
        best.append((costs[least], column, [*best[least][2], (column, group_R)]))
    longest = max(map(len, prompts))
    return min(best, key=lambda way: way[0] + rows * (longest - way[1]))[2]


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens in which two prompts begin alike."""
    shorter = min(len(one), len(other))
    return next((n for n in range(shorter) if one[n] != other[n]), shorter)


def all_alike(prompts: Sequence[Sequence[int]]) -> int:
    """The number of tokens that all prompts begin with, of which each keeps at least one of its own."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # the two that differ first
    return min(alike(first, last), min(map(len, prompts)) - 1)


def take_rows(cache: DynamicCache, rows_R: torch.Tensor) -> None:
    """Replace the rows of a key-value cache by the rows `rows_R`, which may repeat.

    The cache's own `batch_select_indices` uses indexing. The backward pass of indexing adds up gradients in
    several threads in any order; that of `index_select` gives the same result in every run.
    """
    for layer in cache.layers:
        layer.keys, layer.values = (kept.index_select(0, rows_R) for kept in (layer.keys, layer.values))


def bare(model: PreTrainedModel | DistributedDataParallel) -> PreTrainedModel:
    """The model without the wrapper for training in several processes, if it has one."""
    return model.module if isinstance(model, DistributedDataParallel) else model
