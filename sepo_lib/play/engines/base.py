"""What every engine is: prompts in, sampled tokens and their log-probabilities out.

    prompts       B lists of token ids, of any lengths
    uniforms_BL   random numbers in [0, 1): a row for each prompt, a column for each token of its answer
    samples       B Samples of at most L tokens

Tokens are drawn by inverse transform from the uniforms. An answer therefore depends on its own prompt and
row only, not on the rest of the batch, and two engines give the same answers to the same uniforms. (vLLM
has its own sampler: it takes seeds from the uniforms.)
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, TrainerCallback

from sepo_lib.method.seeds import path
from sepo_lib.play.engines import scoring

#: The types of devices that have no float64: Apple's GPU.
WITHOUT_FLOAT64 = ("mps",)

_BLOCK = 256  # tokens of a block of the vocabulary


@dataclass(frozen=True)
class Sample:
    """One sampled answer.

    `ids` are its token ids, with the end token if the answer reached it. `logps` are their log-probabilities
    (nats) at the sampling temperature. `finished` is False if the answer was cut at the largest length.
    """

    ids: list[int]
    logps: list[float]
    finished: bool


class Engine(ABC):
    """Samples answers from `model` and scores answers, always with the model's current weights."""

    model: PreTrainedModel
    top_p: float = 1.0
    """Below 1, a token is drawn from the most probable ones alone, whose probabilities first add up to this
    share. `Sample.logps` stay those of all tokens."""

    @abstractmethod
    def sample(
        self, prompts: Sequence[Sequence[int]], uniforms_BL: np.ndarray, temperature: float
    ) -> list[Sample]:
        """One answer per prompt, of at most L tokens; temperature 0 is greedy.

        Raises ValueError for an empty prompt, or if there is not one row of uniforms per prompt.
        """

    def weights_changed(self) -> None:  # noqa: B027, most engines have no copy of the weights
        """A trainer has changed the weights of `model`; an engine with a copy must take them again."""

    def release_memory(self) -> None:  # noqa: B027
        """The model is about to be trained; an engine may free memory that it takes again in `sample`."""

    @torch.inference_mode()
    def score(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], temperature: float
    ) -> np.ndarray:
        """Log-probability (nats) of each whole answer after its own prompt, shape (B,)."""
        return scoring.totals(self.model, prompts, answers, temperature or 1.0).cpu().double().numpy()


class WeightsChanged(TrainerCallback):
    """Tells an engine of every change that a trainer makes to the weights of its model."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def on_train_begin(self, args, state, control, **kwargs):
        """A checkpoint may have been loaded."""
        self.engine.weights_changed()

    def on_optimizer_step(self, args, state, control, **kwargs):
        """The optimizer has made a step."""
        self.engine.weights_changed()


def uniforms(seeds_B: Sequence[int], length: int, *names: object) -> np.ndarray:
    """Uniform numbers in [0, 1), shape (B, length): row b belongs to the path `names` below seeds_B[b].

    A row depends on its own seed alone, and a longer row begins with the same numbers. The numbers come from
    a hash of any length (SHAKE128, FIPS 202), several times faster than a generator per decision.
    """
    streams = (hashlib.shake_128(path(seed, *names)).digest(8 * length) for seed in seeds_B)
    words_BL = np.frombuffer(b"".join(streams), dtype="<u8").reshape(len(seeds_B), length)
    return (words_BL >> np.uint64(11)) * 2.0**-53


def check(prompts: Sequence[Sequence[int]], uniforms_BL: np.ndarray) -> None:
    """Raise ValueError as `Engine.sample` does."""
    if len(prompts) != len(uniforms_BL) or any(len(p) == 0 for p in prompts):
        raise ValueError("sample needs one row of uniforms per prompt, and no empty prompt.")


def float64_device(device: torch.device) -> torch.device:
    """The device of tensors in float64 beside others on `device`: the same, or the CPU if that has none."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def pick_tokens(
    logits_RV: torch.Tensor,
    rows_B: torch.Tensor,
    uniform_B: torch.Tensor,
    temperature: float,
    top_p: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token for each of B answers, by inverse transform -> (token_B, logp_B in nats).

    Answer b draws from the distribution of row rows_B[b] of the logits. The cumulative sum is searched first
    over blocks of the vocabulary and then within one block, so that the sums, in float64, are short.
    `uniform_B` and `logp_B` are on the `float64_device` of the logits. See `Engine.top_p` for `top_p`.
    """
    device = logits_RV.device
    logits_RV, rows_B = logits_RV.to(float64_device(device)), rows_B.to(float64_device(device))
    scaled_RV = logits_RV / (temperature or 1.0)
    total_R1 = torch.logsumexp(scaled_RV, dim=-1, keepdim=True)
    if temperature == 0:
        token_B = logits_RV.argmax(dim=-1)[rows_B]
    else:
        p_RV = (scaled_RV - total_R1).exp_()
        if top_p < 1:
            p_RV = _most_probable(p_RV, top_p)
        if short := -p_RV.shape[1] % _BLOCK:  # `pad` copies the tensor even when there is nothing to add
            p_RV = torch.nn.functional.pad(p_RV, (0, short))
        p_RNK = p_RV.view(len(p_RV), -1, _BLOCK)
        mass_RN = p_RNK.sum(dim=-1).double()
        cdf_BN = mass_RN.cumsum(dim=-1)[rows_B]
        threshold_B1 = (uniform_B * cdf_BN[:, -1])[:, None]
        block_B1 = torch.searchsorted(cdf_BN, threshold_B1, right=True).clamp(max=cdf_BN.shape[1] - 1)
        below_B1 = torch.nn.functional.pad(cdf_BN, (1, 0)).gather(1, block_B1)
        share_B1 = (threshold_B1 - below_B1) / mass_RN[rows_B].gather(1, block_B1)
        at_B = rows_B, block_B1[:, 0]
        few = p_RNK.shape[0] * p_RNK.shape[1] < len(rows_B)  # then each block is summed once for all answers
        cdf_BK = p_RNK.double().cumsum(dim=-1)[at_B] if few else p_RNK[at_B].double().cumsum(dim=-1)
        place_B1 = torch.searchsorted(cdf_BK, share_B1 * cdf_BK[:, -1:], right=True).clamp(max=_BLOCK - 1)
        token_B = (block_B1 * _BLOCK + place_B1)[:, 0].clamp(max=logits_RV.shape[1] - 1)
    return token_B.to(device), (scaled_RV[rows_B, token_B] - total_R1[rows_B, 0]).double()


def _most_probable(p_RV: torch.Tensor, share: float) -> torch.Tensor:
    """The probabilities of the most probable tokens that first add up to `share`, 0 for all others."""
    sorted_RV, token_RV = p_RV.sort(dim=-1, descending=True, stable=True)
    before_RV = sorted_RV.double().cumsum(dim=-1) - sorted_RV
    return torch.zeros_like(p_RV).scatter(-1, token_RV, sorted_RV.masked_fill(before_RV >= share, 0.0))


def to_samples(ids_BL, logps_BL, length_B, end_ids: torch.Tensor) -> list[Sample]:
    """Rows of tokens and of log-probabilities as Samples; row b is cut to length_B[b] tokens."""
    last_B = ids_BL.gather(1, length_B[:, None] - 1)[:, 0]
    columns = (ids_BL, logps_BL, length_B, torch.isin(last_B, end_ids))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Sample(ids[:n], logps[:n], finished) for ids, logps, n, finished in rows]
