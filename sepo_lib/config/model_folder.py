"""The folder of a model in the format of transformers, or of a LoRA adapter in that of PEFT.

`files` lists what decides the answers of the model. `check_complete` names a part that is missing.
`check_intact` names a damaged file before transformers reads it: transformers names neither the file nor the
remedy, and silently does without some files, such as a damaged generation_config.json.
"""

import zipfile
from pathlib import Path
from typing import Any

from sepo_lib.config import files as files_
from sepo_lib.config import paths
from sepo_lib.config.errors import InputError

#: A folder with one of these files holds a model, or an adapter of one.
CONFIGS = CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
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
#: The JSON files that are loaded with a model. A folder may hold others, which do not matter.
_JSON = (
    *(*CONFIGS, "generation_config.json", "tokenizer.json", "vocab.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json"),
    *(f"{name}.index.json" for name in WEIGHTS),
)
#: Types of PEFT that add tokens or attention in front of the text, and change no weights.
_PROMPTS = (
    *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"),
    "ADAPTION_PROMPT",
)
_REMEDY = "save or download the model again"


def files(folder: Path) -> list[Path]:
    """The files that decide the answers of a model: weights, configurations, tokenizer and chat templates."""
    found = [*folder.iterdir(), *folder.glob("additional_chat_templates/*")]
    return sorted(file for file in found if file.is_file() and loaded(file.name))


def loaded(name: str) -> bool:
    """Whether a file of this name can decide the answers of a model."""
    return name.endswith(LOADED) and name not in NOT_LOADED and not name.startswith(".")


def base_of(folder: Path) -> str | None:
    """The name, folder or hub id of the base model of an adapter; None if the folder holds no adapter.

    The base model of an adapter that a run has made is found if the run or the kit has moved. Raises
    InputError if the adapter names none, if that is an adapter of this one, or if it cannot be merged.
    """
    base = _named_base(folder)
    at, above = base and _place(base), [folder.resolve()]
    while at and (at / ADAPTER_CONFIG).is_file():
        if at.resolve() in above:
            raise InputError(
                f"The base_model_name_or_path in {paths.shown(folder / ADAPTER_CONFIG)} leads back to this "
                "adapter; name the model there that the adapter was trained on."
            )
        above.append(at.resolve())
        at = _place(_named_base(at) or "")
    return base


