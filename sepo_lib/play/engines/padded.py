"""Log-probabilities of given answers by few large calls of the model, which is what a GPU is fast at.

A line is a prompt and what follows it, padded on the right. Padding needs no mask, because no token of a
causal model depends on what follows it; this holds for recurrent layers too:

    line     [ prompt | answer | padding ]

Where every layer attends to all tokens before (`prefix_cache.attends_to_everything`), a line holds several
answers to its prompt, which a mask hides from each other, and the beginning that all prompts share is read
once:

    cache    [ what all prompts share ]
    line     [ rest of the prompt | answer | answer | padding ]

Logits are computed only where an answer needs them: a hook on the output layer picks these positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel

from sepo_lib.play.engines.prefix_cache import all_alike, attends_to_everything, bare

#: The largest number of tokens in one call of the model, padding included, unless the caller gives another.
TOKENS = {"cpu": 4096, "other": 16384}
_LOGITS = {"cpu": 2**26, "other": 2**29}  # the largest number of logits of one call
_SLICE = 2**26  # the largest number of logits whose float32 probabilities are in memory together
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}  # of the trial, in standard deviations of the logits
_COARSE = (
    0.3  # the tolerance for formats of fewer bits: rounding alone is 0.2 for SmolLM2 in bfloat16 on a CPU
)

_TOGETHER, _ALONE = "together", "alone"  # lines of several answers behind a shared beginning, or of one
_ways: WeakKeyDictionary[torch.nn.Module, str | None] = WeakKeyDictionary()  # what the trial found


@dataclass(frozen=True)
class Part:
    """Rows (prompt, answer) for one call of the model."""

    rows: list[int]
    """Their numbers."""
    tokens: int
    """What the model reads for them, padding included."""


def fits(model: PreTrainedModel) -> bool:
    """Whether padded lines give this model's log-probabilities, found by one trial for each model."""
    return _way(model) is not None


def takes_masks(model: PreTrainedModel) -> bool:
    """Whether the model takes a mask over pairs of tokens behind a cache, found by the same trial."""
    return _way(model) == _TOGETHER


def logps(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    width: int,
    temperature: float,
    entropy: bool = False,
    tokens: float | None = None,
) -> list[torch.Tensor]:
    """Arguments and result as of `answer_tree.logps`; `tokens` as of `parts`.

    The model must be one that `fits` accepts.
    """
    found, places = [], []
    for part in parts(model, prompts, answers, tokens):
        logits_NV, order = _logits(model, part.rows, prompts, answers, _way(model))
        chosen = np.concatenate([answers[row] for row in order])
        found.append(_scores(logits_NV, _put(chosen, logits_NV.device), temperature, entropy))
        places += [np.arange(len(answers[row])) + row * width for row in order]
    place_N = _put(np.concatenate(places), found[0][0].device)
    return [
        values[0].new_zeros(len(prompts) * width).scatter(0, place_N, torch.cat(values)).view(-1, width)
        for values in zip(*found, strict=True)
    ]


