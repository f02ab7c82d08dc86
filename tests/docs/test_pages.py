"""What the pages tell a reader to type, open or look up exists."""

import ast
import importlib
import re
import shlex

import pages
import pytest

from sepo_lib import __main__ as cli
from sepo_lib.config import profiles

IDS = {"ids": lambda page: page.name}
MAKEFILE = (pages.REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, flags=re.MULTILINE))


def read(page):
    return page.read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", pages.PAGES, **IDS)
def test_links_lead_somewhere(page):
    for target, _, fragment in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)\s]+))?\)", read(page)):
        file = page.parent / target if target else page
        assert file.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.*)$", read(file), flags=re.MULTILINE)
            assert fragment in map(anchor, headings), fragment


@pytest.mark.parametrize("page", pages.PRESENT, **IDS)
def test_names_of_the_library_exist(page):
    spans = re.findall(r"`([^`\n]+)`", read(page))
    dotted = {name for span in spans for name in re.findall(r"\bsepo_lib(?:\.\w+)+", span)}
    assert {name for name in dotted if not pages.exists(name)} == set()
    files = {f for span in spans for f in re.findall(r"(?:sepo_lib|docs|tests|notebooks)/[\w/.]*\.\w+", span)}
    assert {file for file in files if not (pages.REPOSITORY / file).exists()} == set()


@pytest.mark.parametrize("page", pages.PRESENT, **IDS)
def test_make_can_make_it(page):
    for command in pages.commands(read(page)):
        words = shlex.split(command)
        if words[0] != "make":
            continue
        names = [word for word in words[1:] if "=" not in word]
        assert set(names) <= TARGETS, command
        given = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        assert all(
            re.search(rf"^{name}\s*\??=|\$\({name}\)", MAKEFILE, flags=re.MULTILINE) for name in given
        ), command
        assert given.get("PROFILE", "laptop") in profiles.names(), command


@pytest.mark.parametrize("page", pages.PRESENT, **IDS)
def test_the_commands_of_the_kit_exist(page, capsys):
    for command in pages.commands(read(page)):
        if " -m sepo_lib " not in command:
            continue
        name, *arguments = shlex.split(command.split(" -m sepo_lib ")[1])
        with pytest.raises(SystemExit) as leave:
            cli.main([name, "--help"])
        text = capsys.readouterr().out
        assert leave.value.code == 0, command
        assert all(word in text for word in arguments if word.startswith("--")), command


@pytest.mark.parametrize("page", pages.PRESENT, **IDS)
def test_python_blocks_compile_and_name_what_exists(page):
    for block in pages.fenced(read(page), "python"):
        tree = ast.parse(block)
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "sepo_lib":
                for alias in node.names:
                    assert pages.exists(f"{node.module}.{alias.name}"), block
                    modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in modules
            ):
                owner = importlib.import_module(modules[node.value.id])
                assert hasattr(owner, node.attr), block


def test_the_errors_of_the_faq_are_those_of_the_code():
    text = pages.section(read(pages.REPOSITORY / "docs" / "faq.md"), "Errors")
    notebooks = map(read, (pages.REPOSITORY / "notebooks").glob("*.ipynb"))
    sentences = [*pages.constants(), MAKEFILE, *notebooks]
    for message, *_ in pages.rows(text):
        for piece in filter(str.strip, message.strip("`").split("…")):
            assert any(piece in sentence for sentence in sentences), message


def test_every_page_can_be_reached_from_the_readme():
    linked = {page.name for page in pages.PAGES if page.name in read(pages.REPOSITORY / "README.md")}
    assert {page.name for page in pages.PAGES} - linked == {"README.md", "index.md"}


def test_no_cell_of_a_table_in_the_readme_is_a_page():
    lines = [line for line in read(pages.REPOSITORY / "README.md").splitlines() if line.startswith("|")]
    assert [cell for line in lines for cell in line.split("|") if len(cell) > 300] == []
