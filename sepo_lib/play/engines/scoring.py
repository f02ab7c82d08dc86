"""Log-probabilities of given answers, by the way that suits the model: trees, padded lines, or neither."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from sepo_lib.play.engines import answer_tree, padded
from sepo_lib.play.engines.padding import pad

_ROWS = 64  # the largest number of answers in one call of a model that neither way suits


def reader(model: PreTrainedModel) -> Callable | None:
    """What reads this model best: `answer_tree.logps`, `padded.logps` or, None, neither."""
    if answer_tree.supports(model):
        return answer_tree.logps
    return padded.logps if padded.fits(model) else None


def totals(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    temperature: float,
) -> torch.Tensor:
    """Log-probability (nats) of each whole answer after its own prompt, shape (B,), with gradients.

    Works for every model: one that neither trees nor padded lines suit reads one row per answer.
    """
    if read := reader(model):
        return read(model, prompts, answers, max(map(len, answers)), temperature)[0].sum(dim=1)
    found = []
    for start in range(0, len(prompts), _ROWS):
        part = range(start, min(start + _ROWS, len(prompts)))
        _, in_answer_BL = pad([answers[row] for row in part], "left")
        kept = in_answer_BL.shape[1]  # all answers end in the last column: these columns hold the longest one
        ids_BL, logits = _forward(model, [(*prompts[row], *answers[row]) for row in part], kept + 1)
        all_logps = torch.log_softmax(logits[:, :-1].float() / temperature, dim=-1)
        chosen_BL = all_logps.gather(2, ids_BL[:, -kept:, None]).squeeze(2)
        found.append((chosen_BL * in_answer_BL.to(chosen_BL)).sum(dim=1))
    return torch.cat(found)


def following(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]],
    temperature: float,
) -> torch.Tensor:
    """Log-probability (nats) of every token as the next one after each prompt and beginning of an answer.

    The result has shape (B, V). A prefix, the beginning of an answer, may be empty. Works for every model,
    as `totals` does. The caller must keep B x V small enough for the memory.
    """
    if answer_tree.supports(model):
        return answer_tree.following(model, prompts, prefixes, temperature)
    if padded.fits(model):
        return padded.following(model, prompts, prefixes, temperature)
    lines = [(*prompt, *prefix) for prompt, prefix in zip(prompts, prefixes, strict=True)]
    parts = (lines[start : start + _ROWS] for start in range(0, len(lines), _ROWS))
    logits = [_forward(model, part, 1)[1][:, -1] for part in parts]
    return torch.cat([torch.log_softmax(part.float() / temperature, dim=-1) for part in logits])


def _forward(
    model: PreTrainedModel, lines: Sequence[Sequence[int]], kept: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, logits of the last `kept` columns) of the lines, padded on the left."""
    ids_BL, mask_BL = (tensor.to(model.device) for tensor in pad(lines, "left"))
    return ids_BL, model(input_ids=ids_BL, attention_mask=mask_BL, logits_to_keep=kept).logits
