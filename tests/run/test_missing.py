"""What a user reads who opens a notebook before those that it needs, or gives a value that does not exist."""

from pathlib import Path

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from sepo_lib.config import paths, profiles
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.run import demonstration_files, recipes
from sepo_lib.run import job as job_
from sepo_lib.run.jobs import JobError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").symlink_to(REPOSITORY / "data" / "models")
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    return profiles.load("smoke", games="split", seeds="11,12")


def finish(settings, jobs):
    for job in jobs:
        job_.finish(settings.run, job, {}, 0.0)


def asked(settings):
    """The message of the cell of notebook 03 that asks for the stages before it."""
    with pytest.raises(MissingError) as raised:
        before = recipes.base_jobs(settings) + recipes.sft_jobs(settings)
        recipes.require(settings, before, "02_sft")
    return str(raised.value)


def test_the_first_missing_notebook_is_named_whichever_is_opened(settings):
    said = asked(settings)
    assert said.startswith("Run notebooks/00_base_model.ipynb first, then 01_demonstrations, with the same")
    assert "runs/by-hand/smoke-split/sft/ipd.parquet is missing" in said
    base = recipes.base_jobs(settings)
    finish(settings, base)
    assert asked(settings).startswith("Run notebooks/01_demonstrations.ipynb first, with the same parameters")
    demonstration_files.write(recipes.demonstrations_folder(settings), settings.sft_games, 40, seed=1)
    sft = recipes.sft_jobs(settings)
    finish(settings, sft[:1])
    assert asked(settings) == (
        "Run notebooks/02_sft.ipynb first, with the same parameters as here (profile smoke, games split): "
        "runs/by-hand/smoke-split lacks 1 of the 4 jobs needed here (such as sft/seed-12)."
    )
    other = profiles.load("smoke", games="split", seeds="99")
    said = asked(other)  # a run of its own, which does not touch the first
    assert said.startswith("Run notebooks/00_base_model.ipynb first, then 01_demonstrations, with the same")
    assert "as here (profile smoke, games split, seeds 99): runs/by-hand/smoke-split-seeds-99" in said
    finish(settings, sft)
    recipes.require(settings, base + sft, "02_sft")
    with pytest.raises(MissingError, match=r"Run notebooks/03_sepo_grpo\.ipynb first, with"):
        recipes.require(settings, recipes.sepo_jobs(settings), "03_sepo_grpo")


def test_a_missing_table_names_the_first_notebook_that_has_left_no_table(settings):
    with pytest.raises(MissingError, match=r"claims\.csv does not exist yet; run notebooks/00_base_model"):
        paths.read_table(settings.run, "claims")
    for name in [name for name, notebook in paths.TABLES.items() if notebook < "04"]:
        paths.write_table(pd.DataFrame({"seed": [1]}), settings.run, name)
    with pytest.raises(MissingError, match=r"run notebooks/04_ablations\.ipynb first, then 05_figures\."):
        paths.read_table(settings.run, "claims")
    with pytest.raises(InputError, match=r"evaluation\.csv has no column 'safety'; it has seed\."):
        paths.read_table(settings.run, "evaluation", ["safety"])


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("profiles.load('big')", "There is no profile 'big'; choose from smoke, "),
        ("profiles.load('smoke', model='gpt')", "There is no model 'gpt'; choose nano, "),
        ("profiles.load('smoke', games='chess')", "There is no game 'chess'; choose from ipd, "),
        ("paths.read_table('smoke', 'evaluation')", "The table data/results/smoke/evaluation.csv does not "),
        ("raise JobError('1 of 2 jobs of SFT failed.')", "1 of 2 jobs of SFT failed."),
    ],
)
def test_a_notebook_shows_one_sentence_and_no_traceback(settings, cell, said, capsys):
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    shell.user_ns |= {"profiles": profiles, "paths": paths, "JobError": JobError}
    result = shell.run_cell(cell)
    assert isinstance(result.error_in_exec, ValueError | FileNotFoundError | JobError)  # "Run all" stops
    shown = capsys.readouterr().out
    assert shown.replace("\n", " ").startswith(said) and "Traceback" not in shown
    assert shown.count("\n") <= 2 and max(map(len, shown.splitlines())) <= 100  # as wide as the page
