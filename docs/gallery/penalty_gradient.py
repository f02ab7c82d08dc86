"""Does the penalty reach the gradient of the policy?

Four ways of charging a penalty in two games, four seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/penalties.csv")
drawn = figures.penalty_gradient(mine)
drawn.figure.savefig("docs/gallery/penalty_gradient.png", dpi=100)
