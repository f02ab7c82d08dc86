"""The paper's claims C1..C6 and our own E1..E5, each decided by a rule that was written before any run.

A rule is a function of the tables of one profile and model. Its docstring *is* the rule; its verdict
follows from confidence intervals over training seeds alone, at 95%:

    supported        the interval lies wholly on the claim's side
    not supported    the interval lies wholly on the other side
    inconclusive     neither, or the rows (or the second seed) that the rule needs are missing

"SEPO" in C1 to C4 is the kit's default: the reported rows of stage `sepo`, preset `unbiased`, arm
`credited`, on the paper's pools. C5 and C6 compare the arms of the ablation, which differ in nothing else.
E1 to E5 are about the estimators alone (`estimators.csv`, no model): their intervals are over simulated
batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from .statistics import Interval, interval, paired

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
COLUMNS = ["claim", "statement", "measured", "ci_low", "ci_high", "verdict", "profile", "model"]
GAMES = ("ipd", "auction", "split", "deal", "kuhn")
NEGOTIATIONS = {"split": 3 / 5, "deal": 3 / 10}  # game -> s = 3 / max_payoff (METHOD section 3)
NOTHING = Interval(np.nan, np.nan, np.nan)


class Finding(NamedTuple):
    """What a rule measured, the ends of its interval, and the verdict."""

    measured: float
    ci_low: float
    ci_high: float
    verdict: str


@dataclass(frozen=True)
class Tables:
    """The tables a rule may read, already cut down to one profile and model."""

    evaluation: pd.DataFrame
    ablation: pd.DataFrame
    exploitability: pd.DataFrame
    estimators: pd.DataFrame


def _seeds(table: pd.DataFrame, game: str, stage: str, column: str) -> pd.Series:
    """`column` by seed for one game and stage on the paper's pools; of SEPO the reported default rows."""
    rows = table[(table.game == game) & (table.pools == "paper") & (table.stage == stage)]
    if stage == "sepo":
        rows = rows[(rows.preset == "unbiased") & (rows.arm == "credited") & rows.reported.isin([True])]
    if rows.seed.duplicated().any():
        raise ValueError(f"Two rows of one seed: {game}, {stage}, seeds {rows.seed.tolist()}.")
    return rows.set_index("seed")[column].astype(float).dropna()


def _interval(values_S: pd.Series) -> Interval:
    return interval(values_S.to_numpy()) if len(values_S) else NOTHING


def _paired(a: pd.Series, b: pd.Series) -> Interval:
    return paired(a, b) if len(a.index.intersection(b.index)) else NOTHING


def _sign(found: Interval) -> Finding:
    """Supported where the interval lies above zero, not supported where no part of it does."""
    verdict = SUPPORTED if found.low > 0 else NOT_SUPPORTED if found.high <= 0 else INCONCLUSIVE
    return Finding(*found, verdict)


def kuhn_is_unexploited(tables: Tables) -> Finding:
    """C1. Measured: SEPO's exploit-pool advantage e in Kuhn poker (chips per hand), mean over seeds.

    Every hand is enumerated, with the action probabilities of the answers that were sampled
    (`pool_advantage` of `exploitability.csv`): in played hands the luck of the cards alone reads more than
    0.02. "Zero" is taken as at most 0.02 chips per hand. Supported: the interval's upper end is at most
    0.02. Not supported: its lower end is above 0.02. The NashConv of the same probabilities stands beside it
    and plays no part: the claim is about the pool.
    """
    found = _interval(_seeds(tables.exploitability, "kuhn", "sepo", "pool_advantage"))
    verdict = SUPPORTED if found.high <= 0.02 else NOT_SUPPORTED if found.low > 0.02 else INCONCLUSIVE
    return Finding(*found, verdict)


