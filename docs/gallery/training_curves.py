"""How do the terms of J change during training?

Two training methods, three seeds, without the columns collusion and externality.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/training.csv")
drawn = figures.training_curves(mine, metrics=["payoff", "exploit", "objective"])
drawn.figure.savefig("docs/gallery/training_curves.png", dpi=100)
