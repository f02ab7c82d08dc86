"""Is the reason of an answer true of the state that it was given in? A check of demonstrations.

The check does not use the code of the strategies. It reads the state back from the text of the prompt, finds
the claim that the reason makes, and holds the claim and the action against the state. A reason such as "I
choose at random this time." makes no claim about the state; it is counted, but not checked.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from types import SimpleNamespace
from typing import Any

import pandas as pd

from sepo_lib import games
from sepo_lib.games.auction import Auction
from sepo_lib.games.deal import Deal, legal_demands
from sepo_lib.games.ipd import ACTIONS, COOPERATE, DEFECT, IPD
from sepo_lib.games.kuhn import FACING, FREE, Kuhn
from sepo_lib.games.split import Split

State = SimpleNamespace
#: The text of a reason (a regular expression) -> whether it holds, given the state, the action and the groups
#: of the expression; None for a reason that says nothing about the state.
Claims = Mapping[str, Callable[..., bool] | None]


@dataclass(frozen=True)
class Language:
    """How the prompts and reasons of one game are read."""

    state: Callable[[str], State]
    """The state that a user message describes, with its `legal` actions."""
    claims: Claims
    """The claims that reasons make."""


def is_true(game: str, situation: str, answer: str) -> bool | None:
    """Whether the reason in `answer` holds in the state that the user message `situation` describes.

    None if the reason says nothing about the state. An action that is not legal there makes it false. Raises
    ValueError for a game without claims (`LANGUAGES`), for a situation that is not of this game, and for a
    reason that makes no claim that is known, or several.
    """
    if game not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise ValueError(f"No claims are written down for the game '{game}'; there are some for {known}.")
    language = LANGUAGES[game]
    state, (reason, *_) = language.state(situation), answer.split("\n")
    made = [
        (match, holds) for text, holds in language.claims.items() if (match := re.fullmatch(text, reason))
    ]
    if len(made) != 1:
        raise ValueError(f"{len(made)} of the claims known in {game} match the reason '{reason}'; one must.")
    action = games.get(game).parse(answer, state.legal)
    match, holds = made[0]
    if holds is None:
        return None
    return action is not None and bool(holds(state, action, *match.groups()))


def check(examples: pd.DataFrame) -> pd.DataFrame:
    """How many reasons of `examples` were checked, and how many are true: one row per game.

    Columns of `examples`: game, prompt and completion, as `demonstrations.build` makes them. Columns of the
    result: `examples`, `no_claim` (the reason says nothing about the state, or the game is not in
    `LANGUAGES`), `checked`, `true` and `share_true` (of those checked).
    """
    judged = functools.cache(is_true)
    rows = [
        (game, judged(game, prompt[-1]["content"], answer[0]["content"]) if game in LANGUAGES else None)
        for game, prompt, answer in zip(*(examples[c] for c in ("game", "prompt", "completion")), strict=True)
    ]
    verdicts = pd.DataFrame(rows, columns=["game", "verdict"]).groupby("game", sort=False)["verdict"]
    table = pd.DataFrame({"examples": verdicts.size(), "no_claim": verdicts.apply(lambda v: v.isna().sum())})
    table["checked"] = table["examples"] - table["no_claim"]
    table["true"] = verdicts.apply(lambda v: (v == True).sum())  # noqa: E712 (an array)
    return table.assign(share_true=table["true"] / table["checked"].where(table["checked"] > 0))


# The state, read back from a prompt -----------------------------------------------------------------------


def _card_state(situation: str) -> State:
    pattern = r"Your card is (J|Q|K)\. You are (first|second)\. History: (.+)\. Choose .+\."
    card, _, past = _match(pattern, situation).groups()
    return State(card=card, legal=FACING if "BET" in past else FREE)


def _rounds_state(action: str, read: Callable[[str], Any], **facts: str) -> Callable[[str], State]:
    """Reads "Round 2 of 4. History (you, other): 6 5 deal. Choose ..." and the `facts` before the history."""

    def state(situation: str) -> State:
        head, past = _match(r"(.+) History \(you, other\): (.+)\. Choose .+", situation).groups()
        pattern = rf"({action}) ({action})(?: (.+))?"
        rows = [] if past == "none" else [_match(pattern, row).groups() for row in past.split("; ")]
        found = State(
            round=int(_match(r"Round (\d+) of .+", head)[1]),
            mine=[read(row[0]) for row in rows],
            theirs=[read(row[1]) for row in rows],
            outcomes=[row[2] for row in rows],
        )
        last = {"mine": found.mine, "theirs": found.theirs, "outcome": found.outcomes}
        found.last = State(**{name: values[-1] if values else None for name, values in last.items()})
        for name, text in facts.items():
            setattr(found, name, json.loads(_match(rf".*{text}.*", head)[1]))
        return found

    return state


def _demands_state(situation: str) -> State:
    state = _rounds_state(_VECTOR, json.loads, pool=rf"Pool: ({_VECTOR})\.", values=rf"values: ({_VECTOR})\.")
    found = state(situation)
    found.legal = legal_demands(tuple(found.pool))
    found.exact = [p * v / 10 for p, v in zip(found.pool, found.values, strict=True)]
    return found


def _with_legal(state: Callable[[str], State], legal: tuple) -> Callable[[str], State]:
    return lambda situation: State(**vars(state(situation)), legal=legal)


def _match(pattern: str, text: str) -> re.Match:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise ValueError(f"The text '{text}' is not of the form {pattern}, so no state can be read from it.")
    return match


_VECTOR = r"\[\d, \d, \d\]"

# The claims ----------------------------------------------------------------------------------------------


def _near(action, state) -> bool:
    """Each demand is a nearest whole number to pool * value / 10."""
    return all(abs(a - exact) <= 0.5 for a, exact in zip(action, state.exact, strict=True))


def _below(action, state) -> bool:
    """At most 0.8 of a nearest whole share of each item, less than one unit lower, and less in all."""
    shares = [{floor(e + 0.5), ceil(e - 0.5)} for e in state.exact]
    fits = [any(a <= 0.8 * s < a + 1 for s in share) for a, share in zip(action, shares, strict=True)]
    return all(fits) and sum(action) < sum(max(share) for share in shares)


def _one_best(action, state) -> bool:
    """One unit, of an item with the highest value; and the value-proportional share is below two units."""
    own = [v for a, v in zip(action, state.values, strict=True) if a]
    return sum(action) == 1 and own == [max(state.values)] and max(state.exact) <= 1.5


def _gives_up(action, state, item: str) -> bool:
    """One unit less of `item`, the cheapest of those demanded, after a breakdown."""
    if state.last.outcome != "no deal":
        return False
    index = ("book", "hat", "ball").index(item)
    lost = [before - now for before, now in zip(state.last.mine, action, strict=True)]
    cheapest = min(v for v, units in zip(state.values, state.last.mine, strict=True) if units)
    return lost == [int(i == index) for i in range(3)] and state.values[index] == cheapest


def _left_over(action, state) -> bool:
    theirs = state.last.theirs
    return theirs is not None and [a + t for a, t in zip(action, theirs, strict=True)] == state.pool


_SAID = {"cooperate": COOPERATE, "defect": DEFECT}
_RANK = {"LOW": 1, "MEDIUM": 2, "HIGH": 3}
_BY_CHANCE: Claims = {r"I choose at random this time\.|I leave this choice to chance\.": None}

# The words of a claim are followed by what must hold of the state s and the action a.
_IPD: Claims = {
    **_BY_CHANCE,
    r"(?:It is the first round|We are just starting), so I cooperate\.": lambda s, a: (
        s.round == 1 and a == COOPERATE
    ),
    r"They (cooperate|defect)e?d last round, so I (cooperate|defect)\.": lambda s, a, they, me: (
        s.last.theirs == _SAID[they] and a == _SAID[me]
    ),
    r"They defected last round, but I forgive and cooperate\.": lambda s, a: (
        s.last.theirs == DEFECT and a == COOPERATE
    ),
    r"They have never defected, so I cooperate\.": lambda s, a: (
        s.round > 1 and DEFECT not in s.theirs and a == COOPERATE
    ),
    r"They have defected before, so I defect from now on\.": lambda s, a: DEFECT in s.theirs and a == DEFECT,
    r"I always defect, whatever they do\.": lambda s, a: {*s.mine, a} == {DEFECT},
    # T > R and P > S: defecting pays more against either move
    r"Defecting pays more against any move\.": lambda s, a: {*s.mine, a} == {DEFECT},
    r"I always cooperate, whatever they do\.|I cooperate in every single round\.": lambda s, a: (
        {*s.mine, a} == {COOPERATE}
    ),
}
_AUCTION: Claims = {
    **_BY_CHANCE,
    r"My value is (\d), so I bid half of it\.": lambda s, a, v: s.value == int(v) == 2 * _RANK[a],
    r"It is the first round, so I bid half my value\.": lambda s, a: s.round == 1 and s.value == 2 * _RANK[a],
    r"My value is only 2, so I bid LOW\.": lambda s, a: s.value == 2 and a == "LOW",
    r"My value is 4, so I bid HIGH to win\.": lambda s, a: s.value == 4 and a == "HIGH",
    r"They bid (\w+) last round, but my value is only 2\.": lambda s, a, bid: (
        s.last.theirs == bid and s.value == 2 and a == "LOW"
    ),
    r"They bid HIGH last round, so I match it\.": lambda s, a: s.last.theirs == "HIGH" == a,
    r"They bid (\w+) last round, so I go one higher\.": lambda s, a, bid: (
        s.last.theirs == bid and _RANK[a] == _RANK[bid] + 1
    ),
}
_SPLIT: Claims = {
    r"I always ask for half of the points\.|An even split is fair to both\.": lambda s, a: (
        {*s.mine, a} == {5}
    ),
    r"I always ask for one more than half\.|I want a bit more than half\.": lambda s, a: {*s.mine, a} == {6},
    r"It is the first round, so I try 6\.": lambda s, a: s.round == 1 and a == 6,
    r"No round broke down, so I stay at 6\.": lambda s, a: (
        s.round > 1 and "no deal" not in s.outcomes and s.last.mine == a == 6
    ),
    r"A round broke down, so I give in to 5\.": lambda s, a: "no deal" in s.outcomes and a == 5,
    r"It is the first round, so I ask for half\.": lambda s, a: s.round == 1 and a == 5,
    r"They asked for (\d) last round, so I take the rest\.": lambda s, a, n: (
        s.last.theirs == int(n) == 10 - a
    ),
    r"I pick a number from 3 to 7 at random\.": lambda s, a: 3 <= a <= 7,
}
_DEAL: Claims = {
    r"I ask for each item in proportion to its value\.|My share of each item follows its value\.": (
        lambda s, a: _near(a, s) and all(demand == list(a) for demand in s.mine)
    ),
    r"I ask for a bit less than my share\.|I stay below my share to get a deal\.": (
        lambda s, a: _below(a, s) and all(demand == list(a) for demand in s.mine)
    ),
    r"My share is small, so I ask for one unit\.": lambda s, a: _one_best(a, s),
    r"It is the first round, so I try my share\.": lambda s, a: s.round == 1 and _near(a, s),
    r"We had a deal last round, so I keep my demand\.": lambda s, a: (
        s.last.outcome not in (None, "no deal") and s.last.mine == list(a)
    ),
    r"No deal last round, but I keep my last unit\.": lambda s, a: (
        s.last.outcome == "no deal" and s.last.mine == list(a) and sum(a) == 1
    ),
    r"No deal last round, so I give up one (book|hat|ball)\.": lambda s, a, item: _gives_up(a, s, item),
    r"It is the first round, so I ask for half\.": lambda s, a: (
        s.round == 1 and all(units - 2 * n in (0, 1) for n, units in zip(a, s.pool, strict=True))
    ),
    r"I ask for what they left last round\.|I take what their last demand left over\.": (
        lambda s, a: _left_over(a, s)
    ),
}
_KUHN: Claims = {
    **_BY_CHANCE,
    r"I hold K, the best card, so I (bet|call)\.": lambda s, a, word: s.card == "K" and a == word.upper(),
    r"I hold Q, the middle card, so I pass\.": lambda s, a: s.card == "Q" and a == "PASS",
    r"I hold Q, and this time I (call|fold)\.": lambda s, a, word: s.card == "Q" and a == word.upper(),
    r"I hold J, the worst card, so I fold\.": lambda s, a: s.card == "J" and a == "FOLD",
    r"I hold J, and this time I bluff\.": lambda s, a: s.card == "J" and a == "BET",
    r"I hold J, and this time I pass\.": lambda s, a: s.card == "J" and a == "PASS",
    r"I only bet with K, so I pass\.": lambda s, a: s.card != "K" and a == "PASS",
    r"I only call with K, so I fold\.": lambda s, a: s.card != "K" and a == "FOLD",
    r"I hold Q and keep the pot small\.": lambda s, a: s.card == "Q" and a == "PASS",
    r"I hold Q and add no more chips\.": lambda s, a: s.card == "Q" and a in ("PASS", "FOLD"),
}

#: The games whose reasons can be checked; `LANGUAGES["mine"] = Language(...)` adds your own.
LANGUAGES: dict[str, Language] = {
    IPD.name: Language(_with_legal(_rounds_state(r"[A-Z]+", str), ACTIONS), _IPD),
    Auction.name: Language(
        _with_legal(_rounds_state(r"[A-Z]+", str, value=r"Your value is (\d)\."), tuple(_RANK)), _AUCTION
    ),
    Split.name: Language(_with_legal(_rounds_state(r"\d", int), tuple(range(1, 10))), _SPLIT),
    Deal.name: Language(_demands_state, _DEAL),
    Kuhn.name: Language(_card_state, _KUHN),
}
