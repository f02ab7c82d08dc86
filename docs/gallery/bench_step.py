"""Where does the time of a SEPO step go?

The parts of a training step in two games.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/step_seconds.csv")
drawn = figures.bench_step(mine)
drawn.figure.savefig("docs/gallery/bench_step.png", dpi=100)
