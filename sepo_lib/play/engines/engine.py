"""Token generation: prompts in, sampled ids and log-probabilities out.

An engine samples by inverse transform from uniforms that the caller supplies, one stream per prompt. So a
prompt's answer depends on its own seed alone, and not on what else is in the batch; and two engines give the
same answers to the same uniforms (vLLM, which has a sampler of its own, takes its seeds from them).

    shared_prefix   the default: a decode loop that computes nothing twice
    generate        transformers' `generate`, for any architecture that it knows
    vllm            TRL's vLLM backend, on a GPU where vLLM is installed
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from trl.generation import vllm_generation
from trl.import_utils import is_vllm_available

from sepo_lib.play.engines import answer_tree
from sepo_lib.play.engines.prefix import read_shared, take_rows

_BLOCK = 256  # tokens of a block of the vocabulary
_PROMPTS = 256  # of a call of `generate`: all at once may not fit the memory


@dataclass(frozen=True)
class Sample:
    """One sampled completion: token ids (the end token included where it was reached) and their
    log-probabilities (nats) under the model at the sampling temperature. `finished` says whether the end
    token was reached; a completion that is not finished was cut at the largest number of tokens."""

    ids: list[int]
    logps: list[float]
    finished: bool


class Engine(Protocol):
    """What the rollouts need of a generator. `model` is sampled from with the weights that it has now."""

    model: PreTrainedModel

    def sample(
        self, prompts: Sequence[Sequence[int]], uniforms_BL: np.ndarray, temperature: float
    ) -> list[Sample]:
        """One completion per prompt of at most uniforms_BL.shape[1] tokens, sampled with its own row of
        uniforms; temperature 0 is greedy."""

    def score(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], temperature: float
    ) -> np.ndarray:
        """Log-probability (nats) of each whole answer behind its own prompt, shape (answers,)."""


def _pick(logits_RV: torch.Tensor, rows_B: torch.Tensor, uniform_B: torch.Tensor, temperature: float):
    """One token per decision by inverse transform from its row's distribution -> (token_B, logp_B).

    The block of the vocabulary is found first and then the token in it, so that the cumulative sums, which
    are in float64, are short.
    """
    scaled_RV = logits_RV / (temperature or 1.0)
    total_R1 = torch.logsumexp(scaled_RV, dim=-1, keepdim=True)
    if temperature == 0:
        token_B = logits_RV.argmax(dim=-1)[rows_B]
    else:
        p_RV = (scaled_RV - total_R1).exp_()
        if short := -p_RV.shape[1] % _BLOCK:  # padding copies, even by nothing
            p_RV = torch.nn.functional.pad(p_RV, (0, short))
        p_RNK = p_RV.view(len(p_RV), -1, _BLOCK)
        mass_RN = p_RNK.sum(dim=-1).double()
        cdf_BN = mass_RN.cumsum(dim=-1)[rows_B]
        threshold_B1 = (uniform_B * cdf_BN[:, -1])[:, None]
        block_B1 = torch.searchsorted(cdf_BN, threshold_B1, right=True).clamp(max=cdf_BN.shape[1] - 1)
        below_B1 = torch.nn.functional.pad(cdf_BN, (1, 0)).gather(1, block_B1)
        share_B1 = (threshold_B1 - below_B1) / mass_RN[rows_B].gather(1, block_B1)
        cdf_BK = p_RNK[rows_B, block_B1[:, 0]].double().cumsum(dim=-1)
        place_B1 = torch.searchsorted(cdf_BK, share_B1 * cdf_BK[:, -1:], right=True).clamp(max=_BLOCK - 1)
        token_B = (block_B1 * _BLOCK + place_B1)[:, 0].clamp(max=logits_RV.shape[1] - 1)
    return token_B, (scaled_RV[rows_B, token_B] - total_R1[rows_B, 0]).double()


def _check(prompts: Sequence[Sequence[int]], uniforms_BL: np.ndarray) -> None:
    if len(prompts) != len(uniforms_BL) or any(len(p) == 0 for p in prompts):
        raise ValueError("sample needs one row of uniforms per prompt, and no empty prompt.")


class _Prompts:
    """Keys and values of prompts that answers are written to, held once however many the answers are.

    A node is where answers that are alike so far have come to: it attends to its prompt here and to its own
    tokens in the cache, with one softmax over both ("bifurcated attention", arXiv 2403.08845). Nodes sit in S
    slots of `width` seats each, so that a slot is one matrix product. A slot holds one prompt; a prompt that
    has many more nodes than others fills several.
    """

    def __init__(self, cache: DynamicCache, mask_SL: torch.Tensor):
        self.cache, keys_SKLD = cache, cache.layers[0].keys
        bias_SL = keys_SKLD.new_zeros(mask_SL.shape).masked_fill_(mask_SL == 0, -torch.inf)
        self.bias_SK1L = bias_SL[:, None, None].repeat(1, keys_SKLD.shape[1], 1, 1)
        self.slot_N = self.seat_N = torch.arange(len(mask_SL), device=mask_SL.device)
        self.width = 1

    def follow(self, parent_N: torch.Tensor) -> None:
        """Seat the next nodes, given the node that each comes from, ascending.

        Slots are copied, and those that no node is left in dropped, where that halves the number of seats.
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
        """Products of queries, K times G heads that share keys, and the prompts' keys: (N, K, G, L)."""
        keys_SKDL = self.cache.layers[layer].keys.transpose(2, 3)
        seated = self._seated(query_NKGD)
        scores = torch.baddbmm(self.bias_SK1L.flatten(0, 1), seated.flatten(0, 1), keys_SKDL.flatten(0, 1))
        return self._nodes(scores.view(*seated.shape[:3], -1))

    def mixed(self, layer: int, weight_NKGL: torch.Tensor) -> torch.Tensor:
        """The prompts' values, weighted: (N, K, G, D)."""
        return self._nodes(self._seated(weight_NKGL) @ self.cache.layers[layer].values)

    def _seated(self, x_NKGX: torch.Tensor) -> torch.Tensor:
        """(N, K, G, X) -> (S, K, width x G, X), zeros in the seats that are empty."""
        slots = len(self.bias_SK1L)
        if len(self.seat_N) < slots * self.width:
            empty = x_NKGX.new_zeros(slots * self.width, *x_NKGX.shape[1:])
            x_NKGX = empty.index_copy_(0, self.seat_N, x_NKGX)
        if self.width == 1:
            return x_NKGX
        return x_NKGX.unflatten(0, (slots, self.width)).transpose(1, 2).flatten(2, 3)

    def _nodes(self, x_SKWX: torch.Tensor) -> torch.Tensor:
        """(S, K, width x G, X) -> (N, K, G, X): what `_seated` does, back."""
        x_NKGX = x_SKWX
        if self.width > 1:
            x_NKGX = x_SKWX.unflatten(2, (self.width, -1)).transpose(1, 2).flatten(0, 1)
        return x_NKGX if len(self.seat_N) == len(x_NKGX) else x_NKGX.index_select(0, self.seat_N)


