"""Is a model's folder whole? A damaged file is named before transformers reads it.

transformers names neither the file nor the remedy, and silently does without some files, such as a damaged
generation_config.json.
"""

import zipfile
from pathlib import Path

from sepo_lib.config import files, paths

#: The JSON files that are loaded with a model. A folder may hold others, which do not matter.
_JSON = (
    *("config.json", "generation_config.json", "adapter_config.json", "tokenizer.json", "vocab.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json"),
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
)


def check(folder: Path) -> None:
    """Raise DamagedError for the first damaged file in the folder of a model, and say how to get it back.

    Weights are not read: of a safetensors file its header and its length are checked.
    """
    remedy = _remedy(folder)
    for name in _JSON:
        if (folder / name).exists():
            files.read_json(folder / name, remedy)
    for file in sorted(folder.glob("*model*.safetensors")):
        _check_safetensors(file, remedy)
    for file in sorted(folder.glob("*model*.bin")):
        with files.reading(file, remedy), file.open("rb") as weights:
            if weights.read(1) != b"\x80" and not zipfile.is_zipfile(file):  # \x80: a pickle of an old torch
                raise ValueError("it holds no weights of torch")
    for file in sorted(folder.glob("*.jinja")):
        with files.reading(file, remedy):
            if "\0" in (text := file.read_text(encoding="utf-8")) or not text.strip():
                raise ValueError("it holds no template")


def _check_safetensors(file: Path, remedy: str) -> None:
    from safetensors import safe_open

    with files.reading(file, remedy), safe_open(file, framework="numpy"):
        pass


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
    return "save or download the model again"
