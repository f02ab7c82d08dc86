"""The lock of a run: one command at a time works in the folders of a run.

    with held(run, "make reproduce"):    raises InUse, which names the holder, if the run is in use

The lock is the operating system's (`flock`) on runs/<run>/.lock, so it is free when its holder has ended, in
whatever way. The file names the holder: host, process, command, and since when (UTC).

The processes that a holder starts share the lock: `shared` in a worker, `join` in the kernel of a notebook.
If the holder is killed, the run stays in use until they have ended too, because two processes must never
train in one folder. A holder takes the lock for itself alone first, which proves that the run is free, and
then shares it.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sepo_lib.config import disk, paths
from sepo_lib.config.errors import InputError

#: Set for the kernels that a holder starts: the run, and the content of the lock's file in the next line.
HOLDER = "SEPO_HOLDER"

#: What `flock` raises where the file system has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

#: The runs that this process holds or has joined -> the content of the lock's file.
_held: dict[str, str] = {}
#: What `join` has opened; it stays open.
_joined = contextlib.ExitStack()
#: The runs whose file system has no locks, which has been said.
_warned: set[str] = set()


class InUse(InputError):
    """Another process works in the folders of the run. The message names it."""


@contextlib.contextmanager
def held(run: str, command: str) -> Iterator[None]:
    """Hold the lock of `run` within this context. A process that holds or has joined it may do so again.

    Raises InUse at once if another process works in the run. On a file system without locks it says so once
    and goes on.
    """
    if run in _held:
        yield
        return
    with _opened(run) as file:
        if not _locked(file, fcntl.LOCK_EX, run):
            raise _in_use(run)
        who = {"host": platform.node(), "process": os.getpid(), "command": command, "since": _now()}
        content = json.dumps(who)
        os.ftruncate(file, 0)
        os.pwrite(file, content.encode(), 0)
        if not _locked(file, fcntl.LOCK_SH, run):  # another command was faster between the two locks
            raise _in_use(run)
        _held[run] = content
        try:
            yield
        finally:
            del _held[run]
            os.ftruncate(file, 0)


@contextlib.contextmanager
def shared(run: str) -> Iterator[None]:
    """Share the lock of `run` with the process that holds it and that has started this one.

    Raises InUse if a command that began later has the run.
    """
    with _opened(run) as file:
        if not _locked(file, fcntl.LOCK_SH, run):
            raise _in_use(run)
        yield


def join() -> None:
    """Share the lock that `for_children` names, if any, to the end of this process.

    Raises InUse if that holder has ended and another command has the run.
    """
    run, _, holder = os.environ.get(HOLDER, "").partition("\n")
    if run:
        _joined.enter_context(shared(run))
        if _holder(run) != holder:
            raise _in_use(run)
        _held[run] = holder


def for_children(run: str) -> dict[str, str]:
    """The environment with which a process that this one starts can `join`."""
    return {HOLDER: f"{run}\n{_held[run]}"}


def in_use() -> list[InUse]:
    """An error for each run below runs/ that a process works in; nothing is raised."""
    found = []
    for file in sorted((paths.root() / "runs").glob("**/.lock")):
        run = file.parent.relative_to(paths.root() / "runs").as_posix()
        with contextlib.suppress(OSError), _opened(run) as descriptor:
            if not _locked(descriptor, fcntl.LOCK_EX, run):
                found.append(_in_use(run))
    return found


def _holder(run: str) -> str:
    """The content of the lock's file: JSON that names the last holder, or nothing."""
    try:
        return _file(run).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _file(run: str) -> Path:
    return paths.run(run) / ".lock"


@contextlib.contextmanager
def _opened(run: str) -> Iterator[int]:
    """The open file of the lock; a child process does not inherit it. To close it frees the lock."""
    path = _file(run)
    with disk.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _locked(file: int, kind: int, run: str) -> bool:
    """Whether the lock was taken."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if run not in _warned:
            where = paths.shown(_file(run).parent)
            print(
                f"The file system of {where} has no locks: start no second command for this run before the "
                "first has ended.",
                file=sys.stderr,
            )
        _warned.add(run)
    return True


def _in_use(run: str) -> InUse:
    try:
        holder = json.loads(_holder(run))
        who = (
            f"process {holder['process']} on {holder['host']} ({holder['command']}, since {holder['since']})"
        )
        here = holder["host"] == platform.node()
        left = here and not paths.is_alive(holder["process"])
    except (ValueError, KeyError, TypeError):  # it is just being written
        who, left = "another process", False
    if left:
        who = f"what {who} has started, though that process has ended"
    return InUse(f"The run {run} is in use by {who}; wait for it or stop it.")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
