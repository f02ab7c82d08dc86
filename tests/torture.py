"""Kill a run at random moments until it is done, and compare what it leaves with an uninterrupted run.

    make torture                     the smoke profile, two kills in every notebook; about half an hour
    make torture KILLS=7             fewer kills
    make torture GAMES=ipd,kuhn      fewer games, less time

After every kill the same command is given again, as a person or a batch scheduler would. (If a worker is
killed, the run goes on by itself.) At the end every table and figure has to be the same, byte for byte; only
the columns of seconds are left out. The exit code is 1 if anything is lost, if a process is left, or if a run
that was killed takes longer than a minute to end.
"""

import argparse
import collections
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psutil

REPOSITORY = Path(__file__).resolve().parents[1]
#: Seconds that a killed run may take to end.
PATIENCE = 60.0
#: Columns of training.parquet that measure time.
SECONDS = ("play_seconds", "reference_seconds", "step_time")
#: The processes of a run that each signal may go to. The rest is not killed by it: make leaves an interrupt
#: and a hang-up to its group, and workers leave an interrupt to their parent.
TARGETS = {
    "INT": ("group", "command", "kernel"),
    "TERM": ("group", "make", "command", "kernel", "worker"),
    "HUP": ("group", "command", "kernel", "worker"),
    "KILL": ("group", "make", "command", "kernel", "worker"),
}


@dataclass
class Kill:
    """One kill: what is planned, and what happened."""

    stage: int
    """The notebook in which it happens, from 1."""
    share: float
    """The moment, as a share of the time that the uninterrupted run took for this notebook."""
    signal: str
    target: str
    moment: str = ""
    took: float = 0.0
    code: int | None = None
    orphans: list[str] = field(default_factory=list)
    said: str = ""

    @property
    def faults(self) -> list[str]:
        """What went wrong."""
        late = [f"ended only after {self.took:.0f} s"] if self.took > PATIENCE else []
        trace = ["a traceback instead of a sentence"] if "Traceback" in self.said else []
        return late + trace + [f"left {name}" for name in self.orphans]


class Run:
    """A run in the folder `root`, started by `command` again and again."""

    def __init__(self, command: Sequence[str], root: Path):
        self.command, self.root = command, root
        self.log = root / "output.txt"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the command in a process group of its own, as a shell or a scheduler does."""
        environment = {**os.environ, "SEPO_ROOT": str(self.root), "HF_HUB_OFFLINE": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=REPOSITORY,
                env=environment,
                start_new_session=True,
                stdout=log,
                stderr=log,
                preexec_fn=_hear_all_signals,
            )

    def stage(self) -> tuple[int, str]:
        """The number and the name of the notebook that runs, (0, "the start") before the first."""
        found = re.findall(r"^\[(\d+)/\d+\] (\w+)", self.log.read_text(errors="replace"), re.MULTILINE)
        return (int(found[-1][0]), found[-1][1]) if found else (0, "the start")

    def reach(self, stage: int) -> bool:
        """Wait until the notebook `stage` begins; False if the run ends before."""
        while self.process.poll() is None and self.stage()[0] < stage:
            time.sleep(0.1)
        return self.process.poll() is None

    def wait(self, limit: float) -> float:
        """Wait until every process of the run has ended; the seconds that it took, at most `limit`.

        Ends also when the run begins another notebook: what was killed had done its work.
        """
        begun, stage = time.monotonic(), self.stage()
        while time.monotonic() - begun < limit and self.stage() == stage:
            if self.process.poll() is not None and not self.alive():
                break
            time.sleep(0.2)
        return time.monotonic() - begun

    def alive(self) -> dict[psutil.Process, str]:
        """The processes of the run, found by their environment, and what each is."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                own = process.environ().get("SEPO_ROOT") == str(self.root)
                if own and process.status() != psutil.STATUS_ZOMBIE:
                    found[process] = _role(process.cmdline())
        return found

    def kill(self, kill: Kill) -> None:
        """Send the signal to the target, or to the kernel or the command if there is no such process now."""
        number = signal.Signals[f"SIG{kill.signal}"]
        roles = self.alive()
        if self.process.poll() is not None:
            kill.target = "nobody"
        elif kill.target == "group":
            os.killpg(self.process.pid, number)
        else:
            targets = (kill.target, "kernel", "command")
            kill.target = next((target for target in targets if target in roles.values()), "nobody")
            own = [process for process, role in roles.items() if role == kill.target]
            if own:  # the youngest: the kernel of the notebook before may still be ending
                with contextlib.suppress(psutil.NoSuchProcess):
                    max(own, key=psutil.Process.create_time).send_signal(number)


