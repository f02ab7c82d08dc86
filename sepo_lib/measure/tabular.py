"""Tabular softmax policies, and J with its gradient by enumeration of the game: no sampling anywhere.

A tabular policy keeps one logit for every legal action of every information set of the game's `Enumeration`.
Against such a policy, every opponent of the train, exploiter and collusive pools is a finite Markov chain
over rounds, a `Chain`: what an opponent remembers is part of the state. Expected payoffs and rates are sums
over the branches of the chain, and autograd in float64 through these sums gives the gradient.

    game      information set                                      sets   legal actions of each
    ipd       the last pair of actions (memory one)                   5   2
    auction   own value of the round, the last opposing bid           8   3
    split     the last opposing demand                               10   9
    kuhn      the words of the hand, own card                        12   2

Axes: `_I` information sets, `_A` actions, `_M` branches, `_S` states of a chain; the rest as in the package.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from sepo_lib import games
from sepo_lib.games.base import OBJECTIVE_POOLS, Enumeration, Game, Round, Weights
from sepo_lib.method import seeds
from sepo_lib.play.policy import Answer, Query

TERMS = ("u", "e", "c", "x")


def enumeration(game: Game) -> Enumeration:
    """How `game` is enumerated. Raises ValueError, naming the games that are, for one that is not."""
    if game.enumeration is None:
        choices = ", ".join(other.name for other in games.having("enumerable"))
        raise ValueError(f"'{game.name}' has no enumeration; the games that have one are {choices}.")
    return game.enumeration


# ---------------------------------------------------------------------------------------- enumeration


@dataclass(frozen=True)
class Chain:
    """One opponent as a finite Markov chain over rounds that starts in state 0.

    Branch m leads from state `state_M` (ascending) to `next_M`. Its probability is `chance_M` times the
    policy's probability of the decisions `decisions_MD`, indices into the flat (I * A) table, padded with
    `I * A`. `own_M`, `other_M` (points), `collusion_M` and `externality_M` are those of the round.
    """

    states: int
    state_M: np.ndarray
    next_M: np.ndarray
    chance_M: np.ndarray
    decisions_MD: np.ndarray
    own_M: np.ndarray
    other_M: np.ndarray
    collusion_M: np.ndarray
    externality_M: np.ndarray


def chain(game_name: str, pools: str, pool: str, opponent: str) -> Chain:
    """The chain of one opponent: every state that can be reached, found breadth first.

    Raises ValueError for a game without an enumeration and for an opponent that draws while it is enumerated,
    KeyError for an opponent that the pool lacks.
    """
    return _chain(games.get(game_name), pools, pool, opponent)


@functools.lru_cache(maxsize=512)
def _chain(game: Game, pools: str, pool: str, opponent: str) -> Chain:
    spec, met = enumeration(game), game.pool(pools, pool)[opponent]
    met = replace(met, start=lambda rng, start=met.start: start(_NoDraws(f"{game.name}'s '{opponent}'")))
    index = {i: number for number, i in enumerate(spec.legal)}
    width = max(map(len, spec.legal.values()))
    seen: dict[Hashable, int] = {spec.memory(()): 0}
    queue: list[tuple[Round, ...]] = [()]
    rows = []
    for state, rounds in enumerate(queue):  # grows while it is read
        if len(rounds) == game.rounds:
            continue  # the episode is over, and no earlier round leads to this state
        for branch in spec.branches(game, met, rounds):
            after = (*rounds, branch.round)
            memory = spec.memory(after)
            if memory not in seen:
                seen[memory] = len(seen)
                queue.append(after)
            decisions = [index[i] * width + spec.legal[i].index(a) for i, a in branch.decisions]
            values = (
                *branch.round.payoffs,
                game.collusion([branch.round])[0],
                game.externality([branch.round])[0],
            )
            rows.append((state, seen[memory], branch.probability, decisions, values))
    most = max(len(row[3]) for row in rows)
    none = len(index) * width
    return Chain(
        len(seen),
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows]),
        np.array([row[3] + [none] * (most - len(row[3])) for row in rows]),
        *np.array([row[4] for row in rows], dtype=float).T,
    )


def branch_probabilities(of: Chain, probabilities: torch.Tensor) -> torch.Tensor:
    """P(branch | its state), shape (..., M), under a policy's probabilities of shape (..., I, A)."""
    flat = probabilities.flatten(-2)
    flat = torch.cat([flat, torch.ones_like(flat[..., :1])], dim=-1)
    taken = flat[..., torch.as_tensor(of.decisions_MD)].prod(dim=-1)
    return torch.as_tensor(of.chance_M) * taken


