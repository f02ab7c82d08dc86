"""A game as a taskset and an environment of the verifiers library (its API v1).

verifiers finds a taskset by the name of a module that is in no package. So a file of your own has to import
GameEnv and GameTaskset and to list them in `__all__` (docs/environments.md).
"""

from collections.abc import Iterator
from dataclasses import asdict, fields

import verifiers.v1 as vf

from sepo_lib.environments.session import Session, Setup, setups

__all__ = ["GameEnv", "GameTaskset"]


class GameConfig(vf.TasksetConfig):
    """Which episodes are the tasks: `--env.taskset.game` and so on."""

    game: str = ""  #: a name is needed; the error lists them
    pools: str = "paper"
    #: Pool -> episodes against each of its opponents, each with its own chance moves.
    counts: dict[str, int] = {"train": 1}  # noqa: RUF012 (pydantic copies it)
    seed: int = 0
    reward: str = "payoff"  #: one of `session.REWARDS`


class GameData(vf.TaskData):
    """A task: the fields of a `session.Setup`, and the reward."""

    game: str
    pools: str
    pool: str
    opponent: str
    rollout: int
    seed: int
    reward: str


class GameTask(vf.Task[GameData]):
    """One episode. `GameEnv` plays it and records the reward."""

    def begin(self) -> Session:
        """The episode of this task, at its first decision."""
        known = {field.name: getattr(self.data, field.name) for field in fields(Setup)}
        return Session(Setup(**known), self.data.reward)


class GameTaskset(vf.Taskset[GameTask, GameConfig]):
    """The episodes of `config` as tasks, in the order of `session.setups`."""

    def load(self) -> Iterator[GameTask]:
        """One task for each episode."""
        known = self.config
        for setup in setups(known.game, known.counts, known.pools, known.seed):
            session = Session(setup, known.reward)
            yield GameTask(
                GameData(
                    name=f"{setup.game}, {setup.pool} pool, {setup.opponent}, {setup.rollout}",
                    system_prompt=session.game.rules(),
                    prompt=session.situation,
                    reward=known.reward,
                    **asdict(setup),
                ),
                known.task,
            )


class GameEnvConfig(vf.EnvConfig):
    """The player answers in a plain chat on this machine."""

    player: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"}, runtime=vf.SubprocessConfig())


class GameEnv(vf.Env[GameEnvConfig]):
    """Plays an episode as one conversation: every situation is a user message, every answer one action.

    An answer that names no legal action ends the episode (`Session.forfeit`), and so does a limit on turns
    or tokens that is set in verifiers. If the model's server or a program fails, no reward is recorded, and
    verifiers counts the episode as failed.
    """

    async def run(self, task: GameTask, agents: vf.Agents) -> None:
        """Play one episode."""
        session = task.begin()
        async with agents.player.interaction(task) as interaction:
            segment = await interaction.turn()
            while not segment.terminated:
                session.answer(segment.last_reply)
                if session.over:
                    break
                segment = await interaction.turn(session.situation)
        trace = interaction.trace
        if not trace.ok:
            return
        if not session.over:
            session.forfeit()
        trace.record_reward(task.data.reward, session.total)
        trace.record_metrics(session.measures())
