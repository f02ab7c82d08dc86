"""The figures of strategies: situations in their order, panels without repetition, the nearest strategies."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from figure_tables import bars

from sepo_lib import figures

TWO = {"first": 0.25, "after a win": 0.75, "never": None, "seldom": 0.5}


def situations(values=TWO, actions=("HUNT", "GATHER"), **columns):
    return pd.DataFrame(
        {"kind": "situation", "game": "stag hunt", "stage": stage, "seed": seed, "situation": situation}
        | {"action": action if value is not None else "", "decisions": 0 if value is None else 40}
        | {"value": value if number == 0 or value is None else (1 - value) / (len(actions) - 1)}
        | columns
        for stage in ("before", "ppo")
        for seed in (1, 2)
        for situation, value in values.items()
        for number, action in enumerate(actions if value is not None else actions[:1])
    )


def test_situations_keep_their_order_and_a_share_that_follows_has_no_panel(tmp_path):
    table = situations()
    table.loc[table["situation"] == "seldom", "decisions"] = 3
    table.to_csv(tmp_path / "mine.csv", index=False)
    grid = figures.behaviour(pd.read_csv(tmp_path / "mine.csv"))
    assert list(grid.axes_dict) == ["HUNT"]
    ax = grid.axes_dict["HUNT"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first", "after a win"]
    assert ax.get_title() == "stag hunt: HUNT" and ax.get_ylabel() == "share of decisions"
    assert "Left out: 8 rows of fewer than 10 decisions." in grid.caption
    assert grid.caption.count("Wilson's interval") == 1
    both = figures.behaviour(table, least=1).axes_dict["HUNT"].get_xticklabels()
    assert [label.get_text() for label in both] == ["first", "after a win", "seldom"]


def test_three_actions_have_three_panels_and_a_number_has_one_with_its_unit():
    assert list(figures.behaviour(situations(actions=("L", "M", "H"))).axes_dict) == ["L", "M", "H"]
    demands = situations({"first": 5.0, "after 6": 7.5}, actions=("demand (points)",))
    ax = figures.behaviour(demands).axes_dict["demand (points)"]
    assert ax.get_ylabel() == "demand\n(points)" and ax.get_ylim()[1] > 7


def test_a_registered_game_names_what_its_situations_are():
    ax = figures.behaviour(situations(game="auction"), game="auction").axes_dict["HUNT"]
    assert ax.get_xlabel() == "own value, other's last bid" and ax.get_title() == "Auction: HUNT"


def agreements(**columns):
    values = {"hawk": (0.9, 0.2), "bold": (0.9, 0.2), "dove": (0.1, 0.8), "coin": (0.5, 0.5)}
    return pd.DataFrame(
        {"kind": "opponent", "game": "g", "stage": stage, "seed": seed, "situation": "all", "action": name}
        | {"value": value + seed / 100, "decisions": 600}
        | columns
        for name, by_stage in values.items()
        for stage, value in zip(("before", "ppo"), by_stage, strict=True)
        for seed in (1, 2)
    )


def test_the_nearest_strategies_stand_in_the_order_of_the_last_stage():
    ax = figures.nearest_strategies(agreements(), most=1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dove", "hawk or bold"]
    assert set(bars(ax)) == {"before", "ppo"}
    _, mine = plt.subplots()
    assert figures.nearest_strategies(agreements(), order=["ppo"], ax=mine) is mine


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.behaviour(pd.concat([situations()] * 2)), "rows occur more than once"),
        (
            lambda: figures.behaviour(pd.concat([situations(), situations(game="b")])),
            "one value of the column",
        ),
        (lambda: figures.nearest_strategies(pd.concat([agreements()] * 2)), "rows occur more than once"),
        (lambda: figures.nearest_strategies(agreements(kind="expert")), "The table is empty"),
        (lambda: figures.behaviour(situations(game="kuhn"), game="kuhn"), "`kuhn_strategy` draws the"),
        (lambda: figures.behaviour(situations(), least=50), "fewer than 50 decisions, which are not drawn"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
