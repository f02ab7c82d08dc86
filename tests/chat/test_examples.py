"""Examples of supervised fine-tuning as tokens: labels on the answers alone, and refusals."""

import pytest
import tiny_models
from chats import GOOD, chat, pairs
from datasets import Dataset
from transformers import AutoTokenizer

from sepo_lib.chat import examples
from sepo_lib.config import paths


def nano_s():
    return AutoTokenizer.from_pretrained(paths.models() / "nano", padding_side="left")


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


LONG = "State. " * 300


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
def test_examples_that_cannot_be_trained_on_are_refused_and_none_is_cut_or_dropped(rows, sentence):
    data = pairs(rows) if rows and isinstance(rows[0], list) else Dataset.from_list(rows)
    with pytest.raises(ValueError, match=sentence) as error:
        examples.prepare(nano_s(), data, 512)
    assert "\n" not in str(error.value)


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


def test_an_example_that_just_fits_is_taken_whole():
    tokenizer = nano_s()
    (row,) = examples.prepare(tokenizer, pairs([GOOD]), 512)
    length = len(row["input_ids"])
    assert list(examples.prepare(tokenizer, pairs([GOOD]), length)) == [row]
    with pytest.raises(ValueError, match=f"longer than {length - 1} tokens"):
        examples.prepare(tokenizer, pairs([GOOD]), length - 1)
