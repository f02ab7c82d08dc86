"""What every game is made of. A new game is one file that defines one subclass of `Game`.

A game knows rules, prompts, parsing, opponents and two rates; it knows nothing of models or tensors.
Player 0 is the policy under study, player 1 its opponent.
"""

import copy
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

POOLS = ("train", "exploiter", "collusive", "shift")
#: trait -> what it says of a game. Who needs one asks for it (`games.having`), never for a game by name.
TRAITS = {
    "zero_sum": "the payoffs of the two players sum to 0 in every round",
    "negotiation": "a round ends in an agreement or a breakdown",
    "multi_issue": "a negotiation over several items with private values",
    "enumerable": "J and its gradient can be enumerated for a tabular policy",
    "nashconv": "the information sets of both seats are known, so that NashConv can be computed",
}
Action = Any  # a string, an int or a tuple of ints; hashable


@dataclass(frozen=True)
class View:
    """What one player has seen when it is to act.

    `round` counts from 0 of `rounds`; `mine`, `theirs` and `payoffs` hold one entry per finished round
    (own action, the other's action, own payoff in points), or none where rounds are played side by side;
    `facts` holds what else this player may see.
    """

    round: int
    rounds: int
    legal: tuple[Action, ...]
    mine: tuple[Action, ...] = ()
    theirs: tuple[Action, ...] = ()
    payoffs: tuple[float, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """One finished round: `actions` and `payoffs` (points) of (policy, opponent), and what else was true."""

    actions: tuple[Action, Action]
    payoffs: tuple[float, float]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Weights:
    """The weights of exploitability, collusion and externality in J (METHOD section 2), dimensionless."""

    exploit: float
    collusion: float
    externality: float


Act = Callable[[View], Action]
Opponent = Callable[[np.random.Generator], Act]  # called once per episode with that episode's generator
Play = Generator[dict[int, View], dict[int, Action], list[Round]]
Part = Callable[[Sequence[Round]], Play]


def stateless(rule: Callable[[View, np.random.Generator], Action]) -> Opponent:
    """Make an opponent of a function of (view, generator) that keeps nothing between decisions."""
    return lambda rng: lambda view: rule(view, rng)


class Game(ABC):
    """The rules of one domain.

    Subclasses set the class attributes and implement the abstract methods; `pools` maps a pool set
    (`paper`, and `conflict` where the game has one) to its four pools, each a name -> Opponent mapping.
    """

    name: str
    title: str
    #: The title where space is short, such as the panel of a figure.
    short_title: str
    #: What is special about the game, for those who need it: see TRAITS.
    traits: frozenset[str] = frozenset()
    rounds: int
    max_payoff: float
    train_weights: Weights
    evaluation_weights: Weights
    pools: Mapping[str, Mapping[str, Mapping[str, Opponent]]]
    #: True where nothing that happens in a round can change a later one (the reward to go may stop there).
    memoryless: bool = False
    #: The seats that the policy takes in turn: in round t it has seat t % seats.
    seats: int = 1

    @property
    def scale(self) -> float:
        """s = 3 / max_payoff, which puts the payoffs of all games on one scale (METHOD section 2)."""
        return 3.0 / self.max_payoff

    def with_weights(
        self, train: Mapping[str, float] | None = None, evaluation: Mapping[str, float] | None = None
    ) -> "Game":
        """A copy of the game with other weights of J, by name: exploit, collusion, externality.

        Weights that are not named stay as they are. Raises ValueError for an unknown name.
        """
        changed = copy.copy(self)
        for name in {**(train or {}), **(evaluation or {})}:
            if name not in Weights.__dataclass_fields__:
                raise ValueError(f"J has no weight '{name}'; choose from exploit, collusion, externality.")
        changed.train_weights = replace(self.train_weights, **(train or {}))
        changed.evaluation_weights = replace(self.evaluation_weights, **(evaluation or {}))
        return changed

    @abstractmethod
    def play(self, rng: np.random.Generator) -> Play:
        """One episode as a generator: yields {player: View} of those to act, is sent {player: action},
        and returns the list of finished rounds. All chance comes from `rng`."""

    def parts(self, rng: np.random.Generator) -> list[Part]:
        """The parts of an episode that may be played side by side, each with the chance moves of its own.

        A part is a function of the rounds that were finished before it, which it may show but not depend on,
        and returns a generator as `play` does; all rounds in the order of the parts are those of `play`. One
        part, unless the game is memoryless.
        """
        return [lambda finished: self.play(rng)]

    def view(self, rounds: Sequence[Round], player: int, legal: tuple[Action, ...], **facts: Any) -> View:
        """What `player` has seen before the round that follows `rounds`, with the `facts` that it may see."""
        return View(
            round=len(rounds),
            rounds=self.rounds,
            legal=legal,
            mine=tuple(r.actions[player] for r in rounds),
            theirs=tuple(r.actions[1 - player] for r in rounds),
            payoffs=tuple(r.payoffs[player] for r in rounds),
            facts=facts,
        )

    @abstractmethod
    def rules(self) -> str:
        """The system message: the rules and the form of the answer."""

    @abstractmethod
    def situation(self, view: View) -> str:
        """The user message: the current state and the visible history, in words."""

    @abstractmethod
    def collusion(self, rounds: Sequence[Round]) -> list[float]:
        """Per round, player 0's collusive act as 0 or 1; c is its mean over rounds."""

    @abstractmethod
    def externality(self, rounds: Sequence[Round]) -> list[float]:
        """Per round, the externality cost in [0, 1]; x is its mean over rounds."""

    def spell(self, action: Action) -> str:
        """The text of an action, as it stands on the last line of an answer."""
        return str(action)

    def parse(self, reply: str, legal: Sequence[Action]) -> Action | None:
        """The legal action that stands alone on the last non-empty line of `reply`, or None.

        Case, surrounding quotes, asterisks, back-ticks and one final full stop are forgiven; nothing else:
        an illegal action, two actions on the line, or any further word gives None.
        """
        lines = [line.strip() for line in reply.splitlines() if line.strip()]
        if not lines:
            return None
        last = re.sub(r"\s+", " ", lines[-1].strip("*`\"' ").removesuffix(".").strip("*`\"' ")).casefold()
        return self._spelled(tuple(legal)).get(last)

    @functools.lru_cache(maxsize=1024)  # noqa: B019 (games live as long as the process)
    def _spelled(self, legal: tuple[Action, ...]) -> dict[str, Action]:
        """The legal actions by their text; those that share a text are left out."""
        texts = [self.spell(action).casefold() for action in legal]
        return {text: action for text, action in zip(texts, legal, strict=True) if texts.count(text) == 1}

    def messages(self, view: View) -> list[dict[str, str]]:
        """The chat prompt of one decision."""
        return [
            {"role": "system", "content": self.rules()},
            {"role": "user", "content": self.situation(view)},
        ]

    def pool(self, pools: str, pool: str) -> Mapping[str, Opponent]:
        """The opponents of one pool of one pool set. Raises ValueError naming the valid choices."""
        if pools not in self.pools:
            raise ValueError(f"{self.name} has no pool set '{pools}'; choose one of {sorted(self.pools)}.")
        if pool not in self.pools[pools]:
            raise ValueError(f"'{pool}' is no pool; choose one of {list(self.pools[pools])}.")
        return self.pools[pools][pool]