def _rank(slot_N: torch.Tensor) -> torch.Tensor:
    """Which of the nodes of its slot each node is: 0, 1, and so on. The slots ascend."""
    return torch.arange(len(slot_N), device=slot_N.device) - torch.searchsorted(slot_N, slot_N)


def _attend(module, query, key, value, attention_mask, scaling, prompts: _Prompts, **kwargs):
    """Attention of one token per node to its prompt and to the tokens after it, as transformers calls it.

    Raises ValueError for a model whose attention does more than that.
    """
    if more := [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]:
        raise ValueError(
            f"The engine shared_prefix does not know attention with '{more[0]}': set the hyperparameter "
            "`engine` to generate."
        )
    nodes, heads, _, _ = query.shape
    query_NKGD = query.reshape(nodes, key.shape[1], heads // key.shape[1], -1) * scaling
    before = prompts.scores(module.layer_idx, query_NKGD)
    scores = torch.cat([before, query_NKGD @ key.transpose(2, 3)], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    prompt, own = weights.split([before.shape[-1], key.shape[2]], dim=-1)
    mixed = prompts.mixed(module.layer_idx, prompt) + own @ value
    return mixed.reshape(nodes, 1, heads, -1), None


_BEHIND_PROMPTS = "behind_prompts"  # the name of that attention
AttentionInterface.register(_BEHIND_PROMPTS, _attend)
AttentionMaskInterface.register(_BEHIND_PROMPTS, lambda **kwargs: None)


@contextmanager
def _behind_prompts(model: PreTrainedModel) -> Iterator[None]:
    """The model attends as `_attend` says in the body."""
    usual = model.config._attn_implementation
    model.set_attn_implementation(_BEHIND_PROMPTS)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


class _Scorer:
    """What an engine that has a `model` scores with."""

    @torch.inference_mode()
    def score(self, prompts, answers, temperature) -> np.ndarray:
        """See `Engine.score`."""
        return answer_tree.totals(self.model, prompts, answers, temperature or 1.0).double().cpu().numpy()


class SharedPrefixEngine(_Scorer):
    """A decode loop that never computes the same thing twice.

    A prefix that prompts share is read once; prompts that are equal, and answers that are equal so far, are
    one row of the batch, which ends with the last of its answers; and a prompt's keys and values are held
    once, not once per answer. Exact: each answer is what it would be alone. At most `max_rows` distinct
    prompts go together (None: 256 on a CPU, 1024 on a GPU). For decoder-only models whose cache is keys and
    values; others sample with `GenerateEngine` (`models.engine_for`).
    """

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], max_rows: int | None = None):
        self.model = model
        self.max_rows = max_rows or (256 if model.device.type == "cpu" else 1024)
        self.end_ids = torch.tensor(sorted(end_ids), device=model.device)

    def _prefill(self, prompts: list[tuple[int, ...]]):
        """Logits after each distinct prompt (R, V), cache, mask (R, L) and next position (R, 1)."""
        device, rows = self.model.device, len(prompts)
        cache, shared = read_shared(self.model, prompts)
        width = max(map(len, prompts)) - shared
        ids = torch.zeros(rows, width, dtype=torch.long)
        mask = torch.zeros(rows, width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            rest = prompt[shared:]
            ids[row, width - len(rest) :] = torch.tensor(rest)
            mask[row, width - len(rest) :] = 1
        mask = torch.cat([torch.ones(rows, shared, dtype=torch.long), mask], dim=1).to(device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = self._forward(ids.to(device), positions[:, shared:], cache, attention_mask=mask)
        return out.logits[:, 0].float(), out.past_key_values, mask, positions[:, -1:] + 1

    def _forward(self, ids_RL, positions_RL, cache, **kwargs):
        """The model's output, with the logits of the last column."""
        last = torch.tensor([-1], device=ids_RL.device)
        return self.model(
            input_ids=ids_RL,
            position_ids=positions_RL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=last,
            **kwargs,
        )

    @torch.inference_mode()
    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`. Raises ValueError for an empty prompt or a wrong number of uniforms."""
        _check(prompts, uniforms_BL)
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
        logits_NV, cache, mask_RL, position_N1 = self._prefill(prompts)
        written = DynamicCache(config=self.model.config.get_text_config())
        behind = _Prompts(cache, mask_RL)
        alive_B = torch.arange(len(rows), device=device)  # decisions that still write
        node_B = torch.tensor(rows, device=device)  # the node that each of them has come to
        ids_BL = torch.zeros(uniforms.shape, dtype=torch.long, device=device)
        logps_BL = torch.zeros(uniforms.shape, dtype=torch.float64, device=device)
        length_B = torch.zeros(len(rows), dtype=torch.long, device=device)
        with _behind_prompts(self.model):
            for t in range(uniforms.shape[1]):
                token_B, logp_B = _pick(logits_NV, node_B, uniforms[alive_B, t], temperature)
                ids_BL[alive_B, t], logps_BL[alive_B, t] = token_B, logp_B
                length_B[alive_B] = t + 1
                going = ~torch.isin(token_B, self.end_ids)
                alive_B, node_B, token_B = alive_B[going], node_B[going], token_B[going]
                if not len(alive_B) or t + 1 == uniforms.shape[1]:
                    break
                pairs, node_B = torch.unique(node_B * logits_NV.shape[1] + token_B, return_inverse=True)
                parent_N, token_N = pairs // logits_NV.shape[1], pairs % logits_NV.shape[1]
                behind.follow(parent_N)
                if t and not torch.equal(parent_N, torch.arange(len(logits_NV), device=device)):
                    take_rows(written, parent_N)
                position_N1 = position_N1[parent_N]
                out = self._forward(token_N[:, None], position_N1, written, prompts=behind)
                logits_NV, position_N1 = out.logits[:, 0].float(), position_N1 + 1
        return _samples(ids_BL, logps_BL, length_B, self.end_ids)


def _samples(ids_BL, logps_BL, length_B, end_ids: torch.Tensor) -> list[Sample]:
    """Rows of tokens and log-probabilities as samples, each of its own length."""
    last_B = ids_BL.gather(1, length_B[:, None] - 1)[:, 0]
    columns = (ids_BL, logps_BL, length_B, torch.isin(last_B, end_ids))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Sample(ids[:n], logps[:n], finished) for ids, logps, n, finished in rows]


@contextmanager
def _without_defaults(model: PreTrainedModel) -> Iterator[None]:
    """`generate` finds nothing to sample by in the model's own generation_config in the body.

    It fills every field that its caller leaves open from there, such as no_repeat_ngram_size or num_beams.
    """
    kept = {m: m.generation_config for m in model.modules() if "generation_config" in vars(m)}
    try:
        for module in kept:  # a PEFT model asks the model in it
            module.generation_config = GenerationConfig()
        yield
    finally:
        for module, usual in kept.items():
            module.generation_config = usual


class _Draws(LogitsProcessor):
    """Makes `generate` write the tokens that the uniforms pick, whatever its own sampler would do."""

    def __init__(self, uniforms_BL: torch.Tensor, temperature: float):
        self.uniforms_BL, self.temperature, self.logps = uniforms_BL, temperature, []

    def __call__(self, input_ids, scores):
        rows_B = torch.arange(len(scores), device=scores.device)
        uniform_B = self.uniforms_BL[:, len(self.logps)]
        token_B, logp_B = _pick(scores, rows_B, uniform_B, self.temperature)
        self.logps.append(logp_B)
        return torch.full_like(scores, -torch.inf).scatter(1, token_B[:, None], 0.0)


class GenerateEngine(_Scorer):
    """Plain `generate` on padded batches of at most `at_once` prompts (None: all of them; 1: one a call)."""

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], at_once: int | None = None):
        self.model, self.end_ids, self.at_once = model, sorted(end_ids), at_once

    @torch.inference_mode()
    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`. Raises ValueError for an empty prompt or a wrong number of uniforms."""
        _check(prompts, uniforms_BL)
        size = self.at_once or len(prompts)
        return [
            sample
            for start in range(0, len(prompts), size)
            for sample in self._batch(
                prompts[start : start + size], uniforms_BL[start : start + size], temperature
            )
        ]

    def _batch(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        width = max(map(len, prompts))
        ids = torch.tensor([[self.end_ids[0]] * (width - len(p)) + list(p) for p in prompts])
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        device = self.model.device
        uniforms = torch.as_tensor(uniforms_BL, dtype=torch.float64, device=device)
        with _without_defaults(self.model):
            tokens_BL, logps_BL = self._write(ids.to(device), mask.to(device), uniforms, temperature)
        end_ids = torch.tensor(self.end_ids, device=device)
        end_BL = torch.isin(tokens_BL, end_ids)
        length_B = torch.where(end_BL.any(1), end_BL.long().argmax(1) + 1, tokens_BL.shape[1])
        return _samples(tokens_BL, logps_BL, length_B, end_ids)

    def _write(self, ids_BL, mask_BL, uniforms_BL, temperature):
        """(tokens, log-probabilities) after the prompts, each (B, L), padding after an end token included."""
        draws = _Draws(uniforms_BL, temperature)
        written = self.model.generate(
            ids_BL,
            attention_mask=mask_BL,
            generation_config=self.config(uniforms_BL.shape[1], do_sample=False),
            logits_processor=LogitsProcessorList([draws]),
        )
        return written[:, ids_BL.shape[1] :], torch.stack(draws.logps, dim=1)

    def config(self, length: int, **sampling) -> GenerationConfig:
        """How `generate` runs: at most `length` new tokens, with what `sampling` adds."""
        return GenerationConfig(
            max_new_tokens=length,
            eos_token_id=self.end_ids,
            pad_token_id=self.end_ids[0],
            **sampling,
        )


class VLLMEngine(_Scorer):
    """TRL's vLLM backend in this process, seeded per prompt; its weights follow the model's.

    vLLM has kernels and a sampler of its own: its answers are as reproducible as it is, and not those of the
    other engines. Raises ImportError, with what to do, where vLLM is not installed.
    """

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase):
        if not is_vllm_available():
            raise ImportError(
                "The engine vllm needs vLLM and a GPU: install it with `pip install 'trl[vllm]'`, or set the "
                "hyperparameter `engine` to shared_prefix (the default) or generate."
            )
        self.model, self.end_ids, self.tokenizer = model, sorted(end_ids), tokenizer
        self._generation, self._version = None, None

    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`; a prompt's seed is made of its first uniform."""
        _check(prompts, uniforms_BL)
        if self._generation is None or self._generation.model is not self.model:
            self._generation = vllm_generation.VLLMGeneration(self.model, Accelerator(), self.tokenizer)
        version = sum(parameter._version for parameter in self.model.parameters())
        if version != self._version:
            self._generation.sync_weights()
            self._version = version
        sampling = [
            vllm_generation.SamplingParams(
                temperature=temperature,
                max_tokens=uniforms_BL.shape[1],
                stop_token_ids=self.end_ids,
                ignore_eos=True,  # vLLM would also stop at what the model's generation_config lists
                logprobs=0,
                seed=int(uniform * 2**53),
            )
            for uniform in uniforms_BL[:, 0]
        ]
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        outputs = self._generation.llm.generate(asked, sampling_params=sampling, use_tqdm=False)
        logps, _ = vllm_generation.extract_logprobs(outputs)
        written = [list(output.outputs[0].token_ids) for output in outputs]
        return [
            Sample(ids, [p[0] for p in rows], ids[-1] in self.end_ids)
            for ids, rows in zip(written, logps, strict=True)
        ]


def make(
    name: str, model: PreTrainedModel, end_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase
) -> Engine:
    """The engine `name` for `model`. Raises ValueError for a name that there is not."""
    if name == "shared_prefix":
        return SharedPrefixEngine(model, end_ids)
    if name == "generate":
        return GenerateEngine(model, end_ids, at_once=_PROMPTS)
    if name == "vllm":
        return VLLMEngine(model, end_ids, tokenizer)
    raise ValueError(f"There is no engine '{name}'; choose from shared_prefix, generate, vllm.")
