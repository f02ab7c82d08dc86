"""The written pages of the repository, taken apart: code blocks, commands, tables, names of the library."""

import ast
import re
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
#: Pages about today's kit. The log is about the past and names what was there then.
PRESENT = [page for page in PAGES if page.name != "LOG.md"]


def fenced(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Every command line of a page: in blocks and code spans, without comments and placeholders."""
    lines = [*text.splitlines(), *re.findall(r"`([^`\n]+)`", text)]
    starts = re.compile(r"^\s*(?:\.venv/bin/)?(?:make|python|accelerate) ")
    found = [re.split(r"\s+#|\s+&&", line.strip())[0] for line in lines if starts.match(line)]
    return [command for command in found if "<" not in command]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row of a text, without headers and rules."""
    found = [line for line in text.splitlines() if line.startswith("|")]
    rules = {at for at, line in enumerate(found) if re.fullmatch(r"[|\s:-]+", line)}
    kept = [line for at, line in enumerate(found) if not rules & {at, at + 1}]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in kept]


def section(text: str, heading: str) -> str:
    """The text under a heading of the second level. Raises IndexError where there is none."""
    return re.split(r"^## ", text.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]


def exists(name: str) -> bool:
    """Whether a dotted name such as sepo_lib.games.base.Game.parse exists, read from the source files."""
    parts, at, here = name.split("."), 0, REPOSITORY
    while at < len(parts) and (here / parts[at]).is_dir():
        here, at = here / parts[at], at + 1
    file = here / "__init__.py"
    if at < len(parts) and (here / f"{parts[at]}.py").is_file():
        file, at = here / f"{parts[at]}.py", at + 1
    if not file.is_file():
        return False
    body = ast.parse(file.read_text(encoding="utf-8")).body
    for part in parts[at:]:
        body = _defined(body).get(part)
        if body is None:
            return False
    return True


def _defined(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """What a module or class defines or imports: name -> the body of what it names."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node.body
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name: [] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {
                name.id: [] for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
    return found


def constants() -> list[str]:
    """Every string in the code of the library; of an f-string, the pieces between its values."""
    files = (REPOSITORY / "sepo_lib").rglob("*.py")
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in files)
    nodes = (node for tree in trees for node in ast.walk(tree))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def described() -> dict[str, tuple[list[str], list[str]]]:
    """Table (evaluation.csv) -> the columns that docs/results.md describes for it alone, and those that it
    takes from the shared ones or from another table."""
    text = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    headed = {part.splitlines()[0]: part for part in parts}
    own = {name: [row[0].strip("`") for row in rows(part)] for name, part in headed.items()}
    uses: dict[str, list[str]] = {}
    for name, part in headed.items():
        listed = re.search(r"Uses:\s+(.*?)\.\s*(?:\n\n|\Z)", part, flags=re.DOTALL)
        uses[name] = re.split(r",\s+", listed[1]) if listed else []
    return {name: (own[name], uses[name]) for name in headed if re.fullmatch(r"\w+\.(csv|parquet)", name)}


def unknown_columns(file: Path) -> list[str]:
    """The columns of a table that docs/results.md does not describe."""
    tables = described()
    if file.name not in tables:
        return [f"the table {file.name}"]
    own, uses = tables[file.name]
    inherited = [
        column for table in uses if table in tables for column in (*tables[table][0], *tables[table][1])
    ]
    names = {*own, *uses, *inherited}
    patterns = [re.sub(r"<\w+>", r"[\\w ]+", name) for name in names if "<" in name]
    return [
        column
        for column in columns(file)
        if column not in names and not any(re.fullmatch(pattern, column) for pattern in patterns)
    ]


def columns(file: Path) -> list[str]:
    """The columns of a table."""
    if file.suffix == ".parquet":
        from pyarrow import parquet  # here: some environments of docs/environments.md lack it

        return parquet.read_schema(file).names
    return list(pd.read_csv(file, nrows=0).columns)
