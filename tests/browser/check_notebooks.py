"""Runs the notebooks in JupyterLab in a real browser, and says what a reader would see and should not see.

    python tests/browser/check_notebooks.py --from <root of a finished smoke run> --run smoke --to <folder>

Every notebook is run cell by cell (Shift-Enter) and once with "Run All Cells". Faults are errors, warnings,
pictures without alt text, and outputs or lines wider than the page. Two more checks follow: a notebook that
is opened too early shows one sentence, and an interrupt ends a training at once and leaves no process.
Screenshots go to the folder.

It needs Playwright (`pip install playwright`) and a Chromium: that of the system, or the one that
`playwright install chromium` fetches. Everything is written below the folder; the repository stays as it is.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: What is checked, in this order.
CHECKS = ("step", "all", "early", "interrupt")
#: Pixels of the window: that of a laptop.
WIDTH, HEIGHT = 1440, 900
#: Characters of the longest line of text that fits: JupyterLab breaks longer ones within words.
LINE = 125
#: Seconds until a kernel must have stopped after an interrupt.
AT_ONCE = 10.0

#: What JupyterLab shows of the outputs of all cells: [cell, what is wrong].
LOOK = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].flatMap((cell, number) => {
  const found = [], say = text => found.push([number, text]);
  for (const output of cell.querySelectorAll('.jp-OutputArea-output')) {
    const wide = Math.max(output.scrollWidth, ...[...output.querySelectorAll('*')].map(e => e.scrollWidth));
    const overflow = [output, ...output.querySelectorAll('*')].some(e => e.scrollWidth > e.clientWidth + 2
      && e.clientWidth > 0 && ['auto', 'scroll', 'visible'].includes(getComputedStyle(e).overflowX)
      && getComputedStyle(e).display !== 'inline');
    if (overflow) say(`an output is ${wide} pixels wide, and the page ${output.clientWidth}`);
    for (const image of output.querySelectorAll('img'))
      if (!(image.alt || '').trim()) say('a picture has no alt text');
    for (const drawing of output.querySelectorAll('svg'))
      if (!drawing.ariaLabel && !drawing.querySelector('title')) say('a drawing has no title');
  }
  return found;
})"""


#: Is the kernel of the open notebook connected and idle? Its cells. Does a cell run or wait?
READY = """() => {
  const kernel = window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel;
  return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
}"""
CELLS = "jupyterapp.shell.currentWidget.content.model.toJSON().cells"
BUSY = "() => [...document.querySelectorAll('.jp-InputPrompt')].some(p => p.textContent.includes('*'))"


