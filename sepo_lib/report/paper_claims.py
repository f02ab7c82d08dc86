"""The rules of the paper's claims C1 to C6, and of C1b, which is the kit's own.

A rule is a function of the tables of one profile and model, and of a recipe. Its docstring *is* the rule, and
`claims.RULES` lists the rules.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.measure import statistics
from sepo_lib.measure.statistics import NO_SPREAD, Interval, interval
from sepo_lib.report.verdicts import (
    INCONCLUSIVE,
    NOT_RUN,
    NOT_SUPPORTED,
    SUPPORTED,
    Finding,
    Tables,
    because,
    in_words,
    judge,
    measured,
    nothing,
    verdict_on,
    weakest,
    where,
)

RECIPES = {"published": "per_rollout", "authors_current": "credited", "unbiased": "credited"}  # -> its arm
NOT_THERE = {"base": "base model not measured", "sft": "SFT model not measured", "sepo": "not trained here"}
CLAMPED = "decided on the clamped"  # the beginning of the note on a table without signed margins
KUHN_MARGINS = ("worst_margin", "pool_advantage")  # columns of the signed and of the clamped margin
ZERO_MARGIN = 0.02  # chips per hand; the largest margin that counts as zero in C1


def kuhn_is_unexploited(tables: Tables, recipe: str) -> list[Finding]:
    """C1. Measured: in Kuhn poker, what the strongest exploiter wins from SEPO (chips per hand, 0 where none
    wins), mean over seeds.

    It is the largest margin over the exploiters (opponent minus own, `worst_margin` of `exploitability.csv`),
    or 0 if that is negative: a seed that no exploiter beats must not hide one that is exploited. The margin
    is enumerated over all deals, with the action probabilities of the answers that were sampled, because in
    played hands the noise of the cards exceeds 0.02. A mean of at most 0.02 chips per hand counts as zero.
    Supported: the interval's upper end is at most 0.02. Not supported: its lower end is above 0.02. The
    interval is made for values that are cut at 0 (`statistics.clamped`). A table without signed margins is
    judged by `pool_advantage`. The rule does not read NashConv, because the claim is about the pool.
    """
    table, game = tables.exploitability, _the_game_with("nashconv")
    column, note = _signed(table, game, recipe, ("sepo",), KUHN_MARGINS)
    values_S = _seeds(table, game, "sepo", column, recipe)
    absent = _absent(table, game, column, recipe)
    if column != "worst_margin" or len(values_S) < 2 or np.ptp(values_S) <= NO_SPREAD:
        return [judge(values_S.clip(0.0), "at most", ZERO_MARGIN, absent, statistics.bounds(column), note)]
    found = statistics.clamped(values_S.clip(0.0).to_numpy(), values_S.to_numpy())
    above = f"{(values_S > ZERO_MARGIN).sum()} of {len(values_S)} seeds above {ZERO_MARGIN:g}"
    kind = f"95% over {len(values_S)} seeds, from signed margins"
    return [Finding(*found, kind, *verdict_on(found, "at most", ZERO_MARGIN, because(above, note)))]


def sepo_lowers_the_margin(tables: Tables, recipe: str) -> list[Finding]:
    """C1b. Measured: the largest signed margin of an exploiter (see C1), SEPO minus SFT, paired by seed.

    If no exploiter beats the SFT model, there is no margin to lower, and C1 then says little about SEPO.
    Supported: the interval lies below zero. Not supported: no part of it does.
    """
    table, stages = tables.exploitability, ("sepo", "sft")
    game = _the_game_with("nashconv")
    column, note = _signed(table, game, recipe, stages, KUHN_MARGINS)
    sepo, sft = (_seeds(table, game, stage, column, recipe) for stage in stages)
    absent = _absent(table, game, column, recipe, stages)
    return [judge(_difference(sepo, sft), "below", 0.0, absent, note=note)]


def safer_than_base(tables: Tables, recipe: str) -> list[Finding]:
    """C2. Measured: the number of games in which SEPO - base in safety, paired by seed, is above zero.

    A game is *safer* if its interval lies above zero, *not safer* if no part of it does, and *open*
    otherwise. A game that was not run, or that has one seed, is open. The brackets are no confidence
    interval: they reach from the number of games that are safer to the number that are safer or open.
    Supported: at least four games are safer. Not supported: at most three are safer or open. Inconclusive in
    all other cases, and whenever one of the five games is not in the run. The intervals of the games are not
    corrected for multiple comparisons.
    """
    groups: dict[str, list[str]] = {"safer": [], "open": [], "not safer": [], "not run": [], "one seed": []}
    lacking: dict[str, list[str]] = {}  # what a game of the run lacks -> the games
    papers = [game.name for game in papers_games()]
    for game in papers:
        stages = ("base", "sepo")
        base, sepo = (_seeds(tables.evaluation, game, stage, "safety", recipe) for stage in stages)
        gain_S = _difference(sepo, base)
        if len(gain_S) > 1:
            found = interval(gain_S.to_numpy())
            groups["safer" if found.low > 0 else "not safer" if found.high <= 0 else "open"].append(game)
        elif len(gain_S) or not len(where(tables.evaluation, game=game, pools="paper")):
            groups["one seed" if len(gain_S) else "not run"].append(game)
        else:
            lacking.setdefault(_absent(tables.evaluation, game, "safety", recipe, stages), []).append(game)
    without = [*groups["not run"], *(game for members in lacking.values() for game in members)]
    if len(without) == len(papers):
        return [nothing("; ".join(lacking) or "no game was run")]
    groups |= lacking
    safer, possible = len(groups["safer"]), len(papers) - len(groups["not safer"])
    decided = SUPPORTED if safer >= 4 else NOT_SUPPORTED if possible < 4 else INCONCLUSIVE
    verdict = INCONCLUSIVE if without else decided
    reason = because(*(f"{name}: {', '.join(members)}" for name, members in groups.items() if members))
    return [Finding(safer, safer, possible, "count: safer to safer-or-open games", verdict, reason)]


def sft_exposes_and_sepo_corrects(tables: Tables, recipe: str) -> list[Finding]:
    """C3. Measured: the exploiters' margin against the SFT model minus that against the base model, in a
    negotiation (points per round, mean over exploiters of the signed margin), paired by seed.

    There is one verdict per game. The *rise* is SFT - base and the *correction* is SFT - SEPO. Both use the
    column `margin` of `evaluation.csv`, or e (`exploit`, clamped at 0) if the table lacks that column.
    Supported in a game: both intervals lie above zero. Not supported: at least one of them has no part above
    zero. Over both games: supported if the claim is supported in both, not supported if it is not supported
    in one of them.
    """
    by_game, stages = [], ("base", "sft", "sepo")
    for game in (game.name for game in papers_games() if "negotiation" in game.traits):
        column, note = _signed(tables.evaluation, game, recipe, stages, ("margin", "exploit"))
        base, sft, sepo = (_seeds(tables.evaluation, game, stage, column, recipe) for stage in stages)
        rise, correction = (judge(_difference(sft, other)) for other in (base, sepo))
        verdict = weakest((rise.verdict, correction.verdict))
        if verdict == NOT_RUN:
            by_game.append(nothing(_absent(tables.evaluation, game, column, recipe, stages), game))
            continue
        corrected = f"SFT - SEPO {measured(correction)}: {correction.reason}"
        reason = because(f"SFT - base: {rise.reason}", corrected, note)
        by_game.append(rise._replace(verdict=verdict, reason=reason, scope=game))
    found = {one.verdict for one in by_game}
    agreed = by_game[0].verdict if len(found) == 1 else INCONCLUSIVE
    verdict = NOT_SUPPORTED if NOT_SUPPORTED in found else agreed
    reason = "; ".join(f"{one.scope}: {one.verdict}" for one in by_game)
    return [*by_game, nothing(reason, "both games", verdict)]


def only_sepo_gains(tables: Tables, recipe: str) -> list[Finding]:
    """C4. Measured: the normalized relative advantage (NRA, in [-1, 1]) in `deal`, mean over seeds, in two
    parts: SEPO's is positive, and no other stage's is.

    SEPO positive: supported if its interval lies above zero, not supported if no part of it does,
    inconclusive if it contains zero. No other positive: the measured value is the larger mean of the base
    model and the SFT model. Supported if neither interval has a part above zero, not supported if one of the
    intervals lies above zero. The base model is one model, so its interval covers evaluation noise only.
    """
    table, game = tables.evaluation, _the_game_with("multi_issue")
    sepo, base, sft = (
        _cut(
            judge(
                _seeds(table, game, stage, "nra", recipe), absent=_absent(table, game, "nra", recipe, [stage])
            )
        )
        for stage in ("sepo", "base", "sft")
    )
    others = {"base model (evaluation noise only)": base, "SFT": sft}
    alone = max(others.values(), key=lambda one: -np.inf if np.isnan(one.measured) else one.measured)
    verdicts = {one.verdict for one in others.values()}
    if sepo.verdict == NOT_RUN:
        verdict = NOT_RUN
    elif SUPPORTED in verdicts:
        verdict = NOT_SUPPORTED
    else:
        verdict = SUPPORTED if verdicts == {NOT_SUPPORTED} else INCONCLUSIVE
    reason = because(
        *(
            one.reason if one.verdict == NOT_RUN else f"{name}: {measured(one)}"
            for name, one in others.items()
        )
    )
    if verdict == NOT_RUN:
        alone, reason = sepo, sepo.reason
    return [
        sepo._replace(scope="SEPO positive"),
        alone._replace(verdict=verdict, reason=reason, scope="no other positive"),
    ]


def constant_penalty_cancels(tables: Tables, recipe: str) -> list[Finding]:
    """C5. Measured: the norm of the constant penalty's gradient, relative to the other arms' largest.

    The rule reads the rows `kind == "gradient"` of the ablation. It divides each norm by the largest
    `penalty_gradient_norm` of another arm in the same game, pools, preset and seed, unless that is zero or
    absent. The rule also reads the rows of `estimators.parquet` for the terms e, c and x and the presets
    published and unbiased. It divides each of these norms by the largest `estimate_norm` of another arm in
    the same setting. An identity has no sampling error, so the brackets are the range over the rows.
    Supported: in every row of arm `constant` the relative norm is at most 1e-6, and in those of the ablation
    the advantages differ from those of `reward_only` on the same episodes by at most 1e-12 (floating point).
    Not supported: at least one row violates this.
    """
    rows = tables.ablation[tables.ablation.kind == "gradient"].reset_index(drop=True)
    norms = _relative_to_other_arms(rows, ["game", "pools", "preset", "seed"], "penalty_gradient_norm")
    difference = rows.advantage_difference[rows.arm == "constant"].astype(float)
    rows = tables.estimators
    rows = rows[rows.switch.isin(["none", "credit"]) & rows.term.isin(["e", "c", "x"])]
    rows = rows[rows.how.str.split(",").str[0].isin(["published", "unbiased"])].reset_index(drop=True)
    play = ["game", "pools", "policy", "how", "group_size", "groups", "groups_per_batch", "term"]
    relative = pd.concat([norms, _relative_to_other_arms(rows, play, "estimate_norm")])
    if relative.empty:
        return [nothing("neither an ablation nor estimators were run")]
    if relative.isna().any() or difference.isna().any():
        return [nothing("a norm is missing", verdict=INCONCLUSIVE)]
    exact = (relative <= 1e-6).all() and (difference <= 1e-12).all()
    bounds = float(relative.mean()), float(relative.min()), float(relative.max())
    reason = "zero but for rounding in every row" if exact else "not zero in every row"
    kind = f"range over {len(relative)} rows"
    return [Finding(*bounds, kind, SUPPORTED if exact else NOT_SUPPORTED, reason)]


def per_rollout_restores_a_gradient(tables: Tables, recipe: str) -> list[Finding]:
    """C6. Measured: the safety of `per_rollout` minus that of `constant` after training, with the other
    switches of one preset, paired by seed; one verdict on the paper's pools and one on the conflict pools.

    The gradient counts as restored if training on it makes the policy safer. The rule reads the last step of
    the rows `kind == "outcome"` of that preset and pool set. For each seed it takes the mean over the games
    in which the ablation has both arms. Only seeds with both arms in all of these games count. Supported: the
    interval lies above zero. Not supported: no part of it does. The reason names every game, because a game
    whose safety varies widely weighs more in the mean.
    """
    rows, papers = tables.ablation, [game.name for game in papers_games()]
    rows = rows[(rows.kind == "outcome") & (rows.preset == recipe) & rows.game.isin(papers)]
    found, arms = [], ["constant", "per_rollout"]
    for pools in ("paper", "conflict"):
        own = rows[(rows.pools == pools) & rows.arm.isin(arms)].sort_values("step")
        cells = own.drop_duplicates(["game", "arm", "seed"], keep="last").pivot(
            index=["game", "seed"], columns="arm", values="safety"
        )
        gains = (cells.reindex(columns=arms) @ [-1.0, 1.0]).astype(float).unstack("seed").dropna(how="all")
        by_game = {game: _shown(own_S.dropna().to_numpy()) for game, own_S in gains.iterrows()}
        note = ", ".join(f"{game} {in_words(one)}" for game, one in by_game.items())
        note = f"by game: {note}" if by_game else ""
        absent = f"the ablation was not trained on the {pools} pools here"
        gain_S = gains.dropna(axis=1).mean() if len(gains) else pd.Series(dtype=float)
        found.append(judge(gain_S, absent=absent, note=note, scope=f"{pools} pools"))
    return found


def _shown(values_S: np.ndarray) -> Interval:
    """The t interval of the mean; no ends if the values are equal in all seeds."""
    found = interval(values_S)
    return found if np.ptp(values_S) > NO_SPREAD else Interval(found.mean, np.nan, np.nan)


def papers_games() -> list[games.Game]:
    """The games of the paper. These are the kit's own: a claim does not cover games that a user registers."""
    return [game for game in games.GAMES.values() if type(game).__module__.startswith("sepo_lib.games.")]


