"""What earlier runs left of the jobs of a stage: which are finished, and which folders are moved aside.

Nothing is deleted. The folder of a job that has to start again is moved to `runs/<run>/replaced/<UTC time>/`.
"""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sepo_lib.config import files, paths
from sepo_lib.config.errors import DamagedError
from sepo_lib.run.job import Job, State, begin, state


def left_to_do(run: str, stage: str, jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are not finished. The folders of those that start again are moved aside.

    Prints how many jobs are skipped, how many start again, and why.
    """
    states = {job.name: state(run, job) for job in jobs}
    done = [job for job in jobs if states[job.name].name in ("finished", "reused")]
    for job in done:
        _mend(run, job)
    if done:
        print(_skipped(stage, [states[job.name] for job in done], len(jobs)))
    again: dict[str, list[str]] = {}
    for name, (kind, reason) in states.items():
        if kind in ("stale", "damaged"):
            again.setdefault(reason, []).append(name)
    if again:
        target = _new_folder(run)
        for reason, names in again.items():
            for name in names:
                _move(paths.job(run, name), target / name)
            verb = "starts" if len(names) == 1 else "start"
            what = f"{len(names)} of {len(jobs)} jobs of {stage} {verb} again: {reason}"
            print(f"{what}. What earlier runs left of it is now in {paths.relative(target)}/.")
    return [job for job in jobs if job not in done]


def _skipped(stage: str, states: Sequence[State], number: int) -> str:
    """The sentence about the jobs that are not run again."""
    said = f"{len(states)} of {number} jobs of {stage} were finished before and are skipped"
    if reasons := [reason for kind, reason in states if kind == "reused"]:
        made = f"; {len(reasons)} of them are results of other code, which REUSE=yes accepts"
        said += f"{made} ({', '.join(dict.fromkeys(reasons))})"
    return said + "."


def _mend(run: str, job: Job) -> None:
    """Write started.json of a finished job again if it is missing or damaged: other commands read it."""
    note = paths.job(run, job.name) / "started.json"
    try:
        if note.exists() and isinstance(files.read_json(note, "it is written again"), dict):
            return
    except DamagedError:
        pass
    begin(run, job)
    print(f"{paths.relative(note)} was damaged and has been written again.")


def _new_folder(run: str) -> Path:
    """A folder of `paths.replaced` that does not exist yet, named after the time."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    names = (now if not number else f"{now}-{number}" for number in range(1000))
    return next(folder for name in names if not (folder := paths.replaced(run) / name).exists())


def _move(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, target)
