"""The check of a game: its prompts, parser, opponents and strategies, in play with a random player."""

import contextlib
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sepo_lib.config.errors import InputError
from sepo_lib.games.base import Action, Game, Opponent, Round, play_out
from sepo_lib.games.players import Strategy, View, any_legal
from sepo_lib.method.seeds import generator

#: The largest number of words of a game's rules: prompts have to fit into the context of a small model.
MOST_WORDS = 65
#: Episodes of random play against each opponent.
EPISODES = 20
#: The methods of a game that return one number from 0 to 1 per round.
RATES = ("collusion", "externality")

#: The folders of the kit and of libraries; a source elsewhere is a user's game.
_LIBRARIES = {Path(__file__).resolve().parents[1]}
_LIBRARIES |= {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
_OF_A_ROUND = {one.name for one in fields(Round)}


def check(game: Game) -> pd.DataFrame:
    """Play a game with its experts and with a random player: one row per opponent, if nothing is wrong.

    Columns: pools, pool, opponent, description; then the means of a random player against this opponent:
    payoff and other_payoff (points per round), collusion and externality (rates from 0 to 1). Raises
    InputError, one sentence, for the first fault. It cannot see whether the rules state the right payoffs.
    """
    rules = game.rules()
    if len(rules.split()) > MOST_WORDS:
        raise InputError(
            f"The rules of {game.name} have {len(rules.split())} words; shorten them to {MOST_WORDS}."
        )
    if "last line" not in rules:
        raise InputError(f"The rules of {game.name} must ask for the action alone on the last line.")
    rows = []
    for pools, by_pool in game.pools.items():
        for pool, opponents in by_pool.items():
            for name, opponent in opponents.items():
                met = f"of {game.name} against '{name}' ({pool} pool)"
                known = {"pools": pools, "pool": pool, "opponent": name, "description": opponent.description}
                rows.append(known | _random_play(game, opponent, f"Random play {met}"))
                for expert, (_, strategy) in {**game.experts, **game.naive}.items():
                    _demonstrate(game, strategy, opponent, f"The strategy '{expert}' {met}")
    return pd.DataFrame(rows)


def longest_answer(game: Game, tokens_of: Callable[[str], Any]) -> tuple[int, str]:
    """The longest answer of the experts in one episode against every opponent of the pool set `paper`.

    Returns its number of tokens, the end of the answer included, and its text. `tokens_of` turns a text into
    a list of tokens, such as `tokenizer.tokenize`. A model that imitates an answer of more than
    `max_new_tokens` tokens is cut off before the action. Raises InputError as `check` does.
    """
    if "paper" not in game.pools or not game.experts:
        raise InputError(f"{game.name} needs opponents in the pool set `paper`, and experts that meet them.")
    met = [opponent for pool in game.pools["paper"].values() for opponent in pool.values()]
    answers = {
        answer
        for expert, (_, strategy) in game.experts.items()
        for opponent in met
        for answer in _demonstrate(game, strategy, opponent, f"The strategy '{expert}' of {game.name}")
    }
    return max((len(tokens_of(answer)) + 1, answer) for answer in answers)


def _random_play(game: Game, opponent: Opponent, what: str) -> dict[str, float]:
    """The means of a random player, see `check`; `what` begins the sentence of an error."""

    def episodes() -> list[list[Round]]:
        rng = generator(0, game.name)

        def act(view: View) -> Action:
            _check_prompt(game, view)
            return any_legal(view, rng)

        return [play_out(game.play(rng), {0: act, 1: opponent(rng)}) for _ in range(EPISODES)]

    with _explained(what):
        played = episodes()
        if played != episodes():
            raise InputError(f"{what} differs when it is repeated; draw random numbers from `rng` alone.")
        rates = {name: [getattr(game, name)(rounds) for rounds in played] for name in RATES}
    for name, rate_ET in rates.items():
        for rate_T in rate_ET:
            if not _are_rates(rate_T, game.rounds):
                raise InputError(
                    f"{what}: `{name}` must return one number from 0 to 1 for each of the {game.rounds} "
                    f"rounds, not {rate_T}."
                )
    payoff = np.mean([one.payoffs for rounds in played for one in rounds], axis=0)
    means = {"payoff": float(payoff[0]), "other_payoff": float(payoff[1])}
    return means | {name: float(np.mean(rate_ET)) for name, rate_ET in rates.items()}


def _are_rates(rate_T: Any, rounds: int) -> bool:
    try:
        return len(rate_T) == rounds and all(0 <= rate <= 1 for rate in rate_T)
    except (TypeError, ValueError):  # no list, or a list of something else than numbers
        return False


def _check_prompt(game: Game, view: View) -> None:
    """Raise InputError if the situation does not name the legal actions, or if one of them is not parsed."""
    situation = game.situation(view)
    words = [action for action in view.legal if isinstance(action, str)] or [view.legal[-1]]
    for action in words:
        if game.spell(action) not in situation:
            raise InputError(f"The situation of {game.name} must name the action {action!r}: '{situation}'.")
    for action in view.legal:
        if game.parse(game.spell(action), view.legal) != action:
            raise InputError(f"{game.name} cannot parse its own text of the action {action!r}.")


def _demonstrate(game: Game, strategy: Strategy, opponent: Opponent, what: str) -> list[str]:
    """Play one episode of a strategy and return its answers; `what` begins the sentence of an error."""
    rng = generator(0, game.name)
    answers = []

    def act(view: View) -> Action:
        chosen = strategy(view, rng)
        if not isinstance(chosen, tuple | list) or len(chosen) != 2:
            raise InputError(f"{what} must return an action and its reason, not {chosen!r}.")
        action, reason = chosen
        if not isinstance(reason, str) or not reason.strip():
            raise InputError(f"{what} must give its reason as text, not {reason!r}.")
        answers.append(f"{reason}\n{game.spell(action)}")
        return action

    with _explained(what):
        play_out(game.play(rng), {0: act, 1: opponent(rng)})
    return answers


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn an error of the game's code into one sentence that begins with `what`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = str(error).partition("\n")[0].rstrip(".")
        missing = isinstance(error, AttributeError) and error.name in _OF_A_ROUND
        if missing and not isinstance(error.obj, Round):
            text += f"; each round must be a Round, not a {type(error.obj).__name__}"
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_outside(frame.filename)]
        line = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
        raise InputError(f"{what} stops with {type(error).__name__}: {text}{line}.") from error


def _is_outside(file: str) -> bool:
    """Whether a source file is neither the kit's nor a library's: a user's game."""
    path = Path(file)
    return path.is_file() and _LIBRARIES.isdisjoint(path.parents)
