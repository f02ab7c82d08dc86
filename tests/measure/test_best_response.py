"""The best-response exploiter, the optimum of J, and a training run that meets it."""

import numpy as np
import pandas as pd
import pytest
import torch

from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.games.base import Weights
from sepo_lib.games.kuhn import CARDS, HISTORIES, INFORMATION_SETS, STRATEGIES, by_table
from sepo_lib.measure import (
    best_response,
    evaluation,
    exploitability,
    job_tables,
    kuhn_optimum,
    kuhn_strategy,
)
from sepo_lib.measure.best_response import BestResponse
from sepo_lib.measure.measures import measure
from sepo_lib.measure.rows import reported
from sepo_lib.method import credit
from sepo_lib.play import models, rollouts
from sepo_lib.play.policy import Answer, load_policy
from sepo_lib.run import recipes, results
from sepo_lib.run.job import finish
from sepo_lib.training import sepo

KUHN = games.get("kuhn")
PAPER = KUHN.train_weights

ENUMERATED = {"estimator": credit.preset("unbiased").with_(baseline="enumerated"), "answers_per_set": 4}


class TablePolicy:
    """Plays a table of P(bold) in the place of a language model."""

    def __init__(self, bold_HC):
        self.act = by_table(bold_HC)

    def answer(self, queries):
        drawn = [self.act(np.random.default_rng(query.seed))(query.view) for query in queries]
        return [Answer(action) for action in drawn]

    def option_logps(self, decisions):
        return [np.log([0.5, 0.5])] * len(decisions)


def strategy_of(bold_HC):
    found = {}
    for state, view in INFORMATION_SETS:
        p = bold_HC[HISTORIES.index(view.facts["history"])][CARDS.index(view.facts["card"])]
        found[state] = dict(zip(view.legal, (1 - p, p), strict=True))
    return found


def test_the_best_response_to_the_one_who_always_bets_calls_with_queen_and_king():
    response = best_response.best_response(strategy_of(STRATEGIES["always_bet"]))
    assert response[2] == response[3] == [0.0, 1.0, 1.0]  # J loses every showdown, Q wins one of two


@pytest.mark.parametrize("name", ["random", "tight_passive", "bluffer"])
def test_the_exploiters_margin_in_play_is_nashconv(name):
    """What the trainer reads as e is the exact measure: 4,200 hands, standard error 0.04 at most."""
    bold_HC = STRATEGIES[name]
    opponent = by_table(best_response.best_response(strategy_of(bold_HC)))
    instead = {"exploiter": {"best_response": opponent}}
    counts = {"train": 1, "exploiter": 700, "collusive": 1}
    plans = rollouts.plan(KUHN, "paper", counts, seed=1, replacements=instead)
    played = rollouts.play(TablePolicy(bold_HC), plans, instead)
    assert {e.opponent for e in played if e.pool == "exploiter"} == {"best_response"}
    assert {e.opponent for e in played if e.pool == "train"} == set(KUHN.pool("paper", "train"))
    expected = float(exploitability.nashconv(np.array(bold_HC, dtype=float)))
    assert measure(KUHN, played)["exploit"] == pytest.approx(expected, abs=0.12)


def test_it_is_refreshed_when_it_is_due_and_only_then():
    exploiter = BestResponse(refresh=2, samples=200, pools=["train", "exploiter"])
    with pytest.raises(RuntimeError, match="No best response is known at step 1"):
        exploiter.opponents(TablePolicy(STRATEGIES["nash"]), 1, seed=5)
    first = exploiter.opponents(TablePolicy(STRATEGIES["always_bet"]), 0, seed=5)
    assert set(first) == {"train", "exploiter"} and exploiter.nashconv == pytest.approx(2 / 3)
    kept = exploiter.opponents(TablePolicy(STRATEGIES["tight_passive"]), 1, seed=5)
    assert kept["train"]["best_response"] is first["exploiter"]["best_response"]
    exploiter.opponents(TablePolicy(STRATEGIES["tight_passive"]), 2, seed=5)
    assert exploiter.nashconv == pytest.approx(0.5)
    with pytest.raises(ValueError, match="every 1 or more steps"):
        BestResponse(refresh=0, samples=2)


