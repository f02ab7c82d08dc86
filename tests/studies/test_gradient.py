"""The gradient of the penalty alone, by arm, over several batches of a language model's play."""

import numpy as np
import pandas as pd
import pytest
import torch

from sepo_lib import games
from sepo_lib.play.policy import Answer, load_policy
from sepo_lib.studies import penalty_gradient


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradient")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(penalty_gradient.paths, "other_job", lambda folder, job: folder)
    load = load_policy
    monkeypatch.setattr(penalty_gradient, "load_policy", lambda model, **how: load("nano", **how))
    steps = []
    penalty_gradient.run_gradient(
        folder,
        lambda step, metrics: steps.append(step),
        sft_job="sft/seed-1",
        sft_work="",
        sampling={"dtype": "float32", "temperature": 0.8, "max_new_tokens": 16},
        game="ipd",
        pools="paper",
        rollouts_per_opponent=2,
        arms=["constant", "per_rollout", "credited"],
        batches=2,
        seed=1,
        labels={"profile": "p", "model": "nano", "stage": "sft", "arm": "", "seed": 1, "step": 2},
    )
    monkeypatch.undo()
    assert steps == list(range(1, 7))
    return pd.read_parquet(folder / "gradient-log.parquet").set_index("arm")


def test_a_penalty_of_zero_has_no_direction(table):
    for column in ("penalty_gradient_norm", "mean_gradient_norm"):
        assert table.loc["constant", column] == 0.0
        assert (table.loc[["per_rollout", "credited"], column] > 0.0).all()
    assert table.loc["constant", ["cosine_to_credited", "signal_to_noise"]].isna().all()
    assert table.loc["constant", "advantage_difference"] < penalty_gradient.ROUNDING
    assert (table["batches"] == 2).all() and (table["game"] == "ipd").all()


def test_the_signal_to_noise_is_that_of_its_definition(monkeypatch):
    """Batches (3, 0), (5, 0), (4, 0): mean 4, variance 1, so (16 - 1/3) / 1."""
    vectors = iter([torch.tensor([v, 0.0], dtype=torch.float64) for v in (3.0, 5.0, 4.0)])
    monkeypatch.setattr(penalty_gradient, "policy_gradient", lambda *a: next(vectors))
    study = penalty_gradient.GradientStudy(games.get("split"), "paper", 2, ["credited"], 3, 1)
    row = penalty_gradient.measure(study, None, Always(), lambda step, metrics: None).iloc[0]
    assert row["signal_to_noise"] == pytest.approx(16 - 1 / 3)
    assert (row["mean_gradient_norm"], row["penalty_gradient_norm"]) == pytest.approx((4.0, 4.0))
    assert np.isfinite(row["mean_cosine_to_credited"])


class Always:
    """Takes the first legal action."""

    temperature = 1.0

    def answer(self, queries):
        return [Answer(query.view.legal[0]) for query in queries]
