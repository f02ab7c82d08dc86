"""Training with several processes (torch.distributed). With a single process nothing here communicates.

Each process plays a share of the episodes and then receives the episodes of all others, in the order of their
plans. Every decision has its own seed, so the number of processes does not change the episodes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import distributed


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


def _is_running() -> bool:
    return distributed.is_available() and distributed.is_initialized()
