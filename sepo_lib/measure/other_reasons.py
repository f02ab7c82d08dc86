"""Reasons that others have written: what they contradict in the state or in the action.

`reasons` knows the exact sentences of the kit's own demonstrations. This module finds claims by their key
words. It was made for the demonstrations that the paper's authors have published; it also reads other words
below the kit's own prompts. What no key word finds is not checked, so a share of contradictions is a lower
bound.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sepo_lib import games
from sepo_lib.games.auction import Auction
from sepo_lib.games.base import Action
from sepo_lib.games.deal import Deal
from sepo_lib.games.ipd import COOPERATE, DEFECT, IPD
from sepo_lib.games.kuhn import Kuhn
from sepo_lib.games.split import Split
from sepo_lib.measure import other_prompts, reasons
from sepo_lib.measure.other_prompts import RANK
from sepo_lib.measure.reasons import State

#: The claim of a reason in the kit's own words, which `reasons.is_true` checks.
OWN_WORDS = "the reason, in the kit's own words, does not hold"


@dataclass(frozen=True)
class Verdict:
    """What was found about one answer."""

    read: bool
    """Whether the state could be read from the prompt; without it nothing is checked."""
    action: Action | None = None
    """The action that the game's parser reads; None if it refuses the answer."""
    claims: Mapping[str, bool] = field(default_factory=dict)
    """Contradiction that was looked for, because the reason makes the claim -> whether it was found."""

    @property
    def contradicts(self) -> bool:
        """Whether the reason contradicts the state or the action."""
        return any(self.claims.values())


@functools.cache
def judge(game: str, situation: str, answer: str) -> Verdict:
    """Hold an answer against the state that the user message `situation` describes."""
    state = _state(game, situation)
    if state is None:
        return Verdict(read=False)
    action = games.get(game).parse(answer, state.legal)
    reason = answer.rstrip().rpartition("\n")[0]
    if action is None or not reason.strip():
        return Verdict(True, action)
    try:
        own = reasons.is_true(game, situation, answer)
        return Verdict(True, action, {} if own is None else {OWN_WORDS: not own})
    except ValueError:  # the reason is not in the kit's words, or the prompt is not
        found = [(name, re.search(text, reason, re.I), holds) for name, text, holds in CLAIMS[game]]
    made = {name: not holds(state, action, *match.groups()) for name, match, holds in found if match}
    return Verdict(True, action, made)


def _state(game: str, situation: str) -> State | None:
    """The state in a prompt of the kit, or else of the authors; None if it is neither."""
    for read in (_own_state, other_prompts.state):
        try:
            return read(game, situation)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):  # of another form
            continue
    return None


def _own_state(game: str, situation: str) -> State:
    state = reasons.LANGUAGES[game].state(situation)
    if game == Kuhn.name:
        state.bet = "BET" in situation.partition("History:")[2].partition("Choose")[0]
    return state


# The claims -----------------------------------------------------------------------------------------------

_THEY = r"(?:opponent|they|other)"


def _broke(state: State) -> list[bool]:
    """Of each finished round of a negotiation, whether it broke down."""
    return state.broke if hasattr(state, "broke") else [outcome == "no deal" for outcome in state.outcomes]


def _lower(state, action) -> bool:
    """Whether a demand is below the one before it; of several items, none higher and one lower."""
    last = state.last.mine
    if isinstance(action, int):
        return last is not None and action < last
    return (
        last is not None and list(action) != last and all(a <= b for a, b in zip(action, last, strict=True))
    )


def _fits(state, action) -> bool:
    """Whether a demand leaves the other player what it demanded in the last round."""
    return state.last.theirs is not None and action + state.last.theirs <= 10


def _leaves_room(state, action) -> bool:
    """Whether a demand takes all units of no item, and is not the one that has just broken down."""
    again = bool(_broke(state)) and _broke(state)[-1] and list(action) == state.last.mine
    return not again and all(a < n for a, n in zip(action, state.pool, strict=True))


def _values_most(state, action, item: str) -> bool:
    index = ("book", "hat", "ball").index(item.lower()[:4].rstrip("s"))
    return state.values[index] == max(state.values) and action[index] > 0


def _says(word: str, action: str) -> tuple[str, str, Callable[..., bool]]:
    """The claim of a sentence that begins with what is done, such as "Folding ..."."""
    return (
        f"says that it plays {action}; the action is another one",
        rf"(?:^|[.!?;\u2014-] *){word}\b",
        lambda s, a: a == action,
    )


