"""Titles and labels of the caller, keywords that do not exist, and captions that say what a table shows."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from figure_tables import ablation, bars, evaluation
from pages import REPOSITORY

from sepo_lib import figures

#: A reader's table, whose stages and arms have names that the kit uses too.
MINE = pd.DataFrame(
    [
        {"game": game, "stage": stage, "seed": seed, "safety": seed + number, "exploit": 0.1 * seed}
        for game in ("chess", "go")
        for number, stage in enumerate(("base", "dpo"))
        for seed in (1, 2, 3)
    ]
)
GO = MINE[MINE["game"] == "go"]


def gallery(name):
    return pd.read_csv(REPOSITORY / "docs" / "gallery" / "tables" / f"{name}.csv")


def test_a_title_of_the_caller_stands_in_the_place_of_the_question():
    grid = figures.safety_by_stage(MINE, title="Elo after $k$ games")
    assert grid.figure.get_suptitle() == "Elo after $k$ games"
    bare = figures.safety_by_stage(MINE, title=None)
    assert bare.figure.get_suptitle() == ""
    assert bare.figure.get_figheight() < grid.figure.get_figheight()
    assert figures.headline(gallery("estimators_trained"), title="mine").figure.get_suptitle() == "mine"
    _, (left, right) = plt.subplots(1, 2)
    figures.safety_by_stage(GO, ax=left, title="mine")
    figures.safety_by_stage(GO, ax=right, title=None)
    assert (left.get_title(), right.get_title(), left.figure.get_suptitle()) == ("mine", "go", "")
    with pytest.raises(ValueError, match="`title` must be a text, or None for no title, not int"):
        figures.safety_by_stage(MINE, title=7)


@pytest.mark.parametrize("name", list(figures.FIGURES))
def test_every_figure_takes_a_title_and_names_itself_if_it_does_not_know_a_keyword(name):
    draw = figures.FIGURES[name].draw
    assert "title" in inspect.signature(draw).parameters
    with pytest.raises(TypeError, match=rf"^{name}\(\) has no keyword `colour`; it takes data, .*title"):
        draw(MINE, colour="red")


def test_the_keywords_that_a_function_passes_on_are_named():
    with pytest.raises(TypeError, match=r"safety_by_stage\(\) has no keyword `hues`; .* hue, .* errorbar"):
        figures.safety_by_stage(MINE, hues="seed")
    with pytest.raises(TypeError, match=r"ablation_outcomes\(\) .* metrics, .*hue_order"):
        figures.ablation_outcomes(MINE, x="arm")


def test_the_axes_are_labelled_as_in_seaborn():
    grid = figures.safety_by_stage(MINE, col_wrap=1)
    grid.set_ylabels("Elo (points)")
    assert {ax.get_ylabel() for ax in grid.axes.flat} == {"Elo (points)"}
    wide = figures.training_curves(
        gallery("training").query("game == 'stag hunt'"), metrics=["payoff", "exploit"]
    )
    wide.set_axis_labels("update", "points")
    assert next(iter(wide.axes.flat)).get_ylabel() == "points"
    assert "update" in {ax.get_xlabel() for ax in wide.axes.flat}


def test_the_stage_base_of_a_reader_is_neither_renamed_nor_one_model():
    grid = figures.safety_by_stage(MINE)
    assert set(bars(grid.axes_dict["go"])) == {"base", "dpo"}
    assert "Error bars: 95% t over 3 seeds." in grid.caption
    for words in ("one model", "base model", "evaluation"):
        assert words not in grid.caption
    own = figures.safety_by_stage(evaluation())
    assert "base model" in bars(own.axes_dict["ipd"])
    assert "95% t over 3 evaluations of one model" in own.caption and "evaluation weights" in own.caption


def test_presets_and_arms_of_a_reader_keep_their_names():
    mine = MINE.assign(stage="sepo", preset=MINE["stage"].replace({"base": "published", "dpo": "unbiased"}))
    assert set(bars(figures.safety_by_stage(mine).axes_dict["go"])) == {"published", "unbiased"}
    grid = figures.ablation_outcomes(ablation().drop(columns="profile"), metrics=["safety"])
    names = {text.get_text() for ax in grid.axes.flat for text in ax.get_yticklabels()} - {""}
    assert names == {"reward_only", "constant", "per_rollout", "credited"}


def test_a_switch_is_only_called_idle_in_a_table_of_the_kit():
    table = pd.DataFrame(
        {"game": "ipd", "pools": "paper", "preset": preset, "seed": seed, "safety": 0.1 * seed}
        for preset in ("published", "published+weights")
        for seed in (1, 2)
    )
    assert "no effect" not in figures.switch_outcomes(table).caption
    assert "no effect by construction" in figures.switch_outcomes(table.assign(profile="p")).caption


def test_an_interval_of_the_table_is_not_called_evaluation_noise():
    one = GO[GO["seed"] == 1].assign(safety_low=0.0, safety_high=9.0)
    grid = figures.safety_by_stage(one)
    assert "those of the columns safety_low and safety_high" in grid.caption
    assert "noise" not in grid.caption and "95%" not in grid.caption
    assert "95%, evaluation noise of one seed" in figures.safety_by_stage(one.assign(profile="p")).caption


def test_rows_without_seeds_are_not_called_seeds():
    grid = figures.safety_by_stage(MINE.drop(columns="seed"))
    assert "Marks are means over rows, dots are single rows." in grid.caption
    assert "95% t over 3 rows" in grid.caption and "seed" not in grid.caption


WORDS = {
    "switch_outcomes": ("recipes", "published recipe"),
    "frontier": ("sweep", "sampl"),
    "weight_sensitivity": ("weights", "evaluation noise"),
    "nashconv_training": ("kuhn_training", "SFT"),
    "exploiter_training": ("kuhn_exploiters", "SFT models", "The kit's", "read from more answers"),
    "transfer_matrix": ("transfer", "SEPO", "SFT"),
    "exploitability": ("kuhn_methods", "sampled"),
    "estimator_cosines": ("estimators", "bootstrap", "preset"),
    "estimators_elsewhere": ("estimators", "bootstrap"),
    "replication": ("sft_models", "authors", "demonstrations"),
    "bench_step": ("step_seconds", "median", "repetitions"),
    "bench_arms": ("decisions_per_second", "median", "repetitions"),
    "crossplay": ("round_robin", "95%", "episodes"),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_caption_says_nothing_of_a_reader_s_table_that_only_the_kit_s_tables_show(name):
    table, *words = WORDS[name]
    caption = getattr(figures, name)(gallery(table)).caption
    assert [word for word in words if word in caption] == []


def test_the_frontier_only_names_the_weight_where_its_hue_is_the_multiple():
    table = gallery("sweep")
    assert "multiples of the game's own weight le" in figures.frontier(table).caption
    method = table.assign(method=np.where(table["multiple"] > 0, "a", "b")).groupby(
        ["game", "method", "seed"]
    )
    caption = figures.frontier(method.mean().reset_index(), hue="method").caption
    assert "weight" not in caption and "Colours: the column method." in caption


def test_a_policy_of_a_reader_is_not_called_near_equilibrium():
    table = gallery("estimators")
    table = table[table["policy"] == "uniform"].assign(policy="equilibrium")
    legend = figures.estimator_cosines(table).figure.legends[0].get_texts()
    assert "near equilibrium" not in [text.get_text() for text in legend]


def test_the_tables_of_a_run_are_tables_of_the_kit():
    """weights.csv has no column `profile`; the figures of a run still name its stages as the kit does."""
    tables = figures.tables_of("study")
    assert all("profile" in table.columns for table in tables.values() if len(table))
    grid = figures.weight_sensitivity(tables["weights"])
    labels = {line.get_label() for ax in grid.axes.flat for line in ax.lines}
    assert {"base model", "SFT", "SEPO, unbiased"} <= labels and not {"base", "sepo"} & labels
