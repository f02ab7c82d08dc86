"""One step of SEPO without float64, which Apple's GPU lacks. test_apple_gpu.py covers the engines."""

import torch
import trainers
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from sepo_lib.play.engines.shared_prefix import SharedPrefixEngine
from sepo_lib.play.policy import load_policy
from sepo_lib.training import sepo


class Refusal(TorchDispatchMode):
    """Within this context no operator returns float64."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                raise TypeError(f"{function} returns float64.")
        return result


def elsewhere(method):
    """The method, outside of every mode."""

    def run(*args):
        with _disable_current_modes():
            return method(*args)

    return run


def test_a_step_needs_no_float64(tmp_path, monkeypatch):
    for name in ("sample", "score"):
        monkeypatch.setattr(SharedPrefixEngine, name, elsewhere(getattr(SharedPrefixEngine, name)))
    model, tokenizer, policy = load_policy("nano", "float32", 0.8, 2)
    before, steps = model.lm_head.weight.clone(), []
    config = trainers.configuration(steps=1, max_new_tokens=2)
    note = (lambda step, metrics: steps.append(step)), (lambda step: None)
    with Refusal():
        sepo.train(model, tokenizer, policy.engine, tmp_path, config, *note)
    assert steps and not torch.equal(before, model.lm_head.weight)
