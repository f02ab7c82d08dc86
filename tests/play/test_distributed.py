"""Two processes are one: the same advantages and the same update, through `accelerate launch` on the CPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import launched
import pandas as pd
import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file

from sepo_lib.config import paths, profiles
from sepo_lib.play import models
from sepo_lib.play.engines.rows import Row, share_of, to_tensors
from sepo_lib.run import demonstration_files, launch, recipes
from sepo_lib.run.job import finish, finished

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = ["--profile", "smoke", "--games", "split", "--seeds", "3,4", "--steps", "2"]
LAUNCH = ["--multi_gpu", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
LAUNCH += ["--main_process_port=0"]  # any free one
MADE = "smoke-split-seeds-3-4-sft-steps-2"  # the name of the run with these options
ASKED = ["--game", "split", "--seed", "3"]
SFT = [*RUN, "--stage", "sft", "--seed", "4"]
SEPO = "sepo/split-paper/unbiased-credited/seed-3"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A kit of its own whose SFT model of seed 3 is nano. Everything is computed on the CPU, also here."""
    nano = paths.models() / "nano"
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(models, "device", lambda: torch.device("cpu"))
    PartialState._reset_state()  # an earlier test may have chosen a GPU
    settings = profiles.load("smoke", games="split", seeds=[3, 4], steps=2, by_hand=False)
    assert settings.run == MADE
    shutil.copytree(nano, paths.models() / "nano")
    folder, examples = recipes.demonstrations_folder(settings), settings.demonstrations_per_game
    demonstration_files.write(folder, settings.sft_games, examples, settings.demonstrations_seed)
    job, _ = recipes.sft_jobs(settings)
    done = paths.job(MADE, job.name)
    shutil.copytree(nano, done / "model")
    finish(MADE, job, {}, 0.0)
    return tmp_path


def trained(folder, number):
    """What `number` processes leave: rows by process and step, then weights, log and folder of both jobs."""
    for name in ("sft/seed-4", SEPO):
        shutil.rmtree(paths.job(MADE, name), ignore_errors=True)
    folder.mkdir()
    if number == 1:
        assert launched.main(folder, SFT, [*RUN, *ASKED]) == 0
    else:
        command = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, f"--num_processes={number}"]
        command += [launched.__file__, str(folder), " ".join(SFT), " ".join([*RUN, *ASKED])]
        path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert f"2 steps in {number} processes on cpu" in done.stdout
    rows = [json.loads((folder / f"rows-{index}.json").read_text()) for index in range(number)]
    jobs = []
    for name, log in (("sft/seed-4", "sft-log.parquet"), (SEPO, "training-log.parquet")):
        job = paths.job(MADE, name)
        weights = load_file(job / "model" / "model.safetensors")
        jobs.append((weights, pd.read_parquet(job / log), job))
    return rows, *jobs


def by_answer(shares):
    """(prompt, answer) -> (advantage, count) of one step, over all processes, without what only fills up."""
    rows = [row for share in shares for row in share if row[3]]
    found = {(tuple(prompt), tuple(answer)): (a, count) for prompt, answer, a, count in rows}
    assert len(found) == len(rows)  # no row is in the loss twice
    return found


def test_two_processes_train_what_one_trains(root):
    rows_1, (sft_weights_1, sft_log_1, _), (weights_1, log_1, _) = trained(root / "one", 1)
    rows_2, (sft_weights_2, sft_log_2, sft), (weights_2, log_2, job) = trained(root / "two", 2)
    assert len(rows_1[0]) == len(rows_2[0]) == len(rows_2[1]) == 2
    assert len(rows_2[0][0]) == len(rows_2[1][0])  # equal shares
    one, two = by_answer([rows_1[0][0]]), by_answer([rows_2[0][0], rows_2[1][0]])
    assert one.keys() == two.keys()
    for key, (advantage, count) in one.items():
        assert two[key] == (pytest.approx(advantage, abs=1e-9), count)
    parts = sorted((paths.models() / "nano").glob("*.safetensors"))
    start = {name: weight for part in parts for name, weight in load_file(part).items()}
    for one, two in ((weights_1, weights_2), (sft_weights_1, sft_weights_2)):
        for name, weight in one.items():
            moved = (weight - start[name]).norm()
            assert moved > 0 and (two[name] - weight).norm() < 0.01 * moved
    for column in sft_log_1.select_dtypes("number"):
        assert sft_log_2[column].tolist() == pytest.approx(sft_log_1[column].tolist(), rel=1e-4), column
    for column in ("objective", "payoff", "decisions", "rows"):
        assert log_1[column].tolist() == log_2[column].tolist()
    for column in ("loss", "grad_norm", "kl"):
        assert log_1[column].tolist() == pytest.approx(log_2[column].tolist(), rel=1e-2, abs=1e-6)
    settings, job_of_notebook = launch.find(launch.parser().parse_args([*RUN, *ASKED]))
    assert finished(MADE, job_of_notebook)  # notebook 03 would skip it
    assert finished(MADE, recipes.sft_jobs(settings)[1])  # and notebook 02 this one
    assert len(list(job.glob("evaluation-*.parquet"))) == 2 and settings.seeds == (3, 4)
    assert len(list(sft.glob("evaluation-*.parquet"))) == 1
    (checkpoint,) = (job / "trainer").iterdir()  # whole: the files of both processes are in its list
    assert {"rng_state_0.pth", "rng_state_1.pth"} < json.loads(
        (checkpoint / "checksums.json").read_text()
    ).keys()


