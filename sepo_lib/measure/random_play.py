"""Random legal play, which shows the payoffs and rates that a game can give without a model. NumPy only."""

import numpy as np

from sepo_lib.games.base import Action, Game, Opponent, Round, View, play_out


def episode(game: Game, opponent: Opponent, rng: np.random.Generator) -> tuple[list[Round], np.ndarray]:
    """One episode of a player that draws legal actions: its rounds, and its decisions in each, shape (T,).

    In each episode the player prefers one position in the list of legal actions, with a strength that it
    draws too. So nearly constant play is as likely as nearly uniform play.
    """
    rounds: list[Round] = []
    decisions_T = np.zeros(game.rounds)
    position, strength = rng.random(2)

    def own(view: View) -> Action:
        decisions_T[view.round] += 1
        drawn = position if rng.random() < strength else rng.random()
        return view.legal[int(drawn * len(view.legal))]

    for part in game.parts(rng):
        players = {1: opponent(rng), 0: own}  # the opponent draws first: all draws come from one generator
        rounds = [*rounds, *play_out(part(rounds), players)]
    return rounds, decisions_T


def record(game: Game, opponent: Opponent, episodes: int, rng: np.random.Generator) -> np.ndarray:
    """Episodes of random play as one array, shape (5, episodes, T).

    Its five parts are, by round, the own and the other payoff (points), collusion and externality (rates),
    and the number of the player's decisions.
    """
    recorded = []
    for _ in range(episodes):
        rounds, decisions_T = episode(game, opponent, rng)
        payoffs = np.array([one.payoffs for one in rounds], dtype=float).T
        recorded.append([*payoffs, game.collusion(rounds), game.externality(rounds), decisions_T])
    return np.array(recorded, dtype=float).swapaxes(0, 1)
