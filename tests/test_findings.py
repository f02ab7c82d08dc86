"""What the trained arms show, as Markdown: the numbers of the tables, and nothing where there are none."""

import re

import numpy as np
import pandas as pd

from sepo_lib import findings, paths, readme, results
from sepo_lib.statistics import Interval

KEYS = {"game": "ipd", "pools": "conflict", "preset": "unbiased"}


def outcome(arm, seed, safety):
    return {**KEYS, "kind": "outcome", "arm": arm, "seed": seed, "safety": safety}


def test_an_interval_in_words():
    assert findings.text(Interval(0.5, -0.25, 1.0)) == "0.500 [-0.250, 1.000]"
    assert findings.text(Interval(-0.0001, np.nan, np.nan), 2) == "-0.00"
    assert findings.markdown([]) == []
    shuffled = [{"a": 1, "b": "x"}, {"b": "y", "a": 2}]
    assert findings.markdown(shuffled) == ["| a | b |", "| --- | --- |", "| 1 | x |", "| 2 | y |"]


def test_the_arms_are_paired_by_seed():
    """credited is 1 safer than constant for either seed, and 1 or 3 safer than per_rollout."""
    safeties = {"constant": (1.0, 2.0), "per_rollout": (1.0, 0.0), "credited": (2.0, 3.0)}
    rows = [outcome(arm, seed, s) for arm, two in safeties.items() for seed, s in enumerate(two)]
    (found,) = findings.arms(pd.DataFrame(rows))
    assert found["minus constant"] == "1.000 [1.000, 1.000]"
    assert found["minus per_rollout"].startswith("2.000 [-10.7")  # 2 +- 12.706 sqrt(2) / sqrt(2)
    assert findings.arms(pd.DataFrame()) == []


def test_the_penalty_is_measured_against_the_credited_one():
    names = ["arm", "seed", "mean_gradient_norm", "mean_cosine_to_credited", "signal_to_noise"]
    values = [("constant", 1, 0.0, np.nan, np.nan), ("constant", 2, 0.0, np.nan, np.nan)]
    values += [("per_rollout", 1, 1.0, 0.1, 0.0), ("per_rollout", 2, 1.0, 0.1, 0.0)]
    values += [("credited", 1, 2.0, 1.0, 3.0), ("credited", 2, 4.0, 1.0, 3.0)]
    table = pd.DataFrame(values, columns=names).assign(**KEYS, kind="gradient", batches=64.0)
    found = {row["arm"]: row for row in findings.penalty_gradients(table)}
    assert found["constant"]["length"] == "0.000 [0.000, 0.000]"
    assert found["constant"]["cosine with credited"] == "–" == found["constant"]["signal to noise"]
    assert found["per_rollout"]["length"].startswith("0.375 [")  # the mean of 1/2 and 1/4
    assert found["credited"]["signal to noise"] == "3.000 [3.000, 3.000]"
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
    assert found["NashConv"] == "0.250 [0.250, 0.250]" and found["arm"] == "credited"


def test_a_table_without_rows_leaves_no_heading(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    paths.write_table(pd.DataFrame({"seed": [2, 1]}), "smoke", "evaluation")
    for name in ("ablation", "switches", "exploitability", "exploiters"):
        paths.write_table(results.empty(name), "smoke", name)
    sweep = {"game": "ipd", "multiple": 2.0, "exploit_weight": 4.8, "payoff": 2.5, "exploit": 0.0}
    paths.write_table(pd.DataFrame([sweep]), "smoke", "sweep")
    text = findings.outcomes("smoke")
    assert "training seeds 1, 2;" in text and text.count("| --- ") == 4
    assert text.endswith("| ipd | 4.8 (2 times) | 2.500 | 0.000 |")


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
    assert (found["u"], found["answers in form"]) == ("0.250", "50%")
    two = pd.DataFrame([evaluated(s, "sepo", s, safety_low=s, safety_high=s) for s in (1.0, 3.0)])
    (found,) = findings.measures(two)
    assert found["safety"] == "2.000 [-10.706, 14.706]" and "unbiased" in found["stage"]  # 2 +- 12.706
    (found,) = findings.measures(pd.DataFrame([evaluated(1, "base", -1.0)]))
    assert found["safety"] == "-1.000"


def test_the_committed_page_on_models_is_that_of_a_committed_run():
    text = (paths.root() / "docs" / "MODELS.md").read_text(encoding="utf-8")
    block = text.split(readme.MODEL + "\n")[1].split("\n" + readme.END_OF_MODEL)[0]
    profile = re.search(r"committed `(\w+)` run", block).group(1)
    assert block == readme.real_model(profile)
    safety = paths.read_table(profile, "evaluation").query("reported and stage == 'sepo'")["safety"]
    assert len(safety) and all(f"| {value:.3f} [" in block for value in safety)
