"""One seed enters at the top; everything below gets a child of it by name, the same on every machine."""

import hashlib

import numpy as np


def derive(seed: int, *names: object) -> int:
    """A 63-bit child seed of `seed` for the path `names` (stable hash of their text, never `hash()`)."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for the path `names` below `seed`."""
    return np.random.Generator(np.random.Philox(derive(seed, *names)))
