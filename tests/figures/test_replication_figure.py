"""Safety after SEPO against the payoff of the SFT model."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib import figures
from sepo_lib.measure import authors


def rows(model="nano"):
    return pd.DataFrame(
        {"model": model, "game": "ipd", "pools": "paper", "share": share, "stage": stage, "preset": preset}
        | {
            "profile": "p",
            "arm": arm,
            "seed": seed,
            "step": 30,
            "start_payoff": 2 + share + seed / 10,
            "safety": seed * share,
        }
        for share in (0.0, 1.0)
        for stage, preset, arm in (
            ("sft", None, None),
            ("sepo", "authors_current", "credited"),
            ("sepo", "unbiased", "credited"),
        )
        for seed in (1, 2, 3)
    )


def test_a_mark_is_the_mean_over_seeds_on_both_axes_and_the_authors_model_is_one_line():
    """The authors' credited model: u 2.836 after SFT, J 1.336 before and 1.752 after."""
    made = figures.replication(rows(), authors.load())
    ax = made.axes_dict["ipd"]
    bars = [bar for bar in ax.containers if bar.get_label() == "SEPO, authors' current code"]
    points = [np.ravel(bar.lines[0].get_data()).tolist() for bar in bars]
    assert points == [pytest.approx([2.2, 0.0]), pytest.approx([3.2, 2.0])]
    (line,) = (line for line in ax.lines if line.get_linestyle() == ":")
    assert np.round(line.get_xydata(), 3).tolist() == [[2.836, 1.336], [2.836, 1.752]]
    assert not any(line.get_linestyle() == ":" for line in figures.replication(rows()).axes_dict["ipd"].lines)
    entries = [text.get_text() for text in made.figure.legends[0].get_texts()]
    assert entries[-2:] == ["authors: SFT", "authors: SEPO"]


def test_rows_with_top_p_have_marks_of_their_own():
    filtered = rows().query("share == 1 and preset != 'unbiased'").assign(top_p=0.95, safety=9.0)
    made = figures.replication(pd.concat([rows().assign(top_p=1.0), filtered]))
    bars = {bar.get_label(): bar for bar in made.axes_dict["ipd"].containers}
    new = bars["SEPO, authors' current code, top-p 0.95"]
    assert np.ravel(new.lines[0].get_data()).tolist() == pytest.approx([3.2, 9.0])
    assert {"SFT", "SFT, top-p 0.95"} <= set(bars)


def test_seeds_that_stand_twice_are_refused_and_models_have_panels():
    with pytest.raises(ValueError, match="36 rows occur more than once for the same game, model, conf"):
        figures.replication(pd.concat([rows()] * 2))
    two = figures.replication(pd.concat([rows(), rows("smollm2")]), authors.load())
    assert len(two.axes_dict) == 2


def test_the_shares_stand_beside_the_sft_models_and_a_single_seed_is_named_in_words():
    made = figures.replication(rows().query("seed == 1"))
    assert [text.get_text() for text in made.axes_dict["ipd"].texts] == ["0", "1"]
    assert "none: one seed (payoff u of the SFT model); none: one seed (safety J)" in made.caption
    unnamed = figures.replication(rows(), order=["authors_current"])
    assert not unnamed.axes_dict["ipd"].texts
