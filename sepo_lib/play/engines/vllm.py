"""The engine `vllm`: TRL's vLLM backend in this process."""

from collections.abc import Sequence

from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.generation import vllm_generation
from trl.import_utils import is_vllm_available

from sepo_lib.config import progress
from sepo_lib.play.engines.base import Engine, Sample, check


class VLLMEngine(Engine):
    """Samples with vLLM, with one seed per prompt; vLLM receives the weights of `model` whenever they change.

    vLLM has its own kernels and sampler: its answers differ from those of the other engines, and are only as
    reproducible as vLLM is. Raises ImportError if vLLM is not installed.
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
        """See `Engine.sample`; the seed of a prompt is made from its first uniform."""
        check(prompts, uniforms_BL)
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
                ignore_eos=True,  # otherwise vLLM also stops at the ids in the model's generation_config
                logprobs=0,
                seed=int(uniform * 2**53),
            )
            for uniform in uniforms_BL[:, 0]
        ]
        requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        outputs = self._generation.llm.generate(requests, sampling_params=sampling, use_tqdm=False)
        logps, _ = vllm_generation.extract_logprobs(outputs)
        written = [list(output.outputs[0].token_ids) for output in outputs]
        progress.sampled(sum(map(len, written)))
        return [
            Sample(ids, [p[0] for p in rows], ids[-1] in self.end_ids)
            for ids, rows in zip(written, logps, strict=True)
        ]
