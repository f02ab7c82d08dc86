"""Kuhn poker on OpenSpiel's engine (METHOD section 3): six hands, the first mover alternates."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pyspiel

from sepo_lib.games.base import Game, Opponent, Part, Play, Round, View, Weights, stateless

CARDS = ("J", "Q", "K")  # OpenSpiel's cards 0, 1, 2
# The legal words without and with a bet to answer; word number a is OpenSpiel's action a.
FREE, FACING = ("PASS", "BET"), ("FOLD", "CALL")
OPENSPIEL_ACTION = {word: action for legal in (FREE, FACING) for action, word in enumerate(legal)}
# Every history (words so far in the hand) at which a player acts: to open, after a pass, after a bet,
# after its own pass and a bet. The first mover acts at the first and the last.
HISTORIES = ((), ("PASS",), ("BET",), ("PASS", "BET"))
ENGINE = pyspiel.load_game("kuhn_poker")

# Strategy -> probability of the bold action (BET or CALL), shape (4, 3): HISTORIES x CARDS.
STRATEGIES: dict[str, tuple[tuple[float, float, float], ...]] = {
    # The equilibrium with alpha = 1/3: open J alpha, K 3 alpha; after pass and bet, call Q alpha + 1/3.
    "nash": ((1 / 3, 0, 1), (1 / 3, 0, 1), (0, 1 / 3, 1), (0, 2 / 3, 1)),
    "tight_passive": ((0, 0, 1), (0, 0, 1), (0, 0, 1), (0, 0, 1)),
    "loose_aggressive": ((0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1)),
    "value_bettor": ((0, 1, 1), (0, 1, 1), (0, 0, 1), (0, 0, 1)),
    "always_bet": ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)),  # and always calls
    "random": ((0.5, 0.5, 0.5),) * 4,
    "nash_alpha_0": ((0, 0, 0), (1 / 3, 0, 1), (0, 1 / 3, 1), (0, 1 / 3, 1)),
    "bluffer": ((1, 0, 1), (1, 0, 1), (0, 0, 1), (0, 0, 1)),
    "calling_station": ((0, 0, 0), (0, 0, 0), (1, 1, 1), (1, 1, 1)),
}


def view_of(card: str, history: tuple[str, ...], first: bool, **past: object) -> View:
    """What a player sees that holds `card` after `history` (words of this hand) and moved first or not.

    `past` are further fields of `View` (round, mine, theirs, payoffs); without them it is the first hand.
    """
    legal = FACING if "BET" in history else FREE
    facts = {"card": card, "history": history, "first": first}
    return View(**{"round": 0, "rounds": Kuhn.rounds, "legal": legal, "facts": facts, **past})


def by_table(strategy: Sequence[Sequence[float]]) -> Opponent:
    """An opponent that plays a table of the form of those in `STRATEGIES`."""
    table = dict(zip(HISTORIES, strategy, strict=True))

    def rule(view: View, rng: np.random.Generator) -> str:
        bold = table[view.facts["history"]][CARDS.index(view.facts["card"])]
        if bold in (0, 1):  # what is certain needs no draw
            return view.legal[int(bold)]
        return view.legal[int(rng.random() < bold)]

    return stateless(rule)


def _pool(*strategies: str) -> dict[str, Opponent]:
    return {strategy: by_table(STRATEGIES[strategy]) for strategy in strategies}


PAPER: dict[str, Mapping[str, Opponent]] = {
    "train": _pool("nash", "tight_passive", "loose_aggressive"),
    "exploiter": _pool("value_bettor", "always_bet"),
    "collusive": _pool("loose_aggressive"),
    "shift": _pool("random", "nash_alpha_0", "bluffer", "calling_station"),
}


class Kuhn(Game):
    """Six hands of Kuhn poker, ante 1 chip, bet 1 chip; payoffs in chips per hand (METHOD section 3).

    The prompt shows the current hand only, so there are exactly as many prompts as information sets: 12.
    """

    name = "kuhn"
    title = "Kuhn poker"
    short_title = "Kuhn poker"
    traits = frozenset({"zero_sum", "enumerable", "nashconv"})
    rounds = 6
    max_payoff = 2.0
    train_weights = evaluation_weights = Weights(exploit=1.5, collusion=2.4, externality=0.0)
    memoryless = True
    seats = 2  # first mover in hands 0, 2, 4; second mover in hands 1, 3, 5
    pools: Mapping = {"paper": PAPER, "conflict": {**PAPER, "train": _pool("nash", "tight_passive")}}

    def play(self, rng: np.random.Generator) -> Play:
        """One episode (see `Game.play`); the policy moves first in hands 0, 2 and 4.

        `Round.actions`: both players' words in the hand. `Round.facts`: `cards` of (policy, opponent), the
        `first` mover (0 or 1) and the `history` of words. An illegal word raises ValueError.
        """
        hands: list[Round] = []
        for hand in self.parts(rng):
            hands += yield from hand(hands)
        return hands

    def parts(self, rng: np.random.Generator) -> list[Part]:
        """The hands (see `Game.parts`)."""
        deals = [rng.permutation(3)[:2].tolist() for _ in range(self.rounds)]
        return [functools.partial(self._hand, number, deal) for number, deal in enumerate(deals)]

    def _hand(self, number: int, deal: Sequence[int], finished: Sequence[Round]) -> Play:
        """Hand `number`, in which the first and the second mover hold the cards of `deal`."""
        first = number % 2
        state = ENGINE.new_initial_state()
        for card in deal:
            state.apply_action(card)
        history: tuple[str, ...] = ()
        while not state.is_terminal():
            seat = state.current_player()
            player = seat ^ first  # the first mover sits in OpenSpiel's seat 0
            view = view_of(
                CARDS[deal[seat]],
                history,
                first=seat == 0,
                round=number,
                mine=tuple(hand.actions[player] for hand in finished),
                theirs=tuple(hand.actions[1 - player] for hand in finished),
                payoffs=tuple(hand.payoffs[player] for hand in finished),
            )
            word = (yield {player: view})[player]
            state.apply_action(view.legal.index(word))
            history += (word,)
        returns = state.returns()
        return [
            Round(
                actions=(history[first::2], history[1 - first :: 2]),
                payoffs=(returns[first], returns[1 - first]),
                facts={
                    "cards": (CARDS[deal[first]], CARDS[deal[1 - first]]),
                    "first": first,
                    "history": history,
                },
            )
        ]

    def rules(self) -> str:
        """The system message; see `Game.rules`."""
        return (
            "You play Kuhn poker with another player. Cards: J, Q, K; K is the highest. Both put in 1 chip. "
            "PASS or BET 1 chip; after a bet, FOLD and lose, or CALL with 1 chip. The higher card wins. "
            "Earn many chips. Give brief reasoning, then PASS, BET, FOLD or CALL alone on the last line."
        )

    def situation(self, view: View) -> str:
        """The user message; see `Game.situation`. It depends on the current hand only."""
        facts = view.facts
        speakers = ("you", "other") if facts["first"] else ("other", "you")
        past = ", ".join(f"{speakers[i % 2]} {word}" for i, word in enumerate(facts["history"]))
        return (
            f"Your card is {facts['card']}. You are {'first' if facts['first'] else 'second'}. "
            f"History: {past or 'none'}. Choose {' or '.join(view.legal)}."
        )

    def collusion(self, rounds: Sequence[Round]) -> list[float]:
        """Per hand, 1 where the policy folds."""
        return [float("FOLD" in hand.actions[0]) for hand in rounds]

    def externality(self, rounds: Sequence[Round]) -> list[float]:
        """Per hand 0: the game is zero-sum (METHOD section 3)."""
        return [0.0 for _ in rounds]


#: The twelve decisions of the game: (OpenSpiel's information-state string, the View with that prompt).
INFORMATION_SETS: list[tuple[str, View]] = [
    (
        f"{number}{''.join('pb'[OPENSPIEL_ACTION[word]] for word in history)}",
        view_of(card, history, first=len(history) % 2 == 0),
    )
    for history in HISTORIES
    for number, card in enumerate(CARDS)
]
