"""How much J can a penalty gain over playing for payoff?

The best strategies of three games.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/best_strategies.csv")
drawn = figures.headroom(mine)
drawn.figure.savefig("docs/gallery/headroom.png", dpi=100)
