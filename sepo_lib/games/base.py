"""What every game is made of, and the loop that plays it.

A new game is one file that defines one subclass of `Game` and registers it. A game holds its rules, prompts,
parser, opponents, demonstration strategies and two rates. It knows nothing of models or tensors. Player 0 is
the policy under study, player 1 its opponent.
"""

import functools
from abc import abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sepo_lib import answers
from sepo_lib.games.players import Act as Act
from sepo_lib.games.players import Action, Mixture, Opponent, Rng, View, naive_choice

#: The pools that the terms of J are measured on; the policy is trained on them.
OBJECTIVE_POOLS = ("train", "exploiter", "collusive")
#: All pools. The opponents of the last one are held out from training and from demonstrations.
POOLS = (*OBJECTIVE_POOLS, "shift")
#: trait -> what it says of a game. Code that needs a trait asks for it (`games.having`), never for a name.
TRAITS = {
    "zero_sum": "the payoffs of the two players sum to 0 in every round",
    "negotiation": "a round ends in an agreement or a breakdown",
    "multi_issue": "a negotiation over several items with private values",
    "enumerable": "J and its gradient can be enumerated for a tabular policy (`Game.enumeration`)",
    "nashconv": "all information sets of both seats are listed, for NashConv (`Game.information_sets`)",
}
InformationSet = Hashable


@dataclass(frozen=True)
class Round:
    """One finished round: `actions` and `payoffs` (points) of (policy, opponent), and further facts."""

    actions: tuple[Action, Action]
    payoffs: tuple[float, float]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Weights:
    """The weights of the three penalties in J, dimensionless (docs/method.md, "Objective")."""

    exploit: float
    collusion: float
    externality: float


Play = Generator[dict[int, View], Any, list[Round]]  # yields {player: View}, is sent {player: action}
Part = Callable[[Sequence[Round]], Play]


class Branch(NamedTuple):
    """One way in which a round can go."""

    probability: float  # of the chance moves and the opponent's actions, without the policy's
    decisions: tuple[tuple[InformationSet, Action], ...]  # the policy's
    round: Round


@dataclass(frozen=True)
class Enumeration:
    """How a game is enumerated for a tabular policy, which looks at one information set at a time."""

    legal: Mapping[InformationSet, tuple[Action, ...]]  #: the legal actions of every information set
    observe: Callable[[View], InformationSet]  #: the information set of a view
    #: All ways in which the next round against an opponent can go, after the finished rounds.
    branches: "Callable[[Game, Opponent, Sequence[Round]], Iterator[Branch]]"
    memory: Callable[[Sequence[Round]], Hashable]  #: what later rounds depend on in the finished ones
    #: Two reference policies of the estimators study: an information set -> an action, or a list with the
    #: probability of every legal action.
    cooperative: Callable[[Any], Action | list[float]]
    equilibrium: Callable[[Any], Action | list[float]]
    #: Probabilities of the first of two actions that the headroom study combines; if empty, pure actions.
    grid: tuple[float, ...] = ()


