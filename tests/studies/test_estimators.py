"""The study of estimators: its play is the game's, its gradient is the trainer's, its targets are exact."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from episodes import episode

from sepo_lib import __main__ as cli
from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.games.base import Weights
from sepo_lib.measure import tabular
from sepo_lib.method import credit
from sepo_lib.play import rollouts
from sepo_lib.run import provenance, recipes
from sepo_lib.studies import comparison, estimators, published

CASES = [
    ("ipd", "train", "grim"),
    ("auction", "exploiter", "adaptive"),
    ("split", "train", "conceding"),
    ("kuhn", "train", "nash"),
]


def block(name="ipd", batches=3, size=4, policy="random", pools="paper", seed=1):
    start = estimators.policy(policy, games.get(name))
    return start, estimators.play_groups(start, pools, batches, size, np.random.default_rng(seed))


def test_the_study_has_every_preset_and_the_tables_name_a_function(monkeypatch):
    def group_median(returns, decisions, seats):
        return np.median(returns, axis=-2, keepdims=True)

    new = credit.PRESETS["unbiased"].with_(baseline=group_median)
    monkeypatch.setitem(credit.PRESETS, "new", new)
    table = estimators.measure("random", games.get("kuhn"), "paper", estimators.FEWEST, [2], seed=1)
    assert set(credit.PRESETS) - {"unbiased"} <= set(table["how"])
    assert set(table[table["how"] == "new"]["baseline"]) == {"group_median"}


@pytest.mark.parametrize(("name", "pool", "opponent"), CASES)
def test_simulated_play_is_that_of_rollouts(name, pool, opponent):
    """Round by round, and from one round to the next, both agree with the other and with enumeration."""
    game, n = games.get(name), 400
    policy = estimators.policy("random", game)
    plans = [p for p in rollouts.plan(game, "paper", {pool: n}, seed=2) if p.opponent == opponent]
    episodes = rollouts.play(policy, plans)
    of = tabular.chain(name, "paper", pool, opponent)
    branch = estimators.simulate(
        of, policy.probabilities_IA, (20 * n,), game.rounds, np.random.default_rng(3)
    )
    for real, simulated in (
        ([e.own_T for e in episodes], of.own_M[branch]),
        ([e.other_T for e in episodes], of.other_M[branch]),
        ([e.collusion_T for e in episodes], of.collusion_M[branch]),
        ([e.externality_T for e in episodes], of.externality_M[branch]),
    ):
        for moments in (lambda v: v, lambda v: v[:, 1:] * v[:, :-1]):
            a, b = moments(np.array(real)), moments(simulated)
            error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
            assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) <= 4.5 * error + 1e-9).all()
    exact = tabular.expectations(of, torch.as_tensor(policy.probabilities_IA), game.rounds)
    own = of.own_M[branch].mean(axis=1)
    assert abs(own.mean() - exact[0].item()) <= 4.5 * own.std() / np.sqrt(len(own)) + 1e-9


def as_episodes(played, batch):
    """One batch of a block, as the trainer would record it: one Decision a table index."""
    found = []
    for groups in played.pools.values():
        for key, r in groups.items():
            for g in range(r.own_NGT.shape[2]):
                values = (value[batch, 0, g].tolist() for value in list(vars(r).values())[:4])
                made = episode(*key, g, *values)
                made.decisions = [
                    type(made.decisions[0])(t, "", "", int(index), True, 0)
                    for t, round_ in enumerate(played.decisions[key][batch, 0, g])
                    for index in round_
                ]
                found.append(made)
    return found


@pytest.mark.parametrize("name", ["ipd", "kuhn"])
@pytest.mark.parametrize("scale", ["none", "batch", "group_std"])
@pytest.mark.parametrize("preset", list(credit.PRESETS))
def test_an_estimate_is_the_sum_of_the_trainers_advantages_times_grad_log_pi(name, scale, preset):
    policy, played = block(name)
    how = credit.preset(preset).with_(scale=scale)
    found = estimators.estimates(played, policy, how, policy.game.train_weights)
    p_IA = policy.probabilities_IA
    width = p_IA.shape[1]
    for batch in range(3):
        episodes = as_episodes(played, batch)
        for e in episodes:  # indices behind the table stand where a hand has one decision only
            e.decisions = [d for d in e.decisions if d.action < p_IA.size]
        given = credit.assign(episodes, policy.game, how).advantages
        expected = np.zeros_like(p_IA)
        for e, advantage in zip(episodes, given, strict=True):
            for d, a in zip(e.decisions, advantage if advantage is not None else (), strict=False):
                i, action = divmod(d.action, width)
                expected[i] += a * (np.eye(width)[action] - p_IA[i]) / 4
        np.testing.assert_allclose(found[batch], expected, atol=1e-12)


@pytest.fixture(scope="module")
def table():
    return estimators.measure("random", games.get("split"), "paper", 1010, [2, 8], seed=2)


def test_the_unbiased_estimate_is_the_exact_gradient_and_the_published_one_is_not(table):
    rows = table[(table.term == "J") & (table.groups == 1000) & (table.group_size == 8)]
    unbiased = rows[(rows.how == "unbiased") & (rows.switch == "none") & (rows.groups_per_batch == 25)].iloc[
        0
    ]
    assert unbiased.cosine > 0.998 and unbiased.bias_norm < 3 * unbiased.noise_norm
    error = (unbiased.size_high - unbiased.size_low) / (2 * 1.96)
    assert error < 0.05 and abs(unbiased.size_ratio - 1) < 3 * error
    published = rows[(rows.how == "published") & (rows.switch == "none")].iloc[0]
    assert published.cosine_high < unbiased.cosine_low
    terms = table[(table.how == "unbiased") & (table.switch == "none")].groupby("term").cosine.min()
    assert (terms.loc[["u", "e", "c", "x"]] > 0.98).all()


@pytest.fixture(scope="module")
def hands():
    table = estimators.measure("equilibrium", games.get("kuhn"), "paper", 2000, [8], seed=4)
    return table[(table.term == "J") & (table.groups == 2000) & (table.groups_per_batch == 1)]


def test_published_estimators_need_no_reward_to_go_but_no_deviation_either(table):
    rows = table[(table.groups == 1000) & (table.group_size == 8) & (table.groups_per_batch == 1)]
    own = rows[(rows.term == "J") & (rows.switch == "none")].set_index("how")
    unbiased = ["RLOO", "Dr. GRPO", "SPIRAL (RAE)", "MARSHAL, centred only", "baseline by turn"]
    assert (own.loc[unbiased, "cosine"] > 0.998).all()
    assert (own.loc[["GRPO by trajectory", "MARSHAL", "authors_current"], "cosine_high"] < 0.9).all()
    assert own.loc["RLOO", "bias_norm"] < 3 * own.loc["RLOO", "noise_norm"]
    assert own.loc["Dr. GRPO", "size_ratio"] == pytest.approx(own.loc["RLOO", "size_ratio"] * 7 / 8, rel=1e-4)
    assert own.loc[estimators.KNOWN, "batch_cosine"] > own.loc["RLOO", "batch_cosine_high"]  # less variance
    assert set(table[table.how.isin(published.ELSEWHERE)].group_size) == {8}


def test_the_cosine_of_one_batch_by_hand():
    exact = tabular.exact(estimators.policy("random", games.get("ipd")), "paper").gradients["J"].ravel()
    other = np.zeros_like(exact)
    batches = np.array([2 * exact, -exact, exact, other])  # the last one has no direction
    assert estimators.batch_cosine(batches, exact) == pytest.approx(0.25)
    assert np.isnan(estimators.batch_cosine(batches, other))


@pytest.mark.parametrize("true", [1.0, 0.9995, 0.9])
def test_the_interval_of_a_cosine_covers_the_truth_also_near_one(true):
    """A known direction and noise that alone would make a cosine of about .9997: of 200 intervals about 190
    hold the truth (at 1 itself more, as there they are one-sided), and all hold the estimate."""
    rng, exact, across = np.random.default_rng(5), np.zeros(12), np.zeros(12)
    exact[0], across[1] = 2.0, 1.0
    mean = true * exact / 2 + np.sqrt(1 - true**2) * across
    held = 0
    for _ in range(200):
        means = mean + 0.15 / np.sqrt(12) * rng.normal(size=(40, 12)) * np.linspace(0.5, 1.5, 12)
        row, _ = comparison.Measured(means, np.ones(40), np.ones(40), 1).compare(exact, 1, True)
        assert -1 <= row["cosine_low"] <= row["cosine"] <= row["cosine_high"] <= 1
        held += row["cosine_low"] <= true <= row["cosine_high"] + 1e-12
    assert held >= 182


def test_a_baseline_by_turn_turns_the_gradient_where_hands_vary_in_length(hands):
    own = hands[hands.switch == "none"].set_index("how")
    assert own.loc["baseline by turn", "cosine_high"] < 0 < 0.98 < own.loc["Dr. GRPO", "cosine"]
    assert own.loc["MARSHAL, centred only", "batch_cosine"] > own.loc["RLOO", "batch_cosine_high"]


def test_known_margins_mend_the_clamp_near_a_margin_of_zero(hands):
    own = hands[hands.switch == "none"].set_index("how")
    known = own.loc[estimators.KNOWN]
    assert known.cosine > 0.99 and known.bias_norm < 3 * known.noise_norm
    assert own.loc["unbiased", "cosine_high"] < known.cosine_low


def test_a_constant_penalty_adds_nothing_and_one_of_other_episodes_nothing_on_average(table):
    penalties = table[table.term.isin(["e", "c", "x"]) & (table.groups_per_batch == 1)]
    constant = penalties[penalties.arm == "constant"]
    assert len(constant) == 9 and (constant.estimate_norm < 1e-12).all()
    apart = penalties[(penalties.how == "unbiased") & penalties.term.isin(["e", "c"])]
    apart = apart[apart.arm == "per_rollout"]
    assert (apart.estimate_norm < 3 * apart.noise_norm).all() and (apart.estimate_norm > 0).all()


def test_the_columns_and_rows_of_the_table(table):
    assert table.columns.tolist() == [*estimators.KEYS, *estimators.MEASURES]
    assert not table.duplicated(list(estimators.KEYS)).any()
    assert set(table.groups) == {1000, 250} and set(table.groups_per_batch) == {1, 25}
    exact = tabular.exact(estimators.policy("random", games.get("split")), "paper")
    assert (table.nearest_margin == min(exact.margins.values())).all()
    assert set(table[table.group_size == 2].term) == {"J"}
    assert set(table[table.group_size == 8].term) == {"J", "u", "e", "c", "x"}
    rows = table[(table.groups == 1000) & (table.term == "J")]
    keys = ["how", "group_size", "groups_per_batch"]
    base = rows[rows.switch == "none"].set_index(keys).cosine
    turned = rows[rows.switch != "none"].set_index(keys)
    assert set(turned.switch) == {"credit", "horizon", "clamp", "scale", "weights"}
    np.testing.assert_allclose(turned.change, turned.cosine - base.reindex(turned.index), atol=2e-6)
    assert table.bias_norm.notna().eq(table.scale == "none").all()


def test_uniform_play_stands_on_a_kink_of_the_dilemmas_j():
    exact = tabular.exact(estimators.policy("uniform", games.get("ipd")), "paper")
    assert exact.margins == {"always_defect": 2.5, "alternator": 0.0}


def test_what_a_penalty_adds_and_the_payoff_make_the_whole():
    policy, played = block("auction")
    how = credit.preset("unbiased").with_(scale="none")
    found = estimators.estimate_terms(played, policy, how, ["u", "e", "c", "x"])
    np.testing.assert_allclose(found["J"], sum(found[term] for term in "uecx"), atol=1e-12)
    none = estimators.estimates(played, policy, how, Weights(0.0, 0.0, 0.0))
    np.testing.assert_array_equal(found["u"], none)


def test_bad_input_is_refused():
    ipd = games.get("ipd")
    with pytest.raises(ValueError, match="choose from uniform, random, cooperative, equilibrium"):
        estimators.policy("greedy", ipd)
    with pytest.raises(ValueError, match="'deal' has no enumeration"):
        estimators.policy("uniform", games.get("deal"))
    with pytest.raises(ValueError, match="at least 2 rollouts"):
        estimators.measure("uniform", ipd, "paper", 40, [8, 1], seed=1)
    with pytest.raises(ValueError, match="at least 16 groups"):
        estimators.measure("uniform", ipd, "paper", 15, [8], seed=1)
    with pytest.raises(ValueError, match="must be at least 1"):
        block(batches=0)
    with pytest.raises(ValueError, match="at least 2 rollouts"):
        block(size=1)


def test_the_job_leaves_its_table(tmp_path):
    jobs = recipes.estimator_jobs(profiles.load("smoke", games="split,deal,kuhn"))
    places = ["split-paper", "kuhn-paper", "kuhn-conflict"]
    assert [job.name for job in jobs] == [f"estimators/{p}/{q}" for p in places for q in estimators.POLICIES]
    reports = []
    estimators.run_estimators(tmp_path, lambda step, metrics: reports.append(step), **jobs[0].arguments)
    table = pd.read_parquet(tmp_path / "estimators-log.parquet")
    assert reports == [1] and set(table.profile) == {"smoke"} and set(table.group_size) == {4}
    assert set(table.policy) == {"uniform"} and set(table.groups) == {16, 4}


def test_the_command_makes_the_tables_without_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    asked = []

    def study_jobs(settings):
        asked.append((settings.estimator_groups, settings.study_games))
        return recipes.estimator_jobs(settings)[-1:]

    monkeypatch.setattr(recipes, "study_jobs", study_jobs)
    provenance.start(profiles.load("smoke", games="split,kuhn", run="mine"))
    earlier = paths.write_table(pd.DataFrame([{"seed": 1}]), "mine", "headroom").read_bytes()
    provenance.finish("mine")
    assert cli.main(["study-tables", "--run", "mine"]) == 0
    assert asked == [(16, ("split", "kuhn"))]  # the games of the run whose tables they replace
    said = capsys.readouterr().out
    assert "Wrote estimators, headroom into data/results/mine/" in said
    assert set(paths.read_table("mine", "estimators").groups) == {16, 4}
    (note,) = provenance.read("mine")["remade"]  # a finished run knows the tables that replace its own
    assert note["files"] == ["data/results/mine/estimators.parquet", "data/results/mine/headroom.csv"]
    assert provenance.verify("mine") == []
    kept = re.search("The earlier file is in (runs/mine/replaced/[^/]+)/.", said)[1]
    assert (tmp_path / kept / "data/results/mine/headroom.csv").read_bytes() == earlier


def test_study_tables_with_options_are_a_run_of_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes, "study_jobs", lambda settings: [])
    provenance.start(profiles.load("smoke", run="smoke"))
    provenance.finish("smoke")
    assert cli.main(["study-tables", "--profile", "smoke", "--groups", "20", "--games", "kuhn"]) == 0
    assert "into data/results/smoke-kuhn-estimator-groups-20/" in capsys.readouterr().out
    assert not paths.results("smoke").exists() and "remade" not in provenance.read("smoke")
    assert cli.main(["study-tables", "--profile", "smoke", "--run", "smoke", "--groups", "20"]) == 2
    assert "The run 'smoke' is that of the profile smoke without changes" in capsys.readouterr().err
