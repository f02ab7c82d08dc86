"""Estimators of other papers, restated for J, so that they can be compared with its exact gradient.

The papers made them for other objectives and other opponents. Here all of them use the credited pools, the
rewards of J and the weights of its pools. A group is G rollouts against one opponent. An exploiter is charged
its exact mean margin. Averages over tokens are not adapted: every decision counts once. The other adaptations
are noted for each estimator.
"""

from collections.abc import Callable
from typing import NamedTuple

from sepo_lib.method.credit import Estimator
from sepo_lib.studies import baselines


class Published(NamedTuple):
    """An estimator of another paper, its source, and what was adapted."""

    estimator: Estimator
    source: str
    adaptation: str


def _estimator(
    horizon: str | Callable, baseline: str | Callable, scale: str | Callable = "none"
) -> Estimator:
    return Estimator("credited", horizon, "mean", scale, "pool", baseline)


#: An adaptation where a game has several independent rounds, such as the hands of Kuhn poker.
_WHOLE = (
    "The return of the whole episode replaces the score of an answer, also in Kuhn poker, where the hands of "
    "an episode are independent"
)

ELSEWHERE = {
    "GRPO by trajectory": Published(
        _estimator(baselines.episode_return, "group", "group_std"),
        "arXiv 2402.03300",
        f"{_WHOLE}.",
    ),
    "RLOO": Published(
        _estimator(baselines.episode_return, "group"),
        "arXiv 2402.14740",
        f"{_WHOLE}.",
    ),
    "Dr. GRPO": Published(
        _estimator(baselines.episode_return, baselines.group_mean),
        "arXiv 2503.20783",
        f"{_WHOLE}; RLOO is G / (G - 1) times as long.",
    ),
    "MARSHAL": Published(
        _estimator("to_go", baselines.role_mean, baselines.role_std),
        "arXiv 2510.15414",
        "A role is one opponent and one seat, as there is no self-play here.",
    ),
    "MARSHAL, centred only": Published(
        _estimator("to_go", baselines.role_mean),
        "arXiv 2510.15414",
        "As MARSHAL, without the division by the deviation of the role.",
    ),
    "SPIRAL (RAE)": Published(
        _estimator(baselines.role_return, baselines.other_batches_mean),
        "arXiv 2506.24119",
        "The moving average over earlier batches is replaced by the mean over all other batches of a block, "
        "its expectation while the policy stands still; a role is one opponent and one seat, and its return "
        "the sum over the rounds in that seat, as a trajectory there has one role.",
    ),
    "baseline by turn": Published(
        _estimator("to_go", baselines.turn_mean),
        "github.com/verl-project/verl, issue 7244",
        "A turn is a decision within a round, whose reward arrives with the last one; the deviation is left "
        "out, so that the baseline alone shows.",
    ),
}
