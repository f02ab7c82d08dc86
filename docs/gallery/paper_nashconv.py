"""Are the authors' models near a Nash equilibrium in Kuhn poker?

Three models, two of them with long names.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/nashconv_of_models.csv")
drawn = figures.paper_nashconv(mine)
drawn.figure.savefig("docs/gallery/paper_nashconv.png", dpi=100)
