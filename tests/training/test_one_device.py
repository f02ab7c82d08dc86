"""Several GPUs are visible, and a process trains on one of them."""

import pytest
import torch
import trainers
from datasets import Dataset
from transformers import Trainer

from sepo_lib.play.policy import load_policy
from sepo_lib.run import executors, jobs
from sepo_lib.training import sepo, sft

EXAMPLE = {
    "prompt": [{"role": "user", "content": "Choose."}],
    "completion": [{"role": "assistant", "content": "yes"}],
}


def train_sft(model, tokenizer, folder):
    settings = sft.SFTSettings(
        epochs=1.0, batch=4, learning_rate=1e-3, max_length=128, seed=1, steps=1, micro_batches=2
    )
    sft.train(
        model, tokenizer, Dataset.from_list([EXAMPLE] * 4), folder, settings, lambda step, metrics: None
    )


def train_sepo(model, tokenizer, folder):
    engine = load_policy("nano", "float32", 0.8, 16)[2].engine
    config = trainers.configuration(steps=1)
    sepo.train(model, tokenizer, engine, folder, config, lambda step, metrics: None, lambda step: None)


@pytest.mark.parametrize("train", [train_sft, train_sepo])
def test_a_trainer_that_sees_four_gpus_copies_the_model_to_none(train, tmp_path, monkeypatch):
    """TrainingArguments reports all visible GPUs, and Trainer would use them by torch.nn.DataParallel."""
    seen = []
    options = sft.trainer_options

    def on_gpu(*arguments):
        return options(*arguments) | {"use_cpu": False}

    def watch(trainer, **resume):
        arguments = trainer.args
        seen.append((arguments.n_gpu, arguments.train_batch_size, trainer._train_batch_size))
        assert trainer._wrap_model(trainer.model) is trainer.model

    for module in (sft, sepo):
        monkeypatch.setattr(module, "trainer_options", on_gpu)
    monkeypatch.setattr(Trainer, "train", watch)
    model, tokenizer, _ = load_policy("nano", "float32", 0.8, 16)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    train(model, tokenizer, tmp_path)
    assert seen == [(1, 2, 2)]


@pytest.mark.device
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_worker_computes_on_the_one_gpu_that_it_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setenv(executors.JOBS_PER_GPU, "2")
    todo = [jobs.Job(name, "torch_jobs:card", {}, 1) for name in "ab"]
    assert jobs.run(todo, "smoke", "cards") == {"a": [1, 2.0], "b": [1, 2.0]}
