"""What does training in one game change in the others?

Three games of one's own and a training on all of them, three seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/transfer.csv")
drawn = figures.transfer_matrix(mine, width=4.5)
drawn.figure.savefig("docs/gallery/transfer_matrix.png", dpi=100)
