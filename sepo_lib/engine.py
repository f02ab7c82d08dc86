"""Token generation: prompts in, sampled ids and log-probabilities out.

An engine samples by inverse transform from uniforms that the caller supplies, one stream per prompt. So a
prompt's answer depends on its own seed alone, and not on what else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class Sample:
    """One sampled completion: token ids (the end token included where it was reached) and their
    log-probabilities (nats) under the model at the sampling temperature."""

    ids: list[int]
    logps: list[float]


class Engine(Protocol):
    """What the rollouts need of a generator."""

    def sample(
        self, prompts: Sequence[Sequence[int]], uniforms_BL: np.ndarray, temperature: float
    ) -> list[Sample]:
        """One completion per prompt of at most uniforms_BL.shape[1] tokens, sampled with its own row of
        uniforms; temperature 0 is greedy."""

    def score(
        self, prompt: Sequence[int], options: Sequence[Sequence[int]], temperature: float
    ) -> np.ndarray:
        """Log-probability (nats) of each option as the continuation of `prompt`, shape (options,)."""


def _pick(logits_RV: torch.Tensor, rows_B: torch.Tensor, uniform_B: torch.Tensor, temperature: float):
    """One token per decision by inverse transform from its row's distribution -> (token_B, logp_B)."""
    if temperature == 0:
        logp_RV = torch.log_softmax(logits_RV.double(), dim=-1)
        token_B = logp_RV.argmax(dim=-1)[rows_B]
    else:
        logp_RV = torch.log_softmax(logits_RV.double() / temperature, dim=-1)
        cdf_RV = logp_RV.exp().cumsum(dim=-1)
        threshold_B = uniform_B * cdf_RV[rows_B, -1]
        token_B = torch.searchsorted(cdf_RV[rows_B], threshold_B[:, None], right=True).squeeze(1)
        token_B = token_B.clamp(max=logits_RV.shape[1] - 1)
    return token_B, logp_RV[rows_B, token_B]


