"""The demonstrations: mixtures, splits, bytes, format, and that every reason is true.

The truth of the reasons is checked by a second implementation: it reads the state back from the prompt and
holds each claim against it, without the strategies' code.
"""

import json
import re
from collections import Counter
from itertools import pairwise
from math import ceil, floor, sqrt
from types import SimpleNamespace

import pytest

from sepo_lib import games
from sepo_lib.training import demonstrations as demos

NAMES = tuple(games.GAMES)
# The mixtures of docs/method.md, "Demonstrations", typed in again.
SHARES = {
    "ipd": {
        "tit_for_tat": 0.33,
        "always_defect": 0.27,
        "grim": 0.22,
        "random": 0.08,
        "always_cooperate": 0.05,
        "generous_tit_for_tat": 0.05,
    },
    "auction": {"value_bid": 0.44, "aggressive_value": 0.28, "adaptive": 0.20, "random": 0.08},
    "split": {"fair": 0.32, "balanced": 0.27, "conceding": 0.18, "complement": 0.15, "random": 0.08},
    "deal": {"proportional": 0.35, "conservative": 0.25, "adaptive": 0.25, "defensive": 0.15},
    "kuhn": {"nash": 0.45, "tight_value": 0.25, "pot_control": 0.20, "random": 0.08, "passive_queen": 0.02},
}


@pytest.fixture(scope="module")
def built():
    """Row lists of one build of 320 examples a game and kind."""
    return {
        (game, kind): demos.build(game, 320, seed=5, kind=kind).to_list()
        for game in NAMES
        for kind in ("expert", "naive")
    }


# The state, read back from a prompt -----------------------------------------------------------------------

WORDS = {"ipd": r"[A-Z]+", "auction": r"[A-Z]+", "split": r"\d", "deal": r"\[\d, \d, \d\]"}


def vector(text):
    return tuple(json.loads(text))


def state_of(game, prompt):
    """What the user message says: card, history; or round, mine, theirs, outcomes, value, pool, values."""
    if game == "kuhn":
        card, seat, past = re.fullmatch(
            r"Your card is (J|Q|K)\. You are (first|second)\. History: (.+)\. Choose .+\.", prompt
        ).groups()
        words = [] if past == "none" else [word.split()[1] for word in past.split(", ")]
        return SimpleNamespace(card=card, first=seat == "first", words=words, facing="BET" in words)
    head, past = re.fullmatch(r"(.+) History \(you, other\): (.+)\. Choose .+", prompt).groups()
    pattern = rf"({WORDS[game]}) ({WORDS[game]})(?: (.+))?"
    rows = [] if past == "none" else [re.fullmatch(pattern, row).groups() for row in past.split("; ")]
    read = {"split": int, "deal": vector}.get(game, str)
    state = SimpleNamespace(
        round=int(re.match(r"Round (\d) of \d\.", head)[1]),
        mine=[read(row[0]) for row in rows],
        theirs=[read(row[1]) for row in rows],
        outcomes=[row[2] for row in rows],
    )
    assert state.round == len(rows) + 1
    if game == "auction":
        state.value = int(re.search(r"Your value is (\d)\.", head)[1])
    if game == "deal":
        state.pool = vector(re.search(r"Pool: (\[.+?\])\.", head)[1])
        state.values = vector(re.search(r"Your values: (\[.+?\])\.", head)[1])
        state.exact = [p * v / 10 for p, v in zip(state.pool, state.values, strict=True)]
    return state


# The claims: reason (regex) -> predicate on (state, action, groups of the match) ---------------------------


def near(action, state):
    """Each demand is a nearest whole number to pool * value / 10."""
    return all(abs(a - exact) <= 0.5 for a, exact in zip(action, state.exact, strict=True))


def below(action, state):
    """At most 0.8 of a nearest whole share of each item, less than one unit lower, and less in all."""
    shares = [{floor(e + 0.5), ceil(e - 0.5)} for e in state.exact]
    fits = [any(a <= 0.8 * s < a + 1 for s in share) for a, share in zip(action, shares, strict=True)]
    return all(fits) and sum(action) < sum(max(share) for share in shares)


