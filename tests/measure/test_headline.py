"""The headline table: which rows it takes, the interval of each number, and Holm's correction."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sepo_lib import games
from sepo_lib.measure import headline, statistics

SEEDS = np.arange(10)


def evaluated(name="unbiased", game="split", pools="paper", **values):
    """The rows of one estimator over ten seeds, as in `evaluation.csv`."""
    preset, arm = headline.ESTIMATORS[name]
    keys = {"profile": "p", "model": "m", "game": game, "pools": pools, "stage": "sepo", "step": 30}
    keys |= {"arm": arm, "preset": preset, "seed": SEEDS, "reported": True}
    measured = {"safety": 0.0, "payoff": 1.0, "exploit": 0.5, "margin": 0.1, "worst_margin": SEEDS / 10}
    measured |= {"collusion": 0.0, "externality": 0.5, "exploiter_externality": 0.5, "nra": 0.0}
    return pd.DataFrame(keys | measured | values)


def noise(seed):
    return np.random.default_rng(seed).normal(size=len(SEEDS))


def test_the_rows_are_the_last_steps_of_the_six_estimators():
    early = evaluated(step=15, reported=False, safety=9.0)
    others = evaluated().assign(preset="published+horizon"), evaluated().assign(stage="sft", arm=None)
    every = [evaluated(name) for name in headline.ESTIMATORS]
    found = headline.rows(pd.concat([early, *others, *every], ignore_index=True))
    assert found["estimator"].unique().tolist() == list(headline.ESTIMATORS)
    assert len(found) == 6 * len(SEEDS) and (found["safety"] == 0.0).all()
    assert headline.rows(pd.DataFrame()).empty and headline.table(headline.rows(pd.DataFrame())).empty


def test_breakdowns_against_train_opponents_follow_from_the_two_other_rates():
    """x is the mean over the opponents of both pools."""
    split = games.get("split")
    train, exploiters = (len(split.pool("paper", pool)) for pool in ("train", "exploiter"))
    x = (train * 0.25 + exploiters * 0.75) / (train + exploiters)
    found = headline.rows(evaluated(externality=x, exploiter_externality=0.75))
    assert found["train_externality"].to_numpy() == pytest.approx(0.25)
    assert headline.rows(evaluated(game="chicken"))["train_externality"].isna().all()


def test_nashconv_is_taken_from_its_own_table():
    rows = evaluated(game="kuhn")
    exact = rows[[*headline.KEYS]].assign(nashconv=SEEDS / 10)
    assert headline.rows(rows, exact)["nashconv"].tolist() == exact["nashconv"].tolist()
    table = headline.table(headline.rows(rows, exact)).set_index("metric")
    assert table.loc["nashconv", "mean"] == pytest.approx(0.45)
    assert "nashconv" not in headline.table(headline.rows(rows)).set_index("metric").index


def test_differences_are_paired_and_corrected_over_all_places_of_a_metric():
    shared = 50.0 * SEEDS  # the same in all estimators of a seed: a paired difference does not see it
    gains = {("split", "unbiased"): 1.0 + 0.1 * noise(1), ("split", "per_rollout"): noise(2)}
    gains |= {("deal", "unbiased"): 0.8 + noise(3), ("deal", "published"): 0.0 * SEEDS}
    parts = [evaluated("reward_only", game, safety=shared) for game in ("split", "deal")]
    parts += [evaluated(name, game, safety=shared + gain) for (game, name), gain in gains.items()]
    table = headline.table(headline.rows(pd.concat(parts, ignore_index=True)))
    safety = table[table["metric"] == "safety"].set_index(["game", "estimator"])
    for place, gain in gains.items():
        assert safety.loc[place, "difference"] == pytest.approx(gain.mean())
        assert safety.loc[place, "pairs"] == 10
    tested = [place for place in gains if place[1] != "published"]
    p = [stats.ttest_1samp(gains[place], 0.0).pvalue for place in tested]
    assert safety.loc[tested, "p"].tolist() == pytest.approx(p)
    assert safety.loc[tested, "p_holm"].tolist() == pytest.approx(list(statistics.holm(p)))
    same = safety.loc[("deal", "published")]  # equal in all seeds: no interval and no test
    assert same["difference"] == 0.0 and same[["difference_low", "p", "p_holm"]].isna().all()
    alone = safety.loc[("split", "reward_only")]
    assert pd.isna(alone["difference"]) and alone["pairs"] == 0
    e = table[(table["metric"] == "exploit")].set_index(["game", "estimator"]).loc[("split", "unbiased")]
    assert e["interval"].endswith("from the signed margin")


def test_ten_seeds_show_one_standard_deviation():
    assert statistics.detectable(10) == pytest.approx(1.0, abs=0.05)
