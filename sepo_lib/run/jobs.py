"""A list of independent, resumable jobs (`job`), run in this process or elsewhere (`executors`).

Running the same jobs again skips those that are done and continues those that are not. A job with other
arguments, code or libraries starts in an empty folder: its earlier one is moved aside (`replaced`). Progress
goes to the run's event log (`events`).
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sepo_lib.config import files, paths
from sepo_lib.config.errors import DamagedError, Explained
from sepo_lib.run import code, executors, lock, replaced
from sepo_lib.run.events import Follower, Progress, log_event, say
from sepo_lib.run.job import Job, Stage, State, begin, result_of, state


class JobError(Explained, RuntimeError):
    """Some jobs of a stage failed. The message names each with its error and the file with the traceback."""


class Interrupted(KeyboardInterrupt):
    """The run of a stage was interrupted. A notebook shows the message alone, without a traceback."""

    def __init__(self) -> None:
        super().__init__("Stopped. Finished jobs are kept; run the cell again to continue.")

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in the place of the traceback."""
        return [str(self)]


def run(
    jobs: Sequence[Job],
    profile: str,
    stage: str,
    workers: int = 1,
    watch: Callable[[Progress], None] | None = None,
    here: bool = False,
) -> dict[str, Any]:
    """Run the jobs that are not done yet, and return the results of all of them by name.

    With one worker they run in this process, one after the other. With more they run in that many processes,
    or in up to 1.5 times as many if that avoids a second wave; on a machine with GPUs, in that many on each;
    with Dask, wherever its workers are (`executors`). `here` keeps them in this process. torch computes a job
    with `Job.threads` threads in all cases, so none of this changes a result. `watch` is called in this
    process about once a second, with one worker in a thread of its own, where what it prints goes to the log
    of the job. If a job fails, the others still run; then JobError names all that failed. An interrupt ends
    all jobs and processes at once and raises Interrupted. Raises ValueError if two jobs would share a folder,
    InputError if a source has changed since this process started or the executor cannot be used, and InUse if
    another process works in the run (`lock`).
    """
    _check(jobs)
    execute = executors.here if here else functools.partial(executors.run, workers=workers)
    with lock.held(profile, f"the jobs of {stage}"):
        code.check(list(dict.fromkeys(name for job in jobs for name in (job.function, *job.needs))))
        todo = _left_to_do(profile, stage, jobs)
        follower = Follower(profile)
        totals = {"jobs": len(jobs), "steps": sum(job.steps for job in jobs)}
        left = {"jobs_left": len(todo), "steps_left": sum(job.steps for job in todo)}
        log_event(profile, "stage_start", stage=stage, **totals, **left)

        def look() -> None:
            progress = follower.read()
            if watch is not None and progress is not None:
                progress.jobs = {job.name: job for job in todo}
                watch(progress)

        errors: dict[str, str] = {}
        interrupted = False
        try:
            errors = execute(todo, Stage(profile, stage, look))
        except KeyboardInterrupt:
            interrupted = True  # raised below, without the traceback, which would keep the model in memory
        finally:
            log_event(profile, "stage_end", stage=stage, failed=sorted(errors))
        if interrupted:
            with contextlib.suppress(KeyboardInterrupt):  # a second one
                look()
            raise Interrupted
        look()
        if errors:
            lines = [
                f"{name} ({error.removesuffix('.')}{_see(profile, name)})" for name, error in errors.items()
            ]
            raise JobError(f"{len(errors)} of {len(jobs)} jobs of {stage} failed: {'; '.join(lines)}.")
        return {job.name: result_of(profile, job)["result"] for job in jobs}


def _left_to_do(run: str, stage: str, jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are not finished. The folders of those that start again are moved aside.

    Prints how many jobs are skipped, how many start again, and why.
    """
    states = {job.name: state(run, job) for job in jobs}
    done = [job for job in jobs if states[job.name].usable]
    if done:
        print(f"{len(done)} of {len(jobs)} jobs of {stage} were finished before and are skipped.")
    for job in done:
        _mend(run, job)
    for reason, names in _by_reason(states, "reused").items():
        what = f"{len(names)} of {len(jobs)} jobs of {stage} {'are' if len(names) > 1 else 'is'} reused"
        say(run, f"{what}, as REUSE=yes asks, although the code or the libraries differ: {reason}.")
    again = _by_reason(states, "stale", "damaged")
    if again:
        kept = replaced.move(run, [paths.job(run, name) for names in again.values() for name in names])
    for reason, names in again.items():
        what = f"{len(names)} of {len(jobs)} jobs of {stage} {'start' if len(names) > 1 else 'starts'} again"
        say(run, f"{what}: {reason}. The earlier results are now in {paths.relative(kept)}/.")
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
        files.read_json(note, "it is written again")
    except (FileNotFoundError, DamagedError):
        begin(run, job)
        say(run, f"{paths.relative(note)} was missing or damaged and has been written again.")


def _see(profile: str, name: str) -> str:
    """The file with the traceback; nothing if the disk was too full for it."""
    file = paths.job(profile, name) / "error.txt"
    return f"; see {paths.relative(file)}" if file.exists() else ""


def _check(jobs: Sequence[Job]) -> None:
    """Raise ValueError if the folder of one job, which may be emptied, lies in that of another."""
    folders = sorted(Path(job.name).parts for job in jobs)
    for first, second in itertools.pairwise(folders):
        if second[: len(first)] == first:
            raise ValueError(
                f"The jobs '{'/'.join(first)}' and '{'/'.join(second)}' would share a folder; rename one."
            )