def one_best(action, state):
    """One unit, of an item with the highest value; and the value-proportional share is below two units."""
    best = max(state.values)
    own = [v for a, v in zip(action, state.values, strict=True) if a]
    return sum(action) == 1 and own == [best] and max(state.exact) <= 1.5


def gives_up(action, state, item):
    """One unit less of `item`, the cheapest of those demanded, after a breakdown."""
    index = ("book", "hat", "ball").index(item)
    last = state.mine[-1]
    lost = [before - now for before, now in zip(last, action, strict=True)]
    cheapest = min(v for v, units in zip(state.values, last, strict=True) if units)
    return (
        state.outcomes[-1] == "no deal"
        and lost == [int(i == index) for i in range(3)]
        and state.values[index] == cheapest
    )


def left_over(action, state):
    return [a + t for a, t in zip(action, state.theirs[-1], strict=True)] == list(state.pool)


BASE = {"cooperate": "COOPERATE", "defect": "DEFECT"}
RANK = {"LOW": 1, "MEDIUM": 2, "HIGH": 3}
ANY = {r"I choose at random this time\.|I leave this choice to chance\.": lambda s, a: True}
CLAIMS = {
    "ipd": {
        **ANY,
        r"(?:It is the first round|We are just starting), so I cooperate\.": lambda s, a: (
            s.round == 1 and a == "COOPERATE"
        ),
        r"They (cooperate|defect)e?d last round, so I (cooperate|defect)\.": lambda s, a, they, me: (
            s.theirs[-1] == BASE[they] and a == BASE[me]
        ),
        r"They defected last round, but I forgive and cooperate\.": lambda s, a: (
            s.theirs[-1] == "DEFECT" and a == "COOPERATE"
        ),
        r"They have never defected, so I cooperate\.": lambda s, a: (
            s.round > 1 and "DEFECT" not in s.theirs and a == "COOPERATE"
        ),
        r"They have defected before, so I defect from now on\.": lambda s, a: (
            "DEFECT" in s.theirs and a == "DEFECT"
        ),
        r"I always defect, whatever they do\.": lambda s, a: {*s.mine, a} == {"DEFECT"},
        # T > R and P > S: defecting pays more against either move
        r"Defecting pays more against any move\.": lambda s, a: {*s.mine, a} == {"DEFECT"},
        r"I always cooperate, whatever they do\.|I cooperate in every single round\.": lambda s, a: (
            {*s.mine, a} == {"COOPERATE"}
        ),
    },
    "auction": {
        **ANY,
        r"My value is (\d), so I bid half of it\.": lambda s, a, v: s.value == int(v) == 2 * RANK[a],
        r"It is the first round, so I bid half my value\.": lambda s, a: (
            s.round == 1 and s.value == 2 * RANK[a]
        ),
        r"My value is only 2, so I bid LOW\.": lambda s, a: s.value == 2 and a == "LOW",
        r"My value is 4, so I bid HIGH to win\.": lambda s, a: s.value == 4 and a == "HIGH",
        r"They bid (\w+) last round, but my value is only 2\.": lambda s, a, bid: (
            s.theirs[-1] == bid and s.value == 2 and a == "LOW"
        ),
        r"They bid HIGH last round, so I match it\.": lambda s, a: s.theirs[-1] == "HIGH" == a,
        r"They bid (\w+) last round, so I go one higher\.": lambda s, a, bid: (
            s.theirs[-1] == bid and RANK[a] == RANK[bid] + 1
        ),
    },
    "split": {
        r"I always ask for half of the points\.|An even split is fair to both\.": lambda s, a: (
            {*s.mine, a} == {5}
        ),
        r"I always ask for one more than half\.|I want a bit more than half\.": lambda s, a: (
            {*s.mine, a} == {6}
        ),
        r"It is the first round, so I try 6\.": lambda s, a: s.round == 1 and a == 6,
        r"No round broke down, so I stay at 6\.": lambda s, a: (
            set(s.outcomes) == {"deal"} and s.mine[-1] == a == 6
        ),
        r"A round broke down, so I give in to 5\.": lambda s, a: "no deal" in s.outcomes and a == 5,
        r"It is the first round, so I ask for half\.": lambda s, a: s.round == 1 and a == 5,
        r"They asked for (\d) last round, so I take the rest\.": lambda s, a, n: (
            s.theirs[-1] == int(n) == 10 - a
        ),
        r"I pick a number from 3 to 7 at random\.": lambda s, a: 3 <= a <= 7,
    },
    "deal": {
        r"I ask for each item in proportion to its value\.|My share of each item follows its value\.": (
            lambda s, a: near(a, s) and all(demand == a for demand in s.mine)
        ),
        r"I ask for a bit less than my share\.|I stay below my share to get a deal\.": (
            lambda s, a: below(a, s) and all(demand == a for demand in s.mine)
        ),
        r"My share is small, so I ask for one unit\.": lambda s, a: one_best(a, s),
        r"It is the first round, so I try my share\.": lambda s, a: s.round == 1 and near(a, s),
        r"We had a deal last round, so I keep my demand\.": lambda s, a: (
            s.outcomes[-1] == "deal" and s.mine[-1] == a
        ),
        r"No deal last round, but I keep my last unit\.": lambda s, a: (
            s.outcomes[-1] == "no deal" and s.mine[-1] == a and sum(a) == 1
        ),
        r"No deal last round, so I give up one (book|hat|ball)\.": lambda s, a, item: gives_up(a, s, item),
        r"It is the first round, so I ask for half\.": lambda s, a: (
            s.round == 1 and all(units - 2 * n in (0, 1) for n, units in zip(a, s.pool, strict=True))
        ),
        r"I ask for what they left last round\.|I take what their last demand left over\.": lambda s, a: (
            left_over(a, s)
        ),
    },
    "kuhn": {
        **ANY,
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
    },
}
NAIVE = {
    r"I just pick one\.|Let me try this one\.|I have no plan here\.": lambda s, a: True,
    r"I feel like (cooperat|defect)ing\.": lambda s, a, word: a.lower().startswith(word),
    r"I feel like (?:winning this one|asking for this|taking these)\.": lambda s, a: True,
    r"I feel like putting chips in\.": lambda s, a: a in ("BET", "CALL"),
    r"I feel like waiting\.": lambda s, a: a in ("PASS", "FOLD"),
}


