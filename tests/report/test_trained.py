"""What `make train` prints: the measures of each stage by game, and what to look out for."""

import pandas as pd
import pytest

from sepo_lib import __main__ as cli
from sepo_lib import figures
from sepo_lib.config import paths, profiles
from sepo_lib.report import trained
from sepo_lib.run import recipes

MEASURES = {"payoff": 2.0, "exploit": 0.5, "collusion": 0.25, "externality": 0.0, "nra": 0.1}


def row(stage, seed=11, game="ipd", pools="paper", **more):
    sepo = {"preset": "unbiased", "arm": "credited"} if stage == "sepo" else {"preset": None, "arm": None}
    keys = {"game": game, "pools": pools, "stage": stage, "seed": seed, "step": 0, "reported": True}
    known = {"profile": "smoke", "model": "nano", "safety": 1.0, "parse_rate": 1.0}
    return {**known, **keys, **MEASURES, **sepo, **more}


def cautions(*rows):
    return trained.cautions(figures.configured(pd.DataFrame(rows)))


def test_a_training_that_changed_nothing_is_pointed_out():
    base, sft, sepo = row("base"), row("sft"), row("sepo", safety=2.0)
    (found,) = cautions(base, sft, sepo)
    assert found.startswith(
        "SFT: every measure is equal to that of the base model in ipd. There were probably"
    )
    (found,) = cautions(base, row("sft", safety=2.0), sepo)
    assert found.startswith("SEPO, unbiased: every measure is equal to that of SFT in ipd.")
    one_of_two = [row("base", 12), row("sft", 12, safety=3.0), row("sepo", 12, safety=4.0)]
    assert cautions(base, sft, sepo, *one_of_two) == []  # a seed that moved
    assert cautions(base, row("sft", exploit=0.25), sepo) == []  # one measure that moved


def test_answers_that_name_no_action_are_pointed_out():
    base = row("base", parse_rate=0.1)  # no training can be blamed for that
    rows = [base, row("sft", safety=2.0, parse_rate=0.9), row("sepo", safety=3.0, parse_rate=0.8)]
    (found,) = cautions(*rows)
    assert found.startswith("The parse rate is 0.80 in ipd (SEPO, unbiased). The kit found no action in the")
    assert cautions(base, row("sft", safety=2.0, parse_rate=0.9)) == []
    mean = [row("sft", seed, safety=seed, parse_rate=rate) for seed, rate in ((11, 1.0), (12, 0.7))]
    assert "0.85 in ipd (SFT)" in cautions(base, row("base", 12), *mean)[0]


def test_the_summary_has_the_means_over_seeds_and_the_place_of_the_models(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    settings = profiles.load("smoke", games="ipd", run="mine", by_hand=False)
    monkeypatch.setattr(recipes, "sepo_jobs", lambda settings: jobs)
    jobs = [type("Job", (), {"name": f"sepo/ipd/seed-{n}", "arguments": ARGUMENTS}) for n in (11, 12)]
    rows = [
        row(stage, seed, safety=seed + n)
        for n, stage in enumerate(("base", "sft", "sepo"))
        for seed in (11, 12)
    ]
    other = row("base", pools="conflict", safety=99.0)
    text = trained.summary(settings, pd.DataFrame([*rows, other]))
    assert text.startswith("Means over 2 training seeds: J = s u - le s e - lc c - lx x")
    assert [line.split()[-8:-6] for line in text.splitlines()[4:7]] == [
        ["model", "11.5"],
        ["SFT", "12.5"],
        ["unbiased", "13.5"],
    ]
    assert "models    runs/mine/checkpoints/sepo/ipd/seed-11/model and 1 more" in text
    assert "play      python -m sepo_lib play ipd --model runs/mine/checkpoints/sepo/ipd/seed-11" in text


ARGUMENTS = {"preset": "unbiased", "arm": "credited"}


def test_a_run_without_the_table_has_no_cautions(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    assert trained.cautions_of(profiles.load("smoke", by_hand=False)) == []


@pytest.mark.parametrize("option", ["--set=sft_step=3", "--set=seeds=1"])
def test_a_wrong_option_is_one_sentence_before_any_work(option, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    assert cli.main(["train", "--profile", "smoke", option]) == 2
    assert capsys.readouterr().err.startswith(("error: There is no hyperparameter", "error: SET cannot set"))
    assert not paths.run("smoke").exists()
