"""What does each switch of the recipe change?

Four recipes in one game, four seeds.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/recipes.csv")
drawn = figures.switch_outcomes(mine)
drawn.figure.savefig("docs/gallery/switch_outcomes.png", dpi=100)
