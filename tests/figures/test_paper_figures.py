"""The authors' models: only what may be compared is drawn, and NashConv has its interval."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawn_text import overlaps
from figure_tables import evaluation

from sepo_lib import figures
from sepo_lib.figures import theme
from sepo_lib.measure import authors, exploitability
from sepo_lib.measure.statistics import interval


def panels(table, paper, **options):
    return figures.paper_against_ours(table, paper, **options).axes_dict


def legend(drawn) -> list[str]:
    return [text.get_text() for text in drawn.figure.legends[0].get_texts()]


def test_paper_against_ours_shows_every_compared_value():
    """One row a recipe: J to the right, at the height of its own row, and nothing that is not compared."""
    table, paper = evaluation(("ipd", "kuhn", "deal")), authors.load()
    grid = figures.paper_against_ours(table, paper)
    sides = [(game, ours) for game in ("ipd", "deal") for ours in (False, True)]
    assert list(grid.axes_dict) == sides  # in Kuhn no row of the authors is compared
    assert "Kuhn poker, without a comparable row of the authors" in grid.caption
    assert "102 rows of the authors that cannot be compared" in grid.caption
    data = authors.side_by_side(figures.configured(table), paper)
    rows = [key for key in authors.STAGES if key in set(data.recipe)]
    for (game, ours), ax in grid.axes_dict.items():
        drawn = {(round(float(x), 9), round(float(y))) for line in ax.lines for x, y in [*line.get_xydata()]}
        here = data[(data.game == game) & (data.ours == ours)]
        assert {(round(r.safety, 9), rows.index(r.recipe)) for r in here.itertuples()} <= drawn
        sft = table[(table.game == game) & (table.pools == "paper") & (table.stage == "sft")]
        low, high = interval(sft.safety)[1:]
        ends = [bar.get_segments()[0] for box in ax.containers for bar in box.lines[2]]
        assert any(end[:, 0] == pytest.approx([low, high]) for end in ends) == ours
    assert legend(grid) == [
        *("m (ours)", "authors: gemma-3-4b-it (first)", "authors: gemma-4-e4b-it (first)"),
        *("authors: gemma-4-e4b-it (rerun)", "earlier checkpoints"),
    ]
    labels = [label.get_text() for label in grid.axes.flat[0].get_yticklabels()]
    assert labels == [
        *("base model", "SFT", "SEPO, per rollout\n(published)"),
        *("SEPO, credited\n(authors_current)", "SEPO, unbiased"),
    ]


def stored(*models, games=("ipd",)) -> pd.DataFrame:
    """A table of other authors, with base and SFT of each model."""
    return pd.DataFrame(
        {"game": game, "who": model, "recipe": recipe, "safety": 1.0 * number}
        for game in games
        for number, model in enumerate(models)
        for recipe in ("base", "sft")
    )


def test_any_number_of_models_and_any_recipe_is_drawn():
    table = evaluation(("ipd",))
    names = [f"M{n}" for n in range(6)]
    axes = panels(pd.concat([table, table.assign(model="n")]), stored(*names))
    assert len(axes["ipd", False].containers) == 12 and len(axes["ipd", True].containers) == 8
    mine = table[table["preset"] == "unbiased"].assign(preset="mine", safety=7.0)
    stage = table[table["stage"] == "sft"].assign(stage="ppo", safety=8.0)
    grid = figures.paper_against_ours(pd.concat([table, mine, stage]), stored("M"), labels={"ppo": "PPO"})
    labels = [label.get_text() for label in grid.axes.flat[0].get_yticklabels()]
    assert labels[-2:] == ["PPO", "mine"]
    bare = table.query("stage == 'sft' and pools == 'paper' and seed == 1")[["game", "stage", "safety"]]
    assert len(panels(bare, stored("M"))["ipd", True].containers) == 1


def test_the_panels_of_a_game_have_one_scale_and_an_empty_row_says_so():
    axes = panels(evaluation(("ipd", "deal")), authors.load())
    for game in ("ipd", "deal"):
        left, right = axes[game, False], axes[game, True]
        assert left.get_xlim() == right.get_xlim()
        zeros = [[line for line in ax.lines if list(line.get_xdata()) == [0, 0]] for ax in (left, right)]
        assert len(zeros[0]) == len(zeros[1])
    assert axes["ipd", True].get_xlim() != axes["deal", True].get_xlim()
    empty = {
        key: [text.xy[1] for text in ax.texts if text.get_text() == "no data"] for key, ax in axes.items()
    }
    assert empty["ipd", True] == [3] and empty["ipd", False] == [4]  # authors_current; unbiased


def test_recipes_and_models_are_chosen_and_coloured_by_the_call():
    table = evaluation(("ipd",))
    options = {"order": ["sft", "base"], "hue_order": ["m (ours)", "M1"], "palette": ["red", "blue"]}
    grid = figures.paper_against_ours(table, stored("M0", "M1"), **options)
    assert legend(grid) == ["m (ours)", "authors: M1"]
    labels = [label.get_text() for label in grid.axes.flat[0].get_yticklabels()]
    assert labels == ["SFT", "base model"]
    assert "recipe = published, unbiased" in grid.caption and "who = M0" in grid.caption


@pytest.mark.parametrize(
    ("table", "paper", "message"),
    [
        (evaluation(("kuhn",)), stored("M"), r"no comparable row in the games \['kuhn'\].*\['ipd'\]"),
        (evaluation(("ipd",)).drop(columns="safety"), stored("M"), r"needs the columns \['safety'\]"),
        (evaluation(("ipd",)), stored("M").drop(columns="who"), r"needs the columns \['who'\]"),
        (evaluation(("ipd",)), stored("M").assign(reason="other opponents"), "No row of the authors"),
        (pd.concat([evaluation(("ipd",))] * 2), stored("M"), "rows occur more than once"),
        (evaluation(("ipd",)).assign(reported="yes"), stored("M"), "must hold True or False; it holds 'yes'"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(table, paper, message):
    with pytest.raises(ValueError, match=message):
        figures.paper_against_ours(table, paper)


# ------------------------------------------------------------------------------------ paper_nashconv


def test_the_papers_nashconv_with_its_interval():
    table = exploitability.paper_nashconv()
    grid = figures.paper_nashconv(table)
    assert list(grid.axes_dict) == ["gemma-4-e4b-it", "qwen-3.5-4b"]
    for model, ax in grid.axes_dict.items():
        own = table[table["model"] == model]
        drawn = [box for box in ax.containers if box.get_label() == "NashConv of the printed frequencies"]
        assert [box.lines[0].get_ydata()[0] for box in drawn] == pytest.approx(own.nashconv)
        ends = np.array([box.lines[2][0].get_segments()[0][:, 1] for box in drawn])
        assert ends == pytest.approx(own[["nashconv_low", "nashconv_high"]].to_numpy())
    assert [label.get_text() for label in ax.get_xticklabels()] == ["base", "SFT", "SEPO\n75"]


def test_several_llamas_keep_their_names():
    table = exploitability.paper_nashconv()[:4]
    names = ["Llama-3.1-8B-Instruct", "Llama-3.1-70B-Instruct", "Llama-3.2-1B"]
    llamas = pd.concat([table.assign(model=name) for name in names])
    grid = figures.paper_nashconv(llamas, order=names[::-1], labels={"Llama-3.2-1B": "small"})
    assert sorted(ax.get_title().replace("\n", "") for ax in grid.axes.flat) == sorted([*names[:2], "small"])
    both = figures.paper_nashconv(pd.concat([table, table.assign(generation="first")]))
    assert list(both.axes_dict) == ["gemma-4-e4b-it\n(rerun)", "gemma-4-e4b-it\n(first)"]


def test_a_table_of_printed_results_of_ones_own():
    bare = pd.DataFrame(
        {"model": "M", "stage": ["base", "dpo"], "pool_advantage": 0.0, "nashconv": [1.0, 0.5]}
    )
    _, ax = plt.subplots()
    assert figures.paper_nashconv(bare, ax=ax, palette=["red", "black"]) is ax
    assert [label.get_text() for label in ax.get_xticklabels()] == ["base", "dpo"]
    with pytest.raises(ValueError, match="2 rows occur more than once for the same panel, stage"):
        figures.paper_nashconv(pd.concat([bare, bare[:1]]))
    with pytest.raises(ValueError, match=r"needs the columns \['stage'\]"):
        figures.paper_nashconv(bare.drop(columns="stage"))


def test_no_label_of_the_png_file_is_cut():
    """Letters are wider at the resolution of the file than at that of the figure."""
    figure = figures.paper_against_ours(evaluation(("ipd", "deal")), authors.load()).figure
    with theme.style():
        theme.settle(figure, theme.DPI)
        figure.set_dpi(theme.DPI)
        assert overlaps(figure) == []
    plt.close(figure)
