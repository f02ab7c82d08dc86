"""Every path of the project, from one root, and the only code that reads or writes result tables.

    runs/<run>/           manifest, events, executed notebooks and checkpoints of a run
    data/results/<run>/   its tables                figures/<run>/       its figures
    data/sft/             demonstrations            data/models/<name>/  models that ship with the kit

`profiles.run_name` decides the name of a run. The root is the repository, or the folder that the environment
variable SEPO_ROOT names.
"""

import contextlib
import csv
import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sepo_lib.config import disk, files
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.config.root import relative as relative
from sepo_lib.config.root import root as root
from sepo_lib.config.root import shown as shown

if TYPE_CHECKING:
    import pandas as pd

#: The notebooks in the order in which they run.
NOTEBOOKS = (
    "00_base_model",
    "01_demonstrations",
    "02_sft",
    "03_sepo_grpo",
    "04_ablations",
    "05_figures",
    "06_your_own_game",
)

#: Result table -> the notebook that writes it.
TABLES = {
    "evaluation": "03_sepo_grpo",
    "episodes": "03_sepo_grpo",
    "training": "03_sepo_grpo",
    "sft": "02_sft",
    "exploitability": "03_sepo_grpo",
    "strategies": "03_sepo_grpo",
    "behaviour": "03_sepo_grpo",
    "crossplay": "03_sepo_grpo",
    "ablation": "04_ablations",
    "switches": "04_ablations",
    "headline": "04_ablations",
    "estimators": "04_ablations",
    "headroom": "04_ablations",
    "exploiters": "04_ablations",
    "paper_nashconv": "04_ablations",
    "kuhn_optimum": "04_ablations",
    "weights": "04_ablations",
    "crossings": "04_ablations",
    "sweep": "04_ablations",
    "replication": "04_ablations",
    "transfer": "04_ablations",
    "claims": "05_figures",
}

#: What to do if a notebook in git is damaged or missing.
RESTORE_NOTEBOOKS = "run `git restore notebooks`"

#: Tables that are too long for a text file.
PARQUET = frozenset({"episodes", "estimators", "training", "strategies"})


def notebooks() -> Path:
    """The folder of the notebooks in git."""
    return root() / "notebooks"


def notebook(name: str) -> Path:
    """The notebook `name` in git."""
    return notebooks() / f"{name}.ipynb"


def run_first(names: Sequence[str]) -> str:
    """What to do if the notebooks `names` have to be run: "run notebooks/a.ipynb first, then b and c"."""
    first, *others = names
    then = " and ".join(filter(None, (", ".join(others[:-1]), *others[-1:])))
    return f"run {relative(notebook(first))} first" + (f", then {then}" if then else "")


def run(run_name: str) -> Path:
    """Everything that a run writes, except its tables and figures."""
    return root() / "runs" / run_name


def executed(run_name: str) -> Path:
    """The notebooks as a run executed them."""
    return run(run_name) / "notebooks"


def checkpoints(run_name: str) -> Path:
    """The checkpoints of a run: one folder per job; not in git."""
    return run(run_name) / "checkpoints"


def job(run_name: str, name: str) -> Path:
    """The folder of one job."""
    return checkpoints(run_name) / name


def other_job(folder: Path, name: str) -> Path:
    """The folder of the job `name` in the run that the job in `folder` belongs to.

    Raises InputError if `folder` lies in no run.
    """
    found = next((above for above in folder.parents if above.name == "checkpoints"), None)
    if found is None:
        raise InputError(f"{shown(folder)} is not the folder of a job: it does not lie in checkpoints/.")
    return found / name


def events(run_name: str) -> Path:
    """The log of a run's progress, one JSON object per line."""
    return run(run_name) / "events.jsonl"


def manifest(run_name: str) -> Path:
    """The manifest of a run: code, settings, versions, hardware and hashes."""
    return run(run_name) / "manifest.json"


def report(run_name: str) -> Path:
    """The one-page report of a run."""
    return run(run_name) / "report.html"


def results(run_name: str) -> Path:
    """The tables of a run."""
    return root() / "data" / "results" / run_name


def table(run_name: str, name: str) -> Path:
    """The file of one result table."""
    return results(run_name) / f"{name}.{'parquet' if name in PARQUET else 'csv'}"


def figures(run_name: str) -> Path:
    """The figures of a run."""
    return root() / "figures" / run_name


def demonstrations() -> Path:
    """The examples of supervised fine-tuning."""
    return root() / "data" / "sft"


