"""One way of playing, in the kit's own loop and from outside."""

from sepo_lib import games
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer


def choose(game, view):
    """An action that depends on all that the prompt says."""
    return view.legal[sum(map(ord, game.situation(view))) % len(view.legal)]


class Chooser:
    """`choose` as a policy of the kit."""

    def answer(self, queries):
        return [Answer(choose(query.game, query.view)) for query in queries]


def plans(game, counts, pools="paper", seed=0):
    return rollouts.plan(games.get(game), pools, counts, seed)


def played(game, counts, pools="paper", seed=0):
    """Episodes of the kit's own loop."""
    return rollouts.play(Chooser(), plans(game, counts, pools, seed))


def points(episode):
    return float(episode.own_T.sum())
