"""Which hyperparameters does a run use, and where are its files?

Read `profiles.yaml` first: every hyperparameter stands there, with what the paper says about it. `profiles`
loads one profile, `paths` knows the folders of a run.
"""
