"""The loss of supervised fine-tuning, computed at the answers' tokens only."""

import torch

from sepo_lib.play.engines import padded
from sepo_lib.play.engines.parts import InParts, cut_of
from sepo_lib.play.engines.rows import part_of


class AnswerLoss(InParts):
    """Mixin before `trl.SFTTrainer` that computes little more than the loss of the answers needs.

    It computes logits at the answers' columns only, and it takes rows of similar length together, because a
    third of a batch of nano's is padding otherwise: `ROWS` at a time or, with `parts`, as many as the memory
    takes. The loss is TRL's: the mean over all answer tokens of the batch. Left to TRL are a mixture of
    experts, whose loss has another term, and a GPU without `parts`.
    """

    ROWS = 16  # that go through the model at once, without `parts`

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        on_cpu = self.model.device.type == "cpu"
        in_parts = self.parts is not None and num_items_in_batch is not None
        ours = (on_cpu or in_parts) and self.model.training and not self.aux_loss_enabled
        if return_outputs or not ours:
            self._total_train_tokens = self._total_train_tokens or self._tokens_before()
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if in_parts:
            found = self._in_parts(model, inputs, num_items_in_batch / self.accelerator.num_processes)
            loss, correct, tokens = found
        else:
            lengths_B = inputs["attention_mask"].sum(dim=1)
            found = [
                self._answers(model, part_of(inputs, rows.tolist(), 0, int(lengths_B[rows].max())))
                for rows in lengths_B.argsort().split(self.ROWS)
            ]
            loss, correct, tokens = (sum(part) for part in zip(*found, strict=True))
        counts = torch.stack([correct, torch.as_tensor(tokens, device=correct.device)])
        all_correct, all_tokens = self.accelerator.reduce(counts)  # of all processes
        self._metrics["train"]["mean_token_accuracy"].append((all_correct / all_tokens).item())
        if in_parts:
            return loss
        if num_items_in_batch is None:
            return loss / tokens
        return loss / num_items_in_batch * self.accelerator.num_processes  # DDP takes the mean

    def _in_parts(self, model, inputs, items):
        """(loss, whose gradient is there already; number of correct predictions; number of answer tokens)."""
        sizes = inputs["attention_mask"].sum(dim=1).tolist()
        answer_B = (inputs["labels"] != -100).sum(dim=1).tolist()
        ids = [row[:size] for row, size in zip(inputs["input_ids"].tolist(), sizes, strict=True)]
        prompts = [tuple(row[:-answer]) for row, answer in zip(ids, answer_B, strict=True)]
        answers = [tuple(row[-answer:]) for row, answer in zip(ids, answer_B, strict=True)]
        fits, counts = padded.fits(self.model), []

        def loss(rows: list[int]) -> torch.Tensor:
            if fits:
                found = padded.loss(model, [prompts[row] for row in rows], [answers[row] for row in rows])
            else:
                longest = max(sizes[row] for row in rows)
                found = self._answers(model, part_of(inputs, rows, 0, longest))[:2]
            counts.append(found[1])
            return found[0] / items

        everything = list(range(len(prompts)))
        total, count = self.parts.accumulate(model, everything, cut_of(model, prompts, answers), loss)
        return total, torch.stack(counts[-count:]).sum(), sum(answer_B)

    def _tokens_before(self):
        """The tokens of the steps before the checkpoint that training continues from; TRL counts from 0."""
        counts = (row["num_tokens"] for row in reversed(self.state.log_history) if "num_tokens" in row)
        return next(counts, 0)

    def _answers(self, model, inputs):
        """Summed loss, number of correct predictions and number of tokens in the answers of padded rows."""
        targets_BL = inputs["labels"][:, 1:]
        columns = (targets_BL != -100).any(dim=0).nonzero()[:, 0]
        others = {name: value for name, value in inputs.items() if name != "labels"}
        outputs = model(**others, use_cache=False, logits_to_keep=columns)
        logits, targets = outputs.logits.flatten(0, 1).float(), targets_BL[:, columns].flatten()
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")  # -100 is ignored
        return loss, (logits.detach().argmax(dim=1) == targets).sum(), (targets != -100).sum()
