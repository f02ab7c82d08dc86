"""Tabular softmax policies, and J with its gradient by enumeration of the game: no sampling anywhere.

A policy of this kind looks at one information set (what `TABLES` says of each game) and keeps one logit per
legal action of it. Against such a policy every opponent of the train, exploiter and collusive pools is a
finite Markov chain over rounds, a `Chain`: what an opponent remembers is part of the state. Expected payoffs
and rates are then sums over its branches, and autograd in float64 through these sums gives the gradient.

    game      information set                                      sets   legal actions of each
    ipd       the last pair of actions (memory one)                   5   2
    auction   own value of the round, the last opposing bid           8   3
    split     the last opposing demand                               10   9
    kuhn      the words of the hand, own card                        12   2

Axes: `_I` information sets, `_A` actions, `_M` branches, `_S` states of a chain; the rest as in the package.
"""

import functools
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sepo_lib import games
from sepo_lib.games import auction, ipd, kuhn, split
from sepo_lib.games.base import Action, Game, Round, View, Weights
from sepo_lib.method import seeds
from sepo_lib.play.policy import Answer, Query

TERMS = ("u", "e", "c", "x")
POOLS = ("train", "exploiter", "collusive")
InformationSet = Hashable
Opposing = Callable[[Sequence[Action], Sequence[Action]], float]


class Branch(NamedTuple):
    """One way a round can go: its probability apart from the policy (chance moves and the opponent's), the
    policy's decisions in it as (information set, action), and the finished round."""

    probability: float
    decisions: tuple[tuple[InformationSet, Action], ...]
    round: Round


@dataclass(frozen=True)
class Table:
    """How a game is enumerated.

    `legal`: information set -> its legal actions; `observe`: a view of the policy -> its information set;
    `branches`: (game, pools, pool, opponent, rounds so far) -> every way the next round can go; `memory`:
    rounds so far -> all of them that the next rounds can depend on.
    """

    legal: Mapping[InformationSet, tuple[Action, ...]]
    observe: Callable[[View], InformationSet]
    branches: Callable[[Game, str, str, str, Sequence[Round]], Iterator[Branch]]
    memory: Callable[[Sequence[Round]], Hashable]


# ------------------------------------------------------------------------------------ the four games


def _forgiving(p: float) -> Opposing:
    return lambda theirs, own: 1.0 if _cooperated(theirs) else p


def _cooperated(actions: Sequence[Action]) -> bool:
    """True where the last action was to cooperate, or there is none yet."""
    return not actions or actions[-1] == ipd.COOPERATE


#: Opponent of the dilemma -> its probability of cooperating, given the policy's actions and its own so far.
COOPERATION: dict[str, Opposing] = {
    "tit_for_tat": _forgiving(0.0),
    "generous_tit_for_tat": _forgiving(0.25),
    "very_generous_tit_for_tat": _forgiving(0.6),
    "tit_for_two_tats": lambda theirs, own: float(tuple(theirs[-2:]) != (ipd.DEFECT, ipd.DEFECT)),
    "grim": lambda theirs, own: float(ipd.DEFECT not in theirs),
    "random": lambda theirs, own: 0.5,
    "mostly_cooperate": lambda theirs, own: 0.9,
    "always_cooperate": lambda theirs, own: 1.0,
    "always_defect": lambda theirs, own: 0.0,
    "alternator": lambda theirs, own: float(not own or own[-1] == ipd.DEFECT),
}


def _dilemma(game: Game, pools: str, pool: str, opponent: str, rounds: Sequence[Round]) -> Iterator[Branch]:
    game.pool(pools, pool)[opponent]  # raises KeyError for an opponent that the pool does not have
    seen = TABLES["ipd"].observe(game.view(rounds, 0, ipd.ACTIONS))
    p = COOPERATION[opponent]([r.actions[0] for r in rounds], [r.actions[1] for r in rounds])
    for mine, (theirs, probability) in itertools.product(
        ipd.ACTIONS, zip(ipd.ACTIONS, (p, 1.0 - p), strict=True)
    ):
        if probability > 0:
            yield Branch(probability, ((seen, mine),), Round((mine, theirs), ipd.PAYOFFS[mine, theirs]))


def _dilemma_memory(rounds: Sequence[Round]) -> Hashable:
    mine = [r.actions[0] for r in rounds]
    return tuple(mine[-2:]), tuple(r.actions[1] for r in rounds[-1:]), ipd.DEFECT in mine


