"""Why does the method work, or fail? Studies of the estimators, of the objective and of its weights.

Read `estimators` first: it compares each estimator with the exact gradient of J. `headroom` asks where a
penalty can matter, `penalty_gradient` measures its gradient in a language model, and `sensitivity` varies the
weights of J.
"""
