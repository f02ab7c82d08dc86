"""The loop of a game: ask the players who are to act, play their actions, repeat until the game is over."""

from collections.abc import Mapping

from sepo_lib.games.base import Act, Action, Play, Round, View


class GameLoop:
    """A game under way, from the generator of `Game.play` or of one of `Game.parts`.

    `views` maps every player who acts now to its view. `rounds` is None until the game is over; then it
    holds the finished rounds, and `views` is empty.
    """

    def __init__(self, play: Play):
        self._play = play
        self.views: Mapping[int, View] = {}
        self.rounds: list[Round] | None = None
        self.advance(None)

    def advance(self, actions: Mapping[int, Action] | None) -> None:
        """Play one action for each player of `views`; None starts the game."""
        try:
            self.views = self._play.send(actions)
        except StopIteration as end:
            self.views, self.rounds = {}, end.value


def play_out(play: Play, players: Mapping[int, Act]) -> list[Round]:
    """Play a game to its end and return its rounds; `players` maps seat 0 and seat 1 to their functions.

    Players who act at the same time are asked in the order of `players`. Raises ValueError for an action that
    is not legal.
    """
    loop = GameLoop(play)
    while loop.rounds is None:
        actions = {player: players[player](loop.views[player]) for player in players if player in loop.views}
        for player, action in actions.items():
            if action not in (legal := loop.views[player].legal):
                raise ValueError(f"Illegal action: player {player} chose {action!r} out of {legal}.")
        loop.advance(actions)
    return loop.rounds
