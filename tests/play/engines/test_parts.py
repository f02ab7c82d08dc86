"""Parts of a batch: their gradients add up to the whole, and what does not fit is made smaller."""

from itertools import chain

import pytest
import torch
from accelerate import Accelerator

from sepo_lib.config.errors import InputError
from sepo_lib.play.engines import parts
from sepo_lib.play.engines.padded import Part

ROWS = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0], [2.0, 2.0], [7.0, 1.0]])


class Model(torch.nn.Module):
    is_activation_checkpointing = False

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor([0.5, -0.3]))

    def activation_checkpointing_enable(self):
        self.is_activation_checkpointing = True

    def loss(self, rows):
        return (ROWS[rows] @ self.weights).exp().sum()


def cut(rows, tokens):
    """Every row has ten tokens."""
    size = max(1, min(tokens, 1000) // 10)
    return [Part(rows[n : n + size], 10 * len(rows[n : n + size])) for n in range(0, len(rows), size)]


def memory_for(model, rows, checkpointed=0, seen=None):
    """The loss, which runs out of memory in its backward pass if a part has more than `rows` rows."""

    def loss(part):
        value = model.loss(part)
        if len(part) > (checkpointed if model.is_activation_checkpointing else rows):
            value.register_hook(fail)
        elif seen is not None:
            seen.append(part)
        return value

    def fail(gradient):
        raise torch.OutOfMemoryError

    return loss


@pytest.mark.parametrize(("fitting", "tokens"), [(5, 4096), (3, 25), (1, 10)])
def test_the_gradient_is_that_of_the_whole_whatever_fits(fitting, tokens, capsys):
    whole, model, seen = Model(), Model(), []
    expected = whole.loss(list(range(5)))
    expected.backward()
    sizes = parts.Parts(Accelerator(cpu=True), "never")
    total, count = sizes.accumulate(model, list(range(5)), cut, memory_for(model, fitting, seen=seen))
    total.backward()  # as the Trainer does
    assert count == len(seen[-count:]) and sorted(chain(*seen[-count:])) == list(range(5))
    assert max(map(len, seen[-count:])) <= fitting and sizes.tokens == tokens
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(model.weights.grad, whole.weights.grad, rtol=1e-6, atol=0)
    assert ("too small" in capsys.readouterr().out) == (fitting < 5)


def test_one_row_that_does_not_fit_is_checkpointed_and_then_refused(capsys):
    model = Model()
    sizes = parts.Parts(Accelerator(cpu=True), "auto")
    _, count = sizes.accumulate(model, [0, 1], cut, memory_for(model, 0, checkpointed=2))
    assert model.is_activation_checkpointing and count == 1
    assert "computed twice" in capsys.readouterr().out
    for checkpointing in ("never", "auto"):
        model = Model()
        with pytest.raises(InputError, match=r"One row of 10 tokens does not fit .*; train a LoRA adapter"):
            parts.Parts(Accelerator(cpu=True), checkpointing).accumulate(
                model, [0], cut, memory_for(model, 0)
            )
        assert model.is_activation_checkpointing == (checkpointing == "auto")


def test_activations_are_checkpointed_from_the_start_if_asked_for():
    trainer = parts.InParts()
    trainer.model, trainer.accelerator, trainer.aux_loss_enabled = Model(), Accelerator(cpu=True), False
    trainer.set_up(2, "always")
    assert trainer.model.is_activation_checkpointing and trainer.parts is None
    trainer.set_up(None, "never")
    assert trainer.parts.tokens


def test_parts_have_as_many_rows_in_all_processes(monkeypatch):
    """TRL gathers their metrics part by part."""
    model, seen = Model(), []
    monkeypatch.setattr(parts.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(parts.distributed, "from_first", lambda function: [1, 1, 3])
    sizes = parts.Parts(Accelerator(cpu=True), "never")
    sizes.tokens = 30
    _, count = sizes.accumulate(model, list(range(5)), cut, memory_for(model, 5, seen=seen))
    assert count == 3 and seen == [[0], [1], [2, 3, 4]]
