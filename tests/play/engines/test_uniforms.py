"""The random numbers of sampling: the same everywhere, and a stream of its own for each seed."""

import hashlib

import numpy as np
from scipy import stats

from sepo_lib.play import engines


def test_uniforms_are_53_bits_of_the_hash():
    words = hashlib.shake_128(b"5/tokens/0").digest(16)
    expected = [(int.from_bytes(words[i : i + 8], "little") >> 11) / 2**53 for i in (0, 8)]
    assert engines.uniforms([5], 2, "tokens", 0).tolist() == [expected]


def test_a_row_of_uniforms_depends_on_its_seed_alone():
    alone, among = engines.uniforms([5], 8, "a"), engines.uniforms([3, 5, 3], 32, "a")
    assert among[1, :8].tolist() == alone[0].tolist() and among[0].tolist() == among[2].tolist()
    assert not np.isin(engines.uniforms([5], 8, "b"), among).any()
    assert engines.uniforms([], 4).shape == (0, 4)


def test_uniforms_are_uniform_and_independent():
    drawn = engines.uniforms(range(20_000), 4)
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    after = np.column_stack([drawn[:-1], drawn[1:, 0]])  # and of the seed that follows
    off_diagonal = np.corrcoef(after.T) - np.eye(5)
    assert np.abs(off_diagonal).max() < 4 / 20_000**0.5
