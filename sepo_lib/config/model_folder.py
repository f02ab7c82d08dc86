"""The folder of a model in the format of transformers, or of a LoRA adapter in that of PEFT.

`lacking` says what is missing from it, `files` lists what decides the answers of the model.
"""

from pathlib import Path
from typing import Any

from sepo_lib.config import files as files_
from sepo_lib.config import paths
from sepo_lib.config.errors import InputError

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
#: Names of the weights of a model, and of an adapter. Those of a model may be split into several files, which
#: `<name>.index.json` then lists.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
TEMPLATES = ("chat_template.jinja", "chat_template.json")
#: Endings of the files that are loaded, and of those among them that hold weights.
LOADED = (".json", ".jinja", ".model", ".txt", ".safetensors", ".bin")
WEIGHT_FILES = (".safetensors", ".bin")
#: Files with such an ending that trainers, exporters and licences leave in the folder of a model.
NOT_LOADED = ("training_args.bin", "trainer_state.json", "optimizer.bin", "scheduler.bin", "LICENSE.txt")
_REMEDY = "save or download the model again"


def files(folder: Path) -> list[Path]:
    """The files that decide the answers of a model: weights, configurations, tokenizer and chat templates."""
    found = [*folder.iterdir(), *folder.glob("additional_chat_templates/*")]
    return sorted(file for file in found if file.is_file() and loaded(file.name))


def loaded(name: str) -> bool:
    """Whether a file of this name can decide the answers of a model."""
    return name.endswith(LOADED) and name not in NOT_LOADED and not name.startswith(".")


def base_of(folder: Path) -> str | None:
    """The name, folder or hub id of the base model of an adapter; None if the folder holds no adapter."""
    if not (folder / ADAPTER_CONFIG).is_file():
        return None
    content = adapter_config(folder)
    base, revision = content.get("base_model_name_or_path"), content.get("revision")
    if not base:
        raise InputError(f"{paths.shown(folder / ADAPTER_CONFIG)} names no base_model_name_or_path; add it.")
    return f"{base}@{revision}" if revision else base


def adapter_config(folder: Path) -> dict[str, Any]:
    """The content of adapter_config.json."""
    return files_.read_json(folder / ADAPTER_CONFIG, _REMEDY)


def lacking(folder: Path, weights: bool = True) -> list[str]:
    """What a folder lacks to be loaded as a chat model or as an adapter; empty if it lacks nothing.

    Without `weights` they are not looked for.
    """
    adapter = (folder / ADAPTER_CONFIG).is_file()
    parts = {
        CONFIG: (folder / CONFIG).is_file(),
        "a tokenizer (tokenizer.json)": _any(folder, TOKENIZERS),
        "a chat template (chat_template.jinja)": _any(folder, TEMPLATES) or _old_template(folder),
    }
    found = [] if adapter else [part for part, there in parts.items() if not there]
    return found + (_lacking_weights(folder, ADAPTER_WEIGHTS if adapter else WEIGHTS) if weights else [])


def check(folder: Path, name: str) -> Path:
    """Return the folder. Raises InputError, which calls the folder `name`, if it lacks a part of a model."""
    if parts := lacking(folder):
        raise InputError(
            f"The folder '{name}' holds no model that can be loaded: it lacks {', '.join(parts)}; pass the "
            "folder of a causal language model with a chat template, as transformers saves it."
        )
    return folder


def _lacking_weights(folder: Path, names: tuple[str, ...]) -> list[str]:
    if _any(folder, names):
        return []
    index = next((at for name in names if (at := folder / f"{name}.index.json").is_file()), None)
    if index is None:
        return [f"weights ({names[0]})"]
    parts = set(files_.read_json(index, _REMEDY)["weight_map"].values())
    return sorted(part for part in parts if not (folder / part).is_file())


def _old_template(folder: Path) -> bool:
    """Whether the settings of the tokenizer hold a chat template, as older versions saved it."""
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(files_.read_json(settings, _REMEDY).get("chat_template"))


def _any(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).is_file() for name in names)
