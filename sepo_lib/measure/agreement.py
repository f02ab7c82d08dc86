"""Which strategies agree most with a policy: the reading of `behaviour.csv`, which needs no torch."""

import pandas as pd

from sepo_lib.measure import statistics
from sepo_lib.measure.rows import KEYS
from sepo_lib.measure.statistics import Interval

SUM = 1e-3  # shares of one situation sum to 1 up to this, because the table rounds them to four decimals
#: What distinguishes two policies of one game.
POLICY = [key for key in KEYS if key not in ("game", "pools")]


def merged(table: pd.DataFrame, kind: str = "opponent") -> pd.DataFrame:
    """The strategies of one kind in one game, those that cannot be told apart in one row.

    Strategies whose agreement with every policy of the table is equal chose alike in all decisions that were
    compared, up to chance. Their names are joined: `conservative or always_low`.
    """
    rows = table[table["kind"] == kind] if "kind" in table else table
    keys = [key for key in POLICY if key in rows]
    policy = rows.groupby(keys, dropna=False, sort=False).ngroup() if keys else 0
    wide = rows.assign(policy=policy).pivot(index="action", columns="policy", values="value")
    alike: dict[tuple, list[str]] = {}
    for name in rows["action"].unique():
        alike.setdefault(tuple(wide.loc[name].fillna(-1.0)), []).append(name)
    names = {group[0]: " or ".join(group) for group in alike.values()}
    return rows[rows["action"].isin(list(names))].replace({"action": names})


def shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose values are shares of decisions, with the columns from which `statistics` makes intervals."""
    counted = {"samples": rows["decisions"]} if "decisions" in rows else {}
    return rows.assign(probability=rows["value"], **counted)


def nearest(rows: pd.DataFrame) -> list[tuple[str, Interval]]:
    """(strategy, its agreement over seeds), the highest agreement first; `rows`: `merged` rows of one policy.

    Each strategy has one row per seed. Raises ValueError for rows of several policies.
    """
    if several := [key for key in KEYS if key != "seed" and key in rows and rows[key].nunique() > 1]:
        raise ValueError(f"The nearest strategies are those of one policy; the rows differ in {several}.")
    own = statistics.grouped(shares(rows), ["action"])
    found = [(name, statistics.spread(seeds, "probability")) for (name,), seeds in own]
    return sorted(found, key=lambda one: -one[1].mean)
