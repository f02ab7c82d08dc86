"""Earlier results are kept when a command writes over them: runs/<run>/replaced/<time>/.

That folder holds them under their paths from the root of the kit, so that copying its content there brings
them back. What git holds unchanged is not kept a second time; `git restore` brings it back.
"""

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from filecmp import cmp
from pathlib import Path

from sepo_lib.config import paths
from sepo_lib.run import git, provenance

#: The name of the folder.
FOLDER = "replaced"


def make_room(run: str) -> None:
    """Move the results of a finished run aside, before it is run again, and print where they are.

    Nothing is moved if the run is unfinished, or if git holds all of them. The manifest stays as well,
    because the run that begins reads it. If the moves are interrupted, the next command moves the rest.
    """
    if not provenance.read(run, missing_ok=True).get("finished"):
        return
    files = _files([*_outputs(run), paths.executed(run), paths.report(run)])
    if files - in_git(files):
        kept = _new_folder(paths.run(run))
        print(f"The results of the earlier run of {run} are now in {paths.relative(kept)}/.", flush=True)
        shutil.copy2(paths.manifest(run), _below(kept, paths.manifest(run)))
        for file in files:
            shutil.move(file, _below(kept, file))


def move(run: str, places: Iterable[Path]) -> Path:
    """Move files or folders aside. Returns the folder that now holds them."""
    kept = _new_folder(paths.run(run))
    for place in places:
        shutil.move(place, _below(kept, place))
    return kept


def stale(run: str, since: float) -> None:
    """Move the tables and figures of a run aside that were last written before `since`; print where they are.

    They belong to an earlier run with other games or an earlier code. `since` is in seconds, by the clock of
    the file system. What git holds is removed.
    """
    files = {file for file in _files(_outputs(run)) if file.stat().st_mtime < since}
    with keeping(paths.run(run), files):
        _remove(sorted(files))


def drop(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Remove the files in `folder` that are none of `files`, which a command wrote; print and return them.

    It is called within `keeping`, which has copies of them.
    """
    dropped = sorted(_files([folder]) - set(files))
    _remove(dropped)
    return dropped


@contextlib.contextmanager
def keeping(folder: Path, written: Iterable[Path]) -> Iterator[None]:
    """Keep the files that the body writes over or removes: copies in `folder`/replaced/<time>/.

    `written` are the files, and the folders of files, that the body may write. Copies are made before and
    removed again if the file is still the same afterwards. Prints where the copies are.
    """
    files = _files(written)
    files -= in_git(files)
    kept = _new_folder(folder) if files else folder
    for file in files:
        shutil.copy2(file, _below(kept, file))
    try:
        yield
    finally:
        copies = {file: kept / paths.relative(file) for file in files}
        changed = {f for f, copy in copies.items() if not (f.is_file() and cmp(f, copy, shallow=False))}
        for file in files - changed:
            copies[file].unlink()
        for place in [*sorted(kept.rglob("*"), reverse=True), kept, kept.parent] if files else ():
            with contextlib.suppress(OSError):  # it is a file, or not empty
                place.rmdir()
        if changed:
            number = f"{len(changed)} earlier files are" if len(changed) > 1 else "The earlier file is"
            print(f"{number} in {paths.relative(kept)}/.")


def in_git(files: Iterable[Path]) -> set[Path]:
    """Those of `files` whose content is that of the last commit; none outside a repository."""
    named = {paths.relative(file): file for file in files}
    listed = git.text("ls-tree", "-r", "-z", "HEAD", "--", *sorted({name.split("/")[0] for name in named}))
    committed = {}
    for entry in filter(None, listed.split("\0")):
        facts, _, name = entry.partition("\t")
        committed[name] = facts.split()[2]
    known = [name for name in named if name in committed]
    given = "".join(f"{named[name]}\n" for name in known)
    hashes = git.text("hash-object", "--stdin-paths", given=given).split()
    if len(hashes) != len(known):
        return set()
    return {named[name] for name, digest in zip(known, hashes, strict=True) if committed[name] == digest}


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink()
    if files:
        names = ", ".join(file.name for file in files)
        print(
            f"Removed from {paths.relative(files[0].parent)}/, because the run no longer makes them: {names}."
        )


def _outputs(run: str) -> tuple[Path, Path]:
    return paths.results(run), paths.figures(run)


def _files(places: Iterable[Path]) -> set[Path]:
    """The files among `places`, and all files below the folders among them."""
    return {file for place in places for file in (place, *place.rglob("*")) if file.is_file()}


def _new_folder(folder: Path) -> Path:
    """The folder for what is replaced now; two commands within a second get two folders."""
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    made, number = folder / FOLDER / time, 1
    while made.exists():
        number += 1
        made = folder / FOLDER / f"{time}-{number}"
    made.mkdir(parents=True)
    return made


def _below(folder: Path, file: Path) -> Path:
    """The path of `file` below `folder`; its folders are made."""
    path = folder / paths.relative(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
