"""What prompts begin with alike, read once: one copy of its keys and values, whatever is behind it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import DynamicCache, PreTrainedModel

_CALL_COST = 200  # tokens that could be read in the time that one more call of the model costs


def attends_to_everything(model: PreTrainedModel) -> bool:
    """Whether every layer attends to all tokens before and keeps keys and values of its own for them.

    Not so in Qwen 3.5 (three layers of four have a recurrent state) and Gemma 4 (sliding windows, layers
    that share keys and values); what is computed behind one copy of a shared prefix needs it to be so.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"]
    shared = getattr(config, "num_kv_shared_layers", 0)
    return set(kinds) == {"full_attention"} and not shared and not getattr(model, "_is_stateful", False)


def _cuts(prompts: Sequence[Sequence[int]]) -> list[tuple[int, np.ndarray]]:
    """Where to cut prompts so that the fewest tokens are read: [(column, group of each prompt up to it)].

    Prompts of one group are equal up to the column. The columns are those at which prefixes part, chosen by
    dynamic programming; each costs one more call of the model, counted as _CALL_COST tokens.
    """
    rows, limit = len(prompts), min(map(len, prompts)) - 1
    tokens_RL = np.array([prompt[:limit] for prompt in prompts], dtype=np.int64).reshape(rows, limit)
    group_R = np.zeros(rows, dtype=np.int64)
    found = []
    for column in range(limit):
        _, finer_R = np.unique((group_R << 32) + tokens_RL[:, column], return_inverse=True)
        if column and finer_R.max() > group_R.max():
            found.append((column, group_R))
        group_R = finer_R
        if group_R.max() + 1 == rows:
            break
    else:
        found.append((limit, group_R))
    best = [(0, 0, [])]  # (tokens read, columns read, cuts) for every last cut
    for column, group_R in found:
        groups = int(group_R.max()) + 1
        costs = [tokens + groups * (column - read) + _CALL_COST for tokens, read, _ in best]
        least = int(np.argmin(costs))
        best.append((costs[least], column, [*best[least][2], (column, group_R)]))
    longest = max(map(len, prompts))
    return min(best, key=lambda way: way[0] + rows * (longest - way[1]))[2]


def bare(model: PreTrainedModel | DistributedDataParallel) -> PreTrainedModel:
    """The model itself, where it is wrapped to be trained in several processes."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def read_shared(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> tuple[DynamicCache, int]:
    """Keys and values of the prompts' first tokens, each distinct prefix read once, and how many tokens.

    At least one token of every prompt is left to read. Keeps the graph where gradients are enabled.
    """
    inner = bare(model)
    cache, read, parent_R = DynamicCache(config=inner.config.get_text_config()), 0, None
    for column, group_R in _cuts(prompts):
        _, first_G = np.unique(group_R, return_index=True)
        if parent_R is not None:
            take_rows(cache, torch.as_tensor(parent_R[first_G], device=inner.device))
        part = torch.tensor([list(prompts[row][read:column]) for row in first_G], device=inner.device)
        cache = model(input_ids=part, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
        read, parent_R = column, group_R
    if read:
        take_rows(cache, torch.as_tensor(parent_R, device=inner.device))
    return cache, read


def take_rows(cache: DynamicCache, rows_R: torch.Tensor) -> None:
    """Rows of a cache of keys and values, some of them more than once.

    The cache's own `batch_select_indices` indexes, whose gradient is added up by several threads in the order
    in which they come; here it is the same at every run.
    """
    for layer in cache.layers:
        layer.keys, layer.values = (kept.index_select(0, rows_R) for kept in (layer.keys, layer.values))
