"""Whether an engine can serve a model, found by trying it: a few answers against plain forward passes."""

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sepo_lib.config.errors import in_one_line
from sepo_lib.play.engines.base import Engine

_LENGTH = 3  # tokens of an answer
_WINDOW = 1024  # the longest sliding window that a prompt of the probe leaves
_ULPS = 64  # the largest difference of log-probabilities, in units of the precision of the model's numbers
_LEAST = 2e-4  # or this one, if it is larger


def fault(engine: Engine, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why `engine` cannot serve its model, or None if it can.

    Five prompts of several lengths are answered at temperature 1, first the four that begin alike, two of
    which are equal, then all. Every log-probability must be that of a forward pass over the whole text.
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
    allowed = max(_LEAST, _ULPS * torch.finfo(model.dtype).eps)
    if largest <= allowed:
        return None
    return f"its log-probabilities differ by {largest:.2g} from those of the model; {allowed:.2g} is allowed"


def text(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of a line of ordinary text."""
    return tokenizer("Play round 1 of the game: cooperate or defect?", add_special_tokens=False)["input_ids"]


def _prompts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The prompts, of tokens of ordinary text; one is longer than the model's sliding window."""
    ids = text(tokenizer)
    window = getattr(model.config.get_text_config(), "sliding_window", None) or 0
    long = (ids * (_WINDOW + 9))[: min(window, _WINDOW) + 9]
    return [ids[:4], ids[:7], long, ids[:7], ids[1:4]]


@torch.inference_mode()
def _difference(model: PreTrainedModel, prompt, sample) -> float:
    """The largest difference between the log-probabilities of the sample and those of one forward pass."""
    ids = torch.tensor([[*prompt, *sample.ids]], device=model.device)
    kept = len(sample.ids) + 1
    logits = model(input_ids=ids, use_cache=False).logits[0, -kept:-1].float()
    chosen = torch.log_softmax(logits, dim=-1).gather(1, ids[0, len(prompt) :, None])[:, 0].cpu().double()
    return float((chosen - torch.tensor(sample.logps, dtype=torch.float64)).abs().max())