# --- the optimum of J -------------------------------------------------------------------------------------


def test_against_the_fixed_pool_the_best_j_is_far_from_equilibrium_and_against_a_best_response_it_is_one():
    pool, response = (kuhn_optimum.optimum(PAPER, "paper", kind) for kind in kuhn_optimum.EXPLOITERS)
    assert pool.exploit == pytest.approx(0.0, abs=1e-8) and pool.nashconv > 0.7
    assert response.exploit == response.nashconv == pytest.approx(0.0, abs=1e-8)
    assert exploitability.nashconv(response.strategy) == pytest.approx(0.0, abs=1e-8)


def test_with_a_small_exploit_weight_even_a_best_response_does_not_lead_to_equilibrium():
    weak = Weights(0.5, PAPER.collusion, 0.0)
    assert kuhn_optimum.optimum(weak, "paper", "best_response").nashconv > 0.4


@pytest.mark.parametrize("kind", kuhn_optimum.EXPLOITERS)
@pytest.mark.parametrize("weights", [PAPER, Weights(0.5, 1.0, 0.0)])
def test_no_pure_or_known_strategy_has_a_higher_j_and_the_optimums_own_terms_are_those_of_its_strategy(
    kind, weights
):
    """J of all 4096 pure strategies, of 500 random ones and of the optimum itself, by enumerating deals."""
    best = kuhn_optimum.optimum(weights, "paper", kind)
    pure = np.array([[int(bit) for bit in f"{n:012b}"] for n in range(4096)], dtype=float).reshape(-1, 4, 3)
    some = np.concatenate([pure, np.random.default_rng(0).random((500, 4, 3)), best.strategy[None]])
    play = {name: enumerate_play(some, np.array(row, dtype=float)) for name, row in STRATEGIES.items()}
    u = np.mean([play[name][0] for name in KUHN.pool("paper", "train")], axis=0)
    c = np.mean([play[name][1] for name in KUHN.pool("paper", "collusive")], axis=0)
    e = exploitability.nashconv(some)
    if kind == "pool":
        e = np.mean([np.maximum(0, -2 * play[name][0]) for name in KUHN.pool("paper", "exploiter")], axis=0)
    j = 1.5 * u - weights.exploit * 1.5 * e - weights.collusion * c
    assert j.max() <= best.objective + 1e-7
    assert (u[-1], e[-1], c[-1], j[-1]) == pytest.approx(
        (best.payoff, best.exploit, best.collusion, best.objective), abs=1e-6
    )
    assert exploitability.nashconv(best.strategy) == pytest.approx(best.nashconv, abs=1e-6)


def enumerate_play(bold, other):
    """(payoff per hand, share of hands folded) of strategies (N, 4, 3) against one, over deals and seats."""
    payoff, folds = np.zeros(len(bold)), np.zeros(len(bold))
    for mine in range(3):
        for theirs in set(range(3)) - {mine}:
            win = 1.0 if mine > theirs else -1.0
            o, k = bold[:, 0, mine], bold[:, 3, mine]
            call, raises = other[2, theirs], other[1, theirs]
            first = o * (call * 2 * win + 1 - call)
            first += (1 - o) * ((1 - raises) * win + raises * (k * 2 * win - (1 - k)))
            c, r = bold[:, 2, mine], bold[:, 1, mine]
            bets, calls = other[0, theirs], other[3, theirs]
            second = bets * (c * 2 * win - (1 - c))
            second += (1 - bets) * ((1 - r) * win + r * (calls * 2 * win + 1 - calls))
            payoff += (first + second) / 12
            folds += ((1 - o) * raises * (1 - k) + bets * (1 - c)) / 12
    return payoff, folds


