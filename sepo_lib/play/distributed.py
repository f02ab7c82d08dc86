"""Several processes that train one model together (see `launch`); in a single one nothing here does anything.

Each process plays a share of the episodes; then all hold all episodes, in the order of the plans. A decision
draws from its own seed, so it is the same wherever it is made.
"""

from collections.abc import Sequence
from typing import Any

from torch import distributed

from sepo_lib.method.records import Episode
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Policy


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def number() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _several() else 1


def index() -> int:
    """Which one this is, from 0."""
    return distributed.get_rank() if _several() else 0


def meet() -> None:
    """Wait here until all processes have come."""
    if _several():
        distributed.barrier()


def play(policy: Policy, plans: Sequence[rollouts.Plan], *more: Any) -> list[Episode]:
    """`rollouts.play`, its plans shared out among the processes. All must call it with the same arguments."""
    if number() == 1:
        return rollouts.play(policy, plans, *more)
    shares: list[list[Episode]] = [[] for _ in range(number())]
    distributed.all_gather_object(shares, rollouts.play(policy, plans[index() :: number()], *more))
    episodes: list[Episode | None] = [None] * len(plans)
    for process, share in enumerate(shares):
        episodes[process :: number()] = share
    return episodes
