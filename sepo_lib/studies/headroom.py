"""Headroom: how far the J of the strategy with the highest payoff is below the highest J.

A penalty can matter only if payoff and safety conflict (docs/method.md, "Headroom"). For every game and
pool set this study computes the value of a whole family of strategies, by enumeration if the game has one.
It compares two of them: the strategy with the highest payoff u (of several, the one with the highest J) and
the strategy with the highest J.

    game      family                                                                      strategies
    ipd       memory one, every probability of cooperating in 0, 1/4, 1/2, 3/4, 1               3,125
    auction   every deterministic table (own value, last opposing bid)                          6,561
    split     every deterministic table (last opposing demand, of those that occur)            59,049
    kuhn      every deterministic table (12 information sets)                                   4,096
    deal      the demonstrations' experts and the pools' opponents as the policy                    9

The values of `deal` are means over episodes; all others are exact.

In three games the study also finds the two strategies among all that there are (`every_strategy`): those that
remember every earlier round (ipd, split), and those that mix their actions (Kuhn, one hand at a time).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sepo_lib import games
from sepo_lib.config.progress import Report
from sepo_lib.games.base import OBJECTIVE_POOLS, Game, Weights
from sepo_lib.games.players import Start
from sepo_lib.measure import job_tables, kuhn_optimum, measures, tabular
from sepo_lib.method import objective, seeds
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer, Query
from sepo_lib.studies import every_strategy
from sepo_lib.training import demonstrations

AT_ONCE = 4096  # strategies whose values are computed together
TIE = 1e-9  # payoffs closer than this are the same
SEED = 1  # not a training seed: nothing is trained here


class ScriptedPolicy:
    """A `Policy` that plays as an opponent that remembers nothing between its decisions."""

    def __init__(self, opponent: Start):
        self._opponent = opponent

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """See `Policy.answer`."""
        return [Answer(self._opponent(seeds.Later(query.seed, "script"))(query.view)) for query in queries]


def scripts(game: Game) -> dict[str, Start]:
    """The strategies of the demonstrations and the opponents of the paper's pools, all stateless, by name."""
    demonstrated = {
        name: (lambda rng, strategy=strategy: lambda view: strategy(view, rng)[0])
        for name, (_, strategy) in demonstrations.mixture(game.name).items()
    }
    opponents = {
        f"{name} (an opponent)": opponent
        for pool in OBJECTIVE_POOLS
        for name, opponent in game.pool("paper", pool).items()
    }
    return demonstrated | opponents


def tables(game: Game, pools: str) -> Iterator[np.ndarray]:
    """The family of an enumerated game, one strategy after the other: probabilities of shape (I, A).

    At an information set that no opponent of `pools` leads to, only the first action is taken. Raises
    ValueError for a game without an enumeration.
    """
    spec = tabular.enumeration(game)
    width = max(map(len, spec.legal.values()))
    if spec.grid:
        for p_I in itertools.product(spec.grid, repeat=len(spec.legal)):
            yield np.stack([p_I, 1 - np.array(p_I)], axis=1)
        return
    met = {
        int(flat) // width
        for pool in OBJECTIVE_POOLS
        for opponent in game.pool(pools, pool)
        for flat in tabular.chain(game.name, pools, pool, opponent).decisions_MD.ravel()
    }
    options = [range(len(actions) if i in met else 1) for i, actions in enumerate(spec.legal.values())]
    for choice in itertools.product(*options):
        yield np.eye(width)[list(choice)]


def spell(game: Game, p_IA: np.ndarray) -> str:
    """A strategy in words: its action at every information set, or with a grid P(first action)."""
    spec = tabular.enumeration(game)
    if spec.grid:
        return " ".join(f"{p:g}" for p in p_IA[:, 0])
    legal = spec.legal.values()
    return " ".join(game.spell(actions[int(p_A.argmax())]) for actions, p_A in zip(legal, p_IA, strict=True))


def best(values: pd.DataFrame, objective_: pd.Series) -> tuple[int, int]:
    """The rows of the highest payoff (of several, the one of highest J) and of the highest J."""
    most = objective_.where(values["u"] >= values["u"].max() - TIE)
    return int(most.idxmax()), int(objective_.idxmax())


