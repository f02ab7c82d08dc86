"""Do estimators of other papers point in the direction of the gradient of J?

Four estimators, the mean over two policies.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/estimators.csv")
drawn = figures.estimators_elsewhere(mine)
drawn.figure.savefig("docs/gallery/estimators_elsewhere.png", dpi=100)
