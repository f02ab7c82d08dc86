"""The chat examples that a user names for supervised fine-tuning (the setting `sft_data`).

Trained on are all examples of the split `train`, but for those of games that the kit does not have. What is
left out is counted, and `Described.text` says it.
"""

import functools
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sepo_lib import games
from sepo_lib.chat import chat_files
from sepo_lib.chat.chat_files import Example
from sepo_lib.config import paths
from sepo_lib.config.errors import InputError
from sepo_lib.measure import other_prompts

if TYPE_CHECKING:  # it takes a second to import, and to list jobs does not need it
    import datasets


@dataclass(frozen=True)
class Described:
    """What a file or folder holds for the training."""

    files: Mapping[str, str]
    """File -> sha256."""
    used: int
    """The number of examples that are trained on."""
    text: str
    """Their number by game, and what is left out."""


def described(data: str) -> Described:
    """What the file or folder `data`, from the root, holds. It is read again only when a file has changed.

    Raises InputError as `chat_files.read` does, and if no example is left to train on.
    """
    path = paths.root() / data
    return _described(path, _stamp(path))


def load(path: Path, digests: Mapping[str, str]) -> "datasets.Dataset":
    """The examples to train on: the columns `prompt`, `completion`, and `place` (file and line).

    `digests` are the hashes of the files when the job was listed. Raises InputError if they differ now.
    """
    import datasets

    if chat_files.digests(path) != dict(digests):
        raise InputError(f"{paths.shown(path)} has changed since the run began; give the same command again.")
    rows = [
        {"prompt": list(one.prompt), "completion": [one.chat[-1]], "place": one.place}
        for one in _used(chat_files.read(path))[0]
    ]
    return datasets.Dataset.from_list(rows)


@functools.lru_cache(maxsize=4)
def _described(path: Path, stamp: tuple) -> Described:
    used, left_out = _used(chat_files.read(path))
    by_game = Counter(other_prompts.game_of(one) for one in used)
    text = f"{len(used):,} examples ({_listed(by_game)})"
    if left_out:
        text += f"; left out: {_listed(left_out)}"
    if unread := chat_files.unread(path):
        text += f"; not read, because of their endings: {', '.join(unread[:3])}"
        text += f" and {len(unread) - 3} more files" if len(unread) > 3 else ""
    if not used:
        raise InputError(f"{paths.shown(path)} has no example to train on; left out: {_listed(left_out)}.")
    return Described(chat_files.digests(path), len(used), text)


def _used(examples: list[Example]) -> tuple[list[Example], Counter]:
    """The examples to train on, and how many of what kind are left out."""
    used, left_out = [], Counter()
    for one in examples:
        game = other_prompts.game_of(one)
        if one.split != chat_files.TRAIN:
            left_out[f"of the split {one.split}"] += 1
        elif game not in games.GAMES and game != other_prompts.UNKNOWN:
            left_out[f"of {game}, which is no game of the kit"] += 1
        else:
            used.append(one)
    return used, left_out


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _stamp(path: Path) -> tuple:
    """The size and the time of every file below a path."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = ((str(file), os.stat(file)) for file in found if file.is_file())
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)
