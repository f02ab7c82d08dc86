"""A person plays against a model, in the terminal or in a notebook cell.

The person is player 1 and sees what a scripted opponent sees; the model is player 0. In what is shown,
player 1 is called `you`, or by the name of the scripted opponent that plays instead.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sepo_lib import games
from sepo_lib.config import bundled, profiles
from sepo_lib.config.text import wrapped
from sepo_lib.games.base import Act, Action, Game, Opponent, View
from sepo_lib.games.players import stateless
from sepo_lib.method.records import Decision, Episode

if TYPE_CHECKING:
    from sepo_lib.play.policy import Policy

PERSON = "person"  # the name of the pool and of the opponent in the record of the episode
YOU = "you"  # how the record calls the person
QUIT = ("quit", "exit")
_LISTED = 4  # the largest number of actions that a message lists one by one


class Quit(Exception):
    """The person left before the end of the game."""


def play_against(
    game: str,
    model: str = "nano",
    seed: int = 0,
    watch: str | None = None,
    ask: Callable[[str], str] = input,
    say: Callable[[str], object] = print,
) -> Episode | None:
    """Play one episode of `game` against `model` (nano, smollm2, a hub id, a folder or a job's folder).

    With `watch`, the scripted opponent of that name plays instead of the person. `ask` returns the person's
    next line for a prompt, and `say` shows a text. Equal seeds and equal moves give equal episodes. Returns
    the episode, or None if the person left (typed quit, ended the input, or interrupted the cell). Raises
    ValueError for an unknown game, model or opponent.
    """
    domain, tell = games.get(game), say

    def say(text: str) -> object:
        return tell(wrapped(text))

    if watch:
        opponent = _scripted(domain, watch, say)
    else:
        opponent = stateless(lambda view, rng: choose(domain, view, ask, say))
    bundled.resolve(profiles.load("paper", model=model).model)  # what cannot be had is an error at once
    try:
        say(f"Loading {model} ...")
        from sepo_lib.measure.inspection import open_policy  # here: this import takes several seconds

        policy = open_policy(model)
        say(_welcome(domain, model, watch))
        episode = play_episode(policy, domain, seed, opponent, say, watch or YOU)
    except (Quit, EOFError, KeyboardInterrupt):
        say("\nYou left; a game that did not end has no result.")
        return None
    say(result(domain, episode, watch or YOU))
    return episode


def play_episode(
    policy: "Policy",
    game: Game,
    seed: int,
    opponent: Opponent,
    say: Callable[[str], object],
    player: str = YOU,
) -> Episode:
    """Play one episode with `opponent` as player 1, called `player`; raises what `opponent` raises.

    What the model wrote is shown only when the round is over, because in Kuhn poker it reveals the card. So
    is the fact that the game reveals.
    """
    from sepo_lib.play.rollouts import Plan, Running, tick

    decisions: list[Decision] = []
    facts: dict[tuple[str, int], object] = {}  # (player, round) -> the fact that is revealed after the round
    shown = 0

    def show(until: int, of_model, of_person, payoffs) -> None:
        """Show the rounds before `until` that have not been shown; the actions and payoffs are by round."""
        nonlocal shown
        for t in range(shown, until):
            say(_round(game, t, (of_model[t], of_person[t]), payoffs[t], player))
            if (player, t) in facts and ("the model", t) in facts:
                both = ", ".join(f"{who} {game.spell(facts[who, t])}" for who in (player, "the model"))
                say(f"  {game.revealed}s: {both}")
            for decision in decisions:
                if decision.round == t:
                    say(_answer(game, decision))
        shown = until

    def note(who: str, view: View) -> None:
        if game.revealed:
            facts[who, view.round] = view.facts[game.revealed]

    def person(rng: np.random.Generator) -> Act:
        act = opponent(rng)

        def shown_first(view: View) -> Action:
            note(player, view)
            show(view.round, view.theirs, view.mine, view.payoffs)
            place, situation = _place(game, view.round), game.situation(view)
            say(f"\n{situation}" if situation.startswith(place) else f"\n{place}. {situation}")
            return act(view)

        return shown_first

    running = Running(Plan(game.name, "paper", PERSON, PERSON, 0, seed, seed), person, in_turn=True)
    decisions = running.decisions  # this list grows as the episode is played
    while running.rounds is None:
        for query in running.queries():
            note("the model", query.view)
        tick(policy, [running])
    rounds = running.rounds
    of_model, of_person = zip(*(r.actions for r in rounds), strict=True)
    show(len(rounds), of_model, of_person, [r.payoffs[1] for r in rounds])
    return running.episode()


def choose(game: Game, view: View, ask: Callable[[str], str], say: Callable[[str], object]) -> Action:
    """The person's action at `view`: the one typed in full, or the only one that begins with the typed text.

    Asks again until there is one. Raises Quit if the person types one of QUIT.
    """
    while True:
        typed = ask(f"Your action ({_choices(game, view.legal)}): ").strip()
        if typed.casefold() in QUIT:
            raise Quit
        found = game.parse(typed, view.legal)
        begun = [a for a in view.legal if typed and game.spell(a).casefold().startswith(typed.casefold())]
        if found is not None or len(begun) == 1:
            return begun[0] if found is None else found
        say(f"'{typed}' is not possible here; type {_choices(game, view.legal)}, or quit.")


def result(game: Game, episode: Episode, player: str = YOU) -> str:
    """The totals and the model's measures (docs/method.md, "Objective") in this one episode, as text."""
    own, other = episode.own_T, episode.other_T
    measures = {
        "u, the model's payoff a round": own.mean(),
        "margin, yours less the model's" if player == YOU else "margin of the opponent": (other - own).mean(),
        "c, the model's collusion rate": sum(episode.collusion_T) / len(own),
        "x, the externality rate": sum(episode.externality_T) / len(own),
    }
    played = f"{len(own)} {game.round_word}s"
    lines = [f"\nTotal of {played}: {player} {other.sum():g}, the model {own.sum():g}. In this game:", ""]
    lines += [f"  {name:<31} {value:6.2f}" for name, value in measures.items()]
    return "\n".join(lines)


def _scripted(game: Game, name: str, say: Callable[[str], object]) -> Opponent:
    """The opponent `name` of the paper's pools, showing its actions. Raises ValueError if there is none."""
    found = {one: opponent for pool in game.pools["paper"].values() for one, opponent in pool.items()}
    if name not in found:
        raise ValueError(f"{game.title} has no opponent '{name}'; choose from {', '.join(found)}.")

    def start(rng: np.random.Generator) -> Act:
        act = found[name](rng)

        def aloud(view: View) -> Action:
            action = act(view)
            say(f"> {game.spell(action)}")
            return action

        return aloud

    return start


def _welcome(game: Game, model: str, watch: str | None) -> str:
    """Who plays, the rules, how many rounds there are, and what happens in each."""
    word, player = game.round_word, watch or YOU
    types = f"`{watch}` chooses its action" if watch else "type your action, or its first letters"
    shown = f"both {game.revealed}s, both players' actions" if game.revealed else "both players' actions"
    parts = [
        f"{game.title}: {player} against {model}, {game.rounds} {word}s.",
        f"The rules, as the model reads them:\n{game.rules()}",
        f"In each {word} you read the situation, worded as for the model. Then {types}. When the {word} is "
        f"over, you see {shown} and what the model wrote.",
    ]
    return "\n\n".join(parts) + ("" if watch else " You need no reasoning. `quit` leaves.")


def _place(game: Game, number: int) -> str:
    """Such as "Hand 2 of 6"."""
    return f"{game.round_word.capitalize()} {number + 1} of {game.rounds}"


def _round(game: Game, number: int, actions: tuple, payoff: float, player: str) -> str:
    """A finished round in a line: the actions of (model, player 1), and the payoff of player 1."""
    model, person = (_spell(game, action) for action in actions)
    earned = f"You earn {payoff:g}." if player == YOU else f"{player} earns {payoff:g}."
    if "zero_sum" in game.traits and payoff:
        won = "You win" if player == YOU else f"{player} wins"
        earned = f"{won} {payoff:g}." if payoff > 0 else f"The model wins {-payoff:g}."
    return f"\n{_place(game, number)} is over: {player} {person}; the model {model}. {earned}"


def _answer(game: Game, decision: Decision) -> str:
    """What the model wrote, and the action that was taken if it names none."""
    text = " / ".join(decision.text.split("\n"))
    note = "" if decision.parsed else f"  (no action in that; taken: {game.spell(decision.action)})"
    return f"  the model wrote: {text}{note}"


def _spell(game: Game, action: Action) -> str:
    """The text of an action in a record; in Kuhn poker it is the tuple of all words of a hand."""
    if isinstance(action, tuple) and all(isinstance(part, str) for part in action):
        return ", ".join(action)
    return game.spell(action)


def _choices(game: Game, legal: tuple[Action, ...]) -> str:
    if len(legal) > _LISTED:
        return f"one of {game.spell(legal[0])} to {game.spell(legal[-1])}"
    return " or ".join(game.spell(action) for action in legal)
