"""The facts that notebook 04 takes from the study of estimators."""

import pandas as pd

from sepo_lib.report import estimators_page


def test_the_lowest_cosine_of_published_with_one_switch_corrected():
    """The arm per_rollout of the switch credit is no correction, and a margin of 0 leaves a setting out."""
    columns = ["how", "switch", "arm", "policy", "cosine", "nearest_margin"]
    rows = [
        ("published", "none", "per_rollout", "uniform", 0.75, 0.5),
        ("published", "horizon", "per_rollout", "uniform", -0.5, 0.5),
        ("published", "credit", "credited", "uniform", 0.25, 0.5),
        ("published", "credit", "constant", "uniform", -0.75, 0.5),
        ("published", "horizon", "per_rollout", "random", -0.875, 0.0),
        ("unbiased", "horizon", "credited", "uniform", -1.0, 0.5),
    ]
    same = {
        "game": "ipd",
        "pools": "paper",
        "groups": 10,
        "group_size": 8,
        "groups_per_batch": 1,
        "term": "J",
    }
    table = pd.DataFrame(rows, columns=columns).assign(**same)
    found = estimators_page.lowest(table, 8)
    assert found == {"switch": "horizon", "game": "ipd", "pools": "paper", "policy": "uniform"} | {
        "cosine": "-0.50",
        "own": "0.75",
    }
    assert estimators_page.lowest(table.iloc[:0], 8) == {}
