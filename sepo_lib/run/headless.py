"""Running the notebooks of a run without a screen: one kernel per notebook, and lines of progress."""

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TextIO

from sepo_lib.config import disk, files, paths
from sepo_lib.config.errors import MissingError
from sepo_lib.config.profiles import told
from sepo_lib.config.settings import Settings, spell
from sepo_lib.config.variables import environment
from sepo_lib.run import data_audit, endings, lock, provenance
from sepo_lib.run.events import Follower, Progress

#: Seconds between two progress lines if the output is a file, and if it is a terminal.
FILE_INTERVAL, TERMINAL_INTERVAL = 10.0, 1.0

#: Set while a notebook runs without a screen: then the command prints the progress, and `live` shows none.
HEADLESS = "SEPO_HEADLESS"

_PATIENCE = 10.0  # seconds for a kernel that was killed to be noticed

#: Starts a kernel whose stderr is a file. Without the pipe, which passes on what forked processes print, the
#: kernel opens no port: the kit forks no processes.
_START_KERNEL = """
import os, sys
from sepo_lib.run.endings import end_with_parent
end_with_parent(int(os.environ["JPY_PARENT_PID"]))
os.dup2(os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), 2)
from sepo_lib.run import lock
lock.join()
from ipykernel import iostream, kernelapp
kernelapp.IOPubThread = lambda socket, pipe, **more: iostream.IOPubThread(socket, pipe=False, **more)
kernelapp.launch_new_instance()
"""

#: Bytes of the folder of a Unix socket. Its whole path has at most 103 on every supported system.
_LONGEST_SOCKET = 80


class Stopped(Exception):
    """A notebook ended with an error. The message says which notebook and why."""


def check_notebooks() -> None:
    """Raise MissingError for a notebook that is missing, and DamagedError for one that cannot be read."""
    for name in paths.NOTEBOOKS:
        if not paths.notebook(name).exists():
            raise MissingError(
                f"{paths.relative(paths.notebook(name))} is missing from this copy of the kit; "
                f"{paths.RESTORE_NOTEBOOKS}."
            )
        files.read_json(paths.notebook(name), paths.RESTORE_NOTEBOOKS, ("cells", "metadata"))


def announce(settings: Settings, whole: bool = True) -> None:
    """Print what is about to run, and how long the `whole` run takes."""
    run = settings.run
    took = provenance.seconds(settings)
    if took is not None:
        expected = f"about {clock(took)}, as in the run of {folder(paths.run(run))}"
    elif settings.expected_minutes:
        minutes = f"{settings.expected_minutes:g} minutes"
        expected = f"about {minutes} for the whole profile on two CPU cores"
    else:
        expected = "not known; it depends on the GPU"
    sft = settings.sft_steps or f"{settings.sft_epochs} epochs"
    print(f"SEPO, profile {settings.profile}: {settings.summary}")
    print(f"  model     {settings.model}")
    print(f"  games     {spell(settings.games)}")
    print(f"  seeds     {spell(settings.seeds)}")
    print(f"  steps     SFT {sft}, SEPO {spell(settings.sepo_steps)}")
    if settings.changes:
        print(f"  set       {told(settings.changes)}")
    if settings.sft_data:
        print(f"  SFT data  {settings.sft_data}: {data_audit.used(settings.sft_data)}")
        print(f"            {data_audit.in_brief(settings.sft_data)} (`make audit` says more)")
    print(f"  results   {folder(paths.results(run))}, {folder(paths.figures(run))}")
    print(f"  the run   {folder(paths.run(run))}", flush=True)
    if whole:
        print(f"  expected  {expected}; finished jobs are not run again", flush=True)


def run_notebook(name: str, run: str, parameters: dict[str, Any]) -> None:
    """Execute one notebook in its own kernel and keep the executed copy in the folder of `run`.

    Raises Stopped with the last line of the error if a cell fails. If this is interrupted, no process of the
    kernel is left.
    """
    target = paths.executed(run) / f"{name}.ipynb"
    opened: list[subprocess.Popen] = []
    try:
        with _sockets() as sockets:
            _in_a_thread(lambda: _execute(name, target, parameters, sockets, opened), opened)
    except Exception as error:
        dead = type(error).__name__ == "DeadKernelError" and opened
        reason = f"its kernel {endings.death(opened[-1].poll())}" if dead else _reason(error)
        raise Stopped(
            f"error: {name} stopped: {reason}\n"
            f"The notebook as far as it went: {paths.relative(target)}\n"
            "Nothing was deleted; the same command continues where it stopped."
        ) from error