class SharedPrefixEngine:
    """A decode loop that never computes the same thing twice.

    The prefix that all prompts share is read once; prompts that are equal, and answers that are equal so
    far, share one row; a row leaves the batch when its last answer has ended. Exact: each answer is what it
    would be alone. For decoder-only models whose cache is keys and values.
    """

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], max_rows: int = 1024):
        self.model, self.max_rows = model, max_rows
        self.end_ids = torch.tensor(sorted(end_ids), device=model.device)

    def _forward(self, ids_RL, mask_RL, positions_RL, cache, keep: int):
        out = self.model(
            input_ids=ids_RL,
            attention_mask=mask_RL,
            position_ids=positions_RL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return out.logits.float(), out.past_key_values

    def _prefill(self, prompts: list[tuple[int, ...]]):
        """Logits after each distinct prompt (R, V), cache, mask (R, L) and next position (R, 1)."""
        device, rows = self.model.device, len(prompts)
        shortest = min(map(len, prompts))
        shared = 0
        if rows > 1:
            first = prompts[0]
            while shared < shortest - 1 and all(p[shared] == first[shared] for p in prompts):
                shared += 1
        cache = DynamicCache(config=self.model.config)
        if shared:
            prefix = torch.tensor([prompts[0][:shared]], device=device)
            ones = torch.ones_like(prefix)
            _, cache = self._forward(prefix, ones, ones.cumsum(1) - 1, cache, 1)
            cache.batch_repeat_interleave(rows)
        width = max(map(len, prompts)) - shared
        ids = torch.zeros(rows, width, dtype=torch.long)
        mask = torch.zeros(rows, width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            rest = prompt[shared:]
            ids[row, width - len(rest) :] = torch.tensor(rest)
            mask[row, width - len(rest) :] = 1
        mask = torch.cat([torch.ones(rows, shared, dtype=torch.long), mask], dim=1).to(device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits, cache = self._forward(ids.to(device), mask, positions[:, shared:], cache, 1)
        return logits[:, -1], cache, mask, positions[:, -1:] + 1

    @torch.inference_mode()
    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`. Raises ValueError for an empty prompt or a wrong number of uniforms."""
        if len(prompts) != len(uniforms_BL) or any(len(p) == 0 for p in prompts):
            raise ValueError("sample needs one row of uniforms per prompt, and no empty prompt.")
        keys = [tuple(p) for p in prompts]
        distinct = list(dict.fromkeys(keys))
        samples: list[Sample | None] = [None] * len(keys)
        for start in range(0, len(distinct), self.max_rows):
            chunk = distinct[start : start + self.max_rows]
            row_of = {key: row for row, key in enumerate(chunk)}
            members = [b for b, key in enumerate(keys) if key in row_of]
            rows = [row_of[keys[b]] for b in members]
            for b, sample in zip(
                members, self._sample(chunk, rows, uniforms_BL[members], temperature), strict=True
            ):
                samples[b] = sample
        return samples

    def _sample(self, prompts, rows, uniforms_BL, temperature) -> list[Sample]:
        device = self.model.device
        uniforms = torch.as_tensor(uniforms_BL, dtype=torch.float64, device=device)
        logits_RV, cache, mask_RL, position_R1 = self._prefill(prompts)
        alive_B = torch.arange(len(rows), device=device)  # decisions that still write
        rows_B = torch.tensor(rows, device=device)  # the row each of them reads from
        ids_BL = torch.zeros(uniforms.shape, dtype=torch.long, device=device)
        logps_BL = torch.zeros(uniforms.shape, dtype=torch.float64, device=device)
        length_B = torch.zeros(len(rows), dtype=torch.long, device=device)
        for t in range(uniforms.shape[1]):
            token_B, logp_B = _pick(logits_RV, rows_B, uniforms[alive_B, t], temperature)
            ids_BL[alive_B, t], logps_BL[alive_B, t] = token_B, logp_B
            length_B[alive_B] = t + 1
            going = ~torch.isin(token_B, self.end_ids)
            alive_B, rows_B, token_B = alive_B[going], rows_B[going], token_B[going]
            if not len(alive_B) or t + 1 == uniforms.shape[1]:
                break
            pairs, child_B = torch.unique(rows_B * logits_RV.shape[1] + token_B, return_inverse=True)
            parent_R, token_R = pairs // logits_RV.shape[1], pairs % logits_RV.shape[1]
            if len(parent_R) != mask_RL.shape[0] or not torch.equal(
                parent_R, torch.arange(len(parent_R), device=device)
            ):
                cache.batch_select_indices(parent_R)
                mask_RL, position_R1 = mask_RL[parent_R], position_R1[parent_R]
            rows_B = child_B
            mask_RL = torch.cat([mask_RL, mask_RL.new_ones(len(parent_R), 1)], dim=1)
            logits_R1V, cache = self._forward(token_R[:, None], mask_RL, position_R1, cache, 1)
            logits_RV, position_R1 = logits_R1V[:, -1], position_R1 + 1
        ids, logps, lengths = ids_BL.tolist(), logps_BL.tolist(), length_B.tolist()
        return [Sample(i[:n], p[:n]) for i, p, n in zip(ids, logps, lengths, strict=True)]

    @torch.inference_mode()
    def score(self, prompt, options, temperature) -> np.ndarray:
        """See `Engine.score`."""
        width = max(map(len, options))
        ids = torch.zeros(len(options), len(prompt) + width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, option in enumerate(options):
            line = [*prompt, *option]
            ids[row, : len(line)] = torch.tensor(line)
            mask[row, : len(line)] = 1
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        out = self.model(input_ids=ids, attention_mask=mask, logits_to_keep=width + 1)
        logp = torch.log_softmax(out.logits[:, :-1].double() / (temperature or 1.0), dim=-1)
        chosen = logp.gather(2, ids[:, -width:, None]).squeeze(2)
        return (chosen * mask[:, -width:]).sum(dim=1).cpu().numpy()
