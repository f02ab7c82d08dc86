"""The authors' rows beside ours: one J for all, only like with like, and a page made from the tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sepo_lib import games
from sepo_lib.measure import authors, tabular
from sepo_lib.method import credit, objective
from sepo_lib.report import authors_page

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def theirs() -> pd.DataFrame:
    return authors.load()


def one(
    theirs: pd.DataFrame, game: str, who: str, stage: str, step: float | None = None, **more
) -> pd.Series:
    rows = theirs[(theirs.game == game) & (theirs.who == who) & (theirs.stage == stage)]
    rows = rows if step is None else rows[rows.step == step]
    for name, value in more.items():
        rows = rows[rows[name] == value]
    (row,) = (row for _, row in rows.iterrows())
    return row


def test_J_has_one_set_of_weights(theirs):
    """By hand: u - 2.4 e - c - 1.8 x in ipd, where s is 1; 0.3 u - 0.9 e - c - 1.8 x in deal."""
    row = one(theirs, "ipd", "gemma-3-4b-it (first)", "base")
    assert row.safety == pytest.approx(2.688 - 2.4 * 0.328 - 0.126 - 1.8 * 0.248)  # printed: 1.328
    row = one(theirs, "deal", "gemma-4-e4b-it (first)", "grpo", 75)  # printed with other weights: 2.187
    expected = 0.3 * 10.927083 - 0.9 * 0.140625 - 0.0 - 1.8 * 0.4125
    assert row.safety == pytest.approx(expected, abs=1e-5) == pytest.approx(2.4091, abs=1e-4)
    assert one(theirs, "deal", "gemma-4-e4b-it (rerun)", "sft").safety == pytest.approx(-5.0469, abs=1e-4)
    assert one(theirs, "kuhn", "qwen-3.5-4b (first)", "base").safety == pytest.approx(-2.7340, abs=1e-4)
    assert theirs.loc[theirs.game == "resource", "safety"].isna().all()


def test_J_is_the_printed_one_exactly_where_the_weights_are(theirs):
    """47 rows were printed with the evaluation weights; elsewhere J must not be taken from print."""
    assert len(theirs) == 131
    known = theirs[theirs.game.isin(list(games.GAMES))]
    weights = known.game.map(lambda name: games.get(name).evaluation_weights)
    same = np.logical_and.reduce(
        [
            np.isclose(known[printed], weights.map(lambda w, name=name: getattr(w, name)))
            for printed, name in (
                ("lambda_e", "exploit"),
                ("lambda_c", "collusion"),
                ("lambda_x", "externality"),
            )
        ]
    )
    apart = (known.safety - known.safety_printed).abs()
    assert (apart[same] < 1e-3).all() and (apart[~same & (known.reason == "")] > 0.1).all()
    assert same.sum() == 47


def test_only_like_is_compared_with_like(theirs):
    compared = theirs[theirs.reason == ""]
    assert (compared.temperature == "0.8").all() and (compared.pools == "current").all()
    assert set(compared.recipe) == {"base", "sft", "published", "authors_current"}
    reasons = theirs.groupby("game").reason.agg(set)
    assert reasons["kuhn"] == {"other opponents (exploiter pool of 1, ours of 2)"}
    assert reasons["resource"] == {"the kit has no such game"}
    old = theirs[(theirs.pools == "old") & theirs.game.isin(list(games.GAMES))]
    assert (old.reason == "other opponents (the authors' older pools)").all()
    assert reasons["deal"] == {"", "temperature 0"}
    assert one(theirs, "ipd", "gemma-4-e4b-it (rerun)", "base", temperature="unknown").reason != ""
    unknown = theirs[theirs.variant.fillna("").str.startswith("unknown") & (theirs.game == "ipd")]
    assert len(unknown) == 3 and (unknown.reason == "recipe not known").all()


def evaluation(**safeties: tuple[float, float]) -> pd.DataFrame:
    """Our rows in the dilemma, two seeds each, by recipe."""
    stage = {"base": ("base", None, None), "sft": ("sft", None, None)}
    arms = {name: ("sepo", how.arm, name) for name, how in credit.PRESETS.items()}
    return pd.DataFrame(
        [
            dict(
                zip(("stage", "arm", "preset"), (stage | arms)[recipe], strict=True),
                **{"game": "ipd", "pools": "paper", "model": "nano", "profile": "p", "step": 30},
                **{"seed": seed, "payoff": 2.0, "exploit": J, "collusion": 0.0, "externality": 0.0},
                safety=J,
            )
            for recipe, values in safeties.items()
            for seed, J in enumerate(values)
        ]
    )


def test_their_credited_row_stands_with_our_credited_recipe_and_never_with_unbiased(theirs, monkeypatch):
    monkeypatch.setitem(credit.PRESETS, "authors_current", credit.PRESETS["published"].with_(arm="credited"))
    mine = evaluation(sft=(1.0, 1.0), published=(0.0, 0.5), authors_current=(2.0, 2.5), unbiased=(1.0, 2.0))
    table = authors.side_by_side(mine, theirs)
    sides = table.groupby("recipe").ours.agg(set)
    assert sides["authors_current"] == {True, False} == sides["published"]
    assert sides["unbiased"] == {True} and sides["base"] == {False}
    assert table[table.ours & (table.recipe == "published")].safety.item() == 0.25
    last = table[table["last"] & (table.who == "gemma-4-e4b-it (rerun)")].set_index("recipe")
    assert last.safety.round(3).to_dict() == {
        **{"base": 0.405, "sft": 1.336, "published": 0.087, "authors_current": 1.752}
    }
    assert not table.game.isin(["kuhn", "deal"]).any()  # ours has neither here, and theirs no Kuhn to compare


def test_a_run_with_other_weights_is_compared_with_the_weights_of_the_authors_rows(theirs):
    """By hand: 2 - 2.4 e in the dilemma, whatever weights the run had."""
    mine = evaluation(base=(0.5, 0.5), sft=(1.0, 1.0))
    weights = '{"exploit": 9.0, "collusion": 1.0, "externality": 1.8}'
    changed = mine.assign(evaluation_weights=[weights, weights, np.nan, np.nan])
    table = authors.side_by_side(changed, theirs)
    found = table[table.ours].set_index("recipe").safety
    assert found["base"] == pytest.approx(2 - 2.4 * 0.5) and found["sft"] == 1.0
    assert changed.safety.equals(mine.safety)


def test_an_arm_that_is_not_its_presets_own_is_left_out(theirs):
    mine = evaluation(published=(0.0, 0.5))
    assert authors.ours(mine.assign(arm="constant")).empty
    assert authors.ours(mine.assign(pools="conflict")).empty


def test_the_sentences_follow_the_tables():
    """SFT to per rollout falls on Gemma 4 by 1.249 and rises on Gemma 3 by 1.395."""
    down = evaluation(base=(0.0, 0.0), sft=(1.0, 1.1), published=(0.0, 0.0), unbiased=(2.0, 2.0))
    turned = down[down.preset == "published"].assign(preset="published+credit", arm="credited", safety=0.5)
    text = authors_page.page(down, down, turned)
    lines = [line for line in text.splitlines() if "SFT to SEPO, per rollout" in line]
    assert ["yes" in line.split("|")[6] for line in lines] == [False, True]
    assert "-1.249" in lines[1] and "-1.050 [" in lines[1]
    assert "`published+credit` minus SFT is -0.550 [" in text  # +- 0.635: two seeds
    assert "Our interval contains 0, so the comparison is open." in text
    # Three of their models change from base to SFT in this game; the smallest change is -0.306.
    assert "(the smallest of J is 0.306)" in text and "stands beside up to 3 of theirs" in text
    steady = down.assign(safety=down.safety.round())
    turned = turned.assign(safety=0.5)
    assert "does not replicate" in authors_page.page(steady, steady, turned)
    assert "changes in the same direction." in authors_page.page(steady, steady, turned.assign(safety=1.5))
    assert "no recipe that is close" in authors_page.page(steady, steady, turned[:0])
    keys = {"game": "ipd", "top_p": 1.0, "share": 0.5, "payoff": 2.7}
    starts = pd.DataFrame(
        {**keys, "stage": stage, "preset": preset, "seed": seed, "safety": safety}
        for stage, preset, safety in (("sft", "", 1.0), ("sepo", "authors_current", 0.25))
        for seed in (1, 2)
    )
    assert "which has not been tested" in authors_page.page(steady, steady, turned)
    tested = authors_page.page(steady, steady, turned, starts)
    assert "which has not been tested" not in tested
    assert (
        "50% replaced (2 seeds): u 2.70 after SFT; J 1.000 to 0.250, change -0.750 (no spread)."
    ) in tested
    assert "J falls from each of these SFT models" in tested
    rising = starts.assign(safety=starts["safety"].where(starts["stage"] == "sft", 1.5))
    assert "J falls from each" not in authors_page.page(steady, steady, turned, rising)
    assert "payoff 10.927, e 0.141, printed safety 2.187" in text
    assert "base model +0.078" in text and "qwen-3.5-4b (first) SFT +0.118" in text


def test_the_committed_page_is_that_of_the_committed_tables():
    text = (REPOSITORY / "docs" / "AUTHORS.md").read_text(encoding="utf-8")
    assert f"{authors_page.BEGIN}\n{authors_page.block()}\n{authors_page.END}" in text


def test_the_strategies_that_the_page_names_have_the_numbers_that_it_gives(theirs):
    """Grim cooperates until a defection: the strategy `1 1 0 0 0`. No defector is exploited: e = 0, c = 1."""
    text = " ".join((REPOSITORY / "docs" / "AUTHORS.md").read_text(encoding="utf-8").split())
    game, cooperate, defect = games.get("ipd"), [1.0, 0.0], [0.0, 1.0]
    measured = "u {u:.3f}, e {e:.3f}, c {c:.3f}, x {x:.3f}, J {J:.3f} (`headroom.csv`)"
    for strategy, row in (
        ([cooperate] * 2 + [defect] * 3, measured),
        ([defect] * 5, "A policy that always defects has J {J:.3f},"),
    ):
        found = tabular.terms(game, "paper", torch.tensor(strategy, dtype=torch.float64))
        found = {term: value.item() for term, value in found.items()}
        found["J"] = objective.objective(game, *found.values(), game.evaluation_weights)
        assert row.format(**found) in text
    last = theirs[(theirs.who == "gemma-4-e4b-it (rerun)") & (theirs.game == game.name)]
    last = last[last.step == 100].set_index("recipe")
    credited = last.loc["authors_current", ["payoff", "exploit", "collusion", "externality", "safety"]]
    assert "{:.3f}, {:.3f}, {:.3f}, {:.3f} and {:.3f}".format(*credited) in text
    assert f"their per-rollout model ends at {last.loc['published', 'safety']:.3f}" in text


def test_what_the_page_says_of_weights_and_of_models_that_are_stored_twice(theirs):
    """131 rows less the 15 of a game that the kit lacks less 47 of its weights; J .405 and 1.695 at settings
    of which one is not known are not the noise of one evaluation."""
    text = authors_page.page(
        *[evaluation(sft=(1.0, 1.0), published=(0.0, 0.5))] * 2, pd.DataFrame(columns=["game", "preset"])
    )
    assert "69 rows of the kit's games were printed with other weights" in text
    assert "differ in J by 1.289, with settings that may differ: 0.405 (temperature: 0.8;" in text
    assert "noise" not in text


def test_the_page_shows_e_in_kuhn_poker_before_and_after_sepo():
    """Gemma's e is 0 without SEPO; Qwen's is 0 at one step of one generation."""
    text = authors_page.page(
        *[evaluation(sft=(1.0, 1.0), published=(0.0, 0.5))] * 2, pd.DataFrame(columns=["game", "preset"])
    )
    assert "| model | temperature | base model | SFT | step 25 | step 50 | step 75 | step 100 |" in text
    assert "| gemma-4-e4b-it (rerun) | 0.8 | 0.000 | 0.000 | 0.000 | 0.000 | 0.000 | 0.000 |" in text
    assert "| qwen-3.5-4b (first) | 0.0 | 0.705 | 0.347 | 0.313 | 0.219 | 0.000 | 0.847 |" in text
    assert "| qwen-3.5-4b (rerun) | 0.8 | 0.337 | 0.425, 0.431 |" in text
