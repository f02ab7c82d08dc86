"""One seed enters at the top; everything below gets a child of it by name, the same on every machine."""

import functools
import hashlib
from collections.abc import Sequence

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A 63-bit child seed of `seed` for the path `names` (stable hash of their text, never `hash()`)."""
    return int.from_bytes(hashlib.blake2b(_path(seed, *names), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for the path `names` below `seed`."""
    return np.random.Generator(np.random.Philox(derive(seed, *names)))


class Later:
    """What `generator` returns, made when something of it is first asked for.

    Of thousands of players who get one each, few may draw.
    """

    def __init__(self, seed: int, *names: object) -> None:
        self._of = seed, *names

    @functools.cached_property
    def _made(self) -> np.random.Generator:
        return generator(*self._of)

    def __getattr__(self, name: str):
        return getattr(self._made, name)


def uniforms(seeds: Sequence[int], length: int, *names: object) -> np.ndarray:
    """Numbers in [0, 1), shape (len(seeds), length): a row for the path `names` below each seed, which does
    not depend on the others and begins as a longer one would.

    Read off a hash of any length (SHAKE128, FIPS 202): to make a generator for each of thousands of decisions
    takes several times longer.
    """
    streams = (hashlib.shake_128(_path(seed, *names)).digest(8 * length) for seed in seeds)
    words_BL = np.frombuffer(b"".join(streams), dtype="<u8").reshape(len(seeds), length)
    return (words_BL >> np.uint64(11)) * 2.0**-53


def _path(seed: int, *names: object) -> bytes:
    return "/".join(str(part) for part in (seed, *names)).encode()
