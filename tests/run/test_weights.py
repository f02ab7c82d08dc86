"""The weights of J: a game gives them, a profile replaces them, and the run says so."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from episodes import episode
from uniform_play import Uniform

from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.measure import evaluation, job_tables, rows
from sepo_lib.method import credit
from sepo_lib.run import provenance, recipes
from sepo_lib.run.steps import sepo as step
from sepo_lib.studies import estimators, headroom, sensitivity

LE = 2.4  # of the prisoner's dilemma, whose s is 1
TRAIN, EVALUATION = {"ipd": {"exploit": 4.8}}, {"ipd": {"exploit": 0.9}}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")
    return tmp_path


def settings(**changes):
    return profiles.load("smoke", games="ipd", seeds="1", **changes)


def trained(monkeypatch, run):
    """The configuration that the main job of a run trains with, its evaluation and its log."""
    configs = []

    def train(model, tokenizer, engine, folder, config, report, evaluate):
        configs.append(config)
        evaluate(2)
        return [{"step": 1, "objective": 0.0}, {"step": 2, "objective": 0.0}]

    policy = Uniform()
    policy.engine = None
    model = SimpleNamespace(eval=lambda: None, train=lambda: None)
    monkeypatch.setattr(step, "load_policy", lambda *args, **kwargs: (model, None, policy))
    monkeypatch.setattr(step.sepo, "train", train)
    job = recipes.sepo_jobs(run)[0]
    folder = paths.job(run.run, job.name)
    step.run_sepo(folder, lambda step, metrics: None, **job.arguments)
    return configs[0], *(job_tables.collect([folder], name) for name in ("evaluation", "training"))


def test_other_weights_change_advantages_and_safety_by_what_they_say(root, monkeypatch):
    own, own_row, own_log = trained(monkeypatch, settings())
    changed, row, log = trained(monkeypatch, settings(train_weights=TRAIN, evaluation_weights=EVALUATION))

    # The exploiter is ahead by 3 in both rounds (T = 2) of rollout 0, and by 0 in rollout 1. Over the rounds
    # to go that is 6 and 3, or 0. The penalty in the reward to go is le s times this over T, and the baseline
    # is the reward of the other rollout.
    batch = [
        *(episode("train", "t", g, (1, 1), (1, 1)) for g in (0, 1)),
        *(episode("exploiter", "x", g, (0, 0), (3 - 3 * g,) * 2) for g in (0, 1)),
        *(episode("collusive", "c", g, (1, 1), (1, 1)) for g in (0, 1)),
    ]
    unscaled = credit.preset("unbiased").with_(scale="none")
    before, after = (credit.assign(batch, one.game, unscaled).advantages for one in (own, changed))
    difference = np.array(after[2:4]) - np.array(before[2:4])
    np.testing.assert_allclose(difference, (LE - 4.8) * np.array([[6.0, 3.0], [-6.0, -3.0]]) / 2)
    assert changed.penalty_weights is None and changed.estimator == own.estimator

    e = own_row["exploit"].item()
    assert e > 0.1 and row["exploit"].item() == e
    assert row["safety"].item() - own_row["safety"].item() == pytest.approx((LE - 0.9) * e)
    assert row["objective"].item() - own_row["objective"].item() == pytest.approx((LE - 4.8) * e)
    for end in ("safety_low", "safety_high"):
        assert row[end].item() > own_row[end].item()

    assert not {"train_weights", "evaluation_weights"} & {*own_row, *own_log}
    for table in (row, log):
        assert set(table["train_weights"]) == {'{"exploit": 4.8, "collusion": 1.0, "externality": 1.8}'}
        assert json.loads(table["evaluation_weights"].iloc[0])["exploit"] == 0.9
    run = settings(train_weights=TRAIN)
    assert provenance.start(run)["settings"]["train_weights"]["ipd"]["exploit"] == 4.8
    assert games.get("ipd").train_weights.exploit == LE  # the registry is as it was


def test_only_the_games_that_change_are_named_and_other_runs_keep_their_jobs():
    both = {"games": "ipd,split", "seeds": "1"}
    before, after = profiles.load("smoke", **both), profiles.load("smoke", train_weights=TRAIN, **both)
    one, other = ({job.name: job for job in recipes.sepo_jobs(run)} for run in (before, after))
    same = "sepo/split-paper/unbiased-credited/seed-1"
    assert "weights" not in other[same].arguments and "weights" not in one[same].arguments
    changed = other["sepo/ipd-paper/unbiased-credited/seed-1"].arguments["weights"]
    assert changed == {"ipd": {"train": dict(after.train_weights["ipd"])}}
    assert recipes.sft_jobs(after)[0].arguments["weights"] == changed  # `objective` is measured there too
    assert profiles.load("smoke", train_weights={"ipd": {"exploit": LE}}, **both) == before


def test_tables_are_measured_again_with_the_weights_that_they_name():
    keys = {"profile": "p", "model": "m", "stage": "sft", "arm": "", "preset": "", "seed": 3, "step": 10}
    weights = settings(train_weights=TRAIN, evaluation_weights=EVALUATION).changed_weights("ipd")
    game = games.get("ipd", weights)
    reading = None  # of Kuhn alone
    tables = evaluation.evaluate(Uniform(), game, "paper", 4, 1, reading, keys | rows.weight_columns(weights))
    (again,) = evaluation.measures_from(tables["episodes"]).to_dict("records")
    (measured,) = tables["evaluation"].to_dict("records")
    assert rows.weights_of(measured) == weights and rows.weights_of(keys) == {}
    for name in ("safety", "objective", "safety_low", "safety_high"):
        assert again[name] == pytest.approx(measured[name], abs=1e-12)
    weighed = sensitivity.safety_by_weight(tables["evaluation"].assign(reported=True))
    at_own = weighed[weighed["weight"] == "exploit"]
    assert set(at_own["own"]) == {0.9}


def test_the_studies_without_a_model_take_the_weights_of_the_run(tmp_path):
    run = settings(train_weights={"ipd": {"exploit": 0.0, "collusion": 0.0, "externality": 0.0}})
    jobs = {job.name: job.arguments for job in recipes.study_jobs(run)}
    headroom.run_headroom(tmp_path, lambda *a: None, **jobs["headroom/ipd-paper"])
    table = pd.read_parquet(tmp_path / "headroom-log.parquet").set_index(["weights", "family"])
    train, every = table.loc["train", "enumerated"], table.loc["train", "every"]
    assert every["best_J"] == pytest.approx(games.get("ipd").scale * every["best_payoff_u"])
    assert every["gap"] == pytest.approx(0.0, abs=1e-9)
    assert train["best_J"] == pytest.approx(games.get("ipd").scale * train["best_u"]) and train["gap"] == 0
    assert json.loads(train["train_weights"])["exploit"] == 0.0
    arguments = next(a for name, a in jobs.items() if name.startswith("estimators/ipd-paper/"))
    estimators.run_estimators(tmp_path, lambda *a: None, **arguments)
    table = pd.read_parquet(tmp_path / "estimators-log.parquet")
    assert set(table["term"]) <= {"J", "u"} and set(table["train_weights"]) == {train["train_weights"]}