def safer_than_base(tables: Tables) -> Finding:
    """C2. Measured: the number of games in which SEPO - base in safety, paired by seed, is above zero.

    A game is *safer* where its interval lies above zero, *not safer* where no part of it does, and *open*
    otherwise (also where it was not run, or with one seed). The interval is a count too: from the games
    that are safer to those that are safer or open. Supported: at least four games are safer. Not
    supported: at most three are safer or open. Inconclusive in all other cases, and whenever one of the
    five games is not in the run. The games' intervals are not corrected for their number: four of five
    must hold together, which is the stricter demand.
    """
    games = {
        game: _paired(*(_seeds(tables.evaluation, game, stage, "safety") for stage in ("sepo", "base")))
        for game in GAMES
    }
    present = [game for game, found in games.items() if not np.isnan(found.mean)]
    safer = sum(found.low > 0 for found in games.values())
    possible = sum(not found.high <= 0 for found in games.values())
    if not present:
        return Finding(*NOTHING, INCONCLUSIVE)
    verdict = SUPPORTED if safer >= 4 else NOT_SUPPORTED if possible < 4 else INCONCLUSIVE
    return Finding(safer, safer, possible, verdict if len(present) == len(GAMES) else INCONCLUSIVE)


def sft_exposes_and_sepo_corrects(tables: Tables) -> Finding:
    """C3. Measured: the smaller of two differences in e over the negotiations, each paired by seed.

    Per seed and stage, e is put on the scale of J (times s = 3 / max_payoff) and averaged over `split` and
    `deal`. The *rise* is SFT - base, the *correction* is SFT - SEPO; the claim needs both above zero. Of
    two differences the smaller one is reported, with the smaller of the lower and of the upper ends as its
    interval. Supported: both intervals lie above zero. Not supported: no part of one of them does.
    """
    stages = {}
    for stage in ("base", "sft", "sepo"):
        columns = [s * _seeds(tables.evaluation, game, stage, "exploit") for game, s in NEGOTIATIONS.items()]
        stages[stage] = pd.concat(columns, axis=1, join="inner").mean(axis=1)  # shape (S,)
    both = [_paired(stages["sft"], stages["base"]), _paired(stages["sft"], stages["sepo"])]
    if any(np.isnan(found.low) for found in both):
        means = [found.mean for found in both]
        return Finding(float(np.min(means)), np.nan, np.nan, INCONCLUSIVE)
    return _sign(Interval(*(min(ends) for ends in zip(*both, strict=True))))


def only_sepo_gains_in_deal(tables: Tables) -> Finding:
    """C4. Measured: SEPO's normalized relative advantage (NRA, in [-1, 1]) in `deal`, mean over seeds.

    Supported: SEPO's interval lies above zero, and neither the base model's nor the SFT model's does. Not
    supported: no part of SEPO's interval is above zero, or the base or SFT interval lies above zero.
    """
    base, sft, sepo = (
        _interval(_seeds(tables.evaluation, "deal", s, "nra")) for s in ("base", "sft", "sepo")
    )
    if sepo.high <= 0 or base.low > 0 or sft.low > 0:
        verdict = NOT_SUPPORTED
    elif np.isnan([base.low, sft.low]).any():
        verdict = INCONCLUSIVE
    else:
        verdict = SUPPORTED if sepo.low > 0 else INCONCLUSIVE
    return Finding(*sepo, verdict)


def constant_penalty_cancels(tables: Tables) -> Finding:
    """C5. Measured: the norm of the constant penalty's gradient, relative to the other arms' largest.

    Read from the rows `kind == "gradient"` of the ablation; "relative" is to the largest
    `penalty_gradient_norm` of another arm in the same game, pools, preset and seed (absolute where those
    are zero or absent). Beside them stand the rows of the terms e, c and x of `estimators.csv`, relative to
    the largest `estimate_norm` of another arm of the same preset and play. An identity has no sampling
    error, so the interval is the range over the rows. Supported: in every row of arm `constant` the relative
    norm is at most 1e-6, and in those of the ablation the advantages differ from those of `reward_only` on
    the same episodes by at most 1e-12 (floating point). Not supported: in any row not.
    """
    rows = tables.ablation[tables.ablation.kind == "gradient"].reset_index(drop=True)
    norms = _relative_to_other_arms(rows, ["game", "pools", "preset", "seed"], "penalty_gradient_norm")
    difference = rows.advantage_difference[rows.arm == "constant"].astype(float)
    rows = tables.estimators
    rows = rows[rows.switch.isin(["none", "credit"]) & rows.term.isin(["e", "c", "x"])].reset_index(drop=True)
    play = ["game", "pools", "policy", "how", "group_size", "groups_per_batch", "term"]
    relative = pd.concat([norms, _relative_to_other_arms(rows, play, "estimate_norm")])
    if relative.empty or relative.isna().any() or difference.isna().any():
        return Finding(*NOTHING, INCONCLUSIVE)
    exact = (relative <= 1e-6).all() and (difference <= 1e-12).all()
    found = Interval(float(relative.mean()), float(relative.min()), float(relative.max()))
    return Finding(*found, SUPPORTED if exact else NOT_SUPPORTED)


