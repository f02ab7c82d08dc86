"""Which model a run starts from, by content: the hashes of the files that decide its answers.

The name of a model does not identify it. A folder can change, and the hub can move a name to another commit.
"""

import functools
from pathlib import Path

from sepo_lib.config import bundled, files, hub, model_folder
from sepo_lib.run import code


def sha256(name: str) -> str:
    """One hash of the content of the model `name`. Raises as `bundled.resolve` does."""
    return code.joined(digests(name))


def described(name: str) -> dict[str, str]:
    """The model as a manifest names it: its name, with its commit on the hub or the hash of its content."""
    revision = hub.commit(bundled.resolve(name))
    return {"name": name} | ({"revision": revision} if revision else {"sha256": sha256(name)})


def digests(name: str, chat: bool = True) -> dict[str, str]:
    """File -> sha256, for every file that decides the answers of the model `name`.

    For a snapshot of the hub its commit stands for the weights. The files of the base model of an adapter
    have the prefix "base/"; the place of the base model does not count. Arguments and errors as of
    `bundled.resolve`.
    """
    folder = bundled.resolve(name, chat)
    revision = hub.commit(folder)
    found = {"revision": revision} if revision else {}
    for file in model_folder.files(folder):
        if not (revision and file.name.endswith(model_folder.WEIGHT_FILES)):
            status = file.stat()
            found[file.relative_to(folder).as_posix()] = _digest(file, status.st_size, status.st_mtime_ns)
    if (base := model_folder.base_of(folder)) is not None:
        content = model_folder.adapter_config(folder) | {"base_model_name_or_path": None}
        found[model_folder.ADAPTER_CONFIG] = code.joined(content)
        below = digests(base, chat and not model_folder.brings_chat(folder))
        found |= {f"base/{file}": digest for file, digest in below.items()}
    return found


@functools.cache
def _digest(file: Path, size: int, mtime_ns: int) -> str:
    """The sha256 of a file, read again only when its size or time has changed."""
    return files.sha256(file)
