"""Calls with a reader's own table: it is drawn, or one sentence says what is wrong with it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawn_text import overlaps
from figure_tables import bars, evaluation

from sepo_lib import figures

MINE = pd.DataFrame(
    [
        {"game": game, "stage": stage, "seed": seed, "safety": seed + number}
        for game in ("hawk-dove", "stag hunt")
        for number, stage in enumerate(("before", "ppo"))
        for seed in range(3)
    ]
)


def test_a_table_of_four_columns_is_drawn_in_two_lines(tmp_path):
    MINE.to_csv(tmp_path / "mine.csv", index=False)
    grid = figures.safety_by_stage(pd.read_csv(tmp_path / "mine.csv"))
    grid.savefig(tmp_path / "safety.pdf")
    grid.savefig(tmp_path / "safety.svg")
    assert {game: list(bars(ax)) for game, ax in grid.axes_dict.items()} == {
        game: ["before", "ppo"] for game in ("hawk-dove", "stag hunt")
    }
    pdf = (tmp_path / "safety.pdf").read_bytes()
    assert b"/Type3" not in pdf and b"/FontFile2" in pdf
    assert ">before</text>" in (tmp_path / "safety.svg").read_text()


def test_the_caller_s_axes_take_a_figure_and_keep_their_place():
    _, (left, right) = plt.subplots(1, 2)
    right.set_title("mine")
    table = MINE[MINE["game"] == "stag hunt"]
    assert figures.safety_by_stage(table, ax=left) is left
    figures.safety_by_stage(table, ax=right)
    assert (left.get_title(), right.get_title()) == ("stag hunt", "mine")
    assert left.figure.get_suptitle() == "" and len(plt.get_fignums()) == 1
    with pytest.raises(ValueError, match="`ax` takes one panel, and the table has 2 values of game"):
        figures.safety_by_stage(MINE, ax=left)


def test_no_setting_of_matplotlib_changes():
    before = dict(plt.rcParams)
    figures.safety_by_stage(MINE).savefig("/dev/null", format="png")
    assert dict(plt.rcParams) == before


def test_palette_order_labels_and_size_mean_what_they_mean_in_seaborn():
    look = {"palette": {"ppo": "#123456"}, "labels": {"ppo": "PPO"}}
    grid = figures.safety_by_stage(MINE, order=["ppo"], height=2, aspect=1.5, col_wrap=1, **look)
    ax = grid.axes_dict["stag hunt"]
    assert list(bars(ax)) == ["PPO"] and ax.containers[0].lines[0].get_color() == "#123456"
    assert "Left out: stage = before" not in grid.caption and "configuration = before" in grid.caption
    assert grid.figure.get_figwidth() == 3.0 and len({ax.get_position().x0 for ax in grid.axes.flat}) == 1
    named = figures.safety_by_stage(MINE, palette="rocket")
    listed = figures.safety_by_stage(MINE, palette=["red", "blue"])
    colours = [[bar.lines[0].get_color() for bar in g.axes.flat[0].containers] for g in (named, listed)]
    assert len(set(colours[0])) == 2 and colours[1] == ["#ff0000", "#0000ff"]


FAULTS = {
    "numbers": (MINE.assign(safety="high"), {}, "column 'safety' must hold finite numbers; it holds 'high'"),
    "infinite": (MINE.assign(safety=np.inf), {}, "column 'safety' must hold finite numbers; it holds inf"),
    "boolean": (
        MINE.assign(stage="sepo", reported="yes"),
        {},
        "'reported' must hold True or False; it holds 'yes'",
    ),
    "twice": (
        pd.concat([MINE, MINE]),
        {},
        "24 rows occur more than once .* game hawk-dove, configuration before, seed 0",
    ),
    "copies": (pd.concat([MINE, MINE]).drop(columns="seed"), {}, "24 rows occur more than once"),
    "column": (MINE.drop(columns="stage"), {}, r"needs the columns \['stage'\]; the table has"),
    "pools": (MINE.assign(pools="own"), {}, r"No row has pools = paper; the table has \['own'\]"),
    "order": (
        MINE,
        {"order": ["sft"]},
        r"`order` names \['sft'\], but configuration .* has \['before'",
    ),
    "palette": (MINE, {"palette": ["red"]}, "`palette` has 1 colours for 2 values of stage"),
    "colour": (MINE, {"palette": {"ppo": "red"}}, r"`palette` has no colour for \['before'\]"),
    "errorbar": (MINE, {"errorbar": "iqr"}, "There is no errorbar 'iqr'; choose"),
    "ends": (MINE, {"errorbar": "table"}, r"lacks \['safety_low', 'safety_high'\]"),
    "labels": (
        MINE,
        {"labels": {"PPO": "x"}},
        r"`labels` names \['PPO'\], but the table has \['before', 'ppo'\]",
    ),
    "hue": (MINE, {"hue": "lab"}, r"needs the columns \['lab'\]"),
    "type": ({"safety": [1]}, {}, "draws a pandas DataFrame, not dict"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_drawn_is_one_sentence(fault):
    data, options, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        figures.safety_by_stage(data, **options)


def test_empty_cells_are_left_out_and_said():
    grid = figures.safety_by_stage(MINE.assign(safety=MINE["safety"].where(MINE["seed"] != 1)))
    assert "Left out: 4 rows without a value of safety." in grid.caption
    with pytest.raises(figures.NothingToDraw, match="'safety' has no value"):
        figures.safety_by_stage(MINE.assign(safety=np.nan))


def _games(number):
    return pd.concat(
        [MINE[MINE["game"] == "stag hunt"].assign(game=f"a game with a long name {k}") for k in range(number)]
    )


def _models(number):
    table = evaluation(games=("ipd", "kuhn"))
    return pd.concat([table.assign(model=f"meta-llama/Llama-3.{k}-{k}B-Instruct") for k in range(number)])


@pytest.mark.parametrize("width", [figures.WIDTH, figures.COLUMN])
@pytest.mark.parametrize(
    "data", [MINE, _games(14), _models(2), _models(12), evaluation()], ids="mine games two many own".split()
)
def test_labels_do_not_overlap(data, width):
    grid = figures.safety_by_stage(data, width=width)
    assert grid.figure.get_figwidth() <= width + 0.01
    assert overlaps(grid.figure) == []
    assert (
        len(
            {
                text.get_text()
                for text in (grid.figure.legends or [grid.figure.axes[-1].get_legend()])[0].get_texts()
            }
        )
        > 1
    )


def test_a_dollar_is_no_mathematics():
    names = {"before": "pay $5 or $\\x_{"}
    grid = figures.safety_by_stage(MINE.replace({"stage": names, "game": {"stag hunt": "$1 or $2"}}))
    grid.savefig("/dev/null", format="png")
    assert r"pay \$5 or \$\x_{" in bars(grid.axes_dict["$1 or $2"])
    assert grid.axes_dict["$1 or $2"].get_title() == r"\$1 or \$2"
