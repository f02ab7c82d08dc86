"""The root folder of the kit, and how messages name a path below it."""

import os
from pathlib import Path


def root() -> Path:
    """The root folder: every other path starts there."""
    return Path(os.environ.get("SEPO_ROOT") or Path(__file__).resolve().parents[2])


def relative(path: Path) -> str:
    """`path` from the root, with forward slashes: how messages and files name it."""
    return path.relative_to(root()).as_posix()


def shown(path: Path) -> str:
    """`path` for an error message: from the root if it lies below it, else unchanged."""
    return relative(path) if path.is_relative_to(root()) else str(path)
