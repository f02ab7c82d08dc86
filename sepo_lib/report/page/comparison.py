"""The authors' stored results beside those of the run, as rows of tables."""

from collections import Counter

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.measure.authors import STAGES, TERMS, load, ours, side_by_side
from sepo_lib.measure.statistics import Interval, text
from sepo_lib.report import authors_page, findings


def comparison(evaluation: pd.DataFrame) -> dict | None:
    """What the page says of the authors' models; None if their results are not there, or no game is shared.

    `evaluation` holds the reported rows of the run's model. Keys: models (the authors'), stored and compared
    (numbers of their rows), changes and levels (rows of tables), and counts (measure -> verdict -> number).
    """
    if not (paths.root() / "data" / "paper" / "authors_results.csv").exists():
        return None
    theirs = load()
    table = side_by_side(evaluation, theirs)
    if table.empty or not (~table["ours"]).any():
        return None
    changes, verdicts = authors_page.directions(table, ours(evaluation))
    return {
        "models": sorted(theirs.loc[theirs["reason"] == "", "model"].unique()),
        "stored": len(theirs),
        "compared": int((theirs["reason"] == "").sum()),
        "changes": [row | {"game": findings.title(row["game"])} for row in changes],
        "counts": {TERMS[name]: Counter(found) for name, found in verdicts.items()},
        "levels": _levels(table[table["last"]]),
    }


def _levels(last: pd.DataFrame) -> list[dict[str, str]]:
    """J of every model at every stage, at the last step of each recipe."""
    columns = {key: label for key, label in STAGES.items() if (last["recipe"] == key).any()}
    rows = []
    for (game, who), own in last.groupby(["game", "who"], sort=False):
        ends = own.set_index("recipe")[["safety", "low", "high"]].astype(float)
        cells = {columns[row.Index]: text(Interval(*row[1:])) for row in ends.itertuples()}
        row = {"game": findings.title(game), "model": who}
        rows.append(row | dict.fromkeys(columns.values(), "–") | cells)
    return rows
