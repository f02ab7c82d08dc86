"""What did a policy learn? Its measures in play, their intervals, and NashConv in Kuhn poker.

Read `evaluation` first: it plays a policy against all pools and writes the rows of `evaluation.csv`.
`measures` computes J and what is reported beside it, `statistics` the intervals. `tabular` enumerates J and
its exact gradient, `exploitability` computes NashConv, and `crossplay` lets models play each other.
"""
