"""Which estimators point in the direction of the gradient of J?

Four estimators at two policies.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/estimators.csv")
drawn = figures.estimator_cosines(mine)
drawn.figure.savefig("docs/gallery/estimator_cosines.png", dpi=100)
