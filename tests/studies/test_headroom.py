"""Headroom: the families are complete, their values those of play, and the two winners the right ones."""

import itertools

import numpy as np
import pandas as pd
import pytest

from sepo_lib import games
from sepo_lib.config import profiles
from sepo_lib.measure import tabular
from sepo_lib.run import recipes
from sepo_lib.studies import headroom


@pytest.mark.parametrize(("name", "strategies"), [("ipd", 5**5), ("auction", 3**8), ("kuhn", 2**12)])
def test_a_family_is_complete_and_without_repetition(name, strategies):
    family = np.stack(list(headroom.tables(games.get(name), "paper")))
    assert len(family) == strategies == len(np.unique(family.reshape(len(family), -1), axis=0))
    np.testing.assert_allclose(family.sum(axis=-1), 1.0)


def test_demands_that_no_opponent_makes_need_no_answer():
    first = itertools.islice(headroom.tables(games.get("split"), "paper"), 9**2)
    answered = np.stack(list(first)).argmax(axis=-1)
    varied = [i for i in range(10) if len(set(answered[:, i])) > 1]
    assert varied == [7, 8]  # the last two that occur: demands of 7 and 8


def test_the_best_payoff_breaks_ties_by_j():
    values = pd.DataFrame({"u": [1.0, 2.0, 2.0, 0.0]})
    assert headroom.best(values, pd.Series([9.0, 1.0, 3.0, 10.0])) == (2, 3)


def test_the_conflict_pools_have_headroom_and_the_papers_dilemma_has_none():
    paper, conflict = (
        headroom.measure(games.get("ipd"), pools, 0).iloc[0] for pools in ("paper", "conflict")
    )
    assert paper.gap == 0.0
    assert conflict.best_payoff_u > conflict.best_u and conflict.gap > 0.5
    for row in (paper, conflict):  # what stands in a row is what the strategy is worth
        p = np.array(row.best_strategy.split(), dtype=float)
        policy = np.stack([p, 1 - p], axis=1)
        with np.errstate(divide="ignore"):
            exact = tabular.exact(tabular.TabularPolicy(games.get("ipd"), np.log(policy)), row.pools)
        assert exact.values["J"] == pytest.approx(row.best_J)
        assert exact.values["e"] == pytest.approx(row.best_e)


def test_a_game_without_an_enumeration_plays_its_scripts():
    with pytest.raises(ValueError, match="'deal' has no enumeration"):
        next(headroom.tables(games.get("deal"), "paper"))
    found = headroom.measure(games.get("deal"), "paper", 2)
    assert (found.family == "scripted").all() and (found.strategies == 9).all()
    assert found.weights.tolist() == ["train", "evaluation"]
    assert set(found.best_strategy) <= set(headroom.scripts(games.get("deal")))


def test_the_job_leaves_its_table(tmp_path):
    jobs = recipes.headroom_jobs(profiles.load("smoke", games="kuhn,deal"))
    assert [job.name for job in jobs] == [
        "headroom/deal-paper",
        "headroom/kuhn-paper",
        "headroom/kuhn-conflict",
    ]
    headroom.run_headroom(tmp_path, lambda step, metrics: None, **jobs[1].arguments)
    table = pd.read_parquet(tmp_path / "headroom-log.parquet")
    assert set(table.profile) == {"smoke"} and set(table.strategies.dropna()) == {4096}
