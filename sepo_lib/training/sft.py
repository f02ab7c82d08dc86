"""The supervised warm start: a thin layer over `trl.SFTTrainer`.

Departures from the paper: the number of steps is set by the profile, and `nano` is tuned in full, not by
LoRA. The loss is on what play samples: the answer and the end token behind it, without the whitespace that
some chat templates write between the two.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import datasets
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from sepo_lib.play import models, templates


class Report(TrainerCallback):
    """Hands every logged step to `report(step, metrics)` and keeps the rows."""

    def __init__(self, report: Callable[[int, dict], None]):
        self.report, self.rows = report, []

    def on_log(self, args, state, control, logs=None, **kwargs):
        numbers = {key: float(value) for key, value in (logs or {}).items() if isinstance(value, int | float)}
        if "loss" in numbers:
            self.rows.append({"step": state.global_step, **numbers})
            self.report(state.global_step, numbers)


class AnswerTrainer(SFTTrainer):
    """SFTTrainer that on a CPU computes little more than the answers' loss needs.

    Logits at the columns of answers alone, which TRL does itself where it has its kernel for GPUs: elsewhere
    it scores every token of the prompts, a third of a step of a small model with a large vocabulary. And rows
    of like length together, `ROWS` at a time, each lot padded to its own longest: games differ in length, and
    a third of a batch of nano's is padding. The loss is TRL's, the mean over all answer tokens of the batch;
    a mixture of experts, whose loss has a term more, is left to it.
    """

    #: How many rows go through the model at once.
    ROWS = 16

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        on_cpu = self.model.device.type == "cpu"
        if return_outputs or not on_cpu or not self.model.training or self.aux_loss_enabled:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        lengths_B = inputs["attention_mask"].sum(dim=1)
        lots = lengths_B.argsort().split(self.ROWS)
        parts = [
            self._answers(model, {name: value[lot, : lengths_B[lot].max()] for name, value in inputs.items()})
            for lot in lots
        ]
        loss, right, answers = (sum(part) for part in zip(*parts, strict=True))
        self._metrics["train"]["mean_token_accuracy"].append((right / answers).item())
        if num_items_in_batch is None:
            return loss / answers
        return loss / num_items_in_batch * self.accelerator.num_processes  # DDP takes the mean

    def _answers(self, model, inputs):
        """Summed loss, number of right guesses and number of tokens over the answers of right-padded rows."""
        targets_BL = inputs["labels"][:, 1:]
        columns = (targets_BL != -100).any(dim=0).nonzero()[:, 0]
        others = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**others, use_cache=False, logits_to_keep=columns)
        logits, targets = outputs.logits.flatten(0, 1).float(), targets_BL[:, columns].flatten()
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")  # -100 is left out
        return loss, (logits.detach().argmax(dim=1) == targets).sum(), (targets != -100).sum()


def precision(model: PreTrainedModel) -> dict:
    """The trainer's precision and device arguments for a model as it was loaded."""
    return {
        "bf16": model.dtype == torch.bfloat16 and model.device.type != "cpu",
        "use_cpu": model.device.type == "cpu",
        "activation_checkpointing": False,
    }


