"""Compare the mean of many estimates of a gradient with the exact one: cosines, sizes and their intervals.

Axes: `_K` blocks of batches, the unit of the bootstrap; `_R` resamples; `_P` the parameters of a policy.
"""

import functools
from dataclasses import dataclass

import numpy as np

from sepo_lib.method import seeds

RESAMPLES = 1000
ZERO = 1e-12  # a gradient shorter than this is a rounding error


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine along the last axis; nan if one of the two is zero."""
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    product = (a * b).sum(axis=-1)
    return np.where(norms > ZERO, product / np.where(norms > ZERO, norms, 1.0), np.nan)


def resampled_cosines(means_KP: np.ndarray, exact_P: np.ndarray, draws_RK: np.ndarray) -> np.ndarray:
    """Resampled cosines of the mean with the exact gradient, without the noise of the mean: shape (R,).

    Noise lengthens the part of the mean that is orthogonal to the exact gradient. So the cosine of a mean is
    too small, and the cosine of a resampled mean is too small by twice as much. Here an unbiased estimate of
    the noise is subtracted from the squared length of that part, once before resampling and once after it.
    nan if a cosine is nan.
    """
    unit_P = exact_P / max(float(np.linalg.norm(exact_P)), ZERO)
    along_K = means_KP @ unit_P
    across_KP = means_KP - along_K[:, None] * unit_P
    across_P = across_KP.mean(axis=0)
    blocks, square = len(means_KP), float(across_P @ across_P)
    noise = float(((across_KP - across_P) ** 2).sum()) / (blocks * (blocks - 1))
    centre_P = across_P * np.sqrt(max(0.0, 1.0 - noise / max(square, ZERO**2)))
    moved_RP = centre_P + draws_RK @ across_KP - across_P
    square_R = np.maximum((moved_RP**2).sum(axis=-1) - noise, 0.0)
    along_R = draws_RK @ along_K
    return np.where(
        np.isnan(cosine(draws_RK @ means_KP, exact_P)),
        np.nan,
        along_R / np.maximum(np.sqrt(along_R**2 + square_R), ZERO**2),
    )


def interval(name: str, values_R: np.ndarray, estimate: float) -> dict[str, float]:
    """The columns of a percentile interval, widened if necessary to contain the estimate."""
    low, high = np.quantile(values_R, [0.025, 0.975])
    return {
        f"{name}_low": float(np.minimum(low, estimate)),
        f"{name}_high": float(np.maximum(high, estimate)),
    }


@dataclass(frozen=True)
class Measured:
    """One estimator, measured in K blocks.

    `means_KP`: the mean estimate of each block. `squares_K` and `cosines_K`: the mean squared norm of one
    batch's estimate, and its mean cosine with the exact gradient. `batches`: batches in a block.
    """

    means_KP: np.ndarray
    squares_K: np.ndarray
    cosines_K: np.ndarray
    batches: int

    def part(self, share: int) -> "Measured":
        """The first 1 / share of the blocks."""
        blocks = len(self.means_KP) // share
        return Measured(
            self.means_KP[:blocks], self.squares_K[:blocks], self.cosines_K[:blocks], self.batches
        )

    def compare(self, exact_P: np.ndarray, seed: int, sized: bool) -> tuple[dict, np.ndarray]:
        """The columns of one row of the table, and the resampled cosines (R,) for paired differences."""
        mean_P = self.means_KP.mean(axis=0)
        draws_RK = _resamples(len(self.means_KP), seed)
        resampled_RP = draws_RK @ self.means_KP
        norm = float(np.linalg.norm(exact_P))
        cosine_R = resampled_cosines(self.means_KP, exact_P, draws_RK)
        batches = self.batches * len(self.means_KP)
        variance = (self.squares_K.mean() - float(mean_P @ mean_P)) * batches / (batches - 1)
        row = {
            "cosine": float(cosine(mean_P, exact_P)),
            "batch_cosine": float(self.cosines_K.mean()),
            "estimate_norm": float(np.linalg.norm(mean_P)),
            "noise_norm": float(np.sqrt(max(0.0, variance) / batches)),
            "variance": variance,
            "exact_norm": norm,
        }
        row |= interval("cosine", cosine_R, row["cosine"])
        row |= interval("batch_cosine", draws_RK @ self.cosines_K, row["batch_cosine"])
        if sized and norm > ZERO:
            row["bias_norm"] = float(np.linalg.norm(mean_P - exact_P))
            row["size_ratio"] = float(mean_P @ exact_P) / norm**2
            row |= interval("size", resampled_RP @ exact_P / norm**2, row["size_ratio"])
        return row, cosine_R


@functools.cache
def _resamples(blocks: int, seed: int) -> np.ndarray:
    """How often each block is drawn, as a share: shape (R, K). Every estimator gets the same draws."""
    rng = seeds.generator(seed, "bootstrap")
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES) / blocks
