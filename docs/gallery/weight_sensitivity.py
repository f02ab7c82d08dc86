"""Does the ranking of the stages depend on a weight of J?

Three training methods and six values of one weight.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/weights.csv")
drawn = figures.weight_sensitivity(mine)
drawn.figure.savefig("docs/gallery/weight_sensitivity.png", dpi=100)
