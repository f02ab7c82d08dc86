"""Players of the Axelrod library, whose modules are imported one by one and not as a whole."""

import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

_AXELROD: dict[str, ModuleType] = {}  # the imported modules of the library, by name


class AxelrodPlayer:
    """One player in a match of `length` rounds, with the `strategy` "module.Class" made with `options`.

    `words` are the names of cooperation and defection. Raises what `axelrod_class` raises.
    """

    def __init__(self, strategy: str, words: Sequence[str], length: int, seed: int, **options: float):
        action = axelrod_class("action.Action")
        self._moves = dict(zip(words, (action.C, action.D), strict=True))
        self._words = {move: word for word, move in self._moves.items()}
        self._player = axelrod_class(f"strategies.{strategy}")(**options)
        self._other = axelrod_class("player.Player")()
        self._player.set_match_attributes(length=length)
        self._player.set_seed(seed)
        self._strategy, self._due = strategy, 0

    def act(self, number: int, own: Sequence[str], other: Sequence[str]) -> str:
        """The action in round `number` (from 0), given both players' actions of the rounds before it.

        Raises ValueError unless it is asked exactly once a round.
        """
        if number != self._due:
            raise ValueError(f"{self._strategy} was asked for round {number} when round {self._due} was due.")
        self._due += 1
        for mine, theirs in zip(own[-1:], other[-1:], strict=True):
            self._player.update_history(self._moves[mine], self._moves[theirs])
            self._other.update_history(self._moves[theirs], self._moves[mine])
        return self._words[self._player.strategy(self._other)]


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
