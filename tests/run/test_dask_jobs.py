"""Jobs on a Dask cluster of two worker processes: the same results, also if one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import distributed
import psutil
import pytest

from sepo_lib.config import cards, paths
from sepo_lib.config.errors import InputError
from sepo_lib.run import code, dask_jobs, executors, jobs, lock

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers, started in an empty folder and without the kit: address, processes."""
    folder = tmp_path_factory.mktemp("cluster")
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    started = []

    def start(kind, *options):
        with (folder / f"{kind}-{len(started)}.txt").open("w") as log:
            command = [sys.executable, "-m", f"{distributed.__name__}.cli.dask_{kind}", *options]
            command += ["--no-dashboard"] if kind == "worker" else ["--no-dashboard", "--no-show"]
            started.append(subprocess.Popen(command, cwd=folder, env=outside, stdout=log, stderr=log))

    try:
        start("scheduler", "--host=127.0.0.1", "--port=0", "--scheduler-file=scheduler.json")
        for _ in range(2):
            start("worker", "--scheduler-file=scheduler.json", "--nthreads=1", "--no-nanny")
        file = folder / "scheduler.json"
        until = time.monotonic() + 60
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        with dask_jobs.connected(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, started
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch, cluster):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests"))
    monkeypatch.setenv(executors.EXECUTOR, "dask")
    monkeypatch.setenv(executors.SCHEDULER, cluster[0])
    return tmp_path


def slow(name, steps=8):
    return jobs.Job(name, "toy_jobs:slowly", {"steps": steps}, steps)


