"""Chat templates: play and supervised fine-tuning see the same text, and unusable templates are refused."""

import copy
import datetime

import jinja2
import pytest
import tiny_models
from transformers.utils import chat_template_utils

from sepo_lib.chat import examples, templates
from sepo_lib.play import models
from sepo_lib.play.policy import LanguageModelPolicy


@pytest.fixture(scope="module")
def nano():
    return models.load("nano")


def test_a_prompt_ends_where_the_answer_begins(nano):
    _, tokenizer = nano
    chat = [{"role": "system", "content": "Rules."}, {"role": "user", "content": "State."}]
    asked = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    answered = tokenizer.apply_chat_template(
        [*chat, {"role": "assistant", "content": "Why.\nLOW"}], tokenize=False
    )
    assert answered == asked + "Why.\nLOW<|end|>"


CHAT = [{"role": "system", "content": "Rules."}, {"role": "user", "content": "State."}]
ANSWER = {"role": "assistant", "content": "Why.\nLOW"}


def seen_by_play_and_by_sft(tokenizer):
    """The prompt that play shows for CHAT, and all that SFT trains on and what of it has a label."""
    policy = LanguageModelPolicy(None, tokenizer)
    ((prompt, ids),) = policy.encode([CHAT])
    dataset = examples.Dataset.from_list([{"prompt": CHAT, "completion": [ANSWER]}])
    (row,) = examples.prepare(tokenizer, dataset, 512)
    assert row["input_ids"][: len(ids)] == ids
    return prompt, *(
        tokenizer.decode([i for i in row[name] if i != -100]) for name in ("input_ids", "labels")
    )


def test_a_template_that_writes_the_date_writes_the_same_one_on_every_day(monkeypatch):
    tokenizer = tiny_models.tokenizer_of("chatml")
    tokenizer.chat_template = (
        "{% macro today() %}It is {{ strftime_now('%Y-%m-%d, a %A of %B') }}.{% endmacro %}{{ today() }}\n"
        + tokenizer.chat_template
    )
    found = []
    for day in (1, 2):

        class Clock(datetime.datetime):
            @classmethod
            def now(cls, tz=None, day=day):
                return cls(2031, 5, day)

        monkeypatch.setattr(chat_template_utils, "datetime", Clock)
        chat_template_utils._compile_jinja_template.cache_clear()  # as a new process has none
        found.append(seen_by_play_and_by_sft(tokenizer))
    assert found[0] == found[1] and found[0][0].startswith(
        "It is 2024-07-26, a Friday of July.\n<|im_start|>"
    )
    assert found[0][1] == found[0][0] + found[0][2]


@pytest.mark.parametrize("missing", ["refuses", "leaves out"])
def test_where_a_template_has_no_system_role_the_rules_open_the_user_message(missing):
    tokenizer = tiny_models.tokenizer_of("gemma2")
    if missing == "leaves out":
        raising = "{{ raise_exception('No system role.') }}"
        assert raising in tokenizer.chat_template
        tokenizer.chat_template = tokenizer.chat_template.replace(raising, "")
    else:
        with pytest.raises(jinja2.TemplateError, match="No system role"):
            tokenizer.apply_chat_template(CHAT, tokenize=False)
    prompt, whole, labels = seen_by_play_and_by_sft(tokenizer)
    assert prompt == "<bos><|turn>user\nRules.\n\nState.<turn|>\n<|turn>model\n"
    assert labels == "Why.\nLOW<turn|>" and whole == prompt + labels
    assert tokenizer.decode(templates.end_of_answer(tokenizer)) == "<turn|>"
    alone = templates.render(tokenizer, [CHAT[:1], CHAT[1:]], add_generation_prompt=True)
    assert alone == [f"<bos><|turn>user\n{text}<turn|>\n<|turn>model\n" for text in ("Rules.", "State.")]


def test_what_stands_behind_an_answer_before_its_end_token_is_not_its_end():
    tokenizer = tiny_models.tokenizer_of("chatml")
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} <|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    assert tokenizer.decode(templates.end_of_answer(tokenizer)) == "<|im_end|>"


def test_whitespace_before_the_end_token_is_not_the_end():
    tokenizer = tiny_models.tokenizer_of("coder")
    assert tokenizer.decode(templates.end_of_answer(tokenizer)) == "<|EOT|>"


PARTS = (
    "{% for m in messages %}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}<|end|>{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{% for m in messages %}{{ m|tojson }}<|end|>{% endfor %}", "does not write the text of an answer"),
        (PARTS, "does not write the text of an answer"),
        ("{{ raise_exception('Nothing here.') }}", r"cannot write these messages \(Nothing here.\)"),
        ("{% for m in messages %}{{ m['content'].text.strip() }}{% endfor %}", "cannot write these messages"),
        ("{% for m in messages %}{{ m['content'] + 1 }}{% endfor %}", "cannot write these messages"),
        (
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}",
            "no special token behind",
        ),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "no special token behind"),
        ("{% for m in messages %}{{ m['content'] }} ### {% endfor %}", "no special token behind"),
    ],
)
def test_a_template_that_play_cannot_use_is_one_sentence(nano, template, sentence):
    tokenizer = copy.deepcopy(nano[1])
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=sentence) as error:
        templates.end_of_answer(tokenizer)
    assert "\n" not in str(error.value)
