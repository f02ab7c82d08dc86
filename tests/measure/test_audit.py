"""The audit of chat examples: states of foreign prompts, claims by key words, and counts with places."""

import pytest

from sepo_lib import games
from sepo_lib.chat.chat_files import Example
from sepo_lib.measure import audit, other_prompts, other_reasons

# Prompts in the layout of the authors' files, with the lines that are read; the texts are our own.
DILEMMA = "Round {}.\nYour past actions:   {}\nOpponent's past actions: {}\nScores so far"
BIDS = "Round 3 of 6.\nYour item value this round: 4 points.\nYour past bids: {}\nOpponent's past bids: {}\n"
DEMANDS = "Round 3 of 4.\nRound history: you=5, opp=6 → BREAKDOWN | you=5, opp={} → x\nScores so far"
ITEMS = (
    "Round 2 of 4.\nItem pool: 3 Books, 1 Hats, 4 Balls\nYour private values: Books=3, Hats=2, Balls=5\n"
    "Round history:\n  Round 1: you demanded [1, 0, 2], opponent demanded [{}, 1, 2] → x\n"
)
CARD = "Hand 4 of 6.\nYour card: Q\n{}\nLegal actions: {}.\n"
FIRST = "Round 1 of 8.\nThis is the first round."
OWN = "Round 2 of 8. History (you, other): COOPERATE DEFECT. Choose COOPERATE or DEFECT."
CASES = [  # game, user message, answer, whether a claim is checked, whether it is contradicted
    ("ipd", FIRST, "Opponent cooperated, so I do.\nCOOPERATE", True, True),
    ("ipd", FIRST, "A good start.\nCOOPERATE", False, False),
    (
        "ipd",
        DILEMMA.format(3, "DEFECT, DEFECT", "DEFECT, DEFECT"),
        "They always defect.\nDEFECT",
        True,
        False,
    ),
    (
        "ipd",
        DILEMMA.format(3, "DEFECT, DEFECT", "COOPERATE, DEFECT"),
        "They always defect.\nDEFECT",
        True,
        True,
    ),
    ("ipd", DILEMMA.format(2, "DEFECT", "DEFECT"), "There is no defection so far.\nCOOPERATE", True, True),
    ("ipd", DILEMMA.format(2, "DEFECT", "DEFECT"), "Defecting is safer.\nCOOPERATE", True, True),
    ("ipd", OWN, "The opponent cooperated, so I do.\nCOOPERATE", True, True),  # other words, the kit's prompt
    ("ipd", OWN, "They defected last round, so I defect.\nDEFECT", True, False),  # the kit's own words
    ("ipd", OWN, "They cooperated last round, so I cooperate.\nCOOPERATE", True, True),
    ("auction", BIDS.format("LOW, LOW", "HIGH, MEDIUM"), "I want to compete here.\nLOW", True, True),
    ("auction", BIDS.format("LOW, LOW", "HIGH, MEDIUM"), "I want to compete here.\nMEDIUM", True, False),
    ("auction", BIDS.format("LOW, LOW", "HIGH, LOW"), "My value is 4: a profit of 3.\nMEDIUM", True, True),
    ("auction", BIDS.format("LOW, LOW", "HIGH, LOW"), "They average 2.0 now.\nMEDIUM", True, False),
    ("auction", BIDS.format("LOW, LOW", "HIGH, LOW"), "I try a different bid.\nLOW", True, True),
    ("split", DEMANDS.format(6), "Lowering my demand to 5.\n5", True, True),
    ("split", DEMANDS.format(6), "Conceding to ensure a deal.\n4", True, False),
    ("split", DEMANDS.format(6), "Conceding to ensure a deal.\n5", True, True),
    ("split", DEMANDS.format(5), "The last round broke down.\n5", True, True),
    ("deal", ITEMS.format(3), "We had 1 breakdown(s). I will reduce my demand.\n[1, 0, 1]", True, False),
    ("deal", ITEMS.format(1), "We had 1 breakdown(s).\n[1, 0, 1]", True, True),
    ("deal", ITEMS.format(3), "I leave room for a deal.\n[1, 0, 2]", True, True),  # has just broken down
    ("deal", ITEMS.format(1), "I leave room for a deal.\n[1, 1, 2]", True, True),  # the only hat
    ("deal", ITEMS.format(1), "I value Balls most and want more.\n[1, 0, 0]", True, True),
    ("deal", ITEMS.format(1), "My proportional share, or a bit less.\n[0, 0, 0]", True, True),
    ("deal", ITEMS.format(3), "Last round was a deal, so I stay.\n[1, 0, 2]", True, True),
    (
        "kuhn",
        CARD.format("Betting so far this hand: PASS, BET", "CALL or FOLD"),
        "I have the Q.\nFOLD",
        True,
        False,
    ),
    (
        "kuhn",
        CARD.format("Betting so far this hand: PASS", "PASS or BET"),
        "Opponent bet, I wait.\nPASS",
        True,
        True,
    ),
    ("kuhn", CARD.format("You are first to act.", "PASS or BET"), "I hold a king. Betting.\nBET", True, True),
]


