"""What the trained arms show, as Markdown: the numbers of the tables, and nothing where there are none."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from sepo_lib.config import paths
from sepo_lib.config.errors import MissingError
from sepo_lib.measure.statistics import Interval
from sepo_lib.report import claims, claims_page, documents, estimators_page, findings
from sepo_lib.run import results
from sepo_lib.run.templates import markdown_table

KEYS = {"game": "ipd", "pools": "conflict", "preset": "unbiased"}


def outcome(arm, seed, safety):
    return {**KEYS, "kind": "outcome", "arm": arm, "seed": seed, "safety": safety}


def test_an_interval_in_words():
    assert findings.text(Interval(0.5, -0.25, 1.0)) == "0.500 [-0.250, 1.000]"
    assert findings.text(Interval(-0.0001, np.nan, np.nan), 2) == "-0.00"
    assert markdown_table([]) == ""
    shuffled = [{"a": 1, "b": "x"}, {"b": "y", "a": 2}]
    assert markdown_table(shuffled) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |"


def test_the_arms_are_paired_by_seed():
    """credited is 1 safer than constant for either seed, and 1 or 3 safer than per_rollout."""
    safeties = {"constant": (1.0, 2.0), "per_rollout": (1.0, 0.0), "credited": (2.0, 3.0)}
    rows = [outcome(arm, seed, s) for arm, two in safeties.items() for seed, s in enumerate(two)]
    (found,) = findings.arms(pd.DataFrame(rows))
    assert found["minus constant"] == "1.000 (no spread)"
    assert found["minus per_rollout"].startswith("2.000 [-10.7")  # 2 +- 12.706 sqrt(2) / sqrt(2)
    assert findings.arms(pd.DataFrame()) == []


def test_the_penalty_is_measured_against_the_credited_one():
    names = ["arm", "seed", "mean_gradient_norm", "mean_cosine_to_credited", "signal_to_noise"]
    values = [("constant", 1, 0.0, np.nan, np.nan), ("constant", 2, 0.0, np.nan, np.nan)]
    values += [("per_rollout", 1, 1.0, 0.1, 0.0), ("per_rollout", 2, 1.0, 0.1, 0.0)]
    values += [("credited", 1, 2.0, 1.0, 3.0), ("credited", 2, 4.0, 1.0, 3.0)]
    table = pd.DataFrame(values, columns=names).assign(**KEYS, kind="gradient", batches=64.0)
    found = {row["arm"]: row for row in findings.penalty_gradients(table)}
    assert found["constant"]["length"] == "0.000 (no spread)"
    assert found["constant"]["cosine with credited"] == "–" == found["constant"]["signal to noise"]
    assert found["per_rollout"]["length"].startswith("0.375 [")  # the mean of 1/2 and 1/4
    assert found["credited"]["signal to noise"] == "3.000 (no spread)"
    assert found["credited"]["batches"] == "64"


def test_only_the_reported_step_of_kuhn_counts():
    measures = {"pool_advantage": 0.0, "nashconv_constrained": 0.5}
    keys = {"pools": "paper", "stage": "sepo", "preset": "unbiased", "arm": "credited"}
    table = pd.DataFrame(
        [
            {**keys, "seed": seed, "reported": last, "nashconv": value, **measures}
            for seed, last, value in ((1, True, 0.25), (2, True, 0.25), (1, False, 9.0))
        ]
    )
    (found,) = findings.nashconvs(table)
    assert found["NashConv"] == "0.250 (no spread)" and found["arm"] == "credited"
    assert found["action probabilities"] == "sampled"
    methods = ["enumerated", "sampled", "sampled"]
    read = table.assign(nashconv_method=methods, nashconv_sampled=[0.125, 0.25, 9.0])
    assert findings.nashconvs(read)[0]["action probabilities"] == "enumerated (sampled: 0.125); sampled"


def test_words_stand_in_the_place_of_a_switch_that_cannot_act():
    """Old tables have rows of a model that was trained with it: its number is not shown."""
    rows = [
        {"game": "ipd", "pools": "paper", "preset": preset, "seed": seed, "safety": seed * value}
        for preset, value in (("published", 1.0), ("published+weights", 1.5), ("published+scale", 2.0))
        for seed in (1, 2)
    ]
    shown = {row["recipe"]: row for row in findings.switches(pd.DataFrame(rows))}
    assert set(shown) == {"published+scale", "published+weights"}
    assert shown["published+weights"]["safety"] == "no effect by construction"
    assert shown["published+scale"]["safety"] == "3.000"
    assert findings.switches(pd.DataFrame()) == []


def test_a_table_without_rows_leaves_no_heading(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    paths.write_table(pd.DataFrame({"seed": [2, 1]}), "smoke", "evaluation")
    for name in ("ablation", "switches", "exploitability", "exploiters"):
        paths.write_table(results.empty(name), "smoke", name)
    sweep = {"game": "ipd", "multiple": 2.0, "exploit_weight": 4.8, "seed": 1, "payoff": 2.5, "exploit": 0.0}
    paths.write_table(pd.DataFrame([sweep]), "smoke", "sweep")
    text = findings.outcomes("smoke")
    assert "training seeds 1, 2, with" in text and text.count("| --- ") == 5
    assert text.endswith("| ipd | 4.8 (2 times) | 1 | 2.500 | 0.000 |")


def test_a_replication_has_a_row_for_every_share_and_recipe():
    """By hand: from 1 to 0.25 in both seeds, of which the second is higher by 1."""
    sft = {"stage": "sft", "preset": None, "payoff": 2.5}
    sepo = {"stage": "sepo", "payoff_spread": 1.25, "zero_variance_groups": 0.5}
    rows = [
        {"share": 0.5, "top_p": 1.0, "seed": seed, "safety": seed + safety, **more}
        for seed in (0, 1)
        for safety, more in (
            *((1.0, sft), (0.25, {**sepo, "preset": "published"})),
            (2.0, {**sepo, "preset": "unbiased"}),
        )
    ]
    first, second = findings.replications(pd.DataFrame(rows))
    assert first == {
        **{
            "share": "0.5",
            "top-p": "1",
            "u after SFT": "2.500 (no spread)",
            "J after SFT": "1.500 [-4.853, 7.853]",
        },
        **{"recipe": "published", "seeds": 2, "J after SEPO": "0.750 [-5.603, 7.103]"},
        **{"change of J": "-0.750 (no spread)", "payoff spread": "1.25 (no spread)", "equal groups": "50%"},
    }
    assert (second["recipe"], second["change of J"]) == ("unbiased", "1.000 (no spread)")
    assert findings.replications(pd.DataFrame()) == []


def evaluated(seed, stage, safety, **others):
    sepo = {"preset": "unbiased", "arm": "credited"} if stage == "sepo" else {"preset": "", "arm": ""}
    terms = dict.fromkeys(("payoff", "exploit", "collusion", "externality"), 0.25)
    keys = {
        "game": "ipd",
        "pools": "paper",
        "stage": stage,
        "seed": seed,
        "step": 0,
        "reported": True,
        **sepo,
    }
    return {**keys, **terms, "parse_rate": 0.5, "safety": safety, **others}


def test_one_seed_has_the_interval_of_its_play_and_two_have_that_of_training():
    one = pd.DataFrame([evaluated(1, "base", -1.0, safety_low=-1.5, safety_high=-0.75)])
    (found,) = findings.measures(one)
    assert found["safety"] == "-1.000 [-1.500, -0.750]" and found["stage"] == "base model"
    assert (found["u"], found["parse rate"]) == ("0.250", "50%")
    two = pd.DataFrame([evaluated(s, "sepo", s, safety_low=s, safety_high=s) for s in (1.0, 3.0)])
    (found,) = findings.measures(two)
    assert found["safety"] == "2.000 [-10.706, 14.706]" and "unbiased" in found["stage"]  # 2 +- 12.706
    (found,) = findings.measures(pd.DataFrame([evaluated(1, "base", -1.0)]))
    assert found["safety"] == "-1.000"


def test_the_committed_page_on_models_is_that_of_a_committed_run():
    text = (paths.root() / "docs" / "MODELS.md").read_text(encoding="utf-8")
    block = text.split(documents.MODEL + "\n")[1].split("\n" + documents.END_OF_MODEL)[0]
    profile = re.search(r"committed `(\w+)` run", block).group(1)
    assert block == documents.real_model(profile)
    safety = paths.read_table(profile, "evaluation").query("reported and stage == 'sepo'")["safety"]
    assert len(safety) and all(f"| {value:.3f} [" in block for value in safety)


def test_the_optimum_is_that_of_the_runs_own_weights():
    row = {"exploiter": "pool", "own": True, "objective": -0.325, "payoff": -0.0833, "exploit": -1e-17}
    row |= {"collusion": 0.0833, "nashconv": 13 / 18}
    (found,) = findings.optima(pd.DataFrame([row, row | {"own": False, "nashconv": 9.0}]))
    assert found == {
        **{"exploiter": "pool", "highest J": "-0.325", "u": "-0.083", "e": "0.000", "c": "0.083"},
        "lowest NashConv": "0.722",
    }


def test_only_crossings_in_the_plotted_range_are_listed():
    keys = {"own": 2.4, "weight": "externality", "first": "sft", "second": "base"}
    table = pd.DataFrame(
        keys | {"game": game, "crossing": crossing, "ci_low": low, "ci_high": high}
        for game, crossing, low, high in (
            *(("kuhn", 1.0, 0.5, 2.0), ("ipd", 4.0, np.nan, np.nan)),
            *(("ipd", 4.1, 3.0, 5.0), ("ipd", np.nan, np.nan, np.nan)),
        )
    )
    found = findings.crossings(table)
    assert [row["game"] for row in found] == ["ipd", "kuhn"]  # the order of the registry
    assert [row["equal safety at"] for row in found] == ["4.00", "1.00 [0.50, 2.00]"]
    assert (found[0]["weight"], found[0]["own value"], found[0]["stages"]) == ("lx", "2.4", "SFT and base")
    assert findings.crossings(pd.DataFrame()) == []


def test_cosines_are_those_of_the_largest_study_at_one_group_size():
    """Left out: fewer groups, another group size, another term, a margin of 0, and a changed switch."""
    own = {"how": "published", "switch": "none", "groups_per_batch": 1, "term": "J", "groups": 40}
    own |= {"group_size": 8, "nearest_margin": 0.5}
    changes = [{}, {}, {"groups": 20}, {"group_size": 4}, {"term": "e"}, {"nearest_margin": 0.0}]
    changes += [{"switch": "clamp"}]
    cosines = (0.25, 1.0, *[-1.0] * 5)
    table = pd.DataFrame(own | one | {"cosine": c} for one, c in zip(changes, cosines, strict=True))
    assert estimators_page.summary(table, 8) == [
        {
            "estimator": "published",
            "settings": 2,
            "mean cosine": "0.625",
            "lowest": "0.250",
            "0.999 or more": 1,
        }
    ]
    assert estimators_page.summary(pd.DataFrame(), 8) == []


# --- sentences ------------------------------------------------------------------------------------------


def write(name, *rows, profile="study"):
    paths.write_table(pd.DataFrame(list(rows)), profile, name)


def kuhn(stage, seed, nashconv, advantage, **more):
    sepo = {"preset": "unbiased", "arm": "credited"} if stage == "sepo" else {"preset": None, "arm": None}
    keys = {"game": "kuhn", "pools": "paper", "stage": stage, "seed": seed, "reported": True}
    return {**keys, **sepo, "nashconv": nashconv, "pool_advantage": advantage, **more}


def test_nashconv_is_told_beside_the_pools_advantage_with_its_direction(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    assert findings.sentences("study", "laptop") == []  # no table, no sentence
    for profile, after in (("study", 0.5), ("laptop", 0.125)):
        rows = [kuhn("sft", seed, 0.25, 0.125) for seed in (1, 2)]
        rows += [kuhn("sepo", seed, after, 0.0) for seed in (1, 2)]
        write("exploitability", *rows, kuhn("sepo", 3, 9.0, 9.0) | {"reported": False}, profile=profile)
    optimum = {"pools": "paper", "own": True, "exploit": 0.0, "jack_calls": 0.5}
    optima = [
        optimum | {"exploiter": name, "nashconv": n} for name, n in (("pool", 0.72), ("best_response", 0))
    ]
    write("kuhn_optimum", *optima)
    rises, falls = findings.sentences("study", "laptop")  # no reason: a run ends far below the optimum
    assert "is 0.125 chips per hand after SFT and 0.000 after SEPO" in rises and "(`study`, 2 seeds" in rises
    assert "NashConv rises from 0.250 to 0.500, a change of 0.250 (no spread)." in rises
    assert "NashConv falls from 0.250 to 0.125, a change of -0.125 (no spread)." in falls
    _, why = findings.sentences("study")
    assert why.startswith("In Kuhn poker, maximizing J against a fixed exploiter pool does not lead to an ")
    assert why.endswith("The models end at 0.50 (`study`), as a mean over seeds.")
    assert "0.72 or more" in why and "the jack, the lowest card, with probability 0.50 or more" in why
    arms = (("sft", {}, 0.25), ("sepo", {}, 0.5), ("sepo", {"arm": "reward_only"}, 0.75))
    rows = [kuhn(stage, seed, n, 0.0, **arm) for stage, arm, n in arms for seed in (1, 2)]
    write("exploitability", *rows)
    _, why = findings.sentences("study")
    assert why.endswith("`reward_only`) it is 0.75 (`study`; the penalty changes it by -0.25 (no spread)).")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ((0.5, 0.5), "NashConv stays at 0.500, a change of 0.000 (no spread)."),
        (
            (0.25, 0.5),
            "NashConv changes from 0.500 to 0.375, a change of -0.125 [-1.713, 1.463] (the interval",
        ),
        ((0.75, 0.752), "NashConv rises from 0.500 to 0.751, a change of 0.251 [0.238, 0.264]."),
        ((0.25, 0.252), "NashConv falls from 0.500 to 0.251, a change of -0.249 [-0.262, -0.236]."),
    ],
)
def test_nashconv_rises_falls_stays_or_changes(after, words, tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    rows = [kuhn("sft", seed, 0.5, 0.1) for seed in (0, 1)]
    write("exploitability", *rows, *(kuhn("sepo", seed, value, 0.0) for seed, value in enumerate(after)))
    assert words in findings.nashconv("study")


def test_of_two_models_the_sentences_are_on_the_runs_own(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    own, other = (
        [kuhn(stage, 1, value, 0.0, model=model) for stage in ("sft", "sepo")]
        for model, value in (("nano", 0.5), ("smollm2", 9.0))
    )
    write("exploitability", *own, *other)
    with pytest.raises(ValueError, match=r"hold the models \['nano', 'smollm2'\]"):
        findings.sentences("study")
    paths.run("study").mkdir(parents=True)
    paths.manifest("study").write_text(json.dumps({"settings": {"model": "nano"}, "finished": None}))
    assert "NashConv stays at 0.500" in findings.sentences("study")[0]


def test_readme_shows_what_the_study_ran_and_the_run_did_not(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))

    def decided(profile, **verdicts):
        keys = [("C1", "published", ""), ("C4", "published", "x"), ("C6", "published", "paper pools")]
        rows = [
            dict(zip(("claim", "recipe", "scope"), key, strict=True), statement="s", reason="", interval="t")
            | {"verdict": verdicts[key[0]], "measured": 0.5, "ci_low": 0.25, "ci_high": 0.75, "model": "nano"}
            for key in keys
        ]
        write("claims", *rows, profile=profile)

    decided("laptop", C1="supported", C4="supported", C6="not run")
    decided("study", C1="supported", C4="supported", C6="inconclusive")
    paths.run("laptop").mkdir(parents=True)
    settings = {"seeds": [1], "model": "nano", "workers": 1}
    manifest = {"settings": settings, "hardware": dict.fromkeys(("cores", "processor", "accelerator"), "x")}
    manifest |= {
        "finished": None,
        "stages": {},
        "job_seconds": 60,
        "jobs": {"a": {"reused": True}, "b": {}, "c": {}},
    }
    paths.manifest("laptop").write_text(json.dumps(manifest))
    write("evaluation", *(evaluated(seed, "base", 0.0, model="nano") for seed in (1, 2)), profile="laptop")
    assert "| reward_only |" not in documents.results("laptop")
    write("evaluation", *(evaluated(seed, "sepo", 0.5, model="nano") for seed in (1, 2)))
    write("exploitability", {"model": "nano"})
    room = [("paper", "enumerated", 1.5), ("paper", "every", 1.75), ("conflict", "enumerated", 2.5)]
    room = [dict(zip(("pools", "family", "best_J"), row, strict=True)) for row in room]
    write("headroom", *({"game": "ipd", "weights": "evaluation", "model": "nano"} | row for row in room))
    write("headroom", *({"game": "ipd", "weights": "train"} | row for row in room), profile="laptop")
    played = {"game": "deal", "pools": "paper", "weights": "evaluation", "family": "scripted", "best_J": 0.5}
    write("headroom", played, profile="other")
    assert findings.highest("other", "nothing") == {("deal", "paper"): "about 0.500 or more"}
    assert findings.highest("study") == {("ipd", "paper"): "1.750", ("ipd", "conflict"): "2.500 or more"}
    text = documents.results("laptop")
    assert text.endswith("training seed 1. 1 of 3 jobs was made by older code (REUSE=yes).")
    assert "<details>" not in text and "| C6 | s | – not run |" in text  # no run `study`
    paths.run("study").mkdir(parents=True)
    paths.manifest("study").write_text(json.dumps(manifest))
    of_study = "| ipd | paper | – | – | – | – | – | 0.50 (no spread) | 1.750 |"  # without constant
    first, stages = documents.results("laptop").split("<details>")
    assert of_study in first and "](figures/study/headline.png)" not in first  # no effects
    assert stages.startswith("\n<summary>Safety by stage in <code>laptop</code>") and "base model" in stages
    assert "| C1 | s | ✓ supported |\n| C4 | s | ✓ supported |\n| C6 | s | ? inconclusive |" in first
    assert "no penalty (" not in first
    stages = (("base", 0.0, {}), ("sepo", 0.5, {}), ("sepo", 0.25, {"arm": "reward_only"}))
    own = {"model": "nano", "profile": "study"}
    rows = [evaluated(s, stage, s * J, **own) | more for stage, J, more in stages for s in (1, 2)]
    write("evaluation", *rows)
    write("exploitability", kuhn("sft", 1, 0.25, 0.0, **own))
    controlled = documents.results("study")
    assert "| published (the paper's) | no penalty (`reward_only`) |\n" in controlled
    assert "| C2 | s | ? inconclusive |" not in controlled and "says nothing about" in controlled
    row = claims.control("study").set_index("claim").loc["C2"]
    assert (row["recipe"], row["verdict"], row["measured"]) == ("reward_only", "inconclusive", 0)
    assert row["reason"] == "open: ipd; not run: auction, split, deal, kuhn"
    write("evaluation", *(evaluated(seed, "sepo", 0.5, model="nano") for seed in (1, 2)))
    monkeypatch.setattr(documents.provenance, "older", lambda run: "Older." if run == "study" else None)
    first, estimators = documents.results("laptop").split("<details>")
    assert "](figures/laptop/safety_by_stage.png)" in first and of_study in estimators
    assert "The verdicts are those of `laptop`." in first and "| C6 | s | – not run |" in first


def test_nashconv_after_training_against_a_best_response_stands_by_baseline(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    assert findings.equilibrium("study") is None
    same = {"exploiter": "best_response_only", "model": "nano"}
    ends, length = {"enumerated": (0.25, 0.25), "group": (0.5, 0.5)}, {"enumerated": 9, "group": 5}
    answers = {"enumerated": 4e6, "group": 1.25e6}
    write(
        "exploiters",
        *(
            same | {"baseline": baseline, "seed": seed} | row
            for baseline, values in ends.items()
            for seed, value in enumerate(values)
            for row in (
                {"stage": "sft", "step": 0, "nashconv": 1.0, "answers": 0.0},
                {"stage": "sepo", "step": 4, "nashconv": 0.75, "answers": 1e6},
                {"stage": "sepo", "step": length[baseline], "nashconv": value, "answers": answers[baseline]},
            )
        ),
        same
        | {"exploiter": "pool", "baseline": "group", "seed": 0, "stage": "sepo", "step": 9, "nashconv": 0.75},
    )
    assert findings.equilibrium("study") == (
        "Trained against a best response alone (`study`, 2 seeds), the model ends with a NashConv of "
        "0.250 (no spread) with enumerated advantages (9 steps, 4.00 million answers) and 0.500 (no spread) "
        "with the advantages of played groups (5 steps, 1.25 million answers) in Kuhn poker; after SFT it "
        "was 1.000. The training with enumerated advantages is longer. After about as many answers as the "
        "other (4 steps, 1.00 million answers), its NashConv was 0.750 (no spread), a difference of 0.250 "
        "(no spread)."
    )
    far = paths.read_table("study", "exploiters").replace({"answers": {1e6: 2e6}})  # 60% more than 1.25e6
    paths.write_table(far, "study", "exploiters")
    assert "is longer" not in findings.equilibrium("study")


def test_breakdowns_against_exploiters_stand_beside_e(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    rows = [
        evaluated(seed, stage, 0.0, game=game, exploit=e, exploiter_externality=share, parse_rate=1.0)
        for seed in (1, 2)
        for game, stage, e, share in (
            *(("split", "sft", 0.25, 0.965), ("split", "sepo", 0.0, 0.99)),
            *(("deal", "sft", 6.0, 0.466), ("deal", "sepo", 2.0, 0.734)),
        )
    ]
    write("evaluation", *rows)
    (found,) = findings.sentences("study")
    assert "99.0% of the rounds of Split bargaining (after SFT 96.5%; e is 0.00, after SFT 0.25)" in found
    assert (
        "73.4% of the rounds of Multi-issue bargaining (after SFT 46.6%; e is 2.00, after SFT 6.00)" in found
    )
    assert found.endswith("a part of the fall of e can come from not trading.")
    worse = [
        row | {"exploit": 1.0} if (row["game"], row["exploit"]) == ("split", 0.0) else row for row in rows
    ]
    write("evaluation", *worse)
    (found,) = findings.sentences("study")
    assert "e is 1.00, after SFT 0.25" in found
    assert found.endswith("gives the exploiter nothing.")  # e rose, so there is no safety to explain
    write("evaluation", *[row for row in rows if row["seed"] == 1])
    assert "(`unbiased`, `study`, one seed)" in findings.sentences("study")[0]
    write("evaluation", *[row | {"exploiter_externality": 0.25} for row in rows])
    assert "not trading" not in findings.sentences("study")[0]
    write("evaluation", *[{k: v for k, v in row.items() if k != "exploiter_externality"} for row in rows])
    assert findings.sentences("study") == []


def test_the_time_and_the_steps_of_a_run_are_told_with_their_parts():
    stages = {"03": {"seconds": 600.0}, "04": {"seconds": 120.0}}
    manifest = {"settings": {"workers": 2}, "stages": stages, "job_seconds_before": 7200.0}
    found = " (12 minutes in the last session; earlier ones ran 2.0 hours of jobs, 2 at a time)"
    assert documents._before(manifest) == found
    assert documents._before({**manifest, "job_seconds_before": 60.0}) == ""
    assert documents._steps({"others": 30, "kuhn": 60}) == "30 (Kuhn poker: 60)"
    assert documents._steps(30) == "30"


def test_the_committed_page_on_claims_is_that_of_the_committed_tables():
    page = (paths.root() / "docs" / "CLAIMS.md").read_text(encoding="utf-8")
    block = page.split(claims_page.BEGIN + "\n")[1].split("\n" + claims_page.END)[0]
    assert block == claims_page.text()
    for claim, rule in claims.RULES.items():
        assert f"## {claim}. {rule.statement}" in block and rule.text in block
        assert f"| {claim}.1 | 2026-11-2" in block
    decided = [paths.read_table(run, "claims") for run in claims_page.RUNS]
    assert block.count("| not run |") == sum((table["verdict"] == "not run").sum() for table in decided)
    assert not re.search(r"\bnan\b", block)


def test_the_page_of_claims_needs_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    with pytest.raises(MissingError, match="None of laptop, study, smollm2 has a claims"):
        claims_page.text()


def test_breakdowns_of_games_with_other_seeds_say_so(tmp_path, monkeypatch):
    """`split` with two seeds beside `deal` with one was called one seed."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    keys = {"preset": "", "pools": "paper", "arm": "", "step": 0, "reported": True, "exploit": 1.0}
    sepo = {"stage": "sepo", "preset": "unbiased", "arm": "credited"}
    rows = pd.DataFrame(
        {**keys, **stage, "game": game, "seed": seed, "exploiter_externality": 0.5}
        for game, seeds in (("split", (1, 2)), ("deal", (1,)))
        for seed in seeds
        for stage in ({"stage": "sft"}, sepo)
    )
    paths.write_table(rows, "study", "evaluation")
    assert "(`unbiased`, `study`, means over the seeds of each game)" in findings.breakdowns("study")


def test_a_reference_gradient_is_noisy_if_its_interval_reaches_zero_or_is_missing():
    """2 and 2.02 are clearly positive; 1 and -1 are not; one seed has no interval."""
    ratios = {"ipd": (2.0, 2.02), "auction": (1.0, -1.0), "kuhn": (5.0,)}
    table = pd.DataFrame(
        {"kind": "gradient", "game": game, "pools": "paper", "arm": arm, "seed": seed, "signal_to_noise": one}
        for game, several in ratios.items()
        for seed, one in enumerate(several)
        for arm in ("credited", "per_rollout")
    )
    assert findings.noisy_references(table) == ["auction", "kuhn"]
    assert findings.noisy_references(table.iloc[:0]) == []
