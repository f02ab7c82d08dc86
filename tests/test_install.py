"""What `pip install` of the repository declares: enough for the figures, and complete with its extras."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DRAW = """
import sys
import pandas as pd
from sepo_lib import figures

grid = figures.safety_by_stage(pd.read_csv("mine.csv"))
grid.savefig("mine.pdf")
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements):
    """The distributions that `requirements` bring, with all that those need, from this environment."""
    found, waiting = {}, [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonical(requirement.name)
        if name not in found:
            found[name] = metadata.distribution(requirement.name)
            waiting += [Requirement(text) for text in found[name].requires or []]
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder with the kit, as pip installs it, and the packages that it declares: nothing else."""
    folder = tmp_path_factory.mktemp("bare environment")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-compile", "--target", str(folder / "site")]
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "sepo_lib", "README.md", "LICENSE"):
        (source / name).symlink_to(REPOSITORY / name)
    subprocess.run([*pip, *options, str(source)], check=True, capture_output=True, text=True)
    for distribution in closure(PROJECT["dependencies"]).values():
        for top in {
            file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")
        }:
            (folder / "site" / top).symlink_to(distribution.locate_file(top))
    return folder


def test_a_csv_is_drawn_without_torch_openspiel_or_axelrod(bare):
    rows = [f"ipd,{stage},{seed},{seed}.5" for stage in ("sft", "ppo") for seed in (1, 2)]
    (bare / "mine.csv").write_text("\n".join(["game,stage,seed,safety", *rows]) + "\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(bare),
        "MPLCONFIGDIR": str(bare),
        "MPLBACKEND": "Agg",
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = [{str(bare / 'site')!r}]\n{DRAW}"],
        cwd=bare,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"sepo_lib", "seaborn"} <= loaded
    assert not {"torch", "transformers", "pyspiel", "axelrod", "yaml", "jinja2", "IPython"} & loaded
    assert (bare / "mine.pdf").read_bytes().startswith(b"%PDF")


def test_every_package_that_the_kit_imports_is_declared():
    declared = {canonical(Requirement(text).name) for text in PROJECT["dependencies"]}
    for extra in PROJECT["optional-dependencies"].values():
        declared |= {canonical(Requirement(text).name) for text in extra}
    imported = set()
    for file in (REPOSITORY / "sepo_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"sepo_lib"}
    owners = metadata.packages_distributions()
    # a package that is not installed here has the name of its distribution
    assert {name for name in others if canonical(owners.get(name, [name])[0]) not in declared} == set()