def test_an_evaluation_has_the_interval_of_nashconv():
    keys = {"profile": "p", "model": "m", "stage": "sft", "arm": "", "preset": "", "seed": 1, "step": 0}
    policy = TablePolicy(STRATEGIES["tight_passive"])
    tables = evaluation.evaluate(policy, KUHN, "paper", 2, 1, kuhn_strategy.Reading(20), keys)
    (row,) = tables["exploitability"].to_dict("records")
    assert row["nashconv"] == pytest.approx(0.5) and row["exploitability"] == pytest.approx(0.25)
    assert 0.3 < row["nashconv_low"] <= 0.5 <= row["nashconv_high"] < 0.9
    assert row["nashconv_constrained"] == pytest.approx(11 / 12)


def test_an_unknown_exploiter_is_refused():
    with pytest.raises(ValueError, match="choose from pool, best_response"):
        kuhn_optimum.optimum(PAPER, "paper", "nobody")


def test_the_table_of_optima_marks_the_games_own_weights():
    table = kuhn_optimum.table(exploit_weights=[0.5, 1.5])
    own = table[table["own"]].set_index("exploiter")
    assert (own[["exploit_weight", "collusion_weight"]] == [PAPER.exploit, PAPER.collusion]).all(axis=None)
    assert own.loc["pool", "nashconv"] > 0.7 > 1e-6 > own.loc["best_response", "nashconv"]
    assert len(table) == 12


# --- training ----------------------------------------------------------------------------------------------


def train(folder, steps, stop_after=None, **changes):
    """A short run in Kuhn against the best response; with `stop_after` it dies after that many steps."""
    model, tokenizer, policy = load_policy("nano", "float32", 0.8, 16)

    def evaluate(step):
        if stop_after is not None and step > stop_after:
            raise KeyboardInterrupt

    sizes = {
        "rollouts_per_opponent": 2,
        "learning_rate": 1e-3,
        "learning_rate_floor": 0.2,
        "kl_beta": 0.0,
        "clip": 0.2,
        "max_grad_norm": 1.0,
        "temperature": 0.8,
        "max_new_tokens": 16,
        "checkpoint_every": 2,
        "micro_batches": 1,
        "seed": 5,
        "penalty_weights": Weights(0.5, 0.0, 0.0),
        "exploiter": BestResponse(2, 4, ["train", "exploiter"]),
        "estimator": credit.preset("unbiased"),
    }
    log = None
    try:
        config = sepo.SEPOConfig(game=KUHN, pools="paper", steps=steps, **{**sizes, **changes})
        log = sepo.train(
            model, tokenizer, policy.engine, folder, config, lambda step, metrics: None, evaluate
        )
    except KeyboardInterrupt:
        pass
    return log, torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("changes", [{}, ENUMERATED], ids=["group", "enumerated"])
def test_a_run_against_a_best_response_that_died_continues_exactly_where_it_was(tmp_path, changes):
    log, whole = train(tmp_path / "whole", steps=3, **changes)
    died, _ = train(tmp_path / "died", steps=3, stop_after=2, **changes)
    resumed_log, resumed = train(tmp_path / "died", steps=3, **changes)
    assert died is None and torch.equal(whole, resumed)
    assert [row["nashconv"] for row in log] == [row["nashconv"] for row in resumed_log]
    assert [list(row) for row in log] == [list(row) for row in resumed_log]  # columns of training.parquet
    if changes:  # the strategy is read at every step
        assert len({row["nashconv"] for row in log}) == 3
        assert {row["decisions"] for row in log} == {12 * 4}
    else:
        assert log[0]["nashconv"] == log[1]["nashconv"] != log[2]["nashconv"]  # refreshed every second step


def test_a_refresh_that_a_checkpoint_would_miss_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a multiple of exploiter_refresh"):
        train(tmp_path, steps=1, exploiter=BestResponse(3, 4))


def test_the_weights_reach_the_estimator(tmp_path):
    """Without weights on the penalties the step is that of the arm without penalties, otherwise it is not.

    Adam's first step does not depend on the gradient's length, so the directions are compared.
    """
    start = torch.cat([p.detach().flatten() for p in models.load("nano")[0].parameters()])

    def step(name, **changes):
        return train(tmp_path / name, 1, exploiter=None, **changes)[1] - start

    without = step("without", penalty_weights=None, estimator=credit.preset("unbiased", "reward_only"))
    none, own = step("none", penalty_weights=Weights(0.0, 0.0, 0.0)), step("own", penalty_weights=None)
    cosines = [float(torch.cosine_similarity(one, without, dim=0)) for one in (none, own)]
    assert cosines[0] > 0.99 and cosines[1] < 0.8


