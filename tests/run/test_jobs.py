"""Training jobs: done once, continued after a failure, started afresh when their arguments change."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import sepo_lib
from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.run import code, events, headless, jobs, workers
from sepo_lib.run import job as job_


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    return tmp_path


def counting(name, steps=3, start=1):
    return jobs.Job(name, "toy_jobs:count", {"start": start, "steps": steps}, steps)


def logged():
    return [json.loads(line) for line in paths.events("smoke").read_text().splitlines()]


def test_processes_return_every_result_and_show_progress():
    seen = []
    todo = [counting(f"count/{number}") for number in range(3)]
    results = jobs.run(todo, "smoke", "sft", workers=2, watch=seen.append)
    assert list(results) == ["count/0", "count/1", "count/2"]
    assert all(result["threads"] == "1" and result["pid"] != os.getpid() for result in results.values())
    assert os.environ.get("SEPO_WORKER") is None
    last = seen[-1]
    assert (last.stage, last.jobs_done, last.jobs_total, last.steps_done, last.steps_total) == (
        "sft",
        3,
        3,
        9,
        9,
    )
    assert last.finished and last.left == 0.0
    assert last.metrics["count/1"] == {"loss": pytest.approx(1 / 3)}
    assert (paths.checkpoints("smoke") / "count/0/log.txt").read_text() == "counting\n"


def test_a_job_has_the_same_threads_in_this_process_and_in_others():
    import torch

    before = torch.get_num_threads()
    number = before + 1
    todo = [jobs.Job(name, "torch_jobs:threads", {}, 1, number) for name in ("a", "b")]
    assert list(jobs.run(todo, "smoke", "one", workers=1).values()) == [number, number]
    assert torch.get_num_threads() == before
    for job in todo:
        (paths.job("smoke", job.name) / "done.json").unlink()
    assert list(jobs.run(todo, "smoke", "two", workers=2).values()) == [number, number]
    assert todo[0].fingerprint != jobs.Job("a", "torch_jobs:threads", {}, 1).fingerprint


@pytest.mark.parametrize("number, processes", [(3, 3), (4, 2)])
def test_an_odd_job_is_not_left_for_last(number, processes):
    todo = [counting(f"count/{i}") for i in range(number)]
    results = jobs.run(todo, "smoke", "sft", workers=2)
    used = {result["pid"] for result in results.values()}
    assert len(used) == processes if number == 3 else len(used) <= processes  # one may take several


def test_processes_wait_for_the_next_stage_but_not_for_long(monkeypatch):
    def pids(stage, names):
        results = jobs.run([counting(f"{stage}/{name}") for name in names], "smoke", stage, workers=2)
        frozen.append([result["frozen"] for result in results.values()])
        return {result["pid"] for result in results.values()}

    frozen: list[list[bool]] = []
    first = pids("sft", "ab")
    assert pids("sepo", "ab") == first
    assert frozen == [[False] * 2, [True] * 2]  # no collection of a later job goes through the libraries
    assert pids("three", "abc") > first
    assert len(pids("four", "abcd")) <= 2
    monkeypatch.setenv("SEPO_CHANGED", "1")  # a new process would find this, one that waits would not
    monkeypatch.setattr(workers, "REST", 0.5)
    assert not pids("later", "ab") & first
    resting = [worker.process for worker in workers.Worker.resting]
    for process in resting:
        process.join(10.0)
        assert process.exitcode == 0  # it has not waited any longer
    assert len(resting) == 2 and workers.Worker.idle() is None  # no job is given to a process that has ended


def test_processes_that_wait_outlive_an_interrupt_of_another_cell():
    """A notebook server sends it to every process of the kernel."""

    def pids(stage):
        results = jobs.run([counting(f"{stage}/{name}") for name in "ab"], "smoke", stage, workers=2)
        return {result["pid"] for result in results.values()}

    first = pids("sft")
    for pid in first:
        os.kill(pid, signal.SIGINT)
    assert pids("sepo") == first


def test_the_longest_jobs_are_handed_out_first(monkeypatch):
    handed, start = [], workers.Worker.start

    def watched(worker, job, *rest):
        handed.append(job.name)
        start(worker, job, *rest)

    monkeypatch.setattr(workers.Worker, "start", watched)
    todo = [counting(f"count/{steps}", steps=steps) for steps in (2, 3, 40, 4)]
    results = jobs.run(todo, "smoke", "sft", workers=2)
    assert handed == ["count/40", "count/4", "count/3", "count/2"]
    assert list(results) == [job.name for job in todo]


def test_a_finished_job_is_skipped_and_said_so_once(capsys):
    first = jobs.run([counting("a")], "smoke", "sft")
    assert capsys.readouterr().out == ""
    assert jobs.run([counting("a"), counting("b")], "smoke", "sft")["a"] == first["a"]
    assert capsys.readouterr().out == "1 of 2 jobs of sft were finished before and are skipped.\n"
    assert [event["job"] for event in logged() if event["event"] == "job_start"] == ["a", "b"]


def test_other_arguments_start_in_an_empty_folder_and_the_earlier_one_is_kept(capsys):
    jobs.run([counting("a", steps=3)], "smoke", "sft")
    with headless.progress("smoke", "the notebook"):
        assert jobs.run([counting("a", steps=4)], "smoke", "sft")["a"]["first"] == 1
    (kept,) = (paths.run("smoke") / "replaced").rglob("a")
    assert json.loads((kept / "done.json").read_text())["result"]["first"] == 1
    said = (
        "1 of 1 jobs of sft starts again: the argument steps was 3 and is 4. The earlier results are now "
        f"in {paths.relative(kept.parents[3])}/."
    )
    assert capsys.readouterr().out.splitlines() == [  # the job's, and the command's that runs its notebook
        *("the notebook", said),
        *(said, "the notebook  done in 0:00"),
    ]
    assert counting("a", steps=3).fingerprint != counting("a", steps=4).fingerprint
    assert counting("a").fingerprint == counting("b").fingerprint  # the name is the folder, not the work


def test_a_changed_file_of_a_users_game_makes_other_jobs(tmp_path, monkeypatch):
    file = tmp_path / "own_game.py"
    file.write_text("from sepo_lib.games.split import Split\n\n\nclass Own(Split):\n    name = 'own'\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("own_game")
    monkeypatch.setitem(games.GAMES, "own", module.Own())
    own, other = (jobs.Job("a", "toy_jobs:count", {"game": game}, 1) for game in ("own", "split"))
    before = own.fingerprint, other.fingerprint
    file.write_text(file.read_text() + "    max_payoff = 7.0\n")
    assert own.fingerprint != before[0] and other.fingerprint == before[1]


def libraries(monkeypatch, **versions):
    monkeypatch.setattr(code, "libraries", lambda: {"python": "3.11", **versions})


def test_other_libraries_make_finished_jobs_stale_unless_reuse_accepts_them(monkeypatch, capsys):
    """An unfinished job continues with REUSE, too."""
    todo = [counting(name) for name in "ab"]
    half = jobs.Job("c", "toy_jobs:fail_until_mended", {"steps": 10}, 10)
    libraries(monkeypatch, torch="2.12")
    first = jobs.run(todo, "smoke", "sepo")
    with pytest.raises(jobs.JobError):
        jobs.run([half], "smoke", "sepo")
    libraries(monkeypatch, torch="2.13")
    assert not any(job_.finished("smoke", job) for job in todo)
    assert job_.state("smoke", todo[0]) == ("stale", "torch was 2.12 and is 2.13")
    capsys.readouterr()
    with monkeypatch.context() as reusing:
        reusing.setenv("SEPO_REUSE", "yes")
        assert jobs.run([*todo, half], "smoke", "sepo") == first | {"c": {**first["a"], "first": 5}}
        assert job_.state("smoke", todo[0]) == ("reused", "torch was 2.12 and is 2.13")
    assert capsys.readouterr().out.splitlines()[:2] == [
        "2 of 3 jobs of sepo were finished before and are skipped.",
        "2 of 3 jobs of sepo are reused, as REUSE=yes asks, although the code or the libraries differ: "
        "torch was 2.12 and is 2.13.",
    ]
    note = paths.job("smoke", "c") / "done.json"
    assert json.loads(note.read_text())["libraries"]["torch"] == "2.12/2.13"  # both have made it
    with pytest.raises(jobs.JobError, match="killed half-way"):  # from its beginning
        jobs.run([*todo, half], "smoke", "sepo")
    said = capsys.readouterr().out
    assert "2 of 3 jobs of sepo start again: torch was 2.12 and is 2.13." in said
    assert "1 of 3 jobs of sepo starts again: torch was 2.12/2.13 and is 2.13." in said
    monkeypatch.setenv("SEPO_REUSE", "yes")
    assert jobs.run([counting("a", steps=4)], "smoke", "sepo")["a"]["first"] == 1  # other arguments


def test_what_is_made_from_reused_results_belongs_to_no_code_alone(monkeypatch):
    """Without REUSE the SFT job runs again, and so does all that was made from its earlier model."""
    sft = counting("sft")
    sepo = jobs.Job("sepo", "toy_jobs:follow", {"sft_job": "sft"}, 1)
    copy = jobs.Job("copy", "toy_jobs:follow", {"sft_job": "sft", "copies": "sepo"}, 1)
    late = jobs.Job("late", "toy_jobs:follow", {"sft_job": "none", "copies": "sepo"}, 1)
    todo = [sft, sepo, copy, late]
    libraries(monkeypatch, torch="2.12")
    jobs.run([sft], "smoke", "sft")
    libraries(monkeypatch, torch="2.13")
    with monkeypatch.context() as reusing:
        reusing.setenv("SEPO_REUSE", "yes")
        jobs.run(todo, "smoke", "sepo")
        assert [job_.state("smoke", job).name for job in todo] == ["reused"] * 4
    assert [job_.state("smoke", job).name for job in todo] == ["stale"] * 4
    assert job_.state("smoke", late).reason == "torch was 2.12/2.13 and is 2.13"
    libraries(monkeypatch, torch="2.12")  # the code that made the first job makes none of the others
    assert [job_.state("smoke", job).name for job in todo] == ["finished", "stale", "stale", "stale"]


def unlink(file):
    file.unlink()


def grow(file):
    file.write_text("333")


def change(file):
    file.write_text("4")


def empty(file):
    file.write_text("")


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("state.txt", unlink, "state.txt of a is missing"),
        ("state.txt", grow, "state.txt of a has 3 bytes in the place of 1"),
        ("state.txt", change, "state.txt of a has another content"),
        ("done.json", empty, "runs/smoke/checkpoints/a/done.json is damaged"),
        ("done.json", grow, "runs/smoke/checkpoints/a/done.json is damaged"),
    ],
)
def test_a_job_whose_files_have_changed_is_not_finished(name, damage, said, capsys):
    first = jobs.run([counting("a")], "smoke", "sft")
    assert job_.finished("smoke", counting("a"))
    folder = paths.job("smoke", "a")
    for file in (folder / "log.txt", folder / "trainer" / "checkpoint-1" / "x.bin", folder / "model" / "new"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("no part of the result")
    assert job_.finished("smoke", counting("a"))
    damage(folder / name)
    assert job_.state("smoke", counting("a")) == ("damaged", said)
    assert jobs.run([counting("a")], "smoke", "sft") == first
    assert capsys.readouterr().out.startswith(f"1 of 1 jobs of sft starts again: {said}. The earlier")
    (kept,) = (paths.run("smoke") / "replaced").rglob("a")
    assert (kept / "trainer" / "checkpoint-1" / "x.bin").exists() and not (folder / "trainer").exists()


def test_notes_that_are_lost_or_emptied_stop_nothing(capsys):
    """started.json of a finished job is written again; without it nobody knows what an unfinished one did."""
    note = paths.job("smoke", "a") / "started.json"
    first = jobs.run([counting("a")], "smoke", "sft")
    before = note.read_text()
    for damage in (unlink, empty):
        damage(note)
        assert jobs.run([counting("a")], "smoke", "sft") == first and note.read_text() == before
        assert (
            "runs/smoke/checkpoints/a/started.json was missing or damaged and has been"
            in capsys.readouterr().out
        )
    for name, damage, said in (("b", unlink, "of b is missing"), ("c", empty, "c/started.json is damaged")):
        bad = jobs.Job(name, "toy_jobs:fail_until_mended", {"steps": 10}, 10)
        with pytest.raises(jobs.JobError, match="killed half-way"):
            jobs.run([bad], "smoke", "sft")
        damage(paths.job("smoke", name) / "started.json")
        with pytest.raises(jobs.JobError, match="killed half-way"):  # from its beginning
            jobs.run([bad], "smoke", "sft")
        assert said in capsys.readouterr().out


EDITED = """\
import os, sys
from pathlib import Path
from sepo_lib.config.errors import InputError
from sepo_lib.run import jobs
def run():
    needs = ("sepo_lib.method.credit:assign",)
    jobs.run([jobs.Job("a", "toy_jobs:count", {"start": 1, "steps": 3}, 3, needs=needs)], "smoke", "SEPO")
