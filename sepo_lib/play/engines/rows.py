"""The batch of a training step as distinct (prompt, answer) rows, divided among processes and as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from sepo_lib.method.records import Episode
from sepo_lib.play.engines.padding import pad

_KL_WEIGHT_ZERO = 2.0**-100  # so small that a KL term of this weight is lost in rounding


@dataclass(frozen=True)
class Row:
    """One distinct (prompt, answer) of a batch.

    `advantage` is the factor of its log-probability in the policy term, summed over the decisions that
    sampled it. `count` is their number, or the sum of their weights, and the row's weight in the KL term: 0
    where the row is only an option of constrained decodes.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    advantage: float
    count: float


def merge_rows(
    episodes: Sequence[Episode], advantages: Sequence, weights: Sequence | None = None
) -> list[Row]:
    """The distinct rows of all decisions; the advantages of an episode may be None, which counts as 0.

    A decision counts as often as the weight of its episode says (`Credit.weights`), or once.

    An action from the constrained decode has the probability pi(a) = p(a) / sum over legal b of p(b), where
    p(b) is that of the direct answer b. It adds grad log pi(a) to the score of the decision, which takes a
    row for every b (`Options.score`). Raises ValueError if there is no decision.
    """
    sums: dict[tuple, list] = {}

    def add(prompt: Sequence[int], answer: Sequence[int], advantage: float, count: int) -> None:
        cell = sums.setdefault((tuple(prompt), tuple(answer)), [0.0, 0])
        cell[0] += advantage
        cell[1] += count

    weights = weights or [1] * len(episodes)
    for episode, advantage_D, weight in zip(episodes, advantages, weights, strict=True):
        every = [0.0] * len(episode.decisions) if advantage_D is None else map(float, weight * advantage_D)
        for decision, advantage in zip(episode.decisions, every, strict=True):
            add(decision.prompt_ids, decision.completion_ids, advantage, weight)
            if decision.options and advantage:
                factors = advantage * decision.options.score(decision.action)
                for answer, factor in zip(decision.options.completion_ids, factors.tolist(), strict=True):
                    add(decision.prompt_ids, answer, factor, 0)
    if not sums:
        raise ValueError("The batch holds no decision, so there is nothing to train on.")
    return [Row(*row, total, count) for row, (total, count) in sums.items()]


def share_of(rows: Sequence[Row], process: int, processes: int, multiple_of: int = 1) -> list[Row]:
    """Every `processes`-th row, from row `process` on.

    Rows of advantage and count 0 fill the shares up to one length, a multiple of `multiple_of`.
    """
    filler = replace(rows[0], advantage=0.0, count=0)
    filled = [*rows, *[filler] * (-len(rows) % (processes * multiple_of))]
    return filled[process::processes]


def to_tensors(rows: Sequence[Row], decisions: float, pad_id: int, device: torch.device) -> dict:
    """Rows as the batch that GRPOTrainer's loss takes: prompts padded left, answers right, shapes (B, L).

    TRL multiplies both advantage and KL term by `tool_mask`, so that it carries the counts of the rows, and
    divides by `num_items_in_batch`, the number of decisions. A row of count 0 with an advantage gets the
    count _KL_WEIGHT_ZERO: its advantage remains what it is, and its KL term vanishes.
    """
    prompt_BL, prompt_mask_BL = pad([row.prompt_ids for row in rows], "left", pad_id)
    answer_BL, mask_BL = pad([row.completion_ids for row in rows], "right", pad_id)
    counts_B = torch.tensor([float(row.count or (_KL_WEIGHT_ZERO if row.advantage else 0)) for row in rows])
    sums_B = torch.tensor([row.advantage for row in rows])
    batch = {
        "prompt_ids": prompt_BL,
        "prompt_mask": prompt_mask_BL,
        "completion_ids": answer_BL,
        "completion_mask": mask_BL,
        "advantages": sums_B / counts_B.clamp(min=_KL_WEIGHT_ZERO),
        "tool_mask": counts_B[:, None].expand_as(mask_BL).contiguous(),
        "num_items_in_batch": torch.tensor(float(decisions)),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def part_of(batch: dict, rows: Sequence[int], prompt: int, rest: int) -> dict:
    """The given rows of a batch, without columns that are padding in all of them.

    Left are the last `prompt` columns of what is named `prompt...`, which is padded left, and the first
    `rest` columns of everything else, which is padded right. What has no rows stays as it is.
    """
    found = {}
    for name, value in batch.items():
        if isinstance(value, torch.Tensor) and value.ndim:
            value = value[torch.tensor(rows, device=value.device)]
            if value.ndim > 1:
                value = value[:, -prompt:] if name.startswith("prompt") else value[:, :rest]
        found[name] = value
    return found
