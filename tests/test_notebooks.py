"""Every notebook, end to end on the smoke profile, in a folder of its own: DESIGN.md's files and columns."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import offline
import pages
import pandas as pd
import pytest
from episodes import episode

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.figures import FIGURES
from sepo_lib.games.base import Round, Weights
from sepo_lib.method import credit
from sepo_lib.report import claims

REPOSITORY = Path(__file__).resolve().parents[1]
EVALUATION = (
    "profile model game pools stage arm preset seed step payoff exploit collusion externality safety "
    "margin worst_margin exploiter_externality robustness welfare nra shift_payoff parse_rate episodes"
).split()
GAMES = {"ipd", "auction", "split", "deal", "kuhn"}


LARGEST = 700_000  # bytes of a notebook in git


def sources(file):
    """The source of every cell, without that of the parameters that a run has injected."""
    cells = nbformat.read(file, as_version=4).cells
    return [c.source for c in cells if "injected-parameters" not in c.metadata.get("tags", [])]


def joined(cell):
    """The source of a cell in one line, without the blank that the formatter puts behind a parenthesis."""
    return " ".join(cell.source.split()).replace("( ", "(")


def command(root, *arguments, timeout=1200, within=(), **more):
    """Run the kit's command line with everything it writes below `root`."""
    here = {"SEPO_ROOT": str(root), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return subprocess.run(
        [*within, sys.executable, "-m", "sepo_lib", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **here, **more},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A copy of the kit's data and notebooks in which the smoke profile has been run, without any network."""
    folder = tmp_path_factory.mktemp("a kit='ü")
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks")
    for name in ("models", "paper"):
        shutil.copytree(REPOSITORY / "data" / name, folder / "data" / name)
    recorded = offline.environment(folder)
    within = offline.NAMESPACE
    smoke = ("reproduce", "--profile", "smoke", "--executor", "notebook")
    done = command(folder, *smoke, timeout=1500, within=within, **recorded)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def here(root, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(root))
    return root


def test_every_file_of_the_design_is_there(here):
    expected = ["manifest.json", "report.html", *(f"notebooks/{name}.ipynb" for name in paths.NOTEBOOKS)]
    assert [name for name in expected if not (here / "runs/smoke" / name).exists()] == []
    tables = (
        "evaluation.csv episodes.parquet training.parquet ablation.csv exploitability.csv claims.csv".split()
    )
    assert [name for name in tables if not (here / "data/results/smoke" / name).exists()] == []
    pictures = {file.suffix for file in (here / "figures/smoke").iterdir()}
    assert pictures == {".pdf", ".png"}


def test_the_run_needed_no_network(here):
    assert (here / "sockets.txt").read_text() == ""
    if not offline.NAMESPACE:
        pytest.skip("no empty network namespace is permitted here; only the sockets of Python were watched")


def test_train_finds_the_jobs_of_the_run_finished_and_changes_none_of_its_files(here):
    done = command(here, "train", "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 jobs of SEPO were finished" not in done.stdout  # of all recipes
    assert "10 of 10 jobs of SEPO were finished before and are skipped." in done.stdout
    assert re.search(r"kuhn +base model( +-?[\d.]+){7}\n", done.stdout)
    assert command(here, "verify", "--profile", "smoke").returncode == 0
    again = command(here, "reproduce", "--profile", "smoke", "--executor", "notebook")
    assert "Nothing to do: the run smoke was finished" in again.stdout, again.stdout


def test_the_evaluation_table_keeps_its_contract(here):
    table = paths.read_table("smoke", "evaluation", EVALUATION)
    assert set(table["game"]) == GAMES
    assert set(table["stage"]) == {"base", "sft", "sepo"}
    assert set(table["arm"].dropna()) == {"reward_only", "constant", "per_rollout", "credited"}
    presets = {preset.partition("+")[0] for preset in table["preset"].dropna()}
    assert presets == {"published", "authors_current", "unbiased"}
    assert set(table["pools"]) == {"paper", "conflict"}
    texts = ("profile", "model", "game", "pools", "stage", "arm", "preset")
    numbers = table[[column for column in EVALUATION if column not in texts]]
    assert numbers.notna().all().all()
    assert not table.duplicated([*EVALUATION[:9]]).any()
    run = ["game", "pools", "stage", "arm", "preset", "seed"]
    assert (table.groupby(run, dropna=False)["reported"].sum() == 1).all()
    assert (table.groupby(run, dropna=False)["best"].sum() == 1).all()


def test_every_evaluated_decision_is_kept(here):
    episodes = paths.read_table("smoke", "episodes", ["prompt", "answer", "action", "parsed"])
    evaluation = paths.read_table("smoke", "evaluation")
    mine = episodes.query("stage == 'base' and game == 'kuhn' and seed == 11")
    parse_rate = evaluation.query("stage == 'base' and game == 'kuhn' and seed == 11")["parse_rate"].item()
    assert mine["parsed"].mean() == pytest.approx(parse_rate)
    assert (mine.groupby(["pool", "opponent", "rollout"])["round"].nunique() == 6).all()


def test_kuhn_has_its_exact_measure_beside_the_pool_s(here):
    table = paths.read_table(
        "smoke", "exploitability", ["pool_advantage", "nashconv", "nashconv_constrained"]
    )
    assert set(table["stage"]) == {"base", "sft", "sepo"}
    assert (table["nashconv"] >= 0).all() and (table["exploitability"] * 2 == table["nashconv"]).all()


def test_the_claims_are_decided_and_printed(here):
    table = paths.read_table("smoke", "claims")
    assert list(table.columns) == list(claims.COLUMNS)
    assert list(dict.fromkeys(table["claim"])) == list(claims.RULES)
    assert table.set_index("claim")["verdict"]["C5"] == "supported"  # an identity, at any size
    assert table[table["recipe"] == "published"]["claim"].tolist()[:2] == ["C1", "C1b"]
    said = (here / "stdout.txt").read_text()
    assert all(claim in said for claim in table["claim"])
    assert not re.search(r"\bnan\b", said) and "mean nothing" in said
    assert "[4/7] 03_sepo_grpo" in said and "runs/smoke/report.html" in said


def test_the_manifest_vouches_for_the_tables(here):
    manifest = json.loads((here / "runs/smoke/manifest.json").read_text())
    assert set(manifest["stages"]) == set(paths.NOTEBOOKS)
    assert "data/results/smoke/evaluation.csv" in manifest["sha256"]
    assert command(here, "verify", "--profile", "smoke").returncode == 0
    table = here / "data/results/smoke/claims.csv"
    text = table.read_text()
    table.write_text(text.replace("C5", "C7"))
    failed = command(here, "verify", "--profile", "smoke")
    table.write_text(text)
    assert failed.returncode == 1 and "claims.csv has changed" in failed.stdout + failed.stderr


def test_the_executed_notebooks_can_be_read_without_running_them(here):
    for name in paths.NOTEBOOKS:
        notebook = nbformat.read(here / "runs/smoke/notebooks" / f"{name}.ipynb", as_version=4)
        outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
        assert outputs and not [out for out in outputs if out.output_type == "error"]
        assert str(here) not in json.dumps(outputs, ensure_ascii=False), (
            f"{name} shows a folder of this machine"
        )


def test_every_picture_has_alt_text_and_no_notebook_is_large(here):
    for name in paths.NOTEBOOKS:
        file = here / "runs/smoke/notebooks" / f"{name}.ipynb"
        assert file.stat().st_size < LARGEST, name
        cells = nbformat.read(file, as_version=4).cells
        data = [out.get("data", {}) for cell in cells for out in cell.get("outputs", [])]
        assert not any(kind.startswith("image/") for one in data for kind in one), (
            name
        )  # these have no alt text
        pictures = re.findall(r"<img\b[^>]*>", "".join(one.get("text/html", "") for one in data))
        assert [one[:80] for one in pictures if not re.search(r'\balt="[^"]+"', one)] == [], name


def test_no_committed_notebook_is_large():
    """Notebooks of runs that were made with older cells are not made again for this."""
    for name in paths.NOTEBOOKS:
        now = REPOSITORY / "notebooks" / f"{name}.ipynb"
        assert now.stat().st_size < LARGEST, name
        for file in (REPOSITORY / "runs").glob(f"*/notebooks/{name}.ipynb"):
            assert file.stat().st_size < LARGEST or sources(file) != sources(now), file.relative_to(
                REPOSITORY
            )


def test_the_example_of_the_ablation_is_what_the_trainer_computes():
    """Notebook 04, by hand: payoffs 1, 2, 3 and penalties 0, 3, 0 under every arm."""
    cells = nbformat.read(REPOSITORY / "notebooks/04_ablations.ipynb", as_version=4).cells
    names = {"np": np, "pd": pd, "found": SimpleNamespace(table=lambda *args, **options: None)}
    for cell in cells:
        if "by-hand" in cell.metadata.get("tags", []):
            exec(cell.source, names)
    assert names["by_hand"]["per_rollout"].tolist() == [0.0, -3.0, 3.0]
    game, points = games.get("ipd"), names["payoff_G"] / games.get("ipd").scale
    margins = names["penalty_G"] / game.scale
    batch = [
        episode(pool, pool, rollout, own=[own], other=[other])
        for rollout, (point, margin) in enumerate(zip(points, margins, strict=True))
        for pool, own, other in (("train", point, 0.0), ("exploiter", 0.0, margin), ("collusive", 0.0, 0.0))
    ]
    for arm in credit.ARMS:
        how = credit.preset("unbiased", arm).with_(scale="none", weights="equal")
        found = credit.assign(batch, game, how, Weights(exploit=1.0, collusion=0.0, externality=0.0))
        by_pool = {"train": arm} | (
            {"exploiter": "credited, exploiter episodes"} if arm == "credited" else {}
        )
        for pool, name in by_pool.items():
            own = [a[0] for a, e in zip(found.advantages, batch, strict=True) if e.pool == pool]
            np.testing.assert_allclose(own, names["by_hand"][name], atol=1e-12, err_msg=name)


def test_the_own_game_of_notebook_06_has_a_run_of_its_own(here):
    table = paths.read_table("smoke-own-game", "evaluation", EVALUATION)
    assert set(table["game"]) == {"my_chicken"} and set(table["stage"]) == {"base", "sft", "sepo"}
    assert {json.loads(weights)["exploit"] for weights in table["train_weights"]} == {2.0}
    assert set(paths.read_table("smoke-own-game", "sweep")["exploit_weight"]) == {0.25, 2.0}
    executed = (here / "runs/smoke/notebooks/06_your_own_game.ipynb").read_text()
    assert "(1 + 0 + 5 + 3) / 4 = 2.25" in executed and "has no `rounds`" in executed
    legible = (table[table["stage"] == "sepo"]["parse_rate"] >= 0.9).all()
    assert executed.count("After SEPO the model does not answer legibly") == (0 if legible else 2)
    assert ("safety after SEPO is" in executed) == legible
    for file in (here / "data/results/smoke").glob("*.csv"):
        assert "chicken" not in file.read_text(), file.name


def test_the_experts_of_notebook_06_take_every_action_in_every_situation(monkeypatch):
    """If they do not, SEPO may reach an action only through answers that do not parse (docs/LOG.md)."""
    cells = nbformat.read(REPOSITORY / "notebooks/06_your_own_game.ipynb", as_version=4).cells
    (source,) = (c.source for c in cells if c.source.startswith("%%writefile {chicken_file}"))
    monkeypatch.setattr(games, "register", lambda game: None)
    names = {}
    exec(source.partition("\n")[2], names)
    game, actions = names["Chicken"](), names["ACTIONS"]
    assert sum(share for share, _ in game.experts.values()) == pytest.approx(1.0)
    for seen in ((), *itertools.product(actions, repeat=2)):
        rounds = [Round(seen, names["PAYOFFS"][seen])] if seen else []
        view = game.view(rounds, 0, actions)
        taken = {expert(view, np.random.default_rng(0))[0] for _, expert in game.experts.values()}
        assert taken == set(actions), seen


def test_figures_are_drawn_again_from_the_tables_alone(here, tmp_path):
    """From three of the tables, to save time; the others are empty. All figures are drawn in one way."""
    kept = ("evaluation", "ablation", "exploitability")
    for name in ("data/results/smoke", "data/paper"):
        shutil.copytree(here / name, tmp_path / name)
    for file in (tmp_path / "data/results/smoke").iterdir():
        if file.stem not in kept and file.suffix == ".csv":
            file.write_text(file.read_text().partition("\n")[0] + "\n")
        elif file.stem not in kept:
            pd.read_parquet(file)[:0].to_parquet(file)
    assert command(tmp_path, "figures", "--profile", "smoke", timeout=240).returncode == 0
    again = {file.name: file.read_bytes() for file in (tmp_path / "figures/smoke").iterdir()}
    before = {file.name: file.read_bytes() for file in (here / "figures/smoke").iterdir()}
    readers = {name for name, entry in FIGURES.items() if entry.reads in kept}
    assert {name.partition(".")[0] for name in again} <= readers and len(again) >= 8
    assert again.items() <= before.items()


def test_the_notebooks_have_one_shape():
    for name in paths.NOTEBOOKS:
        notebook = nbformat.read(REPOSITORY / "notebooks" / f"{name}.ipynb", as_version=4)
        tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
        assert len(tagged) == 1 and 'profile = "laptop"' in tagged[0].source
        assert tagged[0].source.splitlines()[-1].startswith("run = None  # a name for the results")
        assert notebook.cells[0].cell_type == "markdown" and "**Question.**" in notebook.cells[0].source
        code = [c for c in notebook.cells if c.cell_type == "code"]
        assert "provenance.versions()" in notebook.cells[-1].source
        assert f'found.show("{name}"' in joined(code[-2])
        assert any("## What was found" in c.source for c in notebook.cells)
        short = [c.source for c in code if not c.source.startswith("%%writefile")]  # a file is one cell
        assert max(len(source.splitlines()) for source in short) <= 12
        text = "\n".join(c.source for c in code if c not in tagged)
        uses = set(re.findall(r"[\w.]+[(=]profile\b|, profile,", text))
        # Results belong to settings.run; a figure knows a table of the kit by its column profile.
        assert uses <= {"profiles.load(profile", "profile=profile", "weights.assign(profile"}
        counts = [c.execution_count for c in code]
        assert counts in ([None] * len(code), list(range(1, len(code) + 1)))


def test_the_committed_results_in_the_readme_are_those_of_the_tables():
    from sepo_lib.report import documents

    text = (REPOSITORY / "README.md").read_text()
    assert f"{documents.BEGIN}\n{documents.results('laptop')}\n{documents.END}" in text
    assert f"{documents.FOUND}\n{documents.found_in_brief('laptop')}\n{documents.END_OF_FOUND}" in text
    card = (REPOSITORY / "data/models/nano/README.md").read_text()
    assert f"{documents.NUMBERS}\n{documents.base_model('laptop')}\n{documents.END_OF_NUMBERS}" in card


def test_the_loss_is_a_curve_and_every_table_can_be_read(here):
    table = paths.read_table("smoke", "sft", ["seed", "step", "loss"])
    for _, rows in table.groupby("seed"):
        assert rows["step"].tolist() == list(range(1, len(rows) + 1)) and len(rows) > 1
    for file in (here / "data/results/smoke").glob("*.csv"):
        assert len(pd.read_csv(file).columns) > 3, file.name


def test_the_measures_of_the_run_are_those_of_its_record(here):
    from sepo_lib.measure import evaluation

    found = evaluation.measures_from(paths.read_table("smoke", "episodes"))
    table = paths.read_table("smoke", "evaluation").fillna({"arm": "", "preset": ""})
    both = table.merge(found, on=list(evaluation.KEYS), suffixes=("", "_again"), validate="one_to_one")
    assert len(both) == len(table) == len(found)
    for name in found.columns.difference(evaluation.KEYS):
        assert both[name].to_list() == pytest.approx(both[f"{name}_again"].to_list(), abs=1e-12, nan_ok=True)


def test_two_games_and_one_seed_in_two_processes_give_the_rows_of_the_whole_run(here):
    """The run had all games, two seeds and one process. Kuhn poker was the last game of each job."""
    from sepo_lib.config import profiles
    from sepo_lib.run import compare, jobs, recipes, results

    settings = profiles.load("smoke", games="auction,kuhn", seeds="12", compare_with=[], run="part")
    shutil.copytree(paths.run("smoke") / "sft", recipes.demonstrations_folder(settings))
    for stage in (recipes.base_jobs, recipes.sft_jobs, recipes.sepo_jobs):
        jobs.run(stage(settings), settings.run, "part", workers=2)
    results.write_tables(settings)
    for name in ("evaluation", "training", "sft", "exploitability", "strategies", "episodes"):
        mine, whole = (paths.read_table(run, name) for run in ("part", "smoke"))
        whole = whole[(whole["seed"] == 12) & whole["preset"].fillna("").isin(["", "unbiased"])]
        whole = whole[whole["game"].isin(settings.games)] if "game" in whole else whole
        keys = list(compare.IDENTITY[name])
        both = mine.merge(whole, on=keys, suffixes=("", "_whole"), validate="one_to_one")
        assert len(both) == len(mine) == len(whole), name
        for column in mine.columns.difference([*keys, *compare.TIMES], sort=False):
            assert both[column].equals(both[f"{column}_whole"]), f"{name}: {column}"


def test_columns_used_as_numbers_are_numbers(here):
    training = paths.read_table("smoke", "training", ["payoff", "exploit", "kl", "entropy", "objective"])
    assert all(pd.api.types.is_numeric_dtype(training[c]) for c in ("payoff", "exploit", "kl", "entropy"))


def test_every_column_of_the_run_is_described(here):
    tables = [file for file in (here / "data/results/smoke").iterdir() if file.suffix in (".csv", ".parquet")]
    assert tables and {file.name: found for file in tables if (found := pages.unknown_columns(file))} == {}
