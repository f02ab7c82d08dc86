"""Cross-play: policies of one game against each other and against the game's pools, as a matrix.

Two models play pairs of episodes that differ in the seats only: the chance moves are the same, and so are
the seeds of the decisions of each seat. The mean of a pair is one observation. The advantage of a seat
therefore cancels, and a policy earns exactly 0 against itself in a zero-sum game. Against a pool the model
is player 0, and one observation is one episode against each opponent of the pool.

The intervals cover variation between episodes only, because these checkpoints are compared and no others. All
other intervals of the kit cover variation between training seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.config import bundled, paths, profiles
from sepo_lib.games.base import POOLS, Action, Game, GameLoop
from sepo_lib.measure import measures
from sepo_lib.measure.statistics import interval
from sepo_lib.method import seeds
from sepo_lib.method.records import Episode, by_opponent

if TYPE_CHECKING:
    from sepo_lib.play.policy import Policy, Query


def crossplay(
    models: Mapping[str, str],
    game: str,
    pools: str = "paper",
    episodes: int = 96,
    seed: int = 0,
    folder: Path | None = None,
) -> pd.DataFrame:
    """`matrix` for models given as name -> model (nano, smollm2, a hub id, a folder or a job's folder).

    With `folder`, the table is also written to crossplay.csv there. Raises ValueError, before a model is
    loaded, for an unknown game or model, and as `matrix` does.
    """
    domain = games.get(game)
    _episodes_of(domain, pools, episodes, POOLS)
    for model in models.values():
        bundled.resolve(profiles.load("paper", model=model).model)
    from sepo_lib.measure.inspection import open_policy  # here: this import takes several seconds

    policies = {name: open_policy(model) for name, model in models.items()}
    table = matrix(policies, domain, pools, episodes, seed)
    if folder is not None:
        paths.write_csv(table, folder / "crossplay.csv")
    return table


def matrix(
    policies: Mapping[str, "Policy"],
    game: Game,
    pools: str = "paper",
    episodes: int = 96,
    seed: int = 0,
    against: Iterable[str] = POOLS,
) -> pd.DataFrame:
    """Every policy against every policy and against every pool of `against`: one row per ordered pair.

    Columns: game, pools, row, column, kind (model or pool), payoff (mean payoff per round of the row's
    policy, points), ci_low, ci_high (95%, see the module), other_payoff (of the column's side), parse_rate
    (of the row's decisions), episodes. Two models play `episodes` episodes. A pool is played at least as
    often, with the same number of episodes, 2 or more, against each opponent. Raises ValueError, before
    anything is played, for an odd number of episodes or fewer than 4, and for pools that the game does not
    have.
    """
    from sepo_lib.play.rollouts import plan, play

    counts = _episodes_of(game, pools, episodes, against)
    seed = seeds.derive(seed, "crossplay", game.name)
    pairs = list(combinations_with_replacement(policies, 2))
    matches = {
        pair: [
            [Match(game, players, seeds.derive(seed, number)) for players in (pair, pair[::-1])]
            for number in range(episodes // 2)
        ]
        for pair in pairs
    }
    play_matches(policies, [leg for legs in matches.values() for two in legs for leg in two])
    rows = {}
    for (first, second), legs in matches.items():
        rows[first, second] = _model_cell(legs, 0)
        rows[second, first] = _model_cell(legs, 1)
    for name, policy in policies.items():
        played = play(policy, plan(game, pools, counts, seed))
        rows |= {(name, pool): _pool_cell([e for e in played if e.pool == pool]) for pool in counts}
    order = [(row, column) for row in policies for column in (*policies, *counts)]
    keys = [{"game": game.name, "pools": pools, "row": row, "column": column} for row, column in order]
    return pd.DataFrame([key | rows[pair] for key, pair in zip(keys, order, strict=True)])


def named(texts: Iterable[str]) -> dict[str, str]:
    """Texts of the form name=model as a mapping. Raises ValueError for any other text, and for a name that
    is repeated or is the name of a pool."""
    models: dict[str, str] = {}
    for text in texts:
        name, equals, model = text.partition("=")
        if not (name and equals and model):
            raise ValueError(f"Write each model as name=PATH, not '{text}'.")
        if name in models or name in POOLS:
            raise ValueError(f"The name '{name}' is taken; give every model a different name.")
        models[name] = model
    return models


class Match(GameLoop):
    """One episode of two policies under way; `players` holds the names of those in seats 0 and 1."""

    def __init__(self, game: Game, players: tuple[str, str], seed: int):
        self.game, self.players, self.seed = game, players, seed
        self.parsed: tuple[list[bool], list[bool]] = ([], [])  # by seat, one entry per decision
        super().__init__(game.play(seeds.generator(seed, "chance")))

    def query(self, seat: int) -> "Query":
        """The open decision of `seat`."""
        from sepo_lib.play.policy import Query

        number = len(self.parsed[seat])
        return Query(self.game, self.views[seat], seeds.derive(self.seed, "decision", seat, number))

    def payoff(self, seat: int) -> float:
        """Mean payoff per round (points) of `seat`. The match must be over."""
        return float(np.mean([r.payoffs[seat] for r in self.rounds]))


def play_matches(policies: Mapping[str, "Policy"], matches: Sequence[Match]) -> None:
    """Play all matches to their end in lock-step: one batched call of every policy per tick."""
    while running := [match for match in matches if match.rounds is None]:
        actions: dict[Match, dict[int, Action]] = {match: {} for match in running}
        for name, policy in policies.items():
            turns = [(m, seat) for m in running for seat in m.views if m.players[seat] == name]
            queries = [match.query(seat) for match, seat in turns]
            for (match, seat), answer in zip(turns, policy.answer(queries), strict=True):
                actions[match][seat] = answer.action
                match.parsed[seat].append(answer.parsed)
        for match in running:
            match.advance(actions[match])


def _episodes_of(game: Game, pools: str, episodes: int, against: Iterable[str]) -> dict[str, int]:
    """The number of episodes against each opponent of each pool. Raises ValueError as `matrix` does."""
    if episodes < 4 or episodes % 2:
        raise ValueError(f"Cross-play needs an even number of episodes, at least 4, not {episodes}.")
    return {pool: max(2, -(-episodes // len(game.pool(pools, pool)))) for pool in against}


def _model_cell(legs: Sequence[Sequence[Match]], seat: int) -> dict:
    """The cell of the player who has `seat` in the first episode of every pair."""
    own = [np.mean([two[0].payoff(seat), two[1].payoff(1 - seat)]) for two in legs]
    other = [np.mean([two[0].payoff(1 - seat), two[1].payoff(seat)]) for two in legs]
    parsed = [p for two in legs for p in two[0].parsed[seat] + two[1].parsed[1 - seat]]
    return _cell("model", own, other, np.mean(parsed), 2 * len(legs))


def _pool_cell(played: Sequence[Episode]) -> dict:
    groups = by_opponent(played).values()
    own = np.mean([[e.own_T.mean() for e in group] for group in groups], axis=0)
    other = np.mean([[e.other_T.mean() for e in group] for group in groups], axis=0)
    return _cell("pool", own, other, measures.parse_rate(played), len(played))


def _cell(kind: str, own: Sequence[float], other: Sequence[float], parse_rate: float, episodes: int) -> dict:
    estimate = interval(own)
    return {
        "kind": kind,
        "payoff": estimate.mean,
        "ci_low": estimate.low,
        "ci_high": estimate.high,
        "other_payoff": float(np.mean(other)),
        "parse_rate": float(parse_rate),
        "episodes": episodes,
    }
