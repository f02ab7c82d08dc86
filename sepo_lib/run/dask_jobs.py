"""Jobs on the workers of a Dask cluster, over a folder that all machines share (docs/scaling.md).

A worker starts a process for each job, by `python -m sepo_lib.run.dask_jobs`. So the kit is imported afresh,
from the shared folder, and a worker is never too busy to answer its scheduler. The process ends with its
worker, and when the command that asked for the job has ended.

Dask runs a job whose worker is lost on another one, which continues at the last checkpoint. The lock of the
job (`lock.of_job`) keeps two processes from running it at once.
"""

import contextlib
import dataclasses
import gc
import json
import os
import platform
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from sepo_lib.config import cards, paths
from sepo_lib.config.errors import InputError
from sepo_lib.config.text import in_brief
from sepo_lib.run import code, endings, job, lock
from sepo_lib.run.events import INTERVAL, log_event, say
from sepo_lib.run.workers import GC_THRESHOLD, ONE_THREAD

_ADDRESS = re.compile(r"([a-z]+://)?[^\s/]+:[0-9]{1,5}")
_CONNECT = 10.0  # seconds within which a scheduler answers
_APPEARS = 120.0  # seconds after which a file that another machine has written is seen here
_GIVEN_UP = 120.0  # seconds within which the process of a lost worker ends; longer than a lease of NFS
_ENDS = 10.0  # seconds within which the processes end after an interrupt
#: Variables that a job gets from here: the kit's own, and what can move a number or needs a network.
_PASSED_ON = ("SEPO_", "ATEN_", "CUBLAS_", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_KIT = Path(__file__).resolve().parents[2]


def run(todo: Sequence[job.Job], stage: job.Stage, address: str) -> dict[str, str]:
    """Run jobs on the workers of the scheduler at `address`, those with the most steps first.

    Returns the name and the error of every job that fails. If the process of a job is killed, the job is run
    again, once. Raises InputError if a worker cannot run jobs of this run, what `stage.look` raises, and
    KeyboardInterrupt; then the processes of all jobs end.
    """
    import distributed

    if not lock.is_real(stage.profile):
        raise InputError(
            "EXECUTOR=dask needs a disk with file locks, and that of this run has none; move the kit to "
            "another one, or leave EXECUTOR out."
        )
    errors: dict[str, str] = {}
    killed: set[str] = set()  # jobs whose process was killed once
    with connected(address) as client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            say(
                stage.profile, f"The Dask scheduler {address} has no worker; the jobs wait for the first one."
            )
        waiting = {_submit(client, one, stage): one for one in todo}
        try:
            while waiting:
                with contextlib.suppress(TimeoutError, CancelledError):  # `_outcome` says what was cancelled
                    distributed.wait(list(waiting), timeout=INTERVAL, return_when="FIRST_COMPLETED")
                for future in [each for each in waiting if each.done()]:
                    one = waiting[future]
                    error, was_killed = _outcome(future, one, stage, address)
                    del waiting[future]
                    if was_killed and one.name not in killed:
                        say(stage.profile, f"{one.name}: {error}. Another process continues it.")
                        killed.add(one.name)
                        waiting[_submit(client, one, stage)] = one
                    elif error is not None:
                        errors[one.name] = error
                stage.look()
        except BaseException:
            client.cancel(list(waiting))
            _wait_for_the_end(stage.profile, waiting.values())
            raise
    return errors


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the scheduler at `address`. Raises InputError if none answers."""
    import distributed

    if not _ADDRESS.fullmatch(address):  # Dask would try to close a client that it never opened
        raise InputError(
            f"SCHEDULER must be the address of a Dask scheduler, such as tcp://host:8786, not "
            f"'{in_brief(address)}'."
        )
    try:
        client = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"No Dask scheduler answers at {in_brief(address)}; start one with `dask scheduler`, or correct "
            "SCHEDULER."
        ) from error
    with client, client.as_current():
        yield client


def _submit(client: Any, one: job.Job, stage: job.Stage) -> Any:
    """The future of a job: `_on_worker` returns its result."""
    asked = {
        "work": dataclasses.asdict(one),
        "run": stage.profile,
        "stage": stage.name,
        "identity": one.identity(),
    }
    own = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    own |= {"SEPO_ROOT": str(paths.root().resolve()), job.WORKER: "1"}
    own |= {**ONE_THREAD, **lock.for_children(stage.profile)}
    path = [str(_KIT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    key = f"{one.name}-{uuid.uuid4().hex}"
    return client.submit(
        _on_worker(), key, own, path, asked, key=key, pure=False, retries=0, priority=one.steps
    )


def _on_worker() -> Callable[..., dict]:
    """The function that a worker calls.

    Dask sends a nested function whole, so a worker imports nothing of the kit. If the worker is about to end,
    or nobody waits for the job any longer, its process is killed, and Dask may run the job elsewhere.
    """

    cards_jobs = cards.JOBS

    def run(key: str, own: dict, path: list, asked: dict) -> dict:
        import json
        import os
        import platform
        import subprocess
        import sys

        from distributed import Reschedule, get_worker

        worker = get_worker()
        where = f"The Dask worker {worker.address} on {platform.node()}"
        for folder in (own["SEPO_ROOT"], path[0]):
            if not os.path.isdir(folder):
                return {"refused": f"{where} lacks the folder {folder}; all machines need the same folder."}
        theirs = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        environment = {**os.environ, **own, "PYTHONPATH": os.pathsep.join(dict.fromkeys([*path, *theirs]))}
        environment[cards_jobs] = str(worker.state.nthreads)  # so many processes share the worker's GPU
        process = subprocess.Popen(
            [sys.executable, "-m", "sepo_lib.run.dask_jobs", str(os.getpid())],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            given = json.dumps(asked)
            while True:
                try:
                    said, failed = process.communicate(given, timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    given = None  # it has been taken
                    task = worker.state.tasks.get(key)
                    ends = worker.status.name not in ("running", "paused")
                    if ends or task is None or task.state != "executing":
                        raise Reschedule from None
        finally:
            process.kill()
            process.wait()
        if process.returncode < 0:
            return {"killed": process.returncode}
        if process.returncode or not said:
            last = (failed.strip() or f"it ended with exit code {process.returncode}").splitlines()[-1]
            return {"refused": f"{where} cannot run jobs of the kit: {last}"}
        return json.loads(said)

    return run


def _outcome(future: Any, one: job.Job, stage: job.Stage, address: str) -> tuple[str | None, bool]:
    """The error of a job that has ended, None without one, and whether its process was killed.

    Raises InputError if no worker can run it.
    """
    if future.status == "cancelled" or future.status == "lost":
        raise InputError(
            f"The Dask scheduler {address} has ended or given up the jobs; the same command continues them."
        )
    if future.status == "error":
        reason = future.exception()
        died = type(reason).__name__ == "KilledWorker"
        error = "its workers ended, one after the other" if died else f"{type(reason).__name__}: {reason}"
        job.note_failure(one.name, stage, error)
        return error, False
    answer = future.result()
    if "refused" in answer:
        raise InputError(answer["refused"])
    if "killed" in answer:
        error = f"its process {endings.death(answer['killed'])}"
        job.note_failure(one.name, stage, error)
        return error, True
    if answer["error"] is None:
        _wait_for_file(paths.job(stage.profile, one.name) / "done.json")
    return answer["error"], False


def _wait_for_file(file: Path) -> None:
    """Wait until this machine sees a file that another one has written: NFS may take half a minute."""
    until = time.monotonic() + _APPEARS
    while not file.exists():
        if time.monotonic() > until:
            raise InputError(
                f"A Dask worker has written {paths.shown(file)}, and it is not seen here; all machines need "
                "the same folder."
            )
        with contextlib.suppress(OSError):
            os.listdir(file.parent)  # asks the server
        time.sleep(0.1)


def _wait_for_the_end(run: str, jobs: Sequence[job.Job]) -> None:
    """Wait until no process holds the lock of one of these jobs."""
    until = time.monotonic() + _ENDS
    for one in jobs:
        folder = paths.job(run, one.name)
        if (folder / ".lock").exists():
            with contextlib.suppress(lock.InUse), lock.of_job(folder, until - time.monotonic()):
                pass


# --------------------------------------------------------------------- the process of one job, on a worker


def main() -> None:
    """Run the job that is read from stdin, as JSON, and write what came of it to stdout.

    The answer has `error` (a sentence, or None if the job has finished) or `refused`: this machine cannot
    run jobs of this run. The argument is the process of the worker, with which this one ends.
    """
    endings.end_with_parent(int(sys.argv[1]))
    gc.set_threshold(*GC_THRESHOLD)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:  # the job's log takes stdout
        json.dump(_answer(**json.load(sys.stdin)), answer)


def _answer(work: dict, run: str, stage: str, identity: dict) -> dict:
    one, here = job.Job(**work | {"needs": tuple(work["needs"])}), f"The Dask worker on {platform.node()}"
    try:
        if not paths.run(run).is_dir():
            raise lock.InUse
        lock.join()
    except lock.InUse:
        folder = paths.run(run)
        return {"refused": f"{here} finds another content in {folder}; all machines need the same folder."}
    if differs := _difference(identity, one.identity()):
        return {"refused": f"{here} {differs}; all workers need the same code and packages."}
    folder = paths.job(run, one.name)
    try:
        with lock.of_job(folder, _GIVEN_UP) as before:
            if before:
                log_event(run, "said", text=f"{one.name}: {before} has ended; another process continues it.")
            if job.finished(run, one):
                log_event(run, "job_end", stage=stage, job=one.name, steps=one.steps, seconds=0.0)
                return {"error": None}
            return {"error": job.execute(one, job.Stage(run, stage), identity["sources"])}
    except lock.InUse as error:
        return {"error": str(error)}


def _difference(asked: dict, own: dict) -> str:
    """How the code or the libraries of this process differ from those of the one that asks for the job."""
    if names := code.differences(asked["sources"], own["sources"]):
        return f"has another version of {names[0]}"
    if names := code.differences(asked["libraries"], own["libraries"]):
        wanted, found = (each["libraries"].get(names[0], "none") for each in (asked, own))
        return f"has {names[0]} {found}, not {wanted}"
    return "has another file of a game" if asked["work"] != own["work"] else ""


if __name__ == "__main__":
    main()