def _execute(
    name: str, target: Path, parameters: dict[str, Any], sockets: str, opened: list[subprocess.Popen]
) -> None:
    """Execute the notebook `name` into `target`; the process of its kernel is added to `opened`."""
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from papermill.iorw import papermill_io
    from traitlets.config import Config

    papermill_io.register(_Executed.scheme, _Executed)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # `Stopped` says what it would print

    class Manager(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:
            await super().start_kernel(**options)
            opened.append(self.provisioner.process)

    papermill.execute_notebook(
        str(paths.notebook(name)),
        f"{_Executed.scheme}{target}",
        parameters=parameters,
        kernel_name="python3",
        language="python",
        cwd=str(paths.notebooks()),
        progress_bar=False,
        kernel_manager_class=Manager,
        config=Config(KernelManager={"transport": "ipc", "ip": sockets}),
    )


def _in_a_thread(execute: Callable[[], None], opened: list[subprocess.Popen]) -> None:
    """Call `execute` in another thread, and raise what it raises.

    In the main thread nbclient would take SIGINT and SIGTERM for itself. If one of them, or another signal,
    ends the wait, all processes of the kernel are killed first: the kernel leads a group of its own.
    """
    over, errors = threading.Event(), []

    def call() -> None:
        try:
            execute()
        except Exception as error:
            errors.append(error)
        finally:
            over.set()

    threading.Thread(target=call, daemon=True).start()
    try:
        while not over.wait(1.0):
            pass
    except BaseException:
        until = time.monotonic() + _PATIENCE
        while not over.wait(0.1) and time.monotonic() < until:
            for process in (each for each in opened if each.poll() is None):
                with contextlib.suppress(OSError):  # it has just ended
                    os.killpg(process.pid, signal.SIGKILL)
        raise
    if errors:
        raise errors[0]


@contextlib.contextmanager
def kernel(run: str) -> Iterator[None]:
    """Within this context the kernel `python3` is this interpreter, can import the kit, and works in `run`.

    Other installed kernels do not matter. The kernel shares the lock of `run`, which this process holds. What
    it writes to stderr, such as errors of cancelled tasks when it is shut down, goes to kernel.log.
    """
    log = paths.run(run) / "kernel.log"
    package = str(Path(__file__).resolve().parents[2])
    argv = [sys.executable, "-c", _START_KERNEL, str(log), "-f", "{connection_file}"]
    with tempfile.TemporaryDirectory() as folder:
        spec = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        file = Path(folder, "kernels", "python3", "kernel.json")
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(spec))
        first = {"JUPYTER_PATH": folder, "PYTHONPATH": package}
        joined = {n: os.pathsep.join(filter(None, (at, os.environ.get(n)))) for n, at in first.items()}
        # Nothing is read from or written to the home folder.
        own = {"JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": folder, HEADLESS: "1"}
        with environment({**joined, **own, **lock.for_children(run)}):
            yield


@contextlib.contextmanager
def progress(run: str, label: str, here: bool = False) -> Iterator[None]:
    """Print how far a notebook of `run` is while the body runs, and which jobs start again, and why.

    The latter is left out if this process runs the jobs (`here`), because it prints that itself. On a
    terminal one line is rewritten; in a file a new line is written every FILE_INTERVAL seconds.
    """
    follower, begun, over = Follower(run), time.monotonic(), threading.Event()
    with _output() as out:
        terminal = out.isatty()
        clear = "\r\033[K" if terminal else ""

        def say(text: str, last: bool = False) -> None:
            if terminal:  # a line that is broken into two cannot be rewritten
                text = clear + text[: shutil.get_terminal_size().columns - 1]
            print(text, end="\n" if last or not terminal else "", flush=True, file=out)

        def read() -> Progress | None:
            found = follower.read()
            while follower.said:
                said = follower.said.pop(0)
                if not here:
                    print(f"{clear}{said}", flush=True, file=out)
            return found

        def watch() -> None:
            say(label)
            while not over.wait(TERMINAL_INTERVAL if terminal else FILE_INTERVAL):
                say(line(label, read(), time.monotonic() - begun, _Executed.section))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        outcome = "stopped after"
        try:
            yield
            outcome = "done in"
        finally:
            over.set()
            watcher.join()
            read()
            say(f"{label}  {outcome} {clock(time.monotonic() - begun)}", last=True)


