"""Chat templates: how a prompt is rendered and how an answer ends, in play and in training alike."""

import datetime
from collections.abc import Mapping, Sequence

import jinja2
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

#: Options that every chat template receives. A template without a thinking mode ignores this one.
OPTIONS = {"enable_thinking": False}
#: The current time for templates that write it, fixed so that a prompt is the same on every day.
TIME = datetime.datetime(2024, 7, 26)

Chat = Sequence[Mapping[str, str]]


def render(
    tokenizer: PreTrainedTokenizerFast, chats: Sequence[Chat], add_generation_prompt: bool = False
) -> list[str]:
    """The text of each chat, as the tokenizer's chat template writes it.

    If the template has no system role (it raises an error or drops the text), the system message is put at
    the beginning of the user message that follows it. Raises ValueError if the template cannot write a
    chat.
    """
    try:
        compiled = chat_template_utils._compile_jinja_template(tokenizer.get_chat_template())
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(
            f"The chat template of {tokenizer.name_or_path} is no valid template (line {error.lineno}: "
            f"{error.message}); restore or correct its chat_template.jinja."
        ) from error
    compiled.environment.globals["strftime_now"] = TIME.strftime  # no argument of a call can set it

    def write(chats):
        try:
            return tokenizer.apply_chat_template(
                list(chats), tokenize=False, add_generation_prompt=add_generation_prompt, **OPTIONS
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise ValueError(
                f"The chat template cannot write these messages ({error}); change them or the template."
            ) from error

    try:
        probe = [{"role": "system", "content": "(rules)"}, {"role": "user", "content": "?"}]
        has_system_role = "(rules)" in write([probe])[0]
    except ValueError:
        has_system_role = False
    return write(chats if has_system_role else map(_without_system, chats))


def behind_answer(tokenizer: PreTrainedTokenizerFast) -> str:
    """The text that the chat template writes after an answer.

    Raises ValueError if the template changes the text of an answer.
    """
    answer = 'Because of "this".\n(answer)'  # a template that writes JSON, or message parts, would change it
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    _, found, behind = render(tokenizer, [chat])[0].rpartition(answer)
    if not found:
        raise ValueError(
            "The chat template does not write the text of an answer as it is given; give the tokenizer a "
            "template that writes message['content'] as plain text."
        )
    return behind


def end_of_answer(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id of the token that ends an answer: the first one after the answer that is not whitespace.

    It may differ from the end-of-sequence token (Gemma's does). Raises ValueError if it is an ordinary token:
    then an answer would end wherever it contains that token, or never.
    """
    behind = tokenizer(behind_answer(tokenizer), add_special_tokens=False)["input_ids"]
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    first = next((token for token in behind if tokenizer.decode([token]).strip()), None)
    if first not in special:
        raise ValueError(
            "The chat template puts no special token behind an answer, so an answer has no end; give the "
            f"tokenizer a template that writes one there, such as {tokenizer.eos_token or '<|end|>'!r}."
        )
    return first


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """All token ids that end an answer: those of the model, of its tokenizer and of the chat template."""
    listed = model.generation_config.eos_token_id
    listed = [] if listed is None else listed if isinstance(listed, list) else [listed]
    return sorted({*listed, tokenizer.eos_token_id, end_of_answer(tokenizer)} - {None})


def _without_system(chat: Chat) -> list[Mapping[str, str]]:
    """The chat with its system message, if it has one, moved into the user message that follows."""
    first, *rest = chat
    if first["role"] != "system":
        return [first, *rest]
    texts = [first["content"]]
    if rest and rest[0]["role"] == "user":
        texts.append(rest.pop(0)["content"])
    return [{"role": "user", "content": "\n\n".join(texts)}, *rest]
