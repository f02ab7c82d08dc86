"""A game as a Gymnasium environment: a player against the opponents of one pool.

    import gymnasium
    import sepo_lib.environments.gymnasium_env

    env = gymnasium.make("sepo/Game-v0", game="ipd", opponent="tit_for_tat")

Observation and action are numbers (`Numbers`) or, with `text=True`, the texts of the kit's prompt.
"""

import string
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from sepo_lib import games
from sepo_lib.config.errors import InputError
from sepo_lib.environments.session import Session, Setup
from sepo_lib.games.base import Action, Game, View

#: The longest situation and answer, in characters.
LONGEST = 4000
CHARACTERS = string.printable + "–—…’“”"


class Numbers:
    """The views and actions of a game as numbers: those of the kit's tabular policies.

    An observation is the number of the information set in `game.enumeration.legal`. It holds what a tabular
    policy of the kit remembers: in the prisoner's dilemma, the actions of the last round. Action number a is
    the action with the index a in `view.legal`. Raises InputError for a game that cannot be enumerated.
    """

    def __init__(self, game: Game):
        if game.enumeration is None:
            able = ", ".join(other.name for other in games.having("enumerable"))
            raise InputError(
                f"The situations of {game.name} cannot be listed as numbers; choose the texts (text=True in "
                f"Gymnasium), or a game of {able}."
            )
        self._observe = game.enumeration.observe
        self._numbers = {seen: number for number, seen in enumerate(game.enumeration.legal)}
        self.observations = len(self._numbers)
        self.actions = max(map(len, game.enumeration.legal.values()))

    def observe(self, view: View) -> int:
        """The number of the information set."""
        return self._numbers[self._observe(view)]

    def mask(self, view: View) -> np.ndarray:
        """1 for the numbers of legal actions, else 0; shape (actions,)."""
        return (np.arange(self.actions) < len(view.legal)).astype(np.int8)

    def legal(self, view: View, number: int) -> tuple[Action, ...]:
        """The action of this number, or nothing if it is not legal now. InputError for a wrong number."""
        if not isinstance(number, int | np.integer) or not 0 <= number < self.actions:
            raise InputError(f"{number!r} is no action; choose a whole number from 0 to {self.actions - 1}.")
        return view.legal[number : number + 1]


class GameEnv(gymnasium.Env):
    """An episode of `game` against `opponent`; without a name, the opponents of the pool take turns.

    `reset(seed=s)` begins the first episode of the seed s, and `reset()` the next one. Episode n against a
    fixed opponent is episode n of `sepo_lib.play.rollouts.plan` with the seed s. `info` has the setup of the
    episode, for numbers the `action_mask`, and at the end the measures (`Session.measures`).

    A text that names no legal action, or the number of an action that is not legal now, ends the episode
    (`Session.forfeit`). Anything else raises InputError. The observation of an episode that is over is the
    result as text, or the last number.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 (Gymnasium asks for this attribute)

    def __init__(
        self,
        game: str,
        pools: str = "paper",
        pool: str = "train",
        opponent: str = "",
        reward: str = "payoff",
        text: bool = False,
        render_mode: str | None = None,
    ):
        self.render_mode, self._reward = render_mode, reward
        names = [opponent] if opponent else games.get(game).pool(pools, pool)
        self._setups = [Setup(game, pools, pool, name) for name in names]
        self._numbers = None if text else Numbers(games.get(game))
        if text:
            self.observation_space = spaces.Text(LONGEST, min_length=0, charset=CHARACTERS)
            self.action_space = spaces.Text(LONGEST, min_length=0, charset=CHARACTERS)
        else:
            self.observation_space = spaces.Discrete(self._numbers.observations)
            self.action_space = spaces.Discrete(self._numbers.actions)
        self.session = Session(self._setups[0], reward)  # here too: a wrong argument is an error at once
        self._next = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Begin the next episode, or with `seed` the first one of this seed; there are no `options`."""
        super().reset(seed=seed)
        self._next = 0 if seed is not None else self._next
        rollout, opponent = divmod(self._next, len(self._setups))
        setup = replace(self._setups[opponent], rollout=rollout, seed=self.np_random_seed)
        self.session, self._next = Session(setup, self._reward), self._next + 1
        return self._observation(), self._info()

    def step(self, action: int | str):
        """Play one action: (observation, reward, whether the episode is over, False, info)."""
        if self._numbers is not None:
            found = self._numbers.legal(self.session.view, action)
            reward = self.session.act(*found) if found else self.session.forfeit()
        elif isinstance(action, str):
            reward = self.session.answer(action)
        else:
            raise InputError(f"The action {action!r} is no text; this environment was made with text=True.")
        return self._observation(), reward, self.session.over, False, self._info()

    def render(self) -> str:
        """What the player reads now."""
        return self.session.situation

    def _observation(self) -> int | str:
        if self._numbers is None:
            return self.session.situation
        if not self.session.over:
            self._seen = self._numbers.observe(self.session.view)
        return self._seen

    def _info(self) -> dict[str, Any]:
        if self.session.over:
            return self.session.info()
        if self._numbers is None:
            return self.session.info() | {"messages": self.session.messages}
        return self.session.info() | {"action_mask": self._numbers.mask(self.session.view)}


gymnasium.register("sepo/Game-v0", entry_point="sepo_lib.environments.gymnasium_env:GameEnv")
