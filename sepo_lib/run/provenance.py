"""What a run was made with: `runs/<profile>/manifest.json`, written as the run goes on.

    start(settings)                      versions, commit, settings, hardware
    with stage(profile, "02_sft"): ...   seconds and attempts, added up over interruptions
    finish(profile)                      sha256 of every table and figure
    verify(profile)                      what no longer agrees

The manifest names no machine, person or folder: every path in it starts from the root.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import site
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.config.profiles import Settings
from sepo_lib.run import revisions

#: The packages whose versions can change a number.
PACKAGES = (
    *("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers"),
    *("open_spiel", "axelrod", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "seaborn", "papermill"),
)

#: How a manifest writes a moment (in UTC).
CLOCK = "%Y-%m-%d %H:%M UTC"

#: What in the repository a result depends on; only changes there make a run's commit "dirty".
SOURCES = ("sepo_lib", "notebooks", "requirements.lock", "data/paper", "data/models")

#: The date (UTC) of the last change of the code that moves results (docs/LOG.md). Who makes such a change
#: sets it: committed runs made before it are then called older, and jobs finished before it are done again.
CORRECTED = "2026-11-26"
#: What these corrections were, in a few words for those who read older numbers.
CHANGES = (
    "the KL term covered fewer decisions in three of the four arms, unparsed answers were trained on their "
    "text alone, and in deal a rollout group shared one deal"
)


def start(settings: Settings) -> dict[str, Any]:
    """Begin a manifest, or continue the one of an interrupted run with the same settings, and write it."""
    plain = settings.as_dict()
    path = paths.manifest(settings.profile)
    before = read(settings.profile) if path.exists() else {}
    continues = before.get("settings") == plain and not before["finished"]
    return _write(
        settings.profile,
        {
            "profile": settings.profile,
            "started": before["started"] if continues else _now(),
            "finished": None,
            "commit": commit(),
            "corrected": CORRECTED,
            "settings": plain,
            "seeds": plain["seeds"],
            "hardware": hardware(),
            "versions": versions(),
            "stages": before["stages"] if continues else {},
            "sha256": {},
        },
    )


@contextlib.contextmanager
def stage(profile: str, name: str) -> Iterator[None]:
    """Record the seconds that the body takes, whether it ends well or not."""
    begun = time.monotonic()
    try:
        yield
    finally:
        record(profile, name, time.monotonic() - begun)


def record(profile: str, name: str, seconds: float) -> None:
    """Add an attempt of `seconds` to a stage."""
    manifest = read(profile)
    before = manifest["stages"].get(name, {"seconds": 0.0, "attempts": 0})
    total = round(before["seconds"] + seconds, 1)
    manifest["stages"][name] = {"seconds": total, "attempts": before["attempts"] + 1}
    _write(profile, manifest)


def finish(profile: str) -> dict[str, Any]:
    """Close the manifest: the date, the sha256 of every table and figure, the versions of the rules of the
    claims, and the seconds of the jobs.

    Of every job, of all together (each counts once, however often the run was stopped and continued), and of
    those that had been done before the run was started.
    """
    manifest, folder = read(profile), paths.checkpoints(profile)
    files = sorted(folder.rglob("done.json"))
    jobs = {
        file.parent.relative_to(folder).as_posix(): json.loads(file.read_text(encoding="utf-8"))["seconds"]
        for file in files
    }
    started = datetime.strptime(manifest["started"], CLOCK).replace(tzinfo=UTC).timestamp()
    before = [job for job, file in zip(jobs, files, strict=True) if file.stat().st_mtime < started]
    closed = {
        "finished": _now(),
        "jobs": jobs,
        "job_seconds": round(sum(jobs.values()), 1),
        "job_seconds_before": round(sum(jobs[job] for job in before), 1),
        "rules": revisions.versions(),
    }
    return _write(profile, manifest | closed | {"sha256": _hashes(profile)})


def remade(profile: str, files: Iterable[Path]) -> list[str]:
    """Note in the manifest of a finished run which of `files` were made again from its records since it was
    last written, by which commit and rules; returns their paths from the root."""
    manifest = read(profile)
    made = {paths.relative(file): _sha256(file) for file in files}
    changed = [name for name, digest in made.items() if manifest["sha256"].get(name) != digest]
    if changed:
        entry = {"date": _now()[:10], "files": changed, "commit": commit()}
        notes = manifest.get("remade", [])
        if notes and notes[-1]["date"] == entry["date"]:  # one note a day, with the last commit
            entry["files"] = sorted({*notes.pop()["files"], *changed})
        manifest["remade"] = [*notes, entry]
        manifest["sha256"] |= made
        _write(profile, manifest | {"rules": revisions.versions()})
    return changed


def read(profile: str) -> dict[str, Any]:
    """The manifest of a run. Raises FileNotFoundError naming the command that makes one."""
    path = paths.manifest(profile)
    if not path.exists():
        command = f"make reproduce PROFILE={profile}"
        raise FileNotFoundError(
            f"There is no run to look at: {paths.relative(path)} is missing; run `{command}`."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def own_rows(profile: str, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run's table that are of the run's model (its manifest's), where it holds several models.

    Raises ValueError naming the models where there is no manifest to tell.
    """
    models = sorted(table["model"].dropna().unique()) if "model" in table else []
    if len(models) < 2:
        return table
    if not paths.manifest(profile).exists():
        raise ValueError(
            f"The tables of {profile} hold the models {models}, and no manifest says which is the run's; "
            "keep the rows of one model."
        )
    return table[table["model"] == read(profile)["settings"]["model"]]


