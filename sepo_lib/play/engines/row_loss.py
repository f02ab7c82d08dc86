"""What makes the update of GRPO fast and small: how its log-probabilities are read, and its loss in parts."""

import math
from collections.abc import Callable

import torch

from sepo_lib.play.engines import padded, scoring
from sepo_lib.play.engines.parts import InParts, cut_of
from sepo_lib.play.engines.rows import part_of


class RowLoss(InParts):
    """Mixin before `trl.GRPOTrainer`: log-probabilities by `scoring.reader`, a loss in parts.

    It changes no result but for rounding.
    """

    read: Callable | None = None  # the reader; None is TRL's own forward
    _lists: tuple | None = None  # (prompts, answers) of the part that is read, as lists

    def set_up(self, micro_batches: int | None, checkpointing: str) -> None:
        """See `InParts`. It also chooses how the model is read; one with an auxiliary loss is left to TRL."""
        super().set_up(micro_batches, checkpointing)
        if not self.aux_loss_enabled:
            self.read = scoring.reader(self.model)

    def _get_per_token_logps_and_entropies(self, model, ids_BL, mask_BL, logits_to_keep, *more, **options):
        """Arguments and result as in GRPOTrainer; the auxiliary loss is None."""
        if self.read is None:
            return super()._get_per_token_logps_and_entropies(
                model, ids_BL, mask_BL, logits_to_keep, *more, **options
            )
        prompts, answers = self._lists or as_lists(ids_BL, mask_BL, logits_to_keep)
        entropy = options.get("compute_entropy", False)
        one_call = self._lists is not None and self.read is padded.logps
        tokens = {"tokens": math.inf} if one_call else {}
        found = self.read(model, prompts, answers, logits_to_keep, self.temperature, entropy, **tokens)
        return found[0], found[1] if entropy else None, None

    @torch.no_grad()
    def reference_logps(self, batch: dict, parts: int | None) -> torch.Tensor:
        """Log-probabilities (nats) of the sampled tokens under the reference, shape (B, L).

        TRL's own forward reads the batch in `parts`, or row by row if that is None.
        """
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        keep, chunk = batch["completion_ids"].size(1), -(-len(ids) // (parts or len(ids)))
        if self.ref_model is not None:
            return self._get_per_token_logps_and_entropies(self.ref_model, ids, mask, keep, chunk)[0]
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            return self._get_per_token_logps_and_entropies(self.model, ids, mask, keep, chunk)[0]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """TRL's loss; in parts, of which the gradients are already there, if `parts` is set."""
        if self.parts is None or not self.model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        prompts, answers = as_lists(
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
            inputs["completion_ids"].shape[1],
        )
        metrics, weights = self._metrics["train"], []
        before = {name: len(values) for name, values in metrics.items()}

        def loss(rows: list[int]) -> torch.Tensor:
            self._lists = [prompts[row] for row in rows], [answers[row] for row in rows]
            part = part_of(inputs, rows, *(max(map(len, one)) for one in self._lists))
            weights.append((part["completion_mask"] * part["tool_mask"]).sum())
            return super(RowLoss, self).compute_loss(model, part)

        rows, cut = list(range(len(prompts))), cut_of(model, prompts, answers)
        try:
            total, count = self.parts.accumulate(model, rows, cut, loss)
        finally:
            self._lists = None
        weight_P = self.accelerator.reduce(torch.stack(weights[-count:]), reduction="sum").tolist()
        for name, values in metrics.items():
            begin = before.get(name, 0)
            if len(values) > begin:
                values[begin:] = [_whole(name, values[-count:], weight_P)]
        return total


def as_lists(ids_BL: torch.Tensor, mask_BL: torch.Tensor, width: int) -> tuple[list, list]:
    """Prompts (padded left) and answers (the last `width` columns, padded right) as lists of token ids."""
    ids, prompt_B = ids_BL.tolist(), mask_BL[:, :-width].sum(dim=1).tolist()
    answer_B = mask_BL[:, -width:].sum(dim=1).tolist()
    begin = ids_BL.shape[1] - width
    prompts = [tuple(row[begin - size : begin]) for row, size in zip(ids, prompt_B, strict=True)]
    return prompts, [tuple(row[begin : begin + size]) for row, size in zip(ids, answer_B, strict=True)]


def _whole(name: str, values: list[float], weight_P: list[float]) -> float:
    """A metric of the batch from those of its parts: most are means over tokens."""
    known = [(value, weight) for value, weight in zip(values, weight_P, strict=True) if weight]
    if name.endswith(("_min", "_max")):
        return (min if name.endswith("_min") else max)(value for value, _ in known)
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
