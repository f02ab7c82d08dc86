"""How a process uses the GPU of its machine: how it computes there, and how much of the memory it may take.

Jobs that share a GPU each take a part of its memory only, so that the first one leaves enough for the others.
"""

import functools
import os

import torch

from sepo_lib.config import cards

_FOR_JOBS = 0.9  # of a GPU's memory; the rest is for what CUDA needs in each process


@functools.cache
def set_up() -> None:
    """Set, once, how this process computes on an NVIDIA GPU, and limit it to its part of the memory."""
    # cuDNN's attention makes a plan for every new shape, and in training each batch has new shapes.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if (jobs := int(os.environ.get(cards.JOBS, "1"))) > 1:
        torch.cuda.set_per_process_memory_fraction(_FOR_JOBS / jobs)
    if os.environ.get("SEPO_DETERMINISTIC") == "yes":
        # Where a kernel adds in any order, torch then takes a slower one that does not (docs/gpu.md). cuBLAS
        # reads its variable when it starts. New tensors need not be filled for that.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` computes in bfloat16 without emulation."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def free_bytes() -> int:
    """The bytes that this process may still allocate on its GPU."""
    free, total = torch.cuda.mem_get_info()
    allowed = int(total * torch.cuda.get_per_process_memory_fraction())
    return min(free + torch.cuda.memory_reserved(), allowed) - torch.cuda.memory_allocated()
