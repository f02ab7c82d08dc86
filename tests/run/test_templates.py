"""Templates: a missing value raises, HTML is escaped, and Markdown is written as it is."""

from pathlib import Path

import jinja2
import pytest

import sepo_lib
from sepo_lib.run import templates


def test_a_value_that_is_not_passed_raises():
    with pytest.raises(jinja2.UndefinedError, match="arms"):
        templates.render("report/templates/outcomes.md.j2", profile="p", seeds=[1], older="")


def test_html_is_escaped_and_markdown_is_not():
    assert (
        templates.code_spans("<p> & `a<b`") == "&lt;p&gt; &amp; <code>a&lt;b</code>"
    )  # see also the report's tests
    hardware = {"cores": 2, "processor": "<chip>", "accelerator": "none"}
    run = {"profile": "p", "minutes": 1, "before": "", "seeds": [1], "steps": "", "notes": ["It is old."]}
    text = templates.render("report/templates/run.md.j2", hardware=hardware, **run)
    assert "(<chip>, accelerator: none), with the training seed 1. It is old." in text


def test_a_table_has_the_columns_of_its_first_row():
    with pytest.raises(KeyError, match="b"):
        templates.markdown_table([{"a": 1, "b": 2}, {"a": 1}])


def test_a_cell_cannot_break_its_table():
    table = templates.markdown_table([{"a": "x | y", "b": "one\ntwo"}])
    assert table.splitlines()[2:] == ["| x \\| y | one two |"]


def test_every_template_is_installed_with_the_package():
    import tomllib

    package = Path(sepo_lib.__file__).parent
    data = tomllib.loads((package.parent / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    installed = {
        file
        for name, patterns in data.items()
        for pattern in patterns
        for file in (package.parent / name.replace(".", "/")).glob(pattern)
    }
    assert {*package.rglob("*.j2"), *package.rglob("*.yaml"), *package.rglob("*.css")} <= installed
