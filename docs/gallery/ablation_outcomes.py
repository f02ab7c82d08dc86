"""Which episodes should a penalty be charged to?

Four ways of charging a penalty in two games, four seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/penalties.csv")
drawn = figures.ablation_outcomes(mine)
drawn.figure.savefig("docs/gallery/ablation_outcomes.png", dpi=100)
