"""How are answers sampled and scored fast? The one place that trades clarity for speed.

base            the interface `Engine`, and what the engines share
static          the default on a GPU: padded batches in static buffers, CUDA graphs (`static_cache`)
shared_prefix   the default on a CPU: a decode loop that computes nothing twice
generate        `generate` of transformers, for every architecture that it supports
vllm            TRL's vLLM backend, on a GPU with vLLM
probe           whether an engine can serve a model, found by trying it
scoring         log-probabilities of given answers, by the next two or by neither; used by training too
answer_tree     log-probabilities of given answers, read as a tree, on a CPU
padded          log-probabilities of given answers in few large calls, on a GPU
parts           the rows of a training step in parts that fit into the memory
row_loss        what makes the update of GRPO fast: its log-probabilities, and its loss in parts
answer_loss     the loss of supervised fine-tuning, at the answers' tokens only
padding         lines of token ids as one tensor
rows            the batch of a training step: distinct rows, divided among processes, as tensors
prefix_cache    keys and values of the tokens that prompts share, used by shared_prefix and answer_tree
distributed     the work of one call, divided among processes
checkpoints     checkpoints of a training that a kill at any moment cannot spoil
"""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sepo_lib.chat import templates
from sepo_lib.config.errors import InputError
from sepo_lib.play.engines import probe
from sepo_lib.play.engines.base import Engine, Sample, WeightsChanged, uniforms
from sepo_lib.play.engines.generate import GenerateEngine
from sepo_lib.play.engines.prefix_cache import attends_to_everything
from sepo_lib.play.engines.shared_prefix import SharedPrefixEngine
from sepo_lib.play.engines.static import StaticEngine
from sepo_lib.play.engines.static_cache import goes_on

__all__ = [
    "Engine",
    "GenerateEngine",
    "Sample",
    "SharedPrefixEngine",
    "StaticEngine",
    "WeightsChanged",
    "make",
    "uniforms",
]

_NAMES = ("auto", "static", "shared_prefix", "generate", "vllm")
_PROMPTS = 256  # of one call of `generate`: more may not fit the memory


def make(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str = "auto",
    vllm: Mapping[str, Any] | None = None,
    top_p: float = 1.0,
) -> Engine:
    """The engine called `name` for `model`; auto is static on a CUDA GPU and shared_prefix elsewhere.

    If the engine static or shared_prefix cannot serve the model (`probe.fault`), a printed line says why, and
    `generate` replaces it. With `top_p` below 1, auto is shared_prefix. Raises ValueError for an unknown name
    and for one that has no `top_p`, ImportError when vllm is asked for and not installed, and InputError for
    a model that `generate` cannot serve.
    """
    if name not in _NAMES:
        raise ValueError(f"There is no engine '{name}'; choose from {', '.join(_NAMES)}.")
    if top_p < 1:
        if name in ("static", "vllm"):
            raise ValueError(f"The engine {name} has no top_p; choose shared_prefix or generate.")
        engine = make(model, tokenizer, "shared_prefix" if name == "auto" else name)
        engine.top_p = top_p
        return engine
    end_ids = templates.end_ids(model, tokenizer)
    if name == "vllm":
        from sepo_lib.play.engines.vllm import VLLMEngine  # here: no other engine needs it

        return VLLMEngine(model, end_ids, tokenizer, **(vllm or {}))
    if name == "auto":
        name = "static" if model.device.type == "cuda" else "shared_prefix"
    if name != "generate":
        engine, fault = _probed(name, model, tokenizer, end_ids)
        if engine is not None:
            return engine
        print(f"Engine: generate, as {name} cannot serve {type(model).__name__}: {fault}.", flush=True)
    return _generate(model, tokenizer, end_ids)


def _generate(model, tokenizer, end_ids) -> GenerateEngine:
    """The engine `generate`, in batches if the model answers each prompt as it would alone."""
    ways = {
        "": GenerateEngine(model, end_ids, at_once=_PROMPTS),
        "which answers only prompts of equal length together: this model reads padding as text": (
            GenerateEngine(model, end_ids, at_once=_PROMPTS, pads=False)
        ),
        "which answers one prompt at a time: in batches, this model answers otherwise": (
            GenerateEngine(model, end_ids, at_once=1)
        ),
    }
    for said, engine in ways.items():
        if (fault := probe.fault(engine, tokenizer, probe.LAST)) is None:
            if said:
                print(f"Engine: generate, {said}.", flush=True)
            return engine
    raise InputError(
        f"{type(model).__name__} cannot play: `generate` of transformers fails even for single prompts "
        f"({fault}); choose another model."
    )


def _probed(name: str, model, tokenizer, end_ids) -> tuple[Engine | None, str | None]:
    """(the engine static or shared_prefix, None), or (None, why it cannot serve the model)."""
    if name == "shared_prefix":
        if not attends_to_everything(model):
            return None, "not every layer attends to all tokens before and keeps its own keys and values"
        engine = SharedPrefixEngine(model, end_ids)
        fault = probe.fault(engine, tokenizer)
        return (None, fault) if fault else (engine, None)
    static = StaticEngine(model, end_ids, shares=True)  # also the few tokens of the probe
    fault = probe.fault(static, tokenizer)
    if fault is None and goes_on(model, probe.text(tokenizer)):
        static.shares = None
        return static, None
    static.shares = False
    if (alone := probe.fault(static, tokenizer)) is not None:
        return None, fault or alone
    print("Engine: static, which reads every prompt of this model from its beginning on.", flush=True)
    return static, None
