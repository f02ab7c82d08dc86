"""What is played? One file a game, and the registry from which everything else takes the list of games."""

from sepo_lib.games.auction import Auction
from sepo_lib.games.base import OBJECTIVE_POOLS, POOLS, Game, Opponent, Round, View, Weights
from sepo_lib.games.deal import Deal
from sepo_lib.games.ipd import IPD
from sepo_lib.games.kuhn import Kuhn
from sepo_lib.games.registry import GAMES, get, having, load_modules, register
from sepo_lib.games.split import Split

for _game in (IPD(), Auction(), Split(), Deal(), Kuhn()):
    register(_game)
load_modules()

__all__ = [
    "GAMES",
    "OBJECTIVE_POOLS",
    "POOLS",
    "Game",
    "Opponent",
    "Round",
    "View",
    "Weights",
    "get",
    "having",
    "register",
]
