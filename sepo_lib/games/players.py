"""Players: the opponents of the pools, and the strategies whose play becomes demonstrations.

Both decide by what a player has seen (`View`). An opponent returns an action. A strategy also returns the
reason that the demonstration states.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Action = Any  # a string, an int or a tuple of ints; hashable
Rng = np.random.Generator


@dataclass(frozen=True)
class View:
    """What one player has seen when it is to act; rounds that are played side by side show no past ones."""

    round: int  # from 0 to `rounds` - 1
    rounds: int
    legal: tuple[Action, ...]
    mine: tuple[Action, ...] = ()  # the own action in every finished round
    theirs: tuple[Action, ...] = ()  # the other player's
    payoffs: tuple[float, ...] = ()  # the own payoffs, in points
    facts: Mapping[str, Any] = field(default_factory=dict)  # everything else, such as the own card


Act = Callable[[View], Action]
Start = Callable[[Rng], Act]
Rule = Callable[[View, Rng], Action]
Strategy = Callable[[View, Rng], tuple[Action, str]]
Mixture = Mapping[str, tuple[float, Strategy]]  # strategy name -> (share of the episodes, strategy)


@dataclass(frozen=True)
class Opponent:
    """One opponent of a pool. Called with the generator of an episode, it returns a player."""

    start: Start  # makes that player
    description: str  # what it does, in one line
    source: str = ""
    odds: Any = None  # its action probabilities, in the form that the game's `Enumeration` reads

    def __call__(self, rng: Rng) -> Act:
        return self.start(rng)


def stateless(rule: Rule, description: str = "", odds: Any = None) -> Opponent:
    """An opponent that decides by `rule` alone. The docstring of `rule` is the default description."""
    return Opponent(lambda rng: lambda view: rule(view, rng), description or rule.__doc__ or "", odds=odds)


def one_of(rng: Rng, *reasons: str) -> str:
    """One of the wordings, each equally likely."""
    return reasons[int(rng.integers(len(reasons)))]


def any_legal(view: View, rng: Rng) -> Action:
    """One of the legal actions, each equally likely."""
    return view.legal[int(rng.integers(len(view.legal)))]


def explained(rule: Rule, *reasons: str) -> Strategy:
    """A strategy that decides by `rule` and then states one of the `reasons`."""
    return lambda view, rng: (rule(view, rng), one_of(rng, *reasons))


def constant(action: Action, *reasons: str) -> Strategy:
    """A strategy that always chooses `action`, for one of the `reasons`."""
    return explained(lambda view, rng: action, *reasons)


#: Both choose uniformly from the legal actions. The reasons of `naive_choice` state nothing about the game.
random_expert = explained(any_legal, "I choose at random this time.", "I leave this choice to chance.")
naive_choice = explained(any_legal, "I just pick one.", "Let me try this one.", "I have no plan here.")
