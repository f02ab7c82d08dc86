"""How large are the bias and the noise of each estimator?

Four estimators with three group sizes.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/estimators.csv")
drawn = figures.estimator_bias(mine, policy="uniform")
drawn.figure.savefig("docs/gallery/estimator_bias.png", dpi=100)
