"""Every file that the kit reads, damaged in every way: one sentence that names the file and the remedy."""

import errno
import io
import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from nbformat.v4 import new_markdown_cell, new_notebook

from sepo_lib import __main__ as cli
from sepo_lib.config import caches, disk, files, model_folder, paths, settings
from sepo_lib.config.errors import DamagedError, Explained, StorageError
from sepo_lib.measure import authors, exploitability, job_tables
from sepo_lib.report import publishing
from sepo_lib.report.page import sample_games
from sepo_lib.run import demonstration_files, events, jobs, provenance

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = pd.DataFrame({"seed": range(400), "game": "ipd", "text": "a long text, with a comma"})
NOTEBOOK = new_notebook(cells=[new_markdown_cell("A question. " * 20)])


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    return tmp_path


def at(text):
    path = paths.root() / text
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def a_json(path):
    content = {"arguments": {"sampling": {}}, "started": "now", "model_type": "qwen3"}
    path.write_text(json.dumps(content | {"settings": {}, "finished": None}))  # of any kind


def a_csv(path):
    paths.write_csv(TABLE, path)


def a_parquet(path):
    TABLE.to_parquet(path, index=False)


def a_notebook(path):
    nbformat.write(NOTEBOOK, path)


def weights(path):
    safetensors.numpy.save_file({"weight": np.ones(400, np.float32)}, path)


def a_yaml(path):
    shutil.copy(REPOSITORY / "sepo_lib/config/profiles.yaml", path)


def check_model(path):
    model_folder.check_intact(path.parent)


def profiles(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "__file__", str(path))
        settings.document.__wrapped__()


def reproduce(path):
    """What the command prints as its error."""
    with pytest.MonkeyPatch.context() as patch:
        err = io.StringIO()
        patch.setattr("sys.stderr", err)
        patch.setattr(paths, "NOTEBOOKS", ("00_one",))
        assert cli.main(["reproduce", "--profile", "smoke"]) == 2
        raise DamagedError(err.getvalue().removeprefix("error: ").strip())


#: Path from the root -> what writes a whole file, what reads it, and the remedy that the error has to name.
READ = {
    "runs/smoke/manifest.json": (
        a_json,
        lambda _: provenance.read("smoke"),
        "delete it and run the same comm",
    ),
    "data/results/smoke/evaluation.csv": (
        a_csv,
        lambda _: paths.read_table("smoke", "evaluation"),
        "run notebooks/03_sepo_grpo.ipynb again",
    ),
    "data/results/smoke/episodes.parquet": (
        a_parquet,
        lambda _: paths.read_table("smoke", "episodes"),
        "run notebooks/03_sepo_grpo.ipynb again",
    ),
    "data/results/own/episodes.parquet": (
        a_parquet,
        lambda _: sample_games.read("own"),
        "run notebooks/03_sepo_grpo.ipynb again",
    ),
    "data/results/coverage.csv": (
        a_csv,
        lambda path: files.read_csv(path, "run `python -m sepo_lib coverage` again"),
        "coverage` again",
    ),
    "data/paper/authors_results.csv": (a_csv, lambda _: authors.load(), "git restore data/paper/authors_res"),
    "data/paper/kuhn_frequencies.csv": (
        a_csv,
        lambda _: exploitability.paper_nashconv(),
        "git restore data/paper/kuhn_frequencies.csv",
    ),
    "runs/smoke/checkpoints/sft/seed-1/evaluation-ipd.parquet": (
        a_parquet,
        lambda path: job_tables.collect([path.parent], "evaluation"),
        "run the same command again",
    ),
    "data/sft/ipd.parquet": (
        a_parquet,
        lambda path: demonstration_files.load(path.parent, ["ipd"], "train"),
        "run notebooks/01_demonstrations.ipynb again",
    ),
    "notebooks/00_one.ipynb": (a_notebook, reproduce, "git restore notebooks"),
    "runs/smoke/notebooks/00_one.ipynb": (
        a_notebook,
        lambda _: publishing.publish_run("smoke"),
        "make reproduce PROFILE=smoke",
    ),
    "sepo_lib/config/profiles.yaml": (a_yaml, profiles, "git restore sepo_lib/config/profiles.yaml"),
    "data/models/nano/model-00002-of-00002.safetensors": (
        weights,
        check_model,
        "git restore data/models/nano",
    ),
    "data/models/nano/config.json": (a_json, check_model, "git restore data/models/nano"),
    "data/models/nano/generation_config.json": (a_json, check_model, "git restore data/models/nano"),
    "data/models/nano/tokenizer.json": (a_json, check_model, "git restore data/models/nano"),
    "runs/smoke/checkpoints/sft/seed-1/model/model.safetensors": (
        weights,
        check_model,
        "nothing has to be del",
    ),
    "runs/smoke/checkpoints/sft/seed-1/adapter/adapter_config.json": (
        a_json,
        check_model,
        "nothing has to be",
    ),
    ".cache/models/smollm2/model.safetensors": (weights, check_model, "delete .cache/models/smollm2"),
    "models--org--name/snapshots/1f/model.safetensors": (weights, check_model, "models--org--name; the next"),
    "elsewhere/pytorch_model.bin": (
        lambda path: (
            shutil.make_archive(path, "zip", REPOSITORY / "docs/gallery")
            and path.with_suffix(".bin.zip").rename(path)
        ),
        check_model,
        "save or download",
    ),
}


