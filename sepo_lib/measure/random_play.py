"""Random legal play: what a game can give, without a model. NumPy only."""

import numpy as np

from sepo_lib.games.base import Game, Opponent, Round


def episode(game: Game, opponent: Opponent, rng: np.random.Generator) -> tuple[list[Round], np.ndarray]:
    """The rounds of one episode of a player that draws legal actions, and its decisions in each, (T,).

    It leans, more or less, to one place in the list of legal actions: constant play is as likely as chaos.
    """
    rounds: list[Round] = []
    decisions_T = np.zeros(game.rounds)
    place, lean = rng.random(2)
    for part in game.parts(rng):
        act, play, actions = opponent(rng), part(rounds), None
        while True:
            try:
                views = play.send(actions)
            except StopIteration as end:
                rounds = [*rounds, *end.value]
                break
            actions = {1: act(views[1])} if 1 in views else {}
            if 0 in views:
                legal = views[0].legal
                drawn = place if rng.random() < lean else rng.random()
                actions[0] = legal[int(drawn * len(legal))]
                decisions_T[views[0].round] += 1
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
