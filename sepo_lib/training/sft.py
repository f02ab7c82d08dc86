"""The supervised warm start: a thin layer over `trl.SFTTrainer`.

Departures from the paper: the profile sets the number of steps, and `nano` is tuned in full, not by LoRA. The
loss is on what play samples: the answer and the end token behind it (see `examples.prepare`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from sepo_lib.chat import examples, templates
from sepo_lib.config import tracking
from sepo_lib.play.engines import distributed
from sepo_lib.play.engines.answer_loss import AnswerLoss
from sepo_lib.play.engines.checkpoints import Checkpoints, unfinished
from sepo_lib.pretrained import adapters


@dataclass(frozen=True)
class SFTSettings:
    """One supervised fine-tuning. `config/profiles.yaml` holds the values, with what the paper says."""

    epochs: float
    """Passes over the examples, if `steps` is None."""
    batch: int
    """Examples in an optimizer step."""
    learning_rate: float
    """The highest learning rate; a cosine schedule takes it to 0."""
    max_length: int
    """The longest prompt and answer in tokens; longer examples are refused."""
    seed: int
    """Seed of the order of the examples and of LoRA's first weights."""
    steps: int | None = None
    """Optimizer steps; None: as many as `epochs` needs."""
    lora: dict | None = None
    """Rank, alpha and dropout of LoRA; None tunes every weight."""
    micro_batches: int | None = 1
    """Parts of a batch that go through the model one after the other: at most this many, and a divisor of
    `batch`, or of a process's share of it. None: as the memory needs."""
    gradient_checkpointing: str = "auto"
    """Whether activations are computed again in the backward pass: always, never or auto (see `Parts`)."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints, from which a training that was stopped continues; None writes none."""


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    dataset: Dataset,
    folder: Path,
    settings: SFTSettings,
    report: Callable[[int, dict], None],
) -> list[dict]:
    """Fine-tune `model` on the answers of `dataset` (columns: see `examples.prepare`).

    Saves the model (with LoRA: merged, and the adapter to folder/adapter) and the tokenizer to folder/model.
    Continues from the last checkpoint in folder/trainer, to the same bytes. Calls `report(step, metrics)` at
    every step and returns the log, one dict per step. Raises ValueError for data that cannot be trained on.
    """
    datasets.disable_progress_bars()
    dataset = examples.prepare(tokenizer, dataset, settings.max_length, templates.end_ids(model, tokenizer))
    batch, steps, lora = settings.batch, settings.steps, settings.lora
    share = distributed.equal_share(batch)
    parts = max(number for number in range(1, (settings.micro_batches or 1) + 1) if share % number == 0)
    if steps is not None:
        needed = min(steps * batch, len(dataset))
        dataset = dataset.shuffle(seed=settings.seed % 2**32).select(range(needed))
    checkpoints = Checkpoints(folder / "trainer")
    trainer = AnswerTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=dataset,
        peft_config=adapters.lora(model, **lora) if lora else None,
        callbacks=[StepLogger(report), checkpoints],
        args=SFTConfig(
            max_steps=-1 if steps is None else steps,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=share // parts,
            gradient_accumulation_steps=parts,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0 if steps is None else min(20, steps // 10),
            max_length=None,  # `examples.prepare` has refused longer ones
            **trainer_options(model, folder, settings.seed, settings.checkpoint_every),
        ),
    )
    trainer.set_up(settings.micro_batches, settings.gradient_checkpointing)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=checkpoints.newest())
    trained = trainer.model
    if lora and distributed.rank() == 0:
        trained.save_pretrained(folder / "adapter")
        tokenizer.save_pretrained(folder / "adapter")
        trained = adapters.merge(trained)
    if distributed.rank() == 0:
        trained.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
    return [{"step": row.pop("step"), **_numbers(row)} for row in trainer.state.log_history if "loss" in row]


class AnswerTrainer(AnswerLoss, distributed.OneDevice, SFTTrainer):
    """SFTTrainer; `AnswerLoss` computes the same loss faster, with less padding and fewer logits."""


def trainer_options(model: PreTrainedModel, folder: Path, seed: int, checkpoint_every: int | None) -> dict:
    """The arguments that both trainers take: folder/trainer for checkpoints, a log of every step, and the
    precision and device of `model`."""
    return {
        "output_dir": str(unfinished(folder / "trainer")),
        "save_strategy": "steps" if checkpoint_every else "no",
        "save_steps": checkpoint_every or 1,
        "seed": seed % 2**32,
        "logging_steps": 1,
        **tracking.options(folder),
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "bf16": model.dtype == torch.bfloat16 and model.device.type != "cpu",
        "use_cpu": model.device.type == "cpu",
        "activation_checkpointing": False,
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,  # the processes differ in how many forwards a batch takes
        "router_aux_loss_coef": 0.0,  # experts are not balanced: no loss here has a term for it
    }


class StepLogger(TrainerCallback):
    """Calls `report(step, metrics)` at every step."""

    def __init__(self, report: Callable[[int, dict], None]):
        self.report = report

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in (logs or {}):
            self.report(state.global_step, _numbers(logs))


def _numbers(logs: Mapping) -> dict[str, float]:
    return {key: float(value) for key, value in logs.items() if isinstance(value, int | float)}
