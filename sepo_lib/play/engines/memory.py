"""The memory of a GPU that this process may still take.

Jobs that share a GPU each take a part of its memory only, so that the first one leaves enough for the others.
"""

import os

import torch

#: The environment variable with the number of jobs that share a GPU; run/workers.py sets it for its processes.
JOBS = "SEPO_GPU_JOBS"
_FOR_JOBS = 0.9  # of a GPU's memory; the rest is for what CUDA needs in each process


def share() -> None:
    """Limit this process to its part of the GPU, if several jobs share it."""
    if torch.cuda.is_available() and (jobs := int(os.environ.get(JOBS, "1"))) > 1:
        torch.cuda.set_per_process_memory_fraction(_FOR_JOBS / jobs)


def free_bytes() -> int:
    """The bytes that this process may still allocate on its GPU."""
    free, total = torch.cuda.mem_get_info()
    allowed = int(total * torch.cuda.get_per_process_memory_fraction())
    return min(free + torch.cuda.memory_reserved(), allowed) - torch.cuda.memory_allocated()
