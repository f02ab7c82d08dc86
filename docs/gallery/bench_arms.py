"""How many decisions per second does each way of playing reach?

Three ways of playing in two games.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/decisions_per_second.csv")
drawn = figures.bench_arms(mine)
drawn.figure.savefig("docs/gallery/bench_arms.png", dpi=100)