def edit(old, new):
    file = Path("sepo_lib/method/credit.py")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
"""
FLIP = 'edit("payoff_NGT - penalty_NGT", "payoff_NGT + penalty_NGT")'


def test_an_edit_of_the_code_is_noticed(tmp_path, monkeypatch):
    """In a copy of the kit: by a later process, and by one that began before it."""
    shutil.copytree(Path(sepo_lib.__file__).parent, tmp_path / "sepo_lib")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])]))

    def said(lines):
        command = [sys.executable, "-c", EDITED + lines]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    running = f"run()\n{FLIP}\ntry:\n  run()\nexcept InputError as error:\n  print(error)"
    assert said(running) == (
        "sepo_lib/method/credit.py has changed since this process started; restart it (in a notebook: the "
        "kernel) and run again.\n"
    )
    again = said("run()")
    assert again.startswith("1 of 1 jobs of SEPO starts again: sepo_lib/method/credit.py has changed. The")
    (kept,) = (paths.run("smoke") / "replaced").rglob("a")
    assert {"done.json", "state.txt"} <= {file.name for file in kept.iterdir()}
    skipped = "1 of 1 jobs of SEPO were finished before and are skipped"
    assert said("edit('def _check(', '# why\\ndef _check(')\nrun()") == f"{skipped}.\n"


def test_a_worker_with_other_code_runs_nothing():
    """It was started after an edit that the process of the notebook has not seen."""
    ours = counting("a").sources
    error = job_.execute(counting("a"), jobs.Stage("smoke", "sft"), {**ours, "toy_jobs.py": "another"})
    assert error.startswith("toy_jobs.py has changed since this process started; restart it")
    assert job_.execute(counting("a"), jobs.Stage("smoke", "sft"), ours) is None


def test_a_job_that_failed_continues_in_its_folder():
    job = jobs.Job("a", "toy_jobs:fail_until_mended", {"steps": 10}, 10)
    with pytest.raises(jobs.JobError, match="killed half-way"):
        jobs.run([job], "smoke", "sepo")
    assert jobs.run([job], "smoke", "sepo")["a"]["first"] == 5
    assert not (paths.checkpoints("smoke") / "a" / "error.txt").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_job_lets_the_others_finish_and_is_named(workers):
    bad = jobs.Job("bad", "toy_jobs:fail", {"text": "no luck"}, 5)
    with pytest.raises(jobs.JobError) as caught:
        jobs.run([bad, counting("good")], "smoke", "sepo", workers=workers)
    assert str(caught.value) == (
        "1 of 2 jobs of sepo failed: bad (ValueError: no luck; see runs/smoke/checkpoints/bad/error.txt)."
    )
    assert "Traceback" in (paths.checkpoints("smoke") / "bad" / "error.txt").read_text()
    assert (paths.checkpoints("smoke") / "good" / "done.json").exists()
    assert logged()[-1]["failed"] == ["bad"]


def test_a_process_that_dies_is_a_failed_job_and_one_that_is_killed_has_a_second_chance(capsys):
    dying = [jobs.Job(name, f"toy_jobs:{name}", {}, 1) for name in ("die", "killed")]
    with pytest.raises(jobs.JobError) as caught:
        jobs.run([*dying, counting("a"), counting("b")], "smoke", "sepo", workers=2)
    said = str(caught.value)
    assert "die (its process ended with exit code 9; see runs/smoke/checkpoints/die/error.txt)" in said
    oom = "its process was killed by SIGKILL, as the system does when memory runs out (docs/faq.md, Memory)"
    assert f"killed ({oom}; see " in said
    assert capsys.readouterr().out == f"killed: {oom}. Another process continues it.\n"
    begun = [event["job"] for event in logged() if event["event"] == "job_start"]
    assert sorted(begun) == ["a", "b", "die", "killed", "killed"]
    assert all((paths.checkpoints("smoke") / name / "done.json").exists() for name in "ab")


def test_an_interrupt_ends_the_workers():
    def interrupt(progress):
        pids = [paths.checkpoints("smoke") / name / "pid.txt" for name in "ab"]
        if all(pid.exists() and pid.read_text() for pid in pids):
            raise KeyboardInterrupt

    todo = [jobs.Job(name, "toy_jobs:sleep", {"seconds": 60}, 1) for name in "ab"]
    with pytest.raises(jobs.Interrupted, match="Finished jobs are kept"):
        jobs.run(todo, "smoke", "sepo", workers=2, watch=interrupt)
    for name in "ab":
        with pytest.raises(ProcessLookupError):
            os.kill(int((paths.checkpoints("smoke") / name / "pid.txt").read_text()), 0)


def test_reports_are_throttled_but_the_last_one_is_kept():
    jobs.run([counting("a", steps=200)], "smoke", "sft")
    steps = [event["step"] for event in logged() if event["event"] == "step"]
    assert steps[0] == 1 and steps[-1] == 200 and len(steps) < 20


def test_a_job_says_what_it_does_before_its_first_step():
    seen = []

    def watch(progress):
        seen.append((progress.now, progress.steps_done, progress.finished))

    jobs.run([jobs.Job("a", "toy_jobs:say", {"seconds": 2.5}, 4)], "smoke", "sft", watch=watch)
    said = [event["doing"] for event in logged() if event["event"] == "doing"]
    assert said == [
        "loading the libraries",
        "step 1 of 4",
        "loading the model",
        "loading the model, 48 tokens sampled",
    ]
    assert ("a: loading the model, 48 tokens sampled", 0, False) in seen  # in a thread, while the job is busy
    assert seen[-1] == ("", 4, True)


def test_an_error_in_watch_is_raised_when_the_jobs_have_ended():
    def watch(progress):
        raise RuntimeError("no screen")

    with pytest.raises(RuntimeError, match="no screen"):
        jobs.run([jobs.Job("a", "toy_jobs:sleep", {"seconds": 1.5}, 1)], "smoke", "sft", watch=watch)
    assert (paths.checkpoints("smoke") / "a" / "done.json").exists()


def test_two_jobs_may_not_share_a_folder():
    with pytest.raises(ValueError, match="'sft' and 'sft/ipd' would share a folder"):
        jobs.run([counting("sft/ipd"), counting("sft")], "smoke", "sft")


def test_the_time_left_counts_only_steps_made_now():
    follower = events.Follower("smoke")
    assert follower.read() is None
    events.log_event("smoke", "stage_start", stage="sepo", jobs=2, steps=200, jobs_left=1, steps_left=100)
    follower.begun = 0.0
    events.log_event("smoke", "step", stage="sepo", job="b", steps=100, step=51, metrics={})
    events.log_event("smoke", "step", stage="sepo", job="b", steps=100, step=60, metrics={})
    progress = follower.read()
    assert (progress.jobs_done, progress.steps_done, progress.steps_total) == (1, 160, 200)
    assert progress.left == pytest.approx(progress.elapsed * 40 / 10)


def test_events_of_many_writers_do_not_mix():
    writers = [
        threading.Thread(target=lambda: [events.log_event("smoke", "x", text="y" * 500) for _ in range(50)])
        for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(logged()) == 200


@pytest.mark.parametrize(
    ("rates", "note"),
    [
        ([0.94999, 1.0], "parse rate 0.949: the actions"),  # never rounded up to the limit
        ([0.57], "parse rate 0.57: the actions"),
        ([0.95, 1.0], ""),
        ([], ""),
        ([float("nan")], "parse rate unknown"),
        ([float("nan"), 0.5], "parse rate 0.5: the actions"),
        ([0.5, float("nan")], "come from the constrained decode; parse rate unknown"),
    ],
)
def test_a_low_or_unknown_parse_rate_is_part_of_the_message(rates, note):
    metrics = {str(number): {"parse_rate": rate} for number, rate in enumerate(rates)}
    said = events.Progress("sepo", 0, 2, 0, 2, 0.0, None, metrics).note
    assert note in said and bool(said) == bool(note)


def test_progress_is_shown_while_the_only_job_writes_to_its_log(capfd, monkeypatch):
    """With one worker the job runs in this process, whose output then goes to the log of the job."""
    monkeypatch.setattr(headless, "FILE_INTERVAL", 0.1)
    jobs.run([jobs.Job("a", "toy_jobs:say", {"seconds": 0.0}, 1)], "smoke", "SFT")
    job = jobs.Job("a", "toy_jobs:say", {"seconds": 0.6}, 1)
    with headless.progress("smoke", "[1/1] SFT", here=True):
        jobs.run([job], "smoke", "SFT", workers=1, watch=lambda progress: None)
    shown = capfd.readouterr().out
    assert shown.count("1 of 1 jobs of SFT starts again") == 1  # said by the jobs, and not once more
    assert shown.count("[1/1] SFT  0/1 jobs") >= 2 and "[1/1] SFT  done in" in shown
    log = (paths.job("smoke", "a") / "log.txt").read_text()
    assert "[1/1]" not in log