def _auction(game: Game, pools: str, pool: str, opponent: str, rounds: Sequence[Round]) -> Iterator[Branch]:
    act = game.pool(pools, pool)[opponent](np.random.default_rng(0))  # none of these opponents draws
    wins = [tuple(r.facts["winner"] == player for r in rounds) for player in (0, 1)]
    for values in itertools.product(auction.VALUES, repeat=2):
        views = [
            game.view(rounds, player, auction.ACTIONS, value=values[player], wins=wins[player])
            for player in (0, 1)
        ]
        seen, theirs = TABLES["auction"].observe(views[0]), act(views[1])
        for mine, coin in itertools.product(auction.ACTIONS, (0, 1)):
            won = auction.winner((mine, theirs), coin)
            payoffs = auction.payoffs((mine, theirs), values, won)
            finished = Round((mine, theirs), payoffs, {"values": values, "winner": won})
            yield Branch(1 / 8, ((seen, mine),), finished)


def _split(game: Game, pools: str, pool: str, opponent: str, rounds: Sequence[Round]) -> Iterator[Branch]:
    act = game.pool(pools, pool)[opponent](np.random.default_rng(0))  # none of these opponents draws
    seen = TABLES["split"].observe(game.view(rounds, 0, split.DEMANDS))
    theirs = act(game.view(rounds, 1, split.DEMANDS))
    for mine in split.DEMANDS:
        yield Branch(1.0, ((seen, mine),), Round((mine, theirs), split.payoffs((mine, theirs))))


def _kuhn(game: Game, pools: str, pool: str, opponent: str, rounds: Sequence[Round]) -> Iterator[Branch]:
    game.pool(pools, pool)[opponent]
    bold = dict(zip(kuhn.HISTORIES, kuhn.STRATEGIES[opponent], strict=True))
    first = len(rounds) % 2
    for deal in itertools.permutations(range(3), 2):
        state = kuhn.ENGINE.new_initial_state()
        for card in deal:
            state.apply_action(card)
        yield from _hand(state, deal, first, bold, (), (), 1 / 6)


def _hand(state, deal, first, bold, history, decisions, probability) -> Iterator[Branch]:
    """Every way in which a hand can go on from OpenSpiel's `state`; words as in `games.kuhn`."""
    if state.is_terminal():
        returns = state.returns()
        words = (history[first::2], history[1 - first :: 2])
        yield Branch(probability, decisions, Round(words, (returns[first], returns[1 - first])))
        return
    seat = state.current_player()
    legal = kuhn.FACING if "BET" in history else kuhn.FREE
    for number, word in enumerate(legal):
        then = (state.child(number), deal, first, bold, (*history, word))
        if seat == first:  # the policy
            decision = ((history, kuhn.CARDS[deal[seat]]), word)
            yield from _hand(*then, (*decisions, decision), probability)
        else:
            p = bold[history][deal[seat]]
            p = p if number == 1 else 1.0 - p
            if p > 0:
                yield from _hand(*then, decisions, probability * p)


TABLES: dict[str, Table] = {
    "ipd": Table(
        dict.fromkeys([(), *itertools.product(ipd.ACTIONS, repeat=2)], ipd.ACTIONS),
        lambda view: (*view.mine[-1:], *view.theirs[-1:]),
        _dilemma,
        _dilemma_memory,
    ),
    "auction": Table(
        dict.fromkeys(
            [(v, *last) for v in auction.VALUES for last in ((), *((b,) for b in auction.ACTIONS))],
            auction.ACTIONS,
        ),
        lambda view: (view.facts["value"], *view.theirs[-1:]),
        _auction,
        lambda rounds: tuple(r.actions for r in rounds[-1:]),
    ),
    "split": Table(
        dict.fromkeys([(), *((d,) for d in split.DEMANDS)], split.DEMANDS),
        lambda view: tuple(view.theirs[-1:]),
        _split,
        lambda rounds: (
            tuple(r.actions[1] for r in rounds[-1:]),
            all(split.agreed(r.actions) for r in rounds),
        ),
    ),
    "kuhn": Table(
        {
            (history, card): kuhn.FACING if "BET" in history else kuhn.FREE
            for history in kuhn.HISTORIES
            for card in kuhn.CARDS
        },
        lambda view: (view.facts["history"], view.facts["card"]),
        _kuhn,
        lambda rounds: len(rounds) % 2,
    ),
}


def table(game: str) -> Table:
    """How `game` is enumerated. Raises ValueError, naming the games that are, for one that is not."""
    if game not in TABLES:
        raise ValueError(f"'{game}' has no enumeration; the games that have one are {', '.join(TABLES)}.")
    return TABLES[game]


# ---------------------------------------------------------------------------------------- enumeration


