"""The iterated prisoner's dilemma (docs/method.md, "Games") against strategies of the Axelrod library."""

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from sepo_lib.games.base import Act, Branch, Enumeration, Game, Play, Round, Weights
from sepo_lib.games.players import Opponent, Rng, View, constant, naive_choice, one_of, random_expert
from sepo_lib.thirdparty import SHIFT_STRATEGIES, AxelrodPlayer

COOPERATE, DEFECT = ACTIONS = ("COOPERATE", "DEFECT")
ROUNDS = 8
REWARD = 3.0  # R: what both get when both cooperate

# Payoffs -------------------------------------------------------------------------------------------------
# Points of (own, other) by (own, other) action: T5 R3 P1 S0, which are Axelrod's default payoffs too.
PAYOFFS = {
    (COOPERATE, COOPERATE): (REWARD, REWARD),
    (COOPERATE, DEFECT): (0.0, 5.0),
    (DEFECT, COOPERATE): (5.0, 0.0),
    (DEFECT, DEFECT): (1.0, 1.0),
}

# Opponents -----------------------------------------------------------------------------------------------
#: The probability that an opponent cooperates, given the policy's actions and the opponent's own so far.
Odds = Callable[[Sequence[str], Sequence[str]], float]


def axelrod_player(strategy: str, odds: Odds | None = None, text: str = "", **options: float) -> Opponent:
    """An opponent that plays as Axelrod's `strategy` ("module.Class"), made with `options`.

    Every episode gets a fresh player, seeded from the episode's generator. `text` is the description.
    """

    def start(rng: Rng) -> Act:
        player = AxelrodPlayer(strategy, ACTIONS, ROUNDS, int(rng.integers(2**32)), **options)
        return lambda view: player.act(view.round, view.mine, view.theirs)

    text = text or f"Axelrod's {strategy.rpartition('.')[2]}."
    return Opponent(start, text, f"Axelrod library, {strategy}", odds)


def _rate(p: float) -> Odds:
    """Cooperates with probability `p`, whatever happened."""
    return lambda theirs, own: p


def _forgiving(p: float) -> Odds:
    """Cooperates after a defection with probability `p`, otherwise always."""
    return lambda theirs, own: p if theirs and theirs[-1] == DEFECT else 1.0


_TIT_FOR_TAT = axelrod_player("titfortat.TitForTat", _forgiving(0.0), "Tit-for-tat; cooperates first.")
PAPER: dict[str, Mapping[str, Opponent]] = {
    "train": {
        "tit_for_tat": _TIT_FOR_TAT,
        "generous_tit_for_tat": axelrod_player(
            "memoryone.GTFT", _forgiving(0.25), "Tit-for-tat that forgives 1 defection in 4.", p=0.25
        ),
        "random": axelrod_player("rand.Random", _rate(0.5), "Cooperates with probability 0.5.", p=0.5),
        "grim": axelrod_player(
            "grudger.Grudger", lambda theirs, own: float(DEFECT not in theirs), "Never forgives a defection."
        ),
    },
    "exploiter": {
        "always_defect": axelrod_player("defector.Defector", _rate(0.0), "Always defects."),
        "alternator": axelrod_player(
            "alternator.Alternator",
            lambda theirs, own: float(not own or own[-1] == DEFECT),
            "Cooperates and defects in turn.",
        ),
    },
    "collusive": {
        "always_cooperate": axelrod_player("cooperator.Cooperator", _rate(1.0), "Always cooperates.")
    },
    "shift": {name: axelrod_player(strategy) for name, strategy in SHIFT_STRATEGIES.items()},
}
# A train pool that leaves a penalty more to gain than the paper's (docs/method.md, "Headroom").
CONFLICT_TRAIN: dict[str, Opponent] = {
    "tit_for_tat": _TIT_FOR_TAT,
    "very_generous_tit_for_tat": axelrod_player(
        "memoryone.GTFT", _forgiving(0.6), "Tit-for-tat that forgives 6 defections in 10.", p=0.6
    ),
    "tit_for_two_tats": axelrod_player(
        "titfortat.TitFor2Tats",
        lambda theirs, own: float(tuple(theirs[-2:]) != (DEFECT, DEFECT)),
        "Defects after two defections in a row.",
    ),
    "mostly_cooperate": axelrod_player("rand.Random", _rate(0.9), "Cooperates with probability 0.9.", p=0.9),
}

# Experts -------------------------------------------------------------------------------------------------
_ALWAYS_DEFECT = ("I always defect, whatever they do.", "Defecting pays more against any move.")
_ALWAYS_COOPERATE = ("I always cooperate, whatever they do.", "I cooperate in every single round.")
_START = ("It is the first round, so I cooperate.", "We are just starting, so I cooperate.")


def tit_for_tat(view: View, rng: Rng) -> tuple[str, str]:
    if not view.theirs:
        return COOPERATE, one_of(rng, *_START)
    if view.theirs[-1] == COOPERATE:
        return COOPERATE, "They cooperated last round, so I cooperate."
    return DEFECT, "They defected last round, so I defect."


