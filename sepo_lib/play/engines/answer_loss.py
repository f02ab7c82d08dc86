"""The loss of supervised fine-tuning, computed at the answers' tokens only."""

import torch


class AnswerLoss:
    """Mixin before `trl.SFTTrainer` that on a CPU computes little more than the loss of the answers needs.

    It computes logits at the answers' columns only. (TRL does so where it has its GPU kernel; elsewhere it
    scores every prompt token, a third of a step of a small model with a large vocabulary.) And it takes
    rows of similar length together, `ROWS` at a time, because a third of a batch of nano's is padding
    otherwise. The loss is TRL's: the mean over all answer tokens of the batch. A mixture of experts, whose
    loss has another term, is left to TRL.
    """

    ROWS = 16  # that go through the model at once

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        on_cpu = self.model.device.type == "cpu"
        if return_outputs or not on_cpu or not self.model.training or self.aux_loss_enabled:
            self._total_train_tokens = self._total_train_tokens or self._tokens_before()
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        lengths_B = inputs["attention_mask"].sum(dim=1)
        parts = [
            self._answers(
                model, {name: value[rows, : lengths_B[rows].max()] for name, value in inputs.items()}
            )
            for rows in lengths_B.argsort().split(self.ROWS)
        ]
        loss, correct, tokens = (sum(part) for part in zip(*parts, strict=True))
        counts = torch.stack([correct, torch.as_tensor(tokens, device=correct.device)])
        all_correct, all_tokens = self.accelerator.reduce(counts)  # of all processes
        self._metrics["train"]["mean_token_accuracy"].append((all_correct / all_tokens).item())
        if num_items_in_batch is None:
            return loss / tokens
        return loss / num_items_in_batch * self.accelerator.num_processes  # DDP takes the mean

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
