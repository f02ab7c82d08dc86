"""How a command, a kernel or a worker ends before its time: by a signal, or with the process that started it.

Only the standard library is imported here, because a kernel needs this module before anything else.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

#: Set by the Makefile: the process of make that runs the command.
MAKE = "SEPO_MAKE"

#: The exit code of a command whose output nobody reads any more, as in `make push | head -3`.
NO_READER = 128 + signal.SIGPIPE

_LOOK = 0.5  # seconds between two looks at another process
_PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when the thread that started it ends
_reason = ""  # why this process sends a signal to itself


class Terminated(BaseException):
    """A signal other than an interrupt has ended the command.

    As a KeyboardInterrupt it is no Exception, so that no code takes it for an error of its own.
    """

    def __init__(self, number: int, why: str = "") -> None:
        super().__init__(f"Terminated {why or 'by ' + signal.Signals(number).name}.")
        self.number = number


@contextlib.contextmanager
def signals_raised() -> Iterator[None]:
    """Within this context SIGTERM and SIGHUP raise Terminated, as SIGINT raises KeyboardInterrupt.

    Only the first signal counts: a scheduler may send several, and what ends the processes of a run must not
    be interrupted. Signals that are ignored from the start, as SIGHUP is under nohup, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    over = []

    def end(number: int, frame: object) -> None:
        if over:
            return
        over.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number, _reason)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, end)
    try:
        yield
    finally:
        if not over:  # otherwise the process is about to end
            for number, handler in before.items():
                signal.signal(number, handler)


def said(end: KeyboardInterrupt | Terminated) -> str:
    """The sentence for what has ended a command."""
    return str(end) if isinstance(end, Terminated) else "Interrupted."


def code(end: KeyboardInterrupt | Terminated) -> int:
    """The exit code of a command that was ended by a signal, as shells compute it."""
    return 128 + (end.number if isinstance(end, Terminated) else signal.SIGINT)


def reader_gone() -> bool:
    """Whether the standard output is a pipe that nobody reads. What is left to write to it is then dropped.

    It would raise a second error when the process ends.
    """
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def end_with_make() -> None:
    """If `make` started this command and is killed, end the command as SIGTERM does.

    Otherwise it would go on in the background, where neither Ctrl-C nor a scheduler reaches it.
    """
    make = int(os.environ.pop(MAKE, 0))

    def is_above() -> bool:
        with contextlib.suppress(psutil.Error):
            return make in (process.pid for process in psutil.Process().parents())
        return False

    def end() -> None:
        global _reason
        _reason = "because make was killed"
        os.kill(os.getpid(), signal.SIGTERM)

    if make:
        import psutil

        if is_above():
            _watch(is_above, end)


def end_with_parent(parent: int) -> None:
    """End this process at once when `parent`, which has started it, ends: two processes must never train in
    one folder. On Linux this works even while C code keeps Python from running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _watch(lambda: os.getppid() == parent, lambda: os._exit(1))


def death(code: int | None) -> str:
    """How a process ended, given its exit code, which is negative after a signal."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    if code == -signal.SIGKILL:
        return f"was killed by {name}, as the system does when memory runs out (docs/faq.md, Memory)"
    return f"was ended by {name}"


def _watch(alive: Callable[[], bool], end: Callable[[], object]) -> None:
    """Call `end` in another thread when `alive` no longer holds."""

    def look() -> None:
        while alive():
            time.sleep(_LOOK)
        end()

    threading.Thread(target=look, daemon=True).start()
