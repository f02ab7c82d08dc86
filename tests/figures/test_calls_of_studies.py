"""Calls of the figures of ablations, estimators and weights with a reader's own table."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawn_text import overlaps
from figure_tables import ablation, across

from sepo_lib import figures
from sepo_lib.config import paths

LONG = "a game with a rather long name"
SEEDS = (0, 1, 2)

ARMS = pd.DataFrame(
    [
        {"game": game, "arm": arm, "seed": seed}
        | {"safety": seed + n, "payoff": seed - n, "exploit": 0.1 * seed, "penalty_gradient_norm": seed + n}
        for game in ("hawk-dove", "stag hunt")
        for n, arm in enumerate(("my arm", "credited"))
        for seed in SEEDS
    ]
)
RECIPES = ARMS.rename(columns={"arm": "preset"}).replace("credited", "unbiased")
WEIGHTS = pd.DataFrame(
    [
        {"game": game, "weight": "exploit", "value": value, "stage": stage, "seed": seed}
        | {"safety": seed - n * value}
        for game in ("hawk-dove", "stag hunt")
        for n, stage in enumerate(("before", "ppo"))
        for value in (0.0, 1.0, 2.0)
        for seed in SEEDS
    ]
)
SWEEP = pd.DataFrame(
    [
        {"game": game, "multiple": multiple, "seed": seed, "payoff": seed, "exploit": seed + multiple}
        for game in ("hawk-dove", "stag hunt")
        for multiple in range(9)
        for seed in SEEDS
    ]
)
TRAINED = ARMS.rename(columns={"arm": "estimator"})
ROOM = pd.DataFrame({"game": ["hawk-dove", "stag hunt"], "best_payoff_J": [0.0, 1.0], "best_J": [2.0, 1.0]})
ESTIMATES = pd.DataFrame(
    [
        {"game": game, "policy": policy, "how": how, "group_size": size, "cosine": 0.9, "batch_cosine": 0.5}
        | {"bias_norm": 0.1, "noise_norm": 0.01, "variance": 1.0, "exact_norm": 1.0}
        for game in ("hawk-dove", "stag hunt")
        for policy in ("mine", "equilibrium")
        for how in ("my estimator", "yours")
        for size in (4, 8)
    ]
)
STARTS = pd.DataFrame(
    [
        {"game": game, "share": share, "stage": stage, "seed": seed}
        | {"start_payoff": 2 + share + 0.1 * seed, "safety": seed + n * share}
        for game in ("hawk-dove", "stag hunt")
        for n, stage in enumerate(("before", "ppo"))
        for share in (0.0, 0.5, 1.0)
        for seed in SEEDS
    ]
)
#: Name of a figure -> a table that the kit did not make, with its fewest columns, and the number of panels.
TABLES = {
    "ablation_outcomes": (ARMS, 6),
    "penalty_gradient": (ARMS, 2),
    "switch_outcomes": (RECIPES, 6),
    "headline": (TRAINED, 1),
    "headroom": (ROOM, 1),
    "weight_sensitivity": (WEIGHTS, 2),
    "frontier": (SWEEP, 2),
    "replication": (STARTS, 2),
    "estimator_cosines": (ESTIMATES, 2),
    "estimator_bias": (ESTIMATES, 4),
    "estimators_elsewhere": (ESTIMATES, 2),
}
#: Figures with one row, and no panel, for each game.
ROWS = ("headroom", "headline")
#: Figure -> the arguments with which one game has one panel.
ONE = {
    "ablation_outcomes": {"metrics": ["safety"]},
    "switch_outcomes": {"metrics": ["safety"]},
    "estimator_bias": {"measures": ["bias"]},
}


def draw(name, data, **options):
    return getattr(figures, name)(data, **options)


def axes_of(made):
    return list(made.axes_dict.values()) if hasattr(made, "axes_dict") else [made]


def models(data, number):
    return pd.concat([data.assign(model=f"meta-llama/Llama-3.{k}-{k}B-Instruct") for k in range(number)])


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_a_reader_is_drawn(name, tmp_path):
    data, number = TABLES[name]
    data.to_csv(tmp_path / "mine.csv", index=False)
    made = draw(name, pd.read_csv(tmp_path / "mine.csv"))
    assert len(axes_of(made)) == number and all(ax.lines for ax in axes_of(made))
    assert made.figure.get_suptitle().replace("\n", " ") == figures.FIGURES[name].question
    assert made.caption.startswith(figures.FIGURES[name].caption)
    made.figure.savefig(tmp_path / "mine.pdf")
    pdf = (tmp_path / "mine.pdf").read_bytes()
    assert b"/Type3" not in pdf and b"/FontFile2" in pdf


@pytest.mark.parametrize("name", TABLES)
def test_the_caller_s_axes_are_used(name):
    _, ax = plt.subplots()
    data, _ = TABLES[name]
    one = data[data["game"] == "stag hunt"]
    assert draw(name, one, ax=ax, **ONE.get(name, {})) is ax
    assert ax.lines and ax.figure.get_suptitle() == "" and len(plt.get_fignums()) == 1
    if name not in ROWS:
        with pytest.raises(ValueError, match="`ax` takes one panel, and the table has 2 values"):
            draw(name, data, ax=ax, **ONE.get(name, {}))


@pytest.mark.parametrize("name", TABLES)
def test_a_row_twice_is_refused(name):
    data, _ = TABLES[name]
    with pytest.raises(ValueError, match=r"rows occur more than once for the same .* game hawk-dove"):
        draw(name, pd.concat([data, data]))


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_cell_is_left_out_and_said(name):
    data, _ = TABLES[name]
    column = {
        "penalty_gradient": "penalty_gradient_norm",
        "headroom": "best_J",
        "frontier": "exploit",
        "estimator_cosines": "cosine",
        "estimators_elsewhere": "cosine",
        "estimator_bias": "bias_norm",
    }.get(name, "safety")
    gap = data.reset_index(drop=True).astype({column: float})
    gap.loc[len(gap) - 1, column] = np.nan
    assert f"1 row without a value of {column}" in draw(name, gap).caption


@pytest.mark.parametrize("name", TABLES)
def test_words_in_the_place_of_numbers_and_missing_columns_are_named(name):
    data, _ = TABLES[name]
    numbers = {"headroom": "best_J", "penalty_gradient": "penalty_gradient_norm", "frontier": "payoff"}
    number = numbers.get(
        name, "bias_norm" if name == "estimator_bias" else "cosine" if "estim" in name else "safety"
    )
    with pytest.raises(ValueError, match=f"'{number}' must hold finite numbers; it holds 'high'"):
        draw(name, data.assign(**{number: "high"}))
    if name != "switch_outcomes":  # it draws the terms that its table has
        with pytest.raises(ValueError, match=rf"needs the columns \['{number}'\]; the table has"):
            draw(name, data.drop(columns=number))


@pytest.mark.parametrize("name", TABLES)
def test_several_models_are_drawn_or_named(name):
    data, number = TABLES[name]
    assert len(axes_of(draw(name, models(data, 2)))) == number * (1 if name in ROWS else 2)


@pytest.mark.parametrize("width", [figures.WIDTH, figures.COLUMN])
@pytest.mark.parametrize("name", TABLES)
def test_labels_do_not_overlap(name, width):
    data, _ = TABLES[name]
    games = [data[data["game"] == "stag hunt"].assign(game=f"{LONG} {k}") for k in range(2)]
    made = draw(name, models(pd.concat(games), 2), width=width)
    assert made.figure.get_figwidth() <= width + 0.01
    assert overlaps(made.figure) == []


@pytest.mark.parametrize("name", TABLES)
def test_labels_of_the_committed_tables_do_not_overlap_in_a_column(name):
    file = paths.table("study", figures.FIGURES[name].reads)
    if not file.exists():
        pytest.skip(f"The committed study has no {file.name} yet.")
    table = paths.read_table("study", figures.FIGURES[name].reads)
    assert overlaps(draw(name, table, width=figures.COLUMN).figure) == []


def test_arms_take_order_palette_labels_and_errorbar():
    look = {"palette": {"my arm": "#123456"}, "labels": {"my arm": "My arm"}, "errorbar": "sd"}
    ax = figures.ablation_outcomes(ARMS, order=["my arm"], **look).axes_dict["safety", "stag hunt"]
    assert across(ax) == {"my arm": [(0, 1.0, 0.0, 2.0)]}
    assert ax.containers[0].lines[0].get_color() == "#123456"
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["My arm"]
    with pytest.raises(ValueError, match=r"`order` names \['sft'\], but arm of the table has \['my arm'"):
        figures.ablation_outcomes(ARMS, order=["sft"])
    with pytest.raises(ValueError, match="There is no errorbar 'iqr'"):
        figures.ablation_outcomes(ARMS, errorbar="iqr")


@pytest.mark.parametrize("name", TABLES)
def test_a_label_of_nothing_is_refused(name):
    data, _ = TABLES[name]
    with pytest.raises(ValueError, match=r"`labels` names \['typo'\], but"):
        draw(name, data, labels={"typo": "a label"})


def test_a_third_preset_and_models_as_hue_are_drawn():
    third = pd.concat([ablation(), ablation().query("preset == 'unbiased'").assign(preset="mine")])
    ax = next(iter(figures.ablation_outcomes(third).axes_dict.values()))
    markers = {bar.get_label().split(", ")[1]: bar.lines[0].get_marker() for bar in ax.containers}
    assert set(markers) == {"published", "unbiased", "mine"} and markers["mine"] != markers["unbiased"]
    two = figures.ablation_outcomes(
        models(ARMS, 2), hue="model", hue_order=sorted(set(models(ARMS, 2).model))
    )
    assert len(two.axes_dict) == 6
    colours = {bar.lines[0].get_color() for bar in next(iter(two.axes_dict.values())).containers}
    assert len(colours) == 2


def test_rows_of_another_kind_and_earlier_steps_are_said():
    table = ablation()
    caption = figures.ablation_outcomes(table).caption
    assert "48 rows of another kind (gradient); 48 rows of earlier checkpoints" in caption
    with pytest.raises(figures.NothingToDraw, match=r"All 96 rows of the table are another kind \(outcome\)"):
        figures.penalty_gradient(table.query("kind == 'outcome'"))
    with pytest.raises(figures.NothingToDraw, match="No row has pools = own"):
        figures.ablation_outcomes(table, pools="own")


def test_recipes_of_a_reader_need_no_game():
    table = RECIPES[RECIPES["game"] == "stag hunt"].drop(columns="game")
    grid = figures.switch_outcomes(table, order=["unbiased", "my arm"], labels={"my arm": "mine"})
    names = [tick.get_text() for tick in grid.axes_dict["safety", ""].get_yticklabels()]
    assert names == ["unbiased", "mine"]
    with pytest.raises(ValueError, match="needs one of the columns"):
        figures.switch_outcomes(table[["preset", "seed"]])


def test_estimators_of_a_reader_stand_beside_those_of_the_kit():
    grid = figures.estimator_cosines(ESTIMATES, hue_order=["mine"], palette=["#123456"])
    ax = grid.axes_dict["stag hunt"]
    assert [mark[:2] for mark in across(ax)["mine"]] == [(0, 0.9), (-1, 0.9)]
    assert ax.containers[0].lines[0].get_color() == "#123456"
    assert [tick.get_text() for tick in grid.axes_dict["hawk-dove"].get_yticklabels()] == [
        "my estimator",
        "yours",
    ]
    mixed = pd.concat([ESTIMATES, ESTIMATES.replace("yours", "published").query("how == 'published'")])
    assert "further estimator" in figures.estimator_cosines(mixed).caption
    chosen = figures.estimator_cosines(mixed, order=[("yours", "none"), ("published", "none")])
    names = [tick.get_text() for tick in chosen.axes_dict["hawk-dove"].get_yticklabels()]
    assert names == ["yours", "published"]
    with pytest.raises(ValueError, match="`measures` names"):
        figures.estimator_bias(ESTIMATES, measures=["variance"])


def test_own_stages_and_presets_have_lines():
    ax = figures.weight_sensitivity(WEIGHTS).axes_dict["stag hunt"]
    labels = [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
    assert labels == ["before", "ppo"]
    preset = WEIGHTS.assign(stage="sepo", preset=WEIGHTS["stage"])
    assert len(figures.weight_sensitivity(preset, order=["ppo"]).axes_dict["stag hunt"].collections) == 1
    with pytest.raises(figures.NothingToDraw, match="No row has weight = collusion"):
        figures.weight_sensitivity(WEIGHTS, weight="collusion")


def test_any_column_can_be_the_hue_of_the_frontier():
    table = SWEEP[SWEEP["multiple"] < 2].assign(method=lambda t: np.where(t["multiple"] == 0, "a", "b"))
    grid = figures.frontier(table, hue="method", hue_order=["b", "a"], labels={"a": "first"})
    labels = [bar.get_label() for bar in grid.axes_dict["stag hunt"].containers]
    assert labels == ["b", "first"]


def test_one_preset_needs_no_legend_and_e_says_where_its_intervals_come_from():
    one = ARMS.assign(preset="unbiased", margin=-1.0 + 0.1 * ARMS["seed"], worst_margin=0.1 * ARMS["seed"])
    grid = figures.ablation_outcomes(one)
    assert not grid.figure.legends and "Preset: unbiased." in grid.caption
    words = "Intervals of the exploit advantage e: they come from signed margins; the lower end may be 0."
    assert words in grid.caption
    assert "signed margins" not in figures.ablation_outcomes(ARMS).caption


def test_the_numbers_beside_the_headroom_have_a_heading():
    both = {f"{name}_{value}": 1.0 for name in ("best_payoff", "best") for value in "ue"}
    first, *_, last = figures.headroom(ROOM.assign(**both)).texts
    assert last.get_text() == "payoff u, exploit e: ○ to ◆" and first.get_text() == "u 1.00, e 1.00"
    assert not any("○" in text.get_text() for text in figures.headroom(ROOM).texts)
