"""The tables of a run: one writer, no mixed rows, no file that cannot be read, and steps that stay."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from uniform_play import KEYS, played

from sepo_lib import figures, games
from sepo_lib.config import files, paths, profiles
from sepo_lib.measure import evaluation, job_tables, measures, statistics
from sepo_lib.report import remeasure
from sepo_lib.run import job as job_
from sepo_lib.run import provenance, recipes, results
from sepo_lib.run.steps import records, sepo, sft

REPOSITORY = Path(__file__).resolve().parents[2]
DECISION = {"round": 0, "rollout": 0, "prompt": "p", "answer": "a", "decision_seed": 1}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(recipes.demonstration_files, "sha256", lambda folder, game: "0")
    monkeypatch.setattr(recipes.model_files, "sha256", lambda model: "0")
    return tmp_path


@pytest.fixture
def settings():
    return profiles.load(
        "laptop", games="ipd", seeds="1,2", ablation_games=["ipd"], ablation_pools=["paper", "conflict"]
    )


def finish(settings, jobs):
    """The folders of finished jobs: one evaluation for each pool set they play on, two rows of a log."""
    for job in jobs:
        folder = paths.job(settings.run, job.name)
        keys = job.arguments["labels"]
        where = job.arguments.get("evaluated_on", [[job.arguments.get("game"), job.arguments.get("pools")]])
        for game, pools in where:
            row = {"game": game, "pools": pools, **keys}
            safety = keys["seed"] + (100.0 if pools == "conflict" else 0.0)
            tables = {"evaluation": row | {"safety": safety}, "episodes": row | DECISION}
            if "gradient" in job.name:
                tables = {"gradient": row}
            job_tables.save(
                {name: pd.DataFrame([one]) for name, one in tables.items()}, folder, f"{game}-{pools}"
            )
        log = {"sft": "sft", "sepo": "training"}.get(keys["stage"] if "gradient" not in job.name else "")
        if log:
            job_tables.save({log: pd.DataFrame([{**keys, "step": 1, "loss": 2.0}])}, folder, "log")
        job_.finish(settings.run, job, {}, 0.0)


def written(settings):
    results.write_tables(settings)
    return {file.name: file.read_bytes() for file in paths.results(settings.run).iterdir()}


def test_whichever_notebook_writes_the_tables_they_hold_all_finished_jobs(settings):
    """Notebooks 02, 03, 04 and 03 again: the last one drops nothing of 04."""
    finish(settings, recipes.base_jobs(settings) + recipes.sft_jobs(settings))
    assert b"sepo" not in written(settings)["evaluation.csv"]
    finish(settings, recipes.sepo_jobs(settings))
    first = written(settings)
    finish(settings, recipes.gradient_jobs(settings) + recipes.ablation_jobs(settings))
    full = written(settings)
    assert written(settings) == full
    rows = pd.read_csv(paths.table(settings.run, "evaluation"))
    assert {"reward_only", "constant", "per_rollout", "credited"} <= set(rows["arm"].dropna())
    assert len(full["evaluation.csv"]) > len(first["evaluation.csv"])
    assert full["evaluation.csv"].startswith(first["evaluation.csv"])  # in a fixed order
    assert not rows.duplicated(evaluation.KEYS).any()


def test_a_job_that_has_lost_a_file_is_left_out_as_a_whole_and_named(settings, capsys):
    """Its other rows would be a run of their own: the last step that is left is then not the last one."""
    base = recipes.base_jobs(settings)
    finish(settings, base)
    whole = pd.read_csv(io.BytesIO(written(settings)["evaluation.csv"]))
    assert "lack" not in capsys.readouterr().out
    lost = next(iter(paths.job(settings.run, base[0].name).glob("evaluation-*.parquet")))
    lost.unlink()
    rows = pd.read_csv(io.BytesIO(written(settings)["evaluation.csv"]))
    seed = base[0].arguments["labels"]["seed"]
    assert len(rows) and rows.equals(whole[whole["seed"] != seed].reset_index(drop=True))
    assert capsys.readouterr().out == (
        f"The tables lack 1 earlier job that must run again, such as {base[0].name}: {lost.name} of "
        f"{base[0].name} is missing.\n"
    )


def test_stepping_by_hand_leaves_the_committed_results_as_they_are(settings):
    """Jobs, tables and demonstrations of a run without a name go below by-hand/."""
    committed = paths.write_table(pd.DataFrame([{"seed": 1}]), "laptop", "evaluation")
    before = committed.read_bytes()
    finish(settings, recipes.base_jobs(settings) + recipes.sft_jobs(settings))
    assert len(pd.read_csv(io.BytesIO(written(settings)["evaluation.csv"]))) == 8
    assert committed.read_bytes() == before and not paths.run("laptop").exists()
    assert settings.run.startswith("by-hand/laptop-ipd-seeds-1-2-")
    assert recipes.demonstrations_folder(settings) == paths.run(settings.run) / "sft"
    reproduced = profiles.load("laptop", run="laptop")
    assert recipes.demonstrations_folder(reproduced) == paths.demonstrations()


def test_the_main_run_is_told_apart_from_the_ablation_in_the_same_table(settings):
    jobs = (
        recipes.base_jobs,
        recipes.sft_jobs,
        recipes.sepo_jobs,
        recipes.gradient_jobs,
        recipes.ablation_jobs,
    )
    finish(settings, [job for make in jobs for job in make(settings)])
    table = results.write_tables(settings)["evaluation"]
    mine = results.of_main_run(settings, table)
    assert set(mine["pools"]) == {"paper"} and set(table["pools"]) == {"paper", "conflict"}
    means = statistics.grouped(mine, ["game", "stage", "preset"])["safety"].mean()
    assert (means == 1.5).all() and len(means) >= 4  # the mean of seeds 1 and 2
    with pytest.raises(ValueError, match=r"a seed twice, mixing \['pools', .*'arm'"):
        statistics.grouped(table, ["game", "stage", "preset"])
    with pytest.raises(ValueError, match=r"mixing \['pools'\]"):
        statistics.summarize(table[table["stage"] == "base"], ["game", "stage"], ["safety"])


@pytest.mark.parametrize("column", ["game", "pools", "model", "preset", "arm", "stage", "step"])
def test_a_mean_over_seeds_refuses_to_mix(column):
    keys = {"game": "g", "pools": "p", "model": "m", "preset": "a", "arm": "b", "stage": "c", "step": 1}
    table = pd.DataFrame([{**keys, "seed": 1, "u": 1.0}, {**keys, column: 2, "seed": 1, "u": 2.0}])
    others = [name for name in keys if name != column]
    with pytest.raises(
        ValueError, match=rf"mixing \['{column}'\]: choose one value of each of these columns"
    ):
        statistics.grouped(table, others)
    assert len(statistics.grouped(table, keys)["u"].mean()) == 2
    with pytest.raises(ValueError, match="mixing equal rows"):
        statistics.grouped(pd.concat([table, table]), keys)


def test_no_notebook_takes_means_of_a_run_by_hand():
    """`statistics.grouped` and `summarize` refuse to mix, pandas does not."""
    for file in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        assert "demonstrations" in file.name or not re.search(r"\.groupby\(|pivot_table\(", code), file.name


# --------------------------------------------------------------------------------------- empty tables


def test_a_table_without_rows_is_written_with_its_header(settings):
    finish(settings, recipes.base_jobs(settings) + recipes.sft_jobs(settings))
    results.write_tables(settings)  # no Kuhn, nothing trained with SEPO
    results.write_studies(settings, [])
    for name in ("exploiters", "sweep", "switches"):
        table = getattr(results, name.removesuffix("es").removesuffix("s") + "_table")(settings)
        paths.write_table(table, settings.run, name)
    for file in paths.results(settings.run).glob("*.csv"):
        assert len(pd.read_csv(file).columns) > 3, file.name
    for name in ("exploitability", "strategies", "training", "estimators", "headroom", "sweep"):
        assert paths.read_table(settings.run, name).empty
    with pytest.raises(ValueError, match=r"ablation\.csv has no columns"):
        paths.write_table(pd.DataFrame(), settings.run, "ablation")


def test_a_figure_of_a_table_with_a_header_alone_is_nothing_to_draw():
    for draw, name in ((figures.frontier, "sweep"), (figures.exploiter_training, "exploiters")):
        with pytest.raises(figures.NothingToDraw):
            draw(results.empty(name))


def test_every_committed_table_can_be_read():
    files = sorted((REPOSITORY / "data" / "results").glob("*/*.csv"))
    assert len(files) > 40 and all(len(pd.read_csv(file, nrows=1).columns) > 3 for file in files)


# ---------------------------------------------------------------------------------------------- steps


def test_the_rows_of_a_log_keep_their_steps(settings, monkeypatch):
    """Of SFT and of SEPO, whose jobs have a step of their own among their keys: that of the last row."""
    rows = [{"step": step, "loss": 1.0 / step, "objective": 0.0} for step in (1, 2, 3)]
    model = type("Model", (), {"eval": lambda self: None, "train": lambda self: None})()
    policy = type("Policy", (), {"engine": None})()
    monkeypatch.setattr(sft.demonstration_files, "load", lambda *a: None)
    monkeypatch.setattr(records, "evaluate", lambda *a: None)
    kinds = ((recipes.sft_jobs, "sft", sft, sft.sft), (recipes.sepo_jobs, "training", sepo, sepo.sepo))
    for jobs, name, step, training in kinds:
        monkeypatch.setattr(step, "load_policy", lambda *a, **k: (model, None, policy))
        monkeypatch.setattr(training, "train", lambda *a, **k: rows)
        job = jobs(settings)[0]
        run = getattr(step, job.function.partition(":")[2])
        folder = paths.job("mine", name)
        run(folder, lambda *a: None, **job.arguments)
        table = pd.read_parquet(folder / f"{name}-log.parquet")
        assert table["step"].tolist() == [1, 2, 3] and table["seed"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("profile", ["laptop", "study", "smollm2"])
def test_the_committed_losses_are_curves(profile):
    table = pd.read_csv(REPOSITORY / "data" / "results" / profile / "sft.csv")
    for _, rows in table.groupby("seed"):
        assert rows["step"].tolist() == list(range(1, len(rows) + 1))
        assert rows["epoch"].is_monotonic_increasing  # which was never overwritten


# ------------------------------------------------------------------------------------------ remeasure


def test_lost_steps_are_restored_where_there_is_one_row_a_step():
    rows = [{"seed": seed, "step": 3, "loss": loss} for seed in (1, 2) for loss in (3.0, 2.0, 1.0)]
    paths.write_table(pd.DataFrame(rows), "smoke", "sft")
    assert remeasure.sft("smoke")["step"].tolist() == [1, 2, 3, 1, 2, 3]
    paths.write_table(pd.DataFrame(rows[1:]), "smoke", "sft")
    with pytest.raises(ValueError, match=r"sft\.csv of smoke does not hold one row per step"):
        remeasure.sft("smoke")


def evaluation_and_record(game="auction"):
    episodes = played(game)
    keys = {"game": game, "pools": "paper", **KEYS}
    row = {**keys, **measures.measure(games.get(game), episodes)}
    return pd.DataFrame([row]), evaluation.episode_table(episodes, keys)


def test_measures_that_an_older_table_lacks_come_from_its_episodes():
    table, record = evaluation_and_record()
    older = table.drop(columns=list(remeasure.ADDED))
    paths.write_table(older, "smoke", "evaluation")
    assert remeasure.evaluated("smoke")["margin"].isna().all()  # no episodes were kept
    paths.write_table(record.drop(columns=["collusion", "externality", "facts"]), "smoke", "episodes")
    found = remeasure.evaluated("smoke")
    table = table.assign(arm=float("nan"), preset=float("nan"))  # as read_csv reads empty cells
    pd.testing.assert_frame_equal(found, table, check_dtype=False, check_exact=False, atol=1e-12)
    paths.write_table(older.assign(payoff=9.0), "smoke", "evaluation")
    with pytest.raises(ValueError, match="episodes of smoke give another payoff than"):
        remeasure.evaluated("smoke")


def test_a_record_that_cannot_be_played_again_leaves_the_rates_open_and_says_so(capsys):
    table, record = evaluation_and_record()
    paths.write_table(table.drop(columns=list(remeasure.ADDED)), "smoke", "evaluation")
    older = record.drop(columns=["collusion", "externality", "facts"]).assign(decision_seed=0)
    paths.write_table(older, "smoke", "episodes")
    (row,) = remeasure.evaluated("smoke").to_dict("records")
    assert row["margin"] == pytest.approx(table["margin"].item())
    assert pd.isna(row["exploiter_externality"])
    assert "recorded with other rules or opponents" in capsys.readouterr().out


def test_the_claims_of_a_run_name_its_profile_and_not_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(remeasure.paths, "read_table", lambda run, name: name)
    monkeypatch.setattr(remeasure.claims, "decide", lambda **given: (given["profile"], given["model"]))
    provenance.start(profiles.load("smoke", run="mine"))
    assert remeasure.decided("mine") == ("smoke", "nano")


def test_the_notebook_that_only_draws_does_not_wait_for_torch():
    file = Path(__file__).parents[2] / "notebooks" / "05_figures.ipynb"
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in cell["source"]]
    needed = "\n".join(line.strip() for line in lines if line.startswith(("import ", "from ")))
    check = "import sys; print(*{'torch', 'transformers', 'trl', 'pyspiel'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", f"{needed}\n{check}"], capture_output=True, text=True)
    assert ran.returncode == 0 and not ran.stdout.strip(), ran.stdout + ran.stderr


def test_the_manifest_vouches_for_all_that_was_made_again(monkeypatch):
    """Also for the report, which is made after the tables."""
    provenance.start(profiles.load("smoke", run="smoke"))
    paths.write_table(pd.DataFrame([{"seed": 1, "loss": 1.0, "step": 9}]), "smoke", "sft")
    paths.report("smoke").write_text("old")
    provenance.finish("smoke")
    left = {paths.relative(paths.report("smoke")): "0", "runs/smoke/notebooks/02_sft.ipynb": "1"}
    provenance.add("smoke", files=left)
    monkeypatch.setattr(remeasure, "TABLES", {"sft": lambda run: pd.DataFrame([{"seed": 1, "step": 1}])})
    monkeypatch.setattr(remeasure.figures, "draw_all", lambda run: [])
    monkeypatch.setattr(
        remeasure.html_page, "build", lambda run: paths.replace_text(paths.report(run), "new")
    )
    assert remeasure.run("smoke") == ["data/results/smoke/sft.csv"]
    made = provenance.read("smoke")["files"]
    assert made == left | {"runs/smoke/report.html": files.sha256(paths.report("smoke"))}
    assert provenance.verify("smoke") == []
