"""Files that a run leaves behind: their checksums, and reading them with an error that names a damaged one.

`paths.replace` writes a file in one step. This module is about what can happen to it afterwards. The argument
`remedy` of the readers is what the error asks the user to do, such as "run the same command again".
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepo_lib.config import disk
from sepo_lib.config.errors import DamagedError, Explained, StorageError, in_one_line
from sepo_lib.config.root import shown

if TYPE_CHECKING:
    import pandas as pd


@contextlib.contextmanager
def reading(path: Path, remedy: str, what: str = "") -> Iterator[None]:
    """Within this context every error becomes a DamagedError that names `path` and the `remedy`.

    `what` says what the file no longer is, such as "it is no valid JSON"; by default the error's own text. A
    file that is not there raises FileNotFoundError as before, and short memory MemoryError.
    """
    try:
        path.open("rb").close()  # a folder, or a missing permission, shows here
        yield
    except (Explained, FileNotFoundError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, IsADirectoryError):
            what = "it is a folder"
        elif isinstance(error, OSError) and (sentence := disk.explain(error, path)):
            raise StorageError(sentence) from error
        elif path.is_file() and not path.stat().st_size:
            what = "it is empty"
        elif isinstance(error, KeyError):
            what = f"it lacks {error}"
        reason = what or in_one_line(error)
        raise DamagedError(f"{shown(path)} is damaged: {reason}; {remedy}.") from error


def read_json(path: Path, remedy: str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON object in a file. Raises DamagedError if it is none, or if it lacks one of `keys`."""
    with reading(path, remedy, "it is no valid JSON"):
        content = json.loads(path.read_bytes())
    return _mapping(content, path, remedy, keys)


def read_yaml(path: Path, remedy: str, keys: Iterable[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file. Raises DamagedError if it is none, or if it lacks one of `keys`."""
    import yaml

    with reading(path, remedy):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return _mapping(content, path, remedy, keys)


def read_csv(path: Path, remedy: str) -> "pd.DataFrame":
    """The table in a CSV file. Raises DamagedError also for a file that ends within a row."""
    import pandas as pd

    with reading(path, remedy):
        content = path.read_bytes()
        if b"\0" in content:
            raise ValueError("it holds zero bytes")
        if content and not content.endswith(b"\n"):
            raise ValueError("it ends within a row")
        return pd.read_csv(io.BytesIO(content))


def read_parquet(path: Path, remedy: str, **options: Any) -> "pd.DataFrame":
    """The table in a Parquet file; `options` are those of pandas."""
    import pandas as pd

    with reading(path, remedy, "it is no whole Parquet file"):
        return pd.read_parquet(path, **options)


def write_parquet(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table without its index, as small as Parquet allows.

    The rows of a game become one row group, in the order in which the games first appear, because a group
    with few different values needs few bits for each. The same table gives the same bytes.
    """
    import pandas as pd
    import pyarrow
    from pyarrow import parquet

    number = pd.Series(pd.factorize(frame["game"])[0] if "game" in frame else 0, range(len(frame)))
    order = number.sort_values(kind="stable")
    table = pyarrow.Table.from_pandas(frame.iloc[order.index], preserve_index=False)
    integers = [field.name for field in table.schema if pyarrow.types.is_integer(field.type)]
    counts = [name for name in integers if name == "rollout"]  # it rises by one from episode to episode
    options = {
        "compression": "zstd",
        "compression_level": 19,
        "use_dictionary": [name for name in table.schema.names if name not in counts],
        "column_encoding": dict.fromkeys(counts, "DELTA_BINARY_PACKED"),
    }
    with parquet.ParquetWriter(path, table.schema, **options) as file:
        start = 0
        for size in order.value_counts(sort=False):
            file.write_table(table.slice(start, size), row_group_size=size)
            start += size


def sha256(path: Path) -> str:
    """The hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _mapping(content: Any, path: Path, remedy: str, keys: Iterable[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        what = "it is empty" if content is None else "it is no mapping of names to values"
        raise DamagedError(f"{shown(path)} is damaged: {what}; {remedy}.")
    if missing := [key for key in keys if key not in content]:
        raise DamagedError(f"{shown(path)} is damaged: it lacks '{missing[0]}'; {remedy}.")
    return content
