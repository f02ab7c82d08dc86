"""A game as an OpenEnv environment, which a server offers to clients in other processes.

    uvicorn --factory sepo_lib.environments.openenv_env:app

`client.reset(game="ipd", opponent="grim", seed=1)` begins an episode, and `client.step({"text": "DEFECT"})`
plays one action.
"""

from typing import Any
from uuid import uuid4

import numpy as np
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State

from sepo_lib.config.errors import InputError
from sepo_lib.environments.session import Session, Setup

#: Episodes that one server plays at the same time.
SESSIONS = 64


class GameAction(Action):
    """An answer; the action is read from it by the kit's rule."""

    text: str


class GameObservation(Observation):
    """What the player reads; `metadata` has the setup, and at the end the measures (`Session.info`)."""

    rules: str
    situation: str
    legal: list[str]  #: the texts of the legal actions; empty at the end


class GameEnvironment(Environment):
    """One episode at a time. A text that names no legal action ends it (`Session.forfeit`)."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self):
        super().__init__()
        self._session: Session | None = None
        self._state = State()

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, reward: str = "payoff", **setup: Any
    ) -> GameObservation:
        """Begin the episode of a `session.Setup`, by its fields; the default seed is random."""
        if seed is None:
            seed = int(np.random.SeedSequence().entropy % 2**63)
        self._session = Session(Setup(seed=seed, **setup), reward)
        self._state = State(episode_id=episode_id or str(uuid4()))
        return self._observation(None)

    def step(self, action: GameAction, timeout_s: float | None = None, **_: Any) -> GameObservation:
        """Play one answer."""
        if self._session is None:
            raise InputError("No episode has begun; call reset first.")
        reward = self._session.answer(action.text)
        self._state.step_count += 1
        return self._observation(reward)

    @property
    def state(self) -> State:
        """The id of the episode, and the number of its steps."""
        return self._state

    def _observation(self, reward: float | None) -> GameObservation:
        session = self._session
        return GameObservation(
            rules=session.game.rules(),
            situation=session.situation,
            legal=[] if session.over else [session.game.spell(one) for one in session.view.legal],
            done=session.over,
            reward=reward,
            metadata=session.info(),
        )


def app():
    """The web application: a new `GameEnvironment` for each client."""
    return create_app(
        GameEnvironment, GameAction, GameObservation, env_name="sepo_games", max_concurrent_envs=SESSIONS
    )
