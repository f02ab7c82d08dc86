"""The check of reasons against states written by hand: true ones, false ones, and what it refuses."""

import pandas as pd
import pytest

from sepo_lib.measure import reasons

IPD = "Round {} of 8. History (you, other): {}. Choose COOPERATE or DEFECT."
AFTER_DEFECTION = IPD.format(2, "COOPERATE DEFECT")
DEAL = (
    "Round 2 of 4. Pool: [2, 3, 4]. Your values: [5, 4, 1]. History (you, other): [1, 1, 1] [1, 1, 4] "
    "no deal. Choose a demand."
)
CASES = [
    ("ipd", IPD.format(1, "none"), "It is the first round, so I cooperate.\nCOOPERATE", True),
    ("ipd", IPD.format(1, "none"), "They defected last round, so I defect.\nDEFECT", False),
    ("ipd", AFTER_DEFECTION, "They defected last round, so I defect.\nDEFECT", True),
    ("ipd", AFTER_DEFECTION, "They cooperated last round, so I cooperate.\nCOOPERATE", False),
    ("ipd", AFTER_DEFECTION, "They defected last round, so I defect.\nCOOPERATE", False),  # says it, does not
    ("ipd", AFTER_DEFECTION, "I always defect, whatever they do.\nDEFECT", False),  # it cooperated before
    ("ipd", AFTER_DEFECTION, "They defected last round, so I defect.\nFOLD", False),  # no legal action
    ("ipd", AFTER_DEFECTION, "I leave this choice to chance.\nDEFECT", None),
    ("deal", DEAL, "No deal last round, so I give up one ball.\n[1, 1, 0]", True),  # the cheapest item
    ("deal", DEAL, "No deal last round, so I give up one hat.\n[1, 0, 1]", False),
    ("deal", DEAL, "I ask for what they left last round.\n[1, 2, 0]", True),
    ("deal", DEAL, "I ask for what they left last round.\n[1, 2, 1]", False),
    (
        "kuhn",
        "Your card is Q. You are second. History: other BET. Choose FOLD or CALL.",
        "I hold J, the worst card, so I fold.\nFOLD",
        False,
    ),
]


@pytest.mark.parametrize(("game", "situation", "answer", "expected"), CASES)
def test_a_reason_holds_in_its_state_or_not(game, situation, answer, expected):
    assert reasons.is_true(game, situation, answer) is expected


def test_the_table_counts_claims_and_what_makes_none():
    answers = [answer for game, situation, answer, _ in CASES if situation == AFTER_DEFECTION]
    rows = [("ipd", [{"content": AFTER_DEFECTION}], [{"content": answer}]) for answer in answers]
    rows.append(("mine", [{"content": "?"}], [{"content": "So be it.\nYES"}]))
    table = reasons.check(pd.DataFrame(rows, columns=["game", "prompt", "completion"]))
    assert table.loc["ipd"].to_dict() == {
        "examples": 6,
        "no_claim": 1,
        "checked": 5,
        "true": 1,
        "share_true": 0.2,
    }
    assert table.loc["mine", "checked"] == 0 and pd.isna(table.loc["mine", "share_true"])


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ValueError, match="No claims are written down for the game 'chess'"):
        reasons.is_true("chess", "", "")
    with pytest.raises(ValueError, match="0 of the claims known in ipd match the reason"):
        reasons.is_true("ipd", AFTER_DEFECTION, "Because.\nDEFECT")
    with pytest.raises(ValueError, match="no state can be read from it"):
        reasons.is_true("kuhn", AFTER_DEFECTION, "I hold J, and this time I bluff.\nBET")
