"""The registry of games: everything outside this package takes the list of games from here.

A game of your own is a file with a subclass of `Game` that ends with `games.register(YourGame())`. Importing
the file adds the game to this process and to every process that is started from it later (to import it again
after an edit: `sepo_lib.run.game_files`). The commands of the kit import the modules that the environment
variable SEPO_GAMES names, separated by commas.
"""

import copy
import importlib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sepo_lib.games.base import OBJECTIVE_POOLS, POOLS, TRAITS, Game, Opponent, Weights

#: The modules of games that do not belong to the kit. `register` adds to it for processes started later.
MODULES = "SEPO_GAMES"
#: The registered games by name, in the order in which tables and figures show them.
GAMES: dict[str, Game] = {}


def register(game: Game) -> Game:
    """Check `game`, add it to the registry and return it.

    Raises ValueError for a missing or wrong member (the message names it), for a name that is taken, and for
    a game that is defined in a notebook or script.
    """
    if not isinstance(game, Game):
        raise ValueError(f"'{game}' is no game; register an instance of a subclass of `Game`.")
    name = str(getattr(game, "name", type(game).__name__))
    if fault := next(_faults(game), None):
        raise ValueError(f"The game '{name}' {fault}.")
    if name in GAMES:
        raise ValueError(f"There is a game called '{name}' already; give the new one another name.")
    module = type(game).__module__
    if not module.startswith("sepo_lib."):
        known = os.environ.get(MODULES, "").split(",")
        os.environ[MODULES] = ",".join(dict.fromkeys(filter(None, [*known, module])))
    GAMES[name] = game
    return game


def get(name: str, weights: Mapping[str, Mapping[str, float]] | None = None) -> Game:
    """The game called `name`; with `weights` (train, evaluation -> name -> value) a copy with other weights.

    Raises ValueError with the valid choices for an unknown game or weight.
    """
    if name not in GAMES:
        own = f"or name the module of your own game in {MODULES}"
        raise ValueError(f"There is no game '{name}'; choose from {', '.join(GAMES)}, {own}.")
    if not weights:
        return GAMES[name]
    game, known = copy.copy(GAMES[name]), Weights.__dataclass_fields__
    for kind, new in weights.items():
        if unknown := [weight for weight in new if weight not in known]:
            raise ValueError(f"J has no weight '{unknown[0]}'; choose from {', '.join(known)}.")
        setattr(game, f"{kind}_weights", replace(getattr(game, f"{kind}_weights"), **new))
    return game


def having(trait: str) -> list[Game]:
    """The registered games that have `trait`. Raises ValueError for a trait that TRAITS does not list."""
    if trait not in TRAITS:
        raise ValueError(f"There is no trait '{trait}'; choose from {', '.join(TRAITS)}.")
    return [game for game in GAMES.values() if trait in game.traits]


def load_modules() -> None:
    """Import the modules that SEPO_GAMES names. Raises ImportError, naming the module that is not found."""
    for module in filter(None, map(str.strip, os.environ.get(MODULES, "").split(","))):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            reason = f"{MODULES} names '{module}', but {error}; put it on PYTHONPATH or install it."
            raise ImportError(reason) from error


def _faults(game: Game) -> Iterator[str]:
    """What is wrong with `game`, each fault as the end of a sentence that begins with the game."""
    for member, (meaning, is_right) in _MEMBERS.items():
        if not hasattr(game, member):
            yield f"has no `{member}`; give it {meaning}"
        elif not _holds(is_right, getattr(game, member)):
            yield f"has a wrong `{member}`; it must be {meaning}"
    for method in dir(game):
        if getattr(getattr(type(game), method, None), "__isabstractmethod__", False):
            yield f"has no `{method}`; define this method as `Game` describes it"
    for pools, by_pool in game.pools.items():
        wrong = f"has wrong `pools`: the pool set '{pools}'"
        if tuple(by_pool) != POOLS or not all(by_pool.values()):
            yield f"{wrong} needs {', '.join(POOLS)}, in this order, none empty"
        for name, opponent in (pair for pool in by_pool.values() for pair in pool.items()):
            if not isinstance(opponent, Opponent) or not opponent.description:
                yield f"{wrong} holds '{name}', which must be an `Opponent` with a description"
        if held_out := {name for pool in OBJECTIVE_POOLS for name in by_pool[pool]} & set(by_pool["shift"]):
            yield f"{wrong} has {sorted(held_out)} in shift and in another pool"
    if "nashconv" in game.traits and (other := having("nashconv")):
        yield f"has `information_sets`, but NashConv is measured in '{other[0].name}' alone; set it to None"
    if type(game).__module__ == "__main__":
        place = "is defined in a notebook or script, where other processes cannot find it"
        yield f"{place}; put the class and `games.register` in a file, and load it with `game_files.load`"


def _holds(is_right: Callable[[Any], bool], value: Any) -> bool:
    try:
        return is_right(value)
    except (AttributeError, TypeError, ValueError):  # a value of another type
        return False


def _is_mixture(mixture: Any) -> bool:
    right = all(share >= 0 and callable(strategy) for share, strategy in mixture.values())
    return right and abs(sum(share for share, _ in mixture.values()) - 1) < 1e-9


def _are_weights(weights: Any) -> bool:
    return isinstance(weights, Weights) and all(0 <= value < math.inf for value in vars(weights).values())


def _are_pools(pools: Any) -> bool:
    every = [pool for by_pool in pools.values() for pool in by_pool.values()]
    return "paper" in pools and all(isinstance(pool, Mapping) for pool in every)


_MIXTURE = ("strategy name -> (share of the episodes, strategy), with shares that sum to 1", _is_mixture)
_NO_NAMES = ("all", "others", "sft", "sepo")  # these words mean something else in profiles.yaml
_KINDS = [trait for trait in TRAITS if trait not in ("enumerable", "nashconv")]  # what a game has to state
#: The attributes that a game must have: name -> meaning, and the check of a value.
_MEMBERS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": (
        f"a word of lower-case letters, none of {', '.join(_NO_NAMES)}",
        lambda name: bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)) and name not in _NO_NAMES,
    ),
    "title": ("a title for tables and figures", lambda title: bool(title.strip())),
    "short_title": ("a short title for the panels of figures", lambda title: bool(title.strip())),
    "rounds": ("the number of rounds of an episode, at least 1", lambda n: isinstance(n, int) and n >= 1),
    "max_payoff": ("a payoff above 0, in points per round, for the scale s", lambda p: 0 < p < math.inf),
    "train_weights": ("the `Weights` of J in training, none below 0", _are_weights),
    "evaluation_weights": ("the `Weights` of J in evaluation, none below 0", _are_weights),
    "pools": ("a mapping of pool sets, 'paper' among them, to pools of opponents by name", _are_pools),
    "experts": _MIXTURE,
    "naive": _MIXTURE,
    "kinds": (f"a set with some of {', '.join(_KINDS)}", lambda kinds: set(kinds) <= set(_KINDS)),
}
