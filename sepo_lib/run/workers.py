"""Worker processes, which run jobs one after the other.

They outlive a stage and wait for the next one, because their imports take longer than a small job. After REST
seconds without a job they end, because each holds the memory of its libraries.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import connection, resource_tracker
from typing import ClassVar

from sepo_lib.config.cards import VISIBLE
from sepo_lib.config.variables import environment
from sepo_lib.run import code, endings, game_files, lock
from sepo_lib.run.events import INTERVAL
from sepo_lib.run.job import WORKER, Job, Stage, execute, note_failure

#: The environment of a worker process, set before it imports anything.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}

_NAME = "sepo-worker"

#: Seconds that a process waits for another job before it ends.
REST = 60.0
_PATIENCE = 5.0  # seconds within which a process answers the greeting
_GREETING = "are you there?"

#: Thresholds of the garbage collector. Play makes millions of objects without cycles, so it runs rarely.
GC_THRESHOLD = (100_000, 50, 50)


def run(todo: Sequence[Job], stage: Stage, number: int, cards: Sequence[str] = ()) -> dict[str, str]:
    """Run jobs in `number` processes, those with the most steps first.

    `cards` are the GPUs to spread them over (`cards.visible`): a process sees only one of them, that with the
    fewest processes when it is started. Without any, a process sees what this one sees.

    Returns the name and the error of every job that fails. If a process is killed, another one continues its
    job; a job whose process is killed again, or dies in another way, has failed. Raises what `stage.look`
    raises, and KeyboardInterrupt; then no process is left.
    """
    errors: dict[str, str] = {}
    killed: set[str] = set()  # jobs whose process was killed once
    waiting = sorted(todo, key=lambda job: -job.steps)  # the longest first, so that none is left for the end
    pool: list[Worker] = []
    try:
        while waiting or any(worker.job for worker in pool):
            while waiting and len(pool) < number:
                card = min(cards, key=[worker.card for worker in pool].count, default=None)
                pool.append(Worker.idle(card) or Worker(card))
            for worker in pool:
                if waiting and worker.job is None:
                    worker.start(waiting.pop(0), stage)
            busy = {worker.pipe: worker for worker in pool if worker.job}
            for pipe in connection.wait(list(busy), timeout=INTERVAL):
                worker, job = busy[pipe], busy[pipe].job
                name = job.name
                try:
                    error = worker.answer()
                except (EOFError, OSError):
                    exit_code = worker.end()
                    error = f"its process {endings.death(exit_code)}"
                    note_failure(name, stage, error)
                    pool.remove(worker)
                    if exit_code < 0 and name not in killed:
                        print(f"{name}: {error}. Another process continues it.", flush=True)
                        killed.add(name)
                        waiting.insert(0, job)
                        error = None
                if error is not None:
                    errors[name] = error
            stage.look()
    except BaseException:
        _end_all()
        raise
    Worker.resting += pool
    return errors


class Worker:
    """A spawned process that runs jobs one after the other; `card` is the only GPU that it sees, if given."""

    #: Workers that wait for the next stage; they end with this process.
    resting: ClassVar[list["Worker"]] = []

    def __init__(self, card: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.card = card
        self.job: Job | None = None
        self.surroundings = _surroundings()
        self.pipe, theirs = context.Pipe()
        own = {**ONE_THREAD, WORKER: "1"} | ({VISIBLE: card} if card else {})
        with environment(own), _interrupts_blocked():
            self.process = context.Process(target=_serve, args=(theirs, REST), name=_NAME, daemon=True)
            self.process.start()
        theirs.close()

    def start(self, job: Job, stage: Stage) -> None:
        """Give the worker a job."""
        self.job = job
        with contextlib.suppress(OSError):  # answer() notices a dead process
            self.pipe.send((job, stage.profile, stage.name, job.sources))

    @classmethod
    def idle(cls, card: str | None = None) -> "Worker | None":
        """A worker of an earlier stage, if one is alive and has the environment that a new one would have."""
        now = _surroundings()
        for worker in list(reversed(cls.resting)):
            fits = worker.surroundings == now
            if fits and worker.card != card:
                continue  # it waits for a job on its own GPU
            cls.resting.remove(worker)
            if fits and worker.is_awake():
                return worker
            worker.end()
        return None

    def is_awake(self) -> bool:
        """Whether the process answers. It may be about to end, because it has waited for REST seconds."""
        with contextlib.suppress(EOFError, OSError):
            self.pipe.send(_GREETING)
            return self.pipe.poll(_PATIENCE) and self.pipe.recv() == _GREETING
        return False

    def answer(self) -> str | None:
        """The error of the finished job, None without one. Raises EOFError or OSError if the process died."""
        error = self.pipe.recv()
        self.job = None
        return error

    def end(self) -> int | None:
        """Stop the process, by force after two seconds, and return its exit code."""
        self.process.terminate()
        self.process.join(2.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        return self.process.exitcode


def _end_all() -> None:
    """Stop every worker process at once: those with a job, those that wait, and one that has just started."""
    Worker.resting.clear()
    processes = [child for child in multiprocessing.active_children() if child.name == _NAME]
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(1.0)
        process.kill()  # does nothing if it has ended
        process.join()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Put interrupts off to the end of the context; a process that is started meanwhile never gets any.

    A notebook server interrupts all processes of the kernel, also one that still imports its modules.
    Python's resource tracker unblocks interrupts when it starts, so it has to run before. The mask covers
    this thread alone, and the main thread handles the interrupts of all threads. So the handler waits too: an
    interrupt in the middle of a start would leave a process that nobody knows.
    """
    resource_tracker.ensure_running()
    arrived: list[tuple] = []
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda *which: arrived.append(which)) if main else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if main:
            signal.signal(signal.SIGINT, handler)
            if arrived and callable(handler):
                handler(*arrived[0])


def _serve(pipe: connection.Connection, rest: float) -> None:
    """The main function of a worker process. The parent handles interrupts."""
    gc.set_threshold(*GC_THRESHOLD)
    endings.end_with_parent(multiprocessing.parent_process().pid)
    while pipe.poll(rest):
        asked = pipe.recv()
        if asked != _GREETING:
            job, profile, stage, sources = asked
            with lock.shared(profile):
                asked = execute(job, Stage(profile, stage), sources)
            if not gc.get_freeze_count():  # the libraries stay: a trainer's collections need not look at them
                gc.collect()
                gc.freeze()
        pipe.send(asked)


def _surroundings() -> tuple:
    """What a new process inherits or imports: the working folder, the environment, the kit, users' games."""
    return os.getcwd(), dict(os.environ), code.read(), game_files.hashes()