class Page:
    """One notebook, opened in JupyterLab."""

    def __init__(self, page, url: str, file: Path, folder: Path) -> None:
        self.page, self.file, self.folder = page, file, folder
        address, token = url.split("/lab?token=")
        page.goto(f"{address}/lab/tree/{file.name}?reset&token={token}")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        page.wait_for_function(READY, timeout=60_000)
        page.locator(".jp-Notebook .jp-Cell-inputWrapper").first.click()
        page.keyboard.press("Escape")

    def wait(self, seconds: float) -> None:
        """Until the kernel is idle and no cell waits. Raises TimeoutError."""
        until, idle = time.monotonic() + seconds, 0
        while idle < 2:  # seen twice, as a cell may have been sent a moment ago
            if time.monotonic() > until:
                raise TimeoutError(f"{self.file.stem}: the kernel was not idle after {seconds:.0f} seconds")
            self.page.wait_for_timeout(100)
            idle = idle + 1 if self.page.evaluate(f"({READY})() && !({BUSY})()") else 0

    def step(self, seconds: float) -> None:
        """Run every cell with Shift-Enter; stop at the first error, as a reader would."""
        number = self.page.locator(".jp-Notebook .jp-Cell").count()
        for cell in range(number):
            self.page.keyboard.press("Shift+Enter" if cell + 1 < number else "Control+Enter")
            self.wait(seconds)
            if self.errors():
                return

    def run_all(self, seconds: float) -> None:
        """Run > Run All Cells."""
        self.page.locator(".lm-MenuBar-item", has_text=re.compile("^Run$")).click()
        self.page.locator(".lm-Menu-item", has_text=re.compile("^Run All Cells")).click()
        self.page.wait_for_function(
            f"({BUSY})() || {CELLS}.some(cell => cell.execution_count)", timeout=60_000
        )
        self.wait(seconds)

    def cells(self) -> list[dict]:
        """The cells of the notebook as JupyterLab has them now, with their outputs."""
        return self.page.evaluate(CELLS)

    def outputs(self, number: int) -> str:
        """The text of all outputs of one cell."""
        cell = self.page.locator(".jp-Notebook .jp-Cell").nth(number)
        return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())

    def said(self, number: int, pattern: str, seconds: float) -> float:
        """The time when the outputs of a running cell first match `pattern`. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while not re.search(pattern, self.outputs(number)):
            if time.monotonic() > until or not self.page.evaluate(f"({BUSY})()"):
                raise TimeoutError(f"no output matches {pattern} but: {self.outputs(number)[:300]}")
            self.page.wait_for_timeout(200)
        return time.monotonic()

    def errors(self) -> list[str]:
        """What each error output shows."""
        outputs = [output for cell in self.cells() for output in cell.get("outputs", ())]
        return ["\n".join(output["traceback"]) for output in outputs if output["output_type"] == "error"]

    def faults(self) -> list[str]:
        """What should not be there, one sentence each."""
        found = [(number, text) for number, text in self.page.evaluate(LOOK)]
        for number, cell in enumerate(self.cells()):
            if cell["cell_type"] == "code" and cell["source"] and not cell["execution_count"]:
                found.append((number, "did not run"))
            for output in cell.get("outputs", ()):
                if output["output_type"] == "error":
                    found.append((number, f"{output['ename']}: {output['evalue'][:300]}"))
                elif (longest := max(map(len, _lines(output)), default=0)) > LINE:
                    found.append((number, f"a line of {longest} characters is broken within words"))
                if output.get("name") == "stderr":
                    found.append((number, f"a warning: {''.join(output['text']).strip()[:300]}"))
        return [f"cell {number}: {text}" for number, text in sorted(found)]

    def shoot(self, name: str) -> None:
        """Screenshots of the whole notebook, from top to bottom."""
        panel = ".jp-WindowedPanel-outer"
        height = self.page.evaluate(f"document.querySelector('{panel}').scrollHeight")
        seen = self.page.evaluate(f"document.querySelector('{panel}').clientHeight")
        for number, top in enumerate(range(0, height, seen - 40), start=1):
            self.page.evaluate(f"document.querySelector('{panel}').scrollTop = {top}")
            self.page.wait_for_timeout(150)
            self.page.screenshot(path=self.folder / f"{self.file.stem}-{name}-{number:02}.png")

    def shoot_cell(self, name: str, number: int) -> None:
        """A screenshot of the page with the end of one cell in sight."""
        cell = f"document.querySelectorAll('.jp-Notebook .jp-Cell')[{number}]"
        self.page.evaluate(f"{cell}.scrollIntoView({{block: 'end'}})")
        self.page.screenshot(path=self.folder / f"{self.file.stem}-{name}.png")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)


def _lines(output: dict) -> list[str]:
    """The lines of an output that is shown as text."""
    data = output.get("data", {})
    text = output.get("text") or (data.get("text/plain", "") if len(data) == 1 else "")
    return "".join(text).splitlines()


# ------------------------------------------------------------------------------------------- checks


def read_through(open_, name: str, mode: str, seconds: float) -> list[str]:
    """The faults of one notebook that is run cell by cell ("step") or at once ("all")."""
    with open_(name) as page:
        begun = time.monotonic()
        try:
            page.step(seconds) if mode == "step" else page.run_all(seconds)
            found = page.faults()
        except TimeoutError as error:
            found = [str(error)]
        page.shoot(mode)
        print(f"{name} {mode}: {time.monotonic() - begun:.0f} s, {len(found)} faults", flush=True)
        return found


def opened_too_early(open_, name: str) -> list[str]:
    """The faults of what a notebook shows if no notebook before it has run."""
    with open_(name) as page:
        page.run_all(120)
        errors = page.errors()
        page.shoot("too-early")
    first = "Run notebooks/00_base_model.ipynb first"
    if len(errors) != 1 or not errors[0].strip().startswith(first) or errors[0].strip().count("\n") > 3:
        return [f"no sentence that begins with '{first}', but {errors}"]
    return []


def interrupted(open_, name: str, starts: str, server: psutil.Process) -> list[str]:
    """The faults of two interrupts (i i) of the cell that contains `starts`.

    The first comes while the training starts, the second, in the same cell run again, after a first step.
    """
    found = []
    with open_(name) as page:
        cells = nbformat.read(page.file, as_version=4).cells
        number = next(number for number, cell in enumerate(cells) if starts in cell.source)
        for _ in range(number):
            page.press("Shift+Enter")
            page.wait(300)
        for moment, sign in (("starting", r"\w"), ("training", r"step [1-9]\d* of")):
            page.press("Escape", "Control+Enter")
            begun = time.monotonic()
            try:
                first = page.said(number, r"\w", 60) - begun
                page.said(number, sign, 300)
            except TimeoutError as error:
                return [*found, f"{moment}: {error}"]
            page.page.wait_for_timeout(3000)
            page.shoot_cell(moment, number)
            page.press("Escape", "i", "i")
            begun = time.monotonic()
            with contextlib.suppress(TimeoutError):
                page.wait(60)
            took = time.monotonic() - begun
            left = _left(server, begun + AT_ONCE)
            page.shoot_cell(f"{moment}-interrupted", number)
            shown = page.outputs(number).strip()
            print(
                f"{moment}: first output after {first:.1f} s, stopped after {took:.1f} s: {shown!r}",
                flush=True,
            )
            if max(first, took) > AT_ONCE:
                found.append(
                    f"{moment}: the first output came after {first:.0f} s, the end after {took:.0f} s"
                )
            if "Traceback" in shown or shown.count("\n") > 12:
                found.append(f"{moment}: the interrupt shows {shown[:300]}")
            found += [f"{moment}: a process is left: {command}" for command in left]
    return found


def _left(server: psutil.Process, until: float) -> list[str]:
    """The processes that the kernel of `server` has started and that still run at the time `until`."""
    while True:
        (kernel,) = server.children()
        commands = [" ".join(process.cmdline())[:100] for process in kernel.children(recursive=True)]
        left = [command for command in commands if "resource_tracker" not in command]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.2)


# ----------------------------------------------------------------------------- server and browser


def scratch(folder: Path, finished: Path | None, profile: str, run: str | None) -> Path:
    """A root in `folder` with today's notebooks, set to `profile` and `run`, and the jobs of `finished`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("data/models", "data/paper"):
        shutil.copytree(REPOSITORY / name, folder / name)
    for name in ("runs", "data/results", "data/sft") if finished else ():
        if (finished / name).is_dir():
            shutil.copytree(finished / name, folder / name)
    (folder / "notebooks").mkdir()
    for file in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        book = nbformat.read(file, as_version=4)
        for cell in book.cells:
            if "parameters" in cell.metadata.get("tags", []):
                for name, value in (("profile", profile), ("run", run)):
                    cell.source = re.sub(rf"(?m)^{name} = \S+", f"{name} = {value!r}", cell.source)
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, folder / "notebooks" / file.name)
    return folder


