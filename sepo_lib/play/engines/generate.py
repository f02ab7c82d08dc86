"""The engine `generate`: `generate` of transformers on padded batches. It works for every architecture.

ids_BL    [ padding | prompt ] [ answer | padding ]        prompts end, and answers begin, in one column
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from sepo_lib.config import progress
from sepo_lib.play.engines.base import Engine, Sample, check, float64_device, pick_tokens, to_samples
from sepo_lib.play.engines.padding import pad


class GenerateEngine(Engine):
    """Samples with `generate`, at most `at_once` prompts per call (None: all of them).

    With `pads` False, all prompts of a call have the same length: some models read padding as text.
    """

    def __init__(
        self, model: PreTrainedModel, end_ids: Sequence[int], at_once: int | None = None, pads: bool = True
    ):
        self.model, self.end_ids, self.at_once, self.pads = model, sorted(end_ids), at_once, pads

    @torch.inference_mode()
    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`."""
        check(prompts, uniforms_BL)
        found: dict[int, Sample] = {}
        for rows in self._calls(prompts):
            part = self._batch([prompts[row] for row in rows], uniforms_BL[rows], temperature)
            found.update(zip(rows, part, strict=True))
        return [found[row] for row in range(len(prompts))]

    def config(self, length: int, **sampling) -> GenerationConfig:
        """The configuration of `generate` for at most `length` new tokens, with the fields `sampling`."""
        return GenerationConfig(
            max_new_tokens=length,
            eos_token_id=self.end_ids,
            pad_token_id=self.end_ids[0],
            **sampling,
        )

    def _calls(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """The numbers of the prompts of each call of `generate`."""
        together: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompts):
            together.setdefault(0 if self.pads else len(prompt), []).append(row)
        size = self.at_once or max(1, len(prompts))
        for rows in together.values():
            yield from (rows[start : start + size] for start in range(0, len(rows), size))

    def _batch(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        ids, mask = pad(prompts, "left", int(self.end_ids[0]))
        device = self.model.device
        uniforms = torch.as_tensor(uniforms_BL, dtype=torch.float64, device=float64_device(device))
        with _without_defaults(self.model):
            tokens_BL, logps_BL = self._write(ids.to(device), mask.to(device), uniforms, temperature)
        end_ids = torch.tensor(self.end_ids, device=device)
        end_BL = torch.isin(tokens_BL, end_ids)
        length_B = torch.where(end_BL.any(1), end_BL.long().argmax(1) + 1, tokens_BL.shape[1])
        return to_samples(tokens_BL, logps_BL, length_B, end_ids)

    def _write(self, ids_BL, mask_BL, uniforms_BL, temperature):
        """(tokens, log-probabilities) of the answers, each (B, L), with padding after an end token."""
        draws = _Draws(uniforms_BL, temperature, self.top_p)
        written = self.model.generate(
            ids_BL,
            attention_mask=mask_BL,
            generation_config=self.config(uniforms_BL.shape[1], do_sample=False),
            logits_processor=LogitsProcessorList([draws]),
        )
        return written[:, ids_BL.shape[1] :], torch.stack(draws.logps, dim=1)


class _Draws(LogitsProcessor):
    """Leaves only the token that the uniforms pick, so that greedy decoding must choose it."""

    def __init__(self, uniforms_BL: torch.Tensor, temperature: float, top_p: float):
        self.uniforms_BL, self.drawn_with, self.logps = uniforms_BL, (temperature, top_p), []

    def __call__(self, input_ids, scores):
        rows_B = torch.arange(len(scores), device=scores.device)
        uniform_B = self.uniforms_BL[:, len(self.logps)]
        token_B, logp_B = pick_tokens(scores, rows_B, uniform_B, *self.drawn_with)
        self.logps.append(logp_B)
        progress.sampled(len(scores))
        return torch.full_like(scores, -torch.inf).scatter(1, token_B[:, None], 0.0)


@contextmanager
def _without_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Replaces the model's own generation_config by an empty one.

    `generate` takes every field that its caller leaves open, such as no_repeat_ngram_size, from there.
    """
    kept = {m: m.generation_config for m in model.modules() if "generation_config" in vars(m)}
    try:
        for module in kept:  # a PEFT model asks the model that it wraps
            module.generation_config = GenerationConfig()
        yield
    finally:
        for module, usual in kept.items():
            module.generation_config = usual