def measure(game: Game, pools: str, episodes: int) -> pd.DataFrame:
    """`headroom.csv` for one game and pool set: a row for the training and one for the evaluation weights.

    Columns: game, pools, weights, family (enumerated, scripted, every) and strategies (their number, none for
    every); the strategy, J, u, e, c and x with the highest payoff (`best_payoff_...`) and with the highest J
    (`best_...`); `gap`, the difference of the two J. `episodes` per opponent are played if there is no
    enumeration. The rows of `every` come last.
    """
    both = {"train": game.train_weights, "evaluation": game.evaluation_weights}
    if game.enumeration is not None:
        values, family = _enumerated(game, pools)
        family_name = "enumerated"
        names = [spell(game, p_IA) for p_IA in family]
    else:
        scripted = scripts(game)
        values, names, family_name = _played(game, pools, scripted, episodes), list(scripted), "scripted"
    rows = []
    for kind, weights in both.items():
        j = objective.objective(game, values["u"], values["e"], values["c"], values["x"], weights)
        row = {"game": game.name, "pools": pools, "weights": kind}
        row |= {"family": family_name, "strategies": len(values)}
        for label, index in zip(("best_payoff", "best"), best(values, j), strict=True):
            row |= {f"{label}_strategy": names[index], f"{label}_J": j[index]}
            row |= {f"{label}_{term}": values[term][index] for term in tabular.TERMS}
        rows.append(row)
    rows += [
        {"game": game.name, "pools": pools, "weights": kind, "family": "every", "strategies": None} | found
        for kind, found in _of_every_strategy(game, pools, both)
    ]
    table = pd.DataFrame(rows).astype({"strategies": "Int64"})
    return table.assign(gap=table["best_J"] - table["best_payoff_J"])


def run_headroom(
    folder: Path,
    report: Report,
    *,
    game: str,
    pools: str,
    episodes: int,
    labels: dict,
    weights: dict | None = None,
) -> dict:
    """One job: `measure`. Leaves headroom-log.parquet, whose rows also have the columns `labels`."""
    table = measure(games.get(game, weights), pools, episodes).assign(**labels)
    job_tables.save({"headroom": table}, folder, "log")
    report(1, {})
    return {"gap": float(table["gap"][0])}


def _enumerated(game: Game, pools: str) -> tuple[pd.DataFrame, list[np.ndarray]]:
    family = list(tables(game, pools))
    parts = []
    for start in range(0, len(family), AT_ONCE):
        probabilities = torch.as_tensor(np.stack(family[start : start + AT_ONCE]))
        found = tabular.terms(game, pools, probabilities)
        parts.append(pd.DataFrame({term: value.numpy() for term, value in found.items()}))
    return pd.concat(parts, ignore_index=True), family


def _of_every_strategy(
    game: Game, pools: str, weights: Mapping[str, Weights]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of the weights, and columns of `measure`, for all strategies; none if they cannot be searched."""
    tree = None
    if every_strategy.applies_to(game, pools):
        try:
            tree = every_strategy.levels(game, pools)
        except every_strategy.TooManyHistories as error:
            print(f"headroom.csv has no row of every strategy. {error}")
            return
    elif "nashconv" not in game.traits:
        return
    for kind, own in weights.items():
        row: dict[str, Any] = {}
        for label, payoff_first in (("best_payoff", True), ("best", False)):
            if tree is not None:
                found = every_strategy.best(game, own, tree, payoff_first)
                terms, name = found.terms, "by all earlier rounds"
                name += f", {found.mixes} strategies mixed" if found.mixes > 1 else ""
            else:
                best_ = kuhn_optimum.optimum(own, pools, payoff_first=payoff_first)
                values = (best_.payoff, best_.exploit, best_.collusion, 0.0)
                terms = {term: round(value, 9) for term, value in zip(tabular.TERMS, values, strict=True)}
                name = " ".join(f"{abs(p):.3g}" for p in best_.strategy.round(3).ravel())
            row |= {f"{label}_strategy": name}
            row |= {f"{label}_J": objective.objective(game, *terms.values(), own)}
            row |= {f"{label}_{term}": value for term, value in terms.items()}
        yield kind, row


def _played(game: Game, pools: str, family: Mapping[str, Start], episodes: int) -> pd.DataFrame:
    plans = rollouts.plan(
        game, pools, dict.fromkeys(OBJECTIVE_POOLS, episodes), seeds.derive(SEED, "headroom")
    )
    rows = []
    for opponent in family.values():
        measured = measures.measure(game, rollouts.play(ScriptedPolicy(opponent), plans))
        terms = ("payoff", "exploit", "collusion", "externality")
        rows.append({short: measured[name] for short, name in zip(tabular.TERMS, terms, strict=True)})
    return pd.DataFrame(rows)
