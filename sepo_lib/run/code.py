"""Which code and which libraries the result of a job depends on. `job` makes fingerprints of them.

A job depends on the module of its function and on all modules of the kit that this one imports, directly or
through others. Of these only the modules of COUNTED are followed and count: they play, train and measure. All
others choose the arguments of jobs (`config`), start jobs and keep their files (`run`), or show results.

The digest of a module is that of its syntax tree without docstrings. So a new comment or another layout of
the code changes nothing, and neither does the version of Python.

A process may have imported a module before it was edited. Therefore this module reads all sources when it is
imported, and `check` compares them with the files.
"""

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from sepo_lib.config.errors import InputError

#: The packages and modules of the kit that can move a number of a job.
COUNTED = (
    *("thirdparty", "answers", "games", "method", "chat", "pretrained"),
    *("play", "measure", "training", "studies"),
    *("run.steps", "run.base_model", "run.demonstration_files", "run.sft_data"),
)

#: The libraries whose versions can move a number of a job.
LIBRARIES = (
    *("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "jinja2"),
    *("numpy", "scipy", "pandas", "open_spiel", "axelrod"),
)

_KIT = "sepo_lib"
_PACKAGE = Path(__file__).resolve().parents[1]

#: Module -> (file as messages name it, content).
Sources = Mapping[str, tuple[str, bytes]]


def read(package: Path = _PACKAGE) -> dict[str, tuple[str, bytes]]:
    """The sources of the kit in the folder `package`, as they are now."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        place = file.relative_to(package)
        parts = place.parts[:-1] if place.stem == "__init__" else (*place.parts[:-1], place.stem)
        found[".".join((_KIT, *parts))] = (f"{_KIT}/{place.as_posix()}", file.read_bytes())
    return found


_AT_START = read()


def digests(functions: Sequence[str], sources: Sources | None = None) -> dict[str, str]:
    """File -> digest of every source that the `functions` ("module:function") depend on.

    `sources` are those that this process began with, or else those of `read`. A module that does not belong
    to the kit counts if it holds one of the functions.
    """
    if sources is None:
        return dict(_digests_at_start(tuple(functions)))
    return _digests(functions, sources)


def imports(source: bytes) -> tuple[str, ...]:
    """All names that a source may import, and those of their packages."""
    return _parsed(source)[1]


def joined(parts: Mapping[str, Any]) -> str:
    """The sha256 of `digests`, or of another mapping that JSON can hold."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


@functools.cache
def libraries() -> dict[str, str]:
    """Name -> version of those of LIBRARIES that are installed, and of Python without its last number."""
    return {"python": "{}.{}".format(*sys.version_info)} | installed(LIBRARIES)


def installed(names: Iterable[str]) -> dict[str, str]:
    """Name -> version of those of the packages `names` that are installed."""
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def check(functions: Sequence[str], expected: Mapping[str, str] | None = None) -> None:
    """Raise InputError if a source that the `functions` depend on has changed since this process began.

    With `expected`, the digests of another process, those of this process are compared with them, not with
    the files.
    """
    if expected is None:
        expected = _digests(functions, read() | _outside(functions))
    if changed := differences(expected, digests(functions)):
        raise InputError(
            f"{changed[0]} has changed since this process started; restart it (in a notebook: the kernel) "
            "and run again."
        )


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """The keys with another value, or that only one of the two has."""
    return [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]


@functools.cache
def _digests_at_start(functions: tuple[str, ...]) -> dict[str, str]:
    return _digests(functions, _AT_START | _outside(functions))


def _digests(functions: Sequence[str], sources: Sources) -> dict[str, str]:
    first = {function.partition(":")[0] for function in functions}
    waiting = [*first, *filter(_counts, _packages(first))]
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in sources and module not in seen:
            seen.add(module)
            waiting += filter(_counts, imports(sources[module][1]))
    return {sources[module][0]: _parsed(sources[module][1])[0] for module in sorted(seen)}


def _counts(module: str) -> bool:
    name = module.removeprefix(f"{_KIT}.")
    return name != module and any(f"{name}.".startswith(f"{counted}.") for counted in COUNTED)


@functools.cache
def _parsed(source: bytes) -> tuple[str, tuple[str, ...]]:
    """The digest of a source, and its `imports`."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # it cannot be imported; the job that tries says why
        return hashlib.sha256(source).hexdigest(), ()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    text = repr(_plain(tree)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest(), tuple(sorted(names | _packages(names)))


def _packages(modules: Iterable[str]) -> set[str]:
    """The packages that hold the modules, and those that hold these: Python imports them first."""
    return {name[:at] for name in modules for at, letter in enumerate(name) if letter == "."}


def _plain(node: object) -> object:
    """A syntax tree as nested tuples, without docstrings, positions and empty fields.

    Newer versions of Python add fields to the tree, which are empty in code that older ones can read.
    """
    if isinstance(node, list):
        return tuple(map(_plain, node))
    if not isinstance(node, ast.AST):
        return node
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty texts
        fields["values"] = [part for part in node.values if getattr(part, "value", None) != ""]
    return type(node).__name__, *((name, _plain(value)) for name, value in sorted(fields.items()))


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _outside(functions: Sequence[str]) -> dict[str, tuple[str, bytes]]:
    """The sources of those modules of `functions` that do not belong to the kit."""
    found = {}
    for module in {function.partition(":")[0] for function in functions}:
        if module.partition(".")[0] != _KIT:
            try:
                spec = importlib.util.find_spec(module)
            except (ImportError, ValueError):  # the job says why it cannot be imported
                continue
            if spec is not None and spec.origin and Path(spec.origin).suffix == ".py":
                found[module] = (Path(spec.origin).name, Path(spec.origin).read_bytes())
    return found