def _the_game_with(trait: str) -> str:
    """The name of the paper's game that a claim is about: the first one with `trait`."""
    return next(game.name for game in papers_games() if trait in game.traits)


def _stage(table: pd.DataFrame, game: str, stage: str, recipe: str = "") -> pd.DataFrame:
    """The rows of one game and stage on the paper's pools, one per seed; for SEPO, the reported rows of
    `recipe`. Raises ValueError if a seed occurs twice."""
    keys = {"game": game, "pools": "paper", "stage": stage}
    if stage == "sepo":
        keys |= {"preset": recipe, "arm": RECIPES[recipe], "reported": True}
    rows = where(table, **keys)
    if rows.seed.duplicated().any():
        raise ValueError(
            f"A seed has two rows in {game}, stage {stage} (seeds {rows.seed.tolist()}); "
            "keep one row per seed."
        )
    return rows


def _seeds(table: pd.DataFrame, game: str, stage: str, column: str, recipe: str = "") -> pd.Series:
    """The values of `column` in the rows of `_stage`, by seed; seeds without a value are left out."""
    rows = _stage(table, game, stage, recipe)
    return rows.set_index("seed")[column].astype(float).dropna() if len(rows) else pd.Series(dtype=float)


def _signed(
    table: pd.DataFrame, game: str, recipe: str, stages: Sequence[str], columns: tuple[str, str]
) -> tuple[str, str]:
    """The column to judge, and a note on it; `columns` names the signed margin and the clamped one.

    The signed margin is chosen if every stage of `stages` with rows has it, and the clamped one otherwise.
    """
    signed, clamped = columns
    rows = [own for own in (_stage(table, game, stage, recipe) for stage in stages) if len(own)]
    if signed not in table or any(own[signed].isna().all() for own in rows):
        return clamped, f"{CLAMPED} {clamped}, as the table has no signed margin"
    without = sorted({seed for own in rows for seed in own.seed[own[signed].isna()]})
    return signed, f"without seed {', '.join(map(str, without))}, which has no {signed}" if without else ""


