"""Does each stage of training make the policy safer?

Four training methods in three games, five seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/methods.csv")
drawn = figures.safety_by_stage(mine, palette="dark")
drawn.figure.savefig("docs/gallery/safety_by_stage.png", dpi=100)
