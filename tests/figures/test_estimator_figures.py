"""The figures and the document of the studies without a model: they show the numbers of their tables."""

import numpy as np
import pandas as pd
import pytest
from figure_tables import across

from sepo_lib import figures, games
from sepo_lib.config import paths
from sepo_lib.method import credit
from sepo_lib.report import documents, findings
from sepo_lib.studies import estimators, headroom, published


@pytest.fixture(scope="module")
def table():
    """One true policy in Kuhn, and the same numbers once more as a policy on a kink of J."""
    true = estimators.measure("equilibrium", games.get("kuhn"), "paper", 80, [4, 8], seed=3)
    kink = true.assign(policy="uniform", nearest_margin=0.0, cosine=-0.5, bias_norm=99.0)
    return pd.concat([true, kink], ignore_index=True).assign(profile="smoke")


@pytest.fixture(scope="module")
def room():
    return headroom.measure(games.get("ipd"), "conflict", 0).assign(profile="smoke")


def test_cosines_are_drawn_where_the_table_has_them(table):
    grid = figures.estimator_cosines(table)
    (ax,) = grid.axes_dict.values()
    rows = table[(table.group_size == 8) & (table.term == "J") & (table.policy == "equilibrium")]
    own = rows[(rows.how == "unbiased") & (rows.switch == "none") & (rows.groups == 80)]
    drawn = np.array([bar.lines[0].get_xdata()[0] for bar in ax.containers])
    for value in own.cosine:  # one group in a batch, and many
        assert np.isclose(drawn, value).any()
    assert len(drawn) == 2 * (len(figures.ESTIMATORS) - 1)  # two policies; one switch cannot act
    (words,) = ax.texts
    assert words.get_text() == figures.NO_EFFECT
    row = list(figures.ESTIMATORS).index(("published", "weights"))
    assert words.xy[1] == ax.get_yticks()[row]
    faces = {
        bar.lines[0].get_markerfacecolor()
        for bar in ax.containers
        if np.allclose(bar.lines[0].get_xdata(), -0.5)
    }
    assert faces == {"white"}  # a kink is an open marker


def test_a_preset_of_a_contributor_has_a_look_and_a_label(monkeypatch):
    monkeypatch.setitem(credit.PRESETS, "new", credit.PRESETS["unbiased"].with_(weights="equal"))
    assert figures.labels_of(["unbiased", "new", "published"]) == {
        "published": "SEPO, published",
        "new": "SEPO, new",
    }
    assert figures.run_look("credited", "new").label == "credited, new"


def test_published_estimators_are_drawn_where_the_table_has_them(table):
    ours = ["published", "authors_current", "unbiased, margins known"]
    ours += [estimators.ALONG_PLAY, estimators.ENUMERATED]
    added = [name for name in credit.PRESETS if name not in (*ours, "unbiased")]
    names = [*published.ELSEWHERE, *ours, *added]
    labels = [*published.ELSEWHERE, "SEPO, published", "SEPO, authors' code", "unbiased, margins known"]
    labels += ["enumerated along play", "enumerated"]
    labels += [f"SEPO, {name}" for name in added]
    grid = figures.estimators_elsewhere(table)
    (ax,) = grid.axes_dict.values()
    assert [label.get_text() for label in ax.get_yticklabels()] == labels
    rows = table[(table.group_size == 8) & (table.policy == "equilibrium") & (table.groups == 80)]
    rows = rows[(rows.term == "J") & (rows.switch == "none") & (rows.groups_per_batch == 1)].set_index("how")
    drawn = [mark for marks in across(ax).values() for mark in marks]
    for y, how in enumerate(names):
        for measure, aside in (("cosine", 0.18), ("batch_cosine", -0.18)):
            row = rows.loc[how]
            expected = (aside - y, row[measure], row[f"{measure}_low"], row[f"{measure}_high"])
            flat = expected[3] - expected[2] <= 1e-12  # an interval without a width is not drawn
            assert any(np.allclose(mark[: 2 if flat else 4], expected[: 2 if flat else 4]) for mark in drawn)
    assert -0.5 not in [x for _, x, _, _ in drawn]  # there J has no gradient
    assert "policies at which J has no gradient" in grid.caption


def test_intervals_of_independent_rows_add_up_in_squares():
    rows = pd.DataFrame({"m": [1.0, 3.0], "m_low": [0.7, 2.6], "m_high": [1.0, 3.2]})
    assert figures.mean_of_intervals(rows, "m") == pytest.approx((2.0, 2.0 - 0.25, 2.0 + 0.1))


def test_bias_is_relative_to_the_exact_gradient(table):
    grid = figures.estimator_bias(table)
    place = grid.axes_dict["bias", "Kuhn poker\npaper pools"]
    own = table[(table.how == "unbiased") & (table.switch == "none") & (table.groups == 80)]
    own = own[(own.term == "J") & (own.groups_per_batch == 1) & (own.policy == "equilibrium")]
    expected = (own.bias_norm / own.exact_norm).to_numpy()
    assert any(np.allclose(line.get_ydata(), expected) for line in place.lines)
    with pytest.raises(figures.NothingToDraw, match="policy = cooperative"):
        figures.estimator_bias(table, policy="cooperative")


