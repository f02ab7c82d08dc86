"""docs/BENCH.md and the figures of speed: what they say of the tables."""

import json
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from bench_tables import table

from sepo_lib import figures
from sepo_lib.bench import suites
from sepo_lib.config import paths
from sepo_lib.report import bench_page


def test_the_page_is_written_between_its_markers(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    page = tmp_path / "docs" / "BENCH.md"
    page.parent.mkdir()
    page.write_text(f"before\n{bench_page.BEGIN}\nold\n{bench_page.END}\nafter\n")
    paths.write_table(table(), "bench", "bench")
    note = {"processor": "a chip", "threads": 1, "accelerator": "none"}
    paths.replace_text(paths.results("bench") / "hardware.json", json.dumps(note))
    bench_page.update()
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "Measured on a chip, 1 thread" in text
    assert "| nano | kuhn | shared_prefix | 8 | 800.0 | 800 |" in text
    assert "80.0 [72.7, 88.9] | 8.0 [8.0, 8.0] | 40.0 [40.0, 40.0] |" in text  # the last: continuous batching
    assert "| nano | kuhn | 16 | 1 | 1 | 2.60 |" in text


def test_the_committed_page_is_that_of_the_committed_table():
    text = (paths.root() / "docs" / "BENCH.md").read_text(encoding="utf-8")
    page = bench_page.page(suites.kept("bench"))
    assert f"{bench_page.BEGIN}\n\n{page}\n\n{bench_page.END}" in text


def test_targets_are_met_or_missed_at_the_largest_group():
    lines = bench_page.verdicts(table())
    assert (
        lines[0].startswith("nano, kuhn, G 8: 80.0 [72.7, 88.9] times as fast as one_at_a_time")
        and "met" in lines[0]
    )
    assert lines[1] == "nano, kuhn, G 8: 8.0 [8.0, 8.0] times as fast as batched, target 6: met"
    doubled = "doubling G multiplies the time of a step by 1.50 to G 8, 1.73 to G 16"
    assert lines[2] == f"nano, kuhn: {doubled}; target 1.6: missed"


def test_figures_show_the_numbers_of_the_table():
    grid = figures.bench_arms(table())
    heights = {tuple(line.get_ydata()) for line in grid.axes_dict["Kuhn poker"].lines}
    assert {(10.0, 10.0), (100.0, 100.0), (400.0, 800.0)} <= heights
    grid = figures.bench_step(table())
    assert sum(bar.get_height() for bar in grid.axes_dict["Kuhn poker"].patches) == pytest.approx(
        1 + 1.5 + 2.6
    )
    ax = figures.bench_scaling(table().query("part == 'step'").assign(episodes=lambda t: 6 * t.group_size))
    assert ax.axes_dict["Kuhn poker"].lines[0].get_xydata().tolist() == [[24, 1.0], [48, 1.5], [96, 2.6]]
    with pytest.raises(figures.NothingToDraw):
        figures.bench_step(table().query("part == 'arms'"))
    plt.close("all")


def test_play_and_a_step_are_profiled_and_shown_on_the_page():
    suite = replace(suites.SUITES["nano"], profile="smoke")
    keys = {"model": "nano", "game": "kuhn", "key": "k"}
    rows = [{**keys, "part": "play_profile", **row} for row in suites.profile_play(suite, "nano", "kuhn", 2)]
    rows += [{**keys, "part": "step_profile", **row} for row in suites.profile_step(suite, "nano", "kuhn", 2)]
    found = pd.DataFrame(rows).pivot(index="part", columns="measure", values="value")
    assert found.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert (found[["products_share", "attention_share", "outside_share"]] > 0).all(axis=None)
    (_, shown) = bench_page.profiles(pd.DataFrame(rows))
    share = found.loc["step_profile", "products_share"]
    assert (shown["profile of"], shown["G"], shown["products"]) == ("a step", "2", f"{share:.0%}")
