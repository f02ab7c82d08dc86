"""The reference loss: by hand, and equal to what the trainer computes on a batch of its own play."""

import numpy as np
import pytest
import torch
from trainers import first_batch, numpy_rows

from sepo_lib.method.loss import Rows, reference_loss


def test_the_loss_of_two_rows_by_hand():
    """Row 0: one token of ratio 2, clipped to 1.2 for its advantage 3. Row 1: sampled twice, ratio 1."""
    rows = Rows(
        logps_BL=np.log([[0.5, 1.0], [0.5, 0.25]]),
        reference_logps_BL=np.log([[0.5, 1.0], [0.5, 0.5]]),
        mask_BL=np.array([[1, 0], [1, 1]]),
        advantages_B=np.array([3.0, -1.0]),
        counts_B=np.array([1, 2]),
        old_logps_BL=np.log([[0.25, 1.0], [0.5, 0.25]]),
    )
    policy, kl = -1.2 * 3 + 1 + 1, 2 * (2 - np.log(2) - 1)
    assert reference_loss(rows, clip=0.2, kl_beta=0.1, decisions=3) == pytest.approx((policy + 0.1 * kl) / 3)


def test_a_row_of_n_decisions_is_n_equal_rows():
    rng = np.random.default_rng(0)
    logps, reference, old = rng.normal(size=(3, 4, 5)) * 0.3
    counts, advantages = np.array([1, 2, 3, 1]), rng.normal(size=4)
    ones = np.ones_like(logps)
    merged = Rows(logps, reference, ones, advantages, counts, old)
    apart = Rows(
        *(np.repeat(values, counts, axis=0) for values in (logps, reference, ones, advantages / counts)),
        np.ones(7),
        np.repeat(old, counts, axis=0),
    )
    assert reference_loss(merged, 0.2, 0.1, 7) == pytest.approx(reference_loss(apart, 0.2, 0.1, 7))


def test_the_trainer_computes_the_reference_loss(tmp_path, monkeypatch):
    """With and without KL term and ratios other than 1, on merged rows and options of constrained decodes."""

    def inspect(trainer):
        batch = trainer._generate_and_score_completions(None)
        config, decisions = trainer.config, int(batch["num_items_in_batch"])
        reference = batch["ref_per_token_logps"]
        moved = 0.3 * torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
        old = reference + moved.to(reference.device)
        found = {}
        for beta in (0.0, config.kl_beta, 1.0):
            for more in ({}, {"old_per_token_logps": old}):
                trainer.beta = beta
                rows = numpy_rows(trainer, {**batch, **more})
                expected = reference_loss(rows, config.clip, beta, decisions)
                loss = trainer.compute_loss(trainer.model, {**batch, **more}).item()
                assert loss == pytest.approx(expected, rel=1e-5, abs=1e-6), (beta, bool(more))
                found[beta, bool(more)] = loss
        assert rows.counts_B.max() > 1 and len(set(found.values())) == 6
        options = (rows.counts_B == 0) & (rows.advantages_B != 0)
        assert options.any() and rows.counts_B.sum() == decisions
        ratio = np.exp(rows.logps_BL - rows.old_logps_BL)[rows.mask_BL.astype(bool)]
        assert (np.abs(ratio - 1) > config.clip).any() and (np.abs(ratio - 1) < config.clip).any()

    first_batch(tmp_path, monkeypatch, inspect, max_new_tokens=8, temperature=2.0)
