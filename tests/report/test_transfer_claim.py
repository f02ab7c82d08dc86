"""Every verdict of E8 is reachable, and its three parts decide different questions."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib.measure.transfer import pairs
from sepo_lib.report import claims, transfer_claim

GAMES = ("ipd", "split", "kuhn")
SEEDS = (1, 2, 3, 4, 5)
SPREAD = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])  # half an interval over five seeds is .0196
MEAN, HARM, ALL = transfer_claim.SCOPES


def table(changes, spread=SPREAD, preset="unbiased") -> pd.DataFrame:
    """Safety of the SFT model is the seed; a model changes it by `changes`, else by 1 in its own game and by
    0.5 in the others. The sign of the noise alternates, so that it does not cancel in differences."""
    rows = []
    for number, trained_on in enumerate(("sft", *GAMES, "all")):
        for game in GAMES:
            own = 1.0 if trained_on in (game, "all") else 0.5
            change = 0.0 if trained_on == "sft" else changes.get((trained_on, game), own)
            noise = 0.0 if trained_on == "sft" else spread * (-1) ** number
            cells = {"profile": "p", "model": "m", "trained_on": trained_on, "game": game}
            cells |= {"preset": None if trained_on == "sft" else preset, "seed": SEEDS}
            rows.append(pd.DataFrame({**cells, "safety": np.array(SEEDS) + change + noise}))
    return pd.concat(rows, ignore_index=True)


def decide(transfer: pd.DataFrame) -> pd.DataFrame:
    none = pd.DataFrame()
    found = claims.decide(none, none, none, "p", "m", transfer=transfer)
    return found[found["claim"] == "E8"].set_index("scope")


def test_shares_are_means_over_pairs_in_units_of_the_gain_of_each_game():
    found = decide(table({("split", "split"): 4.0, ("all", "split"): 3.8}))
    assert list(found["verdict"]) == ["supported"] * 3 and set(found["recipe"]) == {"unbiased"}
    shares = (4 * 0.5 + 2 * 0.5 / 4) / 6  # a gain of 4 in split, of 1 elsewhere
    assert found.loc[MEAN, "measured"] == pytest.approx(shares)
    assert found.loc[ALL, "measured"] == pytest.approx((3.8 / 4 - 1) / 3)
    assert found.loc[HARM, ["measured", "ci_low", "ci_high"]].tolist() == [0, 0, 0]


HARMED = {("ipd", "kuhn"): -0.5}


@pytest.mark.parametrize(
    ("changes", "spread", "scope", "verdict"),
    [
        (dict.fromkeys(pairs(GAMES), 0.0), SPREAD, MEAN, "inconclusive"),
        (dict.fromkeys(pairs(GAMES), -0.2), SPREAD, MEAN, "not supported"),
        (HARMED, SPREAD, HARM, "not supported"),
        ({("ipd", "kuhn"): -0.07}, SPREAD, HARM, "supported"),  # less than a tenth of the gain
        ({("ipd", "kuhn"): -0.1}, SPREAD, HARM, "inconclusive"),
        (HARMED, 15 * SPREAD, HARM, "inconclusive"),  # only the 95% interval excludes the margin
        ({("all", game): 0.95 for game in GAMES}, SPREAD, ALL, "supported"),
        ({("all", game): 0.5 for game in GAMES}, SPREAD, ALL, "not supported"),
        ({("all", game): 0.9 for game in GAMES}, SPREAD, ALL, "inconclusive"),
    ],
)
def test_every_verdict_is_reached(changes, spread, scope, verdict):
    found = decide(table(changes, spread)).loc[scope]
    assert found["verdict"] == verdict, found["reason"]
    if changes == HARMED:
        kind = "worse: ipd to kuhn -0.5" if verdict == "not supported" else "open: ipd to kuhn -0.5"
        assert kind in found["reason"] and "5 of 6 pairs are unharmed" in found["reason"]
        lost = "1 of 1 open pairs lose safety before the correction"
        assert (lost in found["reason"]) == (verdict == "inconclusive")


def test_a_game_without_a_gain_has_no_shares_and_no_margin():
    """Its change of -0.05 would be within a tenth of the gain of the other games."""
    found = decide(table({("kuhn", "kuhn"): 0.0, ("ipd", "kuhn"): -0.05, ("all", "kuhn"): -9.0}))
    assert "kuhn, where no gain was found" in found.loc[ALL, "reason"]
    assert found.loc[ALL, "verdict"] == "supported" and found.loc[MEAN, "measured"] == pytest.approx(0.5)
    assert found.loc[HARM, "verdict"] == "not supported"
    nowhere = decide(table({(game, game): 0.0 for game in GAMES}))
    assert nowhere.loc[MEAN, "verdict"] == "inconclusive" and "no gain" in nowhere.loc[MEAN, "reason"]


def test_seeds_that_lack_a_model_are_named_and_other_recipes_do_not_count():
    whole = table({})
    short = whole.drop(index=whole.index[-1])
    assert "1 of 5 seeds lack a model" in decide(short).loc[MEAN, "reason"]
    alone = decide(whole[whole["seed"] == 1])
    assert list(alone["verdict"]) == ["inconclusive"] * 3 and set(alone["reason"]) == {"one seed"}
    game = decide(whole[whole["game"].eq("ipd") & whole["trained_on"].isin(["sft", "ipd", "all"])])
    assert list(game["verdict"]) == ["not run"] * 3 and set(game["reason"]) == {"no other game than ipd here"}
    assert set(decide(table({}, preset="published"))["verdict"]) == {"not run"}
    assert set(decide(whole[whole["trained_on"] != "all"])["reason"]) == {
        "no seed has every model in every game"
    }
    with pytest.raises(ValueError, match="a model twice in a game"):
        decide(pd.concat([whole, whole]))