def _absent(
    table: pd.DataFrame, game: str, column: str, recipe: str, stages: Sequence[str] = ("sepo",)
) -> str:
    """The reason why a recipe cannot be judged in `game`: the stages that have no `column`."""
    if not len(where(table, game=game, pools="paper")):
        return f"game {game} not run"
    gone = [
        f"no {column} of {stage}" if len(_stage(table, game, stage, recipe)) else NOT_THERE[stage]
        for stage in stages
        if _seeds(table, game, stage, column, recipe).empty
    ]
    return "; ".join(gone) or "no seed in common"


def _difference(a: pd.Series, b: pd.Series) -> pd.Series:
    """a - b for the seeds that both have."""
    return (a - b).dropna()


def _cut(found: Finding) -> Finding:
    """A finding on an NRA, with its interval cut to the range of an NRA."""
    if np.isnan(found.ci_low):
        return found
    ends = [float(np.clip(end, -1.0, 1.0)) for end in found[:3]]
    return found._replace(
        measured=ends[0], ci_low=ends[1], ci_high=ends[2], interval=f"{found.interval}, cut to [-1, 1]"
    )


def _relative_to_other_arms(rows: pd.DataFrame, keys: list[str], norm: str) -> pd.Series:
    """`norm` of the rows of arm `constant`, divided by the largest one of other arms with the same `keys`."""
    others = rows.assign(norm=rows[norm].where(rows.arm != "constant").astype(float))
    largest = others.groupby(keys, dropna=False)["norm"].transform("max")
    relative = rows[norm] / largest.where(largest > 0, 1.0)
    return relative[rows.arm == "constant"].astype(float)
