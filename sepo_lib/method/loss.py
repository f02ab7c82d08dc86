"""The loss that SEPO minimizes, in NumPy. A test holds it equal to that of `SEPOTrainer`."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rows:
    """A batch of distinct (prompt, answer) rows: B rows of up to L answer tokens. Units: nats."""

    logps_BL: np.ndarray
    """Log-probabilities of the answer tokens under the policy."""
    reference_logps_BL: np.ndarray
    """The same under the SFT model."""
    mask_BL: np.ndarray
    """1 for an answer token, 0 for padding."""
    advantages_B: np.ndarray
    """Sum of the advantages of the decisions that sampled the row."""
    counts_B: np.ndarray
    """How many decisions sampled the row; 0 for an option of a constrained decode that none sampled."""
    old_logps_BL: np.ndarray | None = None
    """Log-probabilities under the policy that played; None if it is the policy itself, as in training."""


def reference_loss(rows: Rows, clip: float, kl_beta: float, decisions: int) -> float:
    """The clipped policy loss plus the KL term, summed over tokens and divided by the number of decisions.

        loss = 1/D sum_b sum_l [ -min(ratio A_b, clip(ratio, 1 - clip, 1 + clip) A_b) + kl_beta n_b KL ]
        ratio = pi / pi_old,    KL = ratio (pi_ref / pi - log(pi_ref / pi) - 1)

    with the advantage A_b and the count n_b of row b. KL is the estimator k3 (Schulman, "Approximating KL
    divergence") times the ratio, as in TRL. A row of n decisions adds as much as n equal rows.
    """
    old_BL = rows.logps_BL if rows.old_logps_BL is None else rows.old_logps_BL
    ratio_BL = np.exp(rows.logps_BL - old_BL)
    clipped_BL = np.clip(ratio_BL, 1 - clip, 1 + clip)
    advantages_B1 = rows.advantages_B[:, None]
    policy_BL = -np.minimum(ratio_BL * advantages_B1, clipped_BL * advantages_B1)
    log_BL = rows.reference_logps_BL - rows.logps_BL
    kl_BL = ratio_BL * (np.exp(log_BL) - log_BL - 1)
    loss_BL = policy_BL + kl_beta * rows.counts_B[:, None] * kl_BL
    return float((loss_BL * rows.mask_BL).sum() / decisions)
