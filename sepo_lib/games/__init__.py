"""What is played? Each game is one file, and everything else takes the list of games from the registry.

A game holds its rules, prompts, parser, opponents and rates. It knows nothing of language models. Read `base`
first (what a game must define), then `ipd`, the simplest game.
"""

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

__all__ = ["GAMES", "OBJECTIVE_POOLS", "POOLS", "Game", "Opponent", "Round", "View", "Weights"]
__all__ += ["get", "having", "register"]
