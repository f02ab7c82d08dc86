"""One job: a function (by name) and its JSON-able arguments, in a folder of its own.

The folder keeps whatever the job needs to continue after being killed. It also holds

    started.json   the fingerprint of function and arguments, and of the code that moves results
    done.json      the same fingerprint and the function's result, written in one step at the end
    log.txt        what the job printed
    error.txt      the traceback, if the job failed
"""

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sepo_lib.config import disk, files, paths, progress
from sepo_lib.config.errors import DamagedError
from sepo_lib.run import game_files
from sepo_lib.run.events import Reporter, log_event, next_step
from sepo_lib.run.provenance import CORRECTED

#: Set in the environment of a worker process.
WORKER = "SEPO_WORKER"


@dataclass(frozen=True)
class Job:
    """One job.

    `name` is its folder below the checkpoints. `function` is "module:function", called as
    function(folder, report, **arguments); its result must be JSON-able. `steps` is the number of steps that
    it will report, from which the time left is estimated.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    steps: int

    @property
    def fingerprint(self) -> str:
        """sha256 of function, arguments and the date of the last change of the code that moves results.

        The file of a user's game counts too, if the arguments name that game. A finished job is skipped only
        if its fingerprint is the same.
        """
        work = {"function": self.function, "arguments": dict(self.arguments), "corrected": CORRECTED}
        text = json.dumps(work, sort_keys=True)
        if files := game_files.hashes(text):
            text = json.dumps(work | {"game_files": files}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Stage:
    """A list of jobs under way: the run, the stage's name, and what `workers` call about once a second."""

    profile: str
    name: str
    look: Callable[[], None] = lambda: None


def execute(job: Job, stage: Stage) -> str | None:
    """Run one job in this process. Returns the last line of its error, None if it has finished."""
    about = {"stage": stage.name, "job": job.name, "steps": job.steps}
    log_event(stage.profile, "job_start", **about)
    reporter = Reporter(stage.profile, about)
    begun = time.monotonic()
    folder = paths.job(stage.profile, job.name)
    try:
        _prepare(folder, job)
        with _printing_to(folder / "log.txt"), progress.heard_by(reporter.hear):
            progress.doing("loading the libraries")
            module, name = job.function.split(":")
            function = getattr(importlib.import_module(module), name)
            if os.environ.get(WORKER) and "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)
            progress.doing(next_step(0, job.steps))
            result = function(folder, reporter, **job.arguments)
        seconds = round(time.monotonic() - begun, 3)
        done = {"fingerprint": job.fingerprint, "seconds": seconds, "result": result}
        paths.replace_text(folder / "done.json", json.dumps(done, indent=1))
    except Exception as error:
        line = disk.in_one_line(error, folder)
        reporter.flush()
        note_failure(job.name, stage, line, traceback.format_exc())
        return line
    reporter.flush()
    log_event(stage.profile, "job_end", seconds=seconds, **about)
    return None


def finished(profile: str, job: Job) -> bool:
    """Whether this job has finished with this function and these arguments."""
    return result_of(profile, job) is not None


def result_of(profile: str, job: Job) -> dict[str, Any] | None:
    """The content of done.json if this job has finished with the same fingerprint, else None."""
    done = _read(paths.job(profile, job.name) / "done.json")
    return done if done.get("fingerprint") == job.fingerprint else None


def fingerprint_of(folder: Path) -> str | None:
    """The fingerprint of the job that has finished in `folder`; None without one."""
    return _read(folder / "done.json").get("fingerprint")


def note_failure(name: str, stage: Stage, error: str, details: str | None = None) -> None:
    """Write error.txt (the `details`, or else the `error`) if there is space, and log that the job failed."""
    with contextlib.suppress(OSError):  # of a full disk: `error` says so
        paths.replace_text(paths.job(stage.profile, name) / "error.txt", details or error + "\n")
    log_event(stage.profile, "job_failed", stage=stage.name, job=name, error=error)


def _prepare(folder: Path, job: Job) -> None:
    """Make the folder of a job; empty it if another job, or one that is not known any more, has left it."""
    file = folder / "started.json"
    if file.exists() and _read(file).get("fingerprint") != job.fingerprint:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").unlink(missing_ok=True)
    started = {"fingerprint": job.fingerprint, **asdict(job)}
    paths.replace_text(file, json.dumps(started, indent=1))


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Send what a job prints to a file; in a worker process also what C code prints."""
    with path.open("a", encoding="utf-8", buffering=1) as log:
        if os.environ.get(WORKER):
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield


def _read(path: Path) -> dict[str, Any]:
    """The content of a JSON file; nothing, and a line that says so, if it is damaged."""
    try:
        return files.read_json(path, "its job is run again") if path.exists() else {}
    except DamagedError as error:
        print(error)
        return {}
