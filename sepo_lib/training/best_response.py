"""An exploiter for Kuhn poker that is the best response to the policy as it plays now.

Training against it is exploitability descent (Lockhart et al., IJCAI 2019): the exploiter's margin is then
NashConv itself, which no fixed pool can show. `kuhn_optimum.optimum` says what the objective asks for.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
from open_spiel.python.algorithms.best_response import BestResponsePolicy

from sepo_lib.games.base import Opponent, Weights
from sepo_lib.games.kuhn import ENGINE, HISTORIES, INFORMATION_SETS, by_table
from sepo_lib.measure import kuhn_strategy
from sepo_lib.method import seeds
from sepo_lib.play.policy import LanguageModelPolicy

NAME = "best_response"

#: How `kuhn_exploiter` may be set: the pools in whose place the best response plays, and the weights of J
#: (None: the game's own). `best_response_only` leaves nothing in J but NashConv: u is then minus half of it
#: and e all of it, so that an exploit weight of 1/2 lets a chip count the same against both.
EXPLOITERS: dict[str, tuple[tuple[str, ...], Weights | None]] = {
    "pool": ((), None),
    "best_response": (("exploiter",), None),
    "best_response_only": (("train", "exploiter"), Weights(0.5, 0.0, 0.0)),
}


def best_response(strategy: pd.DataFrame) -> list[list[float]]:
    """OpenSpiel's best response, for both seats, to the sampled reading of a strategy (`read_strategy`).

    So it responds to the noise of the samples too, and is a best response to the policy only as they grow.
    A pure strategy in the form of `games.kuhn.STRATEGIES`, shape (4, 3). Where both actions are as good,
    OpenSpiel takes the first (PASS or FOLD).
    """
    policy = kuhn_strategy.openspiel_policy(kuhn_strategy.probabilities(strategy, "sampled"))
    responders = [BestResponsePolicy(ENGINE, player, policy) for player in (0, 1)]
    bold = {}
    for state, view in INFORMATION_SETS:
        responder = responders[0 if view.facts["first"] else 1]
        bold[view.facts["card"], view.facts["history"]] = float(responder.best_response_action(state))
    return [[bold[card, history] for card in "JQK"] for history in HISTORIES]


class BestResponse:
    """One opponent in the place of the `pools` of a training run, recomputed every `refresh` steps.

    The policy's strategy is sampled: `samples` free-text answers at each information set. `nashconv` is that
    of the latest sampled strategy (chips per hand), too high on average (`exploitability.nashconv_bias`).
    Raises ValueError for a `refresh` below 1.
    """

    def __init__(self, refresh: int, samples: int, pools: Sequence[str] = ("exploiter",)):
        if refresh < 1:
            raise ValueError(f"The exploiter is refreshed every 1 or more steps, not every {refresh}.")
        self.refresh, self.samples, self.pools = refresh, samples, tuple(pools)
        self.nashconv = float("nan")
        self._opponent: Opponent | None = None

    def opponents(
        self, policy: LanguageModelPolicy, step: int, seed: int
    ) -> Mapping[str, Mapping[str, Opponent]]:
        """The pools of training step `step` (see `rollouts.plan`), a new best response where it is due.

        `seed` sets the sampled answers. A run must begin or continue at a step in which it is due; else
        RuntimeError is raised.
        """
        if step % self.refresh == 0:
            strategy = kuhn_strategy.read_strategy(
                policy,
                kuhn_strategy.game_with_nashconv(),
                kuhn_strategy.Reading(self.samples),
                seeds.derive(seed, NAME),
            )
            self.nashconv = kuhn_strategy.nashconv_of_strategy(strategy, "sampled")
            self._opponent = by_table(best_response(strategy))
        if self._opponent is None:
            raise RuntimeError(f"No best response is known at step {step}: none was computed before it.")
        return {pool: {NAME: self._opponent} for pool in self.pools}
