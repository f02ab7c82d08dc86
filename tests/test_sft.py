"""Supervised fine-tuning: the loss on answers alone is TRL's."""

import pytest
import torch
from datasets import concatenate_datasets

from sepo_lib import demonstrations, models, sft


def tuned(trainer, folder, monkeypatch):
    """(log, weights) of `nano` after two steps of two micro-batches with `trainer`, on answers that begin
    at different columns."""
    monkeypatch.setattr(sft, "AnswerTrainer", trainer)
    torch.manual_seed(0)
    model, tokenizer = models.load("nano", "float32")
    games = [demonstrations.build(game, 6, seed=3) for game in ("kuhn", "deal")]
    rows = sft.train(
        model,
        tokenizer,
        concatenate_datasets(games).select_columns(["prompt", "completion"]),
        folder,
        steps=2,
        epochs=1,
        batch=6,
        learning_rate=1e-3,
        max_length=512,
        seed=1,
        report=lambda step, metrics: None,
        micro_batches=2,
    )
    return rows, model.state_dict()


def test_logits_at_the_answers_alone_train_as_trls_own_loss(tmp_path, monkeypatch):
    expected, theirs = tuned(sft.SFTTrainer, tmp_path / "trl", monkeypatch)
    found, ours = tuned(sft.AnswerTrainer, tmp_path / "ours", monkeypatch)
    for ours_row, row in zip(found, expected, strict=True):
        for name in ("loss", "grad_norm", "mean_token_accuracy"):
            assert ours_row[name] == pytest.approx(row[name], rel=1e-4), name
    before = models.load("nano", "float32")[0].state_dict()
    for name, weights in theirs.items():
        assert torch.allclose(ours[name], weights, atol=2e-5), name
        assert not torch.equal(weights, before[name])


def test_only_the_columns_of_answers_are_scored(tmp_path, monkeypatch):
    seen = []

    class Watched(sft.AnswerTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
            seen.append((outputs.logits.shape[1], inputs["labels"]))
            return loss

    tuned(Watched, tmp_path, monkeypatch)
    assert len(seen) == 4
    for scored, labels_BL in seen:
        assert scored == int((labels_BL[:, 1:] != -100).any(dim=0).sum()) < labels_BL.shape[1]
