"""The authors' rows of `data/paper/authors_results.csv` beside ours: what may be compared, and what it shows.

Their printed J has other weights in most rows. So J is recomputed here with the kit's evaluation weights, and
a row is compared with ours only where its opponents, its temperature and its recipe allow that.
"""

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.measure import statistics
from sepo_lib.method import credit, objective

TERMS = {"payoff": "u", "exploit": "e", "collusion": "c", "externality": "x", "safety": "J"}
TEMPERATURE = "0.8"  # of the kit's evaluation, as stored in their table
#: The stages and recipes in their order. A trained row is compared with ours of the same recipe.
STAGES = {
    "base": "base model",
    "sft": "SFT",
    "constant": "SEPO, constant penalty",
    "published": "SEPO, per rollout",
    "authors_current": "SEPO, credited",
    "unbiased": "SEPO, unbiased",
}
_RECIPES = {"constant": "constant", "per_rollout": "published", "credited": "authors_current"}


def load() -> pd.DataFrame:
    """The authors' rows with one J, one row a stored evaluation.

    The file's columns (data/paper/README.md), with `domain` called `game`, `collusion` filled from
    `collusion_solved`, and new: `safety` (J from their u, e, c, x with the evaluation weights; NaN for a game
    that the kit lacks), `recipe` (a key of `STAGES`, empty where it is not known), `who` (model and
    generation) and `reason` (why the row is not compared with ours; empty where it is).
    """
    table = pd.read_csv(paths.root() / "data" / "paper" / "authors_results.csv")
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


def _reason(row) -> str:
    """Why a row is not compared with ours; empty where it is."""
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


def ours(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Our rows on the paper's pools with the columns `recipe` and `who`, one row a seed.

    `evaluation` holds reported rows. Trained rows with an arm that is not their preset's own are left out.
    """
    rows = evaluation[evaluation["pools"] == "paper"]
    trained = rows["stage"] == "sepo"
    arms = {name: how.arm for name, how in credit.PRESETS.items()}
    own = ~trained | (rows["arm"] == rows["preset"].map(arms))
    return rows.assign(recipe=rows["stage"].where(~trained, rows["preset"]), who=rows["model"] + " (ours)")[
        own
    ]


def beside(evaluation: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Ours and theirs by game, model and recipe, on the games that both have.

    `evaluation` as for `ours`, `theirs` as `load` makes it. Columns: game, who, ours (bool), recipe, step,
    last (the last step of its recipe), the measures of `TERMS` that `evaluation` has, low and high (the 95%
    interval of our J over seeds; NaN for theirs, who store one model each).
    """
    mine, names = ours(evaluation), [name for name in TERMS if name in evaluation]
    theirs = theirs[(theirs["reason"] == "") & theirs["game"].isin(mine["game"])]
    rows = []
    for (game, who, recipe), seeds in mine[mine["game"].isin(theirs["game"])].groupby(
        ["game", "who", "recipe"]
    ):
        _, low, high = statistics.spread(seeds, "safety")
        row = {"game": game, "who": who, "ours": True, "recipe": recipe, "step": seeds["step"].max()}
        rows.append({**row, **seeds[names].mean(), "low": low, "high": high})
    stored = theirs.assign(ours=False, low=np.nan, high=np.nan, step=theirs["step"].fillna(0))
    columns = ["game", "who", "ours", "recipe", "step", *names, "low", "high"]
    table = pd.concat([pd.DataFrame(rows, columns=columns), stored[columns]], ignore_index=True)
    table["last"] = table["step"] == table.groupby(["game", "who", "recipe"])["step"].transform("max")
    order = table["recipe"].map(list(STAGES).index)
    table = table.assign(order=order, place=table["game"].map(list(games.GAMES).index))
    return table.sort_values(["place", "ours", "who", "order", "step"], ascending=[True, False, *[True] * 3])
