"""Running the notebooks of a run without a screen: one kernel per notebook, and lines of progress."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sepo_lib.config import paths
from sepo_lib.config.settings import Settings, spell
from sepo_lib.run import provenance
from sepo_lib.run.events import Follower, Progress
from sepo_lib.run.workers import environment

#: Seconds between two progress lines if the output is a file, and if it is a terminal.
FILE_INTERVAL, TERMINAL_INTERVAL = 10.0, 1.0

#: Set while a notebook runs without a screen: then the command prints the progress, and `live` shows none.
HEADLESS = "SEPO_HEADLESS"

#: Starts a kernel whose stderr is a file. Without the pipe, which passes on what forked processes print, the
#: kernel opens no port: the kit forks no processes.
_START_KERNEL = """
import os, sys
os.dup2(os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), 2)
from ipykernel import iostream, kernelapp
kernelapp.IOPubThread = lambda socket, pipe, **more: iostream.IOPubThread(socket, pipe=False, **more)
kernelapp.launch_new_instance()
"""

#: Bytes of the folder of a Unix socket. Its whole path has at most 103 on every supported system.
_LONGEST_SOCKET = 80


class Stopped(Exception):
    """A notebook ended with an error. The message says which notebook and why."""


def announce(settings: Settings) -> None:
    """Print what is about to run, and how long it takes."""
    run = settings.run
    took = provenance.seconds(settings)
    if took is not None:
        expected = f"about {clock(took)}, as in the run of {folder(paths.run(run))}"
    elif settings.expected_minutes:
        whole = clock(settings.expected_minutes * 60)
        expected = f"about {whole} for the whole profile on two CPU cores"
    else:
        expected = "not known; it depends on the GPU"
    sft = settings.sft_steps or f"{settings.sft_epochs} epochs"
    print(f"SEPO, profile {settings.profile}: {settings.summary}")
    print(f"  model     {settings.model}")
    print(f"  games     {spell(settings.games)}")
    print(f"  seeds     {spell(settings.seeds)}")
    print(f"  steps     SFT {sft}, SEPO {spell(settings.sepo_steps)}")
    print(f"  results   {folder(paths.results(run))}, {folder(paths.figures(run))}")
    print(f"  the run   {folder(paths.run(run))}")
    print(f"  expected  {expected}; finished jobs are not run again", flush=True)


def run_notebook(name: str, run: str, parameters: dict[str, Any]) -> None:
    """Execute one notebook in its own kernel and keep the executed copy in the folder of `run`.

    Raises Stopped with the last line of the error if a cell fails.
    """
    import papermill
    from traitlets.config import Config

    target = paths.executed(run) / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _sockets() as sockets:
            papermill.execute_notebook(
                str(paths.notebook(name)),
                str(target),
                parameters=parameters,
                kernel_name="python3",
                language="python",
                cwd=str(paths.notebooks()),
                progress_bar=False,
                config=Config(KernelManager={"transport": "ipc", "ip": sockets}),
            )
    except Exception as error:
        kind = getattr(error, "ename", type(error).__name__)
        text = str(getattr(error, "evalue", error)).strip() or "it gave no reason"
        last = text.splitlines()[-1]
        raise Stopped(
            f"error: {name} stopped: {kind}: {last}\n"
            f"The notebook as far as it went: {paths.relative(target)}\n"
            "Nothing was deleted; the same command continues where it stopped."
        ) from error
    finally:
        _forget_folders(target)


@contextlib.contextmanager
def kernel(log: Path) -> Iterator[None]:
    """Within this context the kernel `python3` is this interpreter, and it can import the kit.

    Other installed kernels do not matter. What the kernel writes to stderr, such as errors of cancelled tasks
    when it is shut down, goes to `log`.
    """
    package = str(Path(__file__).resolve().parents[2])
    argv = [sys.executable, "-c", _START_KERNEL, str(log), "-f", "{connection_file}"]
    with tempfile.TemporaryDirectory() as folder:
        spec = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        file = Path(folder, "kernels", "python3", "kernel.json")
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(spec))
        first = {"JUPYTER_PATH": folder, "PYTHONPATH": package}
        joined = {n: os.pathsep.join(filter(None, (at, os.environ.get(n)))) for n, at in first.items()}
        own = {
            "JUPYTER_RUNTIME_DIR": folder,
            "IPYTHONDIR": folder,
        }  # nothing is read from or written to the home
        with environment({**joined, **own, HEADLESS: "1"}):
            yield


@contextlib.contextmanager
def progress(run: str, label: str) -> Iterator[None]:
    """Print how far a notebook of `run` is while the body runs.

    On a terminal one line is rewritten; in a file a new line is written every FILE_INTERVAL seconds.
    """
    follower, begun, over = Follower(run), time.monotonic(), threading.Event()
    terminal = sys.stdout.isatty()

    def say(text: str, last: bool = False) -> None:
        if terminal:  # a line that is broken into two cannot be rewritten
            text = "\r\033[K" + text[: shutil.get_terminal_size().columns - 1]
        print(text, end="\n" if last or not terminal else "", flush=True)

    def watch() -> None:
        say(label)
        while not over.wait(TERMINAL_INTERVAL if terminal else FILE_INTERVAL):
            say(line(label, follower.read(), time.monotonic() - begun))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    outcome = "stopped after"
    try:
        yield
        outcome = "done in"
    finally:
        over.set()
        watcher.join()
        say(f"{label}  {outcome} {clock(time.monotonic() - begun)}", last=True)


def line(label: str, progress: Progress | None, elapsed: float) -> str:
    """One line of progress. While a stage of jobs runs it has all parts:

    [4/7] 03_sepo_grpo  12/30 jobs  step 740/1800  elapsed 6:12  left about 8:40  sft/seed-11: step 4 of 60
    """
    parts = [label]
    if progress is not None and not progress.finished:
        parts.append(f"{progress.jobs_done}/{progress.jobs_total} jobs")
        parts.append(f"step {progress.steps_done}/{progress.steps_total}")
    parts.append(f"elapsed {clock(elapsed)}")
    if progress is not None and not progress.finished and progress.left is not None:
        parts.append(f"left about {clock(progress.left)}")
    if progress is not None and not progress.finished:
        parts += filter(None, [progress.note, progress.now])
    return "  ".join(parts)


def folder(path: Path) -> str:
    """A folder as messages show it: from the root, with a slash at its end."""
    return paths.relative(path) + "/"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss, or as m:ss below one hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def _sockets() -> Iterator[str]:
    """The beginning of the paths of a kernel's Unix sockets, in a folder that only this user can enter.

    With such sockets a kernel needs no network, not even the loopback, and no other user can reach it.
    """
    usual = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        dir=usual if len(os.fsencode(usual)) < _LONGEST_SOCKET else "/tmp"
    ) as folder:
        yield str(Path(folder, "kernel"))


def _forget_folders(notebook: Path) -> None:
    """Remove the absolute paths that papermill writes into the metadata of a notebook."""
    if notebook.exists():
        content = json.loads(notebook.read_text(encoding="utf-8"))
        for key in ("input_path", "output_path"):
            content["metadata"].get("papermill", {}).pop(key, None)
        paths.replace_text(notebook, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
