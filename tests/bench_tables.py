"""A small table of the benchmark, for the tests of its cells, page and figures."""

import pandas as pd

from sepo_lib.bench import suites


def cell(part, arm, size, measure, value, low=None, high=None, game="kuhn", model="nano"):
    low, high = value if low is None else low, value if high is None else high
    keys = {"model": model, "game": game, "part": part, "arm": arm, "group_size": size}
    return {**keys, "measure": measure, "value": value, "low": low, "high": high, "turns": 3, "key": "k"}


def table():
    rows = []
    baselines = {suites.ONE: 10.0, suites.BATCHED: 100.0, suites.CONTINUOUS: 20.0}
    sizes = {suites.ONE: 1, suites.BATCHED: 0, suites.CONTINUOUS: 0}
    for arm, size in [*sizes.items(), (suites.OURS, 4), (suites.OURS, 8)]:
        rate = baselines.get(arm, 100.0 * size)
        rows += [
            cell("arms", arm, size, measure, rate)
            for measure in ("decisions_per_second", "tokens_per_second", "matmul_share", "peak_mib")
        ]
        if arm == suites.OURS:
            rows.append(cell("arms", arm, size, "ratio_to_one_at_a_time", rate / 10, rate / 11, rate / 9))
            rows.append(cell("arms", arm, size, "ratio_to_batched", rate / 100))
            rows.append(cell("arms", arm, size, "ratio_to_continuous", rate / 20))
    for size, seconds in ((4, 1.0), (8, 1.5), (16, 2.6)):
        for part in ("step", "generation", "logps", "update", "rest"):
            rows.append(
                cell("step", suites.OURS, size, f"{part}_seconds", seconds * (1 if part == "step" else 0.25))
            )
        for measure in ("step_decisions", "step_rows", "step_matmul_share", "step_peak_mib"):
            rows.append(cell("step", suites.OURS, size, measure, 1.0))
    return pd.DataFrame(rows)
