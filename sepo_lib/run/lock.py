"""The lock of a run: one command at a time works in the folders of a run. And the lock of a job.

    with held(run, "make reproduce"):    raises InUse, which names the holder, if the run is in use

The lock is the operating system's (`flock`) on runs/<run>/.lock, so it is free when its holder has ended, in
whatever way. The file names the holder: host, process, command, and since when (UTC).

The processes that a holder starts share the lock: `shared` in a worker, `join` in the kernel of a notebook.
If the holder is killed, the run stays in use until they have ended too, because two processes must never
train in one folder. A holder takes the lock for itself alone first, which proves that the run is free, and
then shares it.

Jobs on other machines also take a lock in the folder of the job (`of_job`): a machine that was taken for dead
may still run it. On NFS all locks are those of its server, unless it is mounted with nolock or local_lock. A
machine that cannot reach the server loses its locks after the time of a lease (90 seconds on Linux).
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import sys
import time
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
#: The files of locks whose file system has none, which has been said.
_warned: set[Path] = set()

_LOOK = 0.5  # seconds between two attempts to take the lock of a job


class InUse(InputError):
    """Another process works in the folders of the run. The message names it."""


@contextlib.contextmanager
def held(run: str, command: str) -> Iterator[None]:
    """Hold the lock of `run` within this context. A process that holds or has joined it may do so again.

    Raises InUse at once if another process works in the run. On a file system without locks it says so once
    and goes on. If the lock is all that the folder of the run holds at the end, both are removed.
    """
    if run in _held:
        yield
        return
    path = _file(run)
    with _opened(path) as file:
        if not _locked(file, fcntl.LOCK_EX, path):
            raise _in_use(run)
        if not os.fstat(file).st_nlink:  # its holder removed it between the opening and the lock
            raise _in_use(run)
        content = _write_holder(file, command)
        if not _locked(file, fcntl.LOCK_SH, path):  # another command was faster between the two locks
            raise _in_use(run)
        _held[run] = content
        try:
            yield
        finally:
            del _held[run]
            os.ftruncate(file, 0)
            _remove_alone(file, path)


@contextlib.contextmanager
def shared(run: str) -> Iterator[None]:
    """Share the lock of `run` with the process that holds it and that has started this one.

    Raises InUse if a command that began later has the run.
    """
    path = _file(run)
    with _opened(path) as file:
        if not _locked(file, fcntl.LOCK_SH, path):
            raise _in_use(run)
        yield


@contextlib.contextmanager
def of_job(folder: Path, patience: float) -> Iterator[str]:
    """Hold the lock of the job in `folder` within this context, in this process alone.

    Gives who held it before and has ended before its time, or nothing. Raises InUse if another process still
    holds it after `patience` seconds.
    """
    path = folder / ".lock"
    with _opened(path) as file:
        until = time.monotonic() + patience
        while not _locked(file, fcntl.LOCK_EX, path):
            if time.monotonic() > until:
                who = _name(_read(path)) or "another process"
                raise InUse(
                    f"The job {folder.name} is still run by {who}; stop it and run the same command again."
                )
            time.sleep(_LOOK)
        before = _name(_read(path))
        _write_holder(file, "a job")
        yield before
        os.ftruncate(file, 0)


def is_real(run: str) -> bool:
    """Whether the file system has locks; known once this process has taken that of `run`."""
    return _file(run) not in _warned


def join() -> None:
    """Share the lock that `for_children` names, if any, to the end of this process.

    Raises InUse if that holder has ended and another command has the run.
    """
    run, _, holder = os.environ.get(HOLDER, "").partition("\n")
    if run:
        _joined.enter_context(shared(run))
        if _read(_file(run)) != holder:
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
        with contextlib.suppress(OSError), _opened(file) as descriptor:
            if not _locked(descriptor, fcntl.LOCK_EX, file):
                found.append(_in_use(run))
    return found


def _read(path: Path) -> str:
    """The content of a lock's file: JSON that names the last holder, or nothing."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _write_holder(file: int, command: str) -> str:
    """Write into the open file of a lock that this process holds it, and return that text."""
    who = {"host": platform.node(), "process": os.getpid(), "command": command, "since": _now()}
    content = json.dumps(who)
    os.ftruncate(file, 0)
    os.pwrite(file, content.encode(), 0)
    return content


def _name(content: str) -> str:
    """The holder that the content of a lock's file names; nothing if it names none."""
    try:
        holder = json.loads(content)
        return (
            f"process {holder['process']} on {holder['host']} ({holder['command']}, since {holder['since']})"
        )
    except (ValueError, KeyError, TypeError):  # it is empty, or just being written
        return ""


def _file(run: str) -> Path:
    return paths.run(run) / ".lock"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The open file of the lock; a child process does not inherit it. To close it frees the lock."""
    with disk.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield file
    finally:
        os.close(file)


def _remove_alone(file: int, path: Path) -> None:
    """Remove the lock and its folder if nothing else is in there, as after a command that was refused."""
    if os.listdir(path.parent) == [path.name] and _locked(file, fcntl.LOCK_EX, path):
        path.unlink()
        depth = len(path.relative_to(paths.root() / "runs").parts) - 1
        with contextlib.suppress(OSError):  # a folder that is not empty, and all above it, stay
            for folder in path.parents[:depth]:
                folder.rmdir()


def _locked(file: int, kind: int, path: Path) -> bool:
    """Whether the lock was taken; `path` is that of the open `file`."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if path not in _warned:
            where = paths.shown(path.parent)
            print(
                f"The file system of {where} has no locks: start no second command for this run before the "
                "first has ended.",
                file=sys.stderr,
            )
        _warned.add(path)
    return True


def _in_use(run: str) -> InUse:
    content = _read(_file(run))
    who = _name(content)
    if who:
        holder = json.loads(content)
        if holder["host"] == platform.node() and not paths.is_alive(holder["process"]):
            who = f"what {who} has started, though that process has ended"
    return InUse(f"The run {run} is in use by {who or 'another process'}; wait for it or stop it.")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
