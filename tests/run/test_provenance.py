"""What is said of where a run was made, and by which code; and what committed files must not say."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from sepo_lib import __main__ as cli
from sepo_lib.config import cards, paths, profiles
from sepo_lib.config.errors import DamagedError
from sepo_lib.report import publishing
from sepo_lib.run import provenance, revisions

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run of the profile smoke with a table of its own, made by today's code."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    provenance.start(profiles.load("smoke", run="smoke"))
    for name in ("evaluation", "sft"):
        paths.write_table(pd.DataFrame([{"seed": 1, "step": 2}]), "smoke", name)
    return provenance.finish("smoke")


def change(**values):
    manifest = {**provenance.read("smoke"), **values}
    paths.replace_text(paths.manifest("smoke"), json.dumps(manifest))


def test_a_manifest_without_its_entries_is_damaged(run):
    paths.replace_text(paths.manifest("smoke"), "{}")
    with pytest.raises(DamagedError, match=r"runs/smoke/manifest\.json is damaged: .*delete it and run"):
        provenance.verify("smoke")


def test_a_run_before_the_last_correction_says_so(run, capsys):
    assert provenance.older("smoke") is None and run["corrected"] == provenance.CORRECTED
    change(started="2026-11-24 11:34 UTC", corrected="2026-11-20")
    sentence = (
        f"This run was made on 2026-11-24, before the corrections of {provenance.CORRECTED} (docs/LOG.md). "
        f"At that time {provenance.CHANGES}. The present code would give other numbers."
    )
    assert provenance.older("smoke") == sentence
    assert cli.main(["verify", "--profile", "smoke"]) == 0 and sentence in capsys.readouterr().out
    paths.write_table(pd.DataFrame([{"seed": 2}]), "smoke", "evaluation")  # another run is under way
    assert provenance.older("smoke") is None
    assert provenance.older("study") is None  # not run here


@pytest.mark.parametrize("profile", ["laptop", "study", "smollm2"])
def test_a_committed_run_is_older_than_the_corrections_that_it_does_not_have(profile, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(REPOSITORY))
    made = provenance.read(profile).get("corrected", "")
    assert (provenance.older(profile) is None) == (made >= provenance.CORRECTED)
    tables = [name for name in provenance.read(profile)["sha256"] if name.startswith("data/")]
    assert [name for name in provenance.verify(profile) if name.startswith(tuple(tables))] == []


def test_what_was_made_again_is_dated_and_vouched_for(run):
    paths.write_table(pd.DataFrame([{"seed": 1, "step": 1}]), "smoke", "sft")
    assert provenance.verify("smoke") == ["data/results/smoke/sft.csv has changed since the run."]
    assert provenance.remade("smoke", [paths.table("smoke", "sft")]) == ["data/results/smoke/sft.csv"]
    assert provenance.remade("smoke", [paths.table("smoke", "sft")]) == []
    assert provenance.verify("smoke") == []
    paths.write_table(pd.DataFrame([{"seed": 3}]), "smoke", "evaluation")
    provenance.remade("smoke", [paths.table("smoke", "evaluation")])
    (entry,) = provenance.read("smoke")["remade"]  # one note a day
    files = ["data/results/smoke/evaluation.csv", "data/results/smoke/sft.csv"]
    assert entry["files"] == files and set(entry) == {"date", "files", "commit"}


def test_the_rules_of_a_run_are_those_that_decided_its_claims(run):
    path = paths.manifest("smoke")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rules": {"C1": 0}}))
    for name, rules in (("sft", {"C1": 0}), ("claims", revisions.versions())):
        paths.write_table(pd.DataFrame([{"seed": 7}]), "smoke", name)
        assert provenance.remade("smoke", [paths.table("smoke", name)])
        assert provenance.read("smoke")["rules"] == rules


def test_hardware_tells_which_instructions_round(run):
    import torch

    assert run["hardware"]["cpu_capability"] == torch.backends.cpu.get_cpu_capability()


@pytest.mark.parametrize(
    "text",
    [
        "/home/someone/kit/a.py:3: FutureWarning",
        "/root/kit/.venv/lib",
        "/Users/someone/kit",
        "in /tmp/tmpab12/x",
        r"C:\\Users\\someone",
        "lib/python3.11/site-packages/trl/trainer.py",
        f"{Path.home()}/.cache",
        f"{paths.root().resolve()}/runs",
    ],
)
def test_folders_of_a_machine_are_found(text):
    assert provenance.traces(f"see {text} there")


def test_what_is_no_folder_of_a_machine_is_left_alone():
    picture = '<img src="data:image/png;base64,AAAA/tmp/AAAA/root/BBBB=="> '
    assert provenance.traces(picture + "runs/laptop/report.html, at https://a.org/home/x, and/or/tmpfs") == []


def test_a_file_that_is_called_as_the_home_folder_of_root_is_no_trace(monkeypatch):
    monkeypatch.setenv("HOME", "/root")
    assert provenance.traces("sepo_lib/config/root.py") == []
    assert provenance.traces("m/root: ") == provenance.traces("in /root.") == ["/root"]


def test_no_committed_notebook_or_report_shows_a_machine():
    reports = [*REPOSITORY.glob("runs/*/report.html")]
    files = [*REPOSITORY.glob("notebooks/*.ipynb"), *REPOSITORY.glob("runs/*/notebooks/*.ipynb")]
    assert len(files) >= 7 and reports
    assert [file for file in reports if provenance.traces(file.read_text(encoding="utf-8"))] == []
    for file in files:
        for cell in nbformat.read(file, as_version=4).cells:
            assert provenance.traces(cell.source) == [], file
            assert publishing.machine_outputs(cell.get("outputs", [])) == [], file
    for file in REPOSITORY.glob("runs/*/*.*"):
        if file.suffix in (".html", ".json"):
            assert provenance.traces(file.read_text(encoding="utf-8")) == [], file


@pytest.mark.parametrize(
    ("asked", "cuda", "mps", "named"),
    [("", 1, 0, "1 x A"), ("cpu", 1, 0, "none"), ("", 0, 1, "none"), ("mps", 0, 1, "Apple GPU")],
)
def test_the_manifest_names_the_accelerator_that_is_used(asked, cuda, mps, named, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    monkeypatch.setenv(cards.DEVICE, asked)
    assert provenance.hardware()["accelerator"] == named
