"""`make lab`: it starts for root and without a screen, in a folder with a space, and serves the notebooks."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
OURS = ("HF_", "TRANSFORMERS_", "MAKE", "MFLAGS", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "JUPYTER_")


def environment(**more):
    """The environment without a screen, and without what a `make test` around this test has set."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)} | more


def free_port():
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", 0))
        except OSError as error:
            pytest.skip(f"no port can be opened here: {error}")
        return tried.getsockname()[1]


@contextlib.contextmanager
def lab(folder, *arguments):
    """The process of `make lab`, which ends with the context. Its user has no home folder."""
    process = subprocess.Popen(
        ["make", "lab", f"PYTHON={sys.executable}", *arguments],
        cwd=folder,
        env=environment(SEPO_ROOT=str(folder), HOME=str(folder / "Makefile")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    overdue = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
    overdue.start()
    try:
        yield process
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    finally:
        overdue.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def fetched(url):
    """What `url` serves. JupyterLab may print its address a moment before it listens."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=100) as page:
                return page.read()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.1)
    pytest.fail(f"nothing listens at {url}")


def test_the_printed_address_serves_the_notebooks(tmp_path):
    folder = tmp_path / "a kit"
    (folder / "notebooks").mkdir(parents=True)
    shutil.copy(REPOSITORY / "Makefile", folder)
    shutil.copy(REPOSITORY / "notebooks" / "00_base_model.ipynb", folder / "notebooks")
    port, said = free_port(), ""
    with lab(folder, f"LAB=--port={port} --ServerApp.port_retries=0") as process:
        for line in process.stdout:
            said += line
            if url := re.search(rf"http://127\.0\.0\.1:{port}/lab\?token=\w+", line):
                break
        else:
            pytest.fail(said)
        assert b"JupyterLab" in fetched(url[0])
        served = json.loads(fetched(url[0].replace("/lab?", "/api/contents?")))["content"]
    assert [file["name"] for file in served] == ["00_base_model.ipynb"]
    assert said.startswith("JupyterLab serves notebooks/ at the address below.")


@pytest.mark.parametrize(
    ("user", "screen", "options"),
    [
        ("0", {}, {"--allow-root", "--no-browser"}),
        ("0", {"DISPLAY": ":0"}, {"--allow-root"}),
        ("1000", {}, {"--no-browser"}),
        ("1000", {"BROWSER": "firefox"}, set()),
    ],
)
def test_root_and_machines_without_a_screen_get_the_options_they_need(tmp_path, user, screen, options):
    for command, answer in (("id", user), ("uname", "Linux")):
        (tmp_path / command).write_text(f"#!/bin/sh\necho {answer}\n")
        (tmp_path / command).chmod(0o755)
    found = environment(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **screen)
    command = ["make", "-n", "lab", f"PYTHON={sys.executable}", "LAB=--port=9000"]
    done = subprocess.run(command, cwd=REPOSITORY, env=found, capture_output=True, text=True, check=True)
    assert options == {"--allow-root", "--no-browser"} & set(done.stdout.split())
    assert "--port=9000" in done.stdout and ("in your browser" in done.stdout) == bool(screen)
    assert "env -u HF_HUB_OFFLINE" in done.stdout  # a notebook may choose a model of the hub
