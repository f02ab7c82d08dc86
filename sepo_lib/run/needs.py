"""Whether a run needs a GPU that this machine does not have. It is found before anything is downloaded."""

import os

from sepo_lib.config import cards, model_folder, paths
from sepo_lib.config.errors import MissingError
from sepo_lib.config.settings import MODELS, Settings, document
from sepo_lib.run import executors

#: Bytes of weights that a CPU can train: about a billion numbers in bfloat16.
SMALL = 2e9


def check(settings: Settings) -> None:
    """Raise MissingError, which says what the run needs and how long it is, if there is no GPU for it.

    A run needs one if its profile `needs` something and its model is one of the hub or larger than SMALL.
    With Dask the GPUs are those of its workers, so this machine may have none.
    """
    if os.environ.get(executors.EXECUTOR) == "dask":
        return
    needs = document()["profiles"][settings.profile].get("needs")
    if needs is None or _is_small(settings.model) or _has_gpu():
        return
    presets = {settings.preset, *settings.compare_with}
    played = sum(settings.of("sepo_steps", game) for game in settings.games)
    steps = played * len(settings.seeds) * len(presets)
    raise MissingError(
        f"The profile {settings.profile} trains {settings.model} for {steps:,} steps of SEPO in notebook 03 "
        f"alone, which needs {needs}; no GPU was found here. Run it on another machine, or pass a small "
        "model: MODEL=smollm2, or the folder of one with less than 2 GB of weights."
    )


def _is_small(model: str) -> bool:
    """Whether the model has a name or is a folder with at most SMALL bytes of weights."""
    folder = paths.model(model)
    if model in MODELS or folder is None:
        return model in MODELS
    inner = folder / "model" if (folder / "model").is_dir() else folder
    if base := model_folder.base_of(inner):
        return _is_small(base)
    weights = (file for file in inner.iterdir() if file.name.endswith(model_folder.WEIGHT_FILES))
    return sum(file.stat().st_size for file in weights) <= SMALL


def _has_gpu() -> bool:
    import torch  # here because it takes seconds, and most profiles need no GPU

    found = torch.accelerator.current_accelerator(check_available=True)
    return found is not None and found.type != "mps" and os.environ.get(cards.DEVICE) != "cpu"
