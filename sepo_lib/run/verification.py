"""Compare a run with another one (`compare`), and say what differs between the two in words.

A run is read from its folders. A run that is compared with its own name is compared with the version of it
in git (HEAD): that is how a run that was made again is compared with the committed one.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.config.errors import DamagedError, InputError, in_one_line
from sepo_lib.config.settings import spell
from sepo_lib.run import compare, git, provenance

#: Parts of a manifest that can explain a difference.
PARTS = ("commit", "hardware", "versions", "settings")
#: Settings that change no number in the rows that two runs share; nor do the choices of games.
_NO_NUMBERS = ("profile", "seeds", "workers", "threads")


@dataclass(frozen=True, kw_only=True)
class Snapshot(compare.Run):
    """What a run left behind: also its manifest, and the content of its figures by file."""

    manifest: Mapping[str, Any]
    figures: Mapping[str, bytes]


def against(run: str, other: str) -> tuple[str, int]:
    """The comparison of two runs as text, and the exit code: 0 unless they differ or cannot be judged.

    Raises MissingError if a run has no manifest, InputError without a version in git, and DamagedError for a
    file that cannot be read.
    """
    mine = on_disk(run)
    theirs = in_git(other) if other == run else on_disk(other)
    found = compare.compare(mine, theirs)
    lines = [f"{mine.name} against {theirs.name}", "", *_table(found), "", *_figures(mine, theirs), ""]
    lines += [*_surroundings(mine, theirs), "", *_two_experiments(mine, theirs), compare.conclusion(found)]
    return "\n".join(lines), int(compare.grade(found) in ("different", compare.OPEN))


def on_disk(run: str) -> Snapshot:
    """A run as it lies in its folders."""
    files = [*(paths.table(run, name) for name in compare.IDENTITY), *paths.figures(run).glob("*.*")]
    content = {file: file.read_bytes() for file in files if file.exists()}
    return _snapshot(run, run, provenance.read(run), content)


def in_git(run: str) -> Snapshot:
    """A run as the last commit (HEAD) has it."""
    manifest = git.output("show", f"HEAD:{paths.relative(paths.manifest(run))}")
    if manifest is None:
        raise InputError(
            f"The run '{run}' is not in git, so it cannot be compared with itself; name another run."
        )
    folders = [paths.relative(folder) for folder in (paths.results(run), paths.figures(run))]
    listed = git.text("ls-tree", "-r", "--name-only", "HEAD", "--", *folders).splitlines()
    content = {paths.root() / name: git.output("show", f"HEAD:{name}") or b"" for name in listed}
    return _snapshot(f"{run} in git", run, json.loads(manifest), content)


def _snapshot(name: str, run: str, manifest: dict[str, Any], content: Mapping[Path, bytes]) -> Snapshot:
    """The run of this `manifest`, called `name`, with the `content` of its files."""
    tables = {one: paths.table(run, one) for one in compare.IDENTITY}
    parsed = {one: _parsed(one, content[file]) for one, file in tables.items() if file in content}
    pictures = {file.name: own for file, own in content.items() if paths.figures(run) in file.parents}
    settings = manifest["settings"]
    return Snapshot(name, parsed, settings["games"], settings["seeds"], manifest=manifest, figures=pictures)


def _table(found: list[compare.Compared]) -> Iterator[str]:
    """One line per table, and its notes below it."""
    yield f"{'table':<16}{'grade':<12}{'rows':>10}"
    for one in found:
        yield f"{one.table:<16}{one.grade:<12}{one.rows or '':>10}"
        yield from (f"  {note}" for note in one.notes)


def _figures(mine: Snapshot, theirs: Snapshot) -> Iterator[str]:
    """How many figures have the same bytes, and which are missing."""
    both = mine.figures.keys() & theirs.figures.keys()
    same = sum(mine.figures[name] == theirs.figures[name] for name in both)
    yield f"{same} of {len(both)} figures have the same bytes. Figures are drawn from the tables."
    for own, there in ((mine, theirs), (theirs, mine)):
        if alone := sorted(own.figures.keys() - there.figures.keys()):
            yield f"{own.name} alone has {len(alone)} figures, such as {alone[0]}."


def _surroundings(mine: Snapshot, theirs: Snapshot) -> Iterator[str]:
    """The entries of the manifests that can explain a difference, where they differ."""
    flat = [
        {
            part if key == part else f"{part}: {key}": spell(value)
            for part in PARTS
            for key, value in (one.manifest.get(part) or {}).items()
        }
        for one in (mine, theirs)
    ]
    names = [name for name in {**flat[0], **flat[1]} if flat[0].get(name) != flat[1].get(name)]
    if not names:
        yield "Code, hardware, versions and settings are the same in both manifests."
        return
    yield f"What differs in the manifests ({mine.name} | {theirs.name}):"
    yield from (f"  {name}: {flat[0].get(name, '-')} | {flat[1].get(name, '-')}" for name in names)


def _two_experiments(mine: Snapshot, theirs: Snapshot) -> Iterator[str]:
    """A warning if settings differ that decide the numbers; a part of a run has the numbers of the whole."""
    one, other = mine.manifest["settings"], theirs.manifest["settings"]
    names = [
        name
        for name, value in one.items()
        if name in other and value != other[name] and name not in _NO_NUMBERS and "game" not in name
    ]
    if names:
        examples = ", ".join(names[:3])
        yield f"The two runs have different settings, such as {examples}: differences are expected."


def _parsed(name: str, content: bytes) -> pd.DataFrame:
    """A table from the content of its file, with every digit of its numbers."""
    try:
        if name in paths.PARQUET:
            return pd.read_parquet(io.BytesIO(content))
        return pd.read_csv(io.BytesIO(content), float_precision="round_trip")
    except (ValueError, OSError) as error:
        raise DamagedError(
            f"The table {name} is damaged ({in_one_line(error)}); make the run again."
        ) from None
