"""Reading an adapter from its folder into its base model: whole, or not at all.

PEFT itself only warns of weights that a file lacks, and says nothing of those that no layer takes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from peft import PeftConfig, PeftModelForCausalLM, load_peft_weights, set_peft_model_state_dict
from peft.utils.error import NoMatchingPeftModuleError
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from sepo_lib.config import model_folder, paths
from sepo_lib.config.errors import DamagedError, InputError
from sepo_lib.pretrained import adapters, loading

_NAME = "default"  # PEFT's name of a model's only adapter
_SAVED = ".modules_to_save."  # a part of the names of layers that an adapter replaces
_BASE = "base_model.model."  # how PEFT begins the names of the base model's weights


def read(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast | None]:
    """The base model `model` with the adapter in `folder` merged in, and the tokenizer of the two.

    That is the one in the folder, with its chat template, or what the folder lacks of it from `tokenizer`. A
    vocabulary that the adapter has changed is changed in the model. Raises DamagedError if weights are
    missing or left over, and InputError for an adapter that does not fit the model or cannot be merged.
    """
    shown = paths.shown(folder)
    try:
        merged = _merged(folder, model, shown)
    except torch.OutOfMemoryError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"The adapter in {shown} does not fit its base model, {type(model).__name__}: {_reason(error)}; "
            "correct its adapter_config.json, or save the adapter again."
        ) from error
    if tokenizer is None and not model_folder.brings_chat(folder):
        return merged, None  # an adapter of this one brings them
    return merged, loading.fitting(merged, _tokenizer(folder, merged, tokenizer), shown)


def _merged(folder: Path, model: PreTrainedModel, shown: str) -> PreTrainedModel:
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = False  # so that what the adapter trains, and its file must have, is marked
    weights = load_peft_weights(
        str(folder),
        device=str(model.device),
        key_mapping=getattr(model, "_checkpoint_conversion_mapping", {}),
    )
    _fit_vocabulary(model, config, weights, shown)
    adapted = PeftModelForCausalLM(model, config, _NAME)
    if not hasattr(adapted.base_model, "merge_and_unload"):
        raise InputError(model_folder.unmergeable(shown, config.peft_type))
    trained = {name for name, p in adapted.named_parameters(remove_duplicate=False) if p.requires_grad}
    report = set_peft_model_state_dict(adapted, weights, _NAME)
    unexpected = [  # PEFT saves embeddings of another size under two names
        key for key in report.unexpected_keys if _SAVED not in key or key.replace(_SAVED, ".") not in weights
    ]
    _check_whole(trained & set(report.missing_keys), unexpected, shown)
    return adapters.merge(adapted.requires_grad_(False))


def _fit_vocabulary(
    model: PreTrainedModel, config: PeftConfig, weights: Mapping[str, torch.Tensor], shown: str
) -> None:
    """Give the embeddings and the output layer of the base model the size that the adapter has for them.

    Raises DamagedError if the adapter does not hold the numbers of every token that is added.
    """
    first, last = model.get_input_embeddings(), model.get_output_embeddings()
    parts = {name: module for name, module in model.named_modules() if module is first or module is last}
    size = first.weight.shape[0]
    rows = {
        name: weights[key].shape[0]
        for name in parts
        for key in (f"{_BASE}{name}.weight", f"{_BASE}{name}.base_layer.weight")
        if key in weights
    }
    tokens = {name: _tokens(config, name, module is first) for name, module in parts.items()}
    highest = max((token for own in tokens.values() for token in own), default=-1)
    wanted = max(max(rows.values(), default=size), highest + 1)
    if wanted == size:
        return
    tied = len({module.weight for module in parts.values()}) == 1
    held = [name in rows or set(range(size, wanted)) <= set(tokens[name]) for name in parts]
    if not (any(held) if tied else all(held)):
        lacking = next(name for name, there in zip(parts, held, strict=True) if not there)
        raise DamagedError(
            f"The adapter in {shown} is for {wanted} tokens and its base model has {size}, but the adapter "
            f"lacks {lacking}.weight; save it with save_embedding_layers=True."
        )
    model.resize_token_embeddings(wanted, mean_resizing=False)


def _tokens(config: PeftConfig, name: str, is_input: bool) -> list[int]:
    """The tokens whose rows in the embeddings `name` the adapter trains, and no other rows."""
    indices = getattr(config, "trainable_token_indices", None) or {}
    if not isinstance(indices, dict):
        indices = {name if is_input else "": indices}
    return [token for key, ids in indices.items() if name == key or name.endswith(f".{key}") for token in ids]


def _check_whole(missing: Iterable[str], unexpected: Iterable[str], shown: str) -> None:
    """Raise DamagedError if the file of the adapter lacks a weight, or has one that no layer takes."""
    found = [
        f"{verb} {_more([name.replace(f'.{_NAME}', '').removeprefix(_BASE) for name in names])}"
        for verb, names in (("lack", sorted(missing)), ("have", sorted(unexpected)))
        if names
    ]
    if found:
        left_over = ", which its base model has no place for" if unexpected else ""
        raise DamagedError(
            f"The weights of the adapter in {shown} {' and '.join(found)}{left_over}; save or download the "
            "adapter again, and name the base model that it was trained on."
        )


def _more(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _reason(error: Exception) -> str:
    """Why an adapter does not fit, in the kit's own words for the usual errors of PEFT."""
    if "size mismatch for" in (text := str(error)):
        name = text.partition("size mismatch for ")[2].partition(":")[0]
        return f"{name.replace(f'.{_NAME}', '').removeprefix(_BASE)} has another shape"
    if isinstance(error, NoMatchingPeftModuleError):
        return "it has none of the layers that the adapter adapts"
    if isinstance(error, KeyError):
        return f"the adapter's weights lack {str(error.args[0]).removeprefix(_BASE)}"
    return loading.reason(error)


def _tokenizer(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None
) -> PreTrainedTokenizerFast:
    """The tokenizer in the folder of an adapter; what it lacks is that of the base model, `tokenizer`."""
    template = model_folder.template(folder)
    if model_folder.has_tokenizer(folder):
        own = loading.tokenizer(folder, model.config)
        own.chat_template = own.chat_template or template or tokenizer.chat_template
        return own
    if template:
        tokenizer.chat_template = template
    return tokenizer
