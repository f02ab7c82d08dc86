"""The rules of the kit's own claims E1..E5: how much the cosine falls if one switch of `unbiased` is changed.

Each rule reads `estimators.parquet`. Its docstring *is* the rule.
"""

from dataclasses import replace

import numpy as np
from scipy import stats

from sepo_lib import games
from sepo_lib.measure import switches
from sepo_lib.measure.statistics import Interval
from sepo_lib.method import credit
from sepo_lib.report.verdicts import INCONCLUSIVE, Finding, Tables, nothing, verdict_on, where


def credit_matters(tables: Tables, recipe: str) -> list[Finding]:
    """E1. Measured: how much the cosine with the exact gradient of J falls if the switch `credit` alone is
    set from credited to per_rollout, in the unbiased preset (scale none); mean over games, pools and
    policies.

    Supported: the interval lies above zero. Not supported: no part of it does. The rows are those of
    `estimators.parquet` with G = 8, one group in a batch and no margin of exactly 0 (where J has no
    gradient).
    """
    return _loss_of_cosine(tables, "credit", "per_rollout")


def horizon_matters(tables: Tables, recipe: str) -> list[Finding]:
    """E2. Measured: as E1, with `horizon` alone set from the reward to go to the immediate payoff. The paper
    does not scale the immediate payoff, so the relative weight of payoff and penalty changes as well."""
    return _loss_of_cosine(tables, "horizon", "immediate")


def clamp_matters(tables: Tables, recipe: str) -> list[Finding]:
    """E3. Measured: as E1, with `clamp` alone set from the mean margin of the batch to the margin of each
    episode, in the games and pools in which the two can differ (`switches.clamp_acts`). A clamped sum cannot
    be split into rounds, so every round of an exploiter's episode is then charged the penalty of the whole
    episode."""
    rows = tables.estimators
    pairs = list(zip(rows.game, rows.pools, strict=True))
    acts = {pair: switches.clamp_acts(games.get(pair[0]), pair[1]) for pair in set(pairs)}
    acting = rows[np.array([acts[pair] for pair in pairs], dtype=bool)]
    return _loss_of_cosine(replace(tables, estimators=acting), "clamp", "episode")


def scale_matters(tables: Tables, recipe: str) -> list[Finding]:
    """E4. Measured: as E1, with `scale` alone set from none to each group's standard deviation."""
    return _loss_of_cosine(tables, "scale", "group_std")


def weights_matter(tables: Tables, recipe: str) -> list[Finding]:
    """E5. Measured: as E1, with `weights` alone set from the weights of the pools in J to equal weights."""
    return _loss_of_cosine(tables, "weights", "equal")


def _loss_of_cosine(tables: Tables, switch: str, value: str) -> list[Finding]:
    """The loss of cosine with the exact gradient of J when `switch` of `unbiased` is set to `value`.

    This is the mean of -change over games, pools and policies, which are simulated independently of one
    another. The rows have G = 8 and one group in a batch, as in training, and no margin of exactly 0, where J
    has no gradient. All other switches are those of the unbiased preset with scale none. Raises ValueError if
    a setting occurs twice.
    """
    changed = credit.FIELD_OF_SWITCH[switch]
    setting = {**vars(credit.PRESETS["unbiased"]), "scale": "none", changed: value}
    setting |= {"how": "unbiased", "switch": switch, "term": "J", "group_size": 8, "groups_per_batch": 1}
    rows = tables.estimators
    rows = where(rows, **setting)
    rows = rows[rows.nearest_margin != 0]
    if rows.duplicated(["game", "pools", "policy"]).any():
        raise ValueError(
            f"estimators.parquet has a setting twice for the switch {switch}; keep one row per setting."
        )
    change = rows[["change", "change_low", "change_high"]].astype(float)
    if rows.empty:
        at_all = len(tables.estimators)
        return [nothing("not studied at G = 8 here" if at_all else "the estimators were not studied here")]
    if change.isna().any(axis=None):
        return [nothing("a change is missing", verdict=INCONCLUSIVE)]
    z = stats.norm.ppf(0.975)
    errors = (change.change_high - change.change_low) / (2 * z)
    half = float(z * np.sqrt((errors**2).sum()) / len(rows))
    lost = -float(change.change.mean())
    found = Interval(lost, lost - half, lost + half)
    kind = f"95% normal, simulation noise of {len(rows)} settings"
    lose, gain = int((change.change_high < 0).sum()), int((change.change_low > 0).sum())
    note = f"the cosine falls in {lose} of {len(rows)} settings and rises in {gain}"
    return [Finding(*found, kind, *verdict_on(found, "above", 0.0, note))]
