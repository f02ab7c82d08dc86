"""How are answers sampled and scored fast? The one place that trades clarity for speed.

base            the interface `Engine`, and what the engines share
shared_prefix   the default: a decode loop that computes nothing twice
generate        `generate` of transformers, for every architecture that it supports
vllm            TRL's vLLM backend, on a GPU with vLLM
answer_tree     log-probabilities of given answers, read as a tree; used by training too, on a CPU
padded          log-probabilities of given answers in few large calls, on a GPU
parts           the rows of a training step in parts that fit into the memory
row_loss        what makes the update of GRPO fast: its log-probabilities, and its loss in parts
answer_loss     the loss of supervised fine-tuning, at the answers' tokens only
rows            the batch of a training step: distinct rows, divided among processes, as tensors
prefix_cache    keys and values of the tokens that prompts share, used by shared_prefix and answer_tree
distributed     the work of one call, divided among processes
"""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sepo_lib.chat import templates
from sepo_lib.play.engines.base import Engine, Sample, uniforms
from sepo_lib.play.engines.generate import GenerateEngine
from sepo_lib.play.engines.prefix_cache import attends_to_everything
from sepo_lib.play.engines.shared_prefix import SharedPrefixEngine

__all__ = ["Engine", "GenerateEngine", "Sample", "SharedPrefixEngine", "make", "uniforms"]

_PROMPTS = 256  # of one call of `generate`: more may not fit the memory


def make(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "shared_prefix") -> Engine:
    """The engine called `name` (shared_prefix, generate or vllm) for `model`.

    Where a layer does not attend to all tokens before, `generate` replaces `shared_prefix`. Raises ValueError
    for an unknown name, ImportError when vllm is asked for and not installed.
    """
    end_ids = templates.end_ids(model, tokenizer)
    if name == "shared_prefix" and attends_to_everything(model):
        return SharedPrefixEngine(model, end_ids)
    if name in ("shared_prefix", "generate"):
        return GenerateEngine(model, end_ids, at_once=_PROMPTS)
    if name == "vllm":
        from sepo_lib.play.engines.vllm import VLLMEngine  # here: no other engine needs it

        return VLLMEngine(model, end_ids, tokenizer)
    raise ValueError(f"There is no engine '{name}'; choose from shared_prefix, generate, vllm.")
