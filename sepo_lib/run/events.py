"""The progress of a run: jobs append events to `events.jsonl`, and `Follower` reads them in any process."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sepo_lib.config import paths
from sepo_lib.measure.measures import parse_note

#: Seconds between two reports of one job, and between two reads of the log.
INTERVAL = 1.0


@dataclass
class Progress:
    """How far a stage is. `metrics` holds the latest of each job that has reported; times are in seconds."""

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
        """A warning (`parse_note`) if a job's latest parse rate is low or unknown; of several the lowest."""
        rates = [metrics["parse_rate"] for metrics in self.metrics.values() if "parse_rate" in metrics]
        unknown, known = [r for r in rates if math.isnan(r)], [r for r in rates if not math.isnan(r)]
        return "; ".join(filter(None, (parse_note(min(r, default=None)) for r in (known, unknown))))


def log_event(profile: str, event: str, **what: Any) -> None:
    """Append one line to the event log of a run, in a single write, so that processes cannot mix lines."""
    path = paths.events(profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": round(time.time(), 3), "event": event, **what}, default=float) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Reporter:
    """What a job calls as report(step, metrics). It logs about one event a second, and always the last one.

    `about` holds stage, job and steps. `look` is called after every event.
    """

    def __init__(self, profile: str, about: Mapping[str, Any], look: Callable[[], None]) -> None:
        self.profile, self.about, self.look = profile, about, look
        self.streams = sys.stdout, sys.stderr  # those of the caller; the job's are redirected
        self.waiting: dict[str, Any] = {}
        self.written = -INTERVAL

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        self.waiting = {"step": int(step), "metrics": dict(metrics)}
        if time.monotonic() - self.written >= INTERVAL or step >= self.about["steps"]:
            self.flush()

    def flush(self) -> None:
        """Log the latest report if it has not been logged yet."""
        if self.waiting:
            log_event(self.profile, "step", **self.about, **self.waiting)
            self.waiting = {}
            self.written = time.monotonic()
            out, error = self.streams
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                self.look()


class Follower:
    """Reads the events that a run logs from now on, and knows how far the latest stage is."""

    def __init__(self, profile: str) -> None:
        self.path = paths.events(profile)
        self.offset = self.path.stat().st_size if self.path.exists() else 0
        self.progress: Progress | None = None

    def read(self) -> Progress | None:
        """The progress of the latest stage that has started since this follower was made; None before."""
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
        elif kind == "job_end":
            self.steps[event["job"]] = event["steps"]
            self.progress.jobs_done += 1
        elif kind == "stage_end":
            self.progress.finished = True
            self._estimate(event["time"])

    def _estimate(self, now: float) -> None:
        """Time elapsed and left, from the steps since the stage began; earlier steps do not count."""
        progress = self.progress
        progress.elapsed = max(0.0, now - self.begun)
        progress.steps_done = self.skipped + sum(self.steps.values())
        made = sum(step - self.first.get(job, 1) + 1 for job, step in self.steps.items())
        left = progress.steps_total - progress.steps_done
        progress.left = 0.0 if left <= 0 else progress.elapsed * left / made if made > 0 else None