@contextlib.contextmanager
def serve(root: Path) -> Iterator[tuple[str, psutil.Process]]:
    """JupyterLab on the notebooks of `root`: its address with the token, and its process."""
    with tempfile.TemporaryDirectory() as settings:
        for plugin, values in {
            "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        }.items():
            file = Path(settings, "@jupyterlab", f"{plugin}.jupyterlab-settings")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        log = Path(settings, "log.txt")
        options = "--no-browser --allow-root --log-level=WARN --port=0 --expose-app-in-browser"
        with log.open("w") as file:
            process = psutil.Popen(
                [sys.executable, "-m", "jupyterlab", *options.split()],
                cwd=root / "notebooks",
                env={**os.environ, "SEPO_ROOT": str(root), "PYTHONPATH": str(REPOSITORY)}
                | {"JUPYTERLAB_SETTINGS_DIR": settings, "HF_HUB_OFFLINE": "1"},
                stderr=file,
            )
        try:
            while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", log.read_text())):
                if process.poll() is not None:
                    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-500:]}")
                time.sleep(0.1)
            while not any(one.status == psutil.CONN_LISTEN for one in process.net_connections()):
                time.sleep(0.1)  # the address is printed a moment before
            yield found[0], process
        finally:
            for one in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.terminate()
            process.wait()


