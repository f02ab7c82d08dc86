"""The replication of the authors' result: its SFT models, its jobs and its table."""

import datasets
import pandas as pd
import pytest

from sepo_lib.config import paths, profiles
from sepo_lib.config.errors import InputError
from sepo_lib.measure import job_tables
from sepo_lib.run import demonstration_files, recipes, replication
from sepo_lib.run.job import finish


@pytest.fixture
def unmade(tmp_path, monkeypatch):
    """A root without demonstrations and models."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")


def examples(**episodes):
    """Two examples for each episode; strategy -> its episodes. One of another game comes first."""
    rows = [{"game": "kuhn", "strategy": "defect", "episode": 0, "round": 0}]
    rows += [
        {"game": "ipd", "strategy": strategy, "episode": episode, "round": number}
        for strategy, own in episodes.items()
        for episode in own
        for number in (0, 1)
    ]
    return datasets.Dataset.from_list(rows)


def strategies(dataset):
    return [(row["strategy"], row["episode"]) for row in dataset]


def test_a_share_of_the_other_strategies_episodes_is_replaced_in_place():
    """By hand: of the episodes 1, 2, 5 and 6 of `defect` the first half, of the one of `random` none."""
    own = examples(tft=[0], defect=[1, 2], grim=[3], random=[4])
    own = datasets.concatenate_datasets([own, examples(defect=[5, 6]).select(range(1, 5))])
    mixed = demonstration_files.mixed(own, "ipd", ["tft", "grim"], 0.5)
    tft, grim = [("tft", 0)] * 2, [("grim", 3)] * 2
    later = [("defect", 5)] * 2 + [("defect", 6)] * 2
    assert strategies(mixed) == [("defect", 0), *tft, *tft, *grim, *grim, *[("random", 4)] * 2, *later]
    assert mixed["round"] == [0] + [0, 1] * 7 and mixed.column_names == own.column_names
    # All of them: ten examples, from the beginning again after the fourth.
    every = strategies(demonstration_files.mixed(own, "ipd", ["tft", "grim"], 1.0))
    assert every == [("defect", 0), *tft, *tft, *grim, *grim, *tft, *grim, *tft]
    with pytest.raises(InputError, match=r"^The demonstrations of ipd have none of \['allc'\], only \['de"):
        demonstration_files.mixed(own, "ipd", ["allc"], 1.0)


def test_the_strategies_are_experts_of_the_game():
    with pytest.raises(InputError, match=r"^There is no expert of kuhn called 'tit_for_tat'; choose from"):
        profiles.load("smoke", replication_game="kuhn")
    with pytest.raises(InputError, match="There is no replication_strategy 'bluff'; choose from tit_for_tat"):
        profiles.load("smoke", replication_strategies=["bluff"])


def test_jobs_differ_from_those_of_the_main_run_in_the_mixture_alone(unmade):
    settings = profiles.load("study", seeds="1,2", variation_seeds=1, replication_shares=[0.5, 1.0])
    starts = replication.start_jobs(settings)
    assert [job.name for job in starts] == [f"replication/sft-{share}/seed-1" for share in ("0.5", "1")]
    main, last = recipes.sft_jobs(settings)[0].arguments, starts[-1].arguments
    mixture = {"game": "ipd", "strategies": ["tit_for_tat", "grim"], "share": 1.0}
    assert last == main | {
        "labels": main["labels"] | {"share": 1.0},
        "evaluated_on": [["ipd", "paper"]],
        "mixture": mixture,
    }
    jobs = {job.name: job for job in replication.replication_jobs(settings)}
    assert len(jobs) == 7
    filtered = jobs.pop("replication/authors_current-1-top-p/seed-1")
    assert filtered.arguments["sampling"] == {**main["sampling"], "top_p": 0.95}
    assert filtered.arguments["evaluate_start"] and filtered.arguments["labels"]["top_p"] == 0.95
    without = profiles.load("study", seeds="1", replication_shares=[1.0], replication_top_p=None)
    assert {job.name for job in replication.replication_jobs(without)} <= set(jobs)
    own = jobs["replication/authors_current-1/seed-1"]
    (main,) = [
        job
        for job in recipes.sepo_jobs(settings)
        if job.arguments["preset"] == "authors_current"
        and job.arguments["game"] == "ipd"
        and job.arguments["labels"]["seed"] == 1
    ]
    changed = {key for key in own.arguments if own.arguments[key] != main.arguments.get(key)}
    assert changed == {"labels", "sft_job", "sft_work", "tables_only"} and own.steps == main.steps
    assert own.arguments["sft_work"] == starts[-1].work and own.needs == main.needs
    for none in ({"games": "kuhn"}, {"replication_shares": []}):
        assert replication.replication_jobs(profiles.load("study", **none)) == []
    assert replication.replication_jobs(profiles.load("laptop")) == []


def test_the_table_holds_the_models_before_and_after_with_those_of_the_main_run_as_share_0(unmade):
    settings = profiles.load("study", games="ipd,kuhn", seeds="1,2", variation_seeds=1)
    table = replication.replication_table(settings)
    assert table.empty and {"share", "top_p", "seed", "preset"} <= set(table.columns)
    starts, jobs = replication.start_jobs(settings), replication.replication_jobs(settings)
    for number, job in enumerate([*recipes.sft_jobs(settings), *recipes.sepo_jobs(settings), *starts, *jobs]):
        labels = {"game": job.arguments.get("game", "ipd"), "pools": "paper", **job.arguments["labels"]}
        steps = [15, 30] if labels["stage"] == "sepo" else [labels["step"]]
        steps += [0] if "top_p" in labels else []  # the SFT model, sampled with top-p
        played = [{**labels, "step": s, "payoff": 2.0 + number, "safety": 1.0 * number} for s in steps]
        logs = [{**labels, "step": s, "payoff_spread": s / 2, "zero_variance_groups": 0.5} for s in (1, 2)]
        tables = {"evaluation": pd.DataFrame(played)}
        job_tables.save(tables, paths.job(settings.run, job.name), "00030")
        if labels["stage"] == "sepo":
            job_tables.save({"training": pd.DataFrame(logs)}, paths.job(settings.run, job.name), "log")
        finish(settings.run, job, {}, 0.0)
    table = replication.replication_table(settings)
    assert set(table["game"]) == {"ipd"} and set(table["seed"]) == {1}
    counts = table.fillna({"preset": ""}).groupby(["share", "top_p", "stage"])["preset"].agg(list).to_dict()
    presets = ["authors_current", "published", "unbiased"]
    assert {key: sorted(found) for key, found in counts.items()} == {
        **{
            (share, 1.0, stage): presets if stage == "sepo" else [""]
            for share in (0.0, 0.5, 1.0)
            for stage in ("sft", "sepo")
        },
        **{(1.0, 0.95, "sft"): [""], (1.0, 0.95, "sepo"): ["authors_current"]},
    }
    assert set(table.loc[table["stage"] == "sepo", "step"]) == {30}
    for key, own in table.groupby(["share", "top_p"]):
        sft = own[own["stage"] == "sft"].iloc[0]
        assert (own["start_payoff"] == sft["payoff"]).all(), key
    trained = table["stage"] == "sepo"
    assert (table.loc[trained, "payoff_spread"] == 0.5).all() and table.loc[
        ~trained, "payoff_spread"
    ].isna().all()
    # Steps other than the main run's: its models are no start of the study.
    other = profiles.load("study", games="ipd", seeds="1", replication_steps=10)
    assert {job.steps for job in replication.replication_jobs(other)} == {10}