@dataclass(frozen=True)
class Chain:
    """One opponent as a finite Markov chain over rounds, state 0 at the start.

    Branch m leaves state `state_M` (ascending) for `next_M` with `chance_M` times the policy's probability
    of its decisions `decisions_MD`: indices into the flat (I * A) table, `I * A` where there is no more.
    `own_M`, `other_M` (points), `collusion_M` and `externality_M` are those of the round.
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


@functools.cache
def chain(game_name: str, pools: str, pool: str, opponent: str) -> Chain:
    """The chain of one opponent: every state that can be reached, found breadth first.

    Raises ValueError for a game without an enumeration, KeyError for an opponent that the pool lacks.
    """
    how, game = table(game_name), games.get(game_name)
    index = {i: number for number, i in enumerate(how.legal)}
    width = max(map(len, how.legal.values()))
    seen: dict[Hashable, int] = {how.memory(()): 0}
    queue: list[tuple[Round, ...]] = [()]
    rows = []
    for state, rounds in enumerate(queue):  # grows while it is read
        for branch in how.branches(game, pools, pool, opponent, rounds):
            after = (*rounds, branch.round)
            memory = how.memory(after)
            if memory not in seen:
                seen[memory] = len(seen)
                queue.append(after)
            decisions = [index[i] * width + how.legal[i].index(a) for i, a in branch.decisions]
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


def expectations(of: Chain, probabilities: torch.Tensor, rounds: int) -> torch.Tensor:
    """Expected means per round of own payoff, other payoff, collusion and externality, shape (..., 4)."""
    p_M = branch_probabilities(of, probabilities)
    state, after = torch.as_tensor(of.state_M), torch.as_tensor(of.next_M)
    values = torch.as_tensor(np.stack([of.own_M, of.other_M, of.collusion_M, of.externality_M], axis=1))
    reach = p_M.new_zeros((*p_M.shape[:-1], of.states))
    reach[..., 0] = 1.0
    total = torch.zeros_like(p_M)
    for _ in range(rounds):
        flow = reach[..., state] * p_M
        total = total + flow
        reach = torch.zeros_like(reach).index_add(-1, after, flow)
    return total @ values / rounds


def margins(game: Game, pools: str, probabilities: torch.Tensor) -> torch.Tensor:
    """Expected margin (opponent's minus own payoff, points per round) of every exploiter, shape (..., K)."""
    means = [
        expectations(chain(game.name, pools, "exploiter", opponent), probabilities, game.rounds)
        for opponent in game.pool(pools, "exploiter")
    ]
    return torch.stack([mean[..., 1] - mean[..., 0] for mean in means], dim=-1)


def terms(game: Game, pools: str, probabilities: torch.Tensor) -> dict[str, torch.Tensor]:
    """The exact u, e, c and x of policies given by their probabilities, (..., I, A) to (...) each.

    They are what `objective.payoff`, `exploit`, `collusion` and `externality` estimate: e takes
    max(0, expected margin) exploiter by exploiter. Raises ValueError for a game without an enumeration.
    """
    mean = {
        pool: torch.stack(
            [
                expectations(chain(game.name, pools, pool, opponent), probabilities, game.rounds)
                for opponent in game.pool(pools, pool)
            ],
            dim=-2,
        )
        for pool in POOLS
    }
    hurt = torch.cat([mean["train"], mean["exploiter"]], dim=-2)
    return {
        "u": mean["train"][..., 0].mean(-1),
        "e": torch.relu(mean["exploiter"][..., 1] - mean["exploiter"][..., 0]).mean(-1),
        "c": mean["collusive"][..., 2].mean(-1),
        "x": hurt[..., 3].mean(-1),
    }


def coefficients(game: Game, weights: Weights) -> dict[str, float]:
    """What J multiplies each term with: J = sum over terms of coefficient times term (METHOD section 2)."""
    s = game.scale
    return {"u": s, "e": -weights.exploit * s, "c": -weights.collusion, "x": -weights.externality}


# -------------------------------------------------------------------------------------------- policies


class TabularPolicy:
    """A softmax policy with one logit per information set and action: `logits_IA`, -inf where illegal.

    It implements `Policy`. Raises ValueError for a game without an enumeration or a wrong shape.
    """

    def __init__(self, game: Game, logits_IA: np.ndarray):
        self.game, self._table = game, table(game.name)
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
    """J and its terms at one policy. `values`: J, u, e, c, x. `gradients`: by the same names, the gradient
    with respect to the logits, shape (I, A), of J and of each term's contribution to J (its coefficient and
    sign included, so that the four add up to that of J). `margins`: exploiter -> expected margin."""

    values: dict[str, float]
    gradients: dict[str, np.ndarray]
    margins: dict[str, float]


def exact(policy: TabularPolicy, pools: str, weights: Weights | None = None) -> Exact:
    """J (with `weights`, by default the training weights), its terms and their exact gradients.

    Where a margin is exactly 0, e has no gradient; the one given is that of the side on which e is 0.
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
