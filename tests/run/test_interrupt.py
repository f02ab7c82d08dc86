"""Jobs in a notebook: what they do is shown, and an interrupt of the kernel stops them at once."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from jupyter_client.manager import KernelManager

REPOSITORY = Path(__file__).resolve().parents[2]
SENTENCE = "Stopped. Finished jobs are kept; run the cell again to continue."
RUN = """
from sepo_lib.run import jobs
from sepo_lib.run.live import Live
todo = [jobs.Job(name, "toy_jobs:sleep", {{"seconds": 60}}, 1) for name in ("a", "b")]
first = [jobs.Job("first", "toy_jobs:count", {{"start": 1, "steps": 3}}, 3)]
jobs.run(first, "{run}", "counting", watch=Live("loss"))
jobs.run(first + todo, "{run}", "sleeping", workers={workers}, watch=Live("loss"))
"""
AGAIN = """
short = [jobs.Job("a", "toy_jobs:sleep", {{"seconds": 0}}, 1)]
print(sorted(jobs.run(first + short, "{run}", "sleeping")))
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel as a notebook server starts it, with a root of its own."""
    root = tmp_path_factory.mktemp("root")
    folders = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests")))
    changed = {"SEPO_ROOT": str(root), "PYTHONPATH": folders, "SEPO_HEADLESS": ""}
    manager = KernelManager(kernel_name="python3")
    environment = {**os.environ, **changed}
    environment.pop(
        "PYTEST_CURRENT_TEST"
    )  # with it a kernel does not show what its processes write to stderr
    manager.start_kernel(env=environment, cwd=str(root))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(client, until=lambda messages: False, timeout=60):
    """The messages of the cell that runs, until it ends or `until` holds."""
    messages, end = [], time.monotonic() + timeout
    while time.monotonic() < end:
        message = client.get_iopub_msg(timeout=timeout)
        messages.append((message["msg_type"], message["content"]))
        if messages[-1] == ("status", {"execution_state": "idle"}) or until(messages):
            return messages
    raise TimeoutError(messages)


def texts(messages):
    """What the displays of the progress have shown."""
    return [c["data"]["text/html"] for kind, c in messages if kind == "update_display_data"]


def workers_of(manager):
    """The processes that the kernel has started, without Python's own resource tracker."""
    started = psutil.Process(manager.provisioner.pid).children(recursive=True)
    return [child for child in started if "resource_tracker" not in " ".join(child.cmdline())]


@pytest.mark.parametrize(("workers", "moment"), [(1, "step 1 of 1"), (2, "step 1 of 1"), (2, "skipped")])
def test_an_interrupt_stops_at_once_and_leaves_no_process(kernel, workers, moment):
    manager, client = kernel
    run = f"{workers} {moment}"

    def reached(messages):
        """A job has begun; or the line of skipped jobs is printed, and the workers start."""
        printed = [c["text"] for kind, c in messages if kind == "stream"]
        return any(moment in text for text in printed + [t for t in texts(messages) if "<b>sleeping" in t])

    client.execute(RUN.format(run=run, workers=workers))
    messages = outputs(client, until=reached)
    begun = time.monotonic()
    manager.interrupt_kernel()
    messages += outputs(client)
    assert time.monotonic() - begun < 3.0
    assert not workers_of(manager)
    (error,) = [content for kind, content in messages if kind == "error"]
    assert error["traceback"] == [SENTENCE]
    assert not [content for kind, content in messages if kind == "stream" and content["name"] == "stderr"]
    shown = texts(messages)
    assert any("<b>counting: done in 0:0" in text for text in shown)
    assert any('alt="loss on the answer by training step' in text for text in shown)
    assert any("<b>sleeping: stopped after 0:" in text for text in shown)
    client.execute(AGAIN.format(run=run))
    said = "".join(c["text"] for kind, c in outputs(client) if kind == "stream" and c["name"] == "stdout")
    assert "1 of 2 jobs of sleeping were finished before" in said and "['a', 'first']" in said


def test_a_killed_kernel_leaves_no_worker(kernel):
    manager, client = kernel
    client.execute(RUN.format(run="killed", workers=2))
    outputs(client, until=lambda messages: any("step 1 of 1" in text for text in texts(messages)))
    workers = workers_of(manager)
    assert len(workers) == 2
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    assert not psutil.wait_procs(workers, timeout=10)[1]