def prepare(
    tokenizer: PreTrainedTokenizerFast, dataset: Dataset, max_length: int, end_ids: Iterable[int] = ()
) -> Dataset:
    """The examples as tokens: columns `input_ids` and `labels`, rows in the order of `dataset`.

    `dataset` has the conversational columns `prompt` and `completion` (one assistant message), or `messages`,
    of which the last is the completion and all before it are the prompt. The ids are those of play: the
    prompt, the answer, and its end token (`templates.end_of_answer`); the labels are -100 in the prompt.
    Whitespace that the chat template writes between answer and end token is not trained on, as in the direct
    answers of a constrained decode. `end_ids` are further tokens that end play (`templates.end_ids`). Nothing
    else is cut or left out: raises ValueError for data that cannot be trained on as they are, with the number
    of such examples, the index of the first and what to do.
    """
    if not len(dataset):
        raise ValueError("There are no examples to train on; check how the data were made or filtered.")
    given = dataset[:]
    _refuse(
        [given.keys() >= {"prompt", "completion", "messages"}] * len(dataset),
        "have both prompt and completion, and messages",
        "remove the columns that are not to be trained on",
    )
    if given.keys() >= {"prompt", "completion"}:
        pairs = zip(given["prompt"], given["completion"], strict=True)
        chats = [
            [*(prompt or []), *completion] if _is_one(completion) else [] for prompt, completion in pairs
        ]
    elif "messages" in given:
        chats = [list(messages or []) for messages in given["messages"]]
    else:
        raise ValueError(
            f"SFT needs the columns prompt and completion, or messages, and found {sorted(given)}; rename "
            "the columns or convert the data to chats."
        )
    _refuse(
        [not _is_chat(chat) for chat in chats],
        "are not a prompt of messages with role and content and one assistant message behind it",
        "convert them to chats that end with the answer",
    )
    more = [sorted({key for m in chat for key in m.keys() - {"role", "content"} if m[key]}) for chat in chats]
    _refuse(
        [bool(keys) for keys in more],
        f"have messages with more than role and content ({', '.join(next(filter(None, more), []))})",
        "write all that is to be trained on into content",
    )
    chats = [[{"role": m["role"], "content": m["content"]} for m in chat] for chat in chats]
    _refuse(
        [not chat[-1]["content"].strip() for chat in chats], "have an empty answer", "fill or remove them"
    )
    keys = [json.dumps(chat) for chat in chats]
    distinct = dict(zip(keys, chats, strict=True))
    texts_of = dict(zip(distinct, _texts(tokenizer, list(distinct.values())), strict=True))
    texts = [texts_of[key] for key in keys]
    _refuse(
        [not _is_whole(chat, *pair) for chat, pair in zip(chats, texts, strict=True)],
        "have text that the chat template leaves out or refuses, such as a thought or a later system message",
        "write it elsewhere or remove it",
    )
    tokens_of = dict(zip(distinct, _tokens(tokenizer, distinct.values(), texts_of.values()), strict=True))
    rows = [tokens_of[key] for key in keys]
    ends = {*end_ids, tokenizer.eos_token_id, templates.end_of_answer(tokenizer)}
    early = [next((token for token in answer[:-1] if token in ends), None) for _, answer in rows]
    found = next((tokenizer.decode([token]) for token in early if token is not None), "")
    _refuse(
        [token is not None for token in early],
        f"have the end token {found!r} in the answer, where play would stop",
        "remove it from the answers",
    )
    _refuse(
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


def _is_one(completion) -> bool:
    return isinstance(completion, Sequence) and len(completion) == 1


def _is_chat(chat: Sequence) -> bool:
    """Whether these are messages of text, the last of several the assistant's."""
    texts = (isinstance(m, Mapping) and isinstance(m.get(k), str) for m in chat for k in ("role", "content"))
    return len(chat) > 1 and all(texts) and chat[-1]["role"] == "assistant"


def _refuse(bad: Sequence[bool], what: str, remedy: str) -> None:
    if any(bad):
        raise ValueError(
            f"{sum(bad)} of {len(bad)} examples {what} (the first: index {bad.index(True)}); {remedy}."
        )


def _texts(tokenizer, chats: Sequence[Sequence[Mapping]]) -> list[tuple[str, str]]:
    """(prompt of play, whole chat) as the chat template writes each; empty texts where it refuses to."""
    try:
        prompts = templates.render(tokenizer, [chat[:-1] for chat in chats], add_generation_prompt=True)
        return list(zip(prompts, templates.render(tokenizer, chats), strict=True))
    except ValueError:
        if len(chats) == 1:
            return [("", "")]
        middle = len(chats) // 2
        return _texts(tokenizer, chats[:middle]) + _texts(tokenizer, chats[middle:])


def _is_whole(chat: Sequence[Mapping], prompt: str, whole: str) -> bool:
    """Whether the text of every message stands in what the chat template wrote."""
    answered = whole.removeprefix(prompt)
    places = [*([prompt] * (len(chat) - 1)), answered]
    return all(m["content"].strip() in text for m, text in zip(chat, places, strict=True))


def _tokens(tokenizer, chats: Iterable, texts: Iterable) -> list[tuple[list[int], list[int]]]:
    """(prompt, answer and end token) of each chat and its `_texts`. The answer is as the chat template writes
    it where that continues the prompt of play, else its bare text."""
    end, behind = templates.end_of_answer(tokenizer), templates.behind_answer(tokenizer)
    bare = [chat[-1]["content"] for chat in chats]
    prompts, wholes = zip(*texts, strict=True)
    wholes = [whole.removesuffix(behind) for whole in wholes]
    every = list(dict.fromkeys(itertools.chain(prompts, wholes, bare)))
    ids_of = dict(zip(every, tokenizer(every, add_special_tokens=False)["input_ids"], strict=True))
    found = []
    for prompt, whole, answer in zip(prompts, wholes, bare, strict=True):
        ids, length = ids_of[whole], len(ids_of[prompt])
        continues = ids[:length] == ids_of[prompt] and whole.rstrip().endswith(answer.strip())
        found.append((ids_of[prompt], [*(ids[length:] if continues else ids_of[answer]), end]))
    return found


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    folder: Path,
    *,
    steps: int | None,
    epochs: float,
    batch: int,
    learning_rate: float,
    max_length: int,
    seed: int,
    report: Callable[[int, dict], None],
    lora: dict | None = None,
    micro_batches: int = 1,
) -> list[dict]:
    """Fine-tune `model` in place of its folder: saves the (merged) model and tokenizer to folder/model.

    `dataset`: see `prepare`, which raises ValueError for what cannot be trained on; `steps` optimizer steps
    of `batch` examples (None: `epochs` passes); `lora` holds rank, alpha and dropout, None tunes every
    weight. A step goes through the model in at most `micro_batches` equal parts: as many as divide `batch`.
    The loss is on the answers only. Returns the log, one dict a step.
    """
    datasets.disable_progress_bars()
    dataset = prepare(tokenizer, dataset, max_length, templates.end_ids(model, tokenizer))
    parts = max(number for number in range(1, micro_batches + 1) if batch % number == 0)
    if steps is not None:
        needed = steps * batch
        dataset = dataset.shuffle(seed=seed % 2**32).select(range(min(needed, len(dataset))))
    trainer = AnswerTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=dataset,
        peft_config=models.lora(model, **lora) if lora else None,
        callbacks=[log := Report(report)],
        args=SFTConfig(
            output_dir=str(folder / "trainer"),
            max_steps=-1 if steps is None else steps,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch // parts,
            gradient_accumulation_steps=parts,
            learning_rate=learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0 if steps is None else min(20, steps // 10),
            max_length=None,  # `prepare` has seen to it
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=seed % 2**32,
            dataloader_pin_memory=False,
            **precision(model),
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trained = trainer.model
    if lora:
        trained.save_pretrained(folder / "adapter")
        trained = trained.merge_and_unload()
    trained.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return log.rows
