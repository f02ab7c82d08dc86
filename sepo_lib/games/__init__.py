"""What is played? One file a game, and the registry from which everything else takes the list of games."""

from collections.abc import Mapping

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


def get(name: str, weights: Mapping[str, Mapping[str, float]] | None = None) -> Game:
    """The game called `name`; with `weights` a copy of it with other weights of J (`Game.with_weights`).

    Raises ValueError with the valid choices for an unknown game or weight.
    """
    if name not in GAMES:
        raise ValueError(f"Unknown game '{name}'; choose from {', '.join(GAMES)}.")
    return GAMES[name].with_weights(**weights) if weights else GAMES[name]


def having(trait: str) -> list[Game]:
    """The registered games that have `trait` (see `Game.traits`)."""
    return [game for game in GAMES.values() if trait in game.traits]


for _game in (IPD(), Auction(), Split(), Deal(), Kuhn()):
    register(_game)

__all__ = ["GAMES", "POOLS", "Game", "Opponent", "Round", "View", "Weights", "get", "having", "register"]