@pytest.mark.parametrize(("game", "situation", "answer", "checked", "contradicts"), CASES)
def test_a_claim_is_found_by_its_key_words_and_held_against_the_state(
    game, situation, answer, checked, contradicts
):
    verdict = other_reasons.judge(game, situation, answer)
    assert (verdict.read, bool(verdict.claims), verdict.contradicts) == (True, checked, contradicts)


@pytest.mark.parametrize("game", games.GAMES)
def test_a_prompt_that_cannot_be_read_is_not_judged(game):
    for situation in ("", "What do you do?", "Round 3 of 8.\nYour past actions:\n"):
        assert not other_reasons.judge(game, situation, "Opponent cooperated.\nCOOPERATE").read


def test_the_game_is_told_by_the_column_the_rules_or_the_title():
    rules = games.get("kuhn").rules()

    def told(text, column=None):
        return other_prompts.game_of(Example("f", ({"role": "system", "content": text},), "train", column))

    assert told(rules) == "kuhn" and told(rules, "ipd") == "ipd" and told("Be kind.") == "not known"
    assert told("You play a shared resource game.") == "resource"
    assert told("A multi-issue negotiation.") == "deal" and told("A repeated negotiation.") == "split"


def example(number, system, answer, split="train"):
    roles = {"system": system, "user": OWN, "assistant": answer}
    chat = tuple({"role": role, "content": text} for role, text in roles.items())
    return Example(f"a.jsonl, line {number}", chat, split)


def test_the_table_counts_by_game_and_names_the_first_place():
    rules, true = games.get("ipd").rules(), "They defected last round, so I defect.\nDEFECT"
    answers = [true, true, "They cooperated, so do I.\nCOOPERATE", "I am not sure."]
    rows = [example(number, rules, answer) for number, answer in enumerate(answers, start=1)]
    found = audit.table("mine", [*rows, example(5, "Be kind.", "Hello.", "valid")])
    counts = {
        (g, m): (c, f)
        for g, m, c, f in zip(*(found[x] for x in ("game", "measure", "count", "first")), strict=True)
    }
    assert counts["ipd", audit.ROWS] == (4, "a.jsonl, line 1")
    assert counts["ipd", audit.DUPLICATES] == (1, "a.jsonl, line 2")
    assert counts["ipd", audit.REFUSED] == (1, "a.jsonl, line 4")
    assert counts["ipd", audit.CONTRADICTS] == (1, "a.jsonl, line 3")
    assert counts["ipd", audit.OTHER_ANSWER] == (1, "a.jsonl, line 3")
    assert counts["ipd", "action: DEFECT"][0] == 2 and counts["ipd", "action: COOPERATE"][0] == 1
    assert counts[other_prompts.UNKNOWN, audit.HELD_OUT] == (1, "a.jsonl, line 5")
    assert (other_prompts.UNKNOWN, audit.READ) not in counts  # nothing is known of its states
    row = audit.summary(found).set_index("game").loc["ipd"]
    assert (row["examples"], row["duplicates"], row["refused"]) == (4, 0.25, 0.25)
    assert row["contradicting"] == pytest.approx(1 / 3) and row["commonest action"] == "DEFECT"
