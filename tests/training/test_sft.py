"""Supervised fine-tuning: the loss on answers alone is TRL's."""

import re

import pytest
import tiny_models
import torch
from datasets import Dataset, concatenate_datasets
from transformers import AutoTokenizer

from sepo_lib.chat import examples
from sepo_lib.config import paths
from sepo_lib.play import models
from sepo_lib.training import demonstrations, sft

SIZES = {"epochs": 1, "learning_rate": 1e-3, "max_length": 512, "seed": 1}


def train_once(model, tokenizer, data, folder, **sizes):
    settings = sft.SFTSettings(**SIZES, steps=1, **sizes)
    return sft.train(model, tokenizer, data, folder, settings, lambda step, metrics: None)


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
        sft.SFTSettings(**SIZES, steps=2, batch=6, micro_batches=2),
        lambda step, metrics: None,
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


def nano_s():
    return AutoTokenizer.from_pretrained(paths.models() / "nano", padding_side="left")


def chat(answer="Why.\nLOW", rules="Rules.", state="State."):
    texts = {"system": rules, "user": state, "assistant": answer}
    return [{"role": role, "content": text} for role, text in texts.items()]


def pairs(chats):
    return Dataset.from_list([{"prompt": one[:-1], "completion": one[-1:]} for one in chats])


def trained(tokenizer, row):
    """What has a label, as text."""
    labels = [label for label in row["labels"] if label != -100]
    assert row["labels"] == [-100] * (len(row["labels"]) - len(labels)) + labels
    assert row["input_ids"][-len(labels) :] == labels and len(row["input_ids"]) == len(row["labels"])
    return tokenizer.decode(labels)


@pytest.mark.parametrize(
    ("family", "end"),
    [
        ("nano", "<|end|>"),
        ("chatml", "<|im_end|>"),
        ("qwen", "<|im_end|>"),
        ("gemma", "<turn|>"),
        ("gemma2", "<turn|>"),
    ],
)
def test_labels_are_the_answer_and_its_end_token_and_nothing_else(family, end):
    tokenizer = nano_s() if family == "nano" else tiny_models.tokenizer_of(family)
    chats = [chat(), chat("I take\n10"), chat()]
    rows = list(examples.prepare(tokenizer, pairs(chats), 512))
    assert [trained(tokenizer, row) for row in rows] == [f"{one[-1]['content']}{end}" for one in chats]
    assert (
        list(examples.prepare(tokenizer, Dataset.from_list([{"messages": one} for one in chats]), 512))
        == rows
    )


def test_of_messages_the_last_is_trained_on_and_all_before_is_the_prompt():
    tokenizer = nano_s()
    turns = [*chat("LOW"), {"role": "user", "content": "Again."}, {"role": "assistant", "content": "HIGH"}]
    (row,) = examples.prepare(tokenizer, Dataset.from_list([{"messages": turns}]), 512)
    assert trained(tokenizer, row) == "HIGH<|end|>"
    before = "<|system|>Rules.<|end|><|user|>State.<|end|><|assistant|>LOW<|end|><|user|>Again.<|end|>"
    assert tokenizer.decode(row["input_ids"]) == before + "<|assistant|>HIGH<|end|>"


def test_where_the_template_rewrites_an_answered_prompt_the_prompt_of_play_is_trained_on():
    """As templates do that open a thought in the prompt of an answer and leave it out of an answered one."""
    tokenizer = nano_s()
    tokenizer.chat_template = tokenizer.chat_template.replace("<|assistant|>", "<|assistant|>Hm, ")
    (row,) = examples.prepare(tokenizer, pairs([chat("LOW")]), 512)
    assert tokenizer.decode(row["input_ids"]).endswith("<|end|><|assistant|>Hm, LOW<|end|>")
    assert trained(tokenizer, row) == "LOW<|end|>"


