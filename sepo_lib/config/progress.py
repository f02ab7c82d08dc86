"""How a long computation reports its progress: the steps that it has finished, and what it does now."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

#: Called as report(step, metrics): the number of finished steps, and the latest metrics by name.
Report = Callable[[int, Mapping[str, float]], None]
#: Called as hear(doing, tokens): a new phase or None, and the number of tokens sampled since the last call.
Hear = Callable[[str | None, int], None]

_HEAR: ContextVar[Hear] = ContextVar("hear", default=lambda doing, tokens: None)


def doing(what: str) -> None:
    """Say what is done from now on, such as "loading the model". Only the display of the progress uses it."""
    _HEAR.get()(what, 0)


def sampled(tokens: int) -> None:
    """Say that a model has sampled that many tokens more."""
    _HEAR.get()(None, tokens)


@contextlib.contextmanager
def heard_by(hear: Hear) -> Iterator[None]:
    """Within this context `hear` gets what `doing` and `sampled` say."""
    token = _HEAR.set(hear)
    try:
        yield
    finally:
        _HEAR.reset(token)
