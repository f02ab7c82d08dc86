"""Independent training jobs: several processes of one thread each, and resumable.

A job is a function by name and its JSON-able arguments. It gets a folder of its own, where it may keep
whatever it needs to continue after being killed, and leaves there

    started.json   the fingerprint of its function and arguments (and of the code that moves results)
    done.json      the same fingerprint and what it returned, written in one step when it has finished
    log.txt        what it printed
    error.txt      the full traceback, if it failed

so that running the same jobs again skips those that are done, continues those that are not, and starts
afresh where the arguments have changed. Progress goes to the run's `events.jsonl`; `Follower` reads it back,
from any process.
"""

import contextlib
import gc
import hashlib
import importlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any, ClassVar

from sepo_lib.config import paths
from sepo_lib.method.objective import parse_note
from sepo_lib.run.provenance import CORRECTED

#: Seconds between two reports of one job, and between two looks at them.
INTERVAL = 1.0

#: Set where a notebook runs without anybody looking: progress is then printed by the command that runs it.
HEADLESS = "SEPO_HEADLESS"

#: What a worker process finds in its environment before it imports anything.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}


#: When a worker collects garbage: a batch of play makes millions of objects, none of them in a cycle.
GC_THRESHOLD = (100_000, 50, 50)


class JobError(RuntimeError):
    """Some jobs of a stage failed; the message names each with its error and where the traceback is."""