def unmergeable(shown: str, kind: str) -> str:
    """What is wrong with an adapter of the PEFT type `kind` that cannot be merged, and what to do."""
    return (
        f"The adapter in {shown} is of the type {kind}, which cannot be merged into a model; pass an adapter "
        "that can, such as LoRA."
    )


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder holds a tokenizer."""
    return _any(folder, TOKENIZERS)


def brings_chat(folder: Path) -> bool:
    """Whether an adapter needs no tokenizer and no chat template of its base model."""
    return has_tokenizer(folder) and _has_template(folder)


def template(folder: Path) -> str | None:
    """The chat template in a folder, also in one without a tokenizer; None if there is none."""
    text, old, settings = (folder / name for name in (*TEMPLATES, "tokenizer_config.json"))
    if text.is_file():
        return text.read_text(encoding="utf-8")
    found = (files_.read_json(at, _REMEDY).get("chat_template") for at in (old, settings) if at.is_file())
    return next((one for one in found if isinstance(one, str)), None)


def adapter_config(folder: Path) -> dict[str, Any]:
    """The content of adapter_config.json."""
    return files_.read_json(folder / ADAPTER_CONFIG, _REMEDY)


def lacking(folder: Path, weights: bool = True, chat: bool = True) -> list[str]:
    """What a folder lacks to be loaded as a chat model or as an adapter; empty if it lacks nothing.

    Without `weights` they are not looked for, and without `chat` neither are tokenizer and template.
    """
    adapter = (folder / ADAPTER_CONFIG).is_file()
    parts = {
        CONFIG: (folder / CONFIG).is_file(),
        "a tokenizer (tokenizer.json)": not chat or _any(folder, TOKENIZERS),
        "a chat template (chat_template.jinja)": not chat or _has_template(folder),
    }
    found = [] if adapter else [part for part, there in parts.items() if not there]
    return found + (_lacking_weights(folder, ADAPTER_WEIGHTS if adapter else WEIGHTS) if weights else [])


def check_complete(folder: Path, name: str, chat: bool = True) -> Path:
    """Return the folder. Raises InputError, which calls the folder `name`, if it is `lacking` a part."""
    if parts := lacking(folder, chat=chat):
        raise InputError(
            f"The folder '{name}' holds no model that can be loaded: it lacks {', '.join(parts)}; pass the "
            "folder of a causal language model with a chat template, as transformers saves it."
        )
    return folder


def check_intact(folder: Path) -> None:
    """Raise DamagedError for the first damaged file in the folder, and say how to get it back.

    Weights are not read: of a safetensors file its header and its length are checked.
    """
    from safetensors import safe_open

    remedy = _remedy(folder)
    for name in _JSON:
        if (folder / name).exists():
            files_.read_json(folder / name, remedy)
    for file in sorted(folder.glob("*model*.safetensors")):
        with files_.reading(file, remedy), safe_open(file, framework="numpy"):
            pass
    for file in sorted(folder.glob("*model*.bin")):
        with files_.reading(file, remedy), file.open("rb") as weights:
            if weights.read(1) != b"\x80" and not zipfile.is_zipfile(file):  # \x80: a pickle of an old torch
                raise ValueError("it holds no weights of torch")
    for file in sorted(folder.glob("*.jinja")):
        with files_.reading(file, remedy):
            if "\0" in (text := file.read_text(encoding="utf-8")) or not text.strip():
                raise ValueError("it holds no template")


def _named_base(folder: Path) -> str | None:
    """The base model that the adapter in `folder` names, if it holds an adapter."""
    if not (folder / ADAPTER_CONFIG).is_file():
        return None
    content, shown = adapter_config(folder), paths.shown(folder / ADAPTER_CONFIG)
    base, revision, kind = (content.get(k) for k in ("base_model_name_or_path", "revision", "peft_type"))
    if not base:
        raise InputError(f"{shown} names no base_model_name_or_path; add it.")
    if kind in _PROMPTS:
        raise InputError(unmergeable(paths.shown(folder), kind))
    return f"{base}@{revision}" if revision else _as_it_is_now(folder, base)


def _place(name: str) -> Path:
    """The folder of the model `name`, if it is a folder on this machine."""
    at = paths.model(name) or Path(name)
    return at / "model" if (at / "model").is_dir() else at


def _as_it_is_now(folder: Path, base: str) -> str:
    """The base model of the adapter in `folder`: that of the same run if it has one, else `base`, else what
    has its place in this kit."""
    _, checkpoints, job = base.rpartition("/checkpoints/")
    if checkpoints and "checkpoints" in folder.parts:
        own = paths.other_job(folder, job)
        if (own / CONFIG).is_file():
            return str(own)
    if Path(base).is_absolute() and not Path(base).is_dir():
        parts = Path(base).parts
        places = (paths.root().joinpath(*parts[start:]) for start in range(1, len(parts)))
        return next((str(place) for place in places if (place / CONFIG).is_file()), base)
    return base


def _remedy(folder: Path) -> str:
    """What to do to have a whole copy of the model in `folder` again."""
    if folder.parent == paths.models():
        return f"run `git restore {paths.relative(folder)}`"
    if ".cache" in folder.parts and paths.root() in folder.parents:
        return f"delete {paths.relative(folder)}; the next command makes it again"
    if "checkpoints" in folder.parts:
        return "run the command that trained it again: nothing has to be deleted, and its job runs again"
    if folder.parent.name == "snapshots":
        return f"delete {folder.parents[1]}; the next command downloads it again"
    return _REMEDY


def _lacking_weights(folder: Path, names: tuple[str, ...]) -> list[str]:
    if _any(folder, names):
        return []
    index = next((at for name in names if (at := folder / f"{name}.index.json").is_file()), None)
    if index is None:
        return [f"weights ({names[0]})"]
    parts = set(files_.read_json(index, _REMEDY)["weight_map"].values())
    return sorted(part for part in parts if not (folder / part).is_file())


def _has_template(folder: Path) -> bool:
    """Whether there is a chat template as a file or, as once, in the settings of the tokenizer."""
    if _any(folder, TEMPLATES):
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(files_.read_json(settings, _REMEDY).get("chat_template"))


def _any(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).is_file() for name in names)
