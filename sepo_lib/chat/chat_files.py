"""Chat examples in files: JSON lines, JSON, Parquet, and data sets that `datasets` has saved to disk.

A row is one example, in one of the forms of FORMS. `read` checks every row, and its errors name the file and
the line. This module needs neither torch nor transformers.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepo_lib.config import files, paths
from sepo_lib.config.errors import InputError

#: The columns of a row: TRL's two forms of a chat, and the form of the kit's own demonstrations. Prompt and
#: completion can be messages or plain texts, which become a user message and an answer.
FORMS = (("messages",), ("prompt", "completion"), ("system", "user", "assistant"))
ROLES = ("system", "user", "assistant")
#: The endings of the files that are read.
ENDINGS = (".jsonl", ".ndjson", ".json", ".parquet")
#: The endings of files that may hold examples and are not read.
OTHER = (".csv", ".tsv", ".arrow", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar")
#: Words in the name of a file, folder or split that hold it out from training.
HELD_OUT = ("valid", "validation", "val", "dev", "eval", "test")
TRAIN = "train"

#: The files in which `datasets.save_to_disk` describes a data set, and several splits.
_SAVED, _SPLITS = "state.json", "dataset_dict.json"

Messages = tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Example:
    """One example: a chat whose last message is the answer."""

    place: str
    """The file and the line, for messages."""
    chat: Messages
    split: str
    """`train`, or another word for rows that are held out."""
    game: str | None = None
    """The game that the row names in a column `game`."""

    @property
    def prompt(self) -> Messages:
        """The chat without its answer."""
        return self.chat[:-1]

    @property
    def answer(self) -> str:
        """The text of the answer."""
        return self.chat[-1]["content"]


def read(path: Path) -> list[Example]:
    """The examples of a file, or of all files in a folder and in its subfolders, in the order of their names.

    The split of a row is that of its column `split`, else that of a saved data set, else a word of HELD_OUT
    in the name of the file or of its folder, else `train`. A file that is named itself is `train`. Raises
    InputError if there is nothing to read, and for rows that are no chat with an answer.
    """
    rows = [
        (place, row, split)
        for source, split in _sources(path)
        for place, row in _rows(source, path if path.is_dir() else path.parent)
    ]
    if not rows:
        raise InputError(f"{paths.shown(path)} holds no examples: its files are empty; add a row.")
    faults = [(place, fault) for place, row, _ in rows if (fault := _fault(row))]
    if faults:
        (first, (problem, remedy)), number = faults[0], [fault for _, fault in faults].count(faults[0][1])
        raise InputError(
            f"{number} of the {len(rows)} examples of {paths.shown(path)} {problem} (the first: {first}); "
            f"{remedy}."
        )
    return [
        Example(place, _chat(row), _word(str(row.get("split") or "")) or split, _word(row.get("game")))
        for place, row, split in rows
    ]


def digests(path: Path) -> dict[str, str]:
    """File -> sha256 of every file that `read` reads."""
    above = path if path.is_dir() else path.parent
    found = [source for source, _ in _sources(path)]
    every = [file for one in found for file in (sorted(one.rglob("*")) if one.is_dir() else [one])]
    return {file.relative_to(above).as_posix(): files.sha256(file) for file in every if file.is_file()}


def unread(path: Path) -> list[str]:
    """The files of data in a folder that `read` cannot read, by their endings (OTHER)."""
    folders = _below(path) if path.is_dir() else []
    return [file.relative_to(path).as_posix() for file in _texts(folders, OTHER)]


# Files ----------------------------------------------------------------------------------------------------


def _sources(path: Path) -> list[tuple[Path, str]]:
    """The files and saved data sets that a path stands for, each with its split."""
    if path.is_file():
        found = [(path, TRAIN)] if _ends(path, ENDINGS) else []
    elif path.is_dir():
        folders = _below(path)
        saved = [one for one in folders if _saved(one)]
        found = [(one, _split(one.relative_to(path))) for one in (*_texts(folders, ENDINGS), *saved)]
    else:
        raise InputError(f"There is no file or folder {paths.shown(path)}; pass one with chat examples.")
    if not found:
        raise InputError(
            f"{paths.shown(path)} holds no examples: needed are files that end with {', '.join(ENDINGS)}, or "
            "a folder that `datasets.save_to_disk` has written."
        )
    return found


def _below(path: Path, above: Sequence[Path] = ()) -> list[Path]:
    """A folder and all visible folders below it, at any depth; what is in a saved data set is left out."""
    real = path.resolve()
    if real in above:  # a link that leads back
        return []
    inner = [] if _saved(path) else [one for one in sorted(path.glob("[!.]*")) if one.is_dir()]
    return [path, *(deeper for one in inner for deeper in _below(one, [*above, real]))]


def _texts(folders: Sequence[Path], endings: tuple[str, ...]) -> list[Path]:
    """The files with these endings in those of the folders that are no saved data set."""
    plain = [one for one in folders if not _saved(one) and not (one / _SPLITS).is_file()]
    files_ = (file for one in plain for file in sorted(one.glob("[!.]*")))
    return [file for file in files_ if _ends(file, endings) and not file.is_dir()]


def _ends(file: Path, endings: tuple[str, ...]) -> bool:
    return file.name.lower().endswith(endings)


def _saved(folder: Path) -> bool:
    return (folder / _SAVED).is_file()


def _split(place: Path) -> str:
    words = re.findall(r"[a-z]+", place.as_posix().lower())
    return next((word for word in words if word in HELD_OUT), TRAIN)


def _rows(source: Path, above: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of a file or of a saved data set."""
    name = source.relative_to(above).as_posix()
    try:
        if not source.is_dir():
            source.open("rb").close()
    except OSError as error:
        raise InputError(f"{name} cannot be read ({error.strerror}); correct or remove it.") from None
    if source.is_dir():
        import datasets

        with files.reading(source / _SAVED, "save the data set again"):
            rows = datasets.load_from_disk(str(source)).to_list()
        yield from ((f"{name}, row {number}", row) for number, row in enumerate(rows, start=1))
    elif _ends(source, (".parquet",)):
        import pyarrow.parquet as pq

        with files.reading(source, "write the file again", "it is no whole Parquet file"):
            rows = pq.read_table(source).to_pylist()
        yield from ((f"{name}, row {number}", row) for number, row in enumerate(rows, start=1))
    else:
        yield from _json_rows(source, name)


