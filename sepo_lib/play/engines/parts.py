"""The rows of a training step in parts that fit into the memory, each with its own forward and backward.

The loss of a batch is a sum over its rows. The gradient of the sum is therefore that of the parts, added up,
and only one part's activations are in memory at a time.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import islice

import torch
from accelerate import Accelerator
from peft import PeftModel

from sepo_lib.config.errors import InputError
from sepo_lib.play.engines import distributed, padded
from sepo_lib.play.engines.padded import Part
from sepo_lib.play.engines.prefix_cache import bare
from sepo_lib.pretrained import gpu

_FIRST = 2048  # tokens of the first part on a GPU, by which its memory is measured
_MOST = 65536  # tokens of the largest part: more make a GPU no faster
_CPU = 4096  # tokens of a part on a CPU: always the same, so that results are
_SHARE = 0.75  # of the free memory, for a part


class Parts:
    """The size of the parts of one training: `tokens`, padding included.

    On a GPU the first part measures how many bytes a token takes. `tokens` is then the largest power of two
    for which three quarters of the free memory suffice. A part that does not fit after all halves it. Where
    not even one row fits, activations are computed again in the backward pass (activation checkpointing), if
    `checkpointing` is "auto".
    """

    def __init__(self, accelerator: Accelerator, checkpointing: str):
        self.accelerator, self.checkpointing = accelerator, checkpointing
        self._begin()

    def accumulate(
        self,
        model: torch.nn.Module,
        rows: list[int],
        cut: Callable[[list[int], int], list[Part]],
        loss: Callable[[list[int]], torch.Tensor],
    ) -> tuple[torch.Tensor, int]:
        """(sum of `loss(rows of a part)` over the parts of `rows`, number of parts).

        The gradients are added to those of the parameters, of which there must be none yet: a backward of the
        returned sum does nothing. `cut(rows, tokens)` divides rows into parts of at most so many tokens.
        """
        while True:
            try:
                return self._accumulate(model, rows, cut, loss)
            except torch.OutOfMemoryError:
                if self.accelerator.num_processes > 1:
                    raise
            model.zero_grad()
            torch.cuda.empty_cache()
            self._need_less(model, cut(rows, self.tokens))

    def _begin(self) -> None:
        self.measured = self.accelerator.device.type != "cuda"
        self.tokens = _CPU if self.measured else _FIRST

    def _accumulate(self, model, rows, cut, loss) -> tuple[torch.Tensor, int]:
        losses = []
        if not self.measured:
            half = rows[: max(1, len(rows) // 2)]  # a part is left for afterwards, if there are two rows
            first = self._alike(cut(half, self.tokens), cut)[0]
            losses.append(self._measure(model, first, loss, last=len(rows) == 1))
            rows = sorted(set(rows) - set(first.rows))
        waiting = self._alike(cut(rows, self.tokens), cut) if rows else []
        for number, part in enumerate(waiting, 1):
            losses.append(self._backward(model, part, loss, last=number == len(waiting)))
        return torch.stack(losses).sum().requires_grad_(), len(losses)

    def _backward(self, model, part: Part, loss, last: bool) -> torch.Tensor:
        """The loss of one part; processes add up their gradients after the last one."""
        with nullcontext() if last else self.accelerator.no_sync(model):
            value = loss(part.rows)
            self.accelerator.backward(value)
        return value.detach()

    def _alike(self, parts: list[Part], cut) -> list[Part]:
        """The rows in parts as large as those of the first process, because TRL gathers metrics part by part.
        Every process has as many rows."""
        if distributed.world_size() == 1:
            return parts
        waiting = iter([row for part in parts for row in part.rows])
        numbers = distributed.from_first(lambda: [len(part.rows) for part in parts])
        return [cut(list(islice(waiting, number)), math.inf)[0] for number in numbers]

    def _measure(self, model, part: Part, loss, last: bool) -> torch.Tensor:
        """The loss of the first part, by which the size of the others is chosen."""
        device = self.accelerator.device
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)  # so that they are not measured
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        value = self._backward(model, part, loss, last)
        used = torch.cuda.max_memory_allocated(device) - before
        states = 2 * sum(parameter.nbytes for parameter in trained)  # the optimizer's, at its first step
        fitting = int(_SHARE * max(0, gpu.free_bytes() - states) * part.tokens / used)
        mine = torch.tensor([min(_MOST, 2 ** max(0, fitting.bit_length() - 1))], device=device)
        self.tokens, self.measured = int(self.accelerator.gather(mine).min()), True
        return value

    def _need_less(self, model, parts: list[Part]) -> None:
        """Halve the parts, or checkpoint activations if they are single rows already."""
        if several := [part.tokens for part in parts if len(part.rows) > 1]:
            self.tokens = max(several) // 2
            print(f"The GPU's memory is too small: parts now have {self.tokens} tokens.", flush=True)
        elif self.checkpointing == "auto" and not bare(model).is_activation_checkpointing:
            checkpoint_activations(model)
            self._begin()
            print("The GPU's memory is too small: activations are now computed twice.", flush=True)
        else:
            raise InputError(
                f"One row of {max(part.tokens for part in parts)} tokens does not fit into the GPU's memory; "
                "train a LoRA adapter, choose a smaller model or max_new_tokens, or free the GPU."
            )


class InParts:
    """Mixin before a trainer of TRL: `parts` divides its batches, or None."""

    parts: Parts | None = None

    def set_up(self, micro_batches: int | None, checkpointing: str) -> None:
        """Divide batches into parts by memory if `micro_batches` is None.

        `checkpointing` is as in `Parts`; "always" computes activations twice from the start, "never" not at
        all. A mixture of experts with an auxiliary loss, which is no sum over rows, is not divided.
        """
        if checkpointing == "always":
            checkpoint_activations(self.model)
        if micro_batches is None and not self.aux_loss_enabled:
            self.parts = Parts(self.accelerator, checkpointing)


def cut_of(model: torch.nn.Module, prompts: Sequence, answers: Sequence) -> Callable:
    """The argument `cut` of `Parts.accumulate` for these rows (prompt, answer)."""

    def cut(rows: list[int], tokens: int) -> list[Part]:
        found = padded.parts(model, [prompts[row] for row in rows], [answers[row] for row in rows], tokens)
        return [Part([rows[number] for number in part.rows], part.tokens) for part in found]

    return cut


def checkpoint_activations(model: torch.nn.Module) -> None:
    """From now on keep the inputs of the layers alone, and compute the rest again in the backward pass."""
    inner = bare(model)
    if isinstance(inner, PeftModel):
        inner.enable_input_require_grads()  # the layers' inputs come from frozen embeddings
    inner.activation_checkpointing_enable()