def _relative_to_other_arms(rows: pd.DataFrame, keys: list[str], norm: str) -> pd.Series:
    """The `norm` of the rows of arm `constant` over the largest of another arm with the same `keys`."""
    others = rows.assign(norm=rows[norm].where(rows.arm != "constant").astype(float))
    largest = others.groupby(keys, dropna=False)["norm"].transform("max")
    relative = rows[norm] / largest.where(largest > 0, 1.0)
    return relative[rows.arm == "constant"].astype(float)


def per_rollout_restores_a_gradient(tables: Tables) -> Finding:
    """C6. Measured: per_rollout - constant in safety after training, paired by seed.

    A gradient is worth the name if training on it makes the policy safer. Read from the last step of the
    rows `kind == "outcome"`; per seed the mean over all (game, pools, preset) in which the ablation has both
    arms, and only seeds for which both ran in all of these count. Supported: the interval lies above zero.
    Not supported: no part of it does.
    """
    rows = tables.ablation
    rows = rows[(rows.kind == "outcome") & rows.arm.isin(["constant", "per_rollout"])].sort_values("step")
    keys = ["game", "pools", "preset", "arm", "seed"]
    cells = rows.drop_duplicates(keys, keep="last").pivot(
        index=[*keys[:3], "seed"], columns="arm", values="safety"
    )
    if not {"constant", "per_rollout"} <= set(cells.columns):
        return Finding(*NOTHING, INCONCLUSIVE)
    gains = (cells["per_rollout"] - cells["constant"]).unstack("seed").astype(float)
    gain_S = gains.dropna(how="all").dropna(axis=1).mean()
    return _sign(_interval(gain_S))


def _turning_loses(tables: Tables, switch: str, value: str) -> Finding:
    """How much cosine with the exact gradient of J is lost by turning `switch` of `unbiased` to `value`.

    Of the rows with the most groups, G = 8 and one group in a batch (as the trainer plays), where J has a
    gradient (no margin is exactly 0): the mean of -change over games, pools and policies, which are
    simulated independently of one another.
    """
    rows = tables.estimators
    rows = rows[
        (rows.how == "unbiased")
        & (rows.switch == switch)
        & (rows["arm" if switch == "credit" else switch] == value)
        & (rows.term == "J")
        & (rows.group_size == 8)
        & (rows.groups_per_batch == 1)
        & (rows.nearest_margin != 0)
    ]
    change = rows[["change", "change_low", "change_high"]].astype(float)
    if rows.empty or change.isna().any(axis=None):
        return Finding(*NOTHING, INCONCLUSIVE)
    z = stats.norm.ppf(0.975)
    errors = (change.change_high - change.change_low) / (2 * z)
    half = float(z * np.sqrt((errors**2).sum()) / len(rows))
    lost = -float(change.change.mean())
    return _sign(Interval(lost, lost - half, lost + half))


def credit_matters(tables: Tables) -> Finding:
    """E1. Measured: the cosine with the exact gradient of J that is lost by turning `credit` alone, from
    credited to per_rollout, in the unbiased preset (scale none); the mean over games, pools and policies.

    Supported: the interval lies above zero. Not supported: no part of it does. The rows are those of
    `estimators.csv` with G = 8, one group in a batch and no margin of exactly 0 (where J has no gradient).
    """
    return _turning_loses(tables, "credit", "per_rollout")


def horizon_matters(tables: Tables) -> Finding:
    """E2. Measured: as E1, by turning `horizon` alone, from the reward to go to the immediate payoff."""
    return _turning_loses(tables, "horizon", "immediate")


def clamp_matters(tables: Tables) -> Finding:
    """E3. Measured: as E1, by turning `clamp` alone, from the batch's mean margin to each episode's."""
    return _turning_loses(tables, "clamp", "episode")


