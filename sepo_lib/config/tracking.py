"""Experiment trackers: where TRL's trainers send their metrics beside the tables of the run.

REPORT_TO=tensorboard sets the environment variable `VARIABLE`, which kernels and workers inherit. A tracker
sees the metrics of training and of the checkpoints' evaluations. It changes no result and no fingerprint.
"""

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from sepo_lib.config.errors import InputError
from sepo_lib.config.text import in_brief

#: The environment variable that names the trackers, separated by commas.
VARIABLE = "SEPO_REPORT_TO"
#: Tracker -> a module of each package that provides it.
TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}
NONE = "none"
#: The project of wandb and trackio.
PROJECT = "sepo"


def use(text: str | None) -> None:
    """Let this process, and those that it starts, report to the trackers in `text`, such as "tensorboard".

    None or "" leaves the environment as it is. Raises InputError for an unknown tracker, and for one that is
    not installed.
    """
    if text:
        os.environ[VARIABLE] = ",".join(_checked(text)) or NONE
    chosen()


def chosen() -> list[str]:
    """The trackers that the environment names. Raises InputError as `use` does."""
    return _checked(os.environ.get(VARIABLE, NONE))


def options(folder: Path) -> dict[str, Any]:
    """The arguments with which a trainer reports the job in `folder`: trackers, project, and the job's name.

    Sets the environment variables with which the trackers take folders of the run: runs/<run>/tensorboard/
    has one folder for each job. A training that is no job of a run reports nothing.
    """
    names = chosen()
    above = next((one for one in folder.parents if one.name == "checkpoints"), None)
    if not names or above is None:
        return {"report_to": NONE}
    run, job = above.parent, folder.relative_to(above)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run / "tensorboard" / job)
    for variable, value in (("WANDB_PROJECT", PROJECT), ("WANDB_DIR", run), ("TRACKIO_DIR", run / "trackio")):
        os.environ.setdefault(variable, str(value))
    if "wandb" in names:
        wandb = importlib.import_module("wandb")
        if wandb.run is not None:  # of the job that this process ran before
            wandb.finish()
    return {"report_to": names, "run_name": (Path(run.name) / job).as_posix(), "project": PROJECT}


def callbacks(trainer: Any) -> list[Any]:
    """The callbacks with which a trainer reports to the trackers."""
    from transformers.integrations import get_reporting_integration_callbacks

    kinds = tuple(get_reporting_integration_callbacks(chosen()))
    return [one for one in trainer.callback_handler.callbacks if isinstance(one, kinds)]


def _checked(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in (*TRACKERS, NONE):
            raise InputError(
                f"There is no tracker '{in_brief(name)}'; REPORT_TO takes {', '.join(TRACKERS)} or {NONE}."
            )
        if name != NONE and not any(importlib.util.find_spec(module) for module in TRACKERS[name]):
            raise InputError(
                f"REPORT_TO={name} needs the package {TRACKERS[name][0]}, which is not installed; install it "
                f"beside the kit (`python -m pip install {TRACKERS[name][0]}`), or leave REPORT_TO out."
            )
    return [name for name in dict.fromkeys(names) if name != NONE]
