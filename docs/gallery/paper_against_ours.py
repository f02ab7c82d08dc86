"""Do the authors' models and ours move the same way from base to SFT to SEPO?

A replication with one small model beside the study that it replicates.
"""

import pandas as pd

from sepo_lib import figures

mine = pd.read_csv("docs/gallery/tables/replication.csv")
theirs = pd.read_csv("docs/gallery/tables/original_study.csv")
drawn = figures.paper_against_ours(mine, theirs)
drawn.figure.savefig("docs/gallery/paper_against_ours.png", dpi=100)
