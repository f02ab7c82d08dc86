"""What does the policy do in each situation?

Three policies in the stag hunt: after PPO, hunters stop when they hunted alone.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/stag_hunt.csv")
drawn = figures.behaviour(mine)
drawn.figure.savefig("docs/gallery/behaviour.png", dpi=100)
