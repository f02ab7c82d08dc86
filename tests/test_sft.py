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


def test_rows_by_length_and_logits_at_the_answers_train_as_trls_own_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(sft.AnswerTrainer, "ROWS", 2)
    expected, theirs = tuned(sft.SFTTrainer, tmp_path / "trl", monkeypatch)
    found, ours = tuned(sft.AnswerTrainer, tmp_path / "ours", monkeypatch)
    for ours_row, row in zip(found, expected, strict=True):
        for name in ("loss", "grad_norm", "mean_token_accuracy"):
            assert ours_row[name] == pytest.approx(row[name], rel=1e-4), name
    before = models.load("nano", "float32")[0].state_dict()
    for name, weights in theirs.items():
        assert torch.allclose(ours[name], weights, atol=2e-5), name
        assert not torch.equal(weights, before[name])


def lengths(inputs):
    return inputs["attention_mask"].sum(dim=1)


def test_rows_go_through_by_length_and_only_the_columns_of_answers_are_scored(tmp_path, monkeypatch):
    seen = []

    class Watched(sft.AnswerTrainer):
        ROWS = 2

        def _answers(self, model, inputs):
            scored = []
            watch = model.register_forward_hook(lambda *call: scored.append(call[-1].logits.shape[1]))
            sums = super()._answers(model, inputs)
            watch.remove()
            seen.append((inputs, scored, sums[2]))
            return sums

    tuned(Watched, tmp_path, monkeypatch)
    assert [len(inputs["labels"]) for inputs, *_ in seen] == 4 * [2, 1]  # micro-batches of three rows
    for inputs, scored, answers in seen:
        in_answers_BL = inputs["labels"][:, 1:] != -100
        assert scored == [int(in_answers_BL.any(dim=0).sum())] and scored[0] < in_answers_BL.shape[1]
        assert answers == in_answers_BL.sum()
        assert lengths(inputs).max() == inputs["input_ids"].shape[1]  # its own longest row
    for (first, *_), (second, *_) in zip(seen[::2], seen[1::2], strict=True):
        assert lengths(first).max() <= lengths(second).min()
