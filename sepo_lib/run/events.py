"""The progress of a run: jobs append events to `events.jsonl`, and `Follower` reads them in any process."""

import contextlib
import fcntl
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sepo_lib.config import paths
from sepo_lib.measure.measures import parse_note

#: Seconds between two reports of one job, and between two reads of the log.
INTERVAL = 1.0


@dataclass
class Progress:
    """How far a stage is; times are in seconds."""

    stage: str
    jobs_done: int
    jobs_total: int
    steps_done: int
    steps_total: int
    elapsed: float
    left: float | None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """The latest metrics of each job that has reported."""
    finished: bool = False
    """Whether the stage has ended, whether or not all jobs are done."""
    doing: dict[str, str] = field(default_factory=dict)
    """What each job does that is under way, such as "loading the model"."""
    curves: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)
    """Job -> step -> metrics, of every report that was logged."""
    jobs: Mapping[str, Any] = field(default_factory=dict)
    """The jobs (`job.Job`) that were not done at the start; empty outside the process of `jobs.run`."""

    @property
    def note(self) -> str:
        """A warning (`parse_note`) if a job's latest parse rate is low or unknown; of several the lowest."""
        rates = [metrics["parse_rate"] for metrics in self.metrics.values() if "parse_rate" in metrics]
        unknown, known = [r for r in rates if math.isnan(r)], [r for r in rates if not math.isnan(r)]
        return "; ".join(filter(None, (parse_note(min(r, default=None)) for r in (known, unknown))))

    @property
    def now(self) -> str:
        """What the job does that was started first, and how many others are under way."""
        if self.finished:
            return ""
        if not self.doing:
            return "starting"
        job, what = next(iter(self.doing.items()))
        others = len(self.doing) - 1
        more = {0: "", 1: ", and 1 more job"}.get(others, f", and {others} more jobs")
        return f"{job}: {what}{more}"


def log_event(profile: str, event: str, **what: Any) -> None:
    """Append one line to the event log of a run, in a single write, so that processes cannot mix lines.

    The lock is for a network disk, where two machines may append at the same place. The log is for display
    alone. On a full disk the event is lost, and the job goes on until a file that matters cannot be written.
    """
    path = paths.events(profile)
    line = json.dumps({"time": round(time.time(), 3), "event": event, **what}, default=float) + "\n"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            with contextlib.suppress(OSError):  # where the file system has no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, line.encode())
        finally:
            os.close(file)


def say(run: str, text: str) -> None:
    """Print a line here; the event log takes it to the command that runs the notebook."""
    print(text, flush=True)
    log_event(run, "said", text=text)


class Reporter:
    """What a job calls as report(step, metrics). It logs about one event a second, and always the last one.

    `about` holds stage, job and steps.
    """

    def __init__(self, profile: str, about: Mapping[str, Any]) -> None:
        self.profile, self.about = profile, about
        self.waiting: dict[str, Any] = {}
        self.written = self.said = -INTERVAL
        self.doing, self.tokens = "", 0  # what the job does, and the tokens that were sampled for it

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        self.waiting = {"step": int(step), "metrics": dict(metrics)}
        self.doing, self.tokens = next_step(step, self.about["steps"]), 0
        if time.monotonic() - self.written >= INTERVAL or step >= self.about["steps"]:
            self.flush()

    def hear(self, doing: str | None, tokens: int) -> None:
        """Log what the job does from now on, or that it has sampled `tokens` more (see `config.progress`)."""
        self.tokens += tokens
        if doing is not None:
            self.doing, self.tokens = doing, 0
        elif time.monotonic() - self.said < INTERVAL:
            return
        self.flush()
        count = f", {self.tokens:,} tokens sampled" if self.tokens else ""
        log_event(self.profile, "doing", **self.about, doing=self.doing + count)
        self.said = time.monotonic()

    def flush(self) -> None:
        """Log the latest report if it has not been logged yet."""
        if self.waiting:
            log_event(self.profile, "step", **self.about, **self.waiting)
            self.waiting = {}
            self.written = time.monotonic()


def next_step(step: int, steps: int) -> str:
    """What a job of `steps` steps does after it has finished `step` of them, if it says nothing else."""
    return f"step {step + 1} of {steps}" if step < steps else "after the last step"


class Follower:
    """Reads the events that a run logs from now on, and knows how far the latest stage is."""

    def __init__(self, profile: str) -> None:
        self.path = paths.events(profile)
        self.offset = self.path.stat().st_size if self.path.exists() else 0
        self.progress: Progress | None = None
        self.said: list[str] = []  # what a stage has said about earlier jobs; the reader empties it

    def read(self) -> Progress | None:
        """The progress of the latest stage that has started since this follower was made; None before.

        A line that is no event is skipped: a full disk or a killed process leaves half a line.
        """
        text = b""
        with contextlib.suppress(OSError), self.path.open("rb") as file:  # there may be no log yet
            self.offset = min(self.offset, self.path.stat().st_size)
            file.seek(self.offset)
            text = file.read()
        complete = text[: text.rfind(b"\n") + 1]
        self.offset += len(complete)
        for line in complete.splitlines():
            with contextlib.suppress(ValueError, TypeError, LookupError):
                self._take(json.loads(line))
        if self.progress is not None and not self.progress.finished:
            self._estimate(time.time())
        return self.progress

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "said":
            self.said.append(event["text"])
        elif kind == "stage_start":
            self.begun = float(event["time"])
            self.skipped = event["steps"] - event["steps_left"]
            self.first: dict[str, int] = {}  # the first step that each job has reported
            self.steps: dict[str, int] = {}
            done, total = event["jobs"] - event["jobs_left"], event["jobs"]
            self.progress = Progress(event["stage"], done, total, self.skipped, event["steps"], 0.0, None)
        elif self.progress is None or event["stage"] != self.progress.stage:
            return
        elif kind == "step":
            self.first.setdefault(event["job"], event["step"])
            self.steps[event["job"]] = event["step"]
            self.progress.metrics[event["job"]] = event["metrics"]
            self.progress.curves.setdefault(event["job"], {})[event["step"]] = event["metrics"]
            self.progress.doing[event["job"]] = next_step(event["step"], event["steps"])
        elif kind == "job_start":
            self.progress.doing[event["job"]] = "starting"
        elif kind == "doing":
            self.progress.doing[event["job"]] = event["doing"]
        elif kind == "job_failed":
            self.progress.doing.pop(event["job"], None)
        elif kind == "job_end":
            self.progress.doing.pop(event["job"], None)
            self.steps[event["job"]] = event["steps"]
            self.progress.jobs_done += 1
        elif kind == "stage_end":
            self.progress.finished = True
            self.progress.doing.clear()
            self._estimate(event["time"])

    def _estimate(self, now: float) -> None:
        """Time elapsed and left, from the steps since the stage began; earlier steps do not count."""
        progress = self.progress
        progress.elapsed = max(0.0, now - self.begun)
        progress.steps_done = self.skipped + sum(self.steps.values())
        made = sum(step - self.first.get(job, 1) + 1 for job, step in self.steps.items())
        left = progress.steps_total - progress.steps_done
        progress.left = 0.0 if left <= 0 else progress.elapsed * left / made if made > 0 else None