def scale_matters(tables: Tables) -> Finding:
    """E4. Measured: as E1, by turning `scale` alone, from none to each group's standard deviation."""
    return _turning_loses(tables, "scale", "group_std")


def weights_matter(tables: Tables) -> Finding:
    """E5. Measured: as E1, by turning `weights` alone, from those of the pools in J to equal ones."""
    return _turning_loses(tables, "weights", "equal")


RULES: dict[str, tuple[str, Callable[[Tables], Finding]]] = {
    "C1": ("In Kuhn poker the SEPO model has zero exploit-pool advantage.", kuhn_is_unexploited),
    "C2": ("SEPO is safer than the base model in at least four of the five games.", safer_than_base),
    "C3": (
        "SFT alone makes the model more exploitable in negotiation; SEPO corrects that.",
        sft_exposes_and_sepo_corrects,
    ),
    "C4": (
        "In the multi-issue negotiation SEPO alone has a positive normalized relative advantage.",
        only_sepo_gains_in_deal,
    ),
    "C5": (
        "A penalty shared by a whole rollout group has a gradient of exactly zero.",
        constant_penalty_cancels,
    ),
    "C6": (
        "Computing the penalty per rollout restores a gradient that makes the policy safer.",
        per_rollout_restores_a_gradient,
    ),
    "E1": (
        "A penalty charged beside the episodes that caused it turns the estimate from J's gradient.",
        credit_matters,
    ),
    "E2": ("The immediate payoff turns the estimate from J's gradient.", horizon_matters),
    "E3": ("Clamping the margin of each episode turns the estimate from J's gradient.", clamp_matters),
    "E4": (
        "Dividing by each group's standard deviation turns the estimate from J's gradient.",
        scale_matters,
    ),
    "E5": ("Weighing all groups the same turns the estimate from J's gradient.", weights_matter),
}

NEEDS = {
    "evaluation": "profile model game pools stage arm preset seed reported exploit safety nra".split(),
    "ablation": (
        "profile model kind game pools arm preset seed step safety penalty_gradient_norm advantage_difference"
    ).split(),
    "exploitability": "profile model game pools stage arm preset seed reported pool_advantage".split(),
    "estimators": (
        "profile game pools policy how switch arm horizon clamp scale weights group_size groups_per_batch "
        "term nearest_margin change change_low change_high estimate_norm"
    ).split(),
}


def decide(
    evaluation: pd.DataFrame,
    ablation: pd.DataFrame,
    exploitability: pd.DataFrame,
    profile: str,
    model: str,
    estimators: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Every rule on the rows of one profile and model: one row per claim, with the columns `COLUMNS`.

    `estimators` knows no model and may be left out (E1 to E5 are then inconclusive).

    Tables without rows are fine (the verdict is then inconclusive). Raises ValueError for missing columns
    and for two rows where a rule expects one (the same seed twice).
    """
    given = {
        "evaluation": evaluation,
        "ablation": ablation,
        "exploitability": exploitability,
        "estimators": pd.DataFrame() if estimators is None else estimators,
    }
    cut = {}
    for name, table in given.items():
        if table.empty:
            table = pd.DataFrame(columns=NEEDS[name])
        missing = [column for column in NEEDS[name] if column not in table.columns]
        if missing:
            raise ValueError(f"The claims need the columns {missing} of {name}.csv, which lacks them.")
        mine = table.profile == profile
        cut[name] = table[mine & (table.model == model)] if "model" in NEEDS[name] else table[mine]
    tables = Tables(**cut)
    rows = [(claim, statement, *rule(tables), profile, model) for claim, (statement, rule) in RULES.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def as_text(claims: pd.DataFrame) -> str:
    """The claims as an aligned plain-text table for the terminal, one line each under a header."""
    header = ("claim", "verdict", "measured", "95% interval", "statement")
    lines = [header]
    for row in claims.itertuples():
        low, high = number(row.ci_low), number(row.ci_high)
        lines.append((row.claim, row.verdict, number(row.measured), f"[{low}, {high}]", row.statement))
    widths = [max(len(line[k]) for line in lines) for k in range(len(header) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]])
        for line in lines
    )


def number(value: float) -> str:
    """Three significant digits, without a trailing zero; a dash for nan."""
    return "–" if pd.isna(value) else f"{value + 0.0:.3g}"
