"""What the sections of a notebook run, and how long it takes."""

import json

from sepo_lib.config import cards, paths, profiles
from sepo_lib.run import executors, plan
from sepo_lib.run.job import Job, finish


def test_the_minutes_are_those_of_the_profiles_run(tmp_path, monkeypatch):
    """60 and 120 seconds on the two workers of nano are a minute and a half."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    settings = profiles.load("smoke")
    jobs = {"first": [Job("a", "m:f", {}, 1), Job("b", "m:f", {}, 1)], "other": [Job("c", "m:f", {}, 1)]}
    assert [row["minutes in all"] for row in plan.sections(settings, jobs)] == ["not known"] * 2
    paths.run("smoke").mkdir(parents=True)
    paths.manifest("smoke").write_text(
        json.dumps({"settings": {}, "finished": None, "jobs": {"a": 60.0, "b": 120.0, "c": 2.0}})
    )
    finish(settings.run, jobs["first"][1], {}, 120.0)
    assert settings.run != "smoke" and settings.workers == 2
    assert plan.sections(settings, jobs | {"none": []}) == [
        {"section": "first", "jobs": 2, "finished": 1, "minutes in all": "1.5"},
        {"section": "other", "jobs": 1, "finished": 0, "minutes in all": "below 0.1"},
        {"section": "none", "jobs": 0, "finished": 0, "minutes in all": ""},
    ]


def test_the_minutes_are_those_of_as_many_jobs_at_a_time_as_run_here(tmp_path, monkeypatch):
    """They were those of two processes on every machine. Three jobs run at once where two workers are set."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    settings, jobs = profiles.load("smoke"), {"some": [Job(name, "m:f", {}, 1) for name in "abcd"]}
    paths.run("smoke").mkdir(parents=True)
    took = dict.fromkeys("abcd", 60.0)
    paths.manifest("smoke").write_text(json.dumps({"settings": {}, "finished": None, "jobs": took}))

    def minutes(number):
        return plan.sections(settings, {"some": jobs["some"][:number]})[0]["minutes in all"]

    assert (minutes(4), minutes(3)) == ("2.0", "1.0")
    monkeypatch.setenv(cards.VISIBLE, "0,1")
    assert minutes(4) == "1.0"
    monkeypatch.setenv(executors.EXECUTOR, "dask")
    monkeypatch.setenv(executors.SCHEDULER, "tcp://nowhere:1")
    assert minutes(4) == "not known"
