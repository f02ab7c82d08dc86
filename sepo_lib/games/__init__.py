"""What is played? Each game is one file, and everything else takes the list of games from the registry.

A game holds its rules, prompts, parser, opponents and rates. It knows nothing of language models. Read `base`
first (what a game must define), then `ipd`, the simplest game.
"""

from sepo_lib.games.auction import Auction
from sepo_lib.games.base import POOLS, Game, Opponent, Round, View, Weights
from sepo_lib.games.deal import Deal
from sepo_lib.games.ipd import IPD
from sepo_lib.games.kuhn import Kuhn
from sepo_lib.games.split import Split

#: The registered games by name, in the order in which tables and figures show them.
GAMES: dict[str, Game] = {}


def register(game: Game) -> Game:
    """Add `game` to the registry and return it. Raises ValueError where its name is taken."""
    if game.name in GAMES:
        raise ValueError(f"There is a game called '{game.name}' already; give the new one another name.")
    GAMES[game.name] = game
    return game


def get(name: str) -> Game:
    """The game called `name`. Raises ValueError naming the valid choices."""
    if name not in GAMES:
        raise ValueError(f"Unknown game '{name}'; choose from {', '.join(GAMES)}.")
    return GAMES[name]


def having(trait: str) -> list[Game]:
    """The registered games that have `trait` (see `Game.traits`)."""
    return [game for game in GAMES.values() if trait in game.traits]


for _game in (IPD(), Auction(), Split(), Deal(), Kuhn()):
    register(_game)

__all__ = ["GAMES", "POOLS", "Game", "Opponent", "Round", "View", "Weights", "get", "having", "register"]
