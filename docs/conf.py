"""Settings of the documentation site. `make docs` builds it into docs/_build/html.

The source folder is the repository, so that README.md, CONTRIBUTING.md, docs/ and notebooks/ link to each
other on the site as they do in the repository. The build executes nothing and needs no network: notebooks
show their committed outputs, the API reference is read from the source files without importing them, and
formulas become MathML.
"""

import json
import os
import re
import tomllib
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

root = Path(__file__).resolve().parents[1]

project = "SEPO reproducibility kit"
release = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
author = copyright = "The SEPO reproducibility kit contributors"
root_doc = "docs/index"
extensions = ["myst_nb", "autodoc2"]
include_patterns = ["README.md", "CONTRIBUTING.md", "docs/*.md", "docs/_api/**", "notebooks/*.ipynb"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True

# Docstrings are read as Markdown: back-ticks mark code, and an indented block stays as it is.
autodoc2_packages = ["sepo_lib"]
autodoc2_output_dir = "docs/_api"
autodoc2_render_plugin = "myst"
autodoc2_docstring_parser_regexes = [(r".*", "myst")]
autodoc2_hidden_objects = {"private", "dunder", "inherited"}
autodoc2_index_template = None

html_theme = "furo"
html_title = f"{project} {release}"
html_extra_path = ["_static/index.html"]  # leads from the root of the site to docs/index.html
html_copy_source = False
html_math_renderer = "mathml"


def show_inline(writer, node):
    """Write an inline formula as MathML, which browsers draw themselves."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def show_block(writer, node):
    """Write a displayed formula as MathML."""
    writer.body.append(tex2mathml(node.astext(), as_block=True))
    raise nodes.SkipNode


def adapt_links(app, docname, source):
    """Adapt links to what the site holds: a source file becomes its API page, a folder plain text."""
    page = Path(app.env.doc2path(docname))

    def adapt(link):
        text, target = link[1], (page.parent / link[2]).resolve()
        if not target.is_relative_to(root):
            return link[0]
        name = target.relative_to(root).as_posix()
        if name.startswith("sepo_lib/") and name.endswith(".py"):
            module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            return f"[{text}]({os.path.relpath(root / 'docs/_api/sepo_lib' / f'{module}.md', page.parent)})"
        if target.is_dir() or (name.startswith("data/") and name.endswith(".md")):
            return text if name in text else f"{text} (`{name}`)"
        return link[0]

    source[0] = re.sub(r"(?<!!)\[([^\]]+)\]\(([\w./-]+)\)", adapt, source[0])


def adapt_values(app, docname, source):
    """Show the values of attributes on one line, and none where the static analysis found none."""

    def adapt(value):
        return "" if value[1] == "None" else f":value: {json.dumps(value[1])}\n"

    if docname.startswith("docs/_api/"):
        source[0] = re.sub(r"^:value: >\n   (.*)\n", adapt, source[0], flags=re.MULTILINE)


def setup(app):
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (show_inline, None), (show_block, None))
    app.connect("source-read", adapt_links)
    app.connect("source-read", adapt_values)
