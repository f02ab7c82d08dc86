"""LoRA adapters: which layers of a model they adapt, what share of it that is, and their merge.

The paper adapts the attention projections of the language model. `targets` finds them by their place and not
by their names, so that the rule holds for every architecture of transformers: they are the linear layers
inside the token mixers of the decoder layers.
"""

import functools
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from sepo_lib.config.errors import InputError

#: Arguments of `forward` that only a module takes which mixes tokens: a mask, a cache or a recurrent state.
_MIXING = {"attention_mask", "past_key_values", "cache_params", "state"}


class Adapted(NamedTuple):
    """What LoRA adapts in a model.

    `layers` are the adapted linear layers by name, `left` those of the mixers that cannot be adapted, and
    `mixers` the token mixers, all by name.
    """

    layers: dict[str, torch.nn.Module]
    left: dict[str, torch.nn.Module]
    mixers: dict[str, torch.nn.Module]


def targets(model: PreTrainedModel) -> Adapted:
    """Every linear layer inside the token mixers of the language model, which are in each decoder layer the
    modules that take a mask, a cache or a recurrent state: attention, linear attention, state spaces.

    MLPs, experts, embeddings, the output layer and towers for images or sound are no token mixers. Three
    kinds of layers in mixers are left out: those whose weight a kernel reads without calling the layer, so
    that it would bypass an adapter (Mamba); those that receive no gradient (indexers of sparse attention);
    those that share their weight, which several adapters would change (Zamba). Raises InputError if no layer
    is left.
    """
    parts = (model.get_decoder(), model.base_model, *model.children())
    decoder = next(part for part in parts if isinstance(part, PreTrainedModel) and part is not model)
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    found = Adapted({}, {}, dict(_mixers(decoder, prefix)))
    uses = Counter(layer.weight for layer in _linear(found.mixers.values()))
    for name, mixer in found.mixers.items():
        for place, layer in mixer.named_modules(prefix=name):
            if isinstance(layer, torch.nn.Linear | Conv1D):
                free = uses[layer.weight] == 1 and _trains(mixer, place.removeprefix(f"{name}."))
                (found.layers if free else found.left)[place] = layer
    if not found.layers:
        raise InputError(
            f"LoRA finds no linear layer to adapt in the attention of {type(model).__name__}; choose another "
            "model, or train all weights (full_finetuning: true in the profile)."
        )
    return found


def described(model: PreTrainedModel, rank: int) -> str:
    """What LoRA of this rank adapts in `model`, and what share of it that is, in one line."""
    found = targets(model)
    mixers = sorted({type(mixer).__name__ for mixer in found.mixers.values()})
    within = sum(p.numel() for p in _matrices(found.mixers.values()))
    adapted = sum(layer.weight.numel() for layer in found.layers.values())
    trained, all_weights = sum(rank * sum(m.weight.shape) for m in found.layers.values()), model.num_parameters()
    text = (
        f"LoRA adapts {len(found.layers)} linear layers ({_ends(found.layers)}) in {len(found.mixers)} token "
        f"mixers ({', '.join(mixers)}): {_percent(adapted, within)} of the weights of the mixers, "
        f"{_percent(adapted, all_weights)} of the weights of the model. It trains {trained:,} parameters, "
        f"{_percent(trained, all_weights)} of the model's {all_weights:,}."
    )
    return text + (f" Without an adapter: {_ends(found.left)}." if found.left else "")


def merge(model: PeftModel) -> PreTrainedModel:
    """The base model with the adapter merged in: W + B A is computed in float32 and rounded once."""
    dtypes = {}
    for layer in (module for module in model.modules() if isinstance(module, LoraLayer)):
        dtypes[layer.get_base_layer()] = layer.get_base_layer().weight.dtype
        layer.float()
    merged = model.merge_and_unload()
    for layer, dtype in dtypes.items():
        layer.to(dtype)
    return merged


def _mixers(
    module: torch.nn.Module, name: str, in_layer: bool = False
) -> Iterator[tuple[str, torch.nn.Module]]:
    """(name, module) of the outermost token mixers inside the decoder layers below `module`.

    The decoder layers are the members of the lists of modules, and what transformers derives from its class
    of layers. Models inside the model are towers.
    """
    for key, child in module.named_children():
        place = f"{name}.{key}" if name else key
        is_layer = isinstance(child, GradientCheckpointingLayer) or type(child).__name__.endswith("DecoderLayer")
        if isinstance(child, PreTrainedModel):
            continue
        if in_layer and not is_layer and _MIXING & set(inspect.signature(child.forward).parameters):
            yield place, child
        else:
            yield from _mixers(child, place, in_layer or isinstance(module, torch.nn.ModuleList))


def _trains(mixer: torch.nn.Module, place: str) -> bool:
    """Whether an adapter of the linear layer at `place` in a mixer acts and receives a gradient.

    The source of the modules that hold the layer says so: it calls the layer and does not take its weight,
    and its `forward` computes gradients.
    """
    holder = mixer
    for part in place.split("."):
        source = _source(type(holder))
        reads = re.search(rf"self\.{part}\.weight\b(?![.\[])", source)
        if reads or re.search(r"@torch\.no_grad\(\)\s+def forward\(", source):
            return False
        holder = getattr(holder, part)
    return True


@functools.cache
def _source(kind: type) -> str:
    return inspect.getsource(kind)


def _linear(modules: Iterable[torch.nn.Module]) -> set[torch.nn.Module]:
    return {m for module in modules for m in module.modules() if isinstance(m, torch.nn.Linear | Conv1D)}


def _matrices(modules: Iterable[torch.nn.Module]) -> set[torch.nn.Parameter]:
    """The distinct weights of the modules that multiply: not their biases and norms."""
    return {p for module in modules for p in module.parameters() if p.ndim > 1}


def _ends(layers: dict[str, torch.nn.Module]) -> str:
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in layers}))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g}%"