def _hear_all_signals() -> None:
    """Undo what nohup and background jobs of a shell do: they let a command ignore signals."""
    for name in TARGETS.keys() - {"KILL"}:
        signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_DFL)


def _role(words: Sequence[str]) -> str:
    """What a process with this command line is."""
    signs = {"ipykernel": "kernel", "spawn_main": "worker", "resource_tracker": "resource tracker"}
    found = (role for sign, role in signs.items() if sign in " ".join(words))
    return next(found, "make" if Path(words[0]).name in ("make", "gmake") else "command")


def plan(stages: int, kills: int, seed: int) -> list[Kill]:
    """`kills` kills, spread over the notebooks, with every signal in turn and random targets and moments."""
    rng = random.Random(seed)
    signals = [
        name for _ in range(-(-kills // len(TARGETS))) for name in rng.sample(sorted(TARGETS), len(TARGETS))
    ]
    places = sorted(number % stages + 1 for number in range(kills))
    return [
        Kill(stage, rng.random(), name, rng.choice(TARGETS[name]))
        for stage, name in zip(places, signals, strict=False)
    ]


def uninterrupted(command: Sequence[str], root: Path) -> list[float]:
    """Run `command` once without any kill; the seconds of every notebook."""
    run, begun, seconds = Run(command, root), time.monotonic(), []
    run.start()
    while run.reach(len(seconds) + 1):
        begun = time.monotonic()
        seconds.append(begun)
    if run.process.wait() != 0:
        raise SystemExit(f"The uninterrupted run failed:\n{run.log.read_text()}")
    return [after - before for before, after in zip(seconds, [*seconds[1:], time.monotonic()], strict=True)]


def tortured(
    command: Sequence[str], root: Path, kills: Sequence[Kill], wait: Callable[[Run, Kill], object]
) -> Iterator[Kill]:
    """Start `command`, kill it and start it again, once for each of `kills`; then let it end.

    `wait` waits for the moment of a kill, in its notebook.
    """
    run = Run(command, root)
    for kill in kills:
        if run.process is None or run.process.poll() is not None:
            run.start()
        if not run.reach(kill.stage):
            raise SystemExit(f"The run ended before notebook {kill.stage}:\n{run.log.read_text()}")
        wait(run, kill)
        kill.moment = run.stage()[1]
        run.kill(kill)
        if kill.target == "worker":
            kill.said = "(the run goes on)"
        else:
            kill.took = run.wait(PATIENCE + 5)
            kill.code = run.process.poll()
            if kill.code is None and run.stage()[1] != kill.moment:
                kill.target = "nobody"
            else:
                for process, role in run.alive().items():
                    kill.orphans.append(role)
                    process.kill()
                kill.said = last_words(run.log)
        yield kill
    if run.process.poll() is not None:
        run.start()
    if run.process.wait() != 0:
        raise SystemExit(f"The last run, which nobody killed, failed:\n{run.log.read_text()}")


def last_words(log: Path) -> str:
    """What the command said after its last line of progress, or that there was a traceback."""
    text = log.read_text(errors="replace")
    if "Traceback" in text:
        return "Traceback ... " + text.strip().splitlines()[-1]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("[", "make", "  "))]
    return " | ".join(lines[1:])


def compare(expected: Path, found: Path) -> tuple[int, int, list[str]]:
    """Rows of `expected` that are missing in `found`, bytes compared, and the files that differ."""
    rows, size, differing = 0, 0, []
    for folder in ("data", "figures"):
        names = {path.relative_to(root) for root in (expected, found) for path in (root / folder).rglob("*")}
        for name in sorted(names):
            one, other = expected / name, found / name
            if one.is_dir() or other.is_dir():
                continue
            if not one.exists() or not other.exists():
                differing.append(f"{name} is {'missing' if one.exists() else 'new'}")
                rows += len(lines(one)) if one.exists() else 0
                continue
            size += one.stat().st_size
            if content(one) != content(other):
                differing.append(f"{name} differs")
                rows += (collections.Counter(lines(one)) - collections.Counter(lines(other))).total()
    return rows, size, differing


