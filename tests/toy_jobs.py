"""Jobs so small that a process can run them at once; addressed by name, as real ones are."""

import gc
import json
import os
import signal
import time

from sepo_lib import games
from sepo_lib.config import paths, progress


def count(folder, report, start, steps):
    """Counts on from where it was killed, and says which process and how many threads it had.

    `frozen` is whether the garbage collector leaves the objects of earlier jobs alone.
    """
    state = folder / "state.txt"
    first = int(state.read_text()) if state.exists() else start
    print("counting")
    for step in range(first, steps + 1):
        report(step, {"loss": 1.0 / step})
        state.write_text(str(step))
    threads, frozen = os.environ.get("OMP_NUM_THREADS"), gc.get_freeze_count() > 0
    return {"first": first, "pid": os.getpid(), "threads": threads, "frozen": frozen}


def fail(folder, report, text):
    """Reports one step and fails."""
    report(1, {"loss": 1.0})
    raise ValueError(text)


def fail_until_mended(folder, report, steps):
    """Fails half-way the first time, and continues the second."""
    state = folder / "state.txt"
    if not state.exists():
        state.write_text(str(steps // 2))
        raise RuntimeError("killed half-way")
    return count(folder, report, 1, steps)


def follow(folder, report, sft_job, copies=None):
    """Starts from the files of another job, or copies the results of a third one."""
    read = paths.other_job(folder, copies or sft_job) / "state.txt"
    (folder / "state.txt").write_text(read.read_text())
    return {"shared_with": copies} if copies else {}


def die(folder, report):
    """Ends its process without a word."""
    os._exit(9)


def killed(folder, report):
    """Is killed whenever it runs, as by a system without memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(folder, report, seconds):
    """Takes its time."""
    (folder / "pid.txt").write_text(str(os.getpid()))
    time.sleep(seconds)


def say(folder, report, seconds):
    """Says what it does, as a job that loads a model and plays."""
    progress.doing("loading the model")
    for tokens in (40, 2):
        progress.sampled(tokens)  # too soon after the other event to be logged
    time.sleep(seconds / 2)
    progress.sampled(6)
    time.sleep(seconds / 2)
    report(4, {"loss": 1.0})


def title(folder, report, game):
    """The title that a game has in this process."""
    return games.get(game).title


def slowly(folder, report, steps):
    """A fifth of a second a step; its result lists the steps, also those before it was killed."""
    state = folder / "state.json"
    done = json.loads(state.read_text()) if state.exists() else []
    for step in range(len(done) + 1, steps + 1):
        time.sleep(0.2)
        done.append(step)
        paths.replace_text(state, json.dumps(done))
        report(step, {"loss": 1.0 / step})
    return {"steps": done}


def see(folder, report, name, rest=0.0):
    """What the environment variable `name` is in this process, and which process this is."""
    time.sleep(rest)
    return {"value": os.environ.get(name), "pid": os.getpid()}
