"""Where does the penalty make the policy safer, and where do the other switches?

Two ways to charge a penalty, each against training without one, in two games, six seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/estimators_trained.csv")
own, shared = (("penalty, own", "no penalty"), ("penalty, shared", "no penalty"))
drawn = figures.headline(mine, contrasts={"own penalty": own, "shared penalty": shared})
drawn.figure.savefig("docs/gallery/headline.png", dpi=100)
