"""The lock of a run: one command at a time, freed by the death of its holder and of what it has started."""

import errno
import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sepo_lib.config import paths
from sepo_lib.config.errors import StorageError
from sepo_lib.run import jobs, lock

REPOSITORY = Path(__file__).resolve().parents[2]

HOLDER = """
import subprocess, sys, time
from sepo_lib.run import lock
child = "from sepo_lib.run import lock; import time; lock.join(); print('joined', flush=True); time.sleep(60)"
with lock.held("a", "make reproduce"):
    print("held", flush=True)
    if sys.argv[1] == "with a kernel":
        import os
        kernel = subprocess.Popen([sys.executable, "-c", child], env={**os.environ, **lock.for_children("a")})
        print(kernel.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return tmp_path


@pytest.fixture
def start():
    """Start a process that holds the run "a" for a minute; at the end no process is left."""
    started = []

    def begin(kind):
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, kind], stdout=subprocess.PIPE, text=True)
        started.append(holder.pid)
        assert holder.stdout.readline() == "held\n"
        if kind == "with a kernel":
            said = {holder.stdout.readline().strip() for _ in range(2)} - {"joined"}
            started.append(int(said.pop()))
        return holder, started[-1]

    yield begin
    for process in started:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_the_second_command_is_told_who_holds_the_run_and_a_killed_holder_frees_it(start):
    holder, _ = start("alone")
    who = rf"process {holder.pid} on {re.escape(platform.node())} \(make reproduce, since 20\d\d-.* UTC\)"
    with pytest.raises(lock.InUse, match=rf"^The run a is in use by {who}; wait for it or stop it\.$"):
        lock.held("a", "make figures").__enter__()
    with pytest.raises(lock.InUse, match=who):  # a notebook that is stepped through by hand
        jobs.run([jobs.Job("one", "toy_jobs:count", {"start": 1, "steps": 1}, 1)], "a", "toys")
    assert [file.name for file in paths.run("a").iterdir()] == [".lock"]  # nothing was changed
    with lock.held("b", "another run"):
        assert [str(error)[:12] for error in lock.in_use()] == ["The run a is", "The run b is"]
    holder.kill()
    holder.wait()
    with lock.held("a", "make figures"), lock.held("a", "in the same process"):
        assert json.loads((paths.run("a") / ".lock").read_text())["process"] == os.getpid()
    assert lock.in_use() == [] and not paths.run("a").exists()  # a command that did nothing leaves nothing


def test_what_a_killed_holder_has_started_keeps_the_run_in_use_until_it_ends(start):
    holder, kernel = start("with a kernel")
    holder.kill()
    holder.wait()
    with pytest.raises(
        lock.InUse, match=rf"by what process {holder.pid} .* has started, though that process has"
    ):
        lock.held("a", "make reproduce").__enter__()
    os.kill(kernel, signal.SIGKILL)
    holder.stdout.read()  # to its end, which comes when the kernel has ended too
    with lock.held("a", "make reproduce"):
        pass


def test_a_worker_and_a_kernel_share_the_lock_with_their_holder_alone():
    other = "from sepo_lib.run import lock\nwith lock.shared('a'): lock.join()\nwith lock.held('a', ''): pass"

    def share(environment):
        command = [sys.executable, "-c", other]
        return subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True
        ).stderr

    with lock.held("a", "make reproduce"):
        assert share(lock.for_children("a")) == ""
        assert "InUse: The run a is in use" in share({lock.HOLDER: "a\none that has ended since"})


def test_a_file_system_without_locks_is_named_once_and_used(monkeypatch, capsys):
    def none(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    with lock.held("no-locks", "make reproduce"):
        assert lock.is_real("no-locks")
    monkeypatch.setattr("fcntl.flock", none)
    for _ in range(2):
        with lock.held("no-locks", "make reproduce"):
            assert not lock.is_real("no-locks")
    said = capsys.readouterr().err
    assert (
        said.startswith("The file system of runs/no-locks has no locks: start no second")
        and said.count("\n") == 1
    )


def test_a_folder_that_cannot_be_written_is_named(root):
    (root / "runs").write_text("a file in the place of the folder")
    with pytest.raises(StorageError, match=r"^A folder on the path runs/a is a file; move that file away"):
        lock.held("a", "make reproduce").__enter__()


def test_the_lock_of_a_job_names_who_holds_it_and_who_died_with_it(root):
    folder = root / "job"
    with lock.of_job(folder, 0.0) as before:
        assert before == ""
        with pytest.raises(
            lock.InUse, match=rf"^The job job is still run by process {os.getpid()} on .*; stop"
        ):
            lock.of_job(folder, 0.0).__enter__()
    with pytest.raises(KeyboardInterrupt), lock.of_job(folder, 0.0):
        raise KeyboardInterrupt  # or a kill
    with lock.of_job(folder, 0.0) as before:
        assert before.startswith(f"process {os.getpid()} on ")
    with lock.of_job(folder, 0.0) as before:
        assert before == ""
