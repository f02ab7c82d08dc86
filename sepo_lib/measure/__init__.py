"""What did a policy learn? Evaluation, statistics, NashConv and cross-play."""
