"""How does a measure of the policy change from stage to stage?

A measure that only the table knows, for three of its four methods.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/methods.csv")
drawn = figures.by_stage(mine, "welfare", order=["before", "ppo", "league"])
drawn.figure.savefig("docs/gallery/by_stage.png", dpi=100)
