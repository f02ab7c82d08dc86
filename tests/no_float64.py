"""A stand-in for Apple's GPU: a device that refuses float64. It needs no such machine.

Within `Emulation`, a tensor that is made on DEVICE or moved there holds a tensor of the CPU, which computes
for it. Tensors of two devices cannot meet, but for indices and scalars on the CPU, as in torch.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as tree

DEVICE = torch.device("lazy")  # a type that torch knows on every machine and nothing else uses


class OnDevice(torch.Tensor):
    """A tensor on DEVICE; `held` computes for it."""

    @staticmethod
    def __new__(cls, held):
        if held.dtype == torch.float64:
            raise TypeError("This device has no float64.")
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        kwargs, leaves = kwargs or {}, tree.tree_leaves((args, kwargs))
        name, devices = function._schema.name, [x for x in leaves if isinstance(x, torch.device)]
        tensors = [x for x in leaves if isinstance(x, torch.Tensor)]
        others = [x for x in tensors if not isinstance(x, cls)]
        if others and name not in ("aten::to", "aten::_to_copy", "aten::copy_"):
            if not isinstance(tensors[0], cls) or any(x.dim() and x.dtype.is_floating_point for x in others):
                raise RuntimeError(f"Tensors of two devices meet in {name}.")
        held = tree.tree_map_only(cls, lambda x: x.held, (args, kwargs))
        held = tree.tree_map_only(torch.device, lambda x: torch.device("cpu"), held)
        result = function(*held[0], **held[1])
        if function._schema.is_mutable:
            return args[0]
        if devices and not is_device(devices[0]):
            return result
        return tree.tree_map_only(torch.Tensor, cls, result)


class Emulation(TorchFunctionMode):
    """Within this context there is DEVICE."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.tolist and isinstance(args[0], OnDevice):
            return args[0].held.tolist()
        if function is torch.Tensor.__setitem__ and isinstance(args[0], OnDevice):
            if isinstance(args[2], torch.Tensor) and not isinstance(args[2], OnDevice):
                raise RuntimeError("Tensors of two devices meet in an assignment.")
            args = tree.tree_map_only(OnDevice, lambda x: x.held, args)
        to_device = is_device(kwargs.get("device")) or (
            function is torch.Tensor.to and any(map(is_device, args[1:]))
        )
        if not to_device or any(isinstance(x, OnDevice) for x in args):
            return function(*args, **kwargs)
        kwargs.pop("device", None)
        return OnDevice(function(*(torch.device("cpu") if is_device(x) else x for x in args), **kwargs))


def is_device(x):
    """Whether `x` names DEVICE."""
    return isinstance(x, torch.device | str) and torch.device(x) == DEVICE


def moved(model):
    """The model on DEVICE, in place."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(OnDevice(parameter.data), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, OnDevice(buffer))
    return model