def test_the_band_of_sampling_noise_reaches_from_the_least_to_the_most_noisy_estimator():
    """Exact length 2; noise of 0.2 and 0.6 at G = 4, and of 0.1 and 0.4 at G = 8."""
    rows = [
        {"game": "ipd", "policy": "equilibrium", "how": how, "group_size": size, "noise_norm": noise}
        | {"bias_norm": 1.0, "variance": 4.0, "exact_norm": 2.0}
        for how, noises in (("mine", (0.2, 0.1)), ("yours", (0.6, 0.4)))
        for size, noise in zip((4, 8), noises, strict=True)
    ]
    grid = figures.estimator_bias(pd.DataFrame(rows))
    ax = grid.axes_dict["bias", "Prisoner's dilemma"]
    (band,) = ax.collections
    vertices = {(x, round(y, 9)) for x, y in band.get_paths()[0].vertices}
    assert {(4.0, 0.1), (4.0, 0.3), (8.0, 0.05), (8.0, 0.2)} == vertices
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.5, 0.5]] * 2
    noise = grid.axes_dict["noise", "Prisoner's dilemma"]
    assert [list(line.get_ydata()) for line in noise.lines] == [[1.0, 1.0]] * 2
    for panel in (ax, noise):  # a logarithmic axis has two ticks or more, and names the group sizes
        low, high = panel.get_ylim()
        assert sum(low <= tick <= high for tick in panel.get_yticks()) >= 2
        assert [tick.get_text() for tick in panel.get_xticklabels()] == ["4", "8"]


def test_headroom_marks_both_winners(room):
    ax = figures.headroom(room)
    row, every = room[room.weights == "train"].itertuples()
    drawn = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert drawn == [row.best_payoff_J, row.best_J, every.best_payoff_J, every.best_J]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names[1] == f"{names[0]}, every strategy"
    assert ax.texts[0].get_text() == (
        f"u {row.best_payoff_u:.2f} to {row.best_u:.2f}, e {row.best_payoff_e:.2f} to {row.best_e:.2f}"
    )


@pytest.mark.parametrize("name", ["estimator_cosines", "estimator_bias", "estimators_elsewhere", "headroom"])
def test_a_table_without_rows_or_columns_is_refused(name):
    with pytest.raises(figures.NothingToDraw):
        getattr(figures, name)(pd.DataFrame())
    with pytest.raises(ValueError, match="needs the columns"):
        getattr(figures, name)(pd.DataFrame({"game": ["ipd"]}))


def test_the_document_is_filled_from_the_tables(table, room, tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    document = tmp_path / "docs" / "ESTIMATORS.md"
    document.parent.mkdir()
    document.write_text("before\n")
    paths.write_table(table, "smoke", "estimators")
    with pytest.raises(FileNotFoundError, match=r"headroom\.csv does not exist yet"):
        documents.update_estimators("smoke")
    paths.write_table(room, "smoke", "headroom")
    with pytest.raises(ValueError, match="lacks the lines"):
        documents.update_estimators("smoke")
    document.write_text(f"before\n{documents.NUMBERS}\nstale\n{documents.END_OF_NUMBERS}\nafter\n")
    documents.update_estimators("smoke")
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "stale" not in text
    assert "of 1 settings" in text and "-0.5000" not in text  # the kink is left out
    assert "| nan" not in text and "+nan" not in text
    rows = table[(table.policy == "equilibrium") & (table.groups == 80) & (table.term == "J")]
    published = rows[(rows.how == "published") & (rows.switch == "none") & (rows.group_size == 8)]
    assert f"| kuhn | paper | {published.cosine.item():.4f} |" in text
    assert "| weights | -0." in text or "| weights | +0." in text  # of the unbiased preset, where they act
    assert text.count("(0, 1, 0)") + text.count("(1, 0, 0)") + text.count("(0, 0, 1)") == 9  # not ten
    assert f"| {figures.NO_EFFECT} |" in text
    batch = rows[(rows.how == "MARSHAL") & (rows.group_size == 8)].iloc[0]
    assert (
        f"| {batch.batch_cosine:.3f} [{batch.batch_cosine_low:.3f}, {batch.batch_cosine_high:.3f}] |" in text
    )
    reached = rows[(rows.switch == "none") & (rows.group_size == 8) & (rows.how == estimators.KNOWN)].cosine
    assert (
        f"has a cosine of at least 0.999 in {int((reached >= 0.999).sum())} of 1 settings with known margins"
        in text
    )
    turned = rows[(rows.how == "unbiased") & (rows.switch == "clamp") & (rows.group_size == 8)]
    change = turned[turned.groups_per_batch == 1].change.item()
    assert f"| clamp | {change:+.3f} (" in text
    assert f"{room.best_J[0]:.3f} ({room.best_u[0]:.2f}, {room.best_e[0]:.2f}) | {room.gap[0]:.3f} |" in text


def test_the_document_leaves_out_the_clamp_where_it_cannot_act(table, room, tmp_path, monkeypatch):
    """Also turned in `unbiased`, where it turns a horizon in the split."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    paths.write_table(table.assign(game="split"), "smoke", "estimators")
    paths.write_table(room, "smoke", "headroom")
    text = documents.numbers("smoke")
    assert f"| clamp | {figures.NO_EFFECT} | {figures.NO_EFFECT} |" in text
    assert "| horizon | -" in text or "| horizon | +" in text


def test_the_committed_document_is_that_of_a_committed_table():
    from sepo_lib.config import profiles

    text = (paths.root() / "docs" / "ESTIMATORS.md").read_text(encoding="utf-8")
    block = text.split(documents.NUMBERS + "\n")[1].split("\n" + documents.END_OF_NUMBERS)[0]
    kept = [name for name in profiles.names() if name != "smoke" and profiles.load(name).model == "nano"]
    made = [name for name in kept if paths.table(name, "estimators").exists()]
    if not made:
        assert block == "The table has not been made yet."
    else:
        assert block in [documents.numbers(name) for name in made]
        block = text.split(documents.OUTCOMES + "\n")[1].split("\n" + documents.END_OF_OUTCOMES)[0]
        assert block in [findings.outcomes(name) for name in made]