def generous_tit_for_tat(view: View, rng: Rng) -> tuple[str, str]:
    if view.theirs and view.theirs[-1] == DEFECT and rng.random() < 1 / 4:
        return COOPERATE, "They defected last round, but I forgive and cooperate."
    return tit_for_tat(view, rng)


def grim(view: View, rng: Rng) -> tuple[str, str]:
    if not view.theirs:
        return COOPERATE, one_of(rng, *_START)
    if DEFECT in view.theirs:
        return DEFECT, "They have defected before, so I defect from now on."
    return COOPERATE, "They have never defected, so I cooperate."


def naive_friendly(view: View, rng: Rng) -> tuple[str, str]:
    """Cooperates nine times in ten, whatever happened."""
    cooperates = rng.random() < 0.9
    return (COOPERATE, "I feel like cooperating.") if cooperates else (DEFECT, "I feel like defecting.")


# Enumeration ---------------------------------------------------------------------------------------------
def _branches(game: Game, opponent: Opponent, rounds: Sequence[Round]) -> Iterator[Branch]:
    seen = rounds[-1].actions if rounds else ()
    if opponent.odds is None:
        raise ValueError(f"The opponent '{opponent.description}' needs `odds`; see `axelrod_player`.")
    p = opponent.odds([r.actions[0] for r in rounds], [r.actions[1] for r in rounds])
    for mine, (theirs, probability) in itertools.product(ACTIONS, zip(ACTIONS, (p, 1.0 - p), strict=True)):
        if probability > 0:
            yield Branch(probability, ((seen, mine),), Round((mine, theirs), PAYOFFS[mine, theirs]))


def _memory(rounds: Sequence[Round]) -> Hashable:
    mine = [r.actions[0] for r in rounds]
    return tuple(mine[-2:]), tuple(r.actions[1] for r in rounds[-1:]), DEFECT in mine


class IPD(Game):
    """Eight rounds of the prisoner's dilemma with the payoffs T5 R3 P1 S0 points."""

    name = "ipd"
    title = "Iterated prisoner's dilemma"
    short_title = "Prisoner's dilemma"
    rounds = ROUNDS
    max_payoff = 3.0
    train_weights = evaluation_weights = Weights(exploit=2.4, collusion=1.0, externality=1.8)
    pools: Mapping = {"paper": PAPER, "conflict": {**PAPER, "train": CONFLICT_TRAIN}}
    experts: Mapping = {
        "tit_for_tat": (0.33, tit_for_tat),
        "always_defect": (0.27, constant(DEFECT, *_ALWAYS_DEFECT)),
        "grim": (0.22, grim),
        "random": (0.08, random_expert),
        "always_cooperate": (0.05, constant(COOPERATE, *_ALWAYS_COOPERATE)),
        "generous_tit_for_tat": (0.05, generous_tit_for_tat),
    }
    naive = {"friendly": (0.7, naive_friendly), "naive": (0.3, naive_choice)}  # noqa: RUF012
    enumeration = Enumeration(
        legal=dict.fromkeys([(), *itertools.product(ACTIONS, repeat=2)], ACTIONS),
        observe=lambda view: (*view.mine[-1:], *view.theirs[-1:]),
        branches=_branches,
        memory=_memory,
        cooperative=lambda seen: COOPERATE,
        equilibrium=lambda seen: DEFECT,
        grid=(0.0, 0.25, 0.5, 0.75, 1.0),
    )

    def play(self, rng: Rng) -> Play:
        """One episode (see `Game.play`); the game has no chance moves. An illegal action raises KeyError."""
        return self.simultaneous(ACTIONS, lambda actions: Round(actions, PAYOFFS[actions]))

    def rules(self) -> str:
        return (
            "You play 8 rounds with another player. In every round both choose COOPERATE or DEFECT at once. "
            "Points for you: COOPERATE COOPERATE 3; COOPERATE DEFECT 0; DEFECT COOPERATE 5; DEFECT DEFECT 1 "
            "(you, other). Earn many points. Give brief reasoning, then COOPERATE or DEFECT alone on the "
            "last line."
        )

    def situation(self, view: View) -> str:
        choice = " or ".join(view.legal)
        return f"Round {view.round + 1} of {view.rounds}. {self.history(view)} Choose {choice}."

    def collusion(self, rounds: Sequence[Round]) -> list[float]:
        """Per round, 1 if the policy defects (its partner in the collusive pool always cooperates)."""
        return [float(r.actions[0] == DEFECT) for r in rounds]

    def externality(self, rounds: Sequence[Round]) -> list[float]:
        """Per round, how far the pair's mean payoff is below R, as a share of R: 0, 1/6 or 2/3."""
        return [max(0.0, REWARD - sum(r.payoffs) / 2) / REWARD for r in rounds]
