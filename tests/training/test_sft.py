"""Supervised fine-tuning: the loss on answers alone is TRL's."""

import re

import pytest
import torch
from chats import GOOD, chat, pairs
from datasets import concatenate_datasets

from sepo_lib.play import models
from sepo_lib.play.engines import padded, parts
from sepo_lib.training import demonstrations, sft

SIZES = {"epochs": 1, "learning_rate": 1e-3, "max_length": 512, "seed": 1}


def train_once(model, tokenizer, data, folder, **sizes):
    settings = sft.SFTSettings(**SIZES, steps=1, **sizes)
    return sft.train(model, tokenizer, data, folder, settings, lambda step, metrics: None)


class Plain(sft.SFTTrainer):
    def set_up(self, micro_batches, checkpointing):
        pass


def tuned(trainer, folder, monkeypatch, micro_batches=2):
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
        sft.SFTSettings(**SIZES, steps=2, batch=6, micro_batches=micro_batches),
        lambda step, metrics: None,
    )
    return rows, model.state_dict()


@pytest.fixture(scope="module")
def by_trl(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return tuned(Plain, tmp_path_factory.mktemp("trl"), monkeypatch)


@pytest.mark.parametrize("fits", [None, True, False])  # two micro-batches; parts by memory, read in two ways
def test_rows_by_length_and_logits_at_the_answers_train_as_trls_own_loss(fits, by_trl, tmp_path, monkeypatch):
    monkeypatch.setattr(sft.AnswerTrainer, "ROWS", 2)
    monkeypatch.setattr(parts, "_CPU", 700)  # of about 1400
    monkeypatch.setattr(padded, "fits", lambda model: fits)
    expected, theirs = by_trl
    found, ours = tuned(sft.AnswerTrainer, tmp_path, monkeypatch, micro_batches=2 if fits is None else None)
    for ours_row, row in zip(found, expected, strict=True):
        for name, error in (("loss", 1e-4), ("grad_norm", 1e-4), ("mean_token_accuracy", 0.03)):
            assert ours_row[name] == pytest.approx(row[name], rel=error), name
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


@pytest.mark.parametrize("token", ["<|end|>", "<|pad|>", "<|user|>"])
def test_every_token_that_ends_play_is_refused_in_an_answer(token, tmp_path):
    model, tokenizer = models.load("nano")
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<|pad|>", "<|user|>"])
    data = pairs([GOOD, chat(f"a{token}b")])
    with pytest.raises(ValueError, match=rf"^1 of 2 .* end token '{re.escape(token)}' .* index 1\); remove"):
        train_once(model, tokenizer, data, tmp_path, batch=1)


@pytest.mark.parametrize(
    ("batch", "asked", "parts"), [(2, 4, 2), (4, 3, 2), (8, 16, 8), (6, 4, 3), (5, 2, 1)]
)
def test_every_example_of_a_batch_is_trained_on_whatever_the_micro_batches(
    batch, asked, parts, tmp_path, monkeypatch
):
    seen = []

    class Stop(Exception):
        pass

    def train(self, resume_from_checkpoint):
        seen.append((self.args.per_device_train_batch_size, self.args.gradient_accumulation_steps))
        raise Stop

    monkeypatch.setattr(sft.AnswerTrainer, "train", train)
    with pytest.raises(Stop):
        data = pairs([GOOD] * batch)
        train_once(*models.load("nano"), data, tmp_path, batch=batch, micro_batches=asked)
    assert seen == [(batch // parts, parts)]
