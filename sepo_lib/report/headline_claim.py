"""The rule of the kit's own claim E7: where the penalty matters, and that it matters because of its credit.

The rule reads `ablation.csv`. Its docstring *is* the rule.
"""

import pandas as pd

from sepo_lib.measure.statistics import Interval
from sepo_lib.report.paper_claims import papers_games
from sepo_lib.report.verdicts import (
    INCONCLUSIVE,
    NOT_RUN,
    NOT_SUPPORTED,
    SUPPORTED,
    Finding,
    Tables,
    in_words,
    judge,
    nothing,
    where,
)

POOLS = ("conflict", "paper")


def credited_penalty_makes_safer(tables: Tables, recipe: str) -> list[Finding]:
    """E7. Measured: safety after training of the arm `credited` minus that of `reward_only`, both with the
    switches of `unbiased`, paired by seed; one verdict per game on the conflict pools and on the paper's.

    A second difference is that of `credited` and `per_rollout`, which charges the same penalty to other
    episodes. Supported in a game: both intervals lie above zero. Not supported: at least one of them has no
    part above zero. Over all games of a pool set: supported if the claim is supported in every game in which
    the arms were trained, not supported if it is not supported in one of them. Since every game has to pass,
    the number of games needs no correction; the verdicts on single games are not corrected. The rule reads
    the last step of the rows `kind == "outcome"`.
    """
    rows = where(tables.ablation, kind="outcome", preset=recipe).sort_values("step")
    rows = rows.drop_duplicates(["game", "pools", "arm", "seed"], keep="last")
    found = []
    for pools in POOLS:
        by_game = {
            game.name: _of_game(where(rows, pools=pools, game=game.name), f"{pools} pools, {game.name}")
            for game in papers_games()
        }
        by_game = {game: one for game, one in by_game.items() if one.verdict != NOT_RUN}
        verdicts = {one.verdict for one in by_game.values()}
        verdict = next((one for one in (NOT_SUPPORTED, INCONCLUSIVE, SUPPORTED) if one in verdicts), NOT_RUN)
        reason = "; ".join(f"{game}: {one.verdict}" for game, one in by_game.items())
        reason = reason or f"the arms were not trained on the {pools} pools here"
        found += [*by_game.values(), nothing(reason, f"{pools} pools, every game", verdict)]
    return found


def _of_game(rows: pd.DataFrame, scope: str) -> Finding:
    """The verdict on one game and pool set; the measured value is the difference to `reward_only`."""
    arms = {arm: own.set_index("seed")["safety"].astype(float) for arm, own in rows.groupby("arm")}
    if not {"credited", "reward_only", "per_rollout"} <= set(arms):
        return nothing("an arm was not trained", scope)
    effect, credit = (
        judge((arms["credited"] - arms[arm]).dropna(), absent="no seed in common", scope=scope)
        for arm in ("reward_only", "per_rollout")
    )
    ranking = (NOT_RUN, NOT_SUPPORTED, INCONCLUSIVE, SUPPORTED)  # the first that occurs decides
    verdict = next(one for one in ranking if one in (effect.verdict, credit.verdict))
    minus = f"credited - per_rollout {in_words(Interval(*credit[:3]))}: {credit.reason}"
    return effect._replace(verdict=verdict, reason=f"credited - reward_only: {effect.reason}; {minus}")
