"""What the rows of a run's tables are called, which of them are reported, and with which weights of J.

Every table that a run makes of evaluations has the columns KEYS.
"""

import json
from collections.abc import Mapping

import pandas as pd

#: The columns that identify a row.
KEYS = ("profile", "model", "game", "pools", "stage", "arm", "preset", "seed", "step")
#: One policy through training: rows that differ in nothing but `step`.
RUN = ("game", "pools", "stage", "arm", "preset", "seed")
#: The columns of `weight_columns`.
WEIGHT_COLUMNS = ("train_weights", "evaluation_weights")


def mark_reported(evaluation: pd.DataFrame) -> pd.DataFrame:
    """The table with two more columns, `reported` and `best`.

    `reported` marks the last step of every policy, whatever it shows. `best` marks the step of highest
    safety, which the paper reports; it was chosen on the same episodes, so its safety is biased upwards.
    """
    highest = evaluation.groupby(list(RUN), dropna=False)["safety"].idxmax()
    return evaluation.assign(reported=_is_last(evaluation), best=evaluation.index.isin(highest))


def reported(table: pd.DataFrame) -> pd.DataFrame:
    """The reported rows: all of base and SFT, and of SEPO those that `mark_reported` has marked.

    In a table without the column `reported` the last step of every policy counts.
    """
    marked = table["reported"].isin([True]) if "reported" in table else _is_last(table)
    return table[(table["stage"] != "sepo") | marked]


def weight_columns(weights: Mapping[str, Mapping[str, float]] | None) -> dict[str, str]:
    """The columns that name the weights of J of a run that changes them: none without a change.

    `train_weights` and `evaluation_weights`: the weights by name as JSON. In a table in which only some games
    have other weights, the cell is empty (nan) for the others.
    """
    return {f"{kind}_weights": json.dumps(dict(values)) for kind, values in (weights or {}).items()}


def weights_of(row: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """`weight_columns` read back: the argument `weights` of `games.get`, empty for the game's own weights."""
    cells = {kind: row.get(f"{kind}_weights") for kind in ("train", "evaluation")}
    return {kind: json.loads(cell) for kind, cell in cells.items() if isinstance(cell, str) and cell}


def _is_last(table: pd.DataFrame) -> pd.Series:
    """True in the rows of the last step of a policy."""
    keys = [key for key in (*RUN, "exploiter", "baseline") if key in table.columns]
    return table["step"] == table.groupby(keys, dropna=False)["step"].transform("max")
