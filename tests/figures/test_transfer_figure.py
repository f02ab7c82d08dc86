"""The matrix of what training in one game changes in the others: its texts, its widths, its empty cells."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest

from sepo_lib import figures

GAMES = ("ipd", "auction", "split", "deal", "kuhn")


def matrix(seeds=(1, 2, 3, 4, 5), noise=0.1, **names):
    rng = np.random.default_rng(0)
    rows = [
        {"trained_on": trained_on, "game": game, "seed": seed}
        | {"safety": (trained_on != "sft") * (0.1 + (trained_on in (game, "all"))) + noise * rng.normal()}
        for trained_on in ("sft", *GAMES, "all")
        for game in GAMES
        for seed in seeds
    ]
    return pd.DataFrame(rows).replace({"trained_on": names, "game": names})


def texts(ax):
    ax.figure.draw_without_rendering()
    return ax.texts, [text.get_window_extent() for text in ax.texts]


@pytest.mark.parametrize("width", [figures.WIDTH, 4.5, figures.COLUMN])
def test_no_text_leaves_its_cell_and_no_names_overlap_at_any_width(width):
    table = matrix(ipd="a rather long name of a game that nobody knows")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = figures.transfer_matrix(table, width=width)
        found, boxes = texts(ax)
    cell = ax.bbox.width / len(GAMES)
    assert len(found) == 30 and max(box.width for box in boxes) < cell
    assert max(box.height for box in boxes) < ax.bbox.height / 6
    names = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(names, 2))
    assert max(name.x1 for name in names) < ax.bbox.x0 and min(name.x0 for name in names) > 0


def test_ends_stand_below_each_other_where_the_cells_are_narrow():
    wide, narrow = (figures.transfer_matrix(matrix(), width=width) for width in (7.1, 3.3))
    assert wide.texts[0].get_text().count("\n") == 1 and narrow.texts[0].get_text().count("\n") == 2
    assert wide.get_xlabel().endswith("\n* the interval does not contain 0")
    assert wide.texts[0].get_text().endswith("]*") and "number of cells is not corrected for" in wide.caption


def test_a_change_that_is_equal_in_all_seeds_has_no_interval_and_no_star():
    table = matrix(noise=0.0)
    ax = figures.transfer_matrix(
        table.assign(safety=table["safety"].where(table["trained_on"] != "all", 0.0))
    )
    assert {text.get_text() for text in ax.texts} == {"+1.10", "+0.10", "0.00"}
    assert "Without an interval: 30 cells with the same change in all seeds." in ax.caption


def test_rounding_writes_no_minus_zero_and_an_empty_cell_has_no_grid():
    table = matrix((1, 2))
    table.loc[table["trained_on"] == "kuhn", "safety"] = np.nan
    base = table.loc[table["trained_on"] == "sft"].set_index(["game", "seed"])["safety"]
    small = table["trained_on"] == "deal"
    at = pd.MultiIndex.from_frame(table.loc[small, ["game", "seed"]])
    table.loc[small, "safety"] = base[at].to_numpy() - 0.001 * table.loc[small, "seed"]
    ax = figures.transfer_matrix(table, order=["ipd", "deal"])
    assert ax.texts[5].get_text() == "0.00\n[-0.01, 0.00]"
    assert not any(line.get_visible() for line in ax.get_xgridlines())
