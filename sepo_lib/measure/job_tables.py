"""The tables of one evaluation in the folder of its job. Reading them needs no torch."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from sepo_lib.config import files, paths

#: The tables that `evaluation.evaluate` makes.
TABLES = ("evaluation", "exploitability", "strategies", "episodes")

#: The number of episodes against each opponent, the first ones, whose texts `episodes.parquet` keeps.
WITH_TEXTS = 1

#: What to do if a file that a job has saved is damaged.
JOB_AGAIN = "run the same command again, which runs its job again"


def save(tables: dict[str, pd.DataFrame], folder: Path, label: str) -> None:
    """Save the tables of one evaluation in a job's folder, as `<table>-<label>.parquet`."""
    for name, table in tables.items():
        paths.replace(folder / f"{name}-{label}.parquet", partial(table.to_parquet, index=False))


def collect(folders: Sequence[Path], name: str) -> pd.DataFrame:
    """All rows of table `name` in the given jobs' folders (empty if no folder has any)."""
    found = [file for folder in folders for file in sorted(folder.glob(f"{name}-*.parquet"))]
    tables = [files.read_parquet(file, JOB_AGAIN) for file in found]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def without_bulk(episodes: pd.DataFrame) -> pd.DataFrame:
    """The decisions of `evaluation.episode_table` as `episodes.parquet` keeps them, a fifth as large.

    Prompts and answers are kept of the first WITH_TEXTS episodes against each opponent, and are empty in the
    others. The seeds of the decisions are left out: `evaluation.replayed` computes them. The folders of the
    jobs keep everything.
    """
    texts = episodes[["prompt", "answer"]].where(episodes["rollout"] < WITH_TEXTS)
    return episodes.drop(columns="decision_seed").assign(**texts)
