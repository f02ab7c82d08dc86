"""How safety depends on its weights, computed from recorded u, e, c and x without training again.

J = s u - le s e - lc c - lx x is linear in each weight. For one policy it is a line, and the ranking of two
stages changes at the weight at which their lines cross.
"""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
from scipy import stats

from sepo_lib import games
from sepo_lib.measure.rows import weights_of
from sepo_lib.method import objective

WEIGHTS = ("exploit", "collusion", "externality")
TERMS = ("payoff", *WEIGHTS)
STAGES = ("base", "sft", "sepo")
PAIRS = (("sft", "base"), ("sepo", "sft"), ("sepo", "base"))


def safety_by_weight(evaluation: pd.DataFrame, most: float = 4.0, points: int = 41) -> pd.DataFrame:
    """Safety of every policy at `points` values of one weight from 0 to `most`, the others fixed.

    The fixed weights are the evaluation weights. The policies are base, SFT and the reported unbiased SEPO
    models on the paper's pools. Columns: game, weight (exploit, collusion or externality), value, own (the
    evaluation weight), stage, seed, safety. Raises ValueError for an evaluation that lacks a column.
    """
    rows = []
    for row in _compared(evaluation).to_dict("records"):
        game = games.get(row["game"], weights_of(row))
        for weight in WEIGHTS:
            for value in np.linspace(0.0, most, points):
                weights = replace(game.evaluation_weights, **{weight: float(value)})
                safety = objective.objective(game, *(row[term] for term in TERMS), weights)
                known = {"game": row["game"], "weight": weight, "value": float(value)}
                known["own"] = asdict(game.evaluation_weights)[weight]
                rows.append(known | {"stage": row["stage"], "seed": row["seed"], "safety": safety})
    columns = ["game", "weight", "value", "own", "stage", "seed", "safety"]
    return pd.DataFrame(rows, columns=columns)


def crossings(evaluation: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """The weight at which two stages have the same mean safety, for each game, weight and pair of stages.

    The difference in safety of one seed is a - w b, a line in the weight w. The crossing is mean(a) / mean(b)
    over the seeds that both stages have. Its interval is Fieller's (1954): all w at which the paired t
    interval of a - w b contains 0.

    Columns: game, weight, own (the evaluation weight), first, second (the stages), at_zero and at_own (mean
    of first - second at w = 0 and at the evaluation weight), crossing, ci_low, ci_high, seeds. The crossing
    is nan if mean(b) = 0 or if it is not positive. The ends are also nan if the interval is
    unbounded, because b does not differ from 0, and for fewer than two seeds. Raises ValueError as
    `safety_by_weight` does.
    """
    rows = []
    for name, played in _compared(evaluation).groupby("game", sort=False):
        game = games.get(name, weights_of(played.iloc[0]))
        by_stage = {stage: group.set_index("seed")[list(TERMS)] for stage, group in played.groupby("stage")}
        for first, second in PAIRS:
            if first not in by_stage or second not in by_stage:
                continue
            difference = (by_stage[first] - by_stage[second]).dropna()
            for weight in WEIGHTS:
                own = asdict(game.evaluation_weights)[weight]
                free = replace(game.evaluation_weights, **{weight: 0.0})
                a_S = objective.objective(game, *(difference[term] for term in TERMS), free).to_numpy()
                b_S = difference[weight].to_numpy() * (game.scale if weight == "exploit" else 1.0)
                found = fieller(a_S, b_S, confidence) if len(a_S) else (np.nan,) * 3
                if not found[0] > 0:
                    found = (np.nan,) * 3
                rows.append(
                    {
                        "game": name,
                        "weight": weight,
                        "own": own,
                        "first": first,
                        "second": second,
                        "at_zero": a_S.mean() if len(a_S) else np.nan,
                        "at_own": (a_S - own * b_S).mean() if len(a_S) else np.nan,
                        **dict(zip(("crossing", "ci_low", "ci_high"), found, strict=True)),
                        "seeds": len(a_S),
                    }
                )
    columns = "game weight own first second at_zero at_own crossing ci_low ci_high seeds".split()
    return pd.DataFrame(rows, columns=columns)


def fieller(a_S: np.ndarray, b_S: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """mean(a) / mean(b) over S paired seeds, both of shape (S,), and Fieller's interval for this ratio.

    All three are nan if mean(b) = 0. The ends are nan if the interval is unbounded or S < 2. Raises
    ValueError for two different shapes and for empty arrays.
    """
    a_S, b_S = np.asarray(a_S, dtype=float), np.asarray(b_S, dtype=float)
    if a_S.shape != b_S.shape or a_S.ndim != 1 or not a_S.size:
        raise ValueError(f"A ratio needs pairs of values; the shapes are {a_S.shape} and {b_S.shape}.")
    a, b = a_S.mean(), b_S.mean()
    if abs(b) < 1e-12:
        return np.nan, np.nan, np.nan
    ratio = float(a / b)
    if a_S.size < 2:
        return ratio, np.nan, np.nan
    (aa, ab), (_, bb) = np.cov(a_S, b_S)
    k = stats.t.ppf((1 + confidence) / 2, a_S.size - 1) ** 2 / a_S.size
    square, half, rest = b * b - k * bb, a * b - k * ab, a * a - k * aa
    if square <= 0:
        return ratio, np.nan, np.nan
    root = np.sqrt(max(0.0, half * half - square * rest))
    return ratio, float((half - root) / square), float((half + root) / square)


def _compared(evaluation: pd.DataFrame, preset: str = "unbiased", arm: str = "credited") -> pd.DataFrame:
    """Base, SFT and the reported SEPO rows of `preset` and `arm`, on the paper's pools.

    Raises ValueError for a table that lacks a column.
    """
    needed = ["game", "pools", "stage", "arm", "preset", "seed", "reported", *TERMS]
    missing = [column for column in needed if column not in evaluation.columns]
    if missing:
        raise ValueError(f"The evaluation lacks the columns {missing}; it has {list(evaluation.columns)}.")
    rows = evaluation[(evaluation["pools"] == "paper") & evaluation["stage"].isin(STAGES)]
    sepo = rows["stage"] == "sepo"
    chosen = (rows["preset"] == preset) & (rows["arm"] == arm) & rows["reported"].isin([True])
    return rows[~sepo | chosen]
