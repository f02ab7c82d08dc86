"""The gallery: its scripts draw, its page is current, and what it says about columns is true."""

import ast
import inspect
import re
import runpy
import shutil
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pages
import pandas as pd
import pytest
from drawn_text import overlaps
from PIL import Image

from sepo_lib import figures
from sepo_lib.config import paths

FOLDER = pages.REPOSITORY / "docs" / "gallery"
GALLERY = runpy.run_path(str(pages.REPOSITORY / "docs" / "gallery.py"))
NAMES = list(figures.FIGURES)
LABELLED = [name for name in NAMES if "labels" in inspect.signature(getattr(figures, name)).parameters]


class Drawn(NamedTuple):
    caption: str
    overlaps: list
    picture: Path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The caption, the overlapping labels and the picture that every script makes, by name."""
    here = tmp_path_factory.mktemp("gallery")
    shutil.copytree(FOLDER / "tables", here / "docs" / "gallery" / "tables")
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        for script in GALLERY["scripts"]():
            one = GALLERY["run"](script)
            picture = here / "docs" / "gallery" / f"{script.stem}.png"
            made[script.stem] = Drawn(one.caption, overlaps(one.figure), picture)
            plt.close(one.figure)
    return made


def table_of(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    return pd.read_csv(FOLDER / "tables" / re.search(r"tables/(\w+\.csv)", text)[1])


def test_every_figure_has_a_script_of_few_lines_with_its_question():
    scripts = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.py")}
    assert sorted(scripts) == sorted(NAMES)
    for name, text in scripts.items():
        assert ast.get_docstring(ast.parse(text)).split("\n")[0] == figures.FIGURES[name].question
        assert len(text.splitlines()) <= 15 and f"figures.{name}(" in text


@pytest.mark.parametrize("name", LABELLED)
def test_a_label_of_nothing_is_refused(name, tmp_path, monkeypatch):
    shutil.copytree(FOLDER / "tables", tmp_path / "docs" / "gallery" / "tables")
    monkeypatch.chdir(tmp_path)
    draw = getattr(figures, name)
    typo = {"labels": {"typo": "x"}}
    monkeypatch.setattr(figures, name, lambda *args, **given: draw(*args, **given | typo))
    with pytest.raises(ValueError, match=r"`labels` names \['typo'\], but"):
        runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_script_draws_the_committed_picture_and_its_labels_do_not_overlap(name, drawn):
    made = drawn[name]
    assert made.overlaps == []
    files = (FOLDER / made.picture.name, made.picture)
    committed, now = (np.asarray(Image.open(file).convert("L"), dtype=int) for file in files)
    assert committed.shape == now.shape, "run: python docs/gallery.py"
    changed = (np.abs(committed - now) > 64).mean()
    assert changed < 0.001, "run: python docs/gallery.py"


def test_the_pictures_are_small():
    sizes = {file.name: file.stat().st_size for file in FOLDER.glob("*.png")}
    assert set(sizes) == {f"{name}.png" for name in NAMES}
    assert max(sizes.values()) < 40_000 and sum(sizes.values()) < 1_000_000


def test_the_page_is_what_the_command_makes(drawn):
    page = GALLERY["page"]({name: made.caption for name, made in drawn.items()})
    committed = (pages.REPOSITORY / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert committed == page, "run: python docs/gallery.py"


@pytest.mark.parametrize("name", NAMES)
def test_the_columns_that_the_page_names_are_needed(name):
    """Without one of the columns that stand before `optionally`, the function names the missing one."""
    said = GALLERY["columns"](name)[0].partition(": ")[2]
    needed = re.findall(r"\w+", re.sub(r"\([^)]*\)|`[^`]*`", "", re.split(r"[;.]", said)[0]))
    table = table_of(name)
    needed = [column for column in needed if column in table.columns]
    assert needed
    further = {
        "by_stage": ("welfare",),
        "paper_against_ours": (pd.read_csv(FOLDER / "tables" / "original_study.csv"),),
    }.get(name, ())
    for column in needed:
        with pytest.raises(ValueError, match=column):
            getattr(figures, name)(table.drop(columns=column), *further)


@pytest.mark.parametrize("name", NAMES)
def test_every_column_that_the_page_names_is_explained_and_no_other(name):
    meanings, named = GALLERY["meanings"](), GALLERY["named_columns"](name)
    assert [column for column in named if not {(name, column), ("", column)} & meanings.keys()] == []
    options = inspect.signature(inspect.unwrap(figures.FIGURES[name].draw)).parameters
    defaults = (options[key].default for key in ("hue", "metrics") if key in options)
    chosen = [value for default in defaults if default for value in np.atleast_1d(default)]
    known = {*named, *chosen}
    assert [column for figure, column in meanings if figure == name and column not in known] == []
    page = (pages.REPOSITORY / "docs" / "gallery.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert all(
        f"- `{column}`: {meaning}" in section
        for (figure, column), meaning in meanings.items()
        if figure == name
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_says_that_its_data_are_an_example(name):
    """The strip at the lower edge holds the words, in grey, and nothing else."""
    strip = GALLERY["STRIP"]
    with Image.open(FOLDER / f"{name}.png") as picture:
        blank = Image.new("RGB", (picture.width, picture.height - strip), "white")
        drawn, expected = (
            np.asarray(image.convert("L"), dtype=int)[-strip:]
            for image in (picture, GALLERY["stamped"](blank))
        )
    assert (expected < 200).sum() > 100 and np.abs(drawn - expected).max() <= 32


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_has_an_example_with_arguments_that_exist(name):
    entry = figures.FIGURES[name]
    (line,) = re.findall(r">>> (.*)", inspect.getdoc(entry.draw))
    calls = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call)]
    (call,) = (node for node in calls if getattr(node.func, "id", "") == name)
    names = {keyword.arg for keyword in call.keywords}
    takes = set(inspect.signature(entry.draw).parameters)
    assert "options" in takes or names <= takes


@pytest.mark.parametrize("name", NAMES)
def test_the_call_on_a_table_of_the_kit_draws(name, monkeypatch):
    monkeypatch.chdir(pages.REPOSITORY)
    code = GALLERY["example"](name)
    reads = figures.FIGURES[name].reads
    tables = [paths.table(run, reads) for run in GALLERY["RUNS"]] if reads else []
    if reads and not any(
        table.exists() and len(paths.read_table(table.parent.name, reads)) for table in tables
    ):
        pytest.skip(f"No committed run has rows of the table {reads} yet.")
    *imports, call = code.splitlines()
    space = {}
    exec("\n".join(imports), space)
    made = eval(call, space)
    assert made.figure.axes and made.caption
    plt.close(made.figure)


def test_notebook_05_has_every_figure_of_a_run_under_its_question():
    cells = nbformat.read(pages.REPOSITORY / "notebooks" / "05_figures.ipynb", as_version=4).cells
    sources = [cell.source for cell in cells]
    after = {
        source.partition("\n")[0].removeprefix("### "): sources[at + 1]
        for at, source in enumerate(sources[:-1])
    }
    for name, entry in figures.FIGURES.items():
        if entry.reads:
            assert f"figures.{name}(" in after[entry.question] and "alt=" in after[entry.question]
