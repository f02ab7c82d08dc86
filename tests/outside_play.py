"""One way of playing, in the kit's own loop and from outside."""

from sepo_lib import games


def choose(game, view):
    """An action that depends on all that the prompt says."""
    return view.legal[sum(map(ord, game.situation(view))) % len(view.legal)]


def played(game, counts, pools="paper", seed=0):
    """Episodes of the kit's own loop in which a policy plays by `choose`."""
    from sepo_lib.play import rollouts  # here: it imports torch, which some environments lack
    from sepo_lib.play.policy import Answer

    class Chooser:
        def answer(self, queries):
            return [Answer(choose(query.game, query.view)) for query in queries]

    return rollouts.play(Chooser(), rollouts.plan(games.get(game), pools, counts, seed))


def points(episode):
    return float(episode.own_T.sum())
