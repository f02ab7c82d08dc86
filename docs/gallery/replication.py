"""Does the outcome of SEPO depend on the SFT model that it starts from?

Three SFT models in each of two games, two recipes, three seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/sft_models.csv")
drawn = figures.replication(mine, labels={"mine": "my recipe"})
drawn.figure.savefig("docs/gallery/replication.png", dpi=100)
