"""Child seeds by name: one seed enters at the top and gives the same numbers on every machine."""

import functools
import hashlib
from typing import Any

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A 63-bit child seed of `seed` for the path `names`, by a stable hash of their text."""
    return int.from_bytes(hashlib.blake2b(path(seed, *names), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """The generator of the path `names` below `seed`."""
    return np.random.Generator(np.random.Philox(derive(seed, *names)))


class Later:
    """A generator that is created at its first draw: of thousands of opponents, few draw at all."""

    def __init__(self, seed: int, *names: object) -> None:
        self._seed, self._names = seed, names

    @functools.cached_property
    def _made(self) -> np.random.Generator:
        return generator(self._seed, *self._names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)


def path(seed: int, *names: object) -> bytes:
    """The path `names` below `seed` as the bytes that are hashed."""
    return "/".join(str(part) for part in (seed, *names)).encode()
