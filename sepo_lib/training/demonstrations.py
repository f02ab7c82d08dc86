"""Expert and naive episodes as chat examples: the data for SFT and for pre-training the base model.

An episode draws one strategy from the game's mixture (`Game.experts` or `Game.naive`) and one opponent,
uniformly from the paper's train, exploiter and collusive pools and a random opponent that makes the states
diverse. No opponent of the shift pool is met. Every decision becomes one example. Its answer is the
strategy's reason, a line break and the action. An expert's reason states only what holds for its strategy in
that state; a naive reason states nothing about either.
"""

import datasets
import numpy as np

from sepo_lib import games as games_
from sepo_lib.games.base import OBJECTIVE_POOLS, Game, play_out
from sepo_lib.games.players import Act, Action, Mixture, Rng, Start, Strategy, View
from sepo_lib.method.seeds import generator

KINDS = ("expert", "naive")
SPLITS = ("train", "valid")
RANDOM_MIX = "random_mix"  # the name of the random opponent


def mixture(game: str, kind: str = "expert") -> Mixture:
    """The strategies of `game` with their shares of the episodes (docs/method.md, "Demonstrations").

    Raises ValueError if the game or the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"'{kind}' is no kind of demonstration; choose one of {list(KINDS)}.")
    found = games_.get(game)
    return found.experts if kind == "expert" else found.naive


def opponents(game: str) -> dict[str, Start]:
    """The opponents of the paper's train, exploiter and collusive pools, each once, and a random one."""
    pools = [games_.get(game).pool("paper", pool) for pool in OBJECTIVE_POOLS]
    found = {name: opponent for pool in pools for name, opponent in pool.items()}
    return {**found, RANDOM_MIX: _random_mix}


def episode(
    game: Game, strategy: Strategy, opponent: Start, own: Rng, other: Rng, chance: Rng
) -> list[tuple[View, Action, str]]:
    """One episode of `strategy` (player 0) against `opponent`: its decisions as (view, action, reason).

    Raises ValueError if the strategy or the opponent chooses an action that is not legal.
    """
    decisions: list[tuple[View, Action, str]] = []

    def decide(view: View) -> Action:
        action, reason = strategy(view, own)
        decisions.append((view, action, reason))
        return action

    play_out(game.play(chance), {0: decide, 1: opponent(other)})
    return decisions


def build(game: str, examples: int, seed: int, kind: str = "expert") -> datasets.Dataset:
    """Exactly `examples` decisions of demonstration episodes (the last episode may be cut short).

    Columns: game, strategy, opponent, episode and round (indices from 0), prompt (system and user message),
    completion (one assistant message), split. A fifth of the episodes, and at least one if there are two
    or more, is `valid`; no episode is in both splits. Raises ValueError on an unknown game or kind, or fewer
    than one example.
    """
    if examples < 1:
        raise ValueError(f"At least one example is needed, not {examples}.")
    domain, strategies, others = games_.get(game), mixture(game, kind), opponents(game)
    names, shares = list(strategies), np.array([share for share, _ in strategies.values()])
    rows, number = [], 0
    while len(rows) < examples:
        path = ("demonstrations", kind, game, number)
        draw = generator(seed, *path, "draw")
        name = names[int(draw.choice(len(names), p=shares / shares.sum()))]
        opponent = list(others)[int(draw.integers(len(others)))]
        streams = (generator(seed, *path, stream) for stream in ("own", "other", "chance"))
        for view, action, reason in episode(domain, strategies[name][1], others[opponent], *streams):
            answer = f"{reason}\n{domain.spell(action)}"
            row = {"game": game, "strategy": name, "opponent": opponent, "episode": number}
            row |= {"round": view.round, "prompt": domain.messages(view)}
            rows.append(row | {"completion": [{"role": "assistant", "content": answer}]})
        number += 1
    order = generator(seed, "demonstrations", kind, game, "split").permutation(number)
    valid = set(order[: max(int(number > 1), round(number / 5))].tolist())
    rows = [{**row, "split": SPLITS[row["episode"] in valid]} for row in rows[:examples]]
    return datasets.Dataset.from_list(rows)


def _random_mix(rng: Rng) -> Act:
    """A random opponent that draws its action probabilities once per episode, uniformly from the simplex.

    They are not all equal, because the shift pools of two games hold out the opponent that plays uniformly.
    """
    odds: dict[tuple[Action, ...], np.ndarray] = {}

    def act(view: View) -> Action:
        if view.legal not in odds:
            odds[view.legal] = rng.dirichlet(np.ones(len(view.legal)))
        return view.legal[int(rng.choice(len(view.legal), p=odds[view.legal]))]

    return act