def content(file: Path) -> bytes:
    """The bytes of a file; of a table with times, those of the other columns."""
    if file.name == "training.parquet":
        return pd.read_parquet(file).drop(columns=list(SECONDS)).to_csv(index=False).encode()
    return file.read_bytes()


def lines(file: Path) -> list[str]:
    """The rows of a table as text; none for a figure."""
    if file.suffix == ".csv" or file.name == "training.parquet":
        return content(file).decode().splitlines()[1:]
    if file.suffix == ".parquet":
        return pd.read_parquet(file).to_csv(index=False).splitlines()[1:]
    return []


@contextlib.contextmanager
def nothing_left(*roots: Path) -> Iterator[None]:
    """In the end kill what still runs in the folders `roots`; Ctrl-C does not reach these processes."""
    try:
        yield
    finally:
        for root in roots:
            for process in Run((), root).alive():
                with contextlib.suppress(psutil.Error):
                    process.kill()


def copy_of_the_kit(root: Path) -> Path:
    """A folder with what a run reads."""
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks")
    for name in ("models", "paper", "sft"):
        shutil.copytree(REPOSITORY / "data" / name, root / "data" / name)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture a run of the kit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="smoke", help="default: smoke")
    parser.add_argument("--games", default="", help="games, such as ipd,kuhn; default: all")
    parser.add_argument("--kills", type=int, default=14, help="default: 14, two in every notebook")
    parser.add_argument("--seed", type=int, default=1, help="of the moments, signals and targets; default: 1")
    parser.add_argument("--keep", metavar="FOLDER", help="keep both runs in FOLDER")
    options = parser.parse_args(arguments)
    if options.kills < 1:
        parser.error(f"the number of kills must be at least 1, not {options.kills}")
    command = ["make", f"PYTHON={sys.executable}", "reproduce", f"PROFILE={options.profile}"]
    command += [f"GAMES={options.games}"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary).resolve()
        whole, killed = folder / "whole", folder / "killed"
        with nothing_left(whole, killed):
            print(f"First the run that is not killed: {' '.join(command[2:])}", flush=True)
            seconds = uninterrupted(command, copy_of_the_kit(whole))
            print(f"It took {sum(seconds):.0f} s. Now the same run is killed {options.kills} times.\n")
            print(f"{'moment':<32} {'signal':<6} {'to':<8} {'ended after':>11} {'exit':>5}  said", flush=True)
            done = []
            kills = plan(len(seconds), options.kills, options.seed)

            def moment(run: Run, kill: Kill) -> None:
                """Wait for the planned share of the notebook's time, but not beyond the notebook."""
                due = time.monotonic() + kill.share * seconds[kill.stage - 1]
                while time.monotonic() < due and run.stage()[0] == kill.stage and run.process.poll() is None:
                    time.sleep(0.05)

            for kill in tortured(command, copy_of_the_kit(killed), kills, moment):
                row = f"{kill.moment:<32} {kill.signal:<6} {kill.target:<8} {kill.took:>9.1f} s"
                row += f" {kill.code!s:>5}"
                print(f"{row}  {kill.said}{''.join(f' !! {fault}' for fault in kill.faults)}", flush=True)
                done += [kill] if kill.target != "nobody" else []
            rows, size, differing = compare(whole, killed)
    for difference in differing:
        print(difference)
    orphans = sum(len(kill.orphans) for kill in done)
    faults = sum(bool(kill.faults) for kill in done)
    print(
        f"\n{len(done) - faults} of {len(done)} kills survived, {rows} rows lost, {size:,} bytes compared, ",
        end="",
    )
    print(f"{len(differing)} files differ, {orphans} orphans.")
    return 1 if faults or differing else 0


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The runs that this command had started were killed.")
