"""What is SEPO? The objective J, and the estimators of its gradient. Uses NumPy only.

Read `objective` first (J of the episodes in `records`), then `credit` (one advantage per decision, in which
the recipes differ) and `loss`. `seeds` derives every random seed.
"""
