"""Where the jobs of a stage run: in worker processes of this machine, in this process, or on Dask workers.

The choice changes no result. The command `reproduce` takes it from its options and passes it on to the
notebooks' kernels in the environment. For notebooks that are run by hand, set these variables beforehand.
"""

import contextlib
import importlib.util
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sepo_lib.config import cards
from sepo_lib.config.errors import InputError
from sepo_lib.config.settings import known
from sepo_lib.config.text import in_brief
from sepo_lib.config.variables import environment
from sepo_lib.run import workers as processes
from sepo_lib.run.events import INTERVAL
from sepo_lib.run.job import Job, Stage, execute

#: The environment variables of the options EXECUTOR, SCHEDULER and JOBS_PER_GPU.
EXECUTOR, SCHEDULER, JOBS_PER_GPU = "SEPO_EXECUTOR", "SEPO_SCHEDULER", "SEPO_JOBS_PER_GPU"
#: The values of EXECUTOR: worker processes on this machine (the default), this process, or workers of Dask.
EXECUTORS = ("processes", "notebook", "dask")
#: Most jobs on one GPU.
MOST_PER_GPU = 1024


def choose(executor: str | None, scheduler: str | None, jobs_per_gpu: str | None) -> None:
    """Let this process, and those that it starts, use this executor. An option that is None or empty is kept.

    Raises InputError if the options cannot be used together.
    """
    given = {EXECUTOR: executor, SCHEDULER: scheduler, JOBS_PER_GPU: jobs_per_gpu}
    os.environ.update({name: value for name, value in _checked(given).items() if value})


def check() -> None:
    """Raise InputError if the chosen executor cannot be used: no scheduler answers, or no GPU is there."""
    if address := _scheduler():
        from sepo_lib.run import dask_jobs

        with dask_jobs.connected(address):
            pass
    elif os.environ.get(JOBS_PER_GPU):
        _at_once(1, 1)


def run(todo: Sequence[Job], stage: Stage, workers: int) -> dict[str, str]:
    """Run jobs, `workers` at a time. Returns the name and the error of every job that fails.

    On a machine with GPUs, `workers` (or JOBS_PER_GPU) is the number of jobs on each. Dask workers run as
    many as they have threads.
    """
    if not todo:
        return {}
    if address := _scheduler():
        from sepo_lib.run import dask_jobs

        return dask_jobs.run(todo, stage, address)
    found = cards.visible()
    number = 1 if os.environ.get(EXECUTOR) == "notebook" else _at_once(len(todo), workers)
    if number == 1:
        return here(todo, stage)
    per_gpu = {cards.JOBS: os.environ.get(JOBS_PER_GPU) or str(workers)}
    with environment(per_gpu if found else {}):
        return processes.run(todo, stage, number, found)


def here(todo: Sequence[Job], stage: Stage) -> dict[str, str]:
    """Run jobs in this process, one after the other. Returns as `run` does."""
    with _calling(stage.look):
        found = {job.name: execute(job, stage) for job in todo}
    return {name: error for name, error in found.items() if error is not None}


def _at_once(jobs: int, workers: int) -> int:
    """How many of `jobs` jobs run at the same time on this machine."""
    per_gpu, visible = os.environ.get(JOBS_PER_GPU), cards.visible()
    if visible:
        return min(jobs, len(visible) * int(per_gpu or workers))
    if per_gpu:
        raise InputError(
            f"JOBS_PER_GPU={per_gpu} needs an NVIDIA GPU, and none is visible; leave it out. Then the "
            "setting workers is the number of jobs at a time."
        )
    return jobs if jobs <= 1.5 * workers else workers  # an odd job does not wait for a second round


def _scheduler() -> str | None:
    """The address of the Dask scheduler; None if jobs run on this machine. Raises as `choose` does."""
    return _checked({})[SCHEDULER] or None


def _checked(given: Mapping[str, str | None]) -> dict[str, str]:
    """The three variables: those that are `given`, else those of the environment. Raises as `choose` does."""
    names = (EXECUTOR, SCHEDULER, JOBS_PER_GPU)
    chosen = {name: given.get(name) or os.environ.get(name, "") for name in names}
    executor, scheduler, per_gpu = chosen.values()
    known("executor", executor or EXECUTORS[0], EXECUTORS)
    if executor != "dask":
        if scheduler:
            raise InputError(f"SCHEDULER={in_brief(scheduler)} needs EXECUTOR=dask.")
        if per_gpu and executor == "notebook":
            raise InputError(
                "JOBS_PER_GPU is an option of EXECUTOR=processes; a notebook runs one job at a time."
            )
        if per_gpu and not (re.fullmatch("[0-9]{1,4}", per_gpu) and 1 <= int(per_gpu) <= MOST_PER_GPU):
            raise InputError(
                f"JOBS_PER_GPU must be a whole number from 1 to {MOST_PER_GPU}, not '{in_brief(per_gpu)}'."
            )
        return chosen
    if not scheduler:
        raise InputError(
            "EXECUTOR=dask needs SCHEDULER, the address of a Dask scheduler such as tcp://host:8786 "
            "(docs/scaling.md)."
        )
    if per_gpu:
        raise InputError(
            "JOBS_PER_GPU is an option of EXECUTOR=processes; a Dask worker runs as many jobs at a time as "
            "it has threads (--nthreads)."
        )
    if importlib.util.find_spec("distributed") is None:
        raise InputError(
            "EXECUTOR=dask needs the package distributed; install it with `make env`, or with pip install "
            "distributed."
        )
    return chosen


@contextlib.contextmanager
def _calling(look: Callable[[], None]) -> Iterator[None]:
    """Call `look` once a second in another thread; raise what it raised at the end of the context."""
    over = threading.Event()

    def call() -> None:
        while not over.wait(INTERVAL):
            look()

    with ThreadPoolExecutor(1) as thread:
        called = thread.submit(call)
        try:
            yield
        finally:
            over.set()
    called.result()
