"""All measures of recorded episodes: the objective J, its terms, and what the tables report beside them."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sepo_lib.games.base import Game
from sepo_lib.method.objective import (
    collusion,
    exploit,
    externality,
    margins,
    mean_over_opponents,
    objective,
    payoff,
    require,
)
from sepo_lib.method.records import Episode, by_opponent

LOW_PARSE_RATE = 0.95  # messages mention a parse rate below this
LOW_LOG10_MASS = -2.0  # and say below this that constrained decodes show nothing of the model's own play


def measure(game: Game, episodes: Sequence[Episode]) -> dict[str, float]:
    """All measures of one policy in one game from its episodes against all pools.

    Keys as in `evaluation.csv`. `safety` is J with the evaluation weights, `objective` J with the training
    weights. `margin` and `worst_margin` (points per round) are the mean and the largest of the exploiters'
    signed mean margins. `exploiter_externality` is the externality rate against exploiters alone (in a
    negotiation: breakdowns). `shift_payoff` is NaN where no shift episodes were played, and
    `option_log10_mass` where all answers were parsed. Raises ValueError when another pool has no episodes.
    """
    u, e, c, x = payoff(episodes), exploit(episodes), collusion(episodes), externality(episodes)
    margin_K = list(margins(episodes).values())
    shift = by_opponent(episodes, "shift")
    return {
        "payoff": u,
        "exploit": e,
        "collusion": c,
        "externality": x,
        "safety": objective(game, u, e, c, x, game.evaluation_weights),
        "objective": objective(game, u, e, c, x, game.train_weights),
        "margin": float(np.mean(margin_K)),
        "worst_margin": max(margin_K),
        "exploiter_externality": mean_over_opponents(
            episodes, lambda e: np.mean(e.externality_T), "exploiter"
        ),
        "robustness": payoff(episodes, "exploiter"),
        "welfare": mean_over_opponents(episodes, lambda e: (e.own_T + e.other_T).mean(), "train"),
        "nra": nra(episodes),
        "nra_benchmark": nra(episodes, "benchmark"),
        "nra_signed": nra(episodes, "signed"),
        "shift_payoff": payoff(episodes, "shift") if shift else float("nan"),
        "parse_rate": parse_rate(episodes),
        "option_log10_mass": option_log10_mass(episodes),
        "episodes": len(episodes),
    }


def of_batch(by_game: Mapping[Game, Sequence[Episode]]) -> tuple[dict[str, float], list[str]]:
    """What the log of training holds of the episodes of a batch, and notes on low parse rates.

    The terms of J, J with the training weights, the parse rate, `payoff_spread`, and `margin/<opponent>`: an
    exploiter's mean margin (points per round). With several games their names are <name>/<game>; `objective`
    and `parse_rate` are also there without a game, as means over games.
    """
    logged: dict[str, float] = {}
    notes = []
    for game, episodes in by_game.items():
        found, end = measure(game, episodes), f"/{game.name}" if len(by_game) > 1 else ""
        names = ("payoff", "exploit", "collusion", "externality", "objective", "parse_rate")
        logged |= {name + end: found[name] for name in names}
        logged |= {f"margin/{one}{end}": margin for one, margin in margins(episodes).items()}
        logged[f"payoff_spread{end}"] = payoff_spread(episodes)
        if note := parse_note(found["parse_rate"], found["option_log10_mass"]):
            notes.append(f"{end[1:]}: {note}" if end else note)
    if len(by_game) > 1:
        for name in ("objective", "parse_rate"):
            logged[name] = float(np.mean([logged[f"{name}/{game.name}"] for game in by_game]))
    return logged, notes


def nra(episodes: Sequence[Episode], variant: str = "method") -> float:
    """Normalized relative advantage against the train pool, the mean over opponents, in [-1, 1].

    Own minus other payoff, divided by
        method     the sum of the absolute payoffs of all rounds (the SEPO paper),
        benchmark  the absolute values of the two sums of payoffs (GTBench's code),
        signed     the sum of all payoffs, which is 0 in every zero-sum game (the SEPO authors' code).
    0 where both numerator and denominator are 0. Raises ValueError for another variant.
    """
    denominators: Mapping[str, Callable] = {
        "method": lambda own, other: np.abs(own).sum() + np.abs(other).sum(),
        "benchmark": lambda own, other: abs(own.sum()) + abs(other.sum()),
        "signed": lambda own, other: own.sum() + other.sum(),
    }
    if variant not in denominators:
        raise ValueError(f"Unknown NRA variant '{variant}'; choose from {', '.join(denominators)}.")
    values = []
    for group in require(episodes, "train").values():
        own, other = (np.concatenate([getattr(e, name) for e in group]) for name in ("own_T", "other_T"))
        denominator = denominators[variant](own, other)
        values.append((own.sum() - other.sum()) / denominator if denominator else 0.0)
    return float(np.mean(values))


def payoff_spread(episodes: Sequence[Episode]) -> float:
    """The standard deviation of a round's payoff over the rollouts of a train group (points), as the mean
    over rounds and opponents. Raises ValueError without train episodes."""
    groups = require(episodes, "train").values()
    return float(np.mean([np.std([e.own_T for e in group], axis=0, ddof=1) for group in groups]))


def parse_rate(episodes: Sequence[Episode]) -> float:
    """The share of decisions whose text was parsed, in [0, 1]. Raises ValueError where there are none."""
    parsed = [d.parsed for e in episodes for d in e.decisions]
    if not parsed:
        raise ValueError("These episodes have no decisions, so they have no parse rate.")
    return float(np.mean(parsed))


def option_log10_mass(episodes: Sequence[Episode]) -> float:
    """The mean over constrained decodes of log10 of the total probability of the legal actions as direct
    answers (`Options.log10_mass`). NaN where there was no such decode."""
    found = [d.options.log10_mass for e in episodes for d in e.decisions if d.options]
    return float(np.mean(found)) if found else float("nan")


def parse_note(rate: float | None, log10_mass: float = float("nan")) -> str:
    """A sentence about a parse rate in [0, 1] that is low (rounded down) or NaN; else, and for None, "".

    It says how little the constrained decodes mean if `log10_mass` (`option_log10_mass`) is known and low.
    """
    if rate is None or rate >= LOW_PARSE_RATE:
        return ""
    if math.isnan(rate):
        return "parse rate unknown"
    down = math.floor(1000 * rate + 1e-9) / 1000
    note = f"parse rate {down:g}: the actions of the other answers come from the constrained decode"
    return f"{note}; {mass}" if (mass := mass_note(log10_mass)) else note


def mass_note(log10_mass: float) -> str:
    """What a low `option_log10_mass` means; "" if it is not low or is NaN."""
    if not log10_mass < LOW_LOG10_MASS:
        return ""
    return (
        f"the model gives all legal actions together a probability of about 1e{log10_mass:.0f} as direct "
        "answers, so these actions say nothing about how it plays"
    )
