"""Where jobs run: worker processes of this machine, spread over its GPUs."""

import os
from collections import Counter

import pytest

from sepo_lib.config import cards
from sepo_lib.config.errors import InputError
from sepo_lib.run import executors, jobs, workers


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    for name in (executors.EXECUTOR, executors.SCHEDULER, executors.JOBS_PER_GPU, cards.VISIBLE):
        monkeypatch.setenv(name, "")  # it is set again as it was, whatever a test does to it
        monkeypatch.delenv(name)
    return tmp_path


LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 2g.10gb     Device  1: (UUID: MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-77ff6a90-d64b-4c83-b5ab-44b6f8a5fb8e)
"""


def test_the_gpus_of_the_machine_are_those_of_nvidia_smi_with_the_parts_of_a_divided_one(
    tmp_path, monkeypatch
):
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    cards._of_machine.cache_clear()
    try:
        assert cards.visible() == [
            "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
            "MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135",
            "GPU-77ff6a90-d64b-4c83-b5ab-44b6f8a5fb8e",
        ]
    finally:
        cards._of_machine.cache_clear()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("2, GPU-77ff,MIG-GPU-5d5b/1/0", ["2", "GPU-77ff", "MIG-GPU-5d5b/1/0"]),
        ("1,-1,0", ["1"]),  # as CUDA reads it
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_an_outer_choice_of_gpus_is_respected(given, names, monkeypatch):
    monkeypatch.setenv(cards.VISIBLE, given)
    assert cards.visible() == names


def seen(names, stage="one", workers=1):
    """name -> (CUDA_VISIBLE_DEVICES, process) of jobs that all run at the same time."""
    todo = [
        jobs.Job(f"{stage}/{name}", "toy_jobs:see", {"name": cards.VISIBLE, "rest": 0.5}, 1) for name in names
    ]
    results = jobs.run(todo, "smoke", stage, workers=workers)
    return [(result["value"], result["pid"]) for result in results.values()]


def test_every_worker_sees_one_gpu_and_those_of_the_next_stage_are_the_same(monkeypatch):
    monkeypatch.setenv(cards.VISIBLE, "3,GPU-77ff")
    monkeypatch.setenv(executors.JOBS_PER_GPU, "2")
    first = seen("abc")
    assert Counter(card for card, _ in first) == {"3": 2, "GPU-77ff": 1}
    assert len(dict(map(reversed, first))) == 3  # three processes
    assert set(seen("abc", "two")) == set(first)
    two = set(seen("ab", "three"))
    assert {card for card, _ in two} == {"3", "GPU-77ff"} and two < set(first)
    assert seen("a", "four")[0][0] == "3,GPU-77ff"  # alone: in this process


def test_the_notebook_runs_all_its_jobs_in_its_own_process(monkeypatch):
    monkeypatch.setenv(cards.VISIBLE, "3,4")
    monkeypatch.setenv(executors.EXECUTOR, "notebook")
    assert seen("ab", workers=2) == [("3,4", os.getpid())] * 2


@pytest.mark.parametrize(
    ("number", "setting", "visible", "per_gpu", "at_once"),
    [
        (9, 2, [], None, 2),
        (3, 2, [], None, 3),
        (1, 2, [], None, 1),
        (9, 2, ["0"], None, 2),
        (3, 2, ["0"], None, 2),  # no third one: memory
        (9, 2, ["0", "1"], None, 4),
        (9, 1, ["0", "1"], None, 2),
        (20, 2, ["0", "1"], "5", 10),
        (3, 2, ["0", "1"], "5", 3),
    ],
)
def test_the_number_of_workers(number, setting, visible, per_gpu, at_once, monkeypatch):
    started = []
    monkeypatch.setattr(cards, "visible", lambda: visible)
    if per_gpu:
        monkeypatch.setenv(executors.JOBS_PER_GPU, per_gpu)
    monkeypatch.setattr(
        workers, "run", lambda todo, stage, number, cards: started.append((number, cards)) or {}
    )
    monkeypatch.setattr(executors, "here", lambda todo, stage: started.append((1, visible)) or {})
    executors.run([jobs.Job(str(n), "toy_jobs:count", {}, 1) for n in range(number)], None, setting)
    assert started == [(at_once, visible)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("cluster", "", ""), "There is no executor 'cluster'; choose from processes, notebook, dask."),
        (("dask", "", ""), "EXECUTOR=dask needs SCHEDULER, the address of a Dask scheduler such as "),
        (("", "tcp://a:1", ""), "SCHEDULER=tcp://a:1 needs EXECUTOR=dask."),
        (("dask", "tcp://a:1", "2"), "JOBS_PER_GPU is an option of EXECUTOR=processes; a Dask worker runs "),
        (
            ("notebook", "", "2"),
            "JOBS_PER_GPU is an option of EXECUTOR=processes; a notebook runs one job at a time.",
        ),
        (("notebook", "tcp://a:1", ""), "SCHEDULER=tcp://a:1 needs EXECUTOR=dask."),
        (("processes", "", "0"), "JOBS_PER_GPU must be a whole number from 1 to 1024, not '0'."),
        (("", "", "two"), "JOBS_PER_GPU must be a whole number from 1 to 1024, not 'two'."),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, sentence, monkeypatch):
    with pytest.raises(InputError, match=f"^{sentence}"):
        executors.choose(*options)
    for name, value in zip(
        (executors.EXECUTOR, executors.SCHEDULER, executors.JOBS_PER_GPU), options, strict=True
    ):
        monkeypatch.setenv(name, value)  # of a notebook that is run by hand
    with pytest.raises(InputError, match=f"^{sentence}"):
        jobs.run([jobs.Job("a", "toy_jobs:count", {"start": 1, "steps": 1}, 1)], "smoke", "sft")


def test_jobs_per_gpu_without_a_gpu_is_an_error(monkeypatch):
    monkeypatch.setenv(cards.VISIBLE, "")
    executors.choose("processes", None, "3")
    monkeypatch.setenv(executors.JOBS_PER_GPU, "3")
    with pytest.raises(InputError, match=r"^JOBS_PER_GPU=3 needs an NVIDIA GPU, and none is visible; "):
        executors.check()


def test_dask_that_is_not_installed_is_an_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"^EXECUTOR=dask needs the package distributed; install it with `make"
    ):
        executors.choose("dask", "tcp://a:1", None)