def test_rows_are_shared_out_evenly_and_filled_with_rows_that_weigh_nothing():
    rows = [Row((n,), (n,), float(n), 2) for n in range(1, 6)]
    shares = [share_of(rows, process, 2, multiple_of=2) for process in (0, 1)]
    assert [[row.count for row in share] for share in shares] == [[2, 2, 2, 0], [2, 2, 0, 0]]
    assert [row.prompt_ids[0] for row in shares[0]] == [1, 3, 5, 1]
    assert share_of(rows, 0, 1) == rows
    batch = to_tensors(shares[1], 10, 0, torch.device("cpu"))
    assert batch["tool_mask"][:, 0].tolist() == [2.0, 2.0, 0.0, 0.0]


def test_a_job_that_the_run_has_not_is_named_beside_those_it_has(root, capsys, monkeypatch):
    assert launch.main([*RUN, "--game", "split", "--seed", "5"]) == 2
    said = capsys.readouterr().err
    assert "no SEPO job with game split, pools paper, preset unbiased, seed 5, arm credited" in said
    assert said.endswith("arm credited; its seeds are 3, 4 (--seeds).\n")
    assert launch.main([*RUN, *ASKED, "--preset", "published+horizon"]) == 2
    said = capsys.readouterr().err
    assert SEPO in said and "What it trains is set by preset, arm, compare_with, switches and" in said
    listed = said.partition("it has ")[2].partition(". What")[0].split(", ")
    assert listed and all("/split-" in name and name.endswith("/seed-3") for name in listed)
    assert launch.main([*RUN, "--stage", "sft", "--seed", "5"]) == 2
    assert "no SFT job with seed 5; its seeds are 3, 4 (--seeds)." in capsys.readouterr().err
    for arguments, sentence in (
        ([*RUN, "--game", "nonsense", "--seed", "4"], "There is no game 'nonsense'; choose from ipd, "),
        (
            [*RUN, "--game", "split", "--seed", "-1"],
            "--seed: a whole number from 0 to 4294967295 is needed, ",
        ),
        ([*RUN, "--seed", "3"], "SEPO trains on one game; name it with --game, or choose --stage sft."),
        ([*SFT, "--arm", "credited"], "--arm is an option of SEPO; SFT trains one model for all games"),
        ([*SFT[:-3], "dpo", "--seed", "4"], "There is no stage to launch called 'dpo'; choose from sft, "),
        ([*RUN, "--game", "split"], "The following arguments are required: --seed; see "),
        ([*RUN, *ASKED, "--steps", "0"], "--steps: it is given twice; see "),
        ([*RUN, *ASKED, "--game", "ipd"], "--game: it is given twice; see "),
        ([*RUN, *ASKED, "--seed=4", "x"], "--seed: it is given twice; see "),
        (
            [*RUN, *ASKED, "--step", "4"],
            "`accelerate launch -m sepo_lib.run.launch` does not know '--step 4'; ",
        ),
    ):
        assert launch.main(arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {sentence}") and said.count("\n") == 1
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert launch.main([*RUN, *ASKED]) == 2
    assert (
        "The launcher needs the whole model in each process, and FSDP divides it" in capsys.readouterr().err
    )
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    shutil.rmtree(paths.checkpoints(MADE))
    assert launch.main([*RUN, *ASKED]) == 2
    said = capsys.readouterr().err
    assert "Run notebooks/00_base_model.ipynb first, then 02_sft" in said
    assert said.endswith("Or train the SFT model alone: --stage sft.\n") and said.count("\n") == 1