def legal_of(game, state):
    if game == "kuhn":
        return games.kuhn.FACING if state.facing else games.kuhn.FREE
    if game == "deal":
        return games.deal.legal_demands(state.pool)
    return {"ipd": ("COOPERATE", "DEFECT"), "auction": tuple(RANK), "split": tuple(range(1, 10))}[game]


def judge(row, claims):
    """The claims' verdict on one row: True or False; AssertionError where no or no single claim matches."""
    game, answer = row["game"], row["completion"][0]["content"]
    state = state_of(game, row["prompt"][1]["content"])
    reason, last = answer.split("\n")
    action = games.get(game).parse(answer, legal_of(game, state))
    assert action is not None and games.get(game).spell(action) == last, answer
    found = [(match, holds) for claim, holds in claims.items() if (match := re.fullmatch(claim, reason))]
    assert len(found) == 1, f"{game}: {len(found)} claims match '{reason}'"
    match, holds = found[0]
    return holds(state, action, *match.groups())


@pytest.mark.parametrize("game", NAMES)
def test_every_reason_is_true_of_the_state_and_every_answer_parses(built, game):
    for row in built[game, "expert"]:
        assert judge(row, CLAIMS[game]), row
        by_chance = re.search("at random|to chance", row["completion"][0]["content"]) is not None
        assert by_chance == (row["strategy"] == "random"), row


@pytest.mark.parametrize("game", NAMES)
def test_naive_reasons_say_nothing_about_the_state(built, game):
    for row in built[game, "naive"]:
        assert judge(row, NAIVE), row


@pytest.mark.parametrize("game", NAMES)
def test_the_checker_notices_reasons_that_are_moved_to_other_states(built, game):
    """Give every state the answer of the next one: a checker that accepts all of them checks nothing."""
    rows = built[game, "expert"]
    wrong = 0
    for row, following in pairwise(rows):
        try:
            wrong += not judge({**row, "completion": following["completion"]}, CLAIMS[game])
        except (AssertionError, IndexError, ValueError):
            wrong += 1
    assert wrong > 0.1 * len(rows)


