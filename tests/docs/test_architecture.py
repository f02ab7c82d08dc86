"""The picture, the trees and the path of a decision are those of the code."""

import re
import runpy

import pages
import pytest

MADE = runpy.run_path(str(pages.REPOSITORY / "docs" / "architecture.py"))["made"]()


@pytest.mark.parametrize("file", MADE, ids=lambda file: file.name)
def test_the_committed_file_is_what_the_command_makes(file):
    assert file.read_text(encoding="utf-8") == MADE[file], "run: python docs/architecture.py"


def test_no_arrow_of_the_picture_leads_upwards():
    picture = next(text for file, text in MADE.items() if file.suffix == ".svg")
    arrows = re.findall(r'<path d="M\d+ (\d+)C.* (\d+)" fill="none"', picture)
    assert arrows and all(int(begin) < int(end) for begin, end in arrows)


def test_the_path_of_a_decision_names_functions_that_exist():
    text = (pages.REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    path = pages.section(text, "The path of one decision, from prompt to gradient")
    names = re.findall(r"`(sepo_lib[\w.]+)`", path)
    assert len(names) > 15 and [name for name in names if not pages.exists(name)] == []


def test_a_name_that_is_gone_is_found():
    assert pages.exists("sepo_lib.games.base.Game.parse")
    assert not pages.exists("sepo_lib.games.base.Game.gone")
    assert not pages.exists("sepo_lib.gone.parse")
