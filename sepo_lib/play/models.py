"""Load a model and its tokenizer: `nano` (the offline default), `smollm2`, a hub id or a folder."""

import os

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from sepo_lib.config import bundled, cards, model_folder
from sepo_lib.config.settings import known
from sepo_lib.pretrained import adapter_folder, gpu, loading


def load(name: str, dtype: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A model, in eval mode on `device()`, and its tokenizer.

    `name` is nano, smollm2, a hub id or a folder; for the folder of a LoRA adapter, the adapter is merged
    into its base model, and the tokenizer is its own if it has one. `dtype` is float32, bfloat16 or auto
    (bfloat16 if the machine computes in it natively). Raises errors as `bundled.resolve`,
    `model_folder.check_intact`, `loading.read` and `adapter_folder.read` do.
    """
    disable_progress_bar()
    if dtype == "auto":
        dtype = "bfloat16" if gpu.has_bfloat16(device()) else "float32"
    return _load(name, getattr(torch, dtype), chat=True)


def _load(name: str, dtype: torch.dtype, chat: bool):
    """(model, tokenizer); without `chat`, a base model may have None for the tokenizer."""
    folder = bundled.resolve(name, chat)
    model_folder.check_intact(folder)
    if (base := model_folder.base_of(folder)) is None:
        model, tokenizer = loading.read(folder, dtype, chat)
        return model.to(device()).eval(), tokenizer
    model, tokenizer = _load(base, dtype, chat and not model_folder.brings_chat(folder))
    model, tokenizer = adapter_folder.read(folder, model, tokenizer)
    return model.eval(), tokenizer


def device() -> torch.device:
    """The accelerator if there is one, but Apple's GPU, else the CPU; or the one that SEPO_DEVICE names.

    An NVIDIA GPU is set up for this process (`gpu.set_up`) when it is first chosen. Raises InputError if
    SEPO_DEVICE names a device that this machine does not have.
    """
    here = {"cpu": torch.device("cpu")}
    if found := torch.accelerator.current_accelerator(check_available=True):
        here[found.type] = found
    if asked := os.environ.get(cards.DEVICE):
        known("device for SEPO_DEVICE on this machine called", asked, here)
    chosen = here[asked] if asked else here["cpu"] if "mps" in here else list(here.values())[-1]
    if chosen.type == "cuda":
        gpu.set_up()
    return chosen
