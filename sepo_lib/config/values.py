"""The check of a hyperparameter's value: its type is that of `Settings`, its range that of `profiles.yaml`.

A range is text such as "above 0 and at most 1". It is compared with numbers and shown in messages.
"""

import contextlib
import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from sepo_lib import games
from sepo_lib.config.errors import InputError
from sepo_lib.config.root import root
from sepo_lib.config.settings import Settings, frozen, hyperparameters, known, own_weights
from sepo_lib.config.text import in_brief, is_one_line

#: The keys of a value per stage, beside those of a value per game.
STAGES = ("sft", "sepo")
#: The largest whole number of a range that has no upper end.
LARGEST = 10**9
#: What a number is called in a message, if not by its name.
_CALLED = {
    "seeds": "A seed",
    "sft_steps": "The number of steps",
    "sepo_steps": "The number of steps",
    "estimator_groups": "The number of groups",
}
_COMPARED = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}
_WHAT = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}


class Shape(NamedTuple):
    """What a hyperparameter may hold: `base` values, one or `several`, or one `per_key`; or null."""

    base: type
    several: bool
    per_key: bool
    optional: bool


def prepared(name: str, value: Any) -> Any:
    """A checked value as `Settings` holds it; weights of J are those of every game.

    Lists may be text such as "1,2", and numbers may be digits. Raises InputError, in one sentence with the
    valid values.
    """
    if name in ("train_weights", "evaluation_weights"):
        return frozen(_weights(name.removesuffix("_weights"), value))
    shape = shape_of(name)
    if value is None:
        if not shape.optional:
            raise InputError(f"{name} needs a value, not null.")
        return None
    if isinstance(value, Mapping):
        return frozen(_by_key(name, value, shape))
    return _several(name, value) if shape.several else _one(name, value)


@cache
def shape_of(name: str) -> Shape:
    """The shape of a hyperparameter, from the annotation of its field."""
    hint = get_type_hints(Settings)[name]
    union = get_origin(hint) in (Union, UnionType)
    parts = {get_origin(part) or part: part for part in get_args(hint)} if union else {}
    own = [part for origin, part in parts.items() if origin not in (Mapping, NoneType)]
    base, several = (own[0] if own else hint), False
    if get_origin(base) is tuple:
        base, several = get_args(base)[0], True
    optional = NoneType in parts or hyperparameters()[name]["default"] is None
    return Shape(base, several, Mapping in parts, optional)


def ordered(chosen: Iterable[str], every: Iterable[str]) -> tuple[str, ...]:
    """The `chosen` names in the order of `every`, each once."""
    return tuple(name for name in every if name in set(chosen))


