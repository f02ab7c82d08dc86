"""Whatever ends a run, no process is left, and the same command continues (torture.py kills real runs)."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import nbformat
import pandas as pd
import psutil
import pytest
import torture
from nbformat.v4 import new_code_cell, new_notebook

from sepo_lib import __main__ as cli
from sepo_lib.config import bundled
from sepo_lib.run import endings

CONTINUES = "Nothing was deleted; the same command continues where it stopped."
STEPS = 15
TOY = f"""
import pandas as pd
from sepo_lib.config import paths
from sepo_lib.report import claims
from sepo_lib.run import jobs
todo = [jobs.Job(name, "toy_jobs:slowly", {{"steps": {STEPS}}}, {STEPS}) for name in "ab"]
results = jobs.run(todo, profile, "counting", workers=2)
rows = [{{"job": name, "done": step}} for name in "ab" for step in results[name]["steps"]]
paths.write_table(pd.DataFrame(rows), profile, "switches")
claim = dict.fromkeys(claims.COLUMNS) | {{"claim": "C1", "statement": "A claim", "recipe": "a"}}
paths.write_table(pd.DataFrame([claim | {{"verdict": "not run", "reason": "a toy"}}]), profile, "claims")
"""


def test_torture_that_is_stopped_leaves_no_run_behind(tmp_path):
    run = torture.Run(["sleep", "60"], tmp_path)
    with pytest.raises(KeyboardInterrupt), torture.nothing_left(tmp_path):
        run.start()
        raise KeyboardInterrupt
    assert run.process.wait(10) == -signal.SIGKILL


def test_torture_needs_a_kill(capsys):
    with pytest.raises(SystemExit, match="2"):
        torture.main(["--kills=0"])
    assert "must be at least 1, not 0" in capsys.readouterr().err


def test_a_run_that_is_killed_in_several_ways_ends_with_the_same_rows(tmp_path):
    """A sample of `make torture`, with the real make and kernel on two toy jobs."""
    kit, python = tmp_path / "kit", tmp_path / "python"
    (kit / "notebooks").mkdir(parents=True)
    parameters = new_code_cell(
        "profile = run = model = seeds = games = steps = None", metadata={"tags": ["parameters"]}
    )
    nbformat.write(new_notebook(cells=[parameters, new_code_cell(TOY)]), kit / "notebooks/00_toy.ipynb")
    (kit / "data/models").mkdir(parents=True)
    (kit / "data/models/nano").symlink_to(torture.REPOSITORY / "data/models/nano")
    found = os.pathsep.join(map(str, (torture.REPOSITORY, torture.REPOSITORY / "tests")))
    lines = ["#!/bin/sh", "shift 2", f"export PYTHONPATH={shlex.quote(found)}"]
    python.write_text("\n".join([*lines, f'exec {shlex.quote(sys.executable)} tests/toy_run.py "$@"', ""]))
    python.chmod(0o755)

    ways = (("TERM", "group"), ("KILL", "worker"))
    kills = [torture.Kill(1, 1.0, *way) for way in ways]
    command = ["make", f"PYTHON={python}", "reproduce", "PROFILE=smoke"]
    states = [kit / f"runs/smoke/checkpoints/{name}/state.json" for name in "ab"]

    def more_steps(run, kill):
        """Wait until both jobs have gone on since the last kill."""
        sizes = {state: state.stat().st_size if state.exists() else 0 for state in states}
        while any(not state.exists() or state.stat().st_size <= size for state, size in sizes.items()):
            assert run.process.poll() is None, run.log.read_text()
            time.sleep(0.05)

    done = list(torture.tortured(command, kit, kills, more_steps))
    assert [(kill.signal, kill.target) for kill in done] == list(ways)
    assert not any(kill.faults for kill in done)
    assert done[0].said == f"Terminated by SIGTERM. {CONTINUES}"
    notebook = (kit / "runs/smoke/notebooks/00_toy.ipynb").read_text()
    assert re.search(r"[ab]: its process was killed by SIGKILL, .* Another process continues it.", notebook)
    table = pd.read_csv(kit / "data/results/smoke/switches.csv")
    assert table["done"].tolist() == 2 * list(range(1, STEPS + 1))


PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={**os.environ, "SEPO_MAKE": str(os.getpid())})
time.sleep(60)
"""
CHILD = """
import os, time
from sepo_lib.run.endings import end_with_parent
end_with_parent(os.getppid())
print(os.getpid(), flush=True)
"""
COMMAND = """
import os, sys, time
from sepo_lib import __main__ as cli
def wait(model):
    print(os.getpid(), flush=True)
    time.sleep(60)
cli.bundled.resolve = wait
sys.exit(cli.main(["reproduce", "--profile", "smoke"]))
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (CHILD + "time.sleep(60)", ""),
        (CHILD + "sum(range(10**12))", ""),  # without a moment for Python to look at anything
        (COMMAND, f"Terminated because make was killed. {CONTINUES}"),
    ],
    ids=["asleep", "in C code", "make"],
)
def test_a_process_ends_with_the_one_that_started_it(code, said, tmp_path):
    if "sum" in code and sys.platform != "linux":
        pytest.skip("only Linux ends a process without its help")
    (tmp_path / "notebooks").symlink_to(torture.REPOSITORY / "notebooks")
    environment = {**os.environ, "SEPO_ROOT": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, code], env=environment, **pipes)
    child = next(int(line) for line in parent.stdout if line.strip().isdigit())
    parent.kill()
    assert not psutil.wait_procs([psutil.Process(child)], timeout=20)[1]
    assert parent.communicate()[1].strip() == said


@pytest.fixture
def signals():
    """The handlers of before, in the end. A shell or nohup may let a command ignore signals; not here."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("name", "command", "code", "said"),
    [
        ("SIGTERM", "reproduce --profile smoke", 143, f"Terminated by SIGTERM. {CONTINUES}"),
        ("SIGHUP", "reproduce --profile smoke", 129, f"Terminated by SIGHUP. {CONTINUES}"),
        ("SIGINT", "reproduce --profile smoke", 130, f"Interrupted. {CONTINUES}"),
        ("SIGINT", "play kuhn", 130, "a game that did not end has no result."),
        ("SIGTERM", "play kuhn", 143, "a game that did not end has no result."),
        ("SIGTERM", "verify --profile smoke", 143, "the same command starts from the beginning."),
    ],
)
def test_every_command_says_what_the_signal_did_and_how_to_go_on(
    name, command, code, said, signals, tmp_path, monkeypatch, capsys
):
    def signalled(*arguments):
        try:
            os.kill(os.getpid(), signal.Signals[name])
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # another one, while the first is handled

    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    (tmp_path / "notebooks").symlink_to(torture.REPOSITORY / "notebooks")
    monkeypatch.setattr(bundled, "resolve", signalled)
    monkeypatch.setattr(cli.runs, "find", signalled)
    assert cli.main(command.split()) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith(said) and ("continues" in line) == ("continues" in said)


def test_nohup_keeps_a_run_from_ending_with_its_terminal(signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with endings.signals_raised():
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.05)
    with pytest.raises(endings.Terminated), endings.signals_raised():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def test_a_command_whose_output_is_no_longer_read_ends_without_a_word():
    """As in `make push ... | head -3`, which ended with `error: [Errno 32] Broken pipe`."""
    command = [sys.executable, "-m", "sepo_lib", "profiles"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=torture.REPOSITORY
    ) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", endings.NO_READER)