def loss(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of the negative log-probabilities of all answer tokens, number of tokens that were the most
    probable ones) by one call of the model."""
    logits_NV, order = _logits(model, range(len(prompts)), prompts, answers, _way(model))
    token_N = _put(np.concatenate([answers[row] for row in order]), logits_NV.device)
    (logp_N,) = _scores(logits_NV, token_N, 1.0, entropy=False)
    return -logp_N.sum(), (logits_NV.detach().argmax(dim=-1) == token_N).sum()


def following(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]],
    temperature: float,
) -> torch.Tensor:
    """Arguments and result as of `answer_tree.following`."""
    answers = [(*prefix, 0) for prefix in prefixes]  # the last token is not read
    found, order = [], []
    for part in parts(model, prompts, answers):
        logits_NV, rows = _logits(model, part.rows, prompts, answers, _way(model), last=True)
        found.append(torch.log_softmax(logits_NV.float() / temperature, dim=-1))
        order += rows
    return torch.cat(found)[_put(np.argsort(order), found[0].device)]


def parts(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    tokens: float | None = None,
) -> list[Part]:
    """The rows (prompt, answer) in parts for one call of the model each, lines of similar length together.

    A part has at most `tokens` tokens (None: TOKENS), unless it is a single line, and not too many logits.
    Infinity puts all rows into one part. Where `fits` is False, a line is one row, padded.
    """
    inner = bare(model)
    kind = "cpu" if inner.device.type == "cpu" else "other"
    tokens = tokens or TOKENS[kind]
    scored = np.inf if tokens == np.inf else _LOGITS[kind] // inner.config.get_text_config().vocab_size
    way = _way(model)
    lines = _lines(range(len(prompts)), prompts, answers, way)
    shared = _shared(model, prompts, way) if len(lines) > 1 else 0
    sizes = [len(prompts[rows[0]]) - shared + sum(len(answers[row]) - 1 for row in rows) for rows in lines]
    found: list[Part] = []
    logits = 0
    count = 0
    for number in sorted(range(len(lines)), key=lambda number: sizes[number]):
        more = sum(len(answers[row]) for row in lines[number])
        size = (count + 1) * sizes[number]  # the lines before are not longer
        if not found or size > tokens or logits + more > scored:
            found.append(Part([], 0))
            count, logits, size = 0, 0, sizes[number]
        found[-1] = Part(found[-1].rows + lines[number], size)
        count, logits = count + 1, logits + more
    return found


def _lines(rows, prompts, answers, way: str | None) -> list[list[int]]:
    """The rows in lines: one each or, if `way` is _TOGETHER, several with the same prompt.

    The answers of a line have at most as many tokens as its prompt, so that lines are of similar length.
    """
    if way != _TOGETHER:
        return [[row] for row in rows]
    lines: list[list[int]] = []
    newest: dict[tuple[int, ...], tuple[list[int], int]] = {}
    for row in rows:
        prompt, size = tuple(prompts[row]), len(answers[row]) - 1
        line, used = newest.get(prompt, (None, 0))
        if line is None or used + size > len(prompt):
            line, used = [], 0
            lines.append(line)
        line.append(row)
        newest[prompt] = line, used + size
    return lines


def _shared(model, prompts, way: str | None) -> int:
    """`all_alike`; 0 if the model does not read beginnings once: activation checkpointing has no cache."""
    return all_alike(prompts) if way == _TOGETHER and not bare(model).is_activation_checkpointing else 0


def _logits(model, rows, prompts, answers, way, last: bool = False) -> tuple[torch.Tensor, list[int]]:
    """(logits before every token of the answers, or before the last one alone, shape (N, V); rows in the
    order of the result) by one call of the model, and one for what the prompts share."""
    lines, device = _lines(rows, prompts, answers, way), bare(model).device
    shared = _shared(model, [prompts[line[0]] for line in lines], way) if len(lines) > 1 else 0
    sizes = [len(prompts[line[0]]) - shared + sum(len(answers[row]) - 1 for row in line) for line in lines]
    masked, width = bool(shared) or len(lines) < len(rows), max(sizes)
    width += -(shared + width) % 8 if masked else 0  # kernels for masks need multiples of 8
    ids_BL, position_BL, segment_BL = (np.zeros((len(lines), width), dtype=np.int64) for _ in range(3))
    places = []
    for number, line in enumerate(lines):
        prompt = prompts[line[0]]
        begin = end = len(prompt) - shared
        ids_BL[number, :end], position_BL[number, :end] = prompt[shared:], np.arange(shared, len(prompt))
        for segment, row in enumerate(line, 1):
            read = len(answers[row]) - 1
            ids_BL[number, begin : begin + read] = answers[row][:-1]
            position_BL[number, begin : begin + read] = len(prompt) + np.arange(read)
            segment_BL[number, begin : begin + read] = segment
            before = np.r_[end - 1, begin : begin + read] + number * width
            places.append(before[-1:] if last else before)
            begin += read
        segment_BL[number, begin:] = -1
    inputs = {"input_ids": _put(ids_BL, device), "use_cache": False}
    if masked:
        if len(lines) == len(rows):  # all have the same mask
            segment_BL = np.zeros((1, width), dtype=np.int64)
        inputs["position_ids"] = _put(position_BL, device)
        inputs["attention_mask"] = _mask(_put(segment_BL, device), shared, bare(model).dtype)
    if shared:
        inputs |= {
            "past_key_values": _read_shared(model, prompts[rows[0]][:shared], len(lines)),
            "use_cache": True,
        }
    place_N = _put(np.concatenate(places), device)
    hook = bare(model).get_output_embeddings().register_forward_pre_hook(partial(_pick, place_N))
    try:
        return model(**inputs).logits[0], [row for line in lines for row in line]
    finally:
        hook.remove()


def _read_shared(model, beginning: Sequence[int], lines: int) -> DynamicCache:
    """The keys and values of the tokens that all prompts begin with, for so many lines."""
    ids = _put(np.array([beginning]), bare(model).device)
    cache = DynamicCache(config=bare(model).config.get_text_config())
    cache = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
    for layer in cache.layers:
        layer.keys, layer.values = (
            kept.expand(lines, *kept.shape[1:]) for kept in (layer.keys, layer.values)
        )
    return cache


def _pick(place_N: torch.Tensor, head: torch.nn.Module, args: tuple) -> tuple:
    """The hidden states (B, L, H) at the given places of the batch alone, (1, N, H)."""
    return (args[0].flatten(0, 1).index_select(0, place_N)[None], *args[1:])


def _mask(segment_BL: torch.Tensor, shared: int, dtype: torch.dtype) -> torch.Tensor:
    """What is added to the scores of attention, (B, 1, L, shared + L): a token sees what is shared,
    and of what is before it the prompt (segment 0) and its own answer."""
    length = segment_BL.shape[1]
    own = segment_BL[:, :, None] == segment_BL[:, None]
    sees = (own | (segment_BL == 0)[:, None]).tril()
    hidden = torch.nn.functional.pad(~sees, (shared, 0))
    mask = torch.zeros(hidden.shape, dtype=dtype, device=segment_BL.device)
    return mask.masked_fill_(hidden, -torch.inf).view(-1, 1, length, shared + length)


def _scores(logits_NV, token_N, temperature: float, entropy: bool) -> list[torch.Tensor]:
    """[log-probability of each token, entropy of each distribution] in float32, in slices of the rows.

    Only logits are kept for the backward pass, and the probabilities are computed again from them.
    """
    rows = max(1, _SLICE // logits_NV.shape[1])
    slices = zip(logits_NV.split(rows), token_N.split(rows), strict=True)
    found = [
        checkpoint(_score, *one, temperature, entropy, use_reentrant=False, preserve_rng_state=False)
        if logits_NV.requires_grad
        else _score(*one, temperature, entropy)
        for one in slices
    ]
    return [torch.cat(values) for values in zip(*found, strict=True)]


def _score(logits_NV, token_N, temperature: float, entropy: bool) -> list[torch.Tensor]:
    all_logps = torch.log_softmax(logits_NV.float() / temperature, dim=-1)
    found = [all_logps.gather(1, token_N[:, None])[:, 0]]
    if entropy:
        detached = all_logps.detach()
        found.append(-(detached.exp() * detached).sum(dim=-1))
    return found


def _put(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array on the device; the processor does not wait for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _way(model) -> str | None:
    """How the model reads lines; None if it cannot."""
    inner = bare(model)
    if inner not in _ways:
        training = inner.training
        inner.eval()
        masks = attends_to_everything(inner) and inner.config._attn_implementation == "sdpa"
        ways = [_TOGETHER, _ALONE] if masks else [_ALONE]
        _ways[inner] = next((way for way in ways if _agrees(inner, way)), None)
        inner.train(training)
    return _ways[inner]


@torch.no_grad()
def _agrees(model, way: str) -> bool:
    """Whether lines together give what plain calls of the model give for each row alone."""
    vocabulary = model.config.get_text_config().vocab_size
    ids = np.random.default_rng(0).integers(0, vocabulary, size=100).tolist()
    prompts, answers = [ids[:70], ids[:20], ids[:20]], [ids[80:85], ids[85:90], ids[90:100]]
    try:
        logits = [
            model(input_ids=torch.tensor([prompt + answer], device=model.device)).logits[
                0, len(prompt) - 1 : -1
            ]
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        together, order = _logits(model, [0, 1, 2], prompts, answers, way)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # one is NotImplementedError
        return False
    expected = torch.cat([logits[row] for row in order]).float()
    if together.shape != expected.shape:
        return False
    error = (together.float() - expected).abs().max() / expected.std()
    return bool(error <= _TOLERANCE.get(model.dtype, _COARSE))
