"""Does a larger weight le trade payoff for a lower exploit advantage?

Five multiples of a weight in two games, three seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/sweep.csv")
drawn = figures.frontier(mine)
drawn.figure.savefig("docs/gallery/frontier.png", dpi=100)