def emptied(path):
    path.write_bytes(b"")


def halved(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 - 5])


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [emptied, halved, zeroed, replaced_by_a_folder])
@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_is_named_with_its_remedy(name, damage):
    write, read, remedy = READ[name]
    write(at(name))
    damage(at(name))
    with pytest.raises(DamagedError) as raised:
        read(at(name))
    said = str(raised.value)
    assert f"{name} is damaged: " in said and remedy in said and said.endswith(".") and "\n" not in said
    assert ("it is empty" in said) == (damage is emptied)


@pytest.mark.parametrize("name", READ)
def test_a_file_that_may_not_be_read_is_named(name, monkeypatch):
    """Root may read everything, so the system's answer is put in its place."""
    write, read, _ = READ[name]
    write(at(name))
    whole = io.open

    def refused(file, *arguments, **options):
        if str(file) == str(at(name)):
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return whole(file, *arguments, **options)

    monkeypatch.setattr(io, "open", refused)
    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(Explained, match=f"There is no permission to use {name}; change the permissions"):
        read(at(name))


# ------------------------------------------------------------------------------- jobs and their progress


def counting(name="a", steps=3):
    return jobs.Job(name, "toy_jobs:count", {"start": 1, "steps": steps}, steps)


@pytest.mark.parametrize("damage", [emptied, halved, zeroed])
@pytest.mark.parametrize("name", ["done.json", "started.json"])
def test_a_job_with_a_damaged_record_is_run_again(name, damage, capsys):
    first = jobs.run([counting()], "smoke", "sft")
    folder = paths.job("smoke", "a")
    if name == "started.json":
        (folder / "done.json").unlink()
    damage(folder / name)
    again = jobs.run([counting()], "smoke", "sft")
    assert again["a"]["pid"] == first["a"]["pid"]
    assert f"checkpoints/a/{name} is damaged" in capsys.readouterr().out + (folder / "log.txt").read_text()
    assert jobs.result_of("smoke", counting())


@pytest.mark.parametrize(
    "line", [b'{"time": 1, "eve', b"\0\0\xff\xfe", b"null", b'{"event": "stage_start"}', b'{"time": 1}', b"7"]
)
def test_a_line_of_the_log_that_is_no_event_is_skipped(line):
    follower = events.Follower("smoke")
    about = {"stage": "sft", "job": "a", "steps": 4}
    start = {"stage": "sft", "jobs": 1, "steps": 4, "jobs_left": 1, "steps_left": 4}
    events.log_event("smoke", "stage_start", **start)
    with paths.events("smoke").open("ab") as log:
        log.write(line + b"\n")
    events.log_event("smoke", "step", **about, step=2, metrics={"loss": 1.0})
    assert follower.read().steps_done == 2
    paths.events("smoke").write_bytes(b"")  # cut while it is followed
    assert follower.read().steps_done == 2
    events.log_event("smoke", "step", **about, step=3, metrics={"loss": 1.0})
    assert follower.read().steps_done == 3


# ----------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def full(monkeypatch):
    """A function that fills the disk of the files with a name, and one that makes space again."""
    whole, names = os.replace, set()

    def replace(source, target):
        if names and any(name in str(target) for name in names):
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(source, target)

    monkeypatch.setattr(os, "replace", replace)
    return names


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(full):
    path = at("data/results/smoke/evaluation.csv")
    paths.write_table(TABLE[:1], "smoke", "evaluation")
    before = path.read_bytes()
    full.add("evaluation")
    with pytest.raises(StorageError) as raised:
        paths.write_table(TABLE, "smoke", "evaluation")
    assert re.fullmatch(
        r"No space is left on the disk of data/results/smoke/evaluation\.csv \([\d,.]+ MB are free; more is "
        r"needed\): free some space and run the same command again; nothing was deleted\.",
        str(raised.value),
    )
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("names", [{"done.json", "error.txt"}, {""}])
def test_a_job_on_a_full_disk_fails_in_one_sentence_and_continues_when_there_is_space(names, full):
    full |= names
    with pytest.raises(jobs.JobError) as raised:
        jobs.run([counting("a"), counting("b")], "smoke", "sft")
    said = str(raised.value)
    assert said.startswith("2 of 2 jobs of sft failed: a (No space is left on the disk of runs/smoke/checkp")
    assert said.endswith("nothing was deleted).") and "error.txt" not in said
    full.clear()
    assert jobs.run([counting("a"), counting("b")], "smoke", "sft")["a"]["first"] == (
        1 if names == {""} else 3  # from where it was
    )


