"""`behaviour.csv` is made from the folders of the finished jobs, also of a run that keeps no episodes."""

import pytest
from uniform_play import played

from sepo_lib.config import paths, profiles
from sepo_lib.measure import evaluation, job_tables
from sepo_lib.run import behaviour_table, recipes, results
from sepo_lib.run import job as job_


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")
    options = {"games": "split", "seeds": "3", "compare_with": [], "keep_episodes": False}
    return profiles.load("laptop", **options)


def finish(settings, job, steps, change=lambda table: table):
    for step in steps:
        keys = {"game": "split", "pools": "paper", **job.arguments["labels"], "step": step}
        table = change(evaluation.episode_table(played("split"), keys))
        folder = paths.job(settings.run, job.name)
        job_tables.save({"episodes": table}, folder, f"split-paper-{step:05d}")
    job_.finish(settings.run, job, {}, 0.0)


def test_the_last_step_of_every_policy_has_its_rows(settings):
    assert (
        behaviour_table.of_main_run(settings).columns.tolist() == results.empty("behaviour").columns.tolist()
    )
    for job, steps in ((recipes.sft_jobs(settings)[0], [250]), (recipes.sepo_jobs(settings)[0], [15, 60])):
        finish(settings, job, steps)
    table = behaviour_table.of_main_run(settings)
    assert table.groupby("stage")["step"].unique().map(list).to_dict() == {"sft": [250], "sepo": [60]}
    assert table["situation"].notna().all() and len(paths.write_table(table, "p", "behaviour").read_bytes())


def test_episodes_of_other_rules_are_left_out_and_named(settings, capsys):
    sft, sepo = recipes.sft_jobs(settings)[0], recipes.sepo_jobs(settings)[0]
    finish(settings, sft, [250])
    finish(settings, sepo, [60], lambda table: table.assign(other_action="9"))
    assert set(behaviour_table.of_main_run(settings)["stage"]) == {"sft"}
    said = capsys.readouterr().out
    assert sepo.name in said and "recorded with other rules or opponents" in said and said.count("\n") == 1
