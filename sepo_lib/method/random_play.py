"""Random legal play, which shows the payoffs and rates that a game can give without a model. NumPy only."""

import numpy as np

from sepo_lib.games.base import Game, Opponent, Round


def episode(game: Game, opponent: Opponent, rng: np.random.Generator) -> tuple[list[Round], np.ndarray]:
    """One episode of a player that draws legal actions: its rounds, and its decisions in each, shape (T,).

    In each episode the player prefers one position in the list of legal actions, with a strength that it
    draws too. So nearly constant play is as likely as nearly uniform play.
    """
    rounds: list[Round] = []
    decisions_T = np.zeros(game.rounds)
    position, strength = rng.random(2)
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
                drawn = position if rng.random() < strength else rng.random()
                actions[0] = legal[int(drawn * len(legal))]
                decisions_T[views[0].round] += 1
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
