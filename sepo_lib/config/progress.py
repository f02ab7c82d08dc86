"""The type of the callback with which a long computation reports its progress."""

from collections.abc import Callable, Mapping

#: Called as report(step, metrics): the number of finished steps, and the latest metrics by name.
Report = Callable[[int, Mapping[str, float]], None]
