"""Single modules of the Axelrod library, imported without the rest of it."""

import contextlib
import functools
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_AXELROD: dict[str, ModuleType] = {}  # the imported modules of the library, by name


@functools.cache
def axelrod_class(name: str) -> Any:
    """A class of the Axelrod library, named "module.Class" such as "strategies.titfortat.TitForTat".

    Raises ModuleNotFoundError or AttributeError for a name that the library does not have.
    """
    module, _, cls = name.rpartition(".")
    with axelrod_modules():
        return getattr(importlib.import_module(f"axelrod.{module}"), cls)


@contextlib.contextmanager
def axelrod_modules() -> Iterator[None]:
    """Make single modules of the Axelrod library importable, without `import axelrod`.

    `import axelrod` takes 14 seconds, because it makes every strategy of the library many times over. The
    modules that the kit uses need 0.1 seconds. They are imported below two packages whose `__init__` has not
    run. `sys.modules` is restored afterwards, so that `import axelrod` elsewhere gives the whole library.
    """

    def take_out() -> dict[str, ModuleType]:
        names = [name for name in sys.modules if name.partition(".")[0] == "axelrod"]
        return {name: sys.modules.pop(name) for name in names}

    outside = take_out()
    try:
        if not _AXELROD:
            for package in ("axelrod", "axelrod.strategies"):
                spec = importlib.util.find_spec(package)
                assert spec is not None  # the kit's requirements name the library
                sys.modules[package] = importlib.util.module_from_spec(spec)
            # The two names that the library's modules import from the package itself.
            root, random = sys.modules["axelrod"], importlib.import_module("axelrod.random_")
            root.Action = importlib.import_module("axelrod.action").Action  # type: ignore[attr-defined]
            root._module_random = random.RandomGenerator()  # type: ignore[attr-defined]
        sys.modules.update(_AXELROD)
        yield
    finally:
        _AXELROD.update(take_out())
        sys.modules.update(outside)
