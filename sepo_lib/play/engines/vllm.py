"""The engine `vllm`: TRL's vLLM backend in this process.

vLLM holds a copy of the weights. Before it samples, it takes the present ones if a trainer has reported a
change (`Engine.weights_changed`), or if it holds those of another model. The change is reported because it
cannot be seen: fused optimizers move no counter of torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.generation import vllm_generation
from trl.import_utils import is_vllm_available

from sepo_lib.config import progress
from sepo_lib.config.variables import restored
from sepo_lib.play.engines.base import Engine, Sample, check
from sepo_lib.play.engines.prefix_cache import bare

#: The longest prompt with its answer, in tokens. vLLM must have room for one of them, and the length that a
#: model was trained for can be more than the memory holds.
LONGEST = 4096

#: What TRL sets in the environment for vLLM. Left there, it would start the next trainer as one of several.
_FOR_VLLM = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Generation(vllm_generation.VLLMGeneration):
    """TRL's, except that an adapter is merged into copies of the weights.

    TRL merges it into the weights themselves and takes it out again. In bfloat16 that rounds them at every
    step: after 100 steps they differ by 0.5% in norm, and with them the reference of the KL term.
    """

    def _iter_named_params(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The weights by the names that vLLM knows, one after the other."""
        whole = self.accelerator.distributed_type in (DistributedType.NO, DistributedType.MULTI_GPU)
        if not isinstance(self.model, PeftModel) or not whole:
            yield from super()._iter_named_params()
            return
        adapted = {
            f"{name}.base_layer.weight": module
            for name, module in self.model.named_modules()
            if hasattr(module, "get_delta_weight")
        }
        for name, weight in self.model.named_parameters():
            if self.model.prefix in name:  # a weight of the adapter
                continue
            copy = weight.data
            if name in adapted:
                module = adapted[name]
                change = sum(module.get_delta_weight(adapter) for adapter in module.active_adapters)
                copy = (copy.float() + change).to(copy.dtype)
            yield name.removeprefix("base_model.model.").replace(".base_layer", ""), copy


@dataclass
class _Running:
    """The vLLM of this process. Engines share it, because it keeps its share of the GPU to the end."""

    generation: Generation
    made_for: tuple
    """Architecture, memory and sleep: an engine that differs needs a vLLM of its own."""
    current: bool = False
    """Whether it has the present weights of `generation.model`."""
    asleep: bool = False


_running: list[_Running] = []  # at most one


class VLLMEngine(Engine):
    """Samples with vLLM, with one seed per prompt.

    `memory` is the share of the GPU's memory that vLLM takes; with `sleep` it gives the memory back while the
    model trains. vLLM has its own kernels and sampler: its answers differ from those of the other engines,
    and are only as reproducible as vLLM is. Raises ImportError if vLLM is not installed.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        end_ids: Sequence[int],
        tokenizer: PreTrainedTokenizerBase,
        memory: float = 0.3,
        sleep: bool = False,
    ):
        if not is_vllm_available():
            raise ImportError(
                "The engine vllm needs vLLM and a GPU: install it with `pip install 'trl[vllm]'`, or set the "
                "hyperparameter `engine` to auto (the default) or generate."
            )
        self.model, self.end_ids, self.tokenizer = model, sorted(end_ids), tokenizer
        self.memory, self.sleep = memory, sleep

    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`; the seed of a prompt is made from its first uniform."""
        check(prompts, uniforms_BL)
        llm = self._ready().generation.llm
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
        outputs = llm.generate(requests, sampling_params=sampling, use_tqdm=False)
        logps, _ = vllm_generation.extract_logprobs(outputs)
        written = [list(output.outputs[0].token_ids) for output in outputs]
        progress.sampled(sum(map(len, written)))
        return [
            Sample(ids, [p[0] for p in rows], ids[-1] in self.end_ids)
            for ids, rows in zip(written, logps, strict=True)
        ]

    def weights_changed(self) -> None:
        """See `Engine.weights_changed`: vLLM takes the weights before it samples again."""
        for running in _running:
            running.current = False

    def release_memory(self) -> None:
        """See `Engine.release_memory`: with `sleep`, vLLM drops its weights and its cache."""
        for running in _running:
            if self.sleep and not running.asleep:
                running.generation.llm.sleep(level=2)
                running.asleep, running.current = True, False

    def _ready(self) -> _Running:
        """vLLM, awake and with the present weights."""
        config = bare(self.model).config.get_text_config().to_dict()
        unlike = ("_name_or_path", "dtype", "transformers_version")  # checkpoints of one model differ in them
        architecture = sorted((name, repr(value)) for name, value in config.items() if name not in unlike)
        made_for = (architecture, self.memory, self.sleep)
        if not _running or _running[0].made_for != made_for:
            _running.clear()
            with restored(_FOR_VLLM):
                generation = Generation(
                    self.model,
                    Accelerator(),
                    self.tokenizer,
                    gpu_memory_utilization=self.memory,
                    enable_sleep_mode=self.sleep,
                    max_model_length=min(LONGEST, config.get("max_position_embeddings") or LONGEST),
                )
            _running.append(_Running(generation, made_for, asleep=self.sleep))
        running = _running[0]
        if not running.current or running.generation.model is not self.model:
            running.generation.model = self.model
            running.generation.sync_weights()  # wakes the weights if vLLM sleeps
            running.current = True
        if running.asleep:
            running.generation.llm.wake_up(tags=["kv_cache"])
            running.asleep = False
        return running
