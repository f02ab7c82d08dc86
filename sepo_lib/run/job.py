"""One job: a function (by name) and its JSON-able arguments, in a folder of its own.

The folder keeps whatever the job needs to continue after being killed. It also holds

    started.json   what the job is, with its code and libraries
    done.json      the same, the function's result, and the checksums of its files; written at the end, in one
                   step
    log.txt        what the job printed
    error.txt      the traceback, if the job failed

A job is finished if `done.json` names the same work, code and libraries, and its files are unchanged.
"""

import contextlib
import functools
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sepo_lib.config import disk, files, paths, progress
from sepo_lib.config.errors import DamagedError
from sepo_lib.run import code, game_files, provenance
from sepo_lib.run.events import Reporter, log_event, next_step

#: Set in the environment of a worker process.
WORKER = "SEPO_WORKER"
#: The environment variable that accepts finished jobs of other code or libraries if it is "yes".
REUSE = "SEPO_REUSE"

#: What does not belong to the result of a job: its notes, and what its training continues from.
_NOTES = frozenset({"started.json", "done.json", "log.txt", "error.txt", "trainer"})


@dataclass(frozen=True)
class Job:
    """One job.

    `name` is its folder below the checkpoints. `function` is "module:function", called as
    function(folder, report, **arguments); its result must be JSON-able. `steps` is the number of steps that
    it will report, from which the time left is estimated. `threads` is the number of CPU threads with which
    torch computes it. `needs` are the functions of the jobs whose files it reads: their code counts as its
    own.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    steps: int
    threads: int = 1
    needs: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def work(self) -> str:
        """sha256 of function, arguments and threads: what is asked for, whatever the code.

        The file of a user's game counts too, if the arguments name that game.
        """
        work = {"function": self.function, "arguments": dict(self.arguments)}
        work |= {"threads": self.threads} if self.threads > 1 else {}
        if hashes := game_files.hashes(json.dumps(work, sort_keys=True)):
            work["game_files"] = hashes
        return code.joined(work)

    @property
    def sources(self) -> dict[str, str]:
        """File -> digest of every source that the result depends on (`code.digests`)."""
        return code.digests((self.function, *self.needs))

    @property
    def fingerprint(self) -> str:
        """sha256 of work, code and libraries."""
        return self.identity()["fingerprint"]

    def identity(self) -> dict[str, Any]:
        """What started.json and done.json have in common: work, code, libraries, fingerprint and sources."""
        return _identity(self.work, self.sources, code.libraries())


class State(NamedTuple):
    """Whether a job is finished.

    `name` is one of

        finished     by the same code and libraries, and its files are unchanged
        reused       by other code or libraries, which SEPO_REUSE accepts
        stale        begun or finished by other code or libraries, or with other arguments
        damaged      files of it are missing or have changed
        unfinished   not begun, or it continues

    `reason` says what differs; it is empty where nothing does.
    """

    name: str
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether the result of the job can be used."""
        return self.name in ("finished", "reused")


def reuses() -> bool:
    """Whether finished jobs of other code or libraries are accepted."""
    return os.environ.get(REUSE) == "yes"


@dataclass(frozen=True)
class Stage:
    """A list of jobs under way: the run, the stage's name, and what `workers` call about once a second."""

    profile: str
    name: str
    look: Callable[[], None] = lambda: None


def execute(job: Job, stage: Stage, expected: Mapping[str, str] | None = None) -> str | None:
    """Run one job in this process. Returns the last line of its error, None if it has finished.

    `expected` are the `Job.sources` of the process that asks for the job. The job fails if this process has
    others, or if it would import a source that has changed since it started.
    """
    about = {"stage": stage.name, "job": job.name, "steps": job.steps}
    log_event(stage.profile, "job_start", **about)
    reporter = Reporter(stage.profile, about)
    begun = time.monotonic()
    folder = paths.job(stage.profile, job.name)
    try:
        begin(stage.profile, job)
        with _printing_to(folder / "log.txt"), progress.heard_by(reporter.hear):
            progress.doing("loading the libraries")
            function = _load(job, expected)
            progress.doing(next_step(0, job.steps))
            with torch_threads(job.threads):
                result = function(folder, reporter, **job.arguments)
        seconds = round(time.monotonic() - begun, 3)
        finish(stage.profile, job, result, seconds)
    except Exception as error:
        line = disk.in_one_line(error, folder)
        reporter.flush()
        note_failure(job.name, stage, line, traceback.format_exc())
        return line
    reporter.flush()
    log_event(stage.profile, "job_end", seconds=seconds, **about)
    return None


