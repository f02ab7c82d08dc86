"""The profile `paper` on tiny random models of the paper's two architectures.

Each model goes through every stage, and each notebook up to 04 runs with one of them; the other model has the
stage's jobs alone. A notebook is most of the time, and what it adds to the jobs is the same for all models.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import tiny_models
import yaml

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.figures import gallery
from sepo_lib.report import claims

REPOSITORY = Path(__file__).resolve().parents[1]

#: Smaller sizes than the profile's. Whatever depends on the model is the profile's own: LoRA, the number
#: format, the engine, the parts of a batch, learning rates.
SIZES = {
    "ablation_arms": ["credited"],
    "compare_with": [],
    "demonstrations_per_game": 60,
    "enumeration_nodes": 40,
    "estimator_group_sizes": [4],
    "estimator_groups": 16,
    "evaluation_episodes": 4,
    "gradient_batches": 2,
    "headroom_episodes": 4,
    "information_set_samples": 4,
    "max_new_tokens": 2,
    "rollouts_per_opponent": 2,
    "sft_batch": 4,
    "shift_episodes": 1,
    "threads": 1,
}

#: Runs notebooks, and what `recipes` calls by other names, in one process, which imports the libraries once.
_RUN = """
import json, sys
import nbformat
from IPython.core.interactiveshell import InteractiveShell
from sepo_lib.config import profiles
from sepo_lib.figures import shown, theme
from sepo_lib.run import jobs, recipes

shown._DPI = theme.DPI = 30  # nobody looks at these pictures

runs = json.loads(sys.argv[1])
for run, model, names in runs:
    given = {"model": model, "games": ["kuhn"], "seeds": [11], "steps": 2, "run": run}
    for name in names:
        if hasattr(recipes, name):
            made = getattr(recipes, name)(profiles.load("paper", **given))
            if name.endswith("jobs"):
                jobs.run(made, run, name)
            continue
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance()
        shell.display_formatter.active_types = shell.display_formatter.format_types  # as in a browser
        shown, shell.showtraceback = [], lambda *error, **more: shown.append(sys.exc_info())
        for cell in nbformat.read(f"{name}.ipynb", as_version=4).cells:
            if cell.cell_type == "code":
                shell.run_cell(cell.source).raise_error()
                assert not shown, (cell.source, shown)
            if "parameters" in cell.metadata.get("tags", []):
                shell.user_ns |= {"profile": "paper"} | given
        print("ran", run, name, flush=True)
"""

#: Model -> what it runs.
RUNS = {
    "gemma-wrapper": ["base_jobs", "make_demonstrations", "02_sft", "03_sepo_grpo", "gradient_jobs"],
    "qwen-wrapper": ["00_base_model", "01_demonstrations", "sft_jobs", "sepo_jobs", "04_ablations"],
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A copy of the kit with smaller sizes of the profile, in which its notebooks have been run."""
    folder = tmp_path_factory.mktemp("kit")
    for name in ("sepo_lib", "notebooks", "data/models", "data/paper", "docs/gallery/tables"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "sepo_lib/config/profiles.yaml"
    profiles = yaml.safe_load(file.read_text())
    for name, value in SIZES.items():
        profiles["hyperparameters"][name].setdefault("by_profile", {})["paper"] = value
    file.write_text(yaml.safe_dump(profiles, sort_keys=False))
    runs = []
    for kind, names in RUNS.items():
        tiny_models.make(kind, folder / "models" / kind)
        runs.append([f"paper-{kind}", f"models/{kind}", names])
    here = {"SEPO_ROOT": str(folder), "PYTHONPATH": str(folder), "SEPO_HEADLESS": "1", "MPLBACKEND": "Agg"}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "IPYTHONDIR": str(folder / "ipython")}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(runs)],
        cwd=folder / "notebooks",
        env={**os.environ, **here, **offline},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def table(kit, kind, name):
    suffix = "parquet" if name in paths.PARQUET else "csv"
    path = kit / "data/results" / f"paper-{kind}" / f"{name}.{suffix}"
    return pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)


@pytest.mark.parametrize("kind", RUNS)
def test_every_stage_is_evaluated(kit, kind):
    assert set(table(kit, kind, "evaluation")["stage"]) == {"base", "sft", "sepo"}
    training = table(kit, kind, "training")
    assert training["grad_norm"].gt(0).all() and training.groupby("arm")["step"].max().eq(2).all()
    assert len(table(kit, kind, "exploitability"))


def test_every_notebook_is_run_with_one_of_the_models(kit):
    written = {path.stem for path in (REPOSITORY / "notebooks").glob("0[0-4]*.ipynb")}
    assert len(written) == 5 and written <= {name for names in RUNS.values() for name in names}
    assert len(table(kit, "gemma-wrapper", "crossplay"))


@pytest.mark.parametrize("kind", RUNS)
def test_the_gradient_of_the_penalty_is_that_of_the_adapter(kit, kind):
    """It was that of all weights in float64 for every arm: some 256 GB for four billion weights."""
    job = kit / f"runs/paper-{kind}/checkpoints/gradient/kuhn-paper/seed-11"
    rows = pd.read_parquet(job / "gradient-log.parquet").set_index("arm")
    assert rows.loc["credited", "penalty_gradient_norm"] > 0
    started = json.loads((job / "started.json").read_text())
    assert started["arguments"]["lora"] == {"rank": 16, "alpha": 32, "dropout": 0.0}


def test_the_settings_that_depend_on_the_model_are_those_of_the_profile():
    blocks = yaml.safe_load((REPOSITORY / "sepo_lib/config/profiles.yaml").read_text())["hyperparameters"]
    depend = {name for name, block in blocks.items() if "by_model" in block}
    assert depend & set(SIZES) == {"max_new_tokens", "enumeration_nodes", "threads"}  # sizes, too


def test_the_ablation_has_gradients_and_outcomes(kit):
    assert set(table(kit, "qwen-wrapper", "ablation")["kind"]) == {"gradient", "outcome"}


def test_claims_are_decided_and_figures_are_drawn(kit, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(kit))
    run = "paper-qwen-wrapper"
    tables = {name: figures.read_or_empty(run, name) for name in claims.NEEDS}
    assert len(claims.decide(**tables, profile="paper", model="models/qwen-wrapper"))
    assert len(list(itertools.islice(gallery.drawn(run), 6))) > 5
    plt.close("all")