@contextlib.contextmanager
def _output() -> Iterator[TextIO]:
    """The present stdout, which stays what it is while a job of this process writes to its log instead."""
    sys.stdout.flush()
    try:
        number = os.dup(sys.stdout.fileno())
    except OSError:  # it is no file
        yield sys.stdout
        return
    with os.fdopen(number, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors) as out:
        yield out


def line(label: str, progress: Progress | None, elapsed: float, section: str = "") -> str:
    """One line of progress. While a stage of jobs runs it has all parts:

    [4/7] 03_sepo_grpo  12/30 jobs  step 740/1800  elapsed 6:12  left about 8:40  sft/seed-11: step 4 of 60

    While none runs, it names the `section` of the notebook.
    """
    took = f"elapsed {clock(elapsed)}"
    if progress is None or progress.finished:
        parts = [label, took, section and f"section “{section}”"]
    else:
        left = "" if progress.left is None else f"left about {clock(progress.left)}"
        jobs = f"{progress.jobs_done}/{progress.jobs_total} jobs"
        steps = f"step {progress.steps_done}/{progress.steps_total}"
        parts = [label, jobs, steps, took, left, progress.note, progress.now]
    return "  ".join(filter(None, parts))


def section(cells: Sequence[Mapping[str, Any]]) -> str:
    """The heading above the cell that runs; empty if none runs, or above the first heading."""
    heading = ""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            found = re.findall(r"^#+ (.+)$", "".join(cell["source"]), re.MULTILINE)
            heading = found[-1] if found else heading
        elif cell["metadata"].get("papermill", {}).get("status") == "running":
            return heading
    return ""


def folder(path: Path) -> str:
    """A folder as messages show it: from the root, with a slash at its end."""
    return paths.relative(path) + "/"


def where(run: str) -> str:
    """Lines that say where the results of a run are."""
    places = {"report": paths.relative(paths.report(run)), "tables": folder(paths.results(run))}
    places |= {"figures": folder(paths.figures(run)), "models": folder(paths.checkpoints(run))}
    return "".join(f"\n  {what:<9} {place}" for what, place in places.items())


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
    short = usual if len(os.fsencode(usual)) < _LONGEST_SOCKET else "/tmp"
    with tempfile.TemporaryDirectory(dir=short) as folder:
        yield str(Path(folder, "kernel"))


def _reason(error: Exception) -> str:
    """Why a notebook stopped, in one line: the last line of the error of its cell, or of papermill's own."""
    if not hasattr(error, "ename"):
        return disk.in_one_line(error)
    text = str(error.evalue).strip() or "it gave no reason"
    return disk.explain(RuntimeError(text)) or f"{error.ename}: {text.splitlines()[-1]}"


class _Executed:
    """Where papermill writes an executed notebook: in one step, and without the folders of this machine.

    It writes at the start of every cell, so that `section` is the heading above the cell that runs.
    """

    scheme = "executed:"
    section: ClassVar[str] = ""

    @classmethod
    def write(cls, text: str, path: str) -> None:
        """Write the notebook `text` to `path`, which begins with `scheme`."""
        content = json.loads(text)
        for key in ("input_path", "output_path"):
            content["metadata"].get("papermill", {}).pop(key, None)
        cls.section = section(content["cells"])
        target = Path(path.removeprefix(cls.scheme))
        paths.replace_text(target, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @staticmethod
    def pretty_path(path: str) -> str:
        """`path` as papermill logs it."""
        return path