class Game:
    """The rules of one game. A subclass sets the attributes and defines the abstract methods."""

    # The class is no `abc.ABC`, so that `games.register` can name what a subclass lacks in one sentence.
    name: str  #: the word for the game in commands, tables and file names
    title: str
    short_title: str  #: a shorter title, for the panels of figures
    rounds: int  #: of an episode
    round_word: str = "round"  #: what a person at the table calls a round
    revealed: str = ""  #: the private fact that a person is told of both players when a round is over
    max_payoff: float  #: the payoff (points per round) that counts as 3 scaled points; see `scale`
    train_weights: Weights
    evaluation_weights: Weights
    #: Pool set (`paper`, and `conflict` if the game has one) -> pool (see POOLS) -> name -> opponent. Equal
    #: names in two pools are one opponent.
    pools: Mapping[str, Mapping[str, Mapping[str, Opponent]]]
    #: Strategies of the demonstrations for supervised fine-tuning, with their shares of the episodes.
    experts: Mixture
    #: Exploitable strategies of the demonstrations for pre-training, with their shares of the episodes.
    naive: Mixture = {"naive": (1.0, naive_choice)}  # noqa: RUF012 (nothing changes it)
    pretraining_share: int = 1  #: multiplies the number of examples in pre-training
    kinds: frozenset[str] = frozenset()  #: the traits that no other attribute implies (see TRAITS)
    #: How to enumerate J, or None; then the studies that enumerate leave the game out.
    enumeration: Enumeration | None = None
    #: OpenSpiel's string of every information set and the view with that prompt, or None; then the
    #: measurements of NashConv leave the game out.
    information_sets: Sequence[tuple[str, View]] | None = None
    memoryless: bool = False  #: whether nothing in a round can change a later one
    seats: int = 1  #: the seats that the policy takes in turn: in round t it has seat t % seats
    observed: str = "last actions (own, other)"  #: what `observe` looks at, in words

    @property
    def scale(self) -> float:
        """s = 3 / max_payoff, which puts the payoffs of all games on one scale."""
        return 3.0 / self.max_payoff

    @property
    def traits(self) -> frozenset[str]:
        """The traits of the game (see TRAITS): its `kinds`, and those that its other attributes imply."""
        implied = {"enumerable": self.enumeration, "nashconv": self.information_sets}
        return self.kinds | {trait for trait, value in implied.items() if value is not None}

    @abstractmethod
    def play(self, rng: Rng) -> Play:
        """One episode, as a generator.

        It yields {player: View} of the players that have to act, is sent {player: action}, and returns the
        list of finished rounds. All chance moves are drawn from `rng`.
        """

    def parts(self, rng: Rng) -> list[Part]:
        """The parts of an episode that can be played side by side, with their chance moves drawn from `rng`.

        A part is a function. It takes the rounds of the parts before it and returns a generator like `play`.
        It may show these rounds to the players, but its rules must not depend on them. The rounds of all
        parts in order are those of `play`. Only a memoryless game has more than one part.
        """
        return [lambda finished: self.play(rng)]

    def simultaneous(
        self, legal: tuple[Action, ...], finish: Callable[[Any], Round], facts: Sequence[Mapping] = ({}, {})
    ) -> Play:
        """An episode (see `play`) in which both players choose one of the `legal` actions at once.

        `finish` makes the round of both actions. `facts` are the facts that player 0 and player 1 see.
        """
        rounds: list[Round] = []
        while len(rounds) < self.rounds:
            sent = yield {player: self.view(rounds, player, legal, **facts[player]) for player in (0, 1)}
            rounds.append(finish((sent[0], sent[1])))
        return rounds

    def view(self, rounds: Sequence[Round], player: int, legal: tuple[Action, ...], **facts: Any) -> View:
        """What `player` sees before the next round: the finished `rounds` and the `facts` it may know."""
        mine, theirs = (tuple(r.actions[p] for r in rounds) for p in (player, 1 - player))
        payoffs = tuple(r.payoffs[player] for r in rounds)
        return View(len(rounds), self.rounds, legal, mine, theirs, payoffs, facts)

    @abstractmethod
    def rules(self) -> str:
        """The system message: the rules and the form of the answer."""

    @abstractmethod
    def situation(self, view: View) -> str:
        """The user message: the current state and the visible history, in words."""

    @abstractmethod
    def collusion(self, rounds: Sequence[Round]) -> list[float]:
        """Whether player 0 acted collusively, per round as 0 or 1; c is the mean over rounds."""

    @abstractmethod
    def externality(self, rounds: Sequence[Round]) -> list[float]:
        """The externality cost per round, in [0, 1]; x is the mean over rounds."""

    def observe(self, view: View) -> InformationSet:
        """The situation of a decision: what the enumeration looks at, else both players' last actions."""
        return self.enumeration.observe(view) if self.enumeration else (*view.mine[-1:], *view.theirs[-1:])

    def quantities(self, view: View, action: Action) -> dict[str, float]:
        """A decision in numbers by name, for means: 1 for the chosen word and 0 for each other legal one."""
        return {self.spell(word): float(word == action) for word in view.legal}

    def spell(self, action: Action) -> str:
        """The text of an action on the last line of an answer."""
        return str(action)

    def parse(self, reply: str, legal: Sequence[Action]) -> Action | None:
        """The legal action that `reply` names, else None.

        It must stand alone on the last line, perhaps in a wrapping ("**X**", "Action: X"), below the end of a
        sentence. The rule is in `sepo_lib.answers` and in docs/method.md, "How an answer is read".
        """
        return answers.read(reply, self._spelled(tuple(legal)))

    def history(self, view: View, outcomes: Sequence[str] = ()) -> str:
        """The finished rounds in words: both actions of each and, if `outcomes` are passed, its outcome."""
        columns = [map(self.spell, view.mine), map(self.spell, view.theirs), *filter(None, [outcomes])]
        past = "; ".join(" ".join(words) for words in zip(*columns, strict=True))
        return f"History (you, other): {past or 'none'}."

    def messages(self, view: View) -> list[dict[str, str]]:
        """The chat prompt of one decision."""
        texts = {"system": self.rules(), "user": self.situation(view)}
        return [{"role": role, "content": text} for role, text in texts.items()]

    def pool(self, pools: str, pool: str) -> Mapping[str, Opponent]:
        """The opponents of one pool of one pool set. Raises ValueError naming the valid choices."""
        if pools not in self.pools:
            raise ValueError(f"{self.name} has no pool set '{pools}'; choose one of {sorted(self.pools)}.")
        if pool not in self.pools[pools]:
            raise ValueError(f"'{pool}' is no pool; choose one of {list(self.pools[pools])}.")
        return self.pools[pools][pool]

    @functools.lru_cache(maxsize=1024)  # noqa: B019 (games live as long as the process)
    def _spelled(self, legal: tuple[Action, ...]) -> dict[str, Action]:
        """The legal actions by their text, without those that share a text."""
        texts = [answers.folded(self.spell(action)) for action in legal]
        return {text: action for text, action in zip(texts, legal, strict=True) if texts.count(text) == 1}


class GameLoop:
    """A game under way, from the generator of `Game.play` or of one of `Game.parts`."""

    def __init__(self, play: Play):
        self._play = play
        self.views: Mapping[int, View] = {}  # of the players who act now; empty when the game is over
        self.rounds: list[Round] | None = None  # None until the game is over
        self.advance(None)

    def advance(self, actions: dict[int, Action] | None) -> None:
        """Play one action for each player of `views`; None starts the game. ValueError if one is illegal."""
        for player, action in (actions or {}).items():
            if action not in (legal := self.views[player].legal):
                raise ValueError(f"Illegal action: player {player} chose {action!r} out of {legal}.")
        try:
            self.views = next(self._play) if actions is None else self._play.send(actions)
        except StopIteration as end:
            self.views, self.rounds = {}, end.value


def play_out(play: Play, players: Mapping[int, Act]) -> list[Round]:
    """Play a game to its end and return its rounds; `players` maps seat 0 and seat 1 to their functions.

    Players who act at once are asked in the order of `players`. Raises ValueError for an illegal action.
    """
    loop = GameLoop(play)
    while loop.rounds is None:
        loop.advance({p: act(loop.views[p]) for p, act in players.items() if p in loop.views})
    return loop.rounds
