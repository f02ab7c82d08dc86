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
    folder = bundled.resolve(name)
    model_folder.check_intact(folder)
    disable_progress_bar()
    if (base := model_folder.base_of(folder)) is not None:
        model, tokenizer = adapter_folder.read(folder, *load(base, dtype))
        return model.eval(), tokenizer
    if dtype == "auto":
        dtype = "bfloat16" if gpu.has_bfloat16(device()) else "float32"
    model, tokenizer = loading.read(folder, getattr(torch, dtype))
    return model.to(device()).eval(), tokenizer


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
