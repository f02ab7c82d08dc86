"""The rules of the house: sizes, parameters and the one place that names the games."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grimp
import networkx

from sepo_lib import games

LIBRARY = Path(__file__).resolve().parents[1] / "sepo_lib"
MODULES = {path.relative_to(LIBRARY).as_posix(): path for path in sorted(LIBRARY.rglob("*.py"))}
#: What a newcomer reads to know how SEPO works.
READING_PATH = ("games/", "method/", "play/", "training/")


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_no_module_is_longer_than_500_lines():
    long = {name: lines_of(path) for name, path in MODULES.items() if lines_of(path) > 500}
    assert not long


def test_the_reading_path_has_at_most_3000_lines():
    chosen = [
        path
        for name, path in MODULES.items()
        if name.startswith(READING_PATH) and not name.startswith("play/engines/")
    ]
    total = sum(map(lines_of, chosen))
    assert chosen and total <= 3000, f"games, method, play and training have {total} lines; shorten them"


def test_a_function_takes_at_most_seven_parameters():
    """Drawing functions excepted: they take what seaborn takes. Overridden methods keep their signature."""
    wide = {}
    for name, path in MODULES.items():
        if name.startswith("figures/"):
            continue
        for function in functions(path):
            arguments = function.args
            taken = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            taken = [a for a in taken if a not in ("self", "cls")]
            if len(taken) > 7 and function.name != "_get_per_token_logps_and_entropies":
                wide[f"{name}:{function.name}"] = len(taken)
    assert not wide


def test_only_the_games_package_names_games():
    named = {}
    words = "|".join(games.GAMES)
    # Data sets have a column called split.
    splits = ("training/demonstrations.py", "run/demonstration_files.py", "chat/chat_files.py")
    for name, path in MODULES.items():
        if name.startswith("games/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        found = {
            n.lineno
            for n in constants
            if re.fullmatch(words, n.value) and not (n.value == "split" and name in splits)
        }
        if found:
            named[name] = sorted(found)
    assert not named


def test_no_modules_import_each_other_in_a_circle():
    graph = networkx.DiGraph()
    built = grimp.build_graph("sepo_lib", cache_dir=None)
    graph.add_edges_from((a, b) for a in built.modules for b in built.find_modules_directly_imported_by(a))
    inside = [(a, b) for a, b in graph.edges if a.startswith(f"{b}.") or b.startswith(f"{a}.")]
    graph.remove_edges_from(inside)  # a package and its own modules
    assert graph.number_of_edges() > 300
    assert not [sorted(group) for group in networkx.strongly_connected_components(graph) if len(group) > 1]
