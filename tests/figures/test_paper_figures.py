"""The authors' models: only what may be compared is drawn, and NashConv has its interval."""

import numpy as np
import pytest
from figure_tables import evaluation

from sepo_lib import figures
from sepo_lib.measure import authors, exploitability
from sepo_lib.measure.statistics import interval


def test_paper_against_ours_shows_every_compared_value():
    """One row a recipe: J to the right, at the height of its own row, and nothing that is not compared."""
    table, paper = evaluation(("ipd", "kuhn", "deal")), authors.load()
    grid = figures.paper_against_ours(table, paper)
    assert list(grid.axes_dict) == ["ipd", "deal"]  # in Kuhn no row of the authors is compared
    data = authors.side_by_side(figures.reported(table), paper)
    rows = [key for key in authors.STAGES if key in set(data.recipe)]
    for game, ax in grid.axes_dict.items():
        drawn = {(round(float(x), 9), round(float(y))) for line in ax.lines for x, y in [*line.get_xydata()]}
        mine = data[data.game == game]
        assert {(round(r.safety, 9), rows.index(r.recipe)) for r in mine.itertuples()} <= drawn
        sft = table[(table.game == game) & (table.pools == "paper") & (table.stage == "sft")]
        low, high = interval(sft.safety)[1:]
        ends = [bar.get_segments()[0] for box in ax.containers for bar in box.lines[2]]
        assert any(end[:, 0] == pytest.approx([low, high]) for end in ends)
    legend = {text.get_text() for text in grid.figure.legends[0].get_texts()}
    assert legend == {"m (ours)", *(f"authors: {who}" for who in data.who[~data.ours]), "earlier checkpoints"}
    labels = [label.get_text() for label in grid.axes.flat[0].get_yticklabels()]
    assert labels == [
        *("base model", "SFT", "SEPO, per rollout\n(ours: published)"),
        *("SEPO, credited\n(authors only)", "SEPO, unbiased\n(ours only)"),
    ]
    with pytest.raises(figures.NothingToDraw):
        figures.paper_against_ours(evaluation(("kuhn",)), paper)


def test_the_papers_nashconv_with_its_interval():
    table = exploitability.paper_nashconv()
    ax = figures.paper_nashconv(table)
    (bars,) = (bar for bar in ax.containers if bar.get_label() == "NashConv of the shares")
    assert bars.lines[0].get_ydata() == pytest.approx(table.nashconv)
    ends = np.array([segment[:, 1] for segment in bars.lines[2][-1].get_segments()])
    assert ends == pytest.approx(table[["nashconv_low", "nashconv_high"]].to_numpy())
