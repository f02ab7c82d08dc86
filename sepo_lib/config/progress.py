"""How a long computation says how far it is."""

from collections.abc import Callable, Mapping

#: Called as report(step, metrics): the number of steps done, and the latest measures by name.
Report = Callable[[int, Mapping[str, float]], None]