def _by_key(name: str, value: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """A value per game, or per stage where the default is one per stage."""
    if not shape.per_key:
        raise InputError(f"{name} takes one value for all games, not '{in_brief(dict(value))}'.")
    default = hyperparameters()[name]["default"]
    by_stage = isinstance(default, Mapping) and set(default) <= set(STAGES)
    for key in value:
        known(f"key of {name}", key, STAGES if by_stage else ("others", *games.GAMES))
    return {key: _one(name, one) for key, one in value.items()}


def _several(name: str, value: Any) -> tuple[Any, ...]:
    """A list, made of "a,b", one value or a sequence; games in the order of the registry, seeds sorted."""
    choices = _choices(name)
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        if value == "all" and choices is games.GAMES:
            parts = list(games.GAMES)
        if any(parts) and not all(parts):
            raise InputError(f"The {name} '{in_brief(value)}' have an empty entry; write them as a,b.")
        value = [part for part in parts if part]
    elif isinstance(value, Real):
        value = [value]
    elif not isinstance(value, Sequence) or isinstance(value, bytes):
        raise InputError(f"The {name} must be a list, not '{in_brief(value)}'.")
    found = [_one(name, one) for one in value]
    block = hyperparameters()[name]
    if not found and [] not in (block["default"], *block.get("by_profile", {}).values()):
        raise InputError(f"At least one of the {name} is needed.")
    for one in found:
        if found.count(one) > 1:
            raise InputError(f"The {_singular(name)} {one} is given twice; name each one once.")
    if choices is games.GAMES:
        return ordered(found, games.GAMES)
    return tuple(sorted(found) if name == "seeds" else found)


def _one(name: str, value: Any) -> Any:
    """One value: a number in its range, one of the choices, or true or false."""
    base, choices = shape_of(name).base, _choices(name)
    if name == "sft_data":
        return _place(name, value)
    if choices is not None:
        known(_singular(name), value, choices)
        return value
    if base in (int, float):
        return _number(name, value, base)
    if not isinstance(value, base):
        raise InputError(f"{name} must be {_WHAT[base]}, not '{in_brief(value)}'.")
    return value


def _singular(name: str) -> str:
    """The name of a list for one of its entries: `switch` for `switches`."""
    irregular = {"switches": "switch", "replication_strategies": "replication_strategy"}
    return irregular.get(name, name.removesuffix("s"))


def _place(name: str, value: Any) -> str:
    """A file or folder, from the root; its path with forward slashes, and without a slash at its end."""
    text = str(value) if isinstance(value, str | Path) else ""
    if not text.strip() or not is_one_line(text) or not os.path.exists(root() / text):
        raise InputError(
            f"{name} must be a file or a folder of chat examples, not '{in_brief(value)}'; docs/data.md says "
            "what can be in it."
        )
    return Path(text).as_posix()


def _choices(name: str) -> Any:
    choices = hyperparameters()[name].get("choices")
    return games.GAMES if choices == "games" else choices


def _number(name: str, value: Any, base: type) -> int | float:
    """A number of the type `base` in the range of the hyperparameter; it may be given as text."""
    terms = hyperparameters()[name]["range"].split(" and ")
    if base is int and not any(term.startswith(("at most", "below")) for term in terms):
        terms.append(f"at most {LARGEST}")
    number = _converted(value, base)
    if isinstance(value, str) and len(value) <= 60 and value.isascii() and "_" not in value:
        with contextlib.suppress(ValueError):
            number = base(value)
    infinite = isinstance(number, float) and not math.isfinite(number)
    if number is None or infinite or not all(_holds(term, number) for term in terms):
        valid = f"{_WHAT[base]}, {' and '.join(terms)}"
        raise InputError(f"{_CALLED.get(name, name)} must be {valid}, not '{in_brief(value)}'.")
    return number


def _converted(value: Any, base: type) -> Any:
    """A number as `base`; None for any other value, and for a fraction where `base` is int."""
    if isinstance(value, Integral if base is int else Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return base(value)
    return None


def _holds(term: str, number: float) -> bool:
    """Whether a number is in the range of a term: "even", or one of _COMPARED with its end."""
    if term == "even":
        return number % 2 == 0
    compared, _, end = term.rpartition(" ")
    return _COMPARED[compared](number, float(end))


def _weights(kind: str, changes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Game -> weights of J: those of the game's file, with the `changes` in their place."""
    weights = {game: own_weights(game)[kind] for game in games.GAMES}
    if not isinstance(changes, Mapping):
        raise InputError(
            f"The {kind}_weights must map games to weights by name, not be '{in_brief(changes)}'."
        )
    for game, changed in changes.items():
        known(f"game of {kind}_weights called", game, games.GAMES)
        if not isinstance(changed, Mapping):
            raise InputError(
                f"The {kind}_weights of {game} must be weights by name, not '{in_brief(changed)}'."
            )
        for weight, value in changed.items():
            known("weight of J", weight, weights[game])
            number = _converted(value, float)
            if number is None or not 0 <= number < math.inf:
                raise InputError(
                    f"The weight {weight} of {game} must be a number of at least 0, not '{in_brief(value)}'."
                )
            weights[game][weight] = number
    return weights