def launch(playwright):
    """A Chromium: that of the system, or else that of Playwright."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


@contextlib.contextmanager
def opened(browser, url: str, file: Path, folder: Path) -> Iterator[Page]:
    """A notebook with a new kernel, which ends with the context. Screenshots go to `folder`."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    page = context.new_page()
    try:
        yield Page(page, url, file, folder)
    finally:
        address, token = url.split("/lab?token=")
        headers = {"Authorization": f"token {token}"}
        for session in page.request.get(f"{address}/api/sessions", headers=headers).json():
            page.request.delete(f"{address}/api/sessions/{session['id']}", headers=headers)
        context.close()


def main(arguments: list[str] | None = None) -> int:
    """Check the notebooks; the exit status is 1 if there are faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--from", dest="finished", type=Path, help="a root with a finished run; its jobs are skipped"
    )
    parser.add_argument(
        "--to", type=Path, required=True, help="an empty folder for scratch roots and screenshots"
    )
    parser.add_argument("--profile", default="smoke")
    parser.add_argument(
        "--run", help="the name of the run (default: one below by-hand/, which trains everything)"
    )
    parser.add_argument(
        "--notebooks", nargs="+", help="the first characters of names, such as 00 03 (default: all)"
    )
    parser.add_argument("--checks", nargs="+", default=CHECKS, choices=CHECKS)
    parser.add_argument("--seconds", type=float, default=900, help="the longest time of a cell")
    options = parser.parse_args(arguments)
    from playwright.sync_api import sync_playwright

    shots = options.to / "screenshots"
    shutil.rmtree(shots, ignore_errors=True)
    shots.mkdir(parents=True)
    names = [file.stem for file in sorted((REPOSITORY / "notebooks").glob("*.ipynb"))]
    chosen = [name for name in names if name.startswith(tuple(options.notebooks or names))]
    found: dict[str, list[str]] = {}
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for check in options.checks:
            finished = None if check == "early" else options.finished
            root = scratch(options.to / check, finished, options.profile, options.run)
            with serve(root) as (url, server):

                def open_(name: str, url: str = url, root: Path = root):
                    return opened(browser, url, root / "notebooks" / f"{name}.ipynb", shots)

                if check in ("step", "all"):
                    for name in chosen:
                        found[f"{name} ({check})"] = read_through(open_, name, check, options.seconds)
                elif check == "early":
                    found["03 opened first"] = opened_too_early(open_, "03_sepo_grpo")
                else:
                    for folder in root.glob("runs/*/checkpoints/sepo"):
                        shutil.rmtree(folder)
                    found["interrupt"] = interrupted(open_, "03_sepo_grpo", "jobs.run(sepo", server)
        browser.close()
    for where, faults in found.items():
        for fault in faults:
            print(f"{where}: {fault}")
    print(f"{sum(map(len, found.values()))} faults in {len(found)} checks; screenshots in {shots}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