def test_an_executed_notebook_is_written_whole_or_not_at_all(full, capsys, monkeypatch):
    monkeypatch.setattr(paths, "NOTEBOOKS", ("00_one",))
    shutil.copytree(REPOSITORY / "data/models/nano", at("data/models/nano"))
    a_notebook(at("notebooks/00_one.ipynb"))
    at("runs/smoke/notebooks/00_one.ipynb").write_text("of the run before")
    full.add("00_one.ipynb")
    assert cli.main(["reproduce", "--profile", "smoke"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "error: 00_one stopped: No space is left on the disk of runs/smoke/notebooks/00_one.i"
    )
    assert os.listdir(at("runs/smoke/notebooks/x").parent) == ["00_one.ipynb"]
    assert at("runs/smoke/notebooks/00_one.ipynb").read_text() == "of the run before"


def test_progress_alone_does_not_fail_for_want_of_space(root):
    at("runs/smoke").parent.mkdir(exist_ok=True)
    at("runs/smoke").write_text("a file in the place of the folder")
    events.log_event("smoke", "stage_end", stage="sft", failed=[])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "", "/there/x"), "No space is left on the disk of /there/x ("),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            "No space is left on the disk of /y",
        ),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            "No space is ",
        ),
        (
            shutil.Error([("a", "b", "[Errno 28] No space left on device")]),
            "No space is left on the disk of /y (",
        ),
        (OSError(errno.EFBIG, "", "/x"), "/x would become larger than this system allows"),
        (OSError(errno.EROFS, "", "/x"), "/x cannot be written, because its disk is read-only; make it"),
        (OSError(errno.EACCES, "", "/x", None, "/z"), "There is no permission to use /z; change"),
        (OSError(errno.EISDIR, "", b"/x"), "/x is a folder, but must be a file; move"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found"),
            "No folder for temporary files",
        ),
        (OSError(errno.EIO, "", 7), "The disk reports an error for /y; check the disk"),
    ],
)
def test_errors_of_the_disk_are_sentences(error, sentence):
    said = disk.in_one_line(error, Path("/y/z").parent)
    assert said.startswith(sentence) and said.endswith(".")


def test_other_errors_are_left_alone():
    for error in (ValueError("no card"), OSError("no hub"), StorageError("No space.")):
        assert disk.explain(error, Path("/y")) is None
    assert disk.explain(FileNotFoundError(errno.ENOENT, "no file is named")) is None
    with pytest.raises(KeyError), disk.writing(Path("/y")):
        raise KeyError("x")


def test_a_library_that_hides_the_full_disk_is_seen_through():
    error = ValueError("could not save")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/there/x")
    assert disk.explain(error).startswith("No space is left on the disk of /there/x")


# ------------------------------------------------------------------- folders that cannot be written


@pytest.mark.parametrize("folder", ["runs", "data/results", "figures"])
def test_a_run_says_at_its_start_which_folder_cannot_be_written(folder, root, monkeypatch, capsys):
    """Root may write everywhere, so the system's answer is put in its place."""
    monkeypatch.setattr(paths, "NOTEBOOKS", ())
    shutil.copytree(REPOSITORY / "data/models/nano", at("data/models/nano"))
    at(folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != root / folder)
    assert cli.main(["reproduce", "--profile", "smoke"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: There is no permission to use {folder}/smoke; change the permissions")
    assert said.out == "" and not at("runs/smoke").exists()
    monkeypatch.undo()
    monkeypatch.setenv("SEPO_ROOT", str(root))
    shutil.rmtree(root / folder)
    (root / folder).write_text("a file")
    with pytest.raises(StorageError, match=f"^{folder}/smoke is a file|on the path {folder}/smoke is a file"):
        disk.check_writable([root / folder / "smoke"])


def test_libraries_get_other_folders_if_the_home_folder_cannot_be_written(root, monkeypatch):
    before = {"SEPO_ROOT": str(root), "HOME": str(root / "home")}
    monkeypatch.setattr(os, "environ", dict(before))
    caches.use_writable()
    assert os.environ == before  # the home folder can be made
    (root / "home").write_text("no folder")
    models = root / "models"
    (models / "hub").mkdir(parents=True)
    os.environ["HF_HOME"] = str(models)  # may be read-only, as it holds models
    caches.use_writable()
    others = {name: str(root / ".cache" / "home" / name.lower()) for name in caches.FOLDERS}
    assert os.environ == before | others | {"HF_HOME": str(models)}
