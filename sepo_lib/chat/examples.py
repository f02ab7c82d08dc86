"""Examples of supervised fine-tuning as tokens: those of play, or an error that names the problem."""

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence

from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from sepo_lib.chat import templates


def prepare(
    tokenizer: PreTrainedTokenizerFast, dataset: Dataset, max_length: int, end_ids: Iterable[int] = ()
) -> Dataset:
    """The examples as tokens: columns `input_ids` and `labels`, rows in the order of `dataset`.

    `dataset` has the conversational columns `prompt` and `completion` (one assistant message), or `messages`,
    whose last message is the completion. The ids are those of play: the prompt, the answer and its end token
    (`templates.end_of_answer`). The labels are -100 in the prompt. Whitespace that the chat template writes
    between answer and end token is not trained on. `end_ids` are further tokens that end play. Nothing else
    is cut or left out. Raises ValueError for data that cannot be trained on, with the number of bad examples,
    the first and the remedy. The first is named by its column `place`, or else by its index.
    """
    if not len(dataset):
        raise ValueError("There are no examples to train on; check how the data were made or filtered.")
    refuse = functools.partial(_refuse, dataset["place"] if "place" in dataset.column_names else None)
    chats = _chats(dataset, refuse)
    keys = [json.dumps(chat) for chat in chats]
    distinct = dict(zip(keys, chats, strict=True))
    texts_of = dict(zip(distinct, _texts(tokenizer, list(distinct.values())), strict=True))
    refuse(
        [not _is_whole(distinct[key], *texts_of[key]) for key in keys],
        "have text that the chat template leaves out or refuses, such as a thought or a later system message",
        "write it elsewhere or remove it",
    )
    tokens_of = dict(zip(distinct, _tokens(tokenizer, distinct.values(), texts_of.values()), strict=True))
    rows = [tokens_of[key] for key in keys]
    ends = {*end_ids, tokenizer.eos_token_id, templates.end_of_answer(tokenizer)}
    early = [next((token for token in answer[:-1] if token in ends), None) for _, answer in rows]
    first = next((tokenizer.decode([token]) for token in early if token is not None), "")
    refuse(
        [token is not None for token in early],
        f"have the end token {first!r} in the answer, where play would stop",
        "remove it from the answers",
    )
    refuse(
        [len(prompt) + len(answer) > max_length for prompt, answer in rows],
        f"are longer than {max_length} tokens",
        "shorten or remove them, or raise max_length (the hyperparameter `sft_max_length`)",
    )
    return Dataset.from_dict(
        {
            "input_ids": [prompt + answer for prompt, answer in rows],
            "labels": [[-100] * len(prompt) + answer for prompt, answer in rows],
        }
    )


def _chats(dataset: Dataset, refuse: Callable[..., None]) -> list[list[Mapping]]:
    """Every example as one chat of messages with role and content that ends with the answer."""
    columns = dataset[:]
    refuse(
        [columns.keys() >= {"prompt", "completion", "messages"}] * len(dataset),
        "have both prompt and completion, and messages",
        "remove the columns that are not to be trained on",
    )
    if columns.keys() >= {"prompt", "completion"}:
        pairs = zip(columns["prompt"], columns["completion"], strict=True)
        chats = [[*(prompt or []), *answer] if _is_one(answer) else [] for prompt, answer in pairs]
    elif "messages" in columns:
        chats = [list(messages or []) for messages in columns["messages"]]
    else:
        raise ValueError(
            f"SFT needs the columns prompt and completion, or messages, and found {sorted(columns)}; rename "
            "the columns or convert the data to chats."
        )
    refuse(
        [not _is_chat(chat) for chat in chats],
        "are not a prompt of messages with role and content and one assistant message behind it",
        "convert them to chats that end with the answer",
    )
    more = [sorted({key for m in chat for key in m.keys() - {"role", "content"} if m[key]}) for chat in chats]
    refuse(
        [bool(keys) for keys in more],
        f"have messages with more than role and content ({', '.join(next(filter(None, more), []))})",
        "write all that is to be trained on into content",
    )
    refuse([not chat[-1]["content"].strip() for chat in chats], "have an empty answer", "fill or remove them")
    return [[{"role": m["role"], "content": m["content"]} for m in chat] for chat in chats]


def _is_one(completion) -> bool:
    return isinstance(completion, Sequence) and len(completion) == 1


def _is_chat(chat: Sequence) -> bool:
    """Whether these are several messages of text, the last one the assistant's."""
    texts = (isinstance(m, Mapping) and isinstance(m.get(k), str) for m in chat for k in ("role", "content"))
    return len(chat) > 1 and all(texts) and chat[-1]["role"] == "assistant"


def _refuse(places: Sequence[str] | None, bad: Sequence[bool], problem: str, remedy: str) -> None:
    if any(bad):
        first = bad.index(True)
        where = f"(the first: {places[first] if places else f'index {first}'})"
        raise ValueError(f"{sum(bad)} of {len(bad)} examples {problem} {where}; {remedy}.")


def _texts(tokenizer, chats: Sequence[Sequence[Mapping]]) -> list[tuple[str, str]]:
    """(prompt of play, whole chat) as the chat template writes each; empty texts where it refuses to."""
    try:
        prompts = templates.render(tokenizer, [chat[:-1] for chat in chats], add_generation_prompt=True)
        return list(zip(prompts, templates.render(tokenizer, chats), strict=True))
    except ValueError:
        return [("", "")] if len(chats) == 1 else [_texts(tokenizer, [chat])[0] for chat in chats]


def _is_whole(chat: Sequence[Mapping], prompt: str, whole: str) -> bool:
    """Whether the text of every message stands in what the chat template wrote."""
    places = [*([prompt] * (len(chat) - 1)), whole.removeprefix(prompt)]
    return all(m["content"].strip() in text for m, text in zip(chat, places, strict=True))


def _tokens(tokenizer, chats: Iterable, texts: Iterable) -> list[tuple[list[int], list[int]]]:
    """(prompt, answer and end token) of each chat and its `_texts`.

    The answer is as the chat template writes it where that continues the prompt of play, else its bare text.
    """
    end, behind = templates.end_of_answer(tokenizer), templates.behind_answer(tokenizer)
    answers = [chat[-1]["content"] for chat in chats]
    prompts, wholes = zip(*texts, strict=True)
    wholes = [whole.removesuffix(behind) for whole in wholes]
    every = list(dict.fromkeys(itertools.chain(prompts, wholes, answers)))
    ids_of = dict(zip(every, tokenizer(every, add_special_tokens=False)["input_ids"], strict=True))
    rows = []
    for prompt, whole, answer in zip(prompts, wholes, answers, strict=True):
        ids, length = ids_of[whole], len(ids_of[prompt])
        continues = ids[:length] == ids_of[prompt] and whole.rstrip().endswith(answer.strip())
        rows.append((ids_of[prompt], [*(ids[length:] if continues else ids_of[answer]), end]))
    return rows