def has_ended(pid):
    """Whether a process has ended, also if nobody has asked for its exit code yet."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def logged(kind):
    events = map(json.loads, paths.events("smoke").read_text().splitlines())
    return [event for event in events if event["event"] == kind]


def test_a_job_that_fails_is_not_run_again(capsys):
    bad, good = jobs.Job("bad", "toy_jobs:fail", {"text": "no luck"}, 5), slow("good", 1)
    with pytest.raises(jobs.JobError, match=r"^1 of 2 jobs of sft failed: bad \(ValueError: no luck; see "):
        jobs.run([bad, good], "smoke", "sft")
    assert [event["job"] for event in logged("job_start")].count("bad") == 1
    assert "no luck" in (paths.job("smoke", "bad") / "error.txt").read_text()
    assert jobs.run([good], "smoke", "sft") == {"good": {"steps": [1]}}
    assert capsys.readouterr().out == "1 of 1 jobs of sft were finished before and are skipped.\n"


def test_a_job_whose_process_is_killed_is_run_once_more(capsys):
    with pytest.raises(jobs.JobError, match=r"killed \(its process was killed by SIGKILL"):
        jobs.run([jobs.Job("killed", "toy_jobs:killed", {}, 1)], "smoke", "sft")
    assert len(logged("job_start")) == 2
    assert (
        "killed: its process was killed by SIGKILL, as the system does when memory" in capsys.readouterr().out
    )


def test_a_job_takes_its_part_of_a_gpu_that_the_threads_of_its_worker_share(monkeypatch):
    monkeypatch.setenv(cards.JOBS, "7")  # of this machine; those of a worker are its threads, here one
    done = jobs.run([jobs.Job("a", "toy_jobs:see", {"name": cards.JOBS}, 1)], "smoke", "one", workers=2)
    assert done["a"]["value"] == "1"


def test_an_interrupt_leaves_no_process_and_no_lock():
    def interrupt(progress):
        if (paths.job("smoke", "a") / "pid.txt").exists():
            raise KeyboardInterrupt

    todo = [jobs.Job(name, "toy_jobs:sleep", {"seconds": 60}, 1) for name in "ab"]
    with pytest.raises(jobs.Interrupted):
        jobs.run(todo, "smoke", "sft", watch=interrupt)
    pid = int((paths.job("smoke", "a") / "pid.txt").read_text())
    assert has_ended(pid)
    with lock.held("smoke", "the same command"):
        pass


def test_a_job_waits_for_a_process_that_was_taken_for_dead_and_still_runs_it():
    folder, released = paths.job("smoke", "a"), []

    def hold():
        with lock.of_job(folder, 0.0):
            while not paths.events("smoke").exists():
                time.sleep(0.05)
            time.sleep(2.5)
            released.append(time.time())

    holder = threading.Thread(target=hold)
    holder.start()
    jobs.run([slow("a", 1)], "smoke", "sft")
    holder.join()
    assert logged("job_start")[0]["time"] > released[0]


def refused(sentence):
    with pytest.raises(InputError, match=sentence):
        jobs.run([slow("a", 1)], "smoke", "sft")
    assert not logged("job_start")


def test_a_worker_with_other_code_libraries_or_folders_refuses(monkeypatch, tmp_path):
    with monkeypatch.context() as other:
        other.setattr(code, "libraries", lambda: {"python": "2.7"})
        refused(r"^The Dask worker on .* has .*, not ")
    with monkeypatch.context() as other:
        other.setattr(dask_jobs, "_KIT", tmp_path / "nowhere")
        refused(r"^The Dask worker tcp://.* on .* lacks the folder .*nowhere; all machines need")
    with monkeypatch.context() as other:
        other.setattr(lock, "for_children", lambda run: {lock.HOLDER: f"{run}\nof another folder"})
        refused(r"^The Dask worker on .* finds another content in .*smoke; all machines need the same")
    with monkeypatch.context() as other:
        package = tmp_path / "sepo_lib" / "run"  # a kit that fails
        package.mkdir(parents=True)
        for file in (package.parent / "__init__.py", package / "__init__.py"):
            file.touch()
        (package / "dask_jobs.py").write_text("raise SystemExit('an older kit')")
        other.setattr(dask_jobs, "_KIT", tmp_path)
        refused(r"^The Dask worker tcp://.* on .* cannot run jobs of the kit: an older kit$")


def test_a_scheduler_that_does_not_answer_is_an_error(monkeypatch):
    monkeypatch.setattr(dask_jobs, "_CONNECT", 0.2)
    monkeypatch.setenv(executors.SCHEDULER, "tcp://127.0.0.1:1")
    with pytest.raises(InputError, match=r"^No Dask scheduler answers at tcp://127\.0\.0\.1:1; start one"):
        executors.check()
    for address in ("nonsense", "tcp://host", "host:port", "host:1 "):
        monkeypatch.setenv(executors.SCHEDULER, address)
        with pytest.raises(InputError, match=rf"as tcp://host:8786, not '{address}'\.$"):
            executors.check()


def test_a_job_whose_worker_is_killed_is_continued_by_another_with_the_same_bytes(
    cluster, root, monkeypatch, tmp_path
):
    todo = [slow(name) for name in "ab"]
    with monkeypatch.context() as here:
        here.setenv("SEPO_ROOT", str(tmp_path / "here"))
        here.delenv(executors.EXECUTOR)
        here.delenv(executors.SCHEDULER)
        expected = jobs.run(todo, "smoke", "sft", workers=2)
        local = contents()

    killed = []

    def kill(progress):
        """Kill one of the workers when its job is at its third step."""
        state = paths.job("smoke", "a") / "state.json"
        if not killed and state.exists() and len(json.loads(state.read_text())) >= 3:
            holder = json.loads((paths.job("smoke", "a") / ".lock").read_text())["process"]
            worker = psutil.Process(holder).ppid()
            assert worker in [process.pid for process in cluster[1][1:]]
            os.kill(worker, signal.SIGKILL)
            killed.append(holder)

    assert jobs.run(todo, "smoke", "sft", watch=kill) == expected
    assert contents() == local
    assert has_ended(killed[0])
    starts = [event["job"] for event in logged("job_start")]
    assert sorted(starts) == ["a", "a", "b"] and len(logged("job_end")) == 2
    (said,) = logged("said")
    assert said["text"].startswith(f"a: process {killed[0]} on ")
    steps = [event["step"] for event in logged("step") if event["job"] == "a"]
    assert steps[-1] == 8 and steps.count(1) == 1  # it has not begun again


def contents():
    """The bytes of the results of the jobs a and b, and their fingerprints."""
    found = {}
    for name in "ab":
        folder = paths.job("smoke", name)
        done = json.loads((folder / "done.json").read_text())
        found[name] = (folder / "state.json").read_bytes(), done["fingerprint"], done["result"]
        assert {file.name for file in folder.iterdir()} <= {
            *("state.json", "done.json", "started.json", "log.txt", ".lock")
        }
    return found


def test_a_scheduler_that_ends_is_named_and_leaves_no_process(cluster):
    file = paths.job("smoke", "a") / "pid.txt"

    def end(progress):
        if file.exists():
            cluster[1][0].kill()

    with pytest.raises(
        InputError, match=rf"^The Dask scheduler {cluster[0]} has ended or given up the jobs; "
    ):
        jobs.run([jobs.Job("a", "toy_jobs:sleep", {"seconds": 60}, 1)], "smoke", "sft", watch=end)
    assert has_ended(int(file.read_text()))
