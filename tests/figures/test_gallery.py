"""The gallery: files and captions, refused tables, the style, and games that are registered later."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pandas as pd
import pytest
from figure_tables import ablation, evaluation, kuhn, training

from sepo_lib import figures, games
from sepo_lib.config import paths
from sepo_lib.figures import gallery, notes, rows
from sepo_lib.run import results

PAPER = Path(__file__).resolve().parents[2] / "data" / "paper" / "authors_results.csv"


def test_draw_all_writes_the_same_bytes_twice_and_skips_what_is_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    (tmp_path / "data" / "paper").mkdir(parents=True)
    shutil.copy(PAPER, tmp_path / "data" / "paper")
    with pytest.raises(FileNotFoundError, match="evaluation"):
        figures.draw_all("p")
    table = evaluation(games=("ipd",))
    paths.write_table(table, "p", "evaluation")
    paths.write_table(training(), "p", "training")
    paths.write_table(ablation()[:0], "p", "ablation")
    paths.write_table(results.empty("exploitability"), "p", "exploitability")
    paths.write_table(results.empty("strategies"), "p", "strategies")
    files = figures.draw_all("p")
    stems = {"safety_by_stage", "exploit_by_stage", "paper_against_ours", "training_curves_ipd"}
    assert {file.stem for file in files} == stems
    assert sorted(paths.figures("p").iterdir()) == sorted(files)
    printed = capsys.readouterr().out
    assert all(
        f"{name}: skipped" in printed
        for name in ("kuhn_strategy", "exploitability", "ablation_outcomes", "headline")
    )
    first = {file: file.read_bytes() for file in files}
    assert {file: file.read_bytes() for file in figures.draw_all("p")} == first
    assert not any(b"CreationDate" in data or b"Matplotlib" in data for data in first.values())


def test_every_figure_of_a_run_has_a_caption_and_a_table():
    for name, entry in figures.FIGURES.items():
        assert hasattr(figures, name), "import the function in sepo_lib/figures/__init__.py"
        assert getattr(figures, name) is entry.draw
        assert entry.caption.endswith(".")
    assert {entry.reads for entry in figures.FIGURES.values() if entry.reads} <= set(paths.TABLES)


def test_the_papers_pools_come_first_and_the_caption_names_the_part():
    table = pd.DataFrame(
        {"game": game, "pools": pools, "seed": seed, "step": step, "payoff": 1.0 + seed}
        for game in ("kuhn", "ipd")
        for pools in ("conflict", "paper")
        for seed in (1, 2)
        for step in (1, 2)
    )
    entry = replace(figures.FIGURES["training_curves"], options={"metrics": ["payoff"]})
    made = dict(gallery._draw(entry, table))
    assert list(made) == [
        f"training_curves_{part}" for part in ("ipd", "ipd_conflict", "kuhn", "kuhn_conflict")
    ]
    caption = gallery.caption_of(made["training_curves_kuhn_conflict"])
    assert "Drawn: game = kuhn (8 of 16 rows); pools = conflict (4 of 8 rows)." in caption


def test_a_name_with_a_comma_is_quoted_in_a_caption():
    table = pd.DataFrame({"how": ["ours", "ours, scaled", "theirs"]})
    with notes.noting() as taken:
        rows.in_order(table, "how", ["theirs"])
    assert taken == {"Left out": ["how = ours, “ours, scaled”"]}


def test_a_new_figure_is_one_decorated_function():
    @figures.figure("Is it safe?", "A caption.", reads="evaluation")
    def a_new_figure(data, *, ax=None):
        figures.note("Left out", "nothing")
        ax = figures.single(ax, width=3, height=2).drawn
        ax.plot(data["safety"])
        return ax

    try:
        assert figures.FIGURES["a_new_figure"].reads == "evaluation"
        ax = a_new_figure(pd.DataFrame({"safety": [1.0, 2.0]}))
        assert ax.figure.get_suptitle() == "Is it safe?"
        assert figures.caption_of(ax) == ax.caption == "A caption. Left out: nothing."
    finally:
        del figures.FIGURES["a_new_figure"]


def test_a_game_that_is_registered_later_is_drawn_with_its_title(monkeypatch):
    monkeypatch.setitem(games.GAMES, "chicken", SimpleNamespace(short_title="Chicken"))
    grid = figures.safety_by_stage(evaluation(("unknown", "chicken", "ipd")))
    titles = {game: ax.get_title() for game, ax in grid.axes_dict.items()}
    assert list(titles) == ["ipd", "chicken", "unknown"]
    assert list(titles.values()) == ["Prisoner's dilemma", "Chicken", "unknown"]


def test_colours_and_markers_repeat_where_there_are_more_games_or_weights():
    table = pd.DataFrame(
        {"game": [f"game {n:02}" for n in range(12)], "measure": "step_seconds", "value": 1.0}
    )
    assert len(figures.bench_scaling(table.assign(episodes=8)).axes_dict) == 12
    sweep = pd.DataFrame({"multiple": range(9), "seed": 1, "game": "ipd", "payoff": 1.0, "exploit": 0.0})
    assert len(figures.frontier(sweep).axes_dict["ipd"].containers) == 9


@pytest.mark.parametrize(
    "draw",
    [
        *(figures.nashconv_training, figures.exploiter_training, figures.paper_nashconv),
        *(figures.frontier, figures.switch_outcomes),
    ],
)
def test_empty_tables_and_missing_columns_are_named(draw):
    with pytest.raises(figures.NothingToDraw):
        draw(pd.DataFrame())
    with pytest.raises(ValueError, match="needs the columns"):
        draw(pd.DataFrame({"seed": [1]}))


CALLS = {
    "safety": lambda **d: figures.safety_by_stage(evaluation().drop(**d)),
    "objective": lambda **d: figures.training_curves(training().drop(**d)),
    "seat": lambda **d: figures.kuhn_strategy(kuhn()[1].drop(**d)),
    "nashconv": lambda **d: figures.exploitability(kuhn()[0].drop(**d)),
    "payoff": lambda **d: figures.ablation_outcomes(ablation().drop(**d)),
    "penalty_gradient_norm": lambda **d: figures.penalty_gradient(ablation().drop(**d)),
}


@pytest.mark.parametrize("column", CALLS)
def test_a_missing_column_is_named(column):
    with pytest.raises(ValueError, match=f"needs the columns \\['{column}'\\]"):
        CALLS[column](columns=column)


@pytest.mark.parametrize("table", [pd.DataFrame(), ablation()[:0], ablation().query("kind == 'gradient'")])
def test_nothing_to_draw(table):
    with pytest.raises(figures.NothingToDraw):
        figures.ablation_outcomes(table)


def test_the_style_leaves_interactive_mode_as_a_notebook_set_it():
    # Restored with the other settings, it would hide every figure of a notebook but the first.
    before = matplotlib.is_interactive()
    try:
        matplotlib.interactive(False)
        with figures.style():
            matplotlib.interactive(True)
        assert matplotlib.is_interactive()
    finally:
        matplotlib.interactive(before)
