"""A finished run is not made again while nothing that it depends on has changed; else it says what has."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import sepo_lib
from sepo_lib import __main__ as cli
from sepo_lib.config import files, paths, profiles
from sepo_lib.config.errors import DamagedError
from sepo_lib.run import headless, job, model_files, provenance, replaced, unchanged

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A finished run of the profile smoke with one job, in a kit with its own copy of two sources."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(paths, "NOTEBOOKS", ("00_base_model",))
    package = tmp_path / "sepo_lib"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "x.py").write_text("one = 1\n")
    monkeypatch.setattr(sepo_lib, "__file__", str(package / "__init__.py"))
    shutil.copytree(REPOSITORY / "data" / "models", paths.models())
    paths.notebooks().mkdir()
    for folder in (paths.notebooks(), paths.executed("smoke")):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "notebooks" / "00_base_model.ipynb", folder)
    settings = profiles.load("smoke", run="smoke")
    started = {
        "model": model_files.described(settings.model),
        "made_from": unchanged.made_from(settings),
    }
    provenance.start(settings, **started)
    paths.write_table(pd.DataFrame([{"seed": 1}]), "smoke", "sft")
    paths.replace_text(paths.demonstrations() / "ipd.parquet", "examples")
    folder = paths.job("smoke", "sft/seed-1")
    paths.replace_text(folder / "model" / "a", "weights")
    one = job.Job("sft/seed-1", "toy_jobs:count", {"start": 1}, 1)
    paths.replace_text(folder / "started.json", json.dumps(vars(one)))
    done = {
        "seconds": 2.0,
        "code": "c0de",
        "commit": {"commit": "abc", "dirty": False},
        "finished": "2026-11-27T00:00:00+00:00",
        "files": files.checksums(folder, [folder / "model" / "a"]),
    }
    paths.replace_text(folder / "done.json", json.dumps(done))
    provenance.finish("smoke")
    paths.replace_text(paths.report("smoke"), "<p>report</p>")
    unchanged.seal(settings)
    return tmp_path


def changes():
    return unchanged.changes(profiles.load("smoke", run="smoke"))


def write(file):
    return lambda root: paths.replace_text(root / file, "other")


def cell(kind):
    """Add a cell to the notebook."""

    def add(root):
        file = paths.notebook("00_base_model")
        notebook = json.loads(file.read_text())
        notebook["cells"].append({"cell_type": kind, "source": ["more"], "metadata": {}, "outputs": []})
        file.write_text(json.dumps(notebook))

    return add


def touch(root):
    os.utime(paths.job("smoke", "sft/seed-1") / "model" / "a")


JOB, EXECUTED = "runs/smoke/checkpoints/sft/seed-1", "runs/smoke/notebooks/00_base_model.ipynb"


@pytest.mark.parametrize(
    ("edit", "clause"),
    [
        (lambda root: None, None),
        (cell("markdown"), None),
        (touch, None),
        (cell("code"), "notebooks/00_base_model.ipynb has changed"),
        (write("sepo_lib/x.py"), "sepo_lib/x.py has changed"),
        (write("sepo_lib/y.py"), "sepo_lib/y.py is new"),
        (lambda root: (root / "sepo_lib/x.py").unlink(), "sepo_lib/x.py is missing"),
        (write("data/models/nano/chat_template.jinja"), "chat_template.jinja of the model nano has changed"),
        (write("data/sft/ipd.parquet"), "data/sft/ipd.parquet has changed"),
        (write("data/results/smoke/sft.csv"), "data/results/smoke/sft.csv has changed since the run"),
        (write("figures/smoke/a.png"), "figures/smoke/a.png is not from the run"),
        (lambda root: paths.report("smoke").unlink(), "runs/smoke/report.html is missing"),
        (write(EXECUTED), f"{EXECUTED} has changed"),
        (write(f"{JOB}/log"), None),
        (write(f"{JOB}/model/a"), f"model/a has 5 bytes in the place of 7 in {JOB}"),
        (write(f"{JOB}/done.json"), f"{JOB}/done.json is damaged: it is no valid JSON; the job runs again"),
        (lambda root: shutil.rmtree(root / JOB), "the job sft/seed-1 is no longer there"),
    ],
)
def test_what_has_changed_is_named(root, edit, clause):
    edit(root)
    assert changes() == ([clause] if clause else [])


def test_settings_and_versions_count(root, monkeypatch):
    settings = replace(profiles.load("smoke", run="smoke"), seeds=(1,))
    assert unchanged.changes(settings) == ["the setting seeds was 11, 12 and is 1"]
    now = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: now | {"torch": "9.9"})
    assert changes() == [f"torch was {now['torch']} and is 9.9"]


def test_an_unfinished_run_and_one_without_a_record_are_not_the_same(root):
    manifest = provenance.read("smoke")
    paths.replace_text(paths.manifest("smoke"), json.dumps({**manifest, "finished": None}))
    assert changes() is None
    del manifest["made_from"]
    paths.replace_text(paths.manifest("smoke"), json.dumps(manifest))
    assert changes() == ["runs/smoke/manifest.json does not say which code and files the run had"]


def test_a_file_that_changes_during_the_run_and_back_has_changed(root):
    """A part of the run was made from the other content."""
    settings, source = profiles.load("smoke", run="smoke"), root / "sepo_lib" / "x.py"
    before = source.read_text()
    source.write_text("x = 2\n")
    unchanged.seal(settings)
    source.write_text(before)
    assert changes() == ["sepo_lib/x.py has changed"]


def test_a_run_without_its_report_goes_on_and_moves_nothing_aside(root):
    """The command was killed between its last notebook and its report."""
    manifest = provenance.read("smoke")
    del manifest["files"]
    paths.replace_text(paths.manifest("smoke"), json.dumps(manifest))
    assert changes() is None
    replaced.make_room("smoke")
    assert not (paths.run("smoke") / replaced.FOLDER).exists() and paths.table("smoke", "sft").exists()


def test_a_damaged_note_of_a_job_that_the_run_no_longer_makes_names_the_remedy(root):
    paths.replace_text(paths.job("smoke", "old") / "done.json", "")
    with pytest.raises(DamagedError, match="move runs/smoke/checkpoints/old away and run the same command"):
        provenance.finish("smoke")


def test_the_command_says_that_there_is_nothing_to_do_or_what_has_changed(root, monkeypatch, capsys):
    assert cli.main(["reproduce", "--profile", "smoke"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Nothing to do: the run smoke was finished on 20")
    assert "runs/smoke/report.html" in said and "expected" not in said

    def stop(*arguments):
        raise headless.Stopped("enough")

    monkeypatch.setattr(headless, "run_notebook", stop)
    write("sepo_lib/x.py")(root)
    write("sepo_lib/y.py")(root)
    assert cli.main(["reproduce", "--profile", "smoke"]) == 1
    assert "  changed   sepo_lib/x.py has changed, and 1 more\n" in capsys.readouterr().out


def test_jobs_of_older_code_are_used_on_request_and_named(root, monkeypatch, capsys):
    known = {"seconds": 2.0, "code": "c0de", "commit": "abc", "dirty": False}
    known["finished"] = "2026-11-27T00:00:00+00:00"
    assert provenance.read("smoke")["jobs"] == {"sft/seed-1": known}
    assert unchanged.reused_jobs("smoke") == [] and provenance.reused("smoke") is None
    monkeypatch.setenv(job.REUSE, "yes")
    monkeypatch.setattr(job, "state", lambda run, one: SimpleNamespace(name="reused"))
    assert unchanged.reused_jobs("smoke") == []  # an earlier version of the kit has made the job
    note = root / JOB / "done.json"
    paths.replace_text(note, json.dumps({**json.loads(note.read_text()), "work": "asked"}))
    assert unchanged.reused_jobs("smoke") == ["sft/seed-1"]
    provenance.finish("smoke", unchanged.reused_jobs("smoke"))
    assert provenance.read("smoke")["jobs"] == {"sft/seed-1": known | {"reused": True}}
    sentence = "1 of 1 jobs was made by older code (REUSE=yes)."
    assert provenance.reused("smoke") == sentence and changes() == []
    monkeypatch.delenv(job.REUSE)
    assert changes() == ["the job sft/seed-1 was made by older code"]
    assert cli.main(["reproduce", "--profile", "smoke", "--reuse", "yes"]) == 0
    assert sentence in capsys.readouterr().out and os.environ[job.REUSE] == "yes"
    with monkeypatch.context() as stopped:
        stopped.setattr(cli, "_reproduce", lambda *arguments: None)
        assert cli.main(["reproduce", "--profile", "smoke", "--reuse", "no"]) == 0
    assert os.environ[job.REUSE] == "no"
    assert cli.main(["reproduce", "--profile", "smoke", "--reuse", "perhaps"]) == 2
    assert capsys.readouterr().err == "error: REUSE must be yes or no, not 'perhaps'.\n"