def test_the_jobs_of_the_study_name_their_exploiter_and_leave_the_main_run_as_it_was(monkeypatch):
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")
    every = ["pool", "best_response", "best_response_only"]
    settings = profiles.load("study", games="kuhn", seeds="1,2", exploiters=every)
    jobs = {job.name: job.arguments for job in recipes.exploiter_jobs(settings)}
    assert len(jobs) == 12
    only = jobs["exploiter/best_response_only-group/seed-2"]
    assert "baseline" not in only and only["train"]["rollouts_per_opponent"] == settings.exploiter_rollouts
    assert only["train"]["learning_rate"] == settings.of("sepo_learning_rate", "kuhn")
    new = jobs["exploiter/best_response_only-enumerated/seed-2"]
    assert (only["train"]["steps"], new["train"]["steps"]) == (80, 600)
    assert new["baseline"] == new["labels"]["baseline"] == "enumerated"
    assert new["train"]["answers_per_set"] == new["exploiter"]["samples"] == settings.exploiter_samples
    assert new["last_samples"] == 65536 and new["evaluation"]["episodes"] == {"kuhn": 4}
    assert only["exploiter"]["pools"] == ["train", "exploiter"] and only["train_weights"] == [0.5, 0.0, 0.0]
    assert only["labels"]["exploiter"] == "best_response_only" and only["pools"] == "paper"
    fixed = jobs["exploiter/pool-group/seed-1"]
    assert "exploiter" not in fixed and "train_weights" not in fixed
    main = recipes.sepo_jobs(settings)[0].arguments
    assert "last_samples" not in main and main["evaluation"]["episodes"] == {"kuhn": 400}
    assert not {"exploiter", "train_weights"} & {*main, *main["labels"]}
    switched = profiles.load("study", games="kuhn", seeds="1", exploiter="best_response")
    switched = recipes.sepo_jobs(switched)[0].arguments
    assert switched["exploiter"]["pools"] == ["exploiter"]
    assert switched["labels"]["exploiter"] == "best_response"
    assert recipes.exploiter_jobs(profiles.load("study", games="ipd")) == []
    assert kuhn_strategy.kuhn_nashconv(strategy_of(STRATEGIES["nash"])) < 1e-9


def done(settings, job, **tables):
    """A job's folder as it is left by a finished job with these tables."""
    folder = paths.job(settings.run, job.name)
    job_tables.save(tables, folder, "00002")
    finish(settings.run, job, {}, 0.0)


