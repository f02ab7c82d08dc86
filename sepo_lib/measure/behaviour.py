"""What did a policy become? What it does in each situation, and which known strategies do the same.

The recorded episodes of a policy are played again from their seeds, which gives what the policy saw at each
decision (`View`). A decision is then counted in two ways:

    kind        one row says
    situation   in this situation (`Game.observe`), the mean of a quantity of the decision
                (`Game.quantities`): the share of decisions for a word, or the mean demand
    opponent    the agreement with an opponent of the game's pools: the share of decisions at which it would
                have done the same as the policy, with the history that the policy had
    expert      the same for a strategy of the demonstrations

A strategy that draws its actions agrees by chance. A strategy that agrees in most decisions need not do the
same in situations that this policy never meets.
"""

import itertools
from collections.abc import Iterator, Sequence
from numbers import Real

import numpy as np
import pandas as pd

from sepo_lib import games
from sepo_lib.games.base import Action, Game, InformationSet, View
from sepo_lib.games.players import Start
from sepo_lib.measure import evaluation
from sepo_lib.measure.rows import KEYS
from sepo_lib.method import seeds
from sepo_lib.method.records import Episode

COLUMNS = (*KEYS, "kind", "situation", "action", "value", "decisions")
ROLLOUTS = 48  # episodes against each opponent that are played again, at most
COMPARED = 400  # decisions compared with the strategies; the rollouts that hold them are compared whole
FIRST = "first round"
Seen = Sequence[tuple[View, Action]]  # the decisions of an episode


def table(decisions: pd.DataFrame) -> pd.DataFrame:
    """The rows of `behaviour.csv` for one policy, from its table of decisions (`evaluation.episode_table`).

    Raises ValueError if the present rules and opponents give other episodes than the table.
    """
    keys = {key: decisions[key].iloc[0] for key in KEYS}
    game = games.get(keys["game"])
    decisions = decisions[decisions["rollout"] < ROLLOUTS]
    played, view_of = evaluation.played_again(decisions)
    seen = [[(view_of[one.seed], one.action) for one in episode.decisions] for episode in played]
    rows = [*situations(game, seen), *agreements(game, played, seen)]
    return pd.DataFrame(rows).assign(**keys)[list(COLUMNS)].round({"value": 4})


def situations(game: Game, episodes: Sequence[Seen]) -> Iterator[dict]:
    """The mean of every quantity in every situation: all situations of an enumerated game, else those met.

    A situation that the policy never met has one row, without an action and with 0 decisions.
    """
    found: dict[tuple, dict[str, list[float]]] = {}
    if game.enumeration:
        found = {_parts(seen): {} for seen in game.enumeration.legal}
    for view, action in itertools.chain(*episodes):
        quantities = found.setdefault(_parts(game.observe(view)), {})
        for name, value in game.quantities(view, action).items():
            quantities.setdefault(name, []).append(value)
    longest = max(map(len, found))
    for seen in found if game.enumeration else sorted(found, key=_place):
        for name, values in (found[seen] or {"": []}).items():
            known = {"kind": "situation", "situation": words(seen, longest), "action": name}
            value = float(np.mean(values)) if values else np.nan
            yield known | {"value": value, "decisions": len(values)}


def words(seen: tuple, longest: int) -> str:
    """A situation in words: `COOPERATE, DEFECT`; `4, first round` if it has fewer than `longest` parts."""
    parts = [(" ".join(map(str, part)) or "none") if isinstance(part, tuple) else str(part) for part in seen]
    return ", ".join([*parts, FIRST] if len(seen) < longest else parts) or FIRST


def agreements(game: Game, played: Sequence[Episode], episodes: Sequence[Seen]) -> Iterator[dict]:
    """The share of decisions in which each strategy of `strategies` would have done the same."""
    order = sorted(range(len(played)), key=lambda number: played[number].rollout)
    chosen: list[int] = []
    for _, group in itertools.groupby(order, key=lambda number: played[number].rollout):
        if sum(len(episodes[number]) for number in chosen) < COMPARED:
            chosen += group
    for (kind, name), start in strategies(game).items():
        same = [
            act(view) == action
            for number in chosen
            for act in [start(seeds.Later(played[number].seed, kind, name))]
            for view, action in episodes[number]
        ]
        row = {"kind": kind, "situation": "all", "action": name, "value": float(np.mean(same))}
        yield row | {"decisions": len(same)}


def strategies(game: Game) -> dict[tuple[str, str], Start]:
    """(kind, name) -> the opponents of all pools of the game, and the strategies of its demonstrations."""
    pools = [pool for by_pool in game.pools.values() for pool in by_pool.values()]
    opponents = {("opponent", name): opponent for pool in pools for name, opponent in pool.items()}
    experts = {
        ("expert", name): lambda rng, strategy=strategy: lambda view: strategy(view, rng)[0]
        for name, (_, strategy) in game.experts.items()
    }
    return opponents | experts


def _parts(seen: InformationSet) -> tuple:
    """A situation as the tuple of its parts; a single value is its own only part."""
    return seen if isinstance(seen, tuple) else (seen,)


def _place(seen: tuple) -> tuple:
    """Where a situation stands: first rounds, then numbers in rising order, then other values by text."""
    return len(seen), [(0, part, "") if isinstance(part, Real) else (1, 0, str(part)) for part in seen]
