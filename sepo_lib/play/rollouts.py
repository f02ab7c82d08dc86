"""Play many episodes in lock-step: one batched call of the policy per tick.

A tick asks for every open decision of every running episode at once:

    Running.queries   the open decisions, each with the view of player 0 and a seed of its own
    Policy.answer     prompts, sampled answers, actions
    Running.take      plays the actions up to the next decision of player 0, or to the end
    Running.episode   the record of a finished episode

Because every decision has its own seed, a batch plays the same episodes as one episode at a time.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sepo_lib import games
from sepo_lib.games.base import Act, Action, Game, GameLoop, Opponent, Play, Round
from sepo_lib.method import seeds
from sepo_lib.method.records import Decision, Episode
from sepo_lib.play.engines import distributed
from sepo_lib.play.policy import Answer, Policy, Query

#: Opponents that replace those of a whole pool: pool -> name -> opponent.
Replacements = Mapping[str, Mapping[str, Opponent]]


@dataclass(frozen=True)
class Plan:
    """One episode to play: its opponent and its seeds. `chance_seed` fixes the chance moves."""

    game: str
    pools: str
    pool: str
    opponent: str
    rollout: int
    seed: int
    chance_seed: int


def plan(
    game: Game, pools: str, counts: Mapping[str, int], seed: int, replacements: Replacements | None = None
) -> list[Plan]:
    """Episodes against every opponent of the pools in `counts` (pool -> episodes per opponent).

    Every episode has its own chance moves. Pools in `replacements` are replaced; pass it to `play` too.
    """
    plans = []
    for pool, count in counts.items():
        for opponent in (replacements or {}).get(pool) or game.pool(pools, pool):
            for rollout in range(count):
                path = (game.name, pools, pool, opponent, rollout)
                derived = (seeds.derive(seed, kind, *path) for kind in ("episode", "chance"))
                plans.append(Plan(*path, *derived))
    return plans


def play(policy: Policy, plans: Sequence[Plan], replacements: Replacements | None = None) -> list[Episode]:
    """Play all planned episodes in lock-step; `replacements` as in `plan`. One episode per plan, in order."""
    others = replacements or {}
    running = [Running(plan, others.get(plan.pool, {}).get(plan.opponent)) for plan in plans]
    while open_ := [r for r in running if r.rounds is None]:
        tick(policy, open_)
    return [r.episode() for r in running]


def play_distributed(
    policy: Policy, plans: Sequence[Plan], replacements: Replacements | None = None
) -> list[Episode]:
    """`play`, divided among all processes: all must call it with the same arguments, and get all episodes."""
    return distributed.map_shares(lambda share: play(policy, share, replacements), plans)


def tick(policy: Policy, open_: Sequence["Running"]) -> list[Answer]:
    """Answer every open decision of the episodes with one call of `policy`; play and return the answers."""
    asked = [running.queries() for running in open_]
    answers = policy.answer([query for queries in asked for query in queries])
    waiting = iter(answers)
    for running, queries in zip(open_, asked, strict=True):
        running.take(queries, list(itertools.islice(waiting, len(queries))))
    return answers


class Running:
    """One episode under way; `opponent` replaces the pool's opponent that the plan names.

    The parts of an episode (`Game.parts`) are played side by side, so it may have several open decisions.
    With `in_turn` they are played one after the other, and views show the earlier rounds too.
    """

    def __init__(self, plan: Plan, opponent: Opponent | None = None, in_turn: bool = False):
        self.plan, self.game, self.in_turn = plan, games.get(plan.game), in_turn
        self.decisions: list[Decision] = []
        self._opponent = opponent or self.game.pool(plan.pools, plan.pool)[plan.opponent]
        self._parts: list[_Part] = []
        parts = self.game.parts(seeds.generator(plan.chance_seed, "chance"))
        self._waiting = [((n,) if len(parts) > 1 else (), part) for n, part in enumerate(parts)]
        self._start()

    @property
    def rounds(self) -> list[Round] | None:
        """All rounds, or None while the episode is not over."""
        return None if self._open() else [r for part in self._parts for r in part.rounds]

    def queries(self) -> list[Query]:
        """The open decisions of player 0, one for each part that is under way."""
        seed = functools.partial(seeds.derive, self.plan.seed, "decision")
        return [Query(self.game, part.views[0], seed(*part.suffix, part.asked)) for part in self._open()]

    def take(self, queries: Sequence[Query], answers: Sequence[Answer]) -> None:
        """Record and play the answers to `queries`, the result of the last call of `queries()`."""
        for part, query, answer in zip(self._open(), queries, answers, strict=True):
            self.decisions.append(Decision(round=query.view.round, seed=query.seed, **vars(answer)))
            part.take(answer.action)
        self._start()

    def episode(self) -> Episode:
        """The record of the episode, which must be over; its decisions are in the order of the rounds."""
        p, rounds = self.plan, self.rounds
        decisions = sorted(self.decisions, key=lambda decision: decision.round)
        rates = self.game.collusion(rounds), self.game.externality(rounds)
        for rate_T in rates:
            if len(rate_T) != len(rounds) or not all(0 <= rate <= 1 for rate in rate_T):
                raise ValueError(f"{p.game}: c and x need one number in [0, 1] per round, not {rate_T}.")
        return Episode(p.game, p.pools, p.pool, p.opponent, p.rollout, p.seed, decisions, rounds, *rates)

    def _start(self) -> None:
        """Start the waiting parts: all of them, or with `in_turn` the next one once no part is open."""
        while self._waiting and not (self.in_turn and self._open()):
            suffix, part = self._waiting.pop(0)
            act = self._opponent(seeds.Later(self.plan.seed, "opponent", *suffix))
            self._parts.append(_Part(part(self.rounds if self.in_turn else []), act, suffix))

    def _open(self) -> list["_Part"]:
        return [part for part in self._parts if part.rounds is None]


class _Part(GameLoop):
    """One part of an episode, in which `act` plays for player 1: it stops at the decisions of player 0.

    `suffix` is the suffix of the part's seed paths: its number, or nothing in an episode of one part. `asked`
    counts the decisions that player 0 has made.
    """

    def __init__(self, play: Play, act: Act, suffix: tuple[int, ...]):
        self._act, self.suffix, self.asked = act, suffix, 0
        super().__init__(play)

    def advance(self, actions: dict[int, Action] | None) -> None:
        """Play `actions`, and then player 1 until it is player 0's turn or the game is over."""
        super().advance(actions)
        while self.rounds is None and 0 not in self.views:
            super().advance({1: self._act(self.views[1])})

    def take(self, action: Action) -> None:
        """Play player 0's action at the open decision."""
        reply = {1: self._act(self.views[1])} if 1 in self.views else {}
        self.asked += 1
        self.advance({0: action, **reply})
