"""What earlier runs left of the jobs of a stage: which are finished, and which folders are moved aside.

Nothing is deleted. The folder of a job that has to start again is moved to `runs/<run>/replaced/<UTC time>/`.
"""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sepo_lib.config import files, paths
from sepo_lib.config.errors import DamagedError
from sepo_lib.run.events import log_event
from sepo_lib.run.job import Job, State, begin, state


def left_to_do(run: str, stage: str, jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are not finished. The folders of those that start again are moved aside.

    Prints how many jobs are skipped, how many start again, and why.
    """
    states = {job.name: state(run, job) for job in jobs}
    done = [job for job in jobs if states[job.name].name in ("finished", "reused")]
    if done:
        print(f"{len(done)} of {len(jobs)} jobs of {stage} were finished before and are skipped.")
    for job in done:
        _mend(run, job)
    for reason, names in _by_reason(states, "reused").items():
        what = f"{len(names)} of {len(jobs)} jobs of {stage} {'are' if len(names) > 1 else 'is'} reused"
        _say(run, f"{what}, as REUSE=yes asks, although the code or the libraries differ: {reason}.")
    target = _new_folder(run)
    for reason, names in _by_reason(states, "stale", "damaged").items():
        for name in names:
            _move(paths.job(run, name), target)
        what = f"{len(names)} of {len(jobs)} jobs of {stage} {'start' if len(names) > 1 else 'starts'} again"
        _say(run, f"{what}: {reason}. The earlier results are now in {paths.relative(target)}/.")
    return [job for job in jobs if job not in done]


def _by_reason(states: Mapping[str, State], *kinds: str) -> dict[str, list[str]]:
    """Reason -> the names of the jobs in one of these states for this reason."""
    found: dict[str, list[str]] = {}
    for name, (kind, reason) in states.items():
        if kind in kinds:
            found.setdefault(reason, []).append(name)
    return found


def _mend(run: str, job: Job) -> None:
    """Write started.json of a finished job again if it is missing or damaged: other commands read it."""
    note = paths.job(run, job.name) / "started.json"
    try:
        if note.exists() and isinstance(files.read_json(note, "it is written again"), dict):
            return
    except DamagedError:
        pass
    begin(run, job)
    _say(run, f"{paths.relative(note)} was missing or damaged and has been written again.")


def _say(run: str, text: str) -> None:
    """Print a line here; the event log takes it to the command that runs the notebook."""
    print(text)
    log_event(run, "said", text=text)


def _new_folder(run: str) -> Path:
    """A folder of `paths.replaced` that does not exist yet, named after the time."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    names = (now if not number else f"{now}-{number}" for number in range(1000))
    return next(folder for name in names if not (folder := paths.replaced(run) / name).exists())


def _move(folder: Path, target: Path) -> None:
    """Move a folder to its path from the root below `target`: copied back to the root, it is where it was."""
    place = target / paths.relative(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, place)