@contextlib.contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Compute with `number` CPU threads of torch within the context, if torch has been imported.

    Sums are rounded differently with another number of threads, so that it must not be the machine's.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else number
    if before != number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if before != number:
            torch.set_num_threads(before)


def begin(run: str, job: Job) -> None:
    """Write started.json. The job continues with what is in its folder.

    `jobs.run` has moved the folder aside if a job with another identity left it, unless SEPO_REUSE accepts
    other code. Then the identity names both codes.
    """
    folder = paths.job(run, job.name)
    (folder / "error.txt").unlink(missing_ok=True)
    started = {**_made_by(folder, job), **asdict(job)}
    paths.replace_text(folder / "started.json", json.dumps(started, indent=1))


def finish(run: str, job: Job, result: Any, seconds: float) -> None:
    """Write done.json: the job has finished with this result and the files that its folder now holds."""
    folder = paths.job(run, job.name)
    own = (file for file in folder.rglob("*") if file.is_file() and _is_result(file.relative_to(folder)))
    copied = result.get("shared_with") if isinstance(result, Mapping) else None
    done = {
        **_made_by(folder, job, copied),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "result": result,
        "files": files.checksums(folder, own),
    }
    paths.replace_text(folder / "done.json", json.dumps(done, indent=1))


def state(run: str, job: Job) -> State:
    """Whether the job is finished, and if not, why it has to run."""
    folder = paths.job(run, job.name)
    try:
        done, started = _read(folder / "done.json"), {}
        if not done:
            started = _read(folder / "started.json")
    except DamagedError as error:
        return State("damaged", str(error).partition(":")[0])
    made = done or started
    if not made:
        left = folder.is_dir() and any(_is_result(file.relative_to(folder)) for file in folder.iterdir())
        left = left or (folder / "trainer").exists()
        return State("damaged", f"started.json of {job.name} is missing") if left else State("unfinished")
    now = job.identity()
    if made.get("work") != now["work"]:
        return State("stale", _other_work(folder, job))
    if done and (changed := files.changed(folder, done["files"])):
        return State("damaged", changed[0].replace(" ", f" of {job.name} ", 1))
    if made["fingerprint"] == now["fingerprint"]:
        return State("finished" if done else "unfinished")
    reason = _other_code(made, now)
    if reuses():
        return State("reused", reason) if done else State("unfinished", reason)
    return State("stale", reason)


def finished(run: str, job: Job) -> bool:
    """Whether this job has finished and its result can be used."""
    return state(run, job).usable


def result_of(run: str, job: Job) -> dict[str, Any] | None:
    """The content of done.json if this job is `finished`, else None."""
    return _read(paths.job(run, job.name) / "done.json") if finished(run, job) else None


def fingerprint_of(folder: Path) -> str | None:
    """The fingerprint of the job that has finished in `folder`; None without one."""
    return _read(folder / "done.json").get("fingerprint")


def finished_alike(folder: Path, work: str, other: Path) -> bool:
    """Whether a job with this `work` has finished in `folder` with the code and libraries of `other`.

    `other` is the folder of a job that has started. SEPO_REUSE accepts other code and libraries too.
    """
    done, started = _read(folder / "done.json"), _read(other / "started.json")
    if not done or done.get("work") != work or files.changed(folder, done["files"]):
        return False
    alike = all(done[part] == started[part] for part in ("code", "libraries"))
    return alike or reuses()


def note_failure(name: str, stage: Stage, error: str, details: str | None = None) -> None:
    """Write error.txt (the `details`, or else the `error`) if there is space, and log that the job failed."""
    with contextlib.suppress(OSError):  # of a full disk: `error` says so
        paths.replace_text(paths.job(stage.profile, name) / "error.txt", details or error + "\n")
    log_event(stage.profile, "job_failed", stage=stage.name, job=name, error=error)


