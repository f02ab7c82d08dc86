"""The headline figure: its marks are the paired differences, and its title says what they show."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figure_tables import across
from matplotlib.colors import same_color

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.figures.theme import HIGHER, LOWER
from sepo_lib.measure.headline import COMPARED
from sepo_lib.measure.statistics import paired
from sepo_lib.report import headline_page

SEEDS = (1, 2, 3)
NOISE = np.array([-0.01, 0.0, 0.01])


def mine(**gains):
    """A table of the estimators `ppo` and `league`; league minus ppo by game."""
    return pd.DataFrame(
        {"game": game, "estimator": estimator, "seed": seed, "safety": 5.0 * seed + gain * (n > 0)}
        for game, gain_S in gains.items()
        for seed, gain in zip(SEEDS, gain_S, strict=True)
        for n, estimator in enumerate(("ppo", "league"))
    )


def of_kit(estimators, pools="paper", **gains):
    """A table of the kit by game, with the `safety` of each estimator."""
    return pd.DataFrame(
        {"profile": "p", "model": "m", "game": game, "pools": pools, "stage": "sepo", "seed": seed}
        | {
            "preset": COMPARED[name][0],
            "arm": COMPARED[name][1],
            "step": 9,
            "safety": gain * n + noise * n,
        }
        for game, gain in gains.items()
        for n, name in enumerate(estimators)
        for seed, noise in zip(SEEDS, NOISE, strict=True)
    )


def marks(ax):
    """Name of the row -> (label, mean, low, high)."""
    names = {tick: text.get_text() for tick, text in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    return {names[y]: (label, *found) for label, bars in across(ax).items() for y, *found in bars}


def test_the_marks_are_the_paired_differences_and_their_intervals():
    table = mine(chess=1.0 + NOISE, go=-1.0 + NOISE, hex=100 * NOISE)
    grid = figures.headline(table)
    (ax,) = grid.axes_dict.values()
    for game, label in (("chess", "higher"), ("go", "lower"), ("hex", "open")):
        own = table[table["game"] == game].set_index("seed")
        pair = (own[own["estimator"] == name]["safety"] for name in ("league", "ppo"))
        assert marks(ax)[game] == (label, *(pytest.approx(end) for end in paired(*pair)))
    assert grid.figure.get_suptitle() == "J is higher with league in 1 of 3 games (lower in 1)"
    colours = {bar.get_label(): bar.lines[0].get_color() for bar in ax.containers}
    assert same_color(colours["higher"], HIGHER) and same_color(colours["lower"], LOWER)
    assert "interval contains 0" in [text.get_text() for text in grid.figure.legends[0].get_texts()]


def test_the_figure_of_the_study_shows_the_numbers_of_its_table_in_the_readme():
    evaluation = paths.read_table("study", "evaluation")
    grid, effects = figures.headline(evaluation), headline_page.effects(evaluation)
    for panel, changes in (("the penalty", effects.penalty), ("the other switches", effects.switches)):
        drawn = [found[1:] for found in marks_by_row(grid.axes_dict[panel]).values()]
        ordered = sorted(changes, key=lambda one: one.key["pools"] != "paper")
        assert drawn == [pytest.approx(tuple(one.found)) for one in ordered]
    title = grid.figure.get_suptitle().replace("\n", " ")
    up = [sum(one.direction == "up" for one in found) for found in (effects.penalty, effects.switches)]
    assert title.startswith(f"J is higher with the penalty in {up[0]} of {len(effects.penalty)} settings")
    assert f"with the other switches in {up[1]}" in title


def marks_by_row(ax):
    """Height of the row, from above -> (label, mean, low, high)."""
    found = {y: (label, *rest) for label, bars in across(ax).items() for y, *rest in bars}
    return dict(sorted(found.items(), reverse=True))


def test_the_settings_stand_in_the_order_of_the_tables():
    pair = ("reward_only", "unbiased")
    games = {"kuhn": 1.0, "ipd": 1.0, "mine": 1.0}
    grid = figures.headline(pd.concat([of_kit(pair, "conflict", kuhn=1.0, ipd=1.0), of_kit(pair, **games)]))
    (ax,) = grid.axes_dict.values()
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        *("Prisoner's dilemma, paper pools", "Kuhn poker, paper pools", "mine, paper pools"),
        *("Prisoner's dilemma, conflict pools", "Kuhn poker, conflict pools"),
    ]
    assert grid.figure.get_suptitle() == "J is higher with the penalty in 5 of 5 settings"


def test_a_setting_in_which_one_estimator_was_not_trained_says_so():
    three = ("reward_only, published", "reward_only", "unbiased")
    grid = figures.headline(pd.concat([of_kit(three, ipd=1.0), of_kit(three[1:], kuhn=-1.0)]))
    texts = {name: [text.get_text() for text in ax.texts] for name, ax in grid.axes_dict.items()}
    assert texts == {"the penalty": [], "the other switches": ["not trained"]}
    title = "J is higher with the penalty in 1 of 2 games (lower in 1), with the other switches in 1 of 1"
    assert grid.figure.get_suptitle().replace("\n", " ") == title
    with pytest.raises(figures.NothingToDraw, match="both estimators of one of the contrasts"):
        figures.headline(of_kit(("reward_only", "constant"), ipd=1.0))


def test_without_an_interval_nothing_is_called_higher():
    table = mine(chess=[1.0, 1.0, 1.0], go=1.0 + NOISE)
    (ax,) = figures.headline(table).axes_dict.values()
    assert {game: found[0] for game, found in marks(ax).items()} == {"chess": "none", "go": "higher"}
    alone = figures.headline(table[table["seed"] == 1])
    assert alone.figure.get_suptitle().startswith("Where does the penalty")
    one = figures.headline(mine(go=1.0 + NOISE))
    assert one.figure.get_suptitle() == "J is higher with league in go"


def test_contrasts_of_a_reader_have_panels_and_take_the_axes_of_the_caller():
    table = mine(chess=1.0 + NOISE, go=NOISE)
    grid = figures.headline(table, contrasts={"no league": ("ppo", "league")}, labels={"ppo": "PPO"})
    ax = grid.axes_dict["no league"]
    assert ax.get_title() == "No league (3 seeds)\nPPO − league"
    assert marks(ax)["chess"][0] == "lower"
    _, mine_ax = plt.subplots()
    assert figures.headline(table, ax=mine_ax) is mine_ax and mine_ax.figure.get_suptitle() == ""
    both = {"a": ("ppo", "league"), "b": ("league", "ppo")}
    with pytest.raises(ValueError, match="`ax` takes one panel, and the table has 2 values of contrast"):
        figures.headline(table, contrasts=both, ax=mine_ax)
    with pytest.raises(ValueError, match=r"`contrasts` names \['a2c'\], but estimator of the table has"):
        figures.headline(table, contrasts={"x": ("a2c", "ppo")})
    with pytest.raises(ValueError, match="it is a pair of estimators"):
        figures.headline(table, contrasts={"x": "ppo"})
    with pytest.raises(ValueError, match=r"needs the columns \['seed'\]"):
        figures.headline(table.drop(columns="seed"))
    with pytest.raises(figures.NothingToDraw, match="No seed has both estimators"):
        figures.headline(table[(table["estimator"] == "ppo") == (table["seed"] == 1)])
