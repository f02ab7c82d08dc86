"""The loop of a game: who is asked, in which order, and what is refused."""

import numpy as np
import pytest

from sepo_lib import games
from sepo_lib.games.base import GameLoop, play_out


def first_legal(asked, player):
    """A player that takes the first legal action, and notes in `asked` that it was asked."""

    def act(view):
        asked.append(player)
        return view.legal[0]

    return act


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("game", games.GAMES.values(), ids=list(games.GAMES))
def test_players_who_act_at_the_same_time_are_asked_in_the_given_order(game, order):
    asked, expected = [], []
    rounds = play_out(
        game.play(np.random.default_rng(1)), {player: first_legal(asked, player) for player in order}
    )
    loop = GameLoop(game.play(np.random.default_rng(1)))
    while loop.rounds is None:
        expected += [player for player in order if player in loop.views]
        loop.advance({player: view.legal[0] for player, view in loop.views.items()})
    assert asked == expected and not loop.views
    assert rounds == loop.rounds and len(rounds) == game.rounds


@pytest.mark.parametrize("player", [0, 1])
def test_an_illegal_action_is_refused_and_its_player_named(player):
    players = {0: first_legal([], 0), 1: first_legal([], 1)} | {player: lambda view: "RESIGN"}
    with pytest.raises(ValueError, match=f"player {player} chose 'RESIGN'"):
        play_out(games.get("ipd").play(np.random.default_rng(0)), players)
