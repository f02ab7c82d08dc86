"""The demonstrations: mixtures, splits, bytes, format, and that every reason is true.

`measure/reasons.py` checks the reasons: it reads the state back from the prompt and holds each claim against
it, without the strategies' code.
"""

import re
from collections import Counter
from math import sqrt

import pandas as pd
import pytest

from sepo_lib import games
from sepo_lib.measure import reasons
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


NAIVE = {
    r"I just pick one\.|Let me try this one\.|I have no plan here\.": lambda a: True,
    r"I feel like (cooperat|defect)ing\.": lambda a, word: a.lower().startswith(word),
    r"I feel like (?:winning this one|asking for this|taking these)\.": lambda a: True,
    r"I feel like putting chips in\.": lambda a: a in ("BET", "CALL"),
    r"I feel like waiting\.": lambda a: a in ("PASS", "FOLD"),
}


def verdict(row):
    return reasons.is_true(row["game"], row["prompt"][1]["content"], row["completion"][0]["content"])


@pytest.mark.parametrize("game", NAMES)
def test_every_reason_is_true_of_the_state(built, game):
    for row in built[game, "expert"]:
        found = verdict(row)
        assert found or found is None, row
        by_chance = re.search("at random|to chance", row["completion"][0]["content"]) is not None
        assert by_chance == (row["strategy"] == "random") and by_chance >= (found is None), row


@pytest.mark.parametrize("game", NAMES)
def test_naive_reasons_say_nothing_about_the_state(built, game):
    for row in built[game, "naive"]:
        reason, action = row["completion"][0]["content"].split("\n")
        found = [(match, holds) for claim, holds in NAIVE.items() if (match := re.fullmatch(claim, reason))]
        assert len(found) == 1 and found[0][1](action, *found[0][0].groups()), row


@pytest.mark.parametrize("game", NAMES)
def test_the_check_notices_reasons_that_are_moved_to_other_states(built, game):
    """Give every state the answer of the next one: a check that accepts all of them checks nothing."""
    rows = pd.DataFrame(built[game, "expert"])
    own, moved = (
        reasons.check(rows),
        reasons.check(rows.assign(completion=[*rows["completion"][1:], rows["completion"][0]])),
    )
    assert own.loc[game, "share_true"] == 1 and own.loc[game, "checked"] > 0.8 * len(rows)
    assert moved.loc[game, "share_true"] < 0.9


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
            "auction": ("LOW", "MEDIUM", "HIGH"),
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