GOOD, LONG = chat(), "State. " * 300


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "no examples to train on; check how"),
        ([{"text": "Rules."}], r"columns prompt and completion, or messages, and found \['text'\]; rename"),
        ([{"prompt": "Rules.", "completion": "LOW"}], r"^1 of 1 examples are not .* index 0\); convert"),
        ([{"messages": GOOD}, {"messages": GOOD[:-1]}], r"^1 of 2 examples are not .* index 1\); convert"),
        ([{"messages": [{"content": "?"}, GOOD[-1]]}], r"^1 of 1 examples are not .* index 0\); convert"),
        ([{"messages": GOOD}, {"messages": GOOD[-1:]}], r"^1 of 2 examples are not .* index 1\); convert"),
        (
            [GOOD, chat(""), chat(" \n")],
            r"^2 of 3 examples have an empty answer .* index 1\); fill or remove",
        ),
        ([GOOD, chat("LOW<|end|>\nHIGH")], r"^1 of 2 .* end token '<\|end\|>' .* index 1\); remove"),
        (
            [{"messages": GOOD}, {"messages": [*GOOD[:-1], {**GOOD[-1], "tool_calls": [{"name": "bid"}]}]}],
            r"^1 of 2 .* more than role and content \(tool_calls\) .* index 1\); write",
        ),
        (
            [{"prompt": GOOD[:-1], "completion": GOOD[-1:], "messages": GOOD}] * 2,
            r"^2 of 2 examples have both prompt and completion, and messages .* index 0\); remove",
        ),
        ([GOOD, GOOD, chat(LONG)], r"^1 of 3 examples are longer than 512 tokens .* index 2\); shorten"),
        ([GOOD, chat(state=LONG)], r"^1 of 2 examples are longer than 512 tokens .* index 1\); shorten"),
        ([chat(rules=LONG)] * 3, r"^3 of 3 examples are longer .* index 0\); .* raise max_length"),
    ],
)
def test_examples_that_cannot_be_trained_on_are_refused_and_none_is_cut_or_dropped(rows, sentence, tmp_path):
    data = pairs(rows) if rows and isinstance(rows[0], list) else Dataset.from_list(rows)
    with pytest.raises(ValueError, match=sentence) as error:
        train_once(*models.load("nano"), data, tmp_path, batch=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("token", ["<|end|>", "<|pad|>", "<|user|>"])
def test_every_token_that_ends_play_is_refused_in_an_answer(token, tmp_path):
    model, tokenizer = models.load("nano")
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<|pad|>", "<|user|>"])
    data = pairs([GOOD, chat(f"a{token}b")])
    with pytest.raises(ValueError, match=rf"^1 of 2 .* end token '{re.escape(token)}' .* index 1\); remove"):
        train_once(model, tokenizer, data, tmp_path, batch=1)


THOUGHT = "<|channel>thought\nhm<channel|>a\n1"
LATE = [GOOD[1], {"role": "system", "content": "Be fair."}, GOOD[1], GOOD[2]]


@pytest.mark.parametrize(
    ("family", "bad"),
    [
        ("gemma", chat(THOUGHT)),
        ("gemma2", LATE),
        ("gemma2 that leaves out", LATE),
        ("qwen", LATE),
        ("gemma2", [GOOD[0], *LATE]),
    ],
)
def test_text_that_the_template_leaves_out_or_refuses_is_refused(family, bad):
    tokenizer = tiny_models.tokenizer_of(family.split()[0])
    if "leaves out" in family:
        refusal = "{{ raise_exception('No system role.') }}"
        assert refusal in tokenizer.chat_template
        tokenizer.chat_template = tokenizer.chat_template.replace(refusal, "")
    data = pairs([GOOD, GOOD, bad, bad])
    with pytest.raises(ValueError, match=r"^2 of 4 .* leaves out or refuses, .* index 2\); write") as error:
        examples.prepare(tokenizer, data, 512)
    assert "\n" not in str(error.value)


def test_what_is_written_between_answer_and_end_token_is_not_trained_on():
    tokenizer = tiny_models.tokenizer_of("coder")
    (row,) = examples.prepare(tokenizer, pairs([chat("Why.\nLOW")]), 512)
    assert trained(tokenizer, row) == "Why.\nLOW<|EOT|>"
    assert tokenizer.decode(row["input_ids"]).endswith("State.\n### Response:\nWhy.\nLOW<|EOT|>")


@pytest.mark.parametrize(
    ("batch", "asked", "parts"), [(2, 4, 2), (4, 3, 2), (8, 16, 8), (6, 4, 3), (5, 2, 1)]
)
def test_every_example_of_a_batch_is_trained_on_whatever_the_micro_batches(
    batch, asked, parts, tmp_path, monkeypatch
):
    seen = []

    class Stop(Exception):
        pass

    def train(self):
        seen.append((self.args.per_device_train_batch_size, self.args.gradient_accumulation_steps))
        raise Stop

    monkeypatch.setattr(sft.AnswerTrainer, "train", train)
    with pytest.raises(Stop):
        data = pairs([GOOD] * batch)
        train_once(*models.load("nano"), data, tmp_path, batch=batch, micro_batches=asked)
    assert seen == [(batch // parts, parts)]


def test_an_example_that_just_fits_is_taken_whole():
    tokenizer = nano_s()
    (row,) = examples.prepare(tokenizer, pairs([GOOD]), 512)
    length = len(row["input_ids"])
    assert list(examples.prepare(tokenizer, pairs([GOOD]), length)) == [row]
    with pytest.raises(ValueError, match=f"longer than {length - 1} tokens"):
        examples.prepare(tokenizer, pairs([GOOD]), length - 1)