def test_the_tables_of_the_study_hold_what_its_jobs_left(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")
    settings = profiles.load(
        "study",
        games="kuhn",
        seeds="1,2",
        exploiters=["best_response_only"],
        exploiter_baselines=["enumerated", "group"],
        sweep_exploit_weights=[0.0, 2.0],
    )
    assert results.exploiter_table(settings).empty and results.sweep_table(settings).empty
    assert results.paired_exploiter(results.exploiter_table(settings)).empty
    measured = {"pool_advantage": 0.0, "nashconv_low": 0.0, "nashconv_high": 1.0}
    measured |= {"nashconv_bias": 0.005, "nashconv_method": "sampled"}
    main = [job for job in recipes.sepo_jobs(settings) if job.arguments["preset"] == "unbiased"]
    begun, against = recipes.sft_jobs(settings), recipes.exploiter_jobs(settings)
    for job in (*begun, *main, *against, *recipes.sweep_jobs(settings)):
        keys = {"game": "kuhn", "pools": "paper", **job.arguments["labels"]}
        steps = [40, 80] if keys["stage"] == "sepo" else [keys["step"]]
        rows = [{**keys, "step": step, "nashconv": keys["seed"] / step, **measured} for step in steps]
        played = [{**keys, "step": step, "payoff": step, "exploit": 0.0} for step in steps]
        steps_of = [{**keys, "step": step, "decisions": 10, "step_time": 0.5} for step in range(1, 81)]
        tables = {"training": pd.DataFrame(steps_of)} if job in against else {}
        done(settings, job, exploitability=pd.DataFrame(rows), evaluation=pd.DataFrame(played), **tables)
    table = results.exploiter_table(settings)
    assert table.groupby("stage")["step"].unique().map(list).to_dict() == {"sepo": [40, 80], "sft": [0]}
    assert set(table["exploiter"]) == {"best_response_only"} and "pools" not in table
    assert set(table["baseline"]) == {"enumerated", "group"}
    cost = table[table["step"] == 40].set_index(["baseline", "seed"])[["answers", "seconds"]]
    assert cost.loc["enumerated", 1].tolist() == [400, 20]
    assert cost.loc["group", 2].tolist() == [40 * (10 + 12 * settings.exploiter_samples), 20]
    reached = results.reaching(table, [0.03, 0.001]).set_index(["baseline", "limit"])
    assert reached.loc[("group", 0.03), ["seeds", "reached", "step", "seconds"]].tolist() == [2, 2, 60, 30]
    assert reached.loc[("enumerated", 0.001), "reached"] == 0
    shorter = table[(table["baseline"] == "enumerated") | (table["step"] < 80)]
    last = reported(shorter[shorter["stage"] == "sepo"]).groupby("baseline")["step"].unique()
    assert last.map(list).to_dict() == {"enumerated": [80], "group": [40]}
    row, other = results.paired_exploiter(table).to_dict("records")
    assert (row["baseline"], other["baseline"]) == ("enumerated", "group")
    assert row["nashconv_sft"] == pytest.approx(1.5 / 250)
    assert row["nashconv_mean"] == pytest.approx(1.5 / 80)
    assert row["change_mean"] == pytest.approx(1.5 / 80 - 1.5 / 250)
    sweep = results.sweep_table(settings)
    assert sorted(sweep["exploit_weight"].unique()) == [0.0, 1.5, 3.0]  # 1.5: the main run
    assert set(sweep["pools"]) == {"paper"} and set(sweep["multiple"]) == {0.0, 1.0, 2.0}
    assert len(sweep) == 6 and (sweep["payoff"] == sweep["step"]).all()


def test_the_switches_are_turned_one_at_a_time_and_held_against_the_published_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")
    settings = profiles.load("study", games="ipd", seeds="1,2", switches=["credit", "clamp"])
    assert results.switch_table(settings).empty and results.paired_switches(pd.DataFrame()).empty
    turned = recipes.switch_jobs(settings)
    assert [(job.arguments["preset"], job.arguments["arm"]) for job in turned[::2]] == (
        [("published+credit", "credited"), ("published+clamp", "per_rollout")]
    )
    main = {job.arguments["preset"]: job for job in recipes.sepo_jobs(settings)}["published"]
    assert main.arguments["train"].keys() == turned[-1].arguments["train"].keys()
    safety = {"published": 1.0, "published+credit": 3.0, "published+clamp": 0.5, "unbiased": 4.0}
    safety["authors_current"] = 9.0  # not of this table: there it is published+credit
    for job in (*recipes.sepo_jobs(settings), *turned):
        keys = {"game": "ipd", "pools": "paper", **job.arguments["labels"]}
        rows = [{**keys, "step": step, "safety": safety[keys["preset"]] * keys["seed"]} for step in (15, 30)]
        done(settings, job, evaluation=pd.DataFrame(rows))
    table = results.switch_table(settings)
    assert len(table) == 8 and set(table["step"]) == {30}
    found = results.paired_switches(table).set_index("preset")
    assert found["mean"].to_dict() == {"published+credit": 3.0, "published+clamp": -0.75, "unbiased": 4.5}
    assert (found["seeds"] == 2).all() and found.loc["unbiased", "low"] < 4.5 < found.loc["unbiased", "high"]
    assert recipes.switch_jobs(profiles.load("study", games="kuhn")) == []
