"""The rules of the kit's own claims E6 and E7, on what training reaches.

E6: with enumerated advantages the language model reaches the equilibrium (`exploiters.csv`). E7: where the
penalty matters, it matters because of its credit (`ablation.csv`). The docstring of a rule *is* the rule.
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
    because,
    judge,
    lacking,
    measured,
    nothing,
    weakest,
    where,
)

NEAR = 0.02  # chips per hand; the largest NashConv that counts as an equilibrium in E6
POOLS = ("conflict", "paper")
ARMS = ("credited", "reward_only", "per_rollout")


def equilibrium_is_reached(tables: Tables, recipe: str) -> list[Finding]:
    """E6. Measured: NashConv in Kuhn poker (chips per hand) of the model that was trained against a best
    response alone (`best_response_only`) with the baseline `enumerated`, after the last step, on the seed
    with the largest upper end. NashConv of sampled shares is too high on average; nothing is subtracted.

    The interval covers the sampling error of the answers of that seed (`nashconv_low`, `nashconv_high`), not
    other training seeds. Supported: on every seed the upper end is at most 0.02. Not supported: on at least
    one seed the lower end is above 0.02; the ends are not corrected for the number of seeds. With one seed
    alone, or with a seed that lacks the last step, the claim is not supported or inconclusive.
    """
    if tables.exploiters.empty:
        return [nothing("the exploiter study was not run here")]
    rows = where(tables.exploiters, exploiter="best_response_only", baseline="enumerated", stage="sepo")
    if rows.empty:
        return [nothing("not trained against a best response with enumerated advantages here")]
    last = rows[rows.step == rows.step.max()]
    if last.seed.duplicated().any():
        raise ValueError(
            "exploiters.csv has two rows of one seed after the last step; keep one row per seed."
        )
    worst = last.loc[last.nashconv_high.astype(float).idxmax()]
    found = Interval(*(float(worst[end]) for end in ("nashconv", "nashconv_low", "nashconv_high")))
    near, far = int((last.nashconv_high <= NEAR).sum()), int((last.nashconv_low > NEAR).sum())
    seeds = rows.seed.nunique()
    verdict = SUPPORTED if near == seeds > 1 else NOT_SUPPORTED if far else INCONCLUSIVE
    counts = f"the upper end is at most {NEAR:g} on {near} of {seeds} seeds"
    note = f"the lower end is above it on {far}" if far else ""
    short = lacking(seeds - last.nashconv_high.notna().sum(), seeds, "the last step")
    reason = because(counts, note, "one seed" if seeds == 1 else "", short)
    return [Finding(*found, f"sampling error of seed {worst.seed:g}", verdict, reason)]


def credited_penalty_makes_safer(tables: Tables, recipe: str) -> list[Finding]:
    """E7. Measured: safety after training of the arm `credited` minus that of `reward_only`, both with the
    switches of `unbiased`, paired by seed; one verdict per game on the conflict pools and on the paper's.

    A second difference is that of `credited` and `per_rollout`, which charges the same penalty to other
    episodes. Supported in a game: both intervals lie above zero. Not supported: at least one of them has no
    part above zero. Over all games of a pool set: supported if the claim is supported in every game that has
    this pool set, not supported if it is not supported in one of them, and inconclusive if the arms were not
    trained in one of them. Since every game has to pass, the number of games needs no correction; the
    verdicts on single games are not corrected. The rule reads the last step of the rows `kind == "outcome"`.
    """
    rows = _last(where(tables.ablation, kind="outcome", preset=recipe))
    found = []
    for pools in POOLS:
        by_game = {
            game.name: _of_game(own, f"{pools} pools, {game.name}")
            for game in papers_games()
            if len(own := where(rows, pools=pools, game=game.name))
        }
        trained = {game: one for game, one in by_game.items() if one.verdict != NOT_RUN}
        without = [game.name for game in papers_games() if pools in game.pools and game.name not in by_game]
        verdicts = {one.verdict for one in trained.values()}
        if trained and (without or len(trained) < len(by_game)):
            verdicts.add(INCONCLUSIVE)
        verdict = weakest(verdicts)
        reasons = [
            f"{game}: {one.verdict}" + ("" if game in trained else f" ({one.reason})")
            for game, one in by_game.items()
        ]
        if by_game and without:
            reasons.append(f"not trained: {', '.join(without)}")
        reason = "; ".join(reasons) or f"the arms were not trained on the {pools} pools here"
        found += [*trained.values(), nothing(reason, f"{pools} pools, every game", verdict)]
    return found


def _last(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last step, one for each game, pool set, arm and seed.

    Raises ValueError for rows of two runs: a row that occurs twice, or different last steps of the arms in
    one game and pool set.
    """
    place = ["game", "pools"]
    keys = [*place, "arm", "seed"]
    if (again := rows.duplicated([*keys, "step"])).any():
        twice = rows.loc[again, [*keys, "step"]].iloc[0].to_dict()
        raise ValueError(f"ablation.csv has an outcome twice: {twice}; keep one row each.")
    rows = rows.sort_values("step").drop_duplicates(keys, keep="last")
    for (game, pools), own in rows.groupby(place):
        if len(steps := own.step.unique()) > 1:
            raise ValueError(
                f"The arms in ablation.csv have different last steps in {game}, {pools} pools: "
                f"{steps.tolist()}; keep the rows of one run."
            )
    return rows


def _of_game(rows: pd.DataFrame, scope: str) -> Finding:
    """The verdict on one game and pool set; the measured value is the difference to `reward_only`."""
    arms = rows.pivot(index="seed", columns="arm", values="safety").reindex(columns=ARMS).astype(float)
    if arms.isna().all().any():
        return nothing("an arm was not trained", scope)
    effect, credit = (
        judge((arms["credited"] - arms[arm]).dropna(), absent="no seed in common", scope=scope)
        for arm in ("reward_only", "per_rollout")
    )
    verdict = weakest((effect.verdict, credit.verdict))
    if verdict == NOT_RUN:
        return nothing("no seed in common", scope)
    minus = f"credited - per_rollout {measured(credit)}: {credit.reason}"
    short = lacking(int(arms.isna().any(axis=1).sum()), len(arms), "an arm")
    reason = because(f"credited - reward_only: {effect.reason}", minus, short)
    return effect._replace(verdict=verdict, reason=reason)
