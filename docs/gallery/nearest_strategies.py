"""Which known strategies would do the same as the policy?

The three nearest strategies to each of three policies in the stag hunt.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/stag_hunt_agreement.csv")
drawn = figures.nearest_strategies(mine)
drawn.figure.savefig("docs/gallery/nearest_strategies.png", dpi=100)
