"""SFT on a user's chat examples: which are used, what is said, and what makes another job."""

import json
import shutil

import pytest

from sepo_lib.config import paths, profiles
from sepo_lib.config.errors import InputError
from sepo_lib.run import recipes, runs, sft_data, unchanged
from sepo_lib.run.steps import records
from sepo_lib.run.steps import sft as step

TITLES = {"ipd": "Iterated Prisoner's Dilemma.", "resource": "A shared resource game.", "": "Be kind."}


def row(title, answer="I wait.\nCOOPERATE"):
    roles = {"system": TITLES[title], "user": "Round 1 of 8.", "assistant": answer}
    return {"messages": [{"role": role, "content": text} for role, text in roles.items()]}


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder as the authors have it, below the root, and the model of the profile."""
    nano = paths.models() / "nano"
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    shutil.copytree(nano, paths.models() / "nano")
    write(tmp_path / "theirs" / "train.jsonl", row("ipd"), row("resource"), row("", "Yes."), row("resource"))
    write(tmp_path / "theirs" / "valid.jsonl", row("ipd"))
    return tmp_path / "theirs"


def test_examples_of_other_games_and_splits_are_left_out_and_it_is_said(data):
    found = sft_data.described("theirs")
    assert (found.used, set(found.files)) == (2, {"train.jsonl", "valid.jsonl"})
    assert found.text == (
        "2 examples (1 ipd, 1 not known); left out: 2 of resource, which is no game of the kit, "
        "1 of the split valid"
    )
    loaded = sft_data.load(data, found.files)
    assert loaded["place"][:] == ["train.jsonl, line 1", "train.jsonl, line 3"]
    assert loaded[1]["completion"] == [{"role": "assistant", "content": "Yes."}]
    write(data / "train.jsonl", row("resource"))
    with pytest.raises(InputError, match=r"^theirs has no example to train on; left out: 1 of resource, "):
        sft_data.described("theirs")
    with pytest.raises(InputError, match="theirs has changed since the run began; give the same command"):
        sft_data.load(data, found.files)


def test_capitals_and_blanks_change_neither_the_split_nor_the_game(data):
    """`"split": "Train"` counted as held out, and "IPD" as a game that the kit does not have."""
    write(
        data / "train.jsonl", row("ipd") | {"split": "Train", "game": " IPD"}, row("ipd") | {"split": "TEST"}
    )
    found = sft_data.described("theirs")
    assert found.text == "1 examples (1 ipd); left out: 1 of the split test, 1 of the split valid"


def test_a_run_with_own_data_has_a_name_jobs_and_files_of_its_own(data):
    plain, own = (profiles.load("smoke", by_hand=False, sft_data=one) for one in (None, "theirs/"))
    assert (plain.run, own.run, own.sft_data) == ("smoke", "smoke-sft-data-theirs", "theirs")
    absolute = profiles.load("smoke", by_hand=False, sft_data=str(data)).run
    assert absolute.startswith("smoke-sft-data-theirs-") and str(data.parent.name) not in absolute
    assert profiles.overrides(own) == {"sft_data": "theirs"}
    first = recipes.sft_jobs(own)[0]
    assert first.arguments["own_data"] and set(first.arguments["data_sha256"]) == {
        "train.jsonl",
        "valid.jsonl",
    }
    write(data / "train.jsonl", row("ipd"), row("ipd", "I act.\nDEFECT"))
    assert recipes.sft_jobs(own)[0].work != first.work
    epochs = profiles.load("smoke", by_hand=False, sft_data="theirs", sft_steps=None, sft_batch=1)
    assert recipes.sft_jobs(epochs)[0].steps == 2 * epochs.sft_epochs


def test_the_manifest_names_the_files_and_a_changed_one_makes_the_run_again(data):
    for name in paths.NOTEBOOKS:
        write(paths.notebook(name), {"cells": []})
    own = profiles.load("smoke", by_hand=False, sft_data="theirs")
    before = unchanged.made_from(own)
    assert set(before["sft_data"]) == {"train.jsonl", "valid.jsonl"}
    assert unchanged.made_from(profiles.load("smoke"))["sft_data"] == {}
    write(data / "train.jsonl", row("ipd"))
    assert unchanged.made_from(own)["sft_data"]["train.jsonl"] != before["sft_data"]["train.jsonl"]


def test_a_run_goes_on_with_the_data_that_it_began_with(data):
    from sepo_lib.run import provenance

    own = profiles.load("smoke", run="mine", sft_data="theirs")
    provenance.start(own)
    assert runs.recorded("mine") == runs.settings("mine", None) == own
    with pytest.raises(InputError, match=r"sft_data theirs; here sft_data -"):
        profiles.load("smoke", run="mine")


def test_the_job_trains_on_these_examples_and_names_the_line_that_is_too_long(data, monkeypatch):
    monkeypatch.setattr(records, "evaluate", lambda *arguments: {})
    settings = profiles.load("smoke", by_hand=False, sft_data="theirs", sft_steps=1, sft_batch=2)
    job = recipes.sft_jobs(settings)[0]
    folder = paths.job(settings.run, job.name)
    step.run_sft(folder, lambda number, metrics: None, **job.arguments)
    assert (folder / "model" / "model.safetensors").is_file()
    write(data / "train.jsonl", row("ipd"), row("ipd", f"{'I wait. ' * 600}\nCOOPERATE"))
    job = recipes.sft_jobs(settings)[0]
    with pytest.raises(
        ValueError, match=r"1 of 2 examples are longer than 512 tokens \(the first: train.jsonl, line 2\)"
    ):
        step.run_sft(folder, lambda number, metrics: None, **job.arguments)


@pytest.mark.parametrize("value", ["none", "", " ", "a\nb", "\0", "\ud800", 3])
def test_data_that_are_not_there_are_refused(value, data):
    with pytest.raises(InputError, match=r"^sft_data must be a file or a folder of chat examples, not '"):
        profiles.load("smoke", sft_data=value)
