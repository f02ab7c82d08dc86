"""The headline table: six estimators of the gradient, in every game and pool set that a run trains.

Four of them have the switches of the preset `unbiased` and differ only in the actions to which a penalty is
charged: the arms `reward_only`, `constant`, `per_rollout` and `credited`, which is `unbiased` itself. The
other two are `authors_current` and `published`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from sepo_lib import games
from sepo_lib.measure import statistics
from sepo_lib.measure.rows import KEYS, reported
from sepo_lib.measure.statistics import NO_SPREAD

#: Estimator -> its preset and its arm, in the order of tables and figures.
ESTIMATORS = {
    "reward_only": ("unbiased", "reward_only"),
    "constant": ("unbiased", "constant"),
    "per_rollout": ("unbiased", "per_rollout"),
    "authors_current": ("authors_current", "credited"),
    "published": ("published", "per_rollout"),
    "unbiased": ("unbiased", "credited"),
}
#: The estimator without a penalty, from which the others are subtracted.
REFERENCE = "reward_only"
#: The preset `published` without a penalty.
WITHOUT = "reward_only, published"
#: The estimators of the headline figure: those of the table, and `published` without a penalty.
COMPARED = {**ESTIMATORS, WITHOUT: ("published", "reward_only")}
#: What a difference shows -> its two estimators, of which the second is subtracted from the first.
CONTRASTS = {"the penalty": ("unbiased", REFERENCE), "the other switches": (REFERENCE, WITHOUT)}
#: The preset `unbiased` with the immediate payoff in the place of the reward to go.
IMMEDIATE = "published+credit+clamp+scale+weights"
#: The measures of the table. `train_externality` is derived (`rows`); in a negotiation it and
#: `exploiter_externality` are the breakdown rates.
METRICS = (
    *("safety", "payoff", "exploit", "collusion", "externality", "nra"),
    *("train_externality", "exploiter_externality", "nashconv"),
)
COLUMNS = (
    *("game", "pools", "estimator", "metric", "mean", "ci_low", "ci_high", "seeds", "interval"),
    *("difference", "difference_low", "difference_high", "pairs", "p", "p_holm"),
)


def rows(evaluation: pd.DataFrame, exploitability: pd.DataFrame | None = None) -> pd.DataFrame:
    """The reported rows of the six estimators, one per game, pool set, estimator and seed.

    Adds the columns `estimator`, `train_externality` (the externality rate against the train pool alone) and,
    from `exploitability`, `nashconv`. A table without such rows gives none.
    """
    if not {"preset", "arm"} <= set(evaluation.columns):
        return pd.DataFrame(columns=[*KEYS, "estimator", *METRICS])
    table = reported(evaluation[evaluation["stage"] == "sepo"])
    names = {recipe: name for name, recipe in ESTIMATORS.items()}
    own = [names.get(recipe) for recipe in zip(table["preset"], table["arm"], strict=True)]
    table = table.assign(estimator=own).dropna(subset="estimator")
    if "exploiter" in table:  # trained against another exploiter than the pool
        table = table[table["exploiter"].isna()]
    lacking = [name for name in METRICS if name not in table]
    table = table.assign(**dict.fromkeys(lacking, np.nan))
    if exploitability is not None and {"nashconv", *KEYS} <= set(exploitability.columns):
        found = exploitability[[*KEYS, "nashconv"]].drop_duplicates(list(KEYS))
        table = table.drop(columns="nashconv").merge(found, how="left", on=list(KEYS))
    sizes = [_opponents(game, pools) for game, pools in zip(table["game"], table["pools"], strict=True)]
    train, exploiters = np.array(sizes, dtype=float).reshape(-1, 2).T
    # x is the mean over the opponents of both pools
    x, of_exploiters = (table[name].astype(float) for name in ("externality", "exploiter_externality"))
    rate = (x + (x - of_exploiters) * exploiters / train).clip(0.0, 1.0)
    return table.assign(train_externality=rate).reset_index(drop=True)


def table(by_seed: pd.DataFrame, metrics: Sequence[str] = METRICS) -> pd.DataFrame:
    """`headline.csv`, from `rows`: one row per game, pool set, estimator and metric.

    `mean` has an interval over seeds (`statistics.spread`). `difference` is the metric minus that of
    `reward_only`, the mean over the `pairs` of equal seeds, with Student's t interval and the p-value of the
    paired t test. `p_holm` is that p-value after Holm's correction over all differences of the same metric. A
    difference that is equal in all seeds has no interval and no p-value: `constant` trains what `reward_only`
    trains.
    """
    found = []
    for (game, pools), here in by_seed.groupby(["game", "pools"], sort=False):
        for metric in metrics:
            values = {
                name: own.dropna(subset=metric) for (name,), own in statistics.grouped(here, ["estimator"])
            }
            for name in ESTIMATORS:
                if len(own := values.get(name, here[:0])):
                    found.append(
                        {"game": game, "pools": pools, "estimator": name, "metric": metric}
                        | dict(
                            zip(("mean", "ci_low", "ci_high"), statistics.spread(own, metric), strict=True)
                        )
                        | {"seeds": len(own), "interval": statistics.kind(own, metric)}
                        | _difference(metric, own, values.get(REFERENCE, here[:0]), name)
                    )
    made = pd.DataFrame(found, columns=list(COLUMNS))
    for _, own in made.dropna(subset="p").groupby("metric", sort=False):
        made.loc[own.index, "p_holm"] = statistics.holm(own["p"])
    return made


def differences(
    by_seed: pd.DataFrame, metric: str, contrasts: Mapping[str, tuple[str, str]], by: str
) -> pd.DataFrame:
    """The differences of the headline figure: one row per value of `by`, contrast and seed.

    `by_seed` has the columns `by`, estimator, seed and `metric`. A contrast is a pair of estimators; its
    `difference` is `metric` of the first minus that of the second, for the seeds that have both. Raises
    ValueError as `statistics.difference` does.
    """
    found = []
    for place, here in by_seed.groupby(by, sort=False):
        values = {name: own.set_index("seed")[metric] for name, own in here.groupby("estimator", sort=False)}
        for contrast, (one, other) in contrasts.items():
            if {one, other} <= values.keys():
                common = values[one].index.intersection(values[other].index)
                gain_S = statistics.difference(values[one], values[other]) if len(common) else ()
                keys = {by: place, "contrast": contrast}
                found += [
                    {**keys, "seed": seed, "difference": gain}
                    for seed, gain in zip(common, gain_S, strict=True)
                ]
    return pd.DataFrame(found, columns=[by, "contrast", "seed", "difference"])


def _difference(metric: str, own: pd.DataFrame, reference: pd.DataFrame, name: str) -> Mapping[str, float]:
    """The columns of the difference to the reference; empty without two common seeds."""
    ends = ("difference", "difference_low", "difference_high")
    common = set(own["seed"]) & set(reference["seed"])
    if name == REFERENCE or not common:
        return {"pairs": 0}
    gain_S = statistics.difference(*(rows.set_index("seed")[metric] for rows in (own, reference)))
    if len(gain_S) == 1 or np.ptp(gain_S) <= NO_SPREAD:
        return {"difference": float(gain_S[0]), "pairs": len(gain_S)}
    p = float(stats.ttest_1samp(gain_S, 0.0).pvalue)
    return dict(zip(ends, statistics.interval(gain_S), strict=True)) | {"pairs": len(gain_S), "p": p}


def _opponents(game: str, pools: str) -> tuple[float, float]:
    """The numbers of train opponents and of exploiters; nan for a game that is not registered."""
    if game not in games.GAMES or pools not in games.get(game).pools:
        return np.nan, np.nan
    return tuple(float(len(games.get(game).pool(pools, pool))) for pool in ("train", "exploiter"))
