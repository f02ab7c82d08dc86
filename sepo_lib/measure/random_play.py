"""Random legal play: what a game can give, without a model. NumPy only."""

import numpy as np

from sepo_lib.games.base import Action, Game, Opponent, Round, View
from sepo_lib.games.loop import play_out


def episode(game: Game, opponent: Opponent, rng: np.random.Generator) -> tuple[list[Round], np.ndarray]:
    """The rounds of one episode of a player that draws legal actions, and its decisions in each, (T,).

    It leans, more or less, to one place in the list of legal actions: constant play is as likely as chaos.
    """
    rounds: list[Round] = []
    decisions_T = np.zeros(game.rounds)
    place, lean = rng.random(2)

    def own(view: View) -> Action:
        decisions_T[view.round] += 1
        drawn = place if rng.random() < lean else rng.random()
        return view.legal[int(drawn * len(view.legal))]

    for part in game.parts(rng):
        players = {1: opponent(rng), 0: own}  # the opponent draws first: all draws come from one generator
        rounds = [*rounds, *play_out(part(rounds), players)]
    return rounds, decisions_T


def record(game: Game, opponent: Opponent, episodes: int, rng: np.random.Generator) -> np.ndarray:
    """Episodes of random play as arrays, shape (5, episodes, T): own and other payoff (points), collusion and
    externality (rates), and the decisions of the player, each by round."""
    found = []
    for _ in range(episodes):
        rounds, decisions_T = episode(game, opponent, rng)
        payoffs = np.array([one.payoffs for one in rounds], dtype=float).T
        found.append([*payoffs, game.collusion(rounds), game.externality(rounds), decisions_T])
    return np.array(found, dtype=float).swapaxes(0, 1)
