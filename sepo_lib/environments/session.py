"""One episode that is played from outside, decision by decision: what every adapter of this package steps.

    Setup      which episode: game, opponent and seeds
    Table      a game under way; a scripted opponent plays seat 1, or both seats are played from outside
    Session    the episode of one player, with its rewards and measures

Chance moves and opponents draw from the same seeds as in the kit's own play. So the same setup and the same
actions give the same episode as `sepo_lib.play.rollouts`. Neither torch nor a framework is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sepo_lib import games
from sepo_lib.config.errors import InputError
from sepo_lib.games.base import OBJECTIVE_POOLS, Action, Game, GameLoop, Opponent, Round, View
from sepo_lib.method import seeds
from sepo_lib.method.objective import objective
from sepo_lib.method.records import Decision, Episode

#: The rewards of an episode: name -> meaning.
REWARDS = {
    "payoff": "the player's own points, paid when a round is over",
    "objective": "the episode's term of J with the training weights (`term`), paid when the episode is over",
}


@dataclass(frozen=True)
class Setup:
    """Which episode. Equal setups have the same chance moves and the same random numbers of the opponent."""

    game: str
    pools: str = "paper"
    pool: str = "train"
    opponent: str = ""
    rollout: int = 0
    seed: int = 0


def setups(game: str, counts: Mapping[str, int], pools: str = "paper", seed: int = 0) -> list[Setup]:
    """The episodes against every opponent of the pools in `counts` (pool -> episodes per opponent).

    They are those of `sepo_lib.play.rollouts.plan`, in the same order.
    """
    return [
        Setup(game, pools, pool, opponent, rollout, seed)
        for pool, count in counts.items()
        for opponent in games.get(game).pool(pools, pool)
        for rollout in range(count)
    ]


class Table:
    """A game under way. `opponent` plays seat 1; without one, both seats are played from outside.

    The parts of an episode (`Game.parts`) are played one after the other.
    """

    def __init__(self, game: Game, seed: int, chance_seed: int, opponent: Opponent | None = None):
        self.game = game
        self.rounds: list[Round] = []  # of the finished parts
        self._seed, self._opponent = seed, opponent
        parts = game.parts(seeds.generator(chance_seed, "chance"))
        self._waiting = [((n,) if len(parts) > 1 else (), part) for n, part in enumerate(parts)]
        self._loop: GameLoop | None = None
        self._continue()

    @property
    def over(self) -> bool:
        """Whether the episode is over."""
        return self._loop is None

    @property
    def views(self) -> dict[int, View]:
        """Seat -> view of the seats that have to act and are played from outside."""
        views = {} if self._loop is None else self._loop.views
        return {seat: view for seat, view in views.items() if seat == 0 or self._opponent is None}

    def act(self, actions: Mapping[int, Action]) -> None:
        """Play one action for each seat of `views`. Raises ValueError if one is illegal."""
        self._loop.advance({**actions, **self._replies()})
        self._continue()

    def payoffs(self, seat: int) -> list[float]:
        """The points of `seat` in the finished rounds that are known: when it acts, and at the end, all."""
        seen = list(self.views[seat].payoffs) if seat in self.views else []
        return max(seen, [one.payoffs[seat] for one in self.rounds], key=len)

    def _replies(self) -> dict[int, Action]:
        scripted = self._opponent is not None and 1 in self._loop.views
        return {1: self._act(self._loop.views[1])} if scripted else {}

    def _continue(self) -> None:
        """Play the opponent, and begin the next parts, until a seat is to act from outside or all is over."""
        while not self.views:
            if self._loop is not None and self._loop.rounds is None:
                self._loop.advance(self._replies())
                continue
            if self._loop is not None:
                self.rounds += self._loop.rounds
            if not self._waiting:
                self._loop = None
                return
            suffix, part = self._waiting.pop(0)
            if self._opponent is not None:
                self._act = self._opponent(seeds.Later(self._seed, "opponent", *suffix))
            self._loop = GameLoop(part(list(self.rounds)))


class Session:
    """The episode of a player in seat 0 against the opponent of `setup`.

    `reward` is one of REWARDS. Raises ValueError with the choices for a wrong game, pool, opponent or reward.
    """

    def __init__(self, setup: Setup, reward: str = "payoff"):
        self.setup, self.game = setup, games.get(setup.game)
        pool = self.game.pool(setup.pools, setup.pool)
        if setup.opponent not in pool:
            raise InputError(
                f"The {setup.pool} pool of {setup.game} has no opponent '{setup.opponent}'; choose from "
                f"{', '.join(pool)}."
            )
        if reward not in REWARDS:
            raise InputError(f"There is no reward '{reward}'; choose from {', '.join(REWARDS)}.")
        if reward == "objective" and setup.pool not in OBJECTIVE_POOLS:
            raise InputError(
                f"J has no term for the {setup.pool} pool; choose the reward 'payoff', or a pool of "
                f"{', '.join(OBJECTIVE_POOLS)}."
            )
        self._reward = reward
        path = (setup.game, setup.pools, setup.pool, setup.opponent, setup.rollout)
        self._seed, chance = (seeds.derive(setup.seed, kind, *path) for kind in ("episode", "chance"))
        self._table = Table(self.game, self._seed, chance, pool[setup.opponent])
        self._decisions: list[Decision] = []
        self.forfeited = 0  #: rounds that were not played because the player left
        self.total = 0.0  #: the rewards so far

    @property
    def over(self) -> bool:
        """Whether the episode is over."""
        return self._table.over or self.forfeited > 0

    @property
    def view(self) -> View:
        """What the player sees when it has to act. Raises InputError if the episode is over."""
        if self.over:
            raise InputError("This episode is over; begin another one.")
        return self._table.views[0]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The kit's prompt of the open decision: the rules (system) and the situation (user)."""
        return self.game.messages(self.view)

    @property
    def situation(self) -> str:
        """The user message of the kit's prompt; once the episode is over, the result in a sentence."""
        if not self.over:
            return self.game.situation(self.view)
        done = f"You left the game with {self.forfeited} of" if self.forfeited else "The game is over after"
        rounds = f"{self.game.rounds} {self.game.round_word}s"
        left = " to play" if self.forfeited else ""
        return f"{done} {rounds}{left}. Your points: {self._points():g}."

    def act(self, action: Action, text: str = "") -> float:
        """Play a legal action, which `text` named, and return the reward since the last decision.

        Raises ValueError if the action is illegal, and InputError if the episode is over.
        """
        seen = self.view
        self._table.act({0: action})
        self._decisions.append(Decision(seen.round, "", text, action, True, self._seed))
        return self._pay()

    def answer(self, text: str) -> float:
        """Play the action that `text` names by the kit's rule of reading; if it names none, `forfeit`."""
        action = self.game.parse(text, self.view.legal)
        return self.forfeit() if action is None else self.act(action, text)

    def forfeit(self) -> float:
        """Leave the game: each round that is not over pays `-max_payoff` points. Returns the reward."""
        self.forfeited = self.game.rounds - len(self.view.payoffs)
        return self._pay()

    def episode(self) -> Episode:
        """The kit's record of the episode, for `sepo_lib.measure.measures.measure`.

        Raises InputError if the episode is not over, or if it was left: then it has no such record.
        """
        if not self._table.over:
            raise InputError("This episode was not played to its end, so it has no record.")
        known, rounds = self.setup, self._table.rounds
        rates = self.game.collusion(rounds), self.game.externality(rounds)
        path = (known.game, known.pools, known.pool, known.opponent, known.rollout)
        return Episode(*path, self._seed, self._decisions, rounds, *rates)

    def measures(self) -> dict[str, float]:
        """What an episode that is over adds to the measures of the kit.

        `payoff` (own points per round), `forfeited` (rounds), and for an episode that was played to its end
        `margin` (the opponent's points per round minus the own ones), `collusion` and `externality` (rates).
        """
        if self.forfeited:
            return {"payoff": self._points() / self.game.rounds, "forfeited": float(self.forfeited)}
        return measures(self.game, self._table.rounds) | {"forfeited": 0.0}

    def info(self) -> dict[str, Any]:
        """The fields of the setup, and once the episode is over its `measures`."""
        return asdict(self.setup) | (self.measures() if self.over else {})

    def _points(self) -> float:
        return float(sum(self._table.payoffs(0))) - self.forfeited * self.game.max_payoff

    def _pay(self) -> float:
        """The reward that was not paid yet."""
        if self._reward == "payoff":
            due = self._points()
        elif not self.over:
            due = 0.0
        elif self.forfeited:  # as if the opponent had won everything in every round, and did the most harm
            best = self.game.max_payoff
            due = term(
                self.game,
                self.setup,
                {"payoff": -best, "margin": 2 * best, "collusion": 1.0, "externality": 1.0},
            )
        else:
            due = term(self.game, self.setup, self.measures())
        paid, self.total = due - self.total, due
        return paid


