"""A game as a PettingZoo environment (AEC) in which both seats are open, for self-play and for two learners.

from sepo_lib.environments.pettingzoo_env import GameEnv

env = GameEnv("kuhn")
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from pettingzoo import AECEnv

from sepo_lib import games
from sepo_lib.config.errors import InputError
from sepo_lib.environments.gymnasium_env import Numbers
from sepo_lib.environments.session import Table, measures
from sepo_lib.games.base import Action
from sepo_lib.method import seeds

AGENTS = ["player_0", "player_1"]  #: `player_0` has the seat of the kit's policies, `player_1` of opponents


class GameEnv(AECEnv):
    """Two agents play `game`; observations and actions are numbers (`gymnasium_env.Numbers`).

    An observation has the number of the information set (`observation`) and the `action_mask`. Where both act
    at once, they are asked one after the other, and neither sees the other's action before the round is over.
    The rewards are both players' points, paid when an agent acts again, or at the end. An action that is not
    legal raises InputError. `reset(seed=s)` begins the first episode of the seed s, and `reset()` the next.
    """

    metadata = {"name": "sepo_game_v0", "render_modes": ["ansi"], "is_parallelizable": False}  # noqa: RUF012

    def __init__(self, game: str, render_mode: str | None = None):
        super().__init__()
        self.game, self.render_mode = games.get(game), render_mode
        self._numbers = Numbers(self.game)
        self.possible_agents = list(AGENTS)
        seen = {"observation": spaces.Discrete(self._numbers.observations)}
        seen["action_mask"] = spaces.MultiBinary(self._numbers.actions)
        self._seen = {agent: spaces.Dict(seen) for agent in AGENTS}
        self._actions = {agent: spaces.Discrete(self._numbers.actions) for agent in AGENTS}
        self._seed, self._next = None, 0

    def observation_space(self, agent: str) -> spaces.Space:
        """The space of an agent's observations."""
        return self._seen[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """The space of an agent's actions."""
        return self._actions[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin the next episode, or with `seed` the first one of this seed; there are no `options`."""
        if seed is not None or self._seed is None:
            self._seed, self._next = seeding.np_random(seed)[1], 0
        path = (self.game.name, "open seats", self._next)
        self.table = Table(self.game, self._seed, seeds.derive(self._seed, "chance", *path))
        self._next += 1
        self.agents = list(AGENTS)
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self._paid = dict.fromkeys(AGENTS, 0.0)
        self.terminations = dict.fromkeys(AGENTS, False)
        self.truncations = dict.fromkeys(AGENTS, False)
        self.infos = {agent: {} for agent in AGENTS}
        self._chosen: dict[int, Action] = {}
        nothing = {"observation": np.int64(0), "action_mask": np.zeros(self._numbers.actions, np.int8)}
        self._latest = dict.fromkeys(AGENTS, nothing)
        self._select()

    def observe(self, agent: str) -> dict[str, Any]:
        """What the agent saw when it was last to act; before that, zeros."""
        return self._latest[agent]

    def step(self, action: int | None) -> None:
        """Play one action of the agent that is to act; None once the episode is over."""
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        seat = AGENTS.index(agent)
        found = self._numbers.legal(self.table.views[seat], action)
        if not found:
            raise InputError(f"Action {action} is not legal now; choose one with a 1 in the action mask.")
        self._cumulative_rewards[agent] = 0.0
        self._chosen[seat] = found[0]
        if len(self._chosen) == len(self.table.views):
            self.table.act(self._chosen)
            self._chosen = {}
        for seat, one in enumerate(AGENTS):
            due = sum(self.table.payoffs(seat))
            self.rewards[one], self._paid[one] = due - self._paid[one], due
        self._accumulate_rewards()
        self._select()

    def render(self) -> str:
        """What the agent that is to act reads."""
        return self.game.situation(self.table.views[AGENTS.index(self.agent_selection)])

    def close(self) -> None:
        """There is nothing to close."""

    def _select(self) -> None:
        """Choose the agent that is to act, and note what it sees; or end the episode."""
        if self.table.over:
            self.terminations = dict.fromkeys(AGENTS, True)
            measured = measures(self.game, self.table.rounds)
            self.infos["player_0"] = measured
            self.infos["player_1"] = {
                "payoff": measured["payoff"] + measured["margin"],
                "margin": -measured["margin"],
            }
            return
        seat = next(seat for seat in sorted(self.table.views) if seat not in self._chosen)
        view, self.agent_selection = self.table.views[seat], AGENTS[seat]
        self._latest[AGENTS[seat]] = {
            "observation": np.int64(self._numbers.observe(view)),
            "action_mask": self._numbers.mask(view),
        }
