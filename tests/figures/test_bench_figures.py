"""The benchmark's figures: any games, models and arms; readable logarithmic axes; bars of the table."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from bench_tables import cell, table

from sepo_lib import figures


def arms(game="kuhn", model="nano", arm="mine", factor=1.0) -> pd.DataFrame:
    return pd.DataFrame(
        cell(
            "arms",
            arm,
            size,
            "decisions_per_second",
            factor * size,
            factor * size * 0.9,
            game=game,
            model=model,
        )
        for size in (4, 8, 16)
    )


def scaling(*games) -> pd.DataFrame:
    rows = [
        {"game": game, "episodes": episodes, "value": episodes**0.5}
        for game in games
        for episodes in (4, 16, 64)
    ]
    return pd.DataFrame(rows).assign(measure="step_seconds")


def labels(drawn) -> list[str]:
    return [text.get_text() for text in drawn.figure.legends[0].get_texts()]


def test_arms_of_ones_own_are_drawn_with_the_bars_of_the_table():
    grid = figures.bench_arms(arms())
    (box,) = grid.axes_dict["Kuhn poker"].containers
    assert box.lines[0].get_xydata().tolist() == [[4, 4], [8, 8], [16, 16]]
    low = [segment[0][1] for segment in box.lines[2][0].get_segments()]
    assert low == pytest.approx([3.6, 7.2, 14.4]) and labels(grid) == ["mine"]
    grid = figures.bench_arms(pd.concat([table(), arms()]), labels={"mine": "my sampler"})
    known = ["one at a time", "batched generate", "continuous batching", "shared prefix (ours)"]
    assert labels(grid) == [*known, "my sampler"]
    bare = arms()[["game", "arm", "group_size", "value"]]
    assert labels(figures.bench_arms(bare, hue_order=["mine"], palette=["red"])) == ["mine"]


def test_games_and_models_have_panels_of_their_own():
    two = pd.concat([arms(), arms(model="smollm2", factor=0.01), arms(game="chess")])
    assert list(figures.bench_arms(two).axes_dict) == [
        "Kuhn poker\nnano",
        "Kuhn poker\nsmollm2",
        "chess\nnano",
    ]
    assert list(figures.bench_arms(two[two["model"] == "nano"], order=["chess"]).axes_dict) == ["chess"]
    six = [f"game {n}" for n in range(6)]
    grid = figures.bench_scaling(scaling(*six))
    assert list(grid.axes_dict) == six and labels(grid) == ["measured", "proportional"]
    solid, *_, dotted = grid.axes_dict["game 3"].lines
    assert solid.get_ydata().tolist() == [2, 4, 8] and dotted.get_ydata().tolist() == [2, 8, 32]
    models = pd.concat([scaling("ipd").assign(model=model) for model in ("a", "b")])
    assert list(figures.bench_scaling(models, hue="model").axes_dict) == ["Prisoner's dilemma"]


@pytest.mark.parametrize("factor", [0.03, 0.25, 1.0, 40.0])
def test_a_logarithmic_axis_has_several_ticks(factor):
    """Rates from 0.12 to 0.48 decisions per second had one tick."""
    ax = figures.bench_arms(arms(factor=factor)).axes_dict["Kuhn poker"]
    low, high = ax.get_ylim()
    assert sum(low <= tick <= high for tick in ax.get_yticks()) >= 2
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "8", "16"]


def test_a_step_has_its_own_scale_and_the_range_of_its_repetitions():
    slow = table().assign(game="ipd")
    slow["value"] *= 100
    whole = table()["measure"] == "step_seconds"
    both = pd.concat([table().assign(low=table()["low"].where(~whole, 0.5)), slow])
    axes = figures.bench_step(both).axes_dict
    assert axes["Prisoner's dilemma"].get_ylim()[1] > 50 * axes["Kuhn poker"].get_ylim()[1]
    (ranges,) = axes["Kuhn poker"].collections
    assert [segment[0][1] for segment in ranges.get_segments()] == [0.5, 0.5, 0.5]
    few = figures.bench_step(both, hue_order=["update"], labels={"update": "backward"})
    assert labels(few) == ["backward"] and "of = generation, logps, rest" in few.caption
    mine = pd.concat([table(), table().query("measure == 'rest_seconds'").assign(measure="reward_seconds")])
    assert "reward" in labels(figures.bench_step(mine))


def test_a_benchmark_is_drawn_on_the_axes_of_the_caller():
    _, axes = plt.subplots(1, 3)
    assert figures.bench_arms(arms(), ax=axes[0]) is axes[0]
    assert figures.bench_step(table(), ax=axes[1]) is axes[1]
    assert figures.bench_scaling(scaling("ipd"), ax=axes[2]) is axes[2]


@pytest.mark.parametrize(
    ("draw", "data", "message"),
    [
        (figures.bench_arms, arms().assign(part="play"), r"No row has part = arms; the table has \['play'\]"),
        (figures.bench_arms, pd.concat([arms(), arms()]), "6 rows occur more than once"),
        (figures.bench_arms, arms().drop(columns="arm"), r"needs the columns \['arm'\]"),
        (figures.bench_arms, arms(factor=0.0), "no value above 0"),
        (figures.bench_step, arms().assign(part="step"), r"holds \['decisions_per_second'\]"),
        (figures.bench_scaling, scaling("ipd").drop(columns="episodes"), r"needs the columns \['episodes'\]"),
    ],
)
def test_a_benchmark_that_cannot_be_drawn_is_refused(draw, data, message):
    with pytest.raises(ValueError, match=message):
        draw(data)
