"""Make the picture and the trees of the library from its imports and docstrings.

    python docs/architecture.py

writes docs/architecture.svg, and the trees in docs/architecture.md and README.md.
A test compares the committed files with what this script makes.
"""

import ast
import html
import sys
import tomllib
from pathlib import Path

import grimp
import networkx as nx

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "sepo_lib"
#: The packages to read first.
READING_PATH = {"games", "method", "play", "training"}
BEGIN, END = "<!-- tree: written by `python docs/architecture.py` -->", "<!-- end of tree -->"
WIDTH, HEIGHT, GAP, LEFT = 576, 36, 12, 10  # of a box; pixels


def layers() -> list[str]:
    """The packages from top to bottom, as the contract of import-linter in pyproject.toml orders them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return contract["layers"]


def imports() -> nx.DiGraph:
    """An edge for every package that imports another one, without the edges that follow from the others."""
    sys.path.insert(0, str(ROOT))  # this copy of the library, not an installed one
    modules = grimp.build_graph("sepo_lib", cache_dir=None)
    sys.path.remove(str(ROOT))
    edges = nx.DiGraph()
    edges.add_nodes_from(layers())
    for importer in modules.modules:
        for imported in modules.find_modules_directly_imported_by(importer):
            ends = [name.split(".")[1] if "." in name else name for name in (importer, imported)]
            if ends[0] != ends[1] and all(end in edges for end in ends):
                edges.add_edge(*ends)
    return nx.transitive_reduction(edges)


def phrase(file: Path) -> str:
    """The first sentence of a module's docstring. Raises ValueError where there is none."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{file} has no docstring.")
    paragraph = " ".join(text.split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".:")


def home(package: str) -> Path:
    """The file that holds the docstring of a package or module of the library."""
    folder = LIBRARY / package
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def picture() -> str:
    """The packages as a column of boxes and their imports as arcs on the right, as SVG."""
    order = layers()
    middle = {name: GAP + at * (HEIGHT + GAP) + HEIGHT // 2 for at, name in enumerate(order)}
    right, bottom = LEFT + WIDTH, GAP + len(order) * (HEIGHT + GAP)
    questions = {name: phrase(home(name)).replace("`", "") for name in order}
    questions = {
        name: f"{text.split('? ')[0]}?" if "? " in text else text for name, text in questions.items()
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 130} {bottom}" '
        'font-family="sans-serif" font-size="14">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#4477aa"/></marker></defs>',
        f'<rect width="{right + 130}" height="{bottom}" fill="white"/>',
    ]
    for name in order:
        fill = "#cce3f5" if name in READING_PATH else "#f2f2f2"
        parts += [
            f'<rect x="{LEFT}" y="{middle[name] - HEIGHT // 2}" width="{WIDTH}" height="{HEIGHT}" rx="5" '
            f'fill="{fill}" stroke="#888888"/>',
            f'<text x="{LEFT + 12}" y="{middle[name] + 5}" font-weight="bold">{name}</text>',
            f'<text x="{LEFT + 132}" y="{middle[name] + 5}" font-size="13">'
            f"{html.escape(questions[name])}</text>",
        ]
    for importer, imported in sorted(imports().edges, key=lambda edge: [order.index(end) for end in edge]):
        begin, end = middle[importer] + 8, middle[imported] - 8
        bend = right + 24 * (order.index(imported) - order.index(importer))
        parts.append(
            f'<path d="M{right} {begin}C{bend} {begin} {bend} {end} {right} {end}" fill="none" '
            'stroke="#4477aa" stroke-width="1.5" marker-end="url(#tip)"/>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def tree(modules: bool) -> str:
    """The packages with one phrase each, and with `modules` their modules, as a Markdown list."""
    lines = []
    for package in layers():
        if not (LIBRARY / package).is_dir():
            lines.append(f"- `{package}.py`: {phrase(home(package))}")
            continue
        lines.append(f"- `{package}/`: {phrase(home(package))}")
        files = sorted((LIBRARY / package).rglob("*.py")) if modules else []
        lines += [
            f"  - `{file.relative_to(LIBRARY / package).as_posix()}`: {phrase(file)}"
            for file in files
            if file.name != "__init__.py"
        ]
    return "\n".join(lines)


def with_tree(page: str, modules: bool) -> str:
    """A page with its tree made again between the two markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tree(modules)}\n{END}{after}"


def made() -> dict[Path, str]:
    """Every file that the script writes, with its content."""
    pages = {ROOT / "docs" / "architecture.md": True, ROOT / "README.md": False}
    texts = {file: with_tree(file.read_text(encoding="utf-8"), modules) for file, modules in pages.items()}
    return {ROOT / "docs" / "architecture.svg": picture(), **texts}


if __name__ == "__main__":
    for file, text in made().items():
        file.write_text(text, encoding="utf-8")
