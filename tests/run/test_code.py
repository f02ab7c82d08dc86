"""Which changes make a finished job stale: those of the code and the libraries that its result depends on."""

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sepo_lib
from sepo_lib.config import profiles
from sepo_lib.run import code, recipes

PACKAGE = Path(sepo_lib.__file__).parent
ALL = {"pretrain", "base", "sft", "sepo", "gradient", "estimators", "headroom"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit") / "sepo_lib"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def kinds():
    """Kind of job -> the functions that its code comes from, as the smoke profile lists its jobs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
        patch.setattr(recipes.model_files, "sha256", lambda model: "0")
        settings = profiles.load("smoke", ablation_games=["ipd"])
        jobs = [*recipes.pretrain_jobs(settings), *recipes.study_jobs(settings)]
        for make in (recipes.base_jobs, recipes.sft_jobs, recipes.sepo_jobs, recipes.gradient_jobs):
            jobs += make(settings)
        return {job.name.partition("/")[0]: (job.function, *job.needs) for job in jobs}


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        (
            "method/credit.py",
            "payoff_NGT - penalty_NGT",
            "payoff_NGT + penalty_NGT",
            {"sepo", "gradient", "estimators"},
        ),
        ("training/sepo.py", "clip", "clap", {"sepo", "gradient"}),
        ("training/sft.py", "batch", "bunch", {"pretrain", "sft", "sepo", "gradient"}),
        ("run/base_model.py", "2e-3", "3e-3", {"pretrain"}),
        ("run/steps/sepo.py", "1e-9", "1e-8", {"sepo"}),
        ("studies/headroom.py", "seeds.", "seeds_.", {"headroom"}),
        ("studies/__init__.py", '"""\n', '"""\nX = 1\n', {"gradient", "estimators", "headroom"}),
        ("play/rollouts.py", "rollout", "roll", ALL - {"pretrain", "estimators"}),
        ("games/ipd.py", "Weights(exploit=2.4", "Weights(exploit=2.5", ALL),
        ("games/ipd.py", "You play", "You may play", ALL),
        ("games/ipd.py", '"always_defect"', '"never_cooperate"', ALL),
        ("thirdparty.py", "axelrod", "axelrood", ALL),
        ("answers.py", '"tag"', '"mark"', ALL),
        ("method/credit.py", "\n\n", "\n\n# a comment\n", set()),
        ("method/credit.py", '"""', '"""Said in other words. ', set()),
        ("figures/theme.py", "1", "2", set()),
        ("report/claims.py", "1", "2", set()),
        ("run/workers.py", "1", "2", set()),
        ("config/paths.py", "1", "2", set()),
    ],
)
def test_a_change_makes_those_jobs_stale_whose_numbers_it_can_move(copy, kinds, file, old, new, stale):
    def digests():
        sources = code.read(copy)
        return {kind: code.digests(functions, sources) for kind, functions in kinds.items()}

    before, path = digests(), copy / file
    source = path.read_text()
    changed = source.replace('"""', new, 1) if old == '"""' else source.replace(old, new)
    assert changed != source
    path.write_text(changed)
    try:
        after = digests()
    finally:
        path.write_text(source)
    assert set(kinds) == ALL
    assert {kind for kind in kinds if before[kind] != after[kind]} == stale
    for kind in stale:  # the file is named
        assert code.differences(before[kind], after[kind]) == [f"sepo_lib/{file}"]


def test_a_new_package_of_the_kit_has_to_be_counted_or_named_here():
    parts = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    others = {"__init__", "__main__", "config", "run", "figures", "bench", "report", "environments"}
    assert parts - others == {name for name in code.COUNTED if "." not in name}


def test_all_that_a_job_uses_is_among_its_sources(kinds):
    """Modules, and the modules of functions and classes, that the modules of a job hold by name."""
    for functions in kinds.values():
        files = set(code.digests(functions))
        waiting = [importlib.import_module(function.partition(":")[0]) for function in functions]
        seen = set()
        while waiting:
            module = waiting.pop()
            seen.add(module.__name__)
            for attribute, value in vars(module).items():
                if value is sys.modules.get(f"{module.__name__}.{attribute}"):
                    continue  # a part of this package, which any module may have imported
                name = getattr(value, "__module__", None) if callable(value) else None
                name = value.__name__ if isinstance(value, ModuleType) else name
                counts = str(name).removeprefix("sepo_lib.").startswith(code.COUNTED)
                if str(name).startswith("sepo_lib.") and counts and name not in seen:
                    waiting.append(sys.modules[name])
        used = {Path(sys.modules[name].__file__).relative_to(PACKAGE.parent).as_posix() for name in seen}
        assert len(used) > 10 and used <= files


SOURCE = b"""'A docstring.'
import os, numpy.linalg as la

class A(B, metaclass=C):
    'Another.'
    field: int = None

    async def f(self, a, /, *b, c=1.5, **d) -> "str":
        match a:
            case {"x": [1, *rest]} if (n := len(rest)) > 2:
                yield f"{a!r:>{n}} {b'x'!s}{{}}"
            case _:
                return lambda: [*b, {**d}, -1j, ..., True][::2]
"""


def test_the_digest_of_a_source_is_the_same_in_every_version_of_python():
    """So a manifest names the same code wherever a run was made."""
    (digest,) = code.digests(["own:f"], {"own": ("own.py", SOURCE)}).values()
    assert digest == "0572aac4dbdb7b26f779a1a169847c378fef6190a9fea2b61e7fbe9ae9aa1081"
    moved = SOURCE.replace(b"'Another.'", b"'In other words.'").replace(b"import os", b"# why\n\nimport os")
    assert code.digests(["own:f"], {"own": ("own.py", moved)}) == {"own.py": digest}
