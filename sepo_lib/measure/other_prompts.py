"""Prompts that others have written: which game they are of, and which state they show.

The layout is that of the demonstrations that the paper's authors have published. The kit has no game
`resource`, of which some of them are.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence

from sepo_lib import games
from sepo_lib.chat.chat_files import Example
from sepo_lib.games.auction import Auction
from sepo_lib.games.deal import Deal, legal_demands
from sepo_lib.games.ipd import ACTIONS, IPD
from sepo_lib.games.kuhn import Kuhn
from sepo_lib.games.split import Split
from sepo_lib.measure.reasons import State

#: The game of examples whose game cannot be told.
UNKNOWN = "not known"
#: The bids of the auction.
RANK = {"LOW": 1, "MEDIUM": 2, "HIGH": 3}


def game_of(example: Example) -> str:
    """The game of an example: that of its column `game`, or else the one that its system message explains.

    A system message is told by the kit's rules, or by a title of TITLES.
    """
    first = example.chat[0]
    if example.game or first["role"] != "system":
        return example.game or UNKNOWN
    own = next((name for name, game in games.GAMES.items() if game.rules() == first["content"]), None)
    told = (name for name, title in TITLES.items() if re.search(title, first["content"], re.I))
    return own or next(told, UNKNOWN)


def state(game: str, situation: str) -> State:
    """The state in a prompt of the authors: legal, and what the game shows.

    Raises an error of some kind if the prompt has another layout.
    """
    found = _STATES[game](situation)
    if game != Kuhn.name:
        last = (found.mine[-1], found.theirs[-1]) if found.mine else (None, None)
        found.last = State(mine=last[0], theirs=last[1])
    return found


def _words(situation: str, label: str) -> list[str]:
    """The comma-separated words behind a label; none if there is no such line."""
    found = re.search(rf"^\s*{label}:\s*(.+)$", situation, re.M | re.I)
    return re.split(r",\s*", found[1].strip()) if found else []


def _check_first(situation: str, pairs: Sequence) -> None:
    """Raise ValueError if there are no finished rounds, and this is not the first one."""
    if not pairs and not re.search(r"\bRound 1\b", situation):
        raise ValueError("This prompt has a later round and no history.")


def _dilemma(situation: str) -> State:
    mine, theirs = (_words(situation, f"{who} past actions") for who in ("Your", "Opponent's"))
    _check_first(situation, mine)
    return State(legal=ACTIONS, mine=mine, theirs=theirs)


def _bids(situation: str) -> State:
    mine, theirs = (_words(situation, f"{who} past bids") for who in ("Your", "Opponent's"))
    _check_first(situation, mine)
    value = int(re.search(r"value this round: (\d+)", situation)[1])
    return State(legal=tuple(RANK), mine=mine, theirs=theirs, value=value)


def _demands(situation: str) -> State:
    pairs = [(int(a), int(b)) for a, b in re.findall(r"you=(\d+), opp=(\d+)", situation)]
    _check_first(situation, pairs)
    broke = [a + b > 10 for a, b in pairs]
    return State(legal=tuple(range(1, 10)), mine=_column(pairs, 0), theirs=_column(pairs, 1), broke=broke)


def _items(situation: str) -> State:
    found = re.findall(r"you demanded (\[[\d, ]+\]), opponent demanded (\[[\d, ]+\])", situation)
    pairs = [(json.loads(a), json.loads(b)) for a, b in found]
    _check_first(situation, pairs)
    pool = [int(n) for n in re.findall(r"(\d+) (?:Books|Hats|Balls)", situation)]
    values = [int(n) for n in re.findall(r"(?:Books|Hats|Balls)=(\d+)", situation)][:3]
    broke = [any(a + b > n for a, b, n in zip(*pair, pool, strict=True)) for pair in pairs]
    if len(pool) != 3 or len(values) != 3:
        raise ValueError("This prompt lacks the pool or the values.")
    state = State(legal=legal_demands(tuple(pool)), pool=pool, values=values, broke=broke)
    state.mine, state.theirs = _column(pairs, 0), _column(pairs, 1)
    return state


def _card(situation: str) -> State:
    card = re.search(r"Your card: (J|Q|K)\b", situation)[1]
    legal = re.search(r"Legal actions: (\w+) or (\w+)", situation).groups()
    return State(legal=legal, card=card, bet="BET" in _words(situation, "Betting so far this hand"))


def _column(pairs: Sequence, index: int) -> list:
    return [pair[index] for pair in pairs]


_STATES: Mapping[str, Callable[[str], State]] = {
    IPD.name: _dilemma,
    Auction.name: _bids,
    Split.name: _demands,
    Deal.name: _items,
    Kuhn.name: _card,
}
#: Game -> how a system message of the authors can be told.
TITLES: Mapping[str, str] = {
    IPD.name: r"iterated prisoner.s dilemma",
    Auction.name: r"sealed-bid auction",
    Deal.name: r"multi-issue negotiation",
    Split.name: r"repeated negotiation",
    Kuhn.name: r"kuhn poker",
    "resource": r"shared resource",
}
