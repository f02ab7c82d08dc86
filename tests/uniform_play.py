"""Episodes of a policy that plays uniformly over the legal actions, for tests of evaluation and tables."""

from sepo_lib import games
from sepo_lib.method import seeds
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer

KEYS = {"profile": "p", "model": "m", "stage": "sft", "arm": "", "preset": "", "seed": 3, "step": 10}
SIZES = {"train": 4, "exploiter": 3, "collusive": 4, "shift": 2}


class Uniform:
    """Plays uniformly over the legal actions; every other answer counts as parsed."""

    def answer(self, queries):
        draws = [int(seeds.generator(query.seed).integers(2**31)) for query in queries]
        return [
            Answer(query.view.legal[draw % len(query.view.legal)], parsed=draw % 3 > 0)
            for query, draw in zip(queries, draws, strict=True)
        ]


def played(game, pools="paper", **sizes):
    plans = rollouts.plan(games.get(game), pools, SIZES | sizes, seeds.derive(KEYS["seed"], "evaluation"))
    return rollouts.play(Uniform(), plans)
