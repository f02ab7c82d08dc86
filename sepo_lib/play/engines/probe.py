"""Whether an engine can serve a model, found by trying it: a few answers against plain forward passes."""

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sepo_lib.config.errors import in_one_line
from sepo_lib.play.engines.base import Engine

_LENGTH = 3  # tokens of an answer
_WINDOW = 1024  # the longest window of attention that a prompt of the probe leaves
#: How configurations call the number of tokens that attention sees.
_WINDOWS = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size", "index_topk")
_ULPS = 64  # the largest difference of log-probabilities, in units of the precision of the model's numbers
_LEAST = 2e-4  # or this one, if it is larger
#: The same for `generate`, which nothing replaces: between a cache and a forward pass, state spaces (Zamba 2)
#: differ by up to 6e-4 from rounding alone.
LAST = 1e-3


def fault(engine: Engine, tokenizer: PreTrainedTokenizerBase, least: float = _LEAST) -> str | None:
    """Why `engine` cannot serve its model, or None if it can.

    Five prompts are answered at temperature 1, first the four that begin alike, two of which are equal, then
    all; two that differ have the same length. Every log-probability must be that of a forward pass over the
    whole text, up to `least` or, if that is larger, up to the rounding of the model's numbers.
    """
    model = engine.model
    try:
        prompts = _prompts(model, tokenizer)
        uniforms_BL = np.random.default_rng(0).random((len(prompts), _LENGTH))
        answered = [
            pair
            for part in (prompts[:-1], prompts)
            for pair in zip(part, engine.sample(part, uniforms_BL[: len(part)], 1.0), strict=True)
        ]
        largest = max(_difference(model, *pair) for pair in answered)
    except Exception as error:  # an architecture may fail in any way
        return f"{type(error).__name__}: {in_one_line(error)}"
    allowed = max(least, _ULPS * torch.finfo(model.dtype).eps)
    if largest <= allowed:
        return None
    return f"its log-probabilities differ by {largest:.2g} from those of the model; {allowed:.2g} is allowed"


def text(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of a line of ordinary text."""
    return tokenizer("Play round 1 of the game: cooperate or defect?", add_special_tokens=False)["input_ids"]


def _prompts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The prompts, of tokens of ordinary text; one is longer than the model's windows."""
    ids, config = text(tokenizer), model.config.get_text_config()
    sizes = [size for name in _WINDOWS if isinstance(size := getattr(config, name, None), int)]
    long = (ids * (_WINDOW + 9))[: min(max(sizes, default=0), _WINDOW) + 9]
    return [ids[:4], ids[:7], long, ids[:7], ids[1:5]]


@torch.inference_mode()
def _difference(model: PreTrainedModel, prompt, sample) -> float:
    """The largest difference between the log-probabilities of the sample and those of one forward pass."""
    ids = torch.tensor([[*prompt, *sample.ids]], device=model.device)
    kept = len(sample.ids) + 1
    logits = model(input_ids=ids, use_cache=False).logits[0, -kept:-1].float()
    chosen = torch.log_softmax(logits, dim=-1).gather(1, ids[0, len(prompt) :, None])[:, 0].cpu().double()
    return float((chosen - torch.tensor(sample.logps, dtype=torch.float64)).abs().max())
