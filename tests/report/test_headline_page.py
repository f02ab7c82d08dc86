"""The headline in words and tables: the directions follow from the intervals, and nothing is said without."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib.config import paths, profiles
from sepo_lib.measure import headline
from sepo_lib.measure.headline import ESTIMATORS
from sepo_lib.report import found, headline_page

NOISE = np.array([-0.01, 0.0, 0.01])
UP, DOWN, OPEN = 1.0 + NOISE, -1.0 + NOISE, 100 * NOISE
SEEDS = (1, 2, 3)


def rows(preset, arm, game, pools, safety, **more):
    keys = {"profile": "study", "model": "nano", "game": game, "pools": pools, "stage": "sepo", "step": 30}
    keys |= {"arm": arm, "preset": preset, "seed": list(SEEDS), "safety": safety}
    return pd.DataFrame({**keys, **more})


def arms(game, pools, penalty, switches):
    """The three arms of one place: `penalty` and `switches` are the differences by seed."""
    return [
        rows("unbiased", "reward_only", game, pools, 0.0 * NOISE),
        rows("unbiased", "credited", game, pools, penalty),
        rows("published", "reward_only", game, pools, -switches),
    ]


@pytest.mark.parametrize(
    ("penalty", "switches", "words"),
    [
        (OPEN, UP, "the other switches raise J and charging the penalty has no clear effect"),
        (UP, UP, "the other switches raise J and charging the penalty raises J"),
        (UP, OPEN, "the other switches have no clear effect and charging the penalty raises J"),
        (DOWN, UP, "the other switches raise J and charging the penalty lowers J"),
        (UP, DOWN, "the other switches lower J and charging the penalty raises J"),
        (OPEN, OPEN, "the other switches have no clear effect and charging the penalty has no clear effect"),
    ],
)
def test_what_does_the_work_is_decided_by_the_intervals(penalty, switches, words):
    table = pd.concat([*arms("ipd", "paper", penalty, switches), *arms("kuhn", "conflict", UP, UP)])
    text = found.written("04_ablations", "headline", effects=headline_page.effects(table))
    assert f"Prisoner's dilemma with paper pools, {words}." in text or (
        f"In Prisoner's dilemma with paper pools and Kuhn poker with conflict pools, {words}." in text
    )
    assert "horizon" not in text and "nan" not in text


def test_the_horizon_alone_stands_in_the_place_of_all_switches():
    """All switches together raise J by 5; the horizon alone lowers it by 1. Half a comparison is left out."""
    immediate = rows(headline.IMMEDIATE, "reward_only", "ipd", "paper", -DOWN)
    other = rows("unbiased", "credited", "deal", "paper", UP)
    early = rows("unbiased", "credited", "ipd", "paper", 9 + UP, step=15)
    table = pd.concat([early, *arms("ipd", "paper", OPEN, 5 * UP), immediate, other])
    seen = headline_page.effects(table)
    assert [one.name for one in seen.penalty] == ["Prisoner's dilemma with paper pools"]
    text = found.written("04_ablations", "headline", effects=seen)
    assert "makes J lower in Prisoner's dilemma with paper pools. The differences are" in text
    assert "The differences are Prisoner's dilemma with paper pools -1.00 [" in text
    assert text.endswith("pools, the horizon lowers J and charging the penalty has no clear effect.")
    assert "bargaining" not in text
    nothing = headline_page.effects(pd.DataFrame())
    assert "has not trained both" in found.written("04_ablations", "headline", effects=nothing)


def test_one_seed_decides_nothing_and_fewer_seeds_are_counted():
    table = pd.concat(arms("ipd", "paper", UP, UP))
    alone = headline_page.effects(table[table["seed"] == 1])
    assert alone.work == {}
    text = found.written("04_ablations", "headline", effects=alone)
    assert text.endswith("pools 0.99. One seed has no interval over seeds, so these signs may be noise.")
    fewer = headline_page.effects(table[(table["preset"] == "unbiased") | (table["seed"] < 3)])
    text = found.written("04_ablations", "headline", effects=fewer)
    assert "The differences over 2 seeds are Prisoner's" in text and "may be noise" not in text
    every = found.written("04_ablations", "headline", effects=headline_page.effects(table))
    assert "make J higher in" in every and "seeds" not in every


def test_a_run_without_the_arms_has_no_sentence_and_one_with_them_has_the_tables(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    every = pd.concat(
        rows(*recipe, game, "paper", n + UP)
        for game in ("split", "kuhn")
        for n, recipe in enumerate(ESTIMATORS.values())
    )
    measured = {"payoff": 1.0, "exploit": 0.25, "margin": 0.0, "worst_margin": 0.5, "collusion": 0.0}
    measured |= {"externality": 0.5, "exploiter_externality": 0.5, "nra": 0.0, "reported": True}
    paths.write_table(every.assign(**measured), "study", "evaluation")
    paths.write_table(pd.DataFrame(columns=["model"]), "study", "exploitability")
    text = headline_page.text("study")
    assert "Compared with no penalty, a penalty that is charged to the episodes" in text and "nan" not in text
    assert "finds a difference of 3.3 standard deviations" in text  # three seeds
    assert "| split | `" not in text and "| split | unbiased | 0.25" in text.split("The negotiations")[1]
    assert "kuhn" not in text.split("The negotiations")[1]


def test_the_effects_are_rows_by_place_with_the_terms_of_j(tmp_path, monkeypatch):
    """In the dilemma s is 1: a payoff that is higher by 1 with the penalty makes J higher by 1."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    assert headline_page.effect_rows(headline_page.effects_of("study")) == []
    plain, penalized, published = arms("ipd", "paper", UP, 2 * UP)
    terms = {"exploit": 0.5, "collusion": 0.0, "externality": 0.0, "reported": True}
    immediate = rows(headline.IMMEDIATE, "reward_only", "ipd", "paper", OPEN)
    table = pd.concat([plain, penalized.assign(payoff=1.0), published, immediate]).fillna({"payoff": 0.0})
    paths.write_table(table.assign(**terms), "study", "evaluation")
    (row,) = headline_page.effect_rows(headline_page.effects_of("study"))
    assert row.pop("horizon (3 seeds)").startswith("0.00 [")
    assert headline_page.in_short(headline_page.effects_of("study")) == [
        "Compared with no penalty, a penalty that is charged to the episodes that cause it makes J higher in "
        "Prisoner's dilemma with paper pools (3 seeds). A setting is a game with a pool set. The largest "
        "part of the gain comes from u (payoff), so a higher J need not mean a model that is less exploited.",
        "Without a penalty, the other switches of `unbiased` (horizon, scale, weights) make J higher in "
        "Prisoner's dilemma with paper pools (3 seeds).",
    ]
    assert row == {
        "game": "ipd",
        "pools": "paper",
        "penalty (3 seeds)": "1.00 [0.98, 1.02]",
        **{"by u": "+1.00", "by e": "0.00", "by c": "0.00", "by x": "0.00"},
        "other switches (3 seeds)": "2.00 [1.95, 2.05]",
    }
    alone = headline_page.effects(table.assign(**terms).query("preset != 'published'").reset_index())
    (only,) = headline_page.in_short(alone)  # the horizon, not all switches
    assert only.endswith("less exploited.") and "Without a penalty" not in only
    paths.write_table(table.assign(**terms).query("seed == 1"), "study", "evaluation")
    assert headline_page.effect_rows(headline_page.effects_of("study")) == []  # one seed decides nothing
    assert headline_page.in_short(headline_page.effects_of("study")) == []