@dataclass(frozen=True)
class Job:
    """One training job.

    `name` is its folder below the checkpoints; `function` is "module:function", called as
    function(folder, report, **arguments), and what it returns must be JSON-able; `steps` is how many
    training steps it will report, for the time that is left.
    """

    name: str
    function: str
    arguments: Mapping[str, Any]
    steps: int

    @property
    def fingerprint(self) -> str:
        """What a finished job must agree with to be skipped: sha256 of function, arguments and the date of
        the last change of the code that moves results."""
        work = {"function": self.function, "arguments": dict(self.arguments), "corrected": CORRECTED}
        text = json.dumps(work, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Progress:
    """How far a stage is. `metrics` holds the latest of each job that has reported; times are seconds."""

    stage: str
    jobs_done: int
    jobs_total: int
    steps_done: int
    steps_total: int
    elapsed: float
    left: float | None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    finished: bool = False

    @property
    def note(self) -> str:
        """`parse_note` of the lowest parse rate among the jobs' latest, and of one that is unknown."""
        rates = [metrics["parse_rate"] for metrics in self.metrics.values() if "parse_rate" in metrics]
        unknown, known = [r for r in rates if math.isnan(r)], [r for r in rates if not math.isnan(r)]
        return "; ".join(filter(None, (parse_note(min(r, default=None)) for r in (known, unknown))))


def run(
    jobs: Sequence[Job],
    profile: str,
    stage: str,
    workers: int = 1,
    watch: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Run the jobs that are not done yet and return what every job returned, by name.

    With one worker they run here, one after the other, with all threads; with more, in that many processes
    of one thread each, or up to half as many more where all jobs can then begin at once: three jobs by two
    workers would leave a core idle while the third runs. The processes wait for the next call, because what
    they have imported takes them longer to import than a small job takes. `watch` is called here about once
    a second. A job that fails lets the others finish; then JobError names all that failed. An interrupt ends
    the workers at once.
    """
    _check(jobs)
    todo = [job for job in jobs if _result(profile, job) is None]
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} jobs of {stage} were finished before and are skipped.")
    follower = Follower(profile)
    totals = {"jobs": len(jobs), "steps": sum(job.steps for job in jobs)}
    left = {"jobs_left": len(todo), "steps_left": sum(job.steps for job in todo)}
    log_event(profile, "stage_start", stage=stage, **totals, **left)

    def look() -> None:
        progress = follower.read()
        if watch is not None and progress is not None:
            watch(progress)

    errors: dict[str, str] = {}
    try:
        if workers > 1 and len(todo) > 1:
            at_once = len(todo) if len(todo) <= 1.5 * workers else workers
            _in_processes(todo, profile, stage, at_once, look, errors)
        else:
            _in_this_process(todo, profile, stage, look, errors)
    finally:
        log_event(profile, "stage_end", stage=stage, failed=sorted(errors))
    look()
    if errors:
        where = paths.relative(paths.checkpoints(profile))
        lines = [f"{name} ({error}; see {where}/{name}/error.txt)" for name, error in errors.items()]
        raise JobError(f"{len(errors)} of {len(jobs)} jobs of {stage} failed: {'; '.join(lines)}.")
    return {job.name: _result(profile, job)["result"] for job in jobs}


def finished(profile: str, job: Job) -> bool:
    """Whether this very job (same function and arguments) has finished."""
    return _result(profile, job) is not None


# ------------------------------------------------------------------------------------------- one job


def _check(jobs: Sequence[Job]) -> None:
    """A job's folder may be emptied, so no other job's may lie in it."""
    folders = sorted(Path(job.name).parts for job in jobs)
    for first, second in itertools.pairwise(folders):
        if second[: len(first)] == first:
            raise ValueError(f"The jobs '{'/'.join(first)}' and '{'/'.join(second)}' would share a folder.")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def fingerprint_of(folder: Path) -> str | None:
    """The fingerprint of the job that has finished in `folder`, None where none has."""
    return _read(folder / "done.json").get("fingerprint")


def _result(profile: str, job: Job) -> dict[str, Any] | None:
    """The content of done.json if this very job has finished, else None."""
    done = _read(paths.checkpoints(profile) / job.name / "done.json")
    return done if done.get("fingerprint") == job.fingerprint else None


def _prepare(profile: str, job: Job) -> Path:
    """The job's folder, emptied if it was left by a job of other arguments."""
    folder = paths.checkpoints(profile) / job.name
    started = _read(folder / "started.json")
    if started and started["fingerprint"] != job.fingerprint:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").unlink(missing_ok=True)
    started = {"fingerprint": job.fingerprint, **asdict(job)}
    paths.replace_text(folder / "started.json", json.dumps(started, indent=1))
    return folder


def _execute(job: Job, profile: str, stage: str, look: Callable[[], None] = lambda: None) -> str | None:
    """Run one job to its end. Returns the last line of its error, or None when it has finished."""
    about = {"stage": stage, "job": job.name, "steps": job.steps}
    log_event(profile, "job_start", **about)
    reporter = _Reporter(profile, about, look)
    begun = time.monotonic()
    folder = _prepare(profile, job)
    try:
        with _printing_to(folder / "log.txt"):
            module, name = job.function.split(":")
            function = getattr(importlib.import_module(module), name)
            if os.environ.get("SEPO_WORKER") and "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)
            result = function(folder, reporter, **job.arguments)
        seconds = round(time.monotonic() - begun, 3)
        done = {"fingerprint": job.fingerprint, "seconds": seconds, "result": result}
        paths.replace_text(folder / "done.json", json.dumps(done, indent=1))
    except Exception as error:
        paths.replace_text(folder / "error.txt", traceback.format_exc())
        line = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
        reporter.flush()
        log_event(profile, "job_failed", error=line, **about)
        return line
    reporter.flush()
    log_event(profile, "job_end", seconds=seconds, **about)
    return None


@contextlib.contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Keep what a job prints out of the notebook; in a worker process what C code prints, too."""
    with path.open("a", encoding="utf-8", buffering=1) as log:
        if os.environ.get("SEPO_WORKER"):
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield


class _Reporter:
    """What a job calls as report(step, metrics): about one event a second, and always the last."""

    def __init__(self, profile: str, about: Mapping[str, Any], look: Callable[[], None]) -> None:
        self.profile, self.about, self.look = profile, about, look
        self.streams = sys.stdout, sys.stderr  # where the caller prints, unlike the job
        self.waiting: dict[str, Any] = {}
        self.written = -INTERVAL

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        self.waiting = {"step": int(step), "metrics": dict(metrics)}
        if time.monotonic() - self.written >= INTERVAL or step >= self.about["steps"]:
            self.flush()

    def flush(self) -> None:
        """Write the latest report if it has not been written yet."""
        if self.waiting:
            log_event(self.profile, "step", **self.about, **self.waiting)
            self.waiting = {}
            self.written = time.monotonic()
            out, error = self.streams
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                self.look()


# ------------------------------------------------------------------------------------------ all jobs


def _in_this_process(
    todo: Sequence[Job], profile: str, stage: str, look: Callable[[], None], errors: dict[str, str]
) -> None:
    for job in todo:
        error = _execute(job, profile, stage, look)
        if error is not None:
            errors[job.name] = error


def _in_processes(
    todo: Sequence[Job],
    profile: str,
    stage: str,
    workers: int,
    look: Callable[[], None],
    errors: dict[str, str],
) -> None:
    """Hand one job at a time to each worker, those of most steps first, and replace a worker that dies."""
    waiting = sorted(todo, key=lambda job: -job.steps)  # so that no long one is left for the end
    pool: list[_Worker] = []
    try:
        while waiting or any(worker.job for worker in pool):
            while waiting and len(pool) < workers:
                pool.append(_Worker.idle() or _Worker())
            for worker in pool:
                if waiting and worker.job is None:
                    worker.start(waiting.pop(0), profile, stage)
            busy = {worker.pipe: worker for worker in pool if worker.job}
            for pipe in connection.wait(list(busy), timeout=INTERVAL):
                worker = busy[pipe]
                name = worker.job.name
                try:
                    error = worker.answer()
                except (EOFError, OSError):
                    error = f"its process ended with exit code {worker.end()}, out of memory perhaps"
                    paths.replace_text(paths.checkpoints(profile) / name / "error.txt", error + "\n")
                    log_event(profile, "job_failed", stage=stage, job=name, error=error)
                    pool.remove(worker)
                if error is not None:
                    errors[name] = error
            look()
    finally:
        for worker in pool:
            worker.rest()


class _Worker:
    """A spawned process that runs jobs one after the other."""

    #: Those that wait for the next stage; they end with this process.
    resting: ClassVar[list["_Worker"]] = []

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.job: Job | None = None
        self.surroundings = _surroundings()
        self.pipe, theirs = context.Pipe()
        with _environment({**ONE_THREAD, "SEPO_WORKER": "1"}):
            self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self.process.start()
        theirs.close()

    def start(self, job: Job, profile: str, stage: str) -> None:
        self.job = job
        with contextlib.suppress(OSError):  # a dead process is noticed by answer()
            self.pipe.send((job, profile, stage))

    @classmethod
    def idle(cls) -> "_Worker | None":
        """One of an earlier stage, if it still lives and would find what a new one finds."""
        while cls.resting:
            worker = cls.resting.pop()
            if worker.process.is_alive() and worker.surroundings == _surroundings():
                return worker
            worker.end()
        return None

    def rest(self) -> None:
        """Wait for the next stage, or end where a job is under way."""
        if self.job is None:
            self.resting.append(self)
        else:
            self.end()

    def answer(self) -> str | None:
        error = self.pipe.recv()
        self.job = None
        return error

    def end(self) -> int | None:
        """Stop the process, gently for two seconds, and return its exit code."""
        self.process.terminate()
        self.process.join(2.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        return self.process.exitcode


def _serve(pipe: connection.Connection) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    gc.set_threshold(*GC_THRESHOLD)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        pipe.send(_execute(*pipe.recv()))


def _die_with_parent() -> None:
    """Two processes must never train into one folder, so no worker outlives a killed parent."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _surroundings() -> tuple:
    """What a process finds when it starts: the folder that it works in and its environment."""
    return os.getcwd(), dict(os.environ)


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


# -------------------------------------------------------------------------------------------- events


def log_event(profile: str, event: str, **what: Any) -> None:
    """Append one line to the run's event log, in a single write, so that processes cannot mix lines."""
    path = paths.events(profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": round(time.time(), 3), "event": event, **what}, default=float) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Follower:
    """Reads a run's events from now on, and knows how far the latest stage is."""

    def __init__(self, profile: str) -> None:
        self.path = paths.events(profile)
        self.offset = self.path.stat().st_size if self.path.exists() else 0
        self.progress: Progress | None = None

    def read(self) -> Progress | None:
        """The progress of the latest stage that started since this follower was made; None before."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.offset)
                text = file.read()
            complete = text[: text.rfind(b"\n") + 1]
            self.offset += len(complete)
            for line in complete.splitlines():
                self._take(json.loads(line))
        if self.progress is not None and not self.progress.finished:
            self._estimate(time.time())
        return self.progress

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "stage_start":
            self.begun = event["time"]
            self.skipped = event["steps"] - event["steps_left"]
            self.first: dict[str, int] = {}  # the first step each job reported
            self.steps: dict[str, int] = {}
            done, total = event["jobs"] - event["jobs_left"], event["jobs"]
            self.progress = Progress(event["stage"], done, total, self.skipped, event["steps"], 0.0, None)
        elif self.progress is None or event["stage"] != self.progress.stage:
            return
        elif kind == "step":
            self.first.setdefault(event["job"], event["step"])
            self.steps[event["job"]] = event["step"]
            self.progress.metrics[event["job"]] = event["metrics"]
        elif kind == "job_end":
            self.steps[event["job"]] = event["steps"]
            self.progress.jobs_done += 1
        elif kind == "stage_end":
            self.progress.finished = True
            self._estimate(event["time"])

    def _estimate(self, now: float) -> None:
        """Elapsed and left, from the steps made since the stage began (not those made before)."""
        progress = self.progress
        progress.elapsed = max(0.0, now - self.begun)
        progress.steps_done = self.skipped + sum(self.steps.values())
        made = sum(step - self.first.get(job, 1) + 1 for job, step in self.steps.items())
        left = progress.steps_total - progress.steps_done
        progress.left = 0.0 if left <= 0 else progress.elapsed * left / made if made > 0 else None
