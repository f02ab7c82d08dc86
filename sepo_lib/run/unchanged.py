"""Whether a finished run is still what the present code would make, so that there is nothing to do.

`made_from` is what a run depends on; the manifest keeps it from the start of the run. `seal` adds the hashes
of the files that the run left, and `changes` compares both with what there is now.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import sepo_lib
from sepo_lib.config import files, paths
from sepo_lib.config.errors import DamagedError
from sepo_lib.config.settings import Settings, spell
from sepo_lib.run import code, game_files, job, model_files, provenance, sft_data

#: Endings of the files of the kit that decide what a run does and shows.
_SOURCES = (".py", ".yaml", ".j2", ".css")


def made_from(settings: Settings) -> dict[str, dict[str, str]]:
    """The hashes of all that a run with these settings depends on, apart from the settings themselves.

    "sources" and "notebooks" (their code cells) by file, "model" by file, "games" of users by module, and
    "sft_data", examples of the user, by file.
    """
    package = Path(sepo_lib.__file__).parent
    sources = (file for file in package.rglob("*") if file.suffix in _SOURCES)
    return {
        "sources": {
            f"sepo_lib/{file.relative_to(package).as_posix()}": files.sha256(file) for file in sources
        },
        "notebooks": {f"notebooks/{name}.ipynb": _code(paths.notebook(name)) for name in paths.NOTEBOOKS},
        "model": model_files.digests(settings.model),
        "sft_data": dict(sft_data.described(settings.sft_data).files) if settings.sft_data else {},
        "games": game_files.hashes(),
    }


def seal(settings: Settings) -> None:
    """Add to the manifest of a finished run the hashes of its report, notebooks and demonstrations.

    A file that the run was made from, and that has changed meanwhile, is noted as changed: part of the run
    was made with the one content, part with the other.
    """
    run = settings.run
    if then := provenance.read(run).get("made_from"):  # not in older runs
        for kind, now in made_from(settings).items():
            then[kind] = then.get(kind, {}) | dict.fromkeys(
                code.differences(then.get(kind, {}), now), "changed during the run"
            )
        left = {paths.relative(file): files.sha256(file) for file in _left_by(run)}
        provenance.add(run, made_from=then, files=left)


def reseal(run: str, file: Path) -> None:
    """Update the hash of a file that a finished run left and that was made again from its tables."""
    left = provenance.read(run).get("files", {})
    if (name := paths.relative(file)) in left:
        provenance.add(run, files=left | {name: files.sha256(file)})


def changes(settings: Settings) -> list[str] | None:
    """What has changed since the run was finished, one clause each; None if there is no finished run.

    A run that was stopped between its last notebook and its report is unfinished; its manifest then says so.
    The files of jobs count as unchanged if their size and their time are the same.
    """
    run = settings.run
    manifest = provenance.read(run, missing_ok=True)
    if not manifest.get("finished"):
        return None
    if "made_from" in manifest and "files" not in manifest:  # stopped before the report was written
        provenance.add(run, finished=None)
        return None
    if "made_from" not in manifest:  # an older run
        return [f"{paths.relative(paths.manifest(run))} does not say which code and files the run had"]
    then, now = manifest["made_from"], made_from(settings)
    found = _differences(then["sources"], now["sources"])
    found += _differences(then["notebooks"], now["notebooks"])
    found += _differences(then["model"], now["model"], f" of the model {settings.model}")
    found += _differences(then.get("sft_data", {}), now["sft_data"], f" of the data {settings.sft_data}")
    found += _differences(then["games"], now["games"], ", a module of a game,")
    found += _values("the setting ", manifest["settings"], settings.as_dict())
    found += _values("", manifest["versions"], provenance.versions())
    found += [text.rstrip(".") for text in provenance.verify(run)]
    found += _differences(manifest["files"], {paths.relative(f): files.sha256(f) for f in _left_by(run)})
    for name, facts in manifest["jobs"].items():
        found += _changed_files(run, name)
        if facts.get("reused") and not job.reuses():
            found.append(f"the job {name} was made by older code")
    return found


def reused_jobs(run: str) -> list[str]:
    """The jobs of a run that older code has finished and that REUSE=yes accepts."""
    if not job.reuses():
        return []
    folder, found = paths.checkpoints(run), []
    for done in sorted(folder.rglob("done.json")):
        remedy = provenance.obsolete(done.parent)
        if "work" not in files.read_json(done, remedy):  # of an earlier version of the kit: never accepted
            continue
        started = files.read_json(done.with_name("started.json"), remedy)
        made = job.Job(**{field.name: started[field.name] for field in fields(job.Job)})
        if job.state(run, made).name == "reused":
            found.append(made.name)
    return found


def _left_by(run: str) -> Iterable[Path]:
    """What a run leaves beside tables and figures: report, executed notebooks, and its demonstrations."""
    own = paths.run(run) / "sft"
    folders = (paths.executed(run), own if own.is_dir() else paths.demonstrations())
    found = [file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.is_file()]
    return [file for file in (*sorted(found), paths.report(run)) if file.exists()]


def _changed_files(run: str, name: str) -> list[str]:
    """The files of a job that have changed since it was finished."""
    folder = paths.job(run, name)
    if not (folder / "done.json").exists():
        return [f"the job {name} is no longer there"]
    try:
        done = files.read_json(folder / "done.json", "the job runs again")
    except DamagedError as error:
        return [str(error).rstrip(".")]
    return [f"{text} in {paths.relative(folder)}" for text in files.changed(folder, done.get("files", {}))]


def _code(notebook: Path) -> str:
    """The sha256 of the code cells of a notebook; texts and outputs do not count."""
    cells = files.read_json(notebook, "restore it with git")["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def _differences(then: Mapping[str, str], now: Mapping[str, str], what: str = "") -> list[str]:
    """One clause for every name with another hash, or with one on one side only."""
    return [
        f"{name}{what} {'is new' if name not in then else 'has changed' if name in now else 'is missing'}"
        for name in code.differences(then, now)
    ]


def _values(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One clause for every name with another value."""
    return [
        f"{what}{name} was {spell(then.get(name))} and is {spell(now.get(name))}"
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]
