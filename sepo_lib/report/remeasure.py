"""Makes the tables, claims, figures and report of a run again from its records, without training.

When a measure is added or corrected, `python -m sepo_lib remeasure` updates the tables of an earlier run as
far as its records allow. The records themselves (episodes, strategies, training) do not change. The manifest
keeps the date, the files and the commit of every such change.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from sepo_lib import figures, games
from sepo_lib.config import paths
from sepo_lib.measure import evaluation, exploitability, headline
from sepo_lib.report import claims, html_page
from sepo_lib.run import provenance, replaced, unchanged

#: Columns of `evaluation.csv` that runs may lack, because they were made before these were measured.
ADDED = ("margin", "worst_margin", "exploiter_externality")
#: Tables of claims that runs may lack, because they were made before there were these studies.
LATER = ("replication",)
TOLERANCE = 1e-9
UNNAMED = {"arm": "", "preset": ""}  # read_csv makes nan of these cells if they are empty


def run(profile: str) -> list[str]:
    """Make the tables, claims, figures and report of a run again; returns the files that changed.

    The manifest notes the changes. Files that change, and figures that are no longer drawn, are moved aside
    (`replaced`). Raises FileNotFoundError without a run, and ValueError if the records
    contradict a table.
    """
    provenance.read(profile)
    written = [paths.results(profile), paths.figures(profile), paths.manifest(profile), paths.report(profile)]
    with replaced.keeping(paths.run(profile), written):
        for name, make in TABLES.items():
            paths.write_table(make(profile), profile, name)
        drawn = figures.draw_all(profile)
        drawn += replaced.drop(paths.figures(profile), drawn)
        tables = [paths.table(profile, name) for name in paths.TABLES if name not in paths.PARQUET]
        changed = provenance.remade(profile, [*filter(Path.exists, tables), *drawn])
        if paths.report(profile).exists():
            html_page.build(profile)
            unchanged.reseal(profile, paths.report(profile))
    return changed


def sft(profile: str) -> pd.DataFrame:
    """`sft.csv` with the step of each row; older tables have the last step in all rows of a seed.

    The rows of a seed are in order, one per step. Raises ValueError if their number is not the last step.
    """
    table = paths.read_table(profile, "sft", ("seed", "step"))
    seeds = table.groupby("seed")["step"]
    step = seeds.cumcount() + 1
    if (seeds.transform("max") != seeds.transform("size")).any():
        raise ValueError(f"sft.csv of {profile} does not hold one row per step; train that stage again.")
    return table.assign(step=step)


def evaluated(profile: str) -> pd.DataFrame:
    """`evaluation.csv` with the columns ADDED, computed from the episodes.

    They are nan if the run kept no episodes. If the episodes cannot be played again, only the externality is
    nan, and a message says so. Raises ValueError if the episodes contradict a value of the table.
    """
    table = paths.read_table(profile, "evaluation")
    if set(ADDED) <= set(table.columns) and table["margin"].notna().all():
        return table
    keys = list(evaluation.KEYS)
    known = table.drop(columns=list(ADDED), errors="ignore")
    if not paths.table(profile, "episodes").exists():
        return _placed(known.assign(**dict.fromkeys(ADDED, np.nan)))
    by_game = paths.read_table(profile, "episodes").groupby("game", sort=False)
    measured = pd.concat([_measured(episodes) for _, episodes in by_game])
    found = known[keys].fillna(UNNAMED).merge(measured, how="left", on=keys, validate="one_to_one")
    for column in measured.columns.intersection(known.columns).difference(keys):
        both = found[column].notna() & known[column].notna()
        apart = (found[column] - known[column])[both].abs()
        if (apart > TOLERANCE).any():
            row = known.loc[apart.idxmax(), keys].to_dict()
            raise ValueError(f"The episodes of {profile} give another {column} than evaluation.csv: {row}.")
    return _placed(known.assign(**{name: found[name] for name in ADDED}))


def _placed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns ADDED after `objective`, as `measures.measure` orders them."""
    others = [column for column in table if column not in ADDED]
    at = others.index("objective") + 1
    return table[[*others[:at], *ADDED, *others[at:]]]


def _measured(episodes: pd.DataFrame) -> pd.DataFrame:
    """The measures of the episodes of one game; nan for those that cannot be computed from the episodes."""
    if not {"collusion", "externality"} <= set(episodes.columns):
        try:
            episodes = evaluation.replayed(episodes)
        except ValueError as error:
            print(f"Without collusion and externality: {error}")
            episodes = episodes.assign(collusion=np.nan, externality=np.nan)
    return evaluation.measures_from(episodes, intervals=False)


def exploitable(profile: str) -> pd.DataFrame:
    """`exploitability.csv`, one row per strategy of the run."""
    table, strategies = (paths.read_table(profile, name) for name in ("exploitability", "strategies"))
    if table.empty:
        return table
    keys = list(evaluation.KEYS)
    strategy_of = dict(list(strategies.fillna(UNNAMED).groupby(keys, sort=False)))
    named = table.fillna(UNNAMED)[keys].itertuples(index=False, name=None)
    rows = []
    for old, key in zip(table.to_dict("records"), named, strict=True):
        known = {name: value for name, value in old.items() if name in keys}
        measured = exploitability.row(strategy_of[key], games.get(old["game"]), old["pools"])
        rows.append(known | measured | {name: old[name] for name in old if name not in known | measured})
    return pd.DataFrame(rows)


def compared(profile: str) -> pd.DataFrame:
    """`headline.csv`, from the two tables that it summarizes."""
    tables = (paths.read_table(profile, name) for name in ("evaluation", "exploitability"))
    return headline.table(headline.rows(*tables))


def swept(profile: str) -> pd.DataFrame:
    """`sweep.csv` with the pool set in the column `pools`.

    Older runs wrote "sweep:" and the multiple there, which now has its own column.
    """
    table = paths.read_table(profile, "sweep")
    if len(table) and table["pools"].str.startswith("sweep:").any():
        pools = provenance.read(profile)["settings"]["pools"]
        of_game = (lambda game: pools.get(game, pools.get("others"))) if isinstance(pools, dict) else None
        table["pools"] = table["game"].map(of_game) if of_game else pools
    return table


def decided(profile: str) -> pd.DataFrame:
    """`claims.csv` by the present rules, as notebook 05 decides it."""
    there = [name for name in claims.NEEDS if name not in LATER or paths.table(profile, name).exists()]
    tables = {name: paths.read_table(profile, name) for name in there}
    made = provenance.read(profile)
    return claims.decide(**tables, profile=made["profile"], model=made["settings"]["model"])


#: Table -> the function that makes it again, in an order in which later tables may read earlier ones.
TABLES: dict[str, Callable[[str], pd.DataFrame]] = {
    "sft": sft,
    "evaluation": evaluated,
    "exploitability": exploitable,
    "headline": compared,
    "sweep": swept,
    "paper_nashconv": lambda profile: exploitability.paper_nashconv(),
    "claims": decided,
}
