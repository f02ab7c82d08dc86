"""Environment variables that are set for a while, or put back after others have set them."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping


@contextlib.contextmanager
def restored(names: Iterable[str]) -> Iterator[None]:
    """Give the variables `names` back their values at the end of this context."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables within this context."""
    with restored(values):
        os.environ.update(values)
        yield
