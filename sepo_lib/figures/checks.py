"""The checks of keywords that all figure functions share, before anything is drawn."""

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from matplotlib.axes import Axes

LISTS = ("order", "hue_order", "col_order", "metrics", "measures")
SIZES = ("height", "aspect", "width", "col_wrap", "window")


def checked(name: str, value: Any) -> Any:
    """The value of a keyword: lists without repeated entries, positive sizes, and Axes of matplotlib.

    A single text in the place of a list is a list of one entry. None stays None. Raises ValueError, naming
    the keyword, for every other value.
    """
    if value is None:
        return None
    if name in LISTS:
        return _listed(name, value)
    if name in SIZES and (isinstance(value, bool) or not isinstance(value, Real) or not value > 0):
        raise ValueError(f"`{name}` must be a number above 0, not {value!r}.")
    if name in ("col_wrap", "window") and value != int(value):
        raise ValueError(f"`{name}` must be a whole number, not {value!r}.")
    if name == "title" and not isinstance(value, str):
        raise ValueError(f"`title` must be a text, or None for no title, not {type(value).__name__}.")
    if name == "labels" and not isinstance(value, Mapping):
        raise ValueError(f"`labels` must be a dict of category and label, not {type(value).__name__}.")
    if name == "labels":
        return {key: str(label) for key, label in value.items()}
    if name == "ax" and not isinstance(value, Axes):
        raise ValueError(f"`ax` must be one Axes of matplotlib, not {type(value).__name__}.")
    return value


def _listed(name: str, value: Any) -> list:
    """The entries of a list, each of them once."""
    entries = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if not entries:
        raise ValueError(f"`{name}` is empty; leave it out to draw all.")
    return list(dict.fromkeys(entries))
