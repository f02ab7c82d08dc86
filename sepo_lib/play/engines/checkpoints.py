"""Checkpoints of a training that a kill at any moment cannot spoil.

transformers writes a checkpoint file by file in its place. Here the trainer writes into a folder
`unfinished`. A checkpoint that is whole gets a list of checksums and is moved to its place in one step. The
one before it is kept, in case the disk damages the new one.
"""

import json
import os
import shutil
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from sepo_lib.config import files, paths, progress
from sepo_lib.play.engines import distributed

#: The file in a checkpoint that lists the size and checksum of all others.
LIST = "checksums.json"
#: The log of the training in a checkpoint. transformers keeps one too, but sorts the columns.
LOG = "log.json"


def unfinished(folder: Path) -> Path:
    """The `output_dir` of the trainer whose checkpoints are those of `folder`."""
    return folder / "unfinished"


class Checkpoints(TrainerCallback):
    """The checkpoints in `folder`: the newest whole one, and the one before it.

    The arguments of the trainer are output_dir=`unfinished(folder)` and no save_total_limit.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.resumed: str | None = None  # the checkpoint that the training continues from

    def newest(self) -> str | None:
        """The newest whole checkpoint, for `Trainer.train(resume_from_checkpoint=...)`; None without one.

        Removes what an unfinished write left. A damaged checkpoint is removed too, after a message that names
        the file; then the one before it is taken. All processes must call this, and receive the same answer.
        """
        distributed.barrier()  # all trainers have made their folder, which the first process removes
        self.resumed = distributed.from_first(self._newest)
        return self.resumed

    def on_train_begin(self, args, state, control, **kwargs):
        """Continue the log with the order of its columns, so that tables have the same bytes."""
        if self.resumed:
            state.log_history = json.loads(Path(self.resumed, LOG).read_text())

    def on_step_end(self, args, state, control, **kwargs):
        """Prevent a last checkpoint in the middle of an epoch: transformers, continuing from it, makes a step
        more than it was asked for. The checkpoint before it repeats the last steps instead."""
        if state.global_step >= state.max_steps and state.epoch % 1:
            control.should_save = False

    def on_save(self, args, state, control, **kwargs):
        """Move the checkpoint that the trainer has written to its place."""
        distributed.barrier()  # all processes have written their files
        if state.is_world_process_zero:
            written = unfinished(self.folder) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            paths.replace_text(written / LOG, json.dumps(state.log_history))
            recorded = files.checksums(written, [file for file in written.rglob("*") if file.is_file()])
            paths.replace_text(written / LIST, json.dumps(recorded, indent=1))
            os.rename(written, self.folder / written.name)
            self._remove(self._all()[2:])
        distributed.barrier()

    def on_train_end(self, args, state, control, **kwargs):
        """Keep the last checkpoint alone, to save space."""
        distributed.barrier()  # all trainers have listed `unfinished`, which the first process removes
        if state.is_world_process_zero:
            self._remove(self._all()[1:])
            shutil.rmtree(unfinished(self.folder), ignore_errors=True)

    def _newest(self) -> str | None:
        shutil.rmtree(unfinished(self.folder), ignore_errors=True)
        for checkpoint in self._all():
            damage = _damage(checkpoint)
            if damage is None:
                return str(checkpoint)
            text = f"{paths.shown(checkpoint)} is damaged and skipped: {damage}"
            print(text, flush=True)
            progress.doing(text)
            self._remove([checkpoint])
        return None

    def _all(self) -> list[Path]:
        """The folders of all checkpoints, the newest first."""
        found = self.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)

    def _remove(self, checkpoints: list[Path]) -> None:
        """Remove checkpoints so that none is ever there in part."""
        for checkpoint in checkpoints:
            unfinished(self.folder).mkdir(exist_ok=True)
            doomed = checkpoint.rename(unfinished(self.folder) / f"removed-{checkpoint.name}")
            shutil.rmtree(doomed)


def _damage(checkpoint: Path) -> str | None:
    """The first thing that is wrong with a checkpoint, None if it is whole. Every file is read."""
    try:
        recorded = json.loads((checkpoint / LIST).read_bytes())
        for facts in recorded.values():
            facts["mtime_ns"] = None  # so that the content is compared, whatever the time of change
        return next(iter(files.changed(checkpoint, recorded)), None)
    except FileNotFoundError:
        return f"{LIST} is missing"
    except (ValueError, AttributeError, TypeError, KeyError):
        return f"{LIST} cannot be read"
