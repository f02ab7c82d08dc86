"""The engine `shared_prefix`: a decode loop that never computes the same thing twice.

- A prefix that prompts share is read once (`prefix_cache`).
- Equal prompts, and answers that are equal so far, are one row of the batch, called a node.
- The keys and values of a prompt are stored once, however many answers are written after it.

Each node attends to its prompt and to its own tokens, with one softmax over both ("bifurcated attention",
arXiv 2403.08845). The prompts are in S slots of `width` seats, so that attention to them is one matrix
product per slot. For example, six answers to three prompts:

    answer    b =  0  1  2  3  4  5     B = 6 answers
    node_B         0  0  1  2  2  3     N = 4 nodes: (prompt, answer so far), all different
    slot_N         0     0  1     2     S = 3 slots, one prompt each
    seat_N         0     1  2     4     slot x width + rank in the slot, width = 2; seats 3 and 5 are empty

Axes in this file: _N nodes, _S slots, _K key heads, _G query heads of a key head, _L tokens, _D a head's
size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel

from sepo_lib.config import progress
from sepo_lib.play.engines.base import Engine, Sample, check, float64_device, pick_tokens, to_samples
from sepo_lib.play.engines.padding import pad
from sepo_lib.play.engines.prefix_cache import read_shared, take_rows

_ATTENTION = "behind_prompts"  # the name of `attend` in transformers


class SharedPrefixEngine(Engine):
    """See the module. The answers are exact: each is what the model would write alone.

    At most `max_rows` distinct prompts go through the model together (None: 256 on a CPU, 1024 on a GPU).
    Only for decoder-only models that `prefix_cache.attends_to_everything` accepts.
    """

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], max_rows: int | None = None):
        self.model = model
        self.max_rows = max_rows or (256 if model.device.type == "cpu" else 1024)
        self.end_ids = torch.tensor(sorted(end_ids), device=model.device)

    @torch.inference_mode()
    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`."""
        check(prompts, uniforms_BL)
        keys = [tuple(p) for p in prompts]
        distinct = list(dict.fromkeys(keys))
        samples: list[Sample | None] = [None] * len(keys)
        for start in range(0, len(distinct), self.max_rows):
            chunk = distinct[start : start + self.max_rows]
            row_of = {key: row for row, key in enumerate(chunk)}
            members = [b for b, key in enumerate(keys) if key in row_of]
            rows = [row_of[keys[b]] for b in members]
            found = self._sample(chunk, rows, uniforms_BL[members], temperature)
            for b, sample in zip(members, found, strict=True):
                samples[b] = sample
        return samples

    def _sample(self, prompts, rows, uniforms_BL, temperature) -> list[Sample]:
        """The decode loop for distinct prompts; answer b belongs to prompt rows[b]."""
        device = self.model.device
        uniforms = torch.as_tensor(uniforms_BL, dtype=torch.float64, device=float64_device(device))
        logits_NV, cache, mask_RL, position_N1 = self._prefill(prompts)
        written = DynamicCache(config=self.model.config.get_text_config())  # keys and values of the answers
        slots = PromptSlots(cache, mask_RL)
        alive_B = torch.arange(len(rows), device=device)  # the answers that have not ended
        node_B = torch.tensor(rows, device=device)  # the node of each of them
        ids_BL = torch.zeros(uniforms.shape, dtype=torch.long, device=device)
        logps_BL = torch.zeros_like(uniforms)
        length_B = torch.zeros(len(rows), dtype=torch.long, device=device)
        with _attending(self.model):
            for t in range(uniforms.shape[1]):
                # 1. Every answer draws its token; answers that end leave.
                progress.sampled(len(alive_B))
                drawn_B = alive_B.to(uniforms.device)
                uniform_B = uniforms[drawn_B, t]
                token_B, logp_B = pick_tokens(logits_NV, node_B, uniform_B, temperature, self.top_p)
                ids_BL[alive_B, t], logps_BL[drawn_B, t] = token_B, logp_B
                length_B[alive_B] = t + 1
                going = ~torch.isin(token_B, self.end_ids)
                alive_B, node_B, token_B = alive_B[going], node_B[going], token_B[going]
                if not len(alive_B) or t + 1 == uniforms.shape[1]:
                    break
                # 2. Each distinct (node, token) is a node of the next step.
                pairs, node_B = torch.unique(node_B * logits_NV.shape[1] + token_B, return_inverse=True)
                parent_N, token_N = pairs // logits_NV.shape[1], pairs % logits_NV.shape[1]
                # 3. The nodes take their seats and their parents' keys and values.
                slots.follow(parent_N)
                if t and not torch.equal(parent_N, torch.arange(len(logits_NV), device=device)):
                    take_rows(written, parent_N)
                position_N1 = position_N1[parent_N]
                # 4. The model reads one token per node.
                out = self._forward(token_N[:, None], position_N1, written, prompts=slots)
                logits_NV, position_N1 = out.logits[:, 0].float(), position_N1 + 1
        return to_samples(ids_BL, logps_BL, length_B, self.end_ids)

    def _prefill(self, prompts: list[tuple[int, ...]]):
        """Logits after each distinct prompt (R, V), cache, mask (R, L) and next position (R, 1)."""
        device = self.model.device
        cache, shared = read_shared(self.model, prompts)
        ids, mask = pad([prompt[shared:] for prompt in prompts], "left")
        mask = torch.cat([mask.new_ones(len(prompts), shared), mask], dim=1).to(device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = self._forward(ids.to(device), positions[:, shared:], cache, attention_mask=mask)
        return out.logits[:, 0].float(), out.past_key_values, mask, positions[:, -1:] + 1

    def _forward(self, ids_RL, positions_RL, cache, **kwargs):
        """The model's output, with the logits of the last column only."""
        last = torch.tensor([-1], device=ids_RL.device)
        return self.model(
            input_ids=ids_RL,
            position_ids=positions_RL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=last,
            **kwargs,
        )


class PromptSlots:
    """Keys and values of the prompts in S slots, and the slot and seat of every node; see the module.

    A prompt with many more nodes than the others may have several slots.
    """

    def __init__(self, cache: DynamicCache, mask_SL: torch.Tensor):
        self.cache, keys_SKLD = cache, cache.layers[0].keys
        bias_SL = keys_SKLD.new_zeros(mask_SL.shape).masked_fill_(mask_SL == 0, -torch.inf)
        self.bias_SK1L = bias_SL[:, None, None].repeat(1, keys_SKLD.shape[1], 1, 1)
        self.slot_N = self.seat_N = torch.arange(len(mask_SL), device=mask_SL.device)
        self.width = 1

    def follow(self, parent_N: torch.Tensor) -> None:
        """Seat the nodes of the next step; `parent_N` is the node that each comes from, in ascending order.

        If it halves the number of seats, crowded slots are copied and empty ones dropped.
        """
        slot_N, slots = self.slot_N[parent_N], len(self.bias_SK1L)
        counts = torch.bincount(slot_N, minlength=slots).tolist()
        self.width = max(counts)
        even = -(-len(slot_N) // (slots - counts.count(0)))
        copies = [-(-count // even) for count in counts]
        if slots * self.width > 2 * sum(copies) * even:
            self.width, copies_S = even, torch.tensor(copies, device=slot_N.device)
            source_S = torch.repeat_interleave(copies_S)
            take_rows(self.cache, source_S)
            self.bias_SK1L = self.bias_SK1L.index_select(0, source_S)
            slot_N = (copies_S.cumsum(0) - copies_S)[slot_N] + _rank(slot_N) // even
        self.slot_N, self.seat_N = slot_N, slot_N * self.width + _rank(slot_N)

    def scores(self, layer: int, query_NKGD: torch.Tensor) -> torch.Tensor:
        """Products of the nodes' queries with their prompts' keys, masked: (N, K, G, L)."""
        keys_SKDL = self.cache.layers[layer].keys.transpose(2, 3)
        seated = self._seated(query_NKGD)
        scores = torch.baddbmm(self.bias_SK1L.flatten(0, 1), seated.flatten(0, 1), keys_SKDL.flatten(0, 1))
        return self._nodes(scores.view(*seated.shape[:3], -1))

    def mixed(self, layer: int, weight_NKGL: torch.Tensor) -> torch.Tensor:
        """Weighted sums of the prompts' values: (N, K, G, D)."""
        return self._nodes(self._seated(weight_NKGL) @ self.cache.layers[layer].values)

    def _seated(self, x_NKGX: torch.Tensor) -> torch.Tensor:
        """From nodes to seats: (N, K, G, X) -> (S, K, width x G, X), with zeros in empty seats."""
        slots = len(self.bias_SK1L)
        if len(self.seat_N) < slots * self.width:
            empty = x_NKGX.new_zeros(slots * self.width, *x_NKGX.shape[1:])
            x_NKGX = empty.index_copy_(0, self.seat_N, x_NKGX)
        if self.width == 1:
            return x_NKGX
        return x_NKGX.unflatten(0, (slots, self.width)).transpose(1, 2).flatten(2, 3)

    def _nodes(self, x_SKWX: torch.Tensor) -> torch.Tensor:
        """From seats to nodes, the inverse of `_seated`: (S, K, width x G, X) -> (N, K, G, X)."""
        x_NKGX = x_SKWX
        if self.width > 1:
            x_NKGX = x_SKWX.unflatten(2, (self.width, -1)).transpose(1, 2).flatten(0, 1)
        return x_NKGX if len(self.seat_N) == len(x_NKGX) else x_NKGX.index_select(0, self.seat_N)


def attend(module, query, key, value, attention_mask, scaling, prompts: PromptSlots, **kwargs):
    """Attention of one token per node to its prompt and to its own tokens, with transformers' signature.

    Raises ValueError for a model whose attention needs more than that.
    """
    if more := [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]:
        raise ValueError(
            f"The engine shared_prefix does not support attention with '{more[0]}': set the hyperparameter "
            "`engine` to generate."
        )
    nodes, heads, _, _ = query.shape
    query_NKGD = query.reshape(nodes, key.shape[1], heads // key.shape[1], -1) * scaling
    to_prompt = prompts.scores(module.layer_idx, query_NKGD)
    scores = torch.cat([to_prompt, query_NKGD @ key.transpose(2, 3)], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    prompt, own = weights.split([to_prompt.shape[-1], key.shape[2]], dim=-1)
    mixed = prompts.mixed(module.layer_idx, prompt) + own @ value
    return mixed.reshape(nodes, 1, heads, -1), None


AttentionInterface.register(_ATTENTION, attend)
AttentionMaskInterface.register(_ATTENTION, lambda **kwargs: None)


@contextmanager
def _attending(model: PreTrainedModel) -> Iterator[None]:
    """Makes `attend` the attention of the model."""
    usual = model.config._attn_implementation
    model.set_attn_implementation(_ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def _rank(slot_N: torch.Tensor) -> torch.Tensor:
    """The number of each node within its slot, from 0. The slots must ascend."""
    return torch.arange(len(slot_N), device=slot_N.device) - torch.searchsorted(slot_N, slot_N)
