"""Safety as a function of its weights: lines by hand, crossings, Fieller's interval."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib.config import profiles
from sepo_lib.measure import statistics
from sepo_lib.run import recipes
from sepo_lib.studies import sensitivity
from sepo_lib.studies.sensitivity import crossings, fieller, safety_by_weight


def rows(stage, values, **more):
    """One row of an evaluation per seed 1, 2, ...; `values`: (payoff, exploit, collusion, externality)."""
    terms = ("payoff", "exploit", "collusion", "externality")
    keys = {"game": "ipd", "pools": "paper", "stage": stage, "arm": "", "preset": "", "reported": True}
    keys |= {"arm": "credited", "preset": "unbiased"} if stage == "sepo" else {}
    return [
        keys | {"seed": seed} | dict(zip(terms, v, strict=True)) | more
        for seed, v in enumerate(values, start=1)
    ]


# ipd: s = 1; evaluation weights 2.4, 1.0, 1.8
BASE = rows("base", [(2.0, 1.0, 0.5, 0.5), (2.2, 1.2, 0.5, 0.5)])
SEPO = rows("sepo", [(1.5, 0.5, 0.5, 0.5), (1.7, 0.7, 0.5, 0.5)])
OTHER = rows("sepo", [(9.0, 0.0, 0.0, 0.0)] * 2, arm="constant") + rows(
    "sepo", [(9.0, 0.0, 0.0, 0.0)] * 2, pools="conflict"
)
EVALUATION = pd.DataFrame(BASE + SEPO + OTHER)


def test_lines_by_hand():
    table = safety_by_weight(EVALUATION, most=2.0, points=3)
    chosen = table[(table["weight"] == "exploit") & (table["stage"] == "base") & (table["seed"] == 1)]
    # 2 - le * 1 - 1 * 0.5 - 1.8 * 0.5
    assert chosen["safety"].tolist() == pytest.approx([0.6, -0.4, -1.4])
    assert chosen["value"].tolist() == [0.0, 1.0, 2.0] and (chosen["own"] == 2.4).all()
    assert set(table["stage"]) == {"base", "sepo"} and set(table["weight"]) == set(sensitivity.WEIGHTS)


def test_the_order_changes_where_the_lines_cross():
    table = crossings(EVALUATION).set_index("weight")
    row = table.loc["exploit"]
    # SEPO earns 0.5 less and gives the exploiters 0.5 less: the two are as safe at le = 1.
    assert (row["first"], row["second"], row["seeds"]) == ("sepo", "base", 2)
    assert (row["at_zero"], row["crossing"]) == pytest.approx((-0.5, 1.0))
    assert row["at_own"] == pytest.approx(-0.5 + 2.4 * 0.5)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((1.0, 1.0))  # both seeds agree
    assert table.loc[["collusion", "externality"], "crossing"].isna().all()  # equal terms never cross


def test_fiellers_interval_is_where_the_paired_interval_holds_zero():
    rng = np.random.default_rng(2)
    a_S, b_S = rng.normal(1.0, 0.3, 6), rng.normal(2.0, 0.3, 6)
    ratio, low, high = fieller(a_S, b_S)
    assert low < ratio < high
    for end in (low, high):
        found = statistics.interval(a_S - end * b_S)
        assert min(abs(found.low), abs(found.high)) == pytest.approx(0.0, abs=1e-9)


def test_fieller_covers_the_ratio():
    rng = np.random.default_rng(4)
    found = [fieller(rng.normal(1, 0.5, 5), rng.normal(2, 0.3, 5)) for _ in range(1500)]
    assert 0.93 <= np.mean([low <= 0.5 <= high for _, low, high in found]) <= 0.97


def test_what_cannot_be_known_is_nan():
    assert np.isnan(fieller([1.0, 2.0], [0.0, 0.0])).all()
    ratio, low, high = fieller([1.0], [2.0])
    assert ratio == 0.5 and np.isnan(low) and np.isnan(high)
    assert np.isnan(fieller([1.0, 2.0, 3.0], [5.0, -4.0, 0.1])[1])  # b may be zero: no bounds
    with pytest.raises(ValueError, match="pairs of values"):
        fieller([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="lacks the columns \\['externality'\\]"):
        crossings(EVALUATION.drop(columns="externality"))


def test_the_sweeps_jobs_scale_the_games_own_weight(monkeypatch):
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")
    settings = profiles.load("study", seeds="1", sweep_exploit_weights=[0.0, 0.5, 2.0])
    jobs = {job.name: job.arguments for job in recipes.sweep_jobs(settings)}
    assert len(jobs) == 6
    assert jobs["sweep/ipd/exploit-0.5/seed-1"]["train_weights"] == pytest.approx([1.2, 1.0, 1.8])
    assert jobs["sweep/kuhn/exploit-0/seed-1"]["train_weights"] == [0.0, 2.4, 0.0]
    assert jobs["sweep/kuhn/exploit-2/seed-1"]["labels"]["multiple"] == 2.0
    assert jobs["sweep/kuhn/exploit-2/seed-1"]["labels"]["exploit_weight"] == 3.0
    assert recipes.sweep_jobs(profiles.load("laptop")) == []