def older(profile: str) -> str | None:
    """A sentence where the run of `profile` was made before the last correction, else None.

    None too where there is no run, and where evaluation.csv is no longer the run's (another is under way).
    """
    manifest = read(profile) if paths.manifest(profile).exists() else {}
    table = paths.table(profile, "evaluation")
    made = manifest.get("sha256", {}).get(paths.relative(table))
    if manifest.get("corrected", "") >= CORRECTED or not table.exists() or _sha256(table) != made:
        return None
    return (
        f"Made on {manifest['started'][:10]}, before the corrections of {CORRECTED} (docs/LOG.md): "
        f"{CHANGES}. Today's code would give other numbers."
    )


def seconds(settings: Settings) -> float | None:
    """How long the last run with these settings took; None if there is none or it has not finished.

    At least what its jobs took: a run that was continued did not do all of them again.
    """
    if not paths.manifest(settings.profile).exists():
        return None
    manifest = read(settings.profile)
    same = manifest["finished"] and manifest["settings"] == settings.as_dict()
    return duration(manifest) if same else None


def duration(manifest: dict[str, Any]) -> float:
    """Seconds of a whole run: of its notebooks, and of the jobs that had been done before it was started.

    An older manifest does not tell these jobs: the longer of its notebooks and its jobs counts.
    """
    notebooks = sum(one["seconds"] for one in manifest["stages"].values())
    workers = manifest["settings"]["workers"]
    if "job_seconds_before" in manifest:
        return notebooks + manifest["job_seconds_before"] / workers
    return max(notebooks, manifest["job_seconds"] / workers)


def verify(profile: str) -> list[str]:
    """What no longer agrees with the manifest, one sentence each; empty when everything does."""
    manifest = read(profile)
    if not manifest["finished"]:
        return [f"The run was started on {manifest['started']} and has not finished."]
    then, now = manifest["sha256"], _hashes(profile)
    found = [f"{name} is missing." for name in then if name not in now]
    found += [
        f"{name} has changed since the run." for name in then if name in now and now[name] != then[name]
    ]
    return found + [f"{name} is not from the run." for name in now if name not in then]


def versions() -> dict[str, str]:
    """Python, the packages that matter (those that are installed), and the lock they came from."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    if paths.lock().exists():
        found["requirements.lock sha256"] = _sha256(paths.lock())
    return found


def commit() -> dict[str, Any]:
    """The git commit, and whether the sources differ from it; both None outside a repository."""
    head = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", *SOURCES)
    return {"commit": head or None, "dirty": None if changes is None else bool(changes)}


def hardware() -> dict[str, Any]:
    """Processor, usable cores, memory (GiB), operating system, accelerator and the instructions that torch
    uses (such as AVX512; docs/REPRODUCIBILITY.md); no host name."""
    import psutil
    import torch

    if torch.cuda.is_available():
        accelerator = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    else:
        accelerator = "Apple GPU" if torch.backends.mps.is_available() else "none"
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
    """What in a text names a machine: folders of this one, and of any other what looks like one.

    Of this machine the root of the kit, the home folder, that of temporary files, and those of packages;
    pictures that are embedded as base64 are passed over.
    """
    text = re.sub(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+", "", text)
    here = (paths.root().resolve(), Path.home(), Path(tempfile.gettempdir()), *site.getsitepackages())
    own = [str(folder) for folder in here if len(Path(folder).parts) > 1]
    found = [folder for folder in own if re.search(re.escape(folder) + r"(?![\w-])", text)]
    return found + sorted(set(_MACHINE.findall(text)))


#: A folder of a home or of temporary files, or where packages are installed, on any system.
_MACHINE = re.compile(
    r"(?<![\w.])(?:/home/|/Users/|/root/|/tmp/|/var/folders/)[\w.-]*|[A-Z]:\\+Users\\+\w+|site-packages"
)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    with contextlib.suppress(OSError):
        command = ["git", "-C", str(paths.root()), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None
    return None


def _hashes(profile: str) -> dict[str, str]:
    folders = (paths.results(profile), paths.figures(profile))
    files = sorted(
        file for folder in folders if folder.is_dir() for file in folder.rglob("*") if file.is_file()
    )
    return {paths.relative(file): _sha256(file) for file in files}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).strftime(CLOCK)


def _write(profile: str, manifest: dict[str, Any]) -> dict[str, Any]:
    paths.replace_text(paths.manifest(profile), json.dumps(manifest, indent=2) + "\n")
    return manifest
