"""Models of the Hugging Face hub: which snapshot of a repository is used, and its download.

A snapshot that is whole in the cache of this machine is used as it is, and the hub is not asked. So a run
keeps its model when the hub has a newer one. `org/name@revision` names a commit, a tag or a branch; the first
seven or more digits of a commit are enough if no other snapshot in the cache begins with them.
"""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sepo_lib.config import model_folder
from sepo_lib.config.errors import InputError, MissingError

#: A hub id: the repository, and the revision if one is named.
ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@\w[\w.-]*(/[\w.-]+)*)?")
#: The beginning of the hash of a commit.
_SHORT = re.compile("[0-9a-f]{7,39}")
#: Seconds after which the hub counts as out of reach.
PATIENCE = 8.0


def snapshot(name: str, chat: bool = True) -> Path:
    """The folder with the snapshot of the hub id `name`: that of the cache, downloaded first if need be.

    Without `chat` it needs no tokenizer and no chat template.
    Raises MissingError if the hub is needed and cannot be reached or refuses the model, and InputError if it
    has no such revision, or if what it has cannot be loaded.
    """
    repository, _, after = name.partition("@")
    revision = after or None
    folder = _cached(repository, revision)
    parts = model_folder.lacking(folder, chat=chat) if folder else []
    if folder and not parts:
        return folder
    sizes = _sizes(name, repository, revision, parts)
    loaded = [file for file in sizes if "/" not in file and model_folder.loaded(file)]
    small = [file for file in loaded if not file.endswith(model_folder.WEIGHT_FILES)]
    weights = [
        file for file in loaded if file.endswith(".safetensors") and not file.startswith("consolidated")
    ]
    weights = weights or [file for file in loaded if file.endswith(".bin")]
    folder = _download(name, repository, revision, small)
    if parts := model_folder.lacking(folder, weights=False, chat=chat) + ([] if weights else ["weights"]):
        raise InputError(
            f"'{name}' of the hub cannot be loaded as a chat model: it lacks {', '.join(parts)}; choose "
            "another model."
        )
    size = sum(sizes[file] for file in weights) / 1e9
    print(f"Downloading {name} ({size:.1f} GB, once) ...", flush=True)
    return _download(name, repository, revision, [*small, *weights])


def commit(folder: Path) -> str | None:
    """The commit of a snapshot in the cache of the hub; None for any other folder."""
    of_hub = folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--")
    return folder.name if of_hub else None


def _cached(repository: str, revision: str | None) -> Path | None:
    """The folder of the snapshot in the cache, which need not be whole.

    Raises InputError if several commits begin with the revision.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    names = model_folder.CONFIGS
    files = (try_to_load_from_cache(repository, name, revision=revision) for name in names)
    found = next((Path(file).parent for file in files if isinstance(file, str)), None)
    if found or not _SHORT.fullmatch(revision or ""):
        return found
    snapshots = Path(
        constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"), "snapshots"
    )
    begun = sorted(at for at in snapshots.glob(f"{revision}*") if any((at / name).exists() for name in names))
    if len(begun) > 1:
        raise InputError(
            f"'{repository}@{revision}' is the beginning of several commits on this machine "
            f"({', '.join(at.name for at in begun)}); write more of its digits."
        )
    return next(iter(begun), None)


def _sizes(name: str, repository: str, revision: str | None, parts: list[str]) -> dict[str, int]:
    """File -> bytes, as the hub lists them. `parts` are what the cache lacks, for the message of an error."""
    from huggingface_hub import HfApi

    def ask() -> Any:
        return HfApi().model_info(repository, revision=revision, timeout=PATIENCE, files_metadata=True)

    found = _asked(name, ask, parts, PATIENCE)
    return {file.rfilename: file.size or 0 for file in found.siblings or []}


def _download(name: str, repository: str, revision: str | None, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(_asked(name, lambda: snapshot_download(repository, revision=revision, allow_patterns=files)))


def _asked(
    name: str, call: Callable[[], Any], parts: list[str] | None = None, patience: float | None = None
) -> Any:
    """The result of a `call` to the hub; each of its errors becomes one sentence.

    After `patience` seconds the hub counts as out of reach, also if a name server does not answer.
    """
    from huggingface_hub import errors

    outcome: list[tuple[Any, Exception | None]] = [(None, TimeoutError(f"no answer in {patience} seconds"))]

    def ask() -> None:
        try:
            outcome[0] = call(), None
        except Exception as error:  # raised below, in the thread of the caller
            outcome[0] = None, error

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    result, error = outcome[0]
    if error is None:
        return result
    if isinstance(error, errors.RevisionNotFoundError):
        raise InputError(f"The hub has no revision '{name}'; correct what follows the @.") from error
    if isinstance(error, errors.GatedRepoError):
        text = "is given only to accounts that have accepted its licence; accept it, and run `hf auth login`"
    elif isinstance(error, errors.RepositoryNotFoundError):
        text = "is not on the hub, or is private; check the name, or run `hf auth login`"
    elif isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        text = f"could not be downloaded: {error}; the same command continues once that is corrected"
    else:
        lacks = f"lacks {', '.join(parts)} on this machine" if parts else "is not on this machine"
        text = (
            f"{lacks} and no model hub could be reached. Download it elsewhere and pass its folder: "
            "MODEL=/path/to/folder"
        )
    raise MissingError(f"The model '{name}' {text}.") from error
