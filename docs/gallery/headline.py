"""Where does the penalty make the policy safer, and where do the other switches?

Four estimators in two games, six seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/estimators_trained.csv")
drawn = figures.headline(mine)
drawn.figure.savefig("docs/gallery/headline.png", dpi=100)