def models() -> Path:
    """The models that ship with the kit, one folder each (`data/models/nano`)."""
    return root() / "data" / "models"


def model(name: str) -> Path | None:
    """The folder of a model that ships with the kit, or at a path from the root; None if there is neither."""
    folders = (models() / name, root() / name)
    return next((folder for folder in folders if os.path.isdir(folder)), None)  # False for too long a name


def crossplay(game: str) -> Path:
    """The results of the command crossplay; not in git."""
    return root() / "runs" / "crossplay" / game


def requirements() -> Path:
    """The lock file: the pinned packages."""
    return root() / "requirements.lock"


def replace(path: Path, write: Callable[[Path], object]) -> Path:
    """Write `path` in one step: `write` fills a temporary file, which is then moved there.

    Readers see the old file or the whole new one. The next writer removes what a killed one has left. Raises
    StorageError if the disk is full or refuses it.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if left.suffix[1:].isdigit() and not is_alive(int(left.suffix[1:])):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with disk.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    return path


def is_alive(process: int) -> bool:
    """Whether a process of this machine has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


def replace_text(path: Path, text: str) -> Path:
    """Write `text` to `path` in one step."""
    return replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_table(run_name: str, name: str, columns: Sequence[str] = ()) -> "pd.DataFrame":
    """One result table of a run. `columns` are those that the caller needs.

    Raises MissingError naming the notebooks to run first, DamagedError for a file that `write_table` has not
    written like this, and InputError naming a missing column.
    """
    path = table(run_name, name)
    if not path.exists():
        todo = run_first(_to_run(run_name, name)) if name in TABLES else "run the code that writes it"
        raise MissingError(f"The table {relative(path)} does not exist yet; {todo}.")
    writer = f"run {relative(notebook(TABLES[name]))} again" if name in TABLES else "run what writes it again"
    remedy = f"{writer}, or restore it with git if git holds it"
    frame = (files.read_parquet if name in PARQUET else files.read_csv)(path, remedy)
    for column in columns:
        if column not in frame:
            raise InputError(f"{relative(path)} has no column '{column}'; it has {', '.join(frame.columns)}.")
    return frame


def read_paper(name: str) -> "pd.DataFrame":
    """A table of numbers that the paper's authors have published: data/paper/<name>.csv."""
    path = root() / "data" / "paper" / f"{name}.csv"
    remedy = f"run `git restore {relative(path)}`"
    if not path.exists():
        raise MissingError(f"{relative(path)} is missing from this copy of the kit; {remedy}.")
    return files.read_csv(path, remedy)


def write_table(frame: "pd.DataFrame", run_name: str, name: str) -> Path:
    """Write one result table of a run in one step, without its index, and return its path.

    A table without rows is written with its header. Raises InputError as `write_csv` does.
    """
    path = table(run_name, name)
    if name not in PARQUET:
        return write_csv(frame, path)
    _check_columns(frame, path)
    return replace(path, lambda file: files.write_parquet(frame, file))


def write_csv(frame: "pd.DataFrame", path: Path) -> Path:
    """Write a table to `path` in one step, without its index. `read_csv` reads the same table back.

    Raises InputError for a table without columns, and for a column name that is blank or occurs twice.
    """
    _check_columns(frame, path)
    text = frame.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # pandas reads it as a line end, but does not quote it when it writes
        text = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return replace(path, lambda file: file.write_text(text, encoding="utf-8", newline=""))


def _to_run(run_name: str, name: str) -> list[str]:
    """The notebooks to run in order until table `name` exists, as far as the files show.

    Notebooks without tables count as missing if the next one is.
    """
    last = NOTEBOOKS.index(TABLES[name])
    missing = {TABLES[one] for one in TABLES if not table(run_name, one).exists()}
    first = next(number for number in range(last + 1) if NOTEBOOKS[number] in missing)
    while first and NOTEBOOKS[first - 1] not in TABLES.values():
        first -= 1
    return list(NOTEBOOKS[first : last + 1])


def _check_columns(frame: "pd.DataFrame", path: Path) -> None:
    names = [str(name).strip() for name in frame.columns]
    if not names:
        raise InputError(f"The table {shown(path)} has no columns; give it at least one.")
    if bad := [name for name in names if not name or names.count(name) > 1]:
        what = f"the column '{bad[0]}' twice" if bad[0] else "a column with a blank name"
        raise InputError(f"The table {shown(path)} has {what}; give every column a different name.")
