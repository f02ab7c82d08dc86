"""Who beats whom?

Three players against one another and against a scripted opponent.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/round_robin.csv")
drawn = figures.crossplay(mine, width=4.5)
drawn.figure.savefig("docs/gallery/crossplay.png", dpi=100)
