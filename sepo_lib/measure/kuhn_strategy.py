"""Kuhn poker, enumerated: NashConv and margins of a policy from its action probabilities at the twelve
information sets.

These are exact functions of the twelve probabilities. The probabilities of a language model are enumerated,
with a small remainder that is stated, or sampled, with a sampling error (`kuhn_strategy`). A measure is as
exact as they are. Assumes that the policy's action depends on the information set alone (the kit's prompts
show nothing else), and that the same policy sits in both seats.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyspiel
import torch
from open_spiel.python import policy as spiel_policy
from open_spiel.python.algorithms import exploitability as spiel_exploitability

from sepo_lib import games
from sepo_lib.games.base import Game
from sepo_lib.games.kuhn import CARDS, HISTORIES, INFORMATION_SETS, OPENSPIEL_ACTION
from sepo_lib.measure import enumeration, tabular
from sepo_lib.method import seeds
from sepo_lib.method.records import Episode
from sepo_lib.play.policy import LanguageModelPolicy, Query

_GAME = pyspiel.load_game("kuhn_poker")


def openspiel_policy(probabilities: Mapping[str, Mapping[str, float]]) -> spiel_policy.TabularPolicy:
    """A Kuhn strategy in OpenSpiel's form, in both seats.

    `probabilities`: OpenSpiel information-state string -> {action word: probability}, all 12 of them.
    Raises ValueError for a missing information set or probabilities that do not sum to 1.
    """
    table = spiel_policy.TabularPolicy(_GAME)
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
    return float(spiel_exploitability.nash_conv(_GAME, openspiel_policy(probabilities)))


class Reading(NamedTuple):
    """How a language model's action probabilities are read (see `kuhn_strategy`): answers sampled at each
    information set; the probability mass to enumerate (None: nothing is enumerated); and the most nodes of
    the trees of answers that are read for it."""

    samples: int
    mass: float | None = None
    most_nodes: int = 0


def kuhn_strategy(
    policy: LanguageModelPolicy, samples: int, seed: int, mass: float | None = None, most_nodes: int = 0
) -> pd.DataFrame:
    """A language model's action probabilities at the 12 information sets, read in up to three ways.

    `sampled`: shares of the actions among `samples` free-text answers per information set, so with a sampling
    error; `constrained`: the model's distribution over the legal actions as direct answers, which is another
    policy; `enumerated`: free-text answers summed up to the probability `mass`, normalized, with no sampling
    error. The rows of `enumerated` are left out without a `mass`, and where `most_nodes` did not reach it at
    all 12 sets (see `enumeration.action_distributions`). Columns: reading, state, seat, card, situation,
    action, probability, samples, enumerated_mass (the probability of the answers that were summed at that
    set; nan where nothing was). Raises ValueError when samples < 1.
    """
    if samples < 1:
        raise ValueError("kuhn_strategy needs at least 1 sample per information set.")
    game = games.get("kuhn")
    decisions = [(game, view) for _, view in INFORMATION_SETS]
    queries = [
        Query(game, view, seeds.derive(seed, "information set", state, i))
        for state, view in INFORMATION_SETS
        for i in range(samples)
    ]
    answers = policy.answer(queries)
    direct = policy.option_logps(decisions)
    summed = enumeration.action_distributions(policy, decisions, mass, most_nodes) if mass else None
    reached = summed and min(p_A.sum() for p_A in summed) >= mass
    rows = []
    for number, (state, view) in enumerate(INFORMATION_SETS):
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
    """One reading of a table made by `kuhn_strategy`, in the form that `kuhn_nashconv` takes.

    Raises ValueError for a reading that the table does not have.
    """
    chosen = strategy[strategy["reading"] == reading]
    if chosen.empty:
        raise ValueError(f"The strategy table has no reading '{reading}'.")
    return {
        state: dict(zip(rows["action"], rows["probability"], strict=True))
        for state, rows in chosen.groupby(chosen["state"].astype(str))  # "0", not the 0 of a CSV file
    }


def nashconv_of_strategy(strategy: pd.DataFrame, reading: str) -> float:
    """NashConv (chips per hand) of one reading of a table made by `kuhn_strategy`."""
    return kuhn_nashconv(probabilities(strategy, reading))


def pool_margins(strategy: pd.DataFrame, reading: str, pools: str) -> np.ndarray:
    """What each exploiter wins more than a Kuhn strategy does, its mean margin in chips per hand, shape (K,).

    Every hand is enumerated. The cards are most of the noise of played hands: 400 episodes leave a standard
    error of 0.05 to a margin. Where the probabilities are sampled, their sampling error is left.
    """
    rows = probabilities(strategy, reading)
    table_IA = [[rows[state][word] for word in view.legal] for state, view in INFORMATION_SETS]
    table = torch.tensor(table_IA, dtype=torch.float64)
    return tabular.margins(games.get("kuhn"), pools, table).numpy()


def pool_advantage(strategy: pd.DataFrame, reading: str, pools: str) -> float:
    """e of METHOD section 2 (chips per hand) of a Kuhn strategy against the exploiter pool: the mean over
    exploiters of max(0, mean margin); see `pool_margins`."""
    return float(np.maximum(pool_margins(strategy, reading, pools), 0).mean())


def played_strategy(episodes: Sequence[Episode]) -> np.ndarray:
    """How often the policy chose BET or CALL in hands that were played, shape (4, 3): HISTORIES x CARDS.

    These are sampled frequencies, with the sampling error of that many decisions. 1/2 where it had nothing to
    decide.
    """
    bold, decisions = np.zeros((4, 3)), np.zeros((4, 3))
    for hand in (hand for episode in episodes for hand in episode.rounds):
        card, history = CARDS.index(hand.facts["cards"][0]), hand.facts["history"]
        for i in range(hand.facts["first"], len(history), 2):  # the policy's words
            at = HISTORIES.index(history[:i]), card
            decisions[at] += 1
            bold[at] += history[i] in ("BET", "CALL")
    return np.where(decisions > 0, bold / np.maximum(decisions, 1), 0.5)


def mean_margins(game: Game, pools: str, episodes: Sequence[Episode]) -> dict[str, float]:
    """Exploiter -> its mean margin (points per round) against the policy that played `episodes`, with cards
    and the exploiter's draws enumerated. Empty for games whose prompts are not the states of an enumeration.

    The policy's strategy is sampled: its frequencies in all episodes of the batch, whoever they were played
    against (`played_strategy`). So the margins have a sampling error, far smaller than that of the margins
    that were played.
    """
    if game.name != "kuhn":
        return {}
    bold_I = torch.tensor(played_strategy(episodes)).flatten()  # in the order of INFORMATION_SETS
    margin_K = tabular.margins(game, pools, torch.stack([1 - bold_I, bold_I], dim=-1))
    return dict(zip(game.pool(pools, "exploiter"), margin_K.tolist(), strict=True))