def branch_counts(of: Chain, probabilities: torch.Tensor, rounds: int) -> torch.Tensor:
    """How often each branch is taken in an episode of `rounds` rounds, on average, shape (..., M)."""
    p_M = branch_probabilities(of, probabilities)
    state, after = torch.as_tensor(of.state_M), torch.as_tensor(of.next_M)
    reach = p_M.new_zeros((*p_M.shape[:-1], of.states))
    reach[..., 0] = 1.0
    total = torch.zeros_like(p_M)
    for _ in range(rounds):
        flow = reach[..., state] * p_M
        total = total + flow
        reach = torch.zeros_like(reach).index_add(-1, after, flow)
    return total


def expectations(of: Chain, probabilities: torch.Tensor, rounds: int) -> torch.Tensor:
    """Expected means per round of own payoff, other payoff, collusion and externality, shape (..., 4)."""
    values = torch.as_tensor(np.stack([of.own_M, of.other_M, of.collusion_M, of.externality_M], axis=1))
    return branch_counts(of, probabilities, rounds) @ values / rounds


def visits(game: Game, pools: str, probabilities: torch.Tensor) -> torch.Tensor:
    """The expected number of decisions at each information set in one episode against every opponent of the
    three pools, shape (..., I)."""
    width = probabilities.shape[-1]
    total = torch.zeros_like(probabilities).sum(-1)
    padded = torch.cat([total, total[..., :1]], dim=-1)
    for pool in OBJECTIVE_POOLS:
        for opponent in game.pool(pools, pool):
            of = _chain(game, pools, pool, opponent)
            counts_M = branch_counts(of, probabilities, game.rounds)
            for column in of.decisions_MD.T:
                padded = padded.index_add(-1, torch.as_tensor(column // width), counts_M)
    return padded[..., :-1]


def margins(game: Game, pools: str, probabilities: torch.Tensor) -> torch.Tensor:
    """Expected margin (opponent's minus own payoff, points per round) of every exploiter, shape (..., K)."""
    means = [
        expectations(_chain(game, pools, "exploiter", opponent), probabilities, game.rounds)
        for opponent in game.pool(pools, "exploiter")
    ]
    return torch.stack([mean[..., 1] - mean[..., 0] for mean in means], dim=-1)


def terms(game: Game, pools: str, probabilities: torch.Tensor) -> dict[str, torch.Tensor]:
    """The exact u, e, c and x, of shape (...), of policies whose probabilities have the shape (..., I, A).

    `objective.payoff`, `exploit`, `collusion` and `externality` estimate them. e is the mean over exploiters
    of max(0, expected margin). Raises ValueError for a game without an enumeration.
    """
    mean = {
        pool: torch.stack(
            [
                expectations(_chain(game, pools, pool, opponent), probabilities, game.rounds)
                for opponent in game.pool(pools, pool)
            ],
            dim=-2,
        )
        for pool in OBJECTIVE_POOLS
    }
    charged = torch.cat([mean["train"], mean["exploiter"]], dim=-2)
    return {
        "u": mean["train"][..., 0].mean(-1),
        "e": torch.relu(mean["exploiter"][..., 1] - mean["exploiter"][..., 0]).mean(-1),
        "c": mean["collusive"][..., 2].mean(-1),
        "x": charged[..., 3].mean(-1),
    }


def coefficients(game: Game, weights: Weights) -> dict[str, float]:
    """The coefficient of each term in J, which is the sum of coefficient times term."""
    s = game.scale
    return {"u": s, "e": -weights.exploit * s, "c": -weights.collusion, "x": -weights.externality}


# -------------------------------------------------------------------------------------------- policies


class TabularPolicy:
    """A softmax policy with one logit per information set and action: `logits_IA`, -inf if illegal.

    It implements `Policy`. Raises ValueError for a game without an enumeration or a wrong shape.
    """

    def __init__(self, game: Game, logits_IA: np.ndarray):
        self.game, self._table = game, enumeration(game)
        shape = (len(self._table.legal), max(map(len, self._table.legal.values())))
        self.logits_IA = np.array(logits_IA, dtype=float)
        if self.logits_IA.shape != shape:
            raise ValueError(
                f"A table for {game.name} has logits of shape {shape}, not {self.logits_IA.shape}."
            )
        self._index = {i: number for number, i in enumerate(self._table.legal)}

    @property
    def probabilities_IA(self) -> np.ndarray:
        """The probability of each action at each information set, shape (I, A)."""
        return torch.softmax(torch.as_tensor(self.logits_IA), dim=-1).numpy()

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """See `Policy.answer`. Raises ValueError for a query of another game."""
        p_IA = self.probabilities_IA
        answers = []
        for query in queries:
            if query.game.name != self.game.name:
                raise ValueError(f"A table for {self.game.name} cannot play {query.game.name}.")
            seen = self._table.observe(query.view)
            p_A = p_IA[self._index[seen], : len(query.view.legal)]
            drawn = seeds.generator(query.seed, "table").choice(len(p_A), p=p_A / p_A.sum())
            answers.append(Answer(self._table.legal[seen][drawn]))
        return answers


class Exact(NamedTuple):
    """J and its terms at one policy.

    `values`: J, u, e, c, x. `gradients`: by the same names, the gradient with respect to the logits, shape
    (I, A), of J and of each term's contribution to J. A contribution includes its coefficient and sign, so
    that the four gradients add up to that of J. `margins`: exploiter -> expected margin.
    """

    values: dict[str, float]
    gradients: dict[str, np.ndarray]
    margins: dict[str, float]


def exact(policy: TabularPolicy, pools: str, weights: Weights | None = None) -> Exact:
    """J (with `weights`, by default the training weights), its terms and their exact gradients.

    If a margin is exactly 0, e has no gradient; the returned one is that of the side on which e is 0.
    """
    game = policy.game
    logits = torch.tensor(policy.logits_IA, requires_grad=True)
    probabilities = torch.softmax(logits, dim=-1)
    found = terms(game, pools, probabilities)
    factor = coefficients(game, weights or game.train_weights)
    gradients = {
        term: torch.autograd.grad(factor[term] * found[term], logits, retain_graph=True)[0].numpy()
        for term in TERMS
    }
    ahead = margins(game, pools, probabilities).tolist()
    values = {term: found[term].item() for term in TERMS}
    j = sum(factor[term] * values[term] for term in TERMS)
    return Exact(
        {"J": j, **values},
        {"J": sum(gradients.values()), **gradients},
        dict(zip(game.pool(pools, "exploiter"), ahead, strict=True)),
    )


class _NoDraws:
    """Takes the place of an opponent's generator, because an enumeration must not depend on one draw."""

    def __init__(self, opponent: str):
        self._opponent = opponent

    def __getattr__(self, method: str) -> Any:
        raise ValueError(
            f"The opponent {self._opponent} draws random numbers, so its game cannot be enumerated; give it "
            "`odds` that the game's `Enumeration.branches` reads, or move it to the shift pool."
        )