def _json_rows(file: Path, name: str) -> Iterator[tuple[str, Any]]:
    """(place, row) of a file with one JSON object per line, or with one JSON list."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no text in UTF-8 (byte {error.start}); save it in UTF-8.") from None
    if text.lstrip().startswith("["):
        rows = _parsed(text, name)
        yield from ((f"{name}, entry {number}", row) for number, row in enumerate(rows, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{name}, line {number}"
            yield place, _parsed(line, place)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error).partition(":")[0]
        raise InputError(f"{place} is no valid JSON ({reason}); correct or remove it.") from None


# Rows -----------------------------------------------------------------------------------------------------


def _fault(row: Any) -> tuple[str, str] | None:
    """What is wrong with a row, and the remedy; None if it is a chat with an answer."""
    if not isinstance(row, dict):
        return "are no JSON objects", "write each as one object"
    if _form(row) is None:
        columns = "; or ".join(" and ".join(form) for form in FORMS)
        return "do not have the columns of exactly one form", f"a row has {columns}"
    parts = _parts(row)
    if not all(map(_is_message, parts)):
        return (
            "have a message without a text in content, or with another role",
            f"a message has content, which is a text, and role, one of {', '.join(ROLES)}",
        )
    if not all(_is_unicode(one["content"]) for one in parts):
        return "have half of a surrogate pair in a text", "write the whole character"
    if any(one[key] for one in parts for key in one.keys() - {"role", "content"}):
        return "have messages with more than role and content", "write all that is trained on into content"
    roles = [one["role"] for one in parts]
    if len(roles) < 2 or roles[-1] != "assistant" or "system" in roles[1:] or not _is_one(row):
        remedy = "write at most one system message, first, then the other messages, and the answer last"
        return "are no chat that ends with one answer of the assistant", remedy
    if not all(one["content"].strip() for one in parts):
        return "have an empty message or answer", "fill or remove them"
    return None


def _form(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The form of FORMS whose columns a row has; None without one, or with several."""
    found = [form for form in FORMS if all(row.get(column) is not None for column in form)]
    return found[0] if len(found) == 1 else None


def _parts(row: Mapping[str, Any]) -> list[Any]:
    """The messages of a row, unchecked."""
    form = _form(row)
    if form == FORMS[0]:
        return _list(row["messages"])
    if form == FORMS[1]:
        return [*_list(row["prompt"], "user"), *_list(row["completion"], "assistant")]
    return [{"role": role, "content": row[role]} for role in ROLES]


def _list(value: Any, role: str | None = None) -> list[Any]:
    if role and isinstance(value, str):
        return [{"role": role, "content": value}]
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _is_one(row: Mapping[str, Any]) -> bool:
    """Whether a completion, if there is one, is one message."""
    return _form(row) != FORMS[1] or len(_list(row["completion"])) == 1


def _chat(row: Mapping[str, Any]) -> Messages:
    return tuple({"role": one["role"], "content": one["content"]} for one in _parts(row))


def _is_message(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("content"), str) and one.get("role") in ROLES


def _is_unicode(text: str) -> bool:
    r"""Whether a text can be written as UTF-8; in JSON, \ud83d alone is half of a character."""
    return not any("\ud800" <= one <= "\udfff" for one in text)


def _word(value: Any) -> str | None:
    """A name as other rows and the kit spell it: without capitals and blanks around it; None for no name."""
    return value.strip().lower() or None if isinstance(value, str) else None
