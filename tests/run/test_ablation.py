"""The jobs of the ablation: which of them are the main run's, and which run is taken over."""

import pandas as pd
import pytest

from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.measure import headline, job_tables
from sepo_lib.method import credit
from sepo_lib.run import code, recipes
from sepo_lib.run.job import Stage, execute, finish, finished, result_of
from sepo_lib.run.steps import sepo


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")


@pytest.mark.parametrize("profile", profiles.names())
def test_no_two_jobs_of_a_run_share_a_folder(profile):
    """The ablation's runs on the pools of the main run are those of the main run."""
    settings = profiles.load(profile)
    main, arms = recipes.sepo_jobs(settings), recipes.ablation_jobs(settings)
    every = [*main, *arms, *recipes.switch_jobs(settings), *recipes.exploiter_jobs(settings)]
    every += [*recipes.sweep_jobs(settings), *recipes.base_jobs(settings), *recipes.sft_jobs(settings)]
    jobs = {(job.name, job.fingerprint) for job in every}
    assert len(jobs) == len({name for name, _ in jobs})
    if profile == "study":
        assert {job.name for job in main} <= {job.name for job in arms}


def test_steps_and_groups_of_the_ablation_are_its_own_on_other_pools():
    settings = profiles.load("study", seeds="1", ablation_steps={"others": 30, "ipd": 60})
    sizes = {
        (job.arguments["game"], job.arguments["pools"]): (
            job.steps,
            job.arguments["train"]["rollouts_per_opponent"],
        )
        for job in recipes.ablation_jobs(settings)
    }
    assert sizes == {
        ("ipd", "paper"): (30, 8),
        ("ipd", "conflict"): (60, 8),
        ("auction", "paper"): (30, 8),
        ("split", "paper"): (30, 8),
        ("deal", "paper"): (30, 8),
        ("kuhn", "paper"): (30, 48),
        ("kuhn", "conflict"): (30, 48),
    }


def test_the_study_trains_six_estimators_in_every_game_and_pool_set_with_all_seeds():
    """The arms of a preset that are in no headline have the first seeds only."""
    settings = profiles.load("study")
    seeds = {}
    for job in recipes.ablation_jobs(settings):
        labels, place = job.arguments["labels"], (job.arguments["game"], job.arguments["pools"])
        seeds.setdefault((labels["preset"], labels["arm"]), {}).setdefault(place, set()).add(labels["seed"])
    places = {*((game, "paper") for game in games.GAMES), ("ipd", "conflict"), ("kuhn", "conflict")}
    for recipe in headline.ESTIMATORS.values():
        assert seeds.pop(recipe) == {place: set(range(41, 51)) for place in places}
    assert {preset for preset, _ in seeds} == {"published", headline.IMMEDIATE}
    own = credit.preset("unbiased", "reward_only")
    assert credit.preset(headline.IMMEDIATE, "reward_only") == own.with_(horizon="immediate")
    horizon = seeds.pop((headline.IMMEDIATE, "reward_only"))
    assert set(horizon) == {place for place in places if place[0] != "kuhn"}  # its rounds are independent
    assert set(horizon["deal", "paper"]) == set(range(41, 46))
    for by_place in seeds.values():
        assert by_place == {place: set(range(41, 46)) for place in places}


def run(job):
    """The error of the job, None without one."""
    return execute(job, Stage("by-hand/study", "ablation"))


def leave(job, difference):
    """Leave the folder of a finished reward_only job whose penalty would have made that `difference`."""
    folder = paths.job("by-hand/study", job.name)
    keys = job.arguments["labels"]
    job_tables.save({"evaluation": pd.DataFrame([{**keys, "safety": 1.5}])}, folder, "00030")
    log = pd.DataFrame({"step": [1, 2], "constant_difference": [0.0, difference], "arm": "reward_only"})
    job_tables.save({"training": log}, folder, "log")
    finish("by-hand/study", job, {}, 0.0)


def test_a_constant_penalty_takes_over_the_run_that_it_would_have_been(monkeypatch):
    jobs = {
        job.arguments["arm"]: job
        for job in recipes.ablation_jobs(profiles.load("study", games="split", seeds="1"))
        if job.arguments["preset"] == "unbiased"
    }
    constant, reward = jobs["constant"], jobs["reward_only"]
    same_as = {"name": reward.name, "work": reward.work, "proven": False}
    assert constant.arguments["same_as"] == same_as
    assert not any("same_as" in job.arguments for arm, job in jobs.items() if arm != "constant")
    both = profiles.load("study", games="split", seeds="1", copy_equal_runs=False)
    assert not any("same_as" in job.arguments for job in recipes.ablation_jobs(both))

    class Trained(Exception):
        pass

    def load_policy(*a, **k):
        raise Trained

    monkeypatch.setattr(sepo, "load_policy", load_policy)
    folder = paths.job("by-hand/study", constant.name)
    assert run(constant) == f"{Trained.__module__}.{Trained.__qualname__}"  # that job has not finished
    leave(reward, difference=1e-6)
    assert run(constant)  # the advantages differed
    assert not finished("by-hand/study", constant) and not list(folder.glob("*.parquet"))
    leave(reward, difference=1e-12)
    with monkeypatch.context() as patch:
        patch.setattr(code, "libraries", lambda: {"torch": "0.1"})
        assert run(constant)  # other libraries made that job
        patch.setenv("SEPO_REUSE", "yes")
        assert run(constant) is None
        (folder / "done.json").unlink()
    assert run(constant) is None
    assert result_of("by-hand/study", constant)["result"] == {"shared_with": reward.name}
    taken = job_tables.collect([folder], "evaluation")
    assert taken[["arm", "preset", "seed", "safety"]].values.tolist() == [["constant", "unbiased", 1, 1.5]]
    assert (job_tables.collect([folder], "training")["arm"] == "constant").all()


