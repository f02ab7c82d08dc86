"""The manifest of a run, `runs/<run>/manifest.json`: how the run was made, and hashes of its results.

    start(settings)                      versions, commit, settings, hardware
    with stage(run, "02_sft"): ...       seconds and attempts, added up over interruptions
    finish(run)                          sha256 of every table and figure, and the code of every job
    verify(run)                          differences between the files and the manifest

The manifest names no machine, person or folder. Every path in it is relative to the root.
"""

import contextlib
import json
import os
import platform
import re
import site
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sepo_lib.config import cards, paths
from sepo_lib.config import files as files_
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.config.profiles import Settings
from sepo_lib.config.settings import plain
from sepo_lib.run import code, git, revisions

if TYPE_CHECKING:
    import pandas as pd

#: Packages whose versions the manifest names: those that can change a number, and those that write files.
PACKAGES = (*code.LIBRARIES, "pyarrow", "matplotlib", "seaborn", "papermill")

#: What to do about a damaged file of a run.
_AGAIN = "run the same command again"

#: Format of times in a manifest (UTC).
CLOCK = "%Y-%m-%d %H:%M UTC"

#: The parts of the repository that results depend on; only changes there make a run's commit "dirty".
SOURCES = ("sepo_lib", "notebooks", "requirements.lock", "data/paper", "data/models")

#: The date (UTC) of the last change of the code that changes results (docs/LOG.md). Set it when you make such
#: a change: committed runs made before it are then marked as older.
CORRECTED = "2026-11-27"
#: The state before these corrections, for readers of older numbers.
CHANGES = (
    "the KL term covered fewer decisions in three of the four arms, the loss of an unparsed answer covered "
    "its text alone, in deal all rollouts of a group shared one deal, and an action below an unfinished "
    "sentence was read as an answer"
)


def start(settings: Settings, **more: Any) -> dict[str, Any]:
    """Begin a manifest and write it, or continue that of an interrupted run with the same settings.

    `more` are further entries: the `model` (`model_files.described`) and what the run is `made_from`
    (`unchanged.made_from`).
    """
    values = settings.as_dict()
    before = read(settings.run, missing_ok=True)
    continues = before.get("settings") == values and not before["finished"]
    return _write(
        settings.run,
        {
            "run": settings.run,
            "profile": settings.profile,
            "started": before["started"] if continues else _now(),
            "finished": None,
            "commit": commit(),
            "corrected": CORRECTED,
            "settings": values,
            **({"changes": plain(settings.changes)} if settings.changes else {}),
            "seeds": values["seeds"],
            "hardware": hardware(),
            "versions": versions(),
            "stages": before["stages"] if continues else {},
            "jobs": before.get("jobs", {}),  # of the run before, for `plan`; `finish` replaces them
            "sha256": {},
            **more,
        },
    )


@contextlib.contextmanager
def stage(run: str, name: str) -> Iterator[None]:
    """Record the seconds that the body takes, even if it raises."""
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk must not hide why the body stopped
            record(run, name, time.monotonic() - begun)
        raise
    record(run, name, time.monotonic() - begun)


def record(run: str, name: str, seconds: float) -> None:
    """Add an attempt of `seconds` to a stage of the manifest."""
    manifest = read(run)
    before = manifest["stages"].get(name, {"seconds": 0.0, "attempts": 0})
    total = round(before["seconds"] + seconds, 1)
    manifest["stages"][name] = {"seconds": total, "attempts": before["attempts"] + 1}
    _write(run, manifest)


def finish(run: str, reused: Collection[str] = ()) -> dict[str, Any]:
    """Close the manifest and return it. It then also has

    - the date, and the sha256 of every table and figure;
    - the versions of the rules of the claims;
    - for every job its seconds, when it was finished, and the code that made it (`jobs`). Those of `reused`
      were made by older code;
    - the seconds of all jobs (`job_seconds`, each job counted once), and of the jobs that were finished
      before the run was started (`job_seconds_before`).
    """
    manifest, folder = read(run), paths.checkpoints(run)
    files = sorted(folder.rglob("done.json"))
    jobs = {file.parent.relative_to(folder).as_posix(): _made(file) for file in files}
    for name in reused:
        jobs[name]["reused"] = True
    seconds = {name: job["seconds"] for name, job in jobs.items()}
    started = datetime.strptime(manifest["started"], CLOCK).replace(tzinfo=UTC).timestamp()
    before = [job for job, file in zip(jobs, files, strict=True) if _ended(jobs[job], file) < started]
    closed = {
        "finished": _now(),
        "jobs": jobs,
        "job_seconds": round(sum(seconds.values()), 1),
        "job_seconds_before": round(sum(seconds[job] for job in before), 1),
        "rules": revisions.versions(),
    }
    return _write(run, manifest | closed | {"sha256": _hashes(run)})