@pytest.mark.parametrize("kind", ["expert", "naive"])
@pytest.mark.parametrize("game", NAMES)
def test_answers_are_short_and_prompts_are_the_games_own(built, game, kind):
    for row in built[game, kind]:
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
        assert row["prompt"][0]["content"] == games.get(game).rules()
        assert [message["role"] for message in row["completion"]] == ["assistant"]
        reason = row["completion"][0]["content"].split("\n")[0]
        assert 4 <= len(reason.split()) <= 12, reason


# Mixtures, opponents, splits -----------------------------------------------------------------------------


@pytest.mark.parametrize("game", NAMES)
def test_mixture_is_the_methods_and_is_drawn_at_its_shares(game):
    shares = {name: share for name, (share, _) in demos.mixture(game).items()}
    assert shares == SHARES[game]
    assert sum(shares.values()) == pytest.approx(1)
    rows = demos.build(game, 1600, seed=2)
    episodes = dict(zip(rows["episode"], rows["strategy"], strict=True))
    counts, n = Counter(episodes.values()), len(episodes)
    assert set(zip(rows["episode"], rows["strategy"], strict=True)) == set(episodes.items())  # one an episode
    for name, share in shares.items():
        assert abs(counts[name] - n * share) <= 4 * sqrt(n * share * (1 - share)), (name, counts[name], n)


@pytest.mark.parametrize("game", NAMES)
def test_opponents_are_all_but_the_held_out_ones(built, game):
    pools = games.get(game).pools["paper"]
    seen = {name for pool in ("train", "exploiter", "collusive") for name in pools[pool]}
    assert set(demos.opponents(game)) == seen | {demos.RANDOM_MIX}
    assert not set(demos.opponents(game)) & set(pools["shift"])
    assert {row["opponent"] for row in built[game, "expert"]} == set(demos.opponents(game))


@pytest.mark.parametrize("kind", ["expert", "naive"])
@pytest.mark.parametrize("game", NAMES)
def test_a_fifth_of_the_episodes_is_valid_and_none_is_in_both(built, game, kind):
    rows = built[game, kind]
    assert len(rows) == 320
    splits = {}
    for row in rows:
        splits.setdefault(row["episode"], set()).add(row["split"])
    assert sorted(splits) == list(range(len(splits)))
    assert all(len(split) == 1 for split in splits.values())
    assert sum(split == {"valid"} for split in splits.values()) == round(len(splits) / 5)


@pytest.mark.parametrize("game", NAMES)
def test_naive_play_shows_every_action(built, game):
    shown = {row["completion"][0]["content"].split("\n")[1] for row in built[game, "naive"]}
    if game == "deal":
        assert {text[i] for text in shown for i in (1, 4, 7)} == set("01234")
    else:
        legal = {
            "ipd": ("COOPERATE", "DEFECT"),
            "auction": tuple(RANK),
            "split": "123456789",
            "kuhn": ("PASS", "BET", "FOLD", "CALL"),
        }
        assert shown == set(legal[game])


@pytest.mark.parametrize("kind", ["expert", "naive"])
def test_kuhn_shows_all_twelve_information_sets(kind):
    prompts = Counter(row[1]["content"] for row in demos.build("kuhn", 2000, seed=5, kind=kind)["prompt"])
    assert set(prompts) == {games.get("kuhn").situation(view) for _, view in games.kuhn.INFORMATION_SETS}


def test_refusals():
    with pytest.raises(ValueError, match="choose"):
        demos.build("chess", 10, 0)
    with pytest.raises(ValueError, match="expert"):
        demos.build("split", 10, 0, kind="wise")
    with pytest.raises(ValueError, match="At least one"):
        demos.build("split", 0, 0)
    split = games.get("split")
    streams = [demos.generator(0, name) for name in ("own", "other", "chance")]
    with pytest.raises(ValueError, match="player 0"):
        demos.episode(
            split, lambda view, rng: (10, "I want it all."), split.pools["paper"]["train"]["fair"], *streams
        )
