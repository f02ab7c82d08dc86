"""Child seeds by name: one seed enters at the top and gives the same numbers on every machine."""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A 63-bit child seed of `seed` for the path `names`, by a stable hash of their text."""
    return int.from_bytes(hashlib.blake2b(_path(seed, *names), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """The generator of the path `names` below `seed`."""
    return np.random.Generator(np.random.Philox(derive(seed, *names)))


class Later:
    """A generator that is made at its first draw, because few of thousands of opponents draw at all."""

    def __init__(self, seed: int, *names: object) -> None:
        self._of = seed, *names

    @functools.cached_property
    def _made(self) -> np.random.Generator:
        return generator(*self._of)

    def __getattr__(self, name: str):
        return getattr(self._made, name)


def uniforms(seeds: Sequence[int], length: int, *names: object) -> np.ndarray:
    """Uniform numbers in [0, 1), shape (len(seeds), length): one row for the path `names` below each seed.

    A row depends on its own seed alone, and a longer row begins with the same numbers. The numbers come from
    a hash of any length (SHAKE128, FIPS 202), several times faster than a generator per decision.
    """
    streams = (hashlib.shake_128(_path(seed, *names)).digest(8 * length) for seed in seeds)
    words_BL = np.frombuffer(b"".join(streams), dtype="<u8").reshape(len(seeds), length)
    return (words_BL >> np.uint64(11)) * 2.0**-53


def _path(seed: int, *names: object) -> bytes:
    return "/".join(str(part) for part in (seed, *names)).encode()
