"""Hyperparameters from text, as make passes its option SET: `sft_learning_rate=2e-4 sepo_steps.kuhn=60`."""

import contextlib
import difflib
from typing import Any

from sepo_lib.config.errors import InputError
from sepo_lib.config.settings import hyperparameters
from sepo_lib.config.text import in_brief

#: Hyperparameters that have an option of make of their own.
OPTIONS = {"model": "MODEL", "games": "GAMES", "seeds": "SEEDS", "sft_data": "SFT_DATA"}
_WORDS = {"yes": True, "true": True, "no": False, "false": False, "none": None, "null": None}


def parse(text: str | None) -> dict[str, Any]:
    """The hyperparameters in `text`, by name, in the form that `runs.settings` takes.

    They are separated by spaces. `name.key=value` sets the value of one game (or stage), and
    `train_weights.kuhn.exploit=2` one weight of J; several of them add up. `name=value` beside them sets the
    value of all other games. A value is a number, yes or no, none, a name, or a list such as a,b. None or ""
    gives nothing. Raises InputError, naming what is valid, for text of another form, an unknown name, and a
    name that is given twice or has an option of its own.
    """
    found: dict[str, Any] = {}
    for part in (text or "").split():
        place, equals, value = part.partition("=")
        name, *keys = place.split(".")
        if not equals or not all((name, *keys)):
            raise InputError(
                f"SET takes name=value or name.game=value, separated by spaces, not '{in_brief(part)}'."
            )
        if name in OPTIONS:
            raise InputError(f"SET cannot set {name}; use the option {OPTIONS[name]}.")
        if name not in hyperparameters():
            near = ", ".join(difflib.get_close_matches(name, hyperparameters(), n=3))
            raise InputError(
                f"There is no hyperparameter '{in_brief(name)}'{near and f' (near to it: {near})'}; "
                "`python -m sepo_lib profiles` lists all."
            )
        _put(found, [name, *keys], _value(value), place)
    return found


def _put(found: dict[str, Any], keys: list[str], value: Any, place: str) -> None:
    """Put `value` at found[key][key]...; `place` names it in a message."""
    *above, last = keys
    for key in above:
        inner = found.setdefault(key, {})
        found[key] = inner if isinstance(inner, dict) else {"others": inner}
        found = found[key]
    if isinstance(found.get(last), dict):
        found, last = found[last], "others"
    if last in found:
        raise InputError(f"SET gives {place} twice; give each value once.")
    found[last] = value


def _value(text: str) -> Any:
    """A number, True, False or None, else the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return text if "_" in text else number(text)  # Python reads 1_0 as 10
    return text
