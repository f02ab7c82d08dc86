"""An exploiter for Kuhn poker that is the best response to the policy as it plays now.

Training against it is exploitability descent (Lockhart et al., IJCAI 2019): the exploiter's margin is then
NashConv itself, which no fixed pool can show. `measure/kuhn_optimum.py` computes the policy of highest J.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sepo_lib.games.base import Opponent, Weights
from sepo_lib.games.kuhn import HISTORIES, INFORMATION_SETS, by_table, engine
from sepo_lib.method import seeds

if TYPE_CHECKING:  # torch takes seconds to import, and the choices below are read without a model
    from sepo_lib.play.policy import Policy

NAME = "best_response"
#: The form that `kuhn_strategy.kuhn_nashconv` takes: information-state string -> word -> probability.
Strategy = Mapping[str, Mapping[str, float]]

#: The choices of `exploiter`: the pools that the best response replaces, and the penalty weights of J
#: (None: the game's own). `best_response_only` leaves only NashConv in J: u is then -NashConv / 2 and e is
#: NashConv, so that with the exploit weight 1/2 both terms count a chip the same.
EXPLOITERS: dict[str, tuple[tuple[str, ...], Weights | None]] = {
    "pool": ((), None),
    "best_response": (("exploiter",), None),
    "best_response_only": (("train", "exploiter"), Weights(0.5, 0.0, 0.0)),
}


class BestResponse:
    """An opponent that replaces the `pools` of a training run and is recomputed every `refresh` steps.

    The policy's strategy is estimated from `samples` free-text answers at each information set. `nashconv` is
    that of the latest estimate (chips per hand), too high on average (`exploitability.nashconv_bias`).
    Raises ValueError for a `refresh` below 1.
    """

    def __init__(self, refresh: int, samples: int, pools: Sequence[str] = ("exploiter",)):
        if refresh < 1:
            raise ValueError(f"The exploiter is refreshed every 1 or more steps, not every {refresh}.")
        self.refresh, self.samples, self.pools = refresh, samples, tuple(pools)
        self.nashconv = float("nan")
        self._opponent: Opponent | None = None

    def opponents(
        self, policy: "Policy", step: int, seed: int, strategy: Strategy | None = None
    ) -> Mapping[str, Mapping[str, Opponent]]:
        """The replaced pools at training step `step` (see `rollouts.plan`); recomputes the response when due.

        `strategy` is that of the policy; None estimates it from answers that `seed` sets. Raises RuntimeError
        where a run does not start, or resume, at a step in which the response is due.
        """
        from sepo_lib.measure import enumerated, kuhn_strategy

        if step % self.refresh == 0:
            if strategy is None:
                game = kuhn_strategy.game_with_nashconv()
                asked = enumerated.ask(policy, game, self.samples, seeds.derive(seed, NAME))
                strategy = asked.strategy
            self.nashconv = kuhn_strategy.kuhn_nashconv(strategy)
            self._opponent = by_table(best_response(strategy))
        if self._opponent is None:
            raise RuntimeError(f"No best response is known at step {step}: none was computed before it.")
        return {pool: {NAME: self._opponent} for pool in self.pools}


def best_response(strategy: Strategy) -> list[list[float]]:
    """OpenSpiel's best response, for both seats, to a strategy.

    If the strategy was sampled, it fits the sampling error too. Returns a pure strategy as in
    `games.kuhn.STRATEGIES`, shape (4, 3). Of equally good actions OpenSpiel takes the first (PASS or FOLD).
    """
    from open_spiel.python.algorithms.best_response import BestResponsePolicy

    from sepo_lib.measure import kuhn_strategy

    policy = kuhn_strategy.openspiel_policy(strategy)
    responders = [BestResponsePolicy(engine(), player, policy) for player in (0, 1)]
    bold = {}
    for state, view in INFORMATION_SETS:
        responder = responders[0 if view.facts["first"] else 1]
        bold[view.facts["card"], view.facts["history"]] = float(responder.best_response_action(state))
    return [[bold[card, history] for card in "JQK"] for history in HISTORIES]
