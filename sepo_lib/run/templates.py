"""Fills Jinja2 templates: the pages and document blocks of `report`, and the cards that `run` writes.

A template is named by its path from `sepo_lib`, such as `report/templates/results.md.j2`. Values that a
template puts into HTML (`*.html.j2`) are escaped; Markdown is written as it is.
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

Row = Mapping[str, object]


def render(template: str, **values: Any) -> str:
    """The text of a template without newlines at its ends.

    Raises jinja2.UndefinedError if the template uses a value that is not passed.
    """
    return _ENVIRONMENT.get_template(template).render(values).strip("\n")


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table with the columns of the first row; an empty text if there are no rows.

    A `|` in a cell is escaped, and a line break becomes a space: both would end the cell. Raises KeyError
    for a row that lacks one of these columns.
    """
    if not rows:
        return ""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([_cell(row[name]) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code_spans(text: str) -> markupsafe.Markup:
    """A text as HTML: it is escaped, and what stands between backticks becomes code."""
    return markupsafe.Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text))))


def _cell(value: object) -> str:
    return " ".join(str(value).splitlines()).replace("|", "\\|")


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parents[1]),
    undefined=jinja2.StrictUndefined,
    autoescape=jinja2.select_autoescape(("html.j2",), default_for_string=False),
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["table"] = markdown_table
_ENVIRONMENT.filters["code"] = code_spans
_ENVIRONMENT.filters["json"] = functools.partial(json.dumps, indent=2)
