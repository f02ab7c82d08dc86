"""The authors' stored results (`data/paper/authors_results.csv`) beside ours.

The authors printed most of their J with other weights, so J is computed here from their u, e, c and x with
the kit's evaluation weights. A row is compared with ours only if its opponents, its temperature and its
recipe are the same.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.measure import statistics
from sepo_lib.measure.rows import weights_of
from sepo_lib.method import credit, objective

#: Column -> its symbol in J.
TERMS = {"payoff": "u", "exploit": "e", "collusion": "c", "externality": "x", "safety": "J"}
TEMPERATURE = "0.8"  # of the kit's evaluation, as the authors' table stores it
#: The stages and recipes in their order. A trained row is compared with ours of the same recipe.
STAGES = {
    "base": "base model",
    "sft": "SFT",
    "constant": "SEPO, constant penalty",
    "published": "SEPO, per rollout",
    "authors_current": "SEPO, credited",
    "unbiased": "SEPO, unbiased",
}
STAGES |= {preset: f"SEPO, {preset}" for preset in credit.PRESETS if preset not in STAGES}
_RECIPES = {"constant": "constant", "per_rollout": "published", "credited": "authors_current"}


def load() -> pd.DataFrame:
    """The authors' rows, one for each stored evaluation, with J computed from the evaluation weights.

    The columns are those of the file (data/paper/README.md), with these changes:

    game       the column `domain` of the file
    collusion  empty cells are filled from `collusion_solved`
    safety     J from u, e, c and x with the evaluation weights; NaN for a game that the kit lacks
    recipe     a key of `STAGES`; empty if it is not known
    who        model and generation
    reason     why the row is not compared with ours; empty for a row that is compared
    """
    table = paths.read_paper("authors_results")
    table = table.rename(columns={"domain": "game"})
    table["collusion"] = table["collusion"].fillna(table["collusion_solved"])
    table["safety"] = np.nan
    for name, rows in table[table["game"].isin(list(games.GAMES))].groupby("game"):
        game, terms = games.get(name), (rows[t] for t in ("payoff", "exploit", "collusion", "externality"))
        table.loc[rows.index, "safety"] = objective.objective(game, *terms, game.evaluation_weights)
    variant = table["variant"].fillna("").str.split().str[0]
    table["recipe"] = variant.map(_RECIPES).where(table["stage"] == "grpo", table["stage"]).fillna("")
    table["who"] = table["model"] + " (" + table["generation"] + ")"
    table["reason"] = [_reason(row) for row in table.itertuples()]
    return table


def ours(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Our rows on the paper's pools with the new columns `recipe` and `who`, one row per seed.

    `evaluation` holds reported rows. SEPO rows whose arm is not the one of their preset are left out. Where
    the run has other evaluation weights, J is computed again, with the weights of the authors' rows.
    """
    rows = evaluation[evaluation["pools"] == "paper"]
    if "evaluation_weights" in rows:
        rows = rows.assign(safety=[_safety(row) for row in rows.to_dict("records")])
    sepo = rows["stage"] == "sepo"
    arms = {name: estimator.arm for name, estimator in credit.PRESETS.items()}
    own = ~sepo | (rows["arm"] == rows["preset"].map(arms))
    rows = rows.assign(recipe=rows["stage"].where(~sepo, rows["preset"]), who=rows["model"] + " (ours)")
    return rows[own]


def side_by_side(evaluation: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Our results and the authors', by game, model and recipe, in the games that both have.

    `evaluation` holds reported rows, `theirs` the rows of `load`. Columns: game, who, ours (bool), recipe,
    step, last (whether this is the last step of its recipe), the measures of `TERMS` that `evaluation` has,
    and low and high, the 95% interval of our J over seeds. Both are NaN for the authors, who store one model
    of each kind.
    """
    own, measures = ours(evaluation), [name for name in TERMS if name in evaluation]
    theirs = theirs[(theirs["reason"] == "") & theirs["game"].isin(own["game"])]
    own = own[own["game"].isin(theirs["game"])]
    rows = []
    for (game, who, recipe), seeds in own.groupby(["game", "who", "recipe"]):
        _, low, high = statistics.spread(seeds, "safety")
        row = {"game": game, "who": who, "ours": True, "recipe": recipe, "step": seeds["step"].max()}
        rows.append({**row, **seeds[measures].mean(), "low": low, "high": high})
    stored = theirs.assign(ours=False, low=np.nan, high=np.nan, step=theirs["step"].fillna(0))
    columns = ["game", "who", "ours", "recipe", "step", *measures, "low", "high"]
    table = pd.concat([pd.DataFrame(rows, columns=columns), stored[columns]], ignore_index=True)
    table["last"] = table["step"] == table.groupby(["game", "who", "recipe"])["step"].transform("max")
    order, place = (_ranks(table[name], known) for name, known in (("recipe", STAGES), ("game", games.GAMES)))
    table = table.assign(order=order, place=place)
    return table.sort_values(["place", "ours", "who", "order", "step"], ascending=[True, False, *[True] * 3])


def _ranks(values: pd.Series, known: Mapping[str, Any]) -> pd.Series:
    """The place of each value in `known`; that after the last for a value that it lacks."""
    return values.map({name: place for place, name in enumerate(known)}).fillna(len(known)).astype(int)


def _safety(row: Mapping[str, Any]) -> float:
    """J of one of our rows with the evaluation weights of the game's file."""
    if "evaluation" not in weights_of(row):
        return row["safety"]
    game, terms = games.get(row["game"]), (row[term] for term in TERMS if term != "safety")
    return objective.objective(game, *terms, game.evaluation_weights)


def _reason(row) -> str:
    """Why a row is not compared with ours; empty for a row that is compared."""
    if row.game not in games.GAMES:
        return "the kit has no such game"
    if row.pools != "current":
        return "other opponents (the authors' older pools)"
    exploiters = dict(part.split(": ") for part in row.opponents.split(" | "))["exploiter"].split(";")
    own = games.get(row.game).pools["paper"]["exploiter"]
    if len(exploiters) != len(own):
        return f"other opponents (exploiter pool of {len(exploiters)}, ours of {len(own)})"
    if row.temperature != TEMPERATURE:
        zero = row.temperature.replace(".", "").strip("0") == ""
        return "temperature 0" if zero else "temperature not known"
    return "" if row.recipe else "recipe not known"
