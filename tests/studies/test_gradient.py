"""The gradient of the penalty alone, by arm, over several batches of a language model's play."""

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
from trainers import assert_close

from sepo_lib import games
from sepo_lib.games.base import OBJECTIVE_POOLS
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer, load_policy
from sepo_lib.studies import penalty_gradient

LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}


def run(folder, report=lambda step, metrics: None, **changes):
    """One job of the study, of two batches of the prisoner's dilemma unless changed."""
    study = {"game": "ipd", "arms": ["constant", "per_rollout", "credited"], "batches": 2, **changes}
    penalty_gradient.run_gradient(
        folder,
        report,
        sft_job="sft/seed-1",
        sft_work="",
        sampling={"dtype": "float32", "temperature": 0.8, "max_new_tokens": 16},
        pools="paper",
        rollouts_per_opponent=2,
        seed=1,
        labels={"profile": "p", "model": "nano", "stage": "sft", "arm": "", "seed": 1, "step": 2},
        **study,
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradient")
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(penalty_gradient.paths, "other_job", lambda folder, job: folder)
        patch.setattr(penalty_gradient, "load_policy", lambda model, **how: load_policy("nano", **how))
        run(folder, lambda step, metrics: steps.append(step))
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


@pytest.fixture(scope="module")
def batch():
    """nano, a batch of its play, and the advantages of its penalties."""
    model, _, policy = load_policy("nano", "float32", 0.8, 16)
    ipd = games.get("ipd")
    plans = rollouts.plan(ipd, "paper", dict.fromkeys(OBJECTIVE_POOLS, 2), 1)
    episodes = rollouts.play(policy, plans)
    by_arm = {
        arm: penalty_gradient.penalty_advantages(episodes, ipd, arm) for arm in ("per_rollout", "credited")
    }
    return model, episodes, by_arm


def test_parts_of_the_rows_have_the_gradient_of_all(batch, monkeypatch):
    model, episodes, by_arm = batch
    sizes, totals = [], penalty_gradient.scoring.totals

    def counted(model, prompts, answers, temperature):
        sizes.append(len(prompts) * max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True)))
        return totals(model, prompts, answers, temperature)

    monkeypatch.setattr(penalty_gradient.scoring, "totals", counted)
    whole = penalty_gradient.policy_gradient(model, episodes, by_arm["credited"], 0.8)
    assert len(sizes) == 1 and whole.norm() > 0
    monkeypatch.setattr(penalty_gradient, "ACTIVATIONS", 2**23)
    in_parts = penalty_gradient.policy_gradient(model, episodes, by_arm["credited"], 0.8)
    assert len(sizes) > 5 and max(sizes[1:]) < sizes[0] / 4
    assert_close(in_parts, whole)


def test_a_long_gradient_is_projected_and_keeps_its_inner_products(batch, monkeypatch):
    model, episodes, by_arm = batch

    def measured():
        a, b = (penalty_gradient.policy_gradient(model, episodes, given, 0.8) for given in by_arm.values())
        size = (a.norm() * b.norm()).item()
        return len(a), np.array([(a @ a).item(), (b @ b).item(), (a @ b).item()]), size

    length, exact, size = measured()
    assert length == model.num_parameters()
    monkeypatch.setattr(penalty_gradient, "LARGEST", 2**14)
    length, projected, _ = measured()
    assert length == 2**14
    assert (projected != exact).all()
    assert np.abs(projected - exact).max() < 4 * np.sqrt(2 / 2**14) * max(size, *exact)


@pytest.mark.parametrize("kind", ["gemma-wrapper"])
def test_a_run_with_lora_measures_the_gradient_of_a_new_adapter(kind, tmp_path, monkeypatch):
    """Also where the parameters of towers get no gradient, and a batch has nothing to charge."""
    monkeypatch.setattr(penalty_gradient.paths, "other_job", lambda folder, job: folder)
    tiny_models.make(kind, tmp_path / "model")
    lengths, gradient = [], penalty_gradient.policy_gradient

    def kept(model, *arguments):
        found = gradient(model, *arguments)
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        assert names and all("lora_" in name for name in names)
        lengths.append((len(found), model.num_parameters(only_trainable=True)))
        return found

    monkeypatch.setattr(penalty_gradient, "policy_gradient", kept)
    tables = []
    for _ in range(2):
        run(tmp_path, game="kuhn", arms=["constant", "credited"], batches=1, lora=LORA)
        tables.append(pd.read_parquet(tmp_path / "gradient-log.parquet"))
    assert len(lengths) == 4 and all(length == trained for length, trained in lengths)
    assert tables[0].set_index("arm").loc["credited", "penalty_gradient_norm"] > 0
    pd.testing.assert_frame_equal(*tables)  # the first weights of the adapter have a seed
