"""Training with several processes (torch.distributed). With a single process nothing here communicates.

Each process plays a share of the episodes and then receives the episodes of all others, in the order of their
plans. Every decision has its own seed, so the number of processes does not change the episodes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import distributed

from sepo_lib.config.errors import InputError


def world_size() -> int:
    """The number of processes."""
    return distributed.get_world_size() if _is_running() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if _is_running() else 0


def barrier() -> None:
    """Wait until all processes have reached this call."""
    if _is_running():
        distributed.barrier()


def from_first(function: Callable[[], Any]) -> Any:
    """`function()`, called in the first process alone; every process receives the result.

    All processes must call this.
    """
    if world_size() == 1:
        return function()
    results = [function() if rank() == 0 else None]
    distributed.broadcast_object_list(results)
    return results[0]


def map_shares(function: Callable[[Sequence], list], items: Sequence) -> list:
    """`function(items)`, with the items divided among the processes; every process receives all results.

    `function` returns one result per item, in order. All processes must call this with equal arguments.
    """
    if world_size() == 1:
        return function(items)
    shares: list[list] = [[] for _ in range(world_size())]
    distributed.all_gather_object(shares, function(items[rank() :: world_size()]))
    results: list[Any] = [None] * len(items)
    for process, share in enumerate(shares):
        results[process :: world_size()] = share
    return results


def equal_share(batch: int) -> int:
    """The part of a batch that each process takes. Raises InputError if it cannot be divided equally."""
    share, rest = divmod(batch, world_size())
    if rest or not share:
        raise InputError(
            f"{world_size()} processes cannot share a batch of {batch} equally; choose a number of processes "
            "that divides it."
        )
    return share


class OneDevice:
    """Mixin before a trainer of transformers: a process trains on one device, also if it sees several GPUs.

    Otherwise the trainer would copy the model to all of them (torch.nn.DataParallel) and multiply the batch.
    `accelerate launch` starts a process for each GPU instead.
    """

    def __init__(self, *arguments: Any, args: Any, **options: Any) -> None:
        args._n_gpu = min(1, args.n_gpu)  # as transformers itself does for a model that it has split
        super().__init__(*arguments, args=args, **options)


def _is_running() -> bool:
    return distributed.is_available() and distributed.is_initialized()
