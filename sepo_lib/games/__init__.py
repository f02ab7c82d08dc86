"""The five domains of the paper (METHOD section 3), by name."""

from sepo_lib.games.auction import Auction
from sepo_lib.games.base import POOLS, Game, Opponent, Round, View, Weights
from sepo_lib.games.deal import Deal
from sepo_lib.games.ipd import IPD
from sepo_lib.games.kuhn import Kuhn
from sepo_lib.games.split import Split

GAMES: dict[str, Game] = {game.name: game for game in (IPD(), Auction(), Split(), Deal(), Kuhn())}


def get(name: str) -> Game:
    """The game called `name`. Raises ValueError naming the valid choices."""
    if name not in GAMES:
        raise ValueError(f"Unknown game '{name}'; choose from {', '.join(GAMES)}.")
    return GAMES[name]


__all__ = ["GAMES", "POOLS", "Game", "Opponent", "Round", "View", "Weights", "get"]