def _made_by(folder: Path, job: Job, copied: str | None = None) -> dict[str, Any]:
    """The identity of a job and the commit.

    With SEPO_REUSE other code or libraries may have begun the job, or finished the job whose model it takes
    or the job whose results were `copied`. Their sources and libraries count too, so that no code alone
    has this identity.
    """
    own = {**job.identity(), "commit": _commit(paths.root())}
    before: dict[str, Any] = {}
    if reuses():
        done = _read(folder / "done.json")
        before = done or _read(folder / "started.json")
        if before.get("work") != own["work"]:
            before = {}
        elif done:
            return {part: done[part] for part in own}
    needed = (*map(job.arguments.get, ("sft_job", "trained_job")), copied)
    read = [paths.other_job(folder, name) for name in needed if name]
    for other in (before, *(_read(each / "done.json") for each in read)):
        own |= {part: _both(own[part], other.get(part, {})) for part in ("sources", "libraries")}
    return own | _identity(own["work"], own["sources"], own["libraries"])


def _identity(work: str, sources: Mapping[str, str], libraries: Mapping[str, str]) -> dict[str, Any]:
    """`Job.identity` of these parts."""
    own = {"work": work, "code": code.joined(sources), "libraries": libraries}
    return {**own, "fingerprint": code.joined(own), "sources": sources}


def _both(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Two mappings as one; values that differ become "first/second"."""
    values = {name: {*first.get(name, "").split("/"), *second.get(name, "").split("/")} for name in first}
    values |= {name: {second[name]} for name in second.keys() - first.keys()}
    return {name: "/".join(sorted(filter(None, each))) for name, each in values.items()}


def _load(job: Job, expected: Mapping[str, str] | None) -> Callable[..., Any]:
    """The function of a job. Raises InputError if its sources are not those that were expected."""
    if expected is not None:
        code.check((job.function, *job.needs), expected)
    module, name = job.function.split(":")
    known = module in sys.modules
    function = getattr(importlib.import_module(module), name)
    if not known:  # it has been imported from the files as they are now
        code.check((job.function, *job.needs))
    return function


def _is_result(file: Path) -> bool:
    """Whether a file, as a path from the job's folder, belongs to the result of the job."""
    return file.parts[0] not in _NOTES and not file.name.startswith(".")


def _other_work(folder: Path, job: Job) -> str:
    """Which argument of a job differs from that of the job that has begun or finished in its folder."""
    try:
        before = _read(folder / "started.json")
    except DamagedError:
        before = {}
    if "work" not in before:
        return "made by an earlier version of the kit"
    was, now = _flat(before["arguments"]), _flat(json.loads(json.dumps(dict(job.arguments))))
    if changed := code.differences(was, now):
        return f"the argument {changed[0]} was {was.get(changed[0])} and is {now.get(changed[0])}"
    same = before["function"] == job.function
    return "the file of a game has changed" if same else "another function does the work"


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Dotted name -> text of every value in nested mappings."""
    if not isinstance(value, dict) or not value:
        return {name: json.dumps(value)}
    found = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{name}.{key}" if name else key)
    return found


def _other_code(made: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which source or library differs between two identities."""
    if sources := code.differences(made["sources"], now["sources"]):
        more = f" and {len(sources) - 1} more" if len(sources) > 1 else ""
        return f"{sources[0]}{more} {'have' if more else 'has'} changed"
    was, have = made["libraries"], now["libraries"]
    name = code.differences(was, have)[0]
    return f"{name} was {was.get(name, 'not installed')} and is {have.get(name, 'not installed')}"


@functools.cache
def _commit(root: Path) -> dict[str, Any]:
    """The commit when this process first asked; its sources are those of the start, too (`code`)."""
    return provenance.commit()


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
    """The content of a note of a job; empty if there is none. Raises DamagedError if it is no JSON object."""
    if not path.exists():
        return {}
    return files.read_json(path, "run the same command again: the job runs again")
