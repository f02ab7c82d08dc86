"""How far is the Kuhn poker strategy from a Nash equilibrium?

Two policies that the kit does not know, three seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/kuhn_policies.csv")
drawn = figures.kuhn_strategy(mine)
drawn.figure.savefig("docs/gallery/kuhn_strategy.png", dpi=100)