def add(run: str, **entries: Any) -> None:
    """Add entries to the manifest of a run, or replace them."""
    _write(run, read(run) | entries)


def seconds_of_jobs(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Job -> the seconds it took. Older manifests hold nothing else of a job."""
    jobs = manifest.get("jobs", {})
    return {name: job["seconds"] if isinstance(job, Mapping) else job for name, job in jobs.items()}


def reused(run: str) -> str | None:
    """A sentence if jobs of this run were made by older code, which REUSE=yes accepted; else None."""
    jobs = read(run, missing_ok=True).get("jobs", {})
    older = sum(isinstance(job, Mapping) and "reused" in job for job in jobs.values())
    were = "was" if older == 1 else "were"
    return f"{older} of {len(jobs)} jobs {were} made by older code (REUSE=yes)." if older else None


def remade(run: str, files: Iterable[Path]) -> list[str]:
    """Note in the manifest of a finished run which of `files` have changed since it was last written, or are
    gone.

    The note has the date, the files and the commit. The hashes are updated, and the versions of the rules if
    the table of claims is among `files`. Returns the paths of the changed files, relative to the root.
    """
    manifest = read(run)
    made = {paths.relative(file): files_.sha256(file) if file.exists() else None for file in files}
    changed = [name for name, digest in made.items() if manifest["sha256"].get(name) != digest]
    if changed:
        entry = {"date": _now()[:10], "files": changed, "commit": commit()}
        notes = manifest.get("remade", [])
        if notes and notes[-1]["date"] == entry["date"]:  # one note per day, with the last commit
            entry["files"] = sorted({*notes.pop()["files"], *changed})
        manifest["remade"] = [*notes, entry]
        now = manifest["sha256"] | made
        manifest["sha256"] = {name: digest for name, digest in now.items() if digest}
        decided = paths.relative(paths.table(run, "claims")) in made
        _write(run, manifest | ({"rules": revisions.versions()} if decided else {}))
    return changed


def read(run: str, missing_ok: bool = False) -> dict[str, Any]:
    """The manifest of a run. Raises MissingError naming the command that makes it, or DamagedError.

    With `missing_ok`, a run without a manifest has an empty one.
    """
    path = paths.manifest(run)
    if not path.exists():
        if missing_ok:
            return {}
        raise MissingError(
            f"The run '{run}' has no manifest ({paths.relative(path)}); `make reproduce` makes one."
        )
    remedy = f"restore it with git, or delete it and {_AGAIN}: finished jobs are kept"
    return files_.read_json(path, remedy, ("settings", "finished"))


def own_rows(run: str, table: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of a run's table for the run's own model, which the manifest names.

    Raises InputError naming the models if the table has several and there is no manifest.
    """
    models = sorted(table["model"].dropna().unique()) if "model" in table else []
    if len(models) < 2:
        return table
    if not paths.manifest(run).exists():
        raise InputError(
            f"The tables of {run} hold the models {models}, and no manifest names the run's own model; "
            "keep the rows of one model."
        )
    return table[table["model"] == read(run)["settings"]["model"]]


def older(run: str) -> str | None:
    """A sentence if `run` was made before the last correction, else None.

    Also None if there is no run, or if evaluation.csv has changed since, because another run is in progress.
    """
    manifest, table = read(run, missing_ok=True), paths.table(run, "evaluation")
    made = manifest.get("sha256", {}).get(paths.relative(table))
    if manifest.get("corrected", "") >= CORRECTED or not table.exists() or files_.sha256(table) != made:
        return None
    return (
        f"This run was made on {manifest['started'][:10]}, before the corrections of {CORRECTED} "
        f"(docs/LOG.md). At that time {CHANGES}. The present code would give other numbers."
    )


def seconds(settings: Settings) -> float | None:
    """Seconds of the last run with these settings, see `duration`; None if there is no finished one."""
    manifest = read(settings.run, missing_ok=True)
    same = manifest.get("finished") and manifest["settings"] == settings.as_dict()
    return duration(manifest) if same else None


def duration(manifest: dict[str, Any]) -> float:
    """Seconds of a whole run: its notebooks, and the jobs that were finished before it was started.

    Older manifests do not list these jobs. For them, the longer of the notebooks and all jobs counts.
    """
    notebooks = sum(one["seconds"] for one in manifest["stages"].values())
    workers = manifest["settings"]["workers"]
    if "job_seconds_before" in manifest:
        return notebooks + manifest["job_seconds_before"] / workers
    return max(notebooks, manifest["job_seconds"] / workers)


def verify(run: str) -> list[str]:
    """Differences between the files of a run and its manifest, one sentence each."""
    manifest = read(run)
    if not manifest["finished"]:
        return [f"The run was started on {manifest['started']} and has not finished."]
    then, now = manifest["sha256"], _hashes(run)
    found = [f"{name} is missing." for name in then if name not in now]
    found += [
        f"{name} has changed since the run." for name in then if name in now and now[name] != then[name]
    ]
    return found + [f"{name} is not from the run." for name in now if name not in then]


def versions() -> dict[str, str]:
    """Versions of Python and of the installed PACKAGES, and the hash of the lock file."""
    found = {"python": platform.python_version()} | code.installed(PACKAGES)
    if paths.requirements().exists():
        found["requirements.lock sha256"] = files_.sha256(paths.requirements())
    return found


def commit() -> dict[str, Any]:
    """The git commit, and whether the sources differ from it (`dirty`); both None outside a repository."""
    head = git.text("rev-parse", "HEAD").strip()
    changes = git.output("status", "--porcelain", "--", *SOURCES)
    return {"commit": head or None, "dirty": None if changes is None else bool(changes)}


def obsolete(folder: Path) -> str:
    """What to do about a job whose notes are damaged when all notebooks have run: none of them needs it."""
    return f"no notebook of this run needs that job: move {paths.relative(folder)} away and {_AGAIN}"


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory (GiB), operating system, the accelerator in use, and CPU instructions.

    The instructions are those that torch uses, such as AVX512 (docs/REPRODUCIBILITY.md). The host name is
    left out.
    """
    import psutil
    import torch

    asked, accelerator = os.environ.get(cards.DEVICE), "none"  # as `models.device` chooses
    if torch.cuda.is_available() and asked in (None, "", "cuda"):
        accelerator = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    elif torch.backends.mps.is_available() and asked == "mps":
        accelerator = "Apple GPU"
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "processor": _processor(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "accelerator": accelerator,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def traces(text: str) -> list[str]:
    """The parts of a text that name folders of a machine.

    They are the folders of this machine (root of the kit, home, temporary files, installed packages), and
    whatever looks like such a folder of another machine. Pictures embedded as base64 are ignored.
    """
    text = re.sub(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+", "", text)
    here = (paths.root().resolve(), _home(), Path(tempfile.gettempdir()), *site.getsitepackages())
    own = [str(folder) for folder in here if len(Path(folder).parts) > 1]
    found = [folder for folder in own if re.search(re.escape(folder) + r"(?![\w-]|\.\w)", text)]
    return found + sorted(set(_MACHINE.findall(text)))


#: Home folders, folders for temporary files, and folders of installed packages, on any system.
_MACHINE = re.compile(
    r"(?<![\w.])(?:/home/|/Users/|/root/|/tmp/|/var/folders/)[\w.-]*|[A-Z]:\\+Users\\+\w+|site-packages"
)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # HOME is not set, and the system does not know this user
        return Path("/")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _made(done: Path) -> dict[str, Any]:
    """When and by which code the job was finished that wrote `done`; older jobs note the seconds alone."""
    facts = files_.read_json(done, obsolete(done.parent))
    commit = facts.get("commit") or {}
    known = {name: facts[name] for name in ("seconds", "code", "finished") if name in facts}
    return known | {name: commit[name] for name in ("commit", "dirty") if name in commit}


def _ended(job: Mapping[str, Any], done: Path) -> float:
    """When a job was finished, in seconds since 1970: as it noted itself, since a copied file is younger."""
    return datetime.fromisoformat(job["finished"]).timestamp() if "finished" in job else done.stat().st_mtime


def _hashes(run: str) -> dict[str, str]:
    folders = (paths.results(run), paths.figures(run))
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return {paths.relative(file): files_.sha256(file) for file in files}


def _now() -> str:
    return datetime.now(UTC).strftime(CLOCK)


def _write(run: str, manifest: dict[str, Any]) -> dict[str, Any]:
    paths.replace_text(paths.manifest(run), json.dumps(manifest, indent=2) + "\n")
    return manifest
