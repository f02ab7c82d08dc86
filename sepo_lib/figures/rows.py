"""The selection of rows: the checks of a table, its reported rows, and the order of games and panels."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.figures.looks import CONFIGURATIONS, OWN_ARM, next_look
from sepo_lib.figures.theme import Look
from sepo_lib.measure.rows import reported as reported


class NothingToDraw(ValueError):
    """The table has no rows for this figure, for example because the run left out a game or an ablation."""


def need(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that `table` can be drawn.

    Raises NothingToDraw for a table without rows, and ValueError for a table that lacks one of `columns`
    (the message names them) or that holds several models.
    """
    if table.empty:
        raise NothingToDraw("the table is empty")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"This figure needs the columns {missing}; the table has {list(table.columns)}.")
    if "model" in table.columns and table["model"].nunique() > 1:
        raise ValueError(f"A figure shows one model; choose one of {sorted(table['model'].unique())}.")


def configured(table: pd.DataFrame) -> pd.DataFrame:
    """The reported rows with a new column `configuration`: the stage, or the preset of a SEPO model.

    SEPO rows whose arm is not the one of their preset belong to the ablation and are left out, and so are
    presets with a switch, such as `published+horizon`.
    """
    table = reported(table)
    sepo = table["stage"] == "sepo"
    table = table.assign(configuration=table["stage"].where(~sepo, table["preset"]))
    preset = table["preset"].fillna("").astype(str)
    own = (table["arm"] == preset.map(OWN_ARM)) | ~preset.isin(list(OWN_ARM))
    return table[~sepo | (own & ~preset.str.contains("+", regex=False))]


def of_pools(table: pd.DataFrame, pools: str) -> pd.DataFrame:
    """The rows of one pool set; all rows of a table without a column `pools`."""
    return table[table["pools"] == pools] if "pools" in table.columns else table


def present(looks: Mapping[str, Look], values: pd.Series) -> dict[str, Look]:
    """The entries of `looks` whose keys occur in `values`, in the order of `looks`.

    Raises NothingToDraw if none occurs.
    """
    found = {key: look for key, look in looks.items() if (values == key).any()}
    if not found:
        raise NothingToDraw("no rows for this figure")
    return found


def looks_of(configurations: pd.Series) -> dict[str, Look]:
    """The looks of stages and presets, in the order of `CONFIGURATIONS`. Names that it lacks stand last.

    Raises NothingToDraw if there are none.
    """
    others = [name for name in configurations.unique() if name not in CONFIGURATIONS]
    looks = {name: next_look(name, n) for n, name in enumerate(others, len(CONFIGURATIONS))}
    return present(CONFIGURATIONS | looks, configurations)


def nearest(values: pd.Series, target: float) -> float:
    """The value that is nearest to `target`; 0 if there is no value."""
    return min(values.unique(), key=lambda value: abs(value - target), default=0)


def title_of(game: str) -> str:
    """The short title of a registered game; the name itself of any other game."""
    return games.GAMES[game].short_title if game in games.GAMES else game


def ordered_games(table: pd.DataFrame) -> list[str]:
    """The games of a table: the registered ones in the order of the registry, then the others by name."""
    found = set(table["game"].unique())
    return [game for game in games.GAMES if game in found] + sorted(found - set(games.GAMES))


def place_of(table: pd.DataFrame) -> pd.Series:
    """The place of each row: the game's title and the name of the pool set, as a label of two lines."""
    return table["game"].map(title_of) + "\n" + table["pools"] + " pools"


def ordered_places(table: pd.DataFrame) -> list[str]:
    """The values of the column `place`, game by game, the paper's pools first."""
    order = ordered_games(table)
    pairs = table[["game", "pools", "place"]].drop_duplicates()
    pairs = pairs.assign(rank=pairs["game"].map(order.index), conflict=pairs["pools"] != "paper")
    return pairs.sort_values(["rank", "conflict", "place"])["place"].tolist()


def mean_of_intervals(rows: pd.DataFrame, measure: str) -> tuple[float, float, float]:
    """The mean of a measure over independent rows, and the ends of its interval.

    The interval of each row stands in the columns `<measure>_low` and `<measure>_high`. The distances from
    the mean to the lower ends add up in squares, and so do those to the upper ends.
    """
    middle, low, high = (rows[f"{measure}{end}"] for end in ("", "_low", "_high"))
    mean = float(middle.mean())
    below, above = (float(np.sqrt(((end - middle) ** 2).sum()) / max(1, len(rows))) for end in (low, high))
    return mean, mean - below, mean + above
