"""Training jobs: done once, continued after a failure, started afresh when their arguments change."""

import importlib
import json
import os
import signal
import threading

import pytest

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.run import events, jobs, workers


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


def test_processes_wait_for_the_next_stage(monkeypatch):
    def pids(stage, names):
        results = jobs.run([counting(f"{stage}/{name}") for name in names], "smoke", stage, workers=2)
        return {result["pid"] for result in results.values()}

    first = pids("sft", "ab")
    assert pids("sepo", "ab") == first
    assert pids("three", "abc") > first
    assert len(pids("four", "abcd")) <= 2
    monkeypatch.setenv("SEPO_CHANGED", "1")  # a new process would find this, one that waits would not
    assert not pids("later", "ab") & first


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
    (paths.checkpoints("smoke") / "a" / "state.txt").write_text("99")
    assert jobs.run([counting("a"), counting("b")], "smoke", "sft")["a"] == first["a"]
    assert capsys.readouterr().out == "1 of 2 jobs of sft were finished before and are skipped.\n"
    assert [event["job"] for event in logged() if event["event"] == "job_start"] == ["a", "b"]


def test_other_arguments_start_in_an_empty_folder():
    jobs.run([counting("a", steps=3)], "smoke", "sft")
    assert jobs.run([counting("a", steps=4)], "smoke", "sft")["a"]["first"] == 1
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


def test_a_process_that_dies_is_a_failed_job():
    dying = jobs.Job("dying", "toy_jobs:die", {}, 1)
    with pytest.raises(jobs.JobError, match=r"dying \(its process ended with exit code 9"):
        jobs.run([dying, counting("a"), counting("b")], "smoke", "sepo", workers=2)
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
