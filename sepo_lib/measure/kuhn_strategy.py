"""The strategy of a language model in Kuhn poker, and its NashConv and margins.

A strategy is the probabilities of the actions at the twelve information sets. NashConv and the margins are
exact functions of these probabilities. The probabilities themselves are sampled, with a sampling error, or
enumerated, with a small remainder that is stated (`read_strategy`). It is assumed that the action of the
policy depends on the information set alone, because the prompts show nothing else, and that the same policy
sits in both seats.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from open_spiel.python import policy as spiel_policy
from open_spiel.python.algorithms import exploitability as spiel_exploitability

from sepo_lib import games
from sepo_lib.games.base import Game
from sepo_lib.games.kuhn import BOLD, CARDS, HISTORIES, INFORMATION_SETS, OPENSPIEL_ACTION, engine
from sepo_lib.measure import enumeration, tabular
from sepo_lib.method import seeds
from sepo_lib.method.records import Episode
from sepo_lib.play.policy import LanguageModelPolicy, Query


class Reading(NamedTuple):
    """How a language model's action probabilities are read (see `read_strategy`).

    `samples`: the answers sampled at each information set. `mass`: the probability to enumerate; None
    enumerates nothing. `most_nodes`: the most nodes of the trees of answers that the enumeration may read.
    """

    samples: int
    mass: float | None = None
    most_nodes: int = 0


def game_with_nashconv() -> Game:
    """The registered game that has NashConv. Raises ValueError unless there is exactly one."""
    found = games.having("nashconv")
    if len(found) != 1:
        raise ValueError(f"One game with NashConv is needed here; registered are {[g.name for g in found]}.")
    return found[0]


def read_strategy(policy: LanguageModelPolicy, game: Game, reading: Reading, seed: int) -> pd.DataFrame:
    """A language model's action probabilities at the information sets of `game`, read in up to three ways.

    `sampled`: shares of the actions among free-text answers, with a sampling error. `constrained`: the
    model's distribution over the legal actions as direct answers, which is another policy. `enumerated`:
    free-text answers summed up to the probability `reading.mass` and normalized, without sampling error. The
    rows of `enumerated` are left out without a mass, and if `most_nodes` did not suffice to reach it at
    all sets (see `enumeration.action_distributions`). Columns: reading, state, seat, card, situation, action,
    probability, samples, enumerated_mass (the probability of the answers that were summed at that set; nan
    if nothing was enumerated). Raises ValueError for fewer than 1 sample.
    """
    samples, mass, most_nodes = reading
    if samples < 1:
        raise ValueError("Reading a strategy needs at least 1 sample per information set.")
    information_sets = game.information_sets or ()
    decisions = [(game, view) for _, view in information_sets]
    queries = [
        Query(game, view, seeds.derive(seed, "information set", state, i))
        for state, view in information_sets
        for i in range(samples)
    ]
    answers = policy.answer(queries)
    direct = policy.option_logps(decisions)
    summed = enumeration.action_distributions(policy, decisions, mass, most_nodes) if mass else None
    reached = summed and min(p_A.sum() for p_A in summed) >= mass
    rows = []
    for number, (state, view) in enumerate(information_sets):
        chosen = [a.action for a in answers[number * samples : (number + 1) * samples]]
        readings = {
            "sampled": [chosen.count(action) / samples for action in view.legal],
            "constrained": np.exp(direct[number]),
        }
        if reached:
            readings["enumerated"] = summed[number] / summed[number].sum()
        facts = {
            "state": state,
            "seat": "first" if view.facts["first"] else "second",
            "card": view.facts["card"],
            "situation": "open" if "BET" in view.legal else "facing_bet",
        }
        known = {"enumerated_mass": min(1.0, float(summed[number].sum())) if summed else float("nan")}
        for option, action in enumerate(view.legal):
            for reading, p_A in readings.items():
                probability = {"action": action, "probability": float(p_A[option]), "samples": samples}
                rows.append({"reading": reading, **facts, **probability, **known})
    return pd.DataFrame(rows)


def probabilities(strategy: pd.DataFrame, reading: str) -> dict[str, dict[str, float]]:
    """One reading of a table made by `read_strategy`, in the form that `kuhn_nashconv` takes.

    Raises ValueError for a reading that the table does not have.
    """
    chosen = strategy[strategy["reading"] == reading]
    if chosen.empty:
        raise ValueError(f"The strategy table has no reading '{reading}'.")
    return {
        state: dict(zip(rows["action"], rows["probability"], strict=True))
        for state, rows in chosen.groupby(chosen["state"].astype(str))  # "0", not the 0 of a CSV file
    }


def openspiel_policy(probabilities: Mapping[str, Mapping[str, float]]) -> spiel_policy.TabularPolicy:
    """A Kuhn strategy in both seats, as OpenSpiel's type.

    `probabilities`: OpenSpiel information-state string -> {action word: probability}, all 12 of them.
    Raises ValueError for a missing information set or probabilities that do not sum to 1.
    """
    table = spiel_policy.TabularPolicy(engine())
    for state, view in INFORMATION_SETS:
        if state not in probabilities:
            raise ValueError(f"The strategy lacks information set '{state}' ({view.facts}); it needs all 12.")
        row = probabilities[state]
        if set(row) != set(view.legal) or abs(sum(row.values()) - 1) > 1e-6 or min(row.values()) < 0:
            raise ValueError(f"Information set '{state}' needs probabilities of {view.legal}; found {row}.")
        index = table.state_lookup[state]
        for word, probability in row.items():
            table.action_probability_array[index, OPENSPIEL_ACTION[word]] = probability
    return table


def kuhn_nashconv(probabilities: Mapping[str, Mapping[str, float]]) -> float:
    """NashConv (chips per hand, 0 in equilibrium) of a Kuhn strategy; exploitability is half of it.

    `probabilities` and errors: as for `openspiel_policy`.
    """
    return float(spiel_exploitability.nash_conv(engine(), openspiel_policy(probabilities)))


def nashconv_of_strategy(strategy: pd.DataFrame, reading: str) -> float:
    """NashConv (chips per hand) of one reading of a table made by `read_strategy`."""
    return kuhn_nashconv(probabilities(strategy, reading))


def pool_margins(strategy: pd.DataFrame, reading: str, game: Game, pools: str) -> np.ndarray:
    """The mean margin of each exploiter over a Kuhn strategy (its payoff minus the strategy's, chips per
    hand), shape (K,).

    Every hand is enumerated, because the cards are most of the noise of played hands: 400 episodes leave a
    standard error of 0.05 to a margin. The sampling error of sampled probabilities remains.
    """
    rows = probabilities(strategy, reading)
    table_IA = [[rows[state][word] for word in view.legal] for state, view in INFORMATION_SETS]
    return tabular.margins(game, pools, torch.tensor(table_IA, dtype=torch.float64)).numpy()


def played_strategy(episodes: Sequence[Episode]) -> np.ndarray:
    """How often the policy chose BET or CALL in the hands it played, shape (4, 3): HISTORIES x CARDS.

    These are sampled frequencies with the sampling error of that many decisions, and 1/2 if there was no
    decision.
    """
    bold, decisions = np.zeros((4, 3)), np.zeros((4, 3))
    for hand in (hand for episode in episodes for hand in episode.rounds):
        card, history = CARDS.index(hand.facts["cards"][0]), hand.facts["history"]
        for i in range(hand.facts["first"], len(history), 2):  # the policy's words
            at = HISTORIES.index(history[:i]), card
            decisions[at] += 1
            bold[at] += history[i] in BOLD
    return np.where(decisions > 0, bold / np.maximum(decisions, 1), 0.5)


def mean_margins(game: Game, pools: str, episodes: Sequence[Episode]) -> dict[str, float]:
    """Exploiter -> its mean margin (points per round) over the policy that played `episodes`.

    The cards and the exploiter's draws are enumerated. The policy's strategy is sampled: its frequencies in
    all episodes of the batch, against any opponent (`played_strategy`). So the margins have a sampling error,
    but a far smaller one than the margins that were played. Empty for games without NashConv.
    """
    if "nashconv" not in game.traits:
        return {}
    bold_I = torch.tensor(played_strategy(episodes)).flatten()  # in the order of INFORMATION_SETS
    margin_K = tabular.margins(game, pools, torch.stack([1 - bold_I, bold_I], dim=-1))
    return dict(zip(game.pool(pools, "exploiter"), margin_K.tolist(), strict=True))