def test_effects_are_counted_after_holms_correction_over_all_of_them():
    """Alone, p = 0.02 would pass; as the third of four it is multiplied by 2. One seed is no test."""
    maybe = np.array([1.0, 1.2, 0.7])
    table = pd.concat([*arms("ipd", "paper", maybe, OPEN), *arms("kuhn", "conflict", UP, OPEN)])
    one = pd.concat(arms("split", "paper", UP, UP)).query("seed == 1")
    first, *_, last = headline_page.in_short(headline_page.effects(pd.concat([table, one])))
    assert "makes J higher in both settings (3 seeds)." in first
    assert last.endswith("these 4 effects on J, 1 of the penalty and 0 of the switches still exclude zero.")
    every = [{"estimator": "unbiased", "after Holm": answer} for answer in ("yes", "no")]
    every.append({"estimator": "published", "after Holm": "yes"})
    strict = headline_page.in_short(headline_page.effects(table), every)[-1]
    assert (
        "for all 3 differences between an estimator and `reward_only` in docs/ESTIMATORS.md, 1 of" in strict
    )


def test_the_payoff_against_the_shift_pool_has_its_own_sentence():
    table = pd.concat(arms("ipd", "paper", UP, UP))
    assert "shift" not in " ".join(headline_page.in_short(headline_page.effects(table)))
    text = headline_page.in_short(headline_page.effects(table.assign(shift_payoff=-table["safety"])))[-1]
    assert (
        "(the shift pool), the penalty makes the payoff lower in Prisoner's dilemma with paper pools (3 "
        in text
    )


def test_the_negotiations_show_breakdowns_beside_e():
    table = rows("unbiased", "credited", "deal", "paper", UP, estimator="unbiased", exploit=0.25)
    table = table.assign(margin=0.0, worst_margin=0.5 + NOISE)
    table = table.assign(exploiter_externality=0.99 + NOISE / 10, train_externality=0.5 + NOISE / 10)
    (row,) = headline_page.negotiations(table)
    assert row["game"] == "deal" and row["e"].startswith("0.25 [")
    assert row["no agreement, exploiters"] == "0.99 [0.99, 0.99]"
    assert row["no agreement, train"] == "0.50 [0.50, 0.50]"


def test_the_notebook_says_that_a_run_has_not_trained_the_arms(monkeypatch):
    shown = []
    monkeypatch.setattr(found, "display", lambda one: shown.append(one.data))
    none = headline_page.effects(pd.DataFrame())
    found.reading("04_ablations", "headline", profiles.load("laptop"), effects=none)
    assert "`laptop`" in shown[0] and "\n" not in shown[0]


def test_the_parse_rates_of_trained_models_are_a_mean_and_the_lowest_of_a_seed():
    table = pd.DataFrame(
        {
            "estimator": ["unbiased", "per_rollout"],
            "game": ["ipd", "split"],
            "pools": ["paper", "paper"],
            "parse_rate": [0.96, 0.664],
        }
    )
    assert headline_page.parse_rates(table) == (
        "The trained models name an action in 81.2% of their answers. The lowest share of one seed is 66.4% "
        "(`per_rollout`, Split bargaining, paper pools)."
    )
    assert headline_page.parse_rates(table.drop(columns="parse_rate")) is None