def measures(game: Game, rounds: Sequence[Round]) -> dict[str, float]:
    """`payoff`, `margin` (points per round), `collusion`, `externality` (rates) of player 0 in an episode."""
    own, other = np.mean([one.payoffs for one in rounds], axis=0)
    return {
        "payoff": float(own),
        "margin": float(other - own),
        "collusion": float(np.mean(game.collusion(rounds))),
        "externality": float(np.mean(game.externality(rounds))),
    }


def term(game: Game, setup: Setup, measured: Mapping[str, float]) -> float:
    """What an episode with these `Session.measures` adds to J with the training weights (scaled points).

    A train episode adds its payoff and its externality, an exploiter episode its margin and its externality,
    a collusive one its collusion. The sum over the three pools of the mean over their opponents is J with the
    mean margin in the place of e. It equals J if no exploiter has a negative mean margin.
    """
    number = {pool: len(game.pool(setup.pools, pool)) for pool in ("train", "exploiter")}
    share = number.get(setup.pool, 0) / sum(number.values())  # x is one mean over both pools
    u, e, c = (
        measured[name] * (setup.pool == pool)
        for name, pool in (("payoff", "train"), ("margin", "exploiter"), ("collusion", "collusive"))
    )
    return float(objective(game, u, e, c, share * measured["externality"], game.train_weights))
