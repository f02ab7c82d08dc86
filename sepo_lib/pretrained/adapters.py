"""LoRA adapters: which layers of a model they adapt, what share of it that is, and their merge.

The paper adapts the attention projections of the language model. `targets` finds them by their place and not
by their names, so that the rule holds for every architecture of transformers: they are the linear layers
inside the token mixers of the decoder layers.
"""

import functools
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
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

    def names(self, left: bool = False) -> list[str]:
        """The last parts of the names of the layers, each once; with `left`, of those that are left out."""
        return sorted({name.rsplit(".", 1)[-1] for name in (self.left if left else self.layers)})

    def share(self) -> float:
        """The share of the mixers' weights that is adapted. Biases and norms do not count."""
        weights = {p for mixer in self.mixers.values() for p in mixer.parameters() if p.ndim > 1}
        return self.size() / sum(p.numel() for p in weights)

    def size(self) -> int:
        """The number of weights of the adapted layers."""
        return sum(layer.weight.numel() for layer in self.layers.values())


def lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float) -> LoraConfig:
    """LoRA on the layers that `targets` finds. Raises errors as it does."""
    layers = sorted(targets(model).layers)
    return LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=layers, task_type="CAUSAL_LM"
    )


def targets(model: PreTrainedModel) -> Adapted:
    """Every linear layer inside the token mixers of the language model, which are in each decoder layer the
    modules that take a mask, a cache or a recurrent state: attention, linear attention, state spaces.

    MLPs, experts, embeddings, the output layer and towers for images or sound are no token mixers. Six kinds
    of layers in mixers are left out: those whose weight a kernel reads without calling the layer, so that it
    would bypass an adapter (Mamba); those that receive no gradient (indexers of sparse attention); those that
    share their weight, which several adapters would change (Zamba); those that compute something else
    (groups of DeepSeek V4); those whose names PEFT takes for experts' (AFMoE); routers (JetMoE). Raises
    InputError if no layer is left.
    """
    parts = (model.get_decoder(), model.base_model, *model.children())
    decoder = next(part for part in parts if isinstance(part, PreTrainedModel) and part is not model)
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    found = Adapted({}, {}, dict(_mixers(decoder, prefix)))
    linear = {
        (name, place): layer
        for name, mixer in found.mixers.items()
        for place, layer in mixer.named_modules()
        if isinstance(layer, torch.nn.Linear | Conv1D)
    }
    uses = Counter(layer.weight for layer in set(linear.values()))
    taken = _taken(model, [f"{name}.{place}" for name, place in linear])
    for (name, place), layer in linear.items():
        free = uses[layer.weight] == 1 and place.rpartition(".")[2] not in taken and _is_linear(layer)
        trains = free and _trains(found.mixers[name], place)
        (found.layers if trains else found.left)[f"{name}.{place}"] = layer
    if not found.layers:
        raise InputError(
            f"LoRA finds no linear layer to adapt in the attention of {type(model).__name__}; choose another "
            "model, or train all weights (full_finetuning: true in the profile)."
        )
    return found


def described(model: PreTrainedModel, rank: int) -> str:
    """What LoRA of this rank adapts in `model`, and what share of it that is, in one line."""
    found, whole = targets(model), model.num_parameters()
    mixers = sorted({type(mixer).__name__ for mixer in found.mixers.values()})
    trained = sum(rank * sum(layer.weight.shape) for layer in found.layers.values())
    text = (
        f"LoRA adapts {len(found.layers)} linear layers ({', '.join(found.names())}) in the "
        f"{len(found.mixers)} modules {', '.join(mixers)}. They hold {found.share():.1%} of the weights of "
        f"these modules and {found.size() / whole:.1%} of all {whole:,} weights of the model. It trains "
        f"{trained:,} weights of its own ({trained / whole:.2%})."
    )
    left = ", ".join(found.names(left=True))
    return text + (f" It does not adapt {left} in these modules." if left else "")


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
        is_layer = isinstance(child, GradientCheckpointingLayer) or type(child).__name__.endswith(
            "DecoderLayer"
        )
        if isinstance(child, PreTrainedModel):
            continue
        if in_layer and not is_layer and _MIXING & set(inspect.signature(child.forward).parameters):
            yield place, child
        else:
            yield from _mixers(child, place, in_layer or isinstance(module, torch.nn.ModuleList))


def _trains(mixer: torch.nn.Module, place: str) -> bool:
    """Whether an adapter of the linear layer at `place` in a mixer acts and receives a gradient.

    The source of the modules that hold the layer says so: it calls the layer and does not take its weight,
    and its `forward` computes gradients. None of them is a router, which chooses experts.
    """
    holder = mixer
    for part in place.split("."):
        source = _source(type(holder))
        if part == "router":
            return False
        reads = re.search(rf"self\.{part}\.weight\b(?![.\[])", source)
        if reads or re.search(r"@torch\.no_grad\(\)\s+def forward\(", source):
            return False
        holder = getattr(holder, part)
    return True


def _is_linear(layer: torch.nn.Module) -> bool:
    """Whether a layer of the class Linear or Conv1D computes what they do, which an adapter adds to.

    The code of an architecture may derive other layers from them. Layers from elsewhere, such as those of
    quantization, are left to PEFT.
    """
    kind = type(layer)
    inherited = kind.forward in (torch.nn.Linear.forward, Conv1D.forward)
    if inherited or not kind.__module__.startswith("transformers.models."):
        return True
    width = layer.weight.shape[1]
    some = torch.linspace(-1, 1, 15 * width, device=layer.weight.device, dtype=layer.weight.dtype)
    some = some.view(3, 5, width)
    with torch.no_grad():
        expected = torch.nn.functional.linear(some, layer.weight, layer.bias)
        try:
            found = layer(some)
        except (RuntimeError, ValueError, TypeError):
            return False
    if not isinstance(found, torch.Tensor) or found.shape != expected.shape:
        return False
    return found.is_meta or bool((found - expected).abs().max() <= 0.02 * expected.abs().max())


def _taken(model: PreTrainedModel, layers: list[str]) -> set[str]:
    """The last parts of the names of those layers that PEFT takes for experts.

    In models with experts it replaces targets with the names that experts had in transformers 4, wherever
    they are, by the joint weights of all experts.
    """
    found = set()
    for last in {name.rpartition(".")[2] for name in layers}:
        config = LoraConfig(target_modules=[name for name in layers if name.rpartition(".")[2] == last])
        asked = set(config.target_modules)
        try:
            convert_peft_config_for_transformers(config, model, None)
        except ValueError:  # not all of the weights that are joint now are targets
            found.add(last)
        else:
            if set(config.target_modules) != asked:
                found.add(last)
    return found


@functools.cache
def _source(kind: type) -> str:
    return inspect.getsource(kind)