def test_without_keep_variations_only_what_nothing_reads_is_deleted(monkeypatch):
    """The study keeps the models of its main run, also those that its ablation takes over."""
    settings = profiles.load("study", games="split", seeds="1")
    main, arms = recipes.sepo_jobs(settings), recipes.ablation_jobs(settings)
    assert not any("tables_only" in job.arguments for job in main)
    others = [job for job in arms if job.name not in {own.name for own in main}]
    assert others and all(job.arguments["tables_only"] for job in others)
    kept = recipes.ablation_jobs(profiles.load("study", games="split", seeds="1", keep_variations=True))
    assert not any("tables_only" in job.arguments for job in kept)

    (constant,) = [job for job in others if job.arguments["labels"]["arm"] == "constant"][:1]
    reward = next(job for job in others if job.name == constant.arguments["same_as"]["name"])
    leave(reward, difference=0.0)
    source = paths.job("by-hand/study", reward.name)
    job_tables.save({"episodes": pd.DataFrame([{"seed": 1}])}, source, "00030")
    finish("by-hand/study", reward, {}, 0.0)
    assert run(constant) is None
    left = sorted(file.name for file in paths.job("by-hand/study", constant.name).glob("*.parquet"))
    assert left == ["evaluation-00030.parquet", "training-log.parquet"]


def test_the_same_estimator_under_two_names_is_trained_once(monkeypatch):
    """In the dilemma s is 1: `published+credit` and the credited arm of `published` are authors_current."""
    settings = profiles.load("study", games="ipd", seeds="1")
    (main,) = [j for j in recipes.sepo_jobs(settings) if j.arguments["preset"] == "authors_current"]
    others = [*recipes.ablation_jobs(settings), *recipes.switch_jobs(settings)]
    copies = [j for j in others if "same_as" in j.arguments]
    copies = [j for j in copies if j.arguments["arm"] == "credited"]
    elsewhere = [j for j in copies if j.arguments["pools"] == "conflict"]
    assert [j.arguments["same_as"]["name"] for j in elsewhere] == [main.name.replace("paper", "conflict")]
    copies = {j.arguments["preset"]: j for j in copies if j.arguments["pools"] == "paper"}
    assert set(copies) == {"published", "published+credit"}
    monkeypatch.setattr(sepo, "load_policy", lambda *a, **k: pytest.fail("a model was trained again"))
    leave(main, difference=7.0)  # of no interest here
    for preset, job in copies.items():
        folder = paths.job("by-hand/study", job.name)
        assert run(job) is None
        taken = job_tables.collect([folder], "evaluation")
        assert taken[["preset", "arm", "safety"]].values.tolist() == [[preset, "credited", 1.5]]
    alone = profiles.load("study", games="ipd", seeds="1", compare_with=["published"])
    assert not any("same_as" in job.arguments for job in recipes.switch_jobs(alone))
    split = profiles.load("study", games="split", seeds="1")  # s is .6 there
    copies = [j for j in recipes.ablation_jobs(split) if "same_as" in j.arguments]
    assert {j.arguments["arm"] for j in copies} == {"constant"}


def test_a_switch_that_cannot_act_is_not_trained():
    settings = profiles.load("study", games="ipd", seeds="1", switches=["weights", "scale"])
    assert [job.arguments["preset"] for job in recipes.switch_jobs(settings)] == ["published+scale"]
    assert "weights" not in profiles.load("laptop").switches


def test_the_presets_to_compare_with_are_a_list():
    both = ("published", "authors_current")
    every = {name: tuple(profiles.load(name).compare_with) for name in profiles.names()}
    others = dict.fromkeys(("paper", "study"), both)
    assert every == others | {"smollm2": (), "gpu": both[:1], "laptop": both[:1], "smoke": both[:1]}
    trained = {
        job.arguments["preset"]: job.arguments["arm"] for job in recipes.sepo_jobs(profiles.load("study"))
    }
    assert trained == {"unbiased": "credited", "published": "per_rollout", "authors_current": "credited"}