#: Game -> its claims: the contradiction in words, the key words, and what must hold of the state s, the
#: action a and the groups of the key words.
CLAIMS: Mapping[str, Sequence[tuple[str, str, Callable[..., bool]]]] = {
    IPD.name: (
        (
            "says that the other player always defects; the history shows no defection, or a cooperation",
            rf"{_THEY}[^.]*\balways defect",
            lambda s, a: bool(s.theirs) and COOPERATE not in s.theirs,
        ),
        (
            "says that the other player always cooperates; the history shows no cooperation, or a defection",
            rf"{_THEY}[^.]*\balways cooperat",
            lambda s, a: bool(s.theirs) and DEFECT not in s.theirs,
        ),
        (
            "says that the other player cooperated; its last action is not cooperation",
            rf"{_THEY}(?: has| have)? cooperated\b",
            lambda s, a: s.last.theirs == COOPERATE,
        ),
        (
            "says that the other player defected last round; its last action is not defection",
            rf"{_THEY}(?: has| have)? (?:just )?defected(?: in the)? last",
            lambda s, a: s.last.theirs == DEFECT,
        ),
        (
            "says that there was no defection yet; the history shows one",
            r"\b(?:no|without)\b[^.]*\bdefections?\b|never defected|not defected",
            lambda s, a: DEFECT not in s.theirs,
        ),
        _says("cooperating", COOPERATE),
        _says("defecting", DEFECT),
    ),
    Auction.name: (
        (
            "names another value than its own",
            r"\bvalue is (?:only )?(\d+)",
            lambda s, a, n: s.value == int(n),
        ),
        (
            "names a wrong profit of its bid",
            r"\bprofit of (-?\d+)",
            lambda s, a, n: s.value - RANK[a] == int(n),
        ),
        (
            "says that it bids to compete; the bid is below every bid of the other player",
            r"\bcompet",
            lambda s, a: not s.theirs or RANK[a] >= min(RANK[bid] for bid in s.theirs),
        ),
        (
            "says that it tries a different bid; it is that of the last round",
            r"\bdifferent bid",
            lambda s, a: s.last.mine is None or a != s.last.mine,
        ),
        (
            "names a wrong average of the other player's bids",
            r"\b(?:averag\w*)[^.\d]*(\d+(?:\.\d+)?)",
            lambda s, a, n: (
                bool(s.theirs) and abs(float(n) - sum(RANK[bid] for bid in s.theirs) / len(s.theirs)) <= 0.05
            ),
        ),
    ),
    Split.name: (
        (
            "says that it lowers its demand; the demand is not below its last one",
            r"\b(?:lower|reduc)(?:ing|e)?\b[^.]*\bdemand",
            _lower,
        ),
        (
            "says that the demand ensures a deal; no demand was seen, or it breaks against the last one",
            r"\b(?:ensur|secur|guarante)\w*\b[^.]*\b(?:deal|agreement)",
            _fits,
        ),
        (
            "says that the last round broke down; it did not",
            r"\blast round broke down",
            lambda s, a: bool(_broke(s)) and _broke(s)[-1],
        ),
    ),
    Deal.name: (
        (
            "names another number of breakdowns than the history shows",
            r"\b(\d+) breakdown",
            lambda s, a, n: sum(_broke(s)) == int(n),
        ),
        (
            "says that it reduces its demand; the demand is not below its last one",
            r"\b(?:reduc|lower)(?:ing|e)?\b[^.]*\bdemand",
            _lower,
        ),
        (
            "says that it values an item most and demands more of it; it does not",
            r"\bvalue (Books?|Hats?|Balls?) most",
            _values_most,
        ),
        (
            "says that it demands its share, or slightly less; it demands nothing",
            r"\b(?:proportional|fair) share",
            lambda s, a: any(a),
        ),
        (
            "says that the last round was a deal; it was not",
            r"\blast round (?:resulted in|was|ended in) a deal",
            lambda s, a: bool(_broke(s)) and not _broke(s)[-1],
        ),
        (
            "says that it leaves room for a deal; the demand takes all of an item, or has just broken down",
            r"\bleav\w+ (?:room|space)\b",
            _leaves_room,
        ),
    ),
    Kuhn.name: (
        (
            "names another card than its own",
            r"\b(?:have|hold|holding|with) (?:the |a )?(J|Q|K|jack|queen|king)\b",
            lambda s, a, card: s.card == card[0].upper(),
        ),
        (
            "says that the other player bet; it did not",
            rf"\b{_THEY}(?: has| have)? bets?\b|\b(?:to|facing|against) a bet\b",
            lambda s, a: s.bet,
        ),
        *(
            _says(w, a)
            for w, a in (("folding", "FOLD"), ("calling", "CALL"), ("passing", "PASS"), ("betting", "BET"))
        ),
    ),
}
