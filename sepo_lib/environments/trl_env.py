"""A game as an environment of TRL's GRPOTrainer (`environment_factory`): the model plays by tool calls.

    dataset = Dataset.from_list(trl_env.rows(session.setups("ipd", {"train": 8})))
    GRPOTrainer(model, train_dataset=dataset, environment_factory=trl_env.GameTools, args=...)

The chat template of the model must know tools. An episode is one conversation, and one row of the batch.
"""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from sepo_lib import games
from sepo_lib.config.errors import InputError
from sepo_lib.environments.session import Session, Setup

_HOW = (
    "Here, pass the action to the tool `play` instead of writing it on the last line. The tool answers with "
    "the next situation. Call it until the game is over."
)


def rows(setups: Iterable[Setup]) -> list[dict[str, Any]]:
    """One row of a data set for each episode: the prompt, and the fields of its setup for `GameTools.reset`.

    All rollouts of a row have the same chance moves, and the opponent draws the same random numbers.
    """
    return [{"prompt": _prompt(setup.game), **asdict(setup)} for setup in setups]


class GameTools:
    """One episode, which the model plays with the tool `play`. Games can be mixed: the row names the game.

    `reward` is one of `session.REWARDS`. A text that names no legal action raises an error in the tool. TRL
    shows the error to the model, which may call again, and counts it (`tools/failure_frequency`). If the
    model stops before the game is over, the rest is forfeited (`Session.forfeit`).
    """

    def __init__(self, reward: str = "payoff"):
        self._reward = reward
        self.session: Session | None = None  #: the episode under way, for reward functions of your own

    def reset(self, **row: Any) -> str:
        """Begin the episode of a row of `rows`, and return its first situation; the trainer calls this."""
        if missing := [field.name for field in fields(Setup) if field.name not in row]:
            raise InputError(f"The data set has no column '{missing[0]}'; make its rows with `trl_env.rows`.")
        self.session = Session(
            Setup(**{field.name: row[field.name] for field in fields(Setup)}), self._reward
        )
        return self.session.situation

    def play(self, action: str) -> str:
        """
        Play one action of the game.

        Args:
            action: One of the actions that the situation allows.

        Returns:
            The next situation, or the result once the game is over.
        """
        view = self.session.view
        found = self.session.game.parse(str(action), view.legal)
        if found is None:
            raise InputError(f"'{action}' is no legal action. {self.session.situation}")
        self.session.act(found, str(action))
        return self.session.situation

    def get_reward(self) -> float:
        """The reward of the episode; the trainer calls this once, when the model has stopped."""
        if not self.session.over:
            self.session.forfeit()
        return self.session.total


def _prompt(game: str) -> list[dict[str, str]]:
    """The rules; the trainer appends the first situation to the empty message."""
    return [
        {"role": "system", "content": f"{games.get(game).rules()} {_HOW}"},
        {"role": "user", "content": ""},
    ]
