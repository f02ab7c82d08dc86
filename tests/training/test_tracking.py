"""REPORT_TO: the trainers' metrics and those of the checkpoints reach a tracker, and nothing else changes."""

import importlib
import json
import sys

import pytest

from sepo_lib.config import paths, tracking
from sepo_lib.config.errors import InputError
from sepo_lib.play import models
from sepo_lib.run.job import Job
from sepo_lib.run.steps.sepo import run_sepo

#: A stand-in for the package tensorboardX, which transformers takes where tensorboard is not installed.
WRITER = """
import json, pathlib
class SummaryWriter:
    def __init__(self, log_dir):
        self.file = pathlib.Path(log_dir, "seen.jsonl")
        self.file.parent.mkdir(parents=True, exist_ok=True)
    def add_text(self, *arguments): pass
    def flush(self): pass
    def close(self): pass
    def add_scalar(self, name, value, step):
        with self.file.open("a") as file:
            file.write(json.dumps([name, value, step]) + "\\n")
"""
FOLDERS = ("TENSORBOARD_LOGGING_DIR", "WANDB_PROJECT", "WANDB_DIR", "TRACKIO_DIR")
NAME = "sepo/kuhn-paper/unbiased-credited/seed-5"
TRAIN = {"rollouts_per_opponent": 2, "steps": 1, "learning_rate": 1e-3, "learning_rate_floor": 0.2}
TRAIN |= {"kl_beta": 0.05, "clip": 0.2, "max_grad_norm": 1.0, "checkpoint_every": 1, "micro_batches": 1}
ARGUMENTS = {
    "sft_job": "sft",
    "sft_work": "",
    "sampling": {"dtype": "float32", "temperature": 0.8, "max_new_tokens": 12},
    "evaluation": {"episodes": {"kuhn": 1}, "shift_episodes": 1, "reading": {"samples": 2}},
    "labels": {"stage": "sepo", "arm": "credited", "preset": "unbiased", "seed": 5, "step": 1},
    "game": "kuhn",
    "pools": "paper",
    "preset": "unbiased",
    "arm": "credited",
    "train": TRAIN | {"seed": 5, "lora": None},
}


@pytest.fixture
def tensorboard(tmp_path, monkeypatch):
    """An environment without tensorboard, in which the stand-in is installed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "tensorboardX.py").write_text(WRITER)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for variable in FOLDERS:
        monkeypatch.setenv(variable, "before")  # so that it is set back afterwards
    importlib.invalidate_caches()
    yield
    sys.modules.pop("tensorboardX", None)


def trained(folder, monkeypatch):
    """Train a step in the root `folder`; the weights, and what the tracker saw: name -> value."""
    nano = paths.models() / "nano"
    with monkeypatch.context() as patch:
        patch.setenv("SEPO_ROOT", str(folder))
        model, tokenizer = models.load(str(nano), "float32")
        for each in (model, tokenizer):
            each.save_pretrained(paths.job("mine", "sft") / "model")
        job = paths.job("mine", NAME)
        run_sepo(job, lambda step, metrics: None, **ARGUMENTS)
        file = paths.run("mine") / "tensorboard" / NAME / "seen.jsonl"
        seen = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return (job / "model" / "model.safetensors").read_bytes(), {name: value for name, value, _ in seen}


def test_a_tracker_sees_the_kits_metrics_and_changes_no_weight(tensorboard, tmp_path, monkeypatch):
    plain, nothing = trained(tmp_path / "a", monkeypatch)
    job = Job(NAME, "sepo_lib.run.steps.sepo:run_sepo", ARGUMENTS, 1)
    before = job.fingerprint
    monkeypatch.setenv(tracking.VARIABLE, "tensorboard")
    tracked, seen = trained(tmp_path / "b", monkeypatch)
    assert tracked == plain and nothing == {} and job.fingerprint == before
    training = "payoff exploit collusion externality objective parse_rate loss kl".split()
    assert {f"train/{name}" for name in training} <= set(seen)
    evaluated = {name.removeprefix("eval/") for name in seen if name.startswith("eval/")}
    assert evaluated == set("payoff exploit collusion externality safety parse_rate nashconv".split())
    assert 0 <= seen["eval/parse_rate"] <= 1 and seen["eval/nashconv"] > 0


def test_a_tracker_is_known_and_installed_before_any_work(monkeypatch):
    monkeypatch.setenv(tracking.VARIABLE, "none")
    tracking.use("")
    assert tracking.chosen() == []
    with pytest.raises(
        InputError, match=r"^There is no tracker 'mlflow'; REPORT_TO takes tensorboard, wandb,"
    ):
        tracking.use("mlflow,tensorboard")
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(
        InputError, match=r"^REPORT_TO=wandb needs the package wandb, which is not installed; "
    ):
        tracking.use("wandb")
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda module: module)
    tracking.use(" trackio, none,tensorboard ")
    assert tracking.chosen() == ["trackio", "tensorboard"]


def test_only_jobs_of_a_run_report(monkeypatch, tmp_path):
    monkeypatch.setenv(tracking.VARIABLE, "trackio")
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda module: module)
    for variable in FOLDERS:
        monkeypatch.setenv(variable, "before")  # so that it is set back afterwards
    assert tracking.options(tmp_path / "elsewhere") == {"report_to": "none"}
    found = tracking.options(tmp_path / "runs" / "mine" / "checkpoints" / "sft" / "seed-1")
    assert found == {"report_to": ["trackio"], "run_name": "mine/sft/seed-1", "project": "sepo"}
