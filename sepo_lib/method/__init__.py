"""What is SEPO? The objective J, and the estimators of its gradient. Uses NumPy only.

Read `objective` first: it computes J from recorded episodes (`records`). Then read `credit`: it computes one
advantage per decision, which is where the recipes differ. `seeds` derives every random seed.
"""
