"""What training in some games changes in others: differences in `transfer.csv`, paired by seed."""

from collections.abc import Sequence

import pandas as pd

from sepo_lib.measure import statistics

#: Values of the column `trained_on` that are no game: SEPO on all games at once, and no SEPO.
ALL, SFT = "all", "sft"


def by_seed(table: pd.DataFrame, metric: str = "safety") -> pd.DataFrame:
    """`metric` with a row for every seed and a column for every (trained_on, game), nan where it is missing.

    Every model has a column for every game. Raises ValueError for a row that occurs twice.
    """
    games, models = (list(dict.fromkeys(table[column])) for column in ("game", "trained_on"))
    if (again := table.duplicated(["trained_on", "game", "seed"])).any():
        raise ValueError(f"The table has a model twice in a game: {table[again].iloc[0].to_dict()}.")
    wide = table.pivot(index="seed", columns=["trained_on", "game"], values=metric)
    columns = [(one, game) for one in models for game in games]
    return wide.reindex(columns=pd.MultiIndex.from_tuples(columns, names=wide.columns.names)).astype(float)


def changes(table: pd.DataFrame, metric: str = "safety", reference: str = SFT) -> pd.DataFrame:
    """`metric` of every model minus that of the model `reference`, in every game, paired by seed.

    Columns: trained_on, game, seeds, mean, low, high. One seed has no interval (nan), and a pair without a
    seed no number. Raises ValueError as `by_seed` does, and for a reference that the table lacks.
    """
    wide = by_seed(table, metric)
    models = list(dict.fromkeys(table["trained_on"]))
    if reference not in models:
        raise ValueError(f"No row has trained_on = {reference}; the table has {models}.")
    rows = []
    for one, game in wide.columns:
        if one == reference:
            continue
        change_S = (wide[one, game] - wide[reference, game]).dropna()
        found = statistics.interval(change_S.to_numpy()) if len(change_S) else statistics.UNKNOWN
        rows.append({"trained_on": one, "game": game, "seeds": len(change_S), **found._asdict()})
    return pd.DataFrame(rows, columns=["trained_on", "game", "seeds", "mean", "low", "high"])


def pairs(games: Sequence[str]) -> list[tuple[str, str]]:
    """Every (game trained on, other game)."""
    return [(own, other) for own in games for other in games if own != other]
