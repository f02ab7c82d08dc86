"""Does SEPO training make the Kuhn poker strategy less exploitable?

Two training methods, three seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/kuhn_training.csv")
drawn = figures.nashconv_training(mine)
drawn.figure.savefig("docs/gallery/nashconv_training.png", dpi=100)
