"""The benchmark: its instruments, that finished cells are kept, and what its page and figures say."""

import json
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from sepo_lib import bench, figures
from sepo_lib.config import paths


def cell(part, arm, size, measure, value, low=None, high=None, game="kuhn", model="nano"):
    low, high = value if low is None else low, value if high is None else high
    keys = {"model": model, "game": game, "part": part, "arm": arm, "group_size": size}
    return {**keys, "measure": measure, "value": value, "low": low, "high": high, "turns": 3, "key": "k"}


def table():
    rows = []
    for arm, size in ((bench.ONE, 1), (bench.BATCHED, 0), (bench.OURS, 4), (bench.OURS, 8)):
        rate = {bench.ONE: 10.0, bench.BATCHED: 100.0}.get(arm, 100.0 * size)
        rows += [
            cell("arms", arm, size, measure, rate)
            for measure in ("decisions_per_second", "tokens_per_second", "matmul_share", "peak_mib")
        ]
        if arm == bench.OURS:
            rows.append(cell("arms", arm, size, "ratio_to_one_at_a_time", rate / 10, rate / 11, rate / 9))
            rows.append(cell("arms", arm, size, "ratio_to_batched", rate / 100))
    for size, seconds in ((4, 1.0), (8, 1.5), (16, 2.6)):
        for part in ("step", "generation", "logps", "update", "rest"):
            rows.append(
                cell("step", bench.OURS, size, f"{part}_seconds", seconds * (1 if part == "step" else 0.25))
            )
        for measure in ("step_decisions", "step_rows", "step_matmul_share", "step_peak_mib"):
            rows.append(cell("step", bench.OURS, size, measure, 1.0))
    return pd.DataFrame(rows)


def test_a_summary_is_the_median_and_the_range_of_the_turns():
    rows = [
        {"arm": "a", "group_size": 4, "measure": "m", "value": v, "turn": t} for t, v in enumerate([3, 1, 9])
    ]
    (one,) = bench.summarized(rows)
    assert (one["value"], one["low"], one["high"], one["turns"]) == (3, 1, 9, 3)


def test_the_meter_adds_seconds_and_counts_tokens_with_a_backward_more(monkeypatch):
    ticks = iter([0.0, 1.0, 5.0, 7.5])
    monkeypatch.setattr(bench, "clock", lambda: next(ticks))
    meter = bench.Meter()
    work = meter.timed("work", lambda: None)
    work(), work()
    assert meter.total["work"] == 3.5
    forward = meter.counted(lambda model, input_ids: None, backward_weight=3)
    with torch.no_grad():
        forward(None, input_ids=torch.zeros(2, 5))
    forward(None, input_ids=torch.zeros(1, 4))
    assert meter.total["passes"] == 10 + 12


def test_targets_are_met_or_missed_at_the_largest_group():
    lines = bench.verdicts(table())
    assert lines[0].startswith("nano, kuhn, G 8: 80.0 times [72.7, 88.9] one_at_a_time") and "met" in lines[0]
    assert lines[1] == "nano, kuhn, G 8: 8.0 times [8.0, 8.0] batched, target 6: met"
    assert lines[2] == "nano, kuhn: a doubling costs 1.50 to G 8, 1.73 to G 16; target 1.6: missed"


def test_finished_cells_are_kept_and_the_page_is_written_between_its_marks(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    page = tmp_path / "docs" / "BENCH.md"
    page.parent.mkdir()
    page.write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n")
    measured = []

    def cells(model, suite):
        rows = table().drop(columns=["model", "game", "part", "key"])
        for part in ("arms", "step"):
            mine = table()["part"] == part
            yield (
                "bench",
                "kuhn",
                part,
                0,
                lambda part=part, mine=mine: measured.append(part) or rows[mine].to_dict("records"),
            )

    monkeypatch.setattr(bench, "cells", cells)
    said = []
    bench.run(["nano"], said.append)
    bench.run(["nano"], said.append)
    assert measured == ["arms", "step"] and [line.endswith("kept") for line in said].count(True) == 2
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| nano | kuhn | shared_prefix | 8 | 800.0 | 800 |" in text
    assert "80.0 [72.7, 88.9]" in text and "| nano | kuhn | 16 | 1 | 1 | 2.60 |" in text
    assert json.loads((paths.results("bench") / "hardware.json").read_text())["threads"] == 1
    assert {file.name for file in paths.figures("bench").iterdir()} >= {"arms_nano.png", "step_nano.pdf"}
    monkeypatch.setattr(bench, "BATCH", 32)
    bench.run(["nano"], said.append)
    assert measured == ["arms", "step"] * 2  # other settings: measured again
    with pytest.raises(ValueError, match="choose from nano, smollm2"):
        bench.run(["gpt"])


def test_figures_show_the_numbers_of_the_table():
    grid = figures.bench_arms(table())
    heights = {tuple(line.get_ydata()) for line in grid.axes_dict["kuhn"].lines}
    assert {(10.0, 10.0), (100.0, 100.0), (400.0, 800.0)} <= heights
    grid = figures.bench_step(table())
    assert sum(bar.get_height() for bar in grid.axes_dict["kuhn"].patches) == pytest.approx(1 + 1.5 + 2.6)
    ax = figures.bench_scaling(table().query("part == 'step'").assign(episodes=lambda t: 6 * t.group_size))
    assert ax.lines[0].get_xydata().tolist() == [[24, 1.0], [48, 1.5], [96, 2.6]]
    with pytest.raises(figures.NothingToDraw):
        figures.bench_step(table().query("part == 'arms'"))
    plt.close("all")


@pytest.mark.parametrize("game", ["kuhn", "split"])
def test_a_step_is_measured_by_its_parts(game):
    # Whatever the profile says, of all games or game by game, must reach the trainer.
    suite = replace(bench.SUITES["nano"], profile="smoke")
    found = {row["measure"]: row["value"] for row in bench.measure_steps(suite, "nano", game, 2, 1)}
    parts = sum(found[f"{part}_seconds"] for part in ("generation", "logps", "update", "rest"))
    assert parts == pytest.approx(found["step_seconds"]) and found["generation_seconds"] > 0
    assert found["step_decisions"] >= found["step_rows"] > 0


def test_a_profile_shares_the_time_out_among_the_kinds_of_work():
    profile, a = bench.Profile(), torch.randn(768, 768)
    profile.start()
    profile.start()  # as every micro-batch of a step does
    for _ in range(5):
        a @ a
    torch.cat([a[:8], a[:8]])
    shares = profile.stop()
    assert set(shares) == {f"{kind}_share" for kind in (*bench.OPERATORS, bench.OUTSIDE)}
    assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) >= 0
    assert shares["products_share"] > shares["moving_share"] > shares["attention_share"] == 0


def test_play_and_a_step_are_profiled_and_shown_on_the_page():
    suite = replace(bench.SUITES["nano"], profile="smoke")
    keys = {"model": "nano", "game": "kuhn", "key": "k"}
    rows = [{**keys, "part": "play_profile", **row} for row in bench.profile_play(suite, "nano", "kuhn", 2)]
    rows += [{**keys, "part": "step_profile", **row} for row in bench.profile_step(suite, "nano", "kuhn", 2)]
    found = pd.DataFrame(rows).pivot(index="part", columns="measure", values="value")
    assert found.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert (found[["products_share", "attention_share", "outside_share"]] > 0).all(axis=None)
    lines = bench._profiles(pd.DataFrame(rows))
    share = found.loc["step_profile", "products_share"]
    assert lines[3].startswith("| nano | kuhn | a step | 2 | ") and f"| {share:.0%} |" in lines[3]
