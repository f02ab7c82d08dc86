"""What the numbers of a notebook are compared with: a random player, the highest J, and a committed run."""

from collections.abc import Sequence

import pandas as pd

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.games.base import OBJECTIVE_POOLS
from sepo_lib.games.players import any_legal
from sepo_lib.measure import measures
from sepo_lib.method import seeds
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer, Query
from sepo_lib.report import findings, found

EPISODES = 100  # of a random player against each opponent
COMMITTED = "laptop"  # its headroom.csv and that of STUDY depend on no model
STUDY = "study"  # the committed run that has every study


def beside(means: pd.DataFrame, run: str) -> pd.DataFrame:
    """`means` (index: game, pools; columns: safety, payoff, ...) with references for safety and payoff.

    New columns: `safety, random` and `payoff, random` of a random player, and `safety, highest` as text.
    """
    highest = findings.highest(run, COMMITTED, STUDY)
    random = [random_player(game, pools) for game, pools in means.index]
    columns = {"safety": means["safety"], "safety, random": [one["safety"] for one in random]}
    columns["safety, highest"] = [highest.get(place, "") for place in means.index]
    columns |= {"payoff": means["payoff"], "payoff, random": [one["payoff"] for one in random]}
    rest = means.drop(columns=["safety", "payoff"])
    return pd.concat([pd.DataFrame(columns, index=means.index), rest], axis=1)


def random_player(game: str, pools: str, episodes: int = EPISODES) -> dict[str, float]:
    """`measures.measure` of a player that draws each legal action with the same probability."""
    played = games.get(game)
    plans = rollouts.plan(played, pools, dict.fromkeys(OBJECTIVE_POOLS, episodes), seed=0)
    return measures.measure(played, rollouts.play(_Random(), plans))


class _Random:
    """A `Policy` that draws each legal action with the same probability."""

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        return [Answer(any_legal(query.view, seeds.generator(query.seed))) for query in queries]


def of_study(claim: str, run: str) -> str:
    """How the committed run STUDY decided a claim, in one sentence.

    Empty without its table, and in a `run` of that name, whose claims are decided later.
    """
    if run == STUDY or not paths.table(STUDY, "claims").exists():
        return ""
    rows = paths.read_table(STUDY, "claims")
    rows = rows[rows["claim"] == claim]
    if rows.empty:
        return ""
    return f"In the run `{STUDY}`, the verdicts on claim {claim} are: {found.verdicts(rows)}."
