"""What carries over: the jobs of the study, its table, its figure, and the sentences about it."""

import json

import pandas as pd
import pytest

from sepo_lib import figures
from sepo_lib.config import paths, profiles
from sepo_lib.measure import job_tables
from sepo_lib.report import found
from sepo_lib.run import recipes, transfer
from sepo_lib.run.job import finish

GAMES = ("ipd", "split", "kuhn")
#: (trained on, game) -> safety in every seed minus that of the SFT model.
CHANGES = {("ipd", "split"): 0.5, ("kuhn", "split"): -0.25, ("all", "kuhn"): 2.0}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")
    size = {"others": 8, "kuhn": 48}
    return profiles.load("study", games=GAMES, seeds="1,2,3", variation_seeds=2, rollouts_per_opponent=size)


def test_every_model_is_evaluated_in_the_other_games_and_one_is_trained_on_all(settings):
    jobs = {job.name: job for job in transfer.transfer_jobs(settings)}
    assert list(jobs)[:2] == [f"sepo/all-paper/unbiased-credited/seed-{seed}" for seed in (1, 2)]
    assert len(jobs) == 2 + 2 * len(GAMES)
    one, main = jobs["transfer/split/seed-2"], {job.name: job for job in recipes.sepo_jobs(settings)}
    trained = main["sepo/split-paper/unbiased-credited/seed-2"]
    assert one.arguments["evaluated_on"] == [["ipd", "paper"], ["kuhn", "paper"]]
    assert (one.arguments["trained_job"], one.arguments["trained_work"]) == (trained.name, trained.work)
    assert {trained.function, *trained.needs} == set(one.needs)
    together = jobs["sepo/all-paper/unbiased-credited/seed-1"].arguments
    alone = main["sepo/ipd-paper/unbiased-credited/seed-1"].arguments
    assert together["also"] == [["split", "paper", 8], ["kuhn", "paper", 48]]
    assert together["train"] == alone["train"]  # of most games; Kuhn poker alone has other values
    assert together["train"] != main["sepo/kuhn-paper/unbiased-credited/seed-1"].arguments["train"]
    assert set(together["evaluation"]["episodes"]) == set(GAMES)
    json.dumps([dict(job.arguments) for job in jobs.values()])


def test_the_study_is_left_out_without_the_setting_and_with_one_game(settings):
    for changed in ({"transfer": False}, {"games": "ipd"}):
        other = profiles.load("study", seeds="1,2", **changed)
        assert transfer.transfer_jobs(other) == [] and transfer.transfer_table(other).empty
    table = transfer.transfer_table(settings)
    assert table.empty and {"trained_on", "game", "seed", "safety"} <= set(table.columns)
    assert "Not measured" in found.text("04_ablations/transfer", settings, transfer=table)


def done(settings, job, games):
    """Finish a job with evaluations at two steps; only the last one has the changes of CHANGES."""
    rows, labels = [], job.arguments["labels"]
    for game in games:
        change = CHANGES.get((labels.get("trained_on"), game), 1.0 if labels["stage"] == "sepo" else 0.0)
        for step in (15, labels["step"]):
            last = change if step == labels["step"] else 99.0
            rows.append({"game": game, "pools": "paper", **labels, "step": step, "payoff": 0.0})
            rows[-1]["safety"] = labels["seed"] * 0.1 + last
    table = pd.DataFrame(rows).drop_duplicates(["game", "step"], keep="last")
    none = dict.fromkeys((*transfer.MEASURES, "parse_rate"), 1.0)
    table = table.assign(**{name: value for name, value in none.items() if name not in table})
    folder = paths.job(settings.run, job.name)
    job_tables.save({"evaluation": table}, folder, "x")
    finish(settings.run, job, {}, 0.0)


def test_the_table_has_every_model_in_every_game_and_is_drawn_and_described(settings):
    for job in recipes.sft_jobs(settings):
        done(settings, job, GAMES)
    for job in recipes.sepo_jobs(settings):
        done(settings, job, [job.arguments["game"]])
    for job in transfer.transfer_jobs(settings):
        games = [game for game, _ in job.arguments.get("evaluated_on", [])] or GAMES
        done(settings, job, games)
    table = transfer.transfer_table(settings)
    assert len(table) == (1 + len(GAMES) + 1) * len(GAMES) * 2  # SFT, single games, all; two of three seeds
    assert set(table["step"]) == {30, 250} and set(table["preset"].dropna()) == {"unbiased", ""}
    change = table.set_index(["seed", "game", "trained_on"])["safety"].unstack()
    for (trained_on, game), expected in CHANGES.items():
        moved = change.loc[(slice(None), game), trained_on] - change.loc[(slice(None), game), "sft"]
        assert moved.to_numpy() == pytest.approx([expected] * 2)
    text = found.text("04_ablations/transfer", settings, transfer=table)
    assert "safety in another game higher in 5 of 6 pairs and lower in 1" in text
    assert "on the game alone, SEPO on all games at once makes safety higher in 1 of 3 games" in text
    ax = figures.transfer_matrix(table)
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "all games"
    texts = [one.get_text() for one in ax.texts]
    assert texts[1] == "+0.50" and texts[7].startswith("-0.25") and len(texts) == 12
    with pytest.raises(ValueError, match="a model twice in a game"):
        figures.transfer_matrix(pd.concat([table, table]))
    with pytest.raises(ValueError, match="No row has trained_on = ppo"):
        figures.transfer_matrix(table, reference="ppo")
    short = table[(table["trained_on"] != "all") | (table["game"] != "kuhn")]
    assert "Empty: 1 cell without a seed that has both models." in figures.transfer_matrix(short).caption
