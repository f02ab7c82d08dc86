"""Token generation through transformers' own `generate`, which knows every architecture's caches."""

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from .engine import Sample, SharedPrefixEngine, _pick


class _Choose(LogitsProcessor):
    """Picks each token by inverse transform (see `engine`), keeps its log-probability, forbids all others."""

    def __init__(self, prompt_L: int, uniforms_BL: torch.Tensor, temperature: float):
        self.prompt_L, self.uniforms_BL, self.temperature = prompt_L, uniforms_BL, temperature
        self.logps_BL = torch.zeros_like(uniforms_BL)

    def __call__(self, input_ids, scores):
        t = input_ids.shape[1] - self.prompt_L
        rows_B = torch.arange(len(scores), device=scores.device)
        token_B, self.logps_BL[:, t] = _pick(scores.float(), rows_B, self.uniforms_BL[:, t], self.temperature)
        return torch.full_like(scores, -torch.inf).index_put((rows_B, token_B), scores.new_zeros(()))


class GenerateEngine(SharedPrefixEngine):
    """An engine for any model that `generate` runs: recurrent states, sliding windows, shared layers.

    Slower than the engine it is derived from, of which it keeps `score` (a plain forward). `at_once` prompts
    go through the model together, all of them where it is None.
    """

    def __init__(self, model: PreTrainedModel, end_ids, at_once: int | None = None):
        super().__init__(model, end_ids)
        self.at_once = at_once

    @torch.inference_mode()
    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`. Raises ValueError for an empty prompt or a wrong number of uniforms."""
        if len(prompts) != len(uniforms_BL) or any(len(p) == 0 for p in prompts):
            raise ValueError("sample needs one row of uniforms per prompt, and no empty prompt.")
        size = self.at_once or max(1, len(prompts))
        samples = []
        for start in range(0, len(prompts), size):
            part = slice(start, start + size)
            samples += self._generate(prompts[part], np.asarray(uniforms_BL)[part], temperature)
        return samples

    def _generate(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        prompt_L, device = max(map(len, prompts)), self.model.device
        ids = torch.zeros(len(prompts), prompt_L, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, prompt_L - len(prompt) :] = torch.tensor(prompt)
            mask[row, prompt_L - len(prompt) :] = 1
        uniforms = torch.as_tensor(uniforms_BL, dtype=torch.float64, device=device)
        choose = _Choose(prompt_L, uniforms, temperature)
        end = self.end_ids.tolist()
        whole = self.model.generate(
            ids.to(device),
            attention_mask=mask.to(device),
            generation_config=GenerationConfig(
                max_new_tokens=uniforms.shape[1],
                do_sample=False,
                repetition_penalty=1.0,
                eos_token_id=end,
                pad_token_id=end[0],
            ),
            logits_processor=LogitsProcessorList([choose]),
        )
        answers, logps = whole[:, prompt_L:].tolist(), choose.logps_BL.tolist()
        lengths = [next((t + 1 for t, i in enumerate(a) if i in end), len(a)) for a in answers]
        return [Sample(a[:n], p[:n]) for a, p, n in zip(answers, logps, lengths, strict=True)]
