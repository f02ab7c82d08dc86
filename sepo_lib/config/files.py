"""Files that a run leaves behind: their checksums, and reading them with an error that names a damaged one.

`paths.replace` writes a file in one step. This module is about what can happen to it afterwards.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sepo_lib.config import paths
from sepo_lib.config.errors import DamagedError


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file. Raises DamagedError, which says `remedy`, if it is not valid JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError:  # not JSON, or not UTF-8
        raise DamagedError(f"{paths.shown(path)} is damaged: it is no valid JSON; {remedy}.") from None


def checksums(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Path from `folder` -> sha256, bytes and mtime_ns of each of `files`."""
    found = {}
    for file in sorted(files):
        status = file.stat()
        facts = {"sha256": sha256(file), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        found[file.relative_to(folder).as_posix()] = facts
    return found


def changed(folder: Path, recorded: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs from the `checksums` of an earlier moment: "model.safetensors is missing", and so on.

    A file with the same size and time of change is not read again.
    """
    found = []
    for name, facts in recorded.items():
        try:
            status = os.stat(folder / name)
        except FileNotFoundError:
            found.append(f"{name} is missing")
            continue
        if status.st_size != facts["bytes"]:
            found.append(f"{name} has {status.st_size:,} bytes in the place of {facts['bytes']:,}")
        elif status.st_mtime_ns != facts["mtime_ns"] and sha256(folder / name) != facts["sha256"]:
            found.append(f"{name} has another content")
    return found
