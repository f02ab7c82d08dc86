"""Does the time of a SEPO step grow more slowly than its number of episodes?

The seconds of a training step in two games.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/scaling.csv")
drawn = figures.bench_scaling(mine)
drawn.figure.savefig("docs/gallery/bench_scaling.png", dpi=100)
