"""Playing many episodes in lock-step: one batched call of the policy per tick.

An episode is one generator of `Game.parts`, or several side by side where its rounds do not depend on each
other; a tick answers every open decision of every running episode at once. Every decision draws from its own
seed, so a batch plays the same episodes as one at a time.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sepo_lib import games
from sepo_lib.games.base import Act, Action, Game, Opponent, Play, Round
from sepo_lib.method import seeds
from sepo_lib.method.records import Decision, Episode
from sepo_lib.play.policy import Answer, Policy, Query


@dataclass(frozen=True)
class Plan:
    """One episode to be played: whom against, and its seeds. `chance_seed` sets the chance moves."""

    game: str
    pools: str
    pool: str
    opponent: str
    rollout: int
    seed: int
    chance_seed: int


#: Opponents that stand in the place of a whole pool: pool -> name -> opponent.
Instead = Mapping[str, Mapping[str, Opponent]]


def plan(
    game: Game,
    pools: str,
    counts: Mapping[str, int],
    seed: int,
    instead: Instead | None = None,
) -> list[Plan]:
    """Episodes against every opponent of the pools in `counts` (pool -> episodes per opponent).

    Every episode has chance moves of its own. Where `instead` has a pool, its opponents are met in the place
    of that pool's; `play` needs it too.
    """
    plans = []
    for pool, count in counts.items():
        for opponent in (instead or {}).get(pool) or game.pool(pools, pool):
            for rollout in range(count):
                path = (game.name, pools, pool, opponent)
                chance = seeds.derive(seed, "chance", *path, rollout)
                episode = seeds.derive(seed, "episode", *path, rollout)
                plans.append(Plan(game.name, pools, pool, opponent, rollout, episode, chance))
    return plans


class _Part:
    """One part of an episode under way: advances its generator until player 0 has to act, or it is over.

    `path` is what stands in the part's seeds: its number, where there are several.
    """

    def __init__(self, generator: Play, act: Act, path: tuple[int, ...]):
        self._generator, self._act, self.path = generator, act, path
        self.asked = 0
        self.rounds: list[Round] | None = None
        self.advance(None)

    def advance(self, actions: dict[int, Action] | None) -> None:
        """Go on, from `actions` where any were asked for, to the next decision of player 0 or to the end."""
        try:
            views = self._generator.send(actions)
            while 0 not in views:
                views = self._generator.send({1: self._act(views[1])})
            self.views = views
        except StopIteration as end:
            self.rounds = end.value

    def take(self, action: Action) -> None:
        """Player 0's action at the open decision."""
        actions = {0: action}
        if 1 in self.views:
            actions[1] = self._act(self.views[1])
        self.asked += 1
        self.advance(actions)


class Running:
    """One episode under way. What of it may be played side by side is, or, with `in_turn`, one part after
    the other: the episode is the same, and its views then hold the rounds before.

    `opponent` plays in the place of the pool's opponent that the plan names.
    """

    def __init__(self, plan: Plan, opponent: Opponent | None = None, in_turn: bool = False):
        self.plan, self.game, self.in_turn = plan, games.get(plan.game), in_turn
        self.decisions: list[Decision] = []
        self._opponent = opponent or self.game.pool(plan.pools, plan.pool)[plan.opponent]
        self._parts: list[_Part] = []
        parts = self.game.parts(seeds.generator(plan.chance_seed, "chance"))
        self._waiting = [((n,) if len(parts) > 1 else (), part) for n, part in enumerate(parts)]
        self._start()

    def _start(self) -> None:
        """Start the parts whose turn it is."""
        while self._waiting and not (self.in_turn and self._open()):
            path, part = self._waiting.pop(0)
            act = self._opponent(seeds.Later(self.plan.seed, "opponent", *path))
            self._parts.append(_Part(part(self.rounds if self.in_turn else []), act, path))

    def _open(self) -> list[_Part]:
        return [part for part in self._parts if part.rounds is None]

    @property
    def rounds(self) -> list[Round] | None:
        """All rounds, or None while the episode is not over."""
        return None if self._open() else [r for part in self._parts for r in part.rounds]

    def queries(self) -> list[Query]:
        """The decisions that player 0 has to make now, one for each part that is under way."""
        return [
            Query(self.game, part.views[0], seeds.derive(self.plan.seed, "decision", *part.path, part.asked))
            for part in self._open()
        ]

    def take(self, queries: Sequence[Query], answers: Sequence[Answer]) -> None:
        """Play the answers to `queries`, which are those of `queries()`."""
        for part, query, answer in zip(self._open(), queries, answers, strict=True):
            self.decisions.append(
                Decision(
                    round=query.view.round,
                    prompt=answer.prompt,
                    text=answer.text,
                    action=answer.action,
                    parsed=answer.parsed,
                    seed=query.seed,
                    prompt_ids=answer.prompt_ids,
                    completion_ids=answer.completion_ids,
                    logps=answer.logps,
                    options=answer.options,
                )
            )
            part.take(answer.action)
        self._start()

    def episode(self) -> Episode:
        """The record of the episode, which must be over; its decisions in the order of the rounds."""
        p, rounds = self.plan, self.rounds
        return Episode(
            game=p.game,
            pools=p.pools,
            pool=p.pool,
            opponent=p.opponent,
            rollout=p.rollout,
            seed=p.seed,
            decisions=sorted(self.decisions, key=lambda decision: decision.round),
            rounds=rounds,
            collusion_T=self.game.collusion(rounds),
            externality_T=self.game.externality(rounds),
        )


def tick(policy: Policy, open_: Sequence[Running]) -> list[Answer]:
    """Ask `policy` for every open decision of the episodes at once, play its answers and return them."""
    asked = [running.queries() for running in open_]
    answers = policy.answer([query for queries in asked for query in queries])
    waiting = iter(answers)
    for running, queries in zip(open_, asked, strict=True):
        running.take(queries, list(itertools.islice(waiting, len(queries))))
    return answers


def play(policy: Policy, plans: Sequence[Plan], instead: Instead | None = None) -> list[Episode]:
    """Play all planned episodes in lock-step; the episodes come back in the order of the plans.

    `instead`: as in `plan`.
    """
    others = instead or {}
    running = [Running(plan, others.get(plan.pool, {}).get(plan.opponent)) for plan in plans]
    while open_ := [r for r in running if r.rounds is None]:
        tick(policy, open_)
    return [r.episode() for r in running]


def first_decision(policy, game: games.Game, pools: str) -> tuple[dict[str, str], Answer]:
    """What the policy is asked first in `game` ({"rules", "user"} texts) and what it answers."""
    opponent = next(iter(game.pool(pools, "train")))
    running = Running(Plan(game.name, pools, "train", opponent, 0, 0, 0))
    query = running.queries()[0]
    rules, user = (message["content"] for message in game.messages(query.view))
    return {"rules": rules, "user": user}, policy.answer([query])[0]
