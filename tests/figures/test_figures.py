"""What stands in the figures is what the tables say: heights, interval ends, positions, files."""

import shutil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure.statistics import bounds, interval, spread
from sepo_lib.run import results
from sepo_lib.studies import authors

SEEDS = (1, 2, 3)
PAPER = Path(__file__).resolve().parents[2] / "data" / "paper" / "authors_results.csv"


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def stages() -> list[dict]:
    """The rows' keys of one game: base, SFT, both presets of SEPO with an early step, and an ablation arm."""
    keys = []
    for seed in SEEDS:
        for stage, arm, preset, step, reported in (
            ("base", None, None, 0, True),
            ("sft", None, None, 0, True),
            ("sepo", "per_rollout", "published", 60, True),
            ("sepo", "credited", "unbiased", 30, False),
            ("sepo", "credited", "unbiased", 60, True),
            ("sepo", "constant", "published", 60, True),
        ):
            keys.append(
                dict(
                    profile="p",
                    model="m",
                    stage=stage,
                    arm=arm,
                    preset=preset,
                    seed=seed,
                    step=step,
                    reported=reported,
                )
            )
    return keys


def evaluation(games=("ipd", "kuhn")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                **keys,
                "game": game,
                "pools": pools,
                "safety": rng.normal(),
                "exploit": rng.random(),
                "nra": 0.0,
            }
            for game in games
            for pools in ("paper", "conflict")
            for keys in stages()
        ]
    )


def kuhn() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    exact = [{**keys, "pool_advantage": rng.random(), "nashconv": rng.random()} for keys in stages()]
    strategies = [
        {**keys, "reading": reading, "seat": seat, "card": card, "situation": situation, "action": action}
        | {"probability": p if action in ("BET", "CALL") else 1 - p, "samples": 50}
        for keys in stages()
        for reading in ("sampled", "constrained")
        for seat in ("first", "second")
        for card in "JQK"
        for situation, actions in (("open", ("PASS", "BET")), ("facing_bet", ("FOLD", "CALL")))
        for p in [rng.random()]
        for action in actions
    ]
    return pd.DataFrame(exact), pd.DataFrame(strategies)


def ablation() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows = []
    for pools in ("paper", "conflict"):
        for arm in figures.ARMS:
            for preset in figures.PRESETS:
                for seed in SEEDS:
                    keys = dict(
                        profile="p", model="m", game="ipd", pools=pools, arm=arm, preset=preset, seed=seed
                    )
                    found = {"safety": rng.normal(), "payoff": rng.random(), "exploit": rng.random()}
                    norm = {"penalty_gradient_norm": rng.random(), "cosine_to_credited": rng.random()}
                    rows.append({**keys, "kind": "outcome", "step": 30, **found, "safety": 99.0})
                    rows.append({**keys, "kind": "outcome", "step": 60, **found})
                    rows.append({**keys, "kind": "gradient", "step": 0, **norm, "advantage_difference": 0.0})
    return pd.DataFrame(rows)


def training(steps: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    metrics = ["payoff", "exploit", "collusion", "externality", "objective"]
    return pd.DataFrame(
        [
            dict(
                profile="p",
                model="m",
                game="ipd",
                pools="paper",
                arm=arm,
                preset=preset,
                seed=seed,
                step=step,
            )
            | {metric: rng.random() for metric in metrics}
            for preset, arm in (("published", "per_rollout"), ("unbiased", "credited"))
            for seed in SEEDS
            for step in range(1, steps + 1)
        ]
    )


def bars(ax) -> dict[str, list[tuple[float, float, float, float]]]:
    """The means with intervals that an Axes shows: label -> [(x, mean, low, high), ...]."""
    found: dict[str, list] = {}
    for container in ax.containers:
        line, _, (segments,) = container.lines
        (_, low), (_, high) = segments.get_segments()[0]
        found.setdefault(container.get_label(), []).append(
            (line.get_xdata()[0], line.get_ydata()[0], low, high)
        )
    return found


def shown(ax, label: str) -> tuple[float, float, float]:
    ((_, *values),) = bars(ax)[label]
    return tuple(values)


@pytest.mark.parametrize(
    ("figure", "metric"), [(figures.safety_by_stage, "safety"), (figures.exploit_by_stage, "exploit")]
)
def test_stages_show_the_statistics_of_the_reported_rows(figure, metric):
    table = evaluation()
    grid = figure(table)
    assert list(grid.axes_dict) == ["ipd", "kuhn"]
    for game, ax in grid.axes_dict.items():
        rows = table[(table.game == game) & (table.pools == "paper")]
        chosen = {
            "base model": rows[rows.stage == "base"],
            "SFT": rows[rows.stage == "sft"],
            "SEPO, published": rows[rows.arm == "per_rollout"],
            "SEPO, unbiased": rows[(rows.arm == "credited") & (rows.step == 60)],
        }
        assert list(bars(ax)) == list(chosen)
        for label, values in chosen.items():
            assert shown(ax, label) == pytest.approx(tuple(interval(values[metric], bounds(metric))))
        dots = [line.get_ydata() for line in ax.lines if line.get_marker() == "."]
        assert [sorted(d) for d in dots] == [sorted(values[metric]) for values in chosen.values()]


def test_every_category_has_a_colour_and_a_marker_of_its_own():
    for looks in (figures.CONFIGURATIONS, figures.ARMS):
        assert len({look.colour for look in looks.values()}) == len(looks)
        assert len({look.marker for look in looks.values()}) == len(looks)


def test_one_seed_has_a_mean_and_no_bar():
    table = evaluation()
    ax = figures.safety_by_stage(table[table.seed == 1]).axes_dict["ipd"]
    assert len(ax.containers) == 4
    assert all(container.lines[2] == () for container in ax.containers)


def test_without_the_mark_the_last_step_is_reported():
    table = evaluation()
    pd.testing.assert_frame_equal(
        figures.reported(table.drop(columns="reported")), figures.reported(table).drop(columns="reported")
    )


def test_training_curves_are_means_with_the_range_of_the_seeds():
    table = training()
    grid = figures.training_curves(table, "ipd")
    assert list(grid.axes_dict) == ["payoff", "exploit", "collusion", "externality", "objective"]
    for metric, ax in grid.axes_dict.items():
        by_step = table[table.arm == "credited"].groupby("step")[metric]
        (line,) = [line for line in ax.lines if line.get_label() == "credited, unbiased"]
        assert line.get_ydata() == pytest.approx(by_step.mean())
        band = ax.collections[1].get_paths()[0].vertices
        for step, low, high in zip(by_step.min().index, by_step.min(), by_step.max(), strict=True):
            at = band[band[:, 0] == step, 1]
            assert (at.min(), at.max()) == pytest.approx((low, high))


def test_training_curves_smooth_seed_by_seed():
    table = training()
    ax = figures.training_curves(table, "ipd", window=3).axes_dict["payoff"]
    rows = table[(table.arm == "credited") & table.step.isin([4, 5, 6])]
    (line,) = [line for line in ax.lines if line.get_label() == "credited, unbiased"]
    assert line.get_ydata()[-1] == pytest.approx(rows.payoff.mean())


def test_kuhn_strategy_shows_the_chosen_reading_and_the_nash_family():
    _, table = kuhn()
    grid = figures.kuhn_strategy(table)
    ax = grid.axes_dict["first", "CALL"]
    rows = table[(table.stage == "sft") & (table.reading == "sampled") & (table.seat == "first")]
    rows = rows[rows.action == "CALL"]
    for (x, *values), card in zip(bars(ax)["SFT"], "JQK", strict=True):
        assert round(x) == "JQK".index(card)
        assert values == pytest.approx(list(spread(rows[rows.card == card], "probability")))
    bands = [box for box in (c.get_paths()[0].get_extents() for c in ax.collections) if box.width > 0.8]
    assert [(box.ymin, box.ymax) for box in bands] == [figures.nash_kuhn("first", "CALL", c) for c in "JQK"]


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1 / 3])
def test_the_nash_family_is_one_by_exact_nashconv(alpha):
    """Strategies of the family, first player's alpha given, cannot be exploited; checked by enumeration."""
    first = {"J": (alpha, 0.0), "Q": (0.0, alpha + 1 / 3), "K": (3 * alpha, 1.0)}  # P(bet), P(call)
    second = {"J": (1 / 3, 0.0), "Q": (0.0, 1 / 3), "K": (1.0, 1.0)}
    for card in "JQK":
        for action, k in (("BET", 0), ("CALL", 1)):
            low, high = figures.nash_kuhn("first", action, card)
            assert low - 1e-12 <= first[card][k] <= high + 1e-12
            assert figures.nash_kuhn("second", action, card) == pytest.approx((second[card][k],) * 2)
    assert best_response_first(second) == pytest.approx(-1 / 18)
    assert best_response_second(first) == pytest.approx(1 / 18)


def best_response_first(second) -> float:
    """The first player's best value (chips per hand) against P(bet | pass), P(call | bet) of the second."""
    rank, total = "JQK", 0.0
    for mine in rank:
        others = [card for card in rank if card != mine]
        win = {card: 1 if rank.index(mine) > rank.index(card) else -1 for card in others}
        bet = sum(c * 2 * win[o] + (1 - c) for o in others for c in [second[o][1]])
        call = sum(b * 2 * win[o] + (1 - b) * win[o] for o in others for b in [second[o][0]])
        fold = sum(-b + (1 - b) * win[o] for o in others for b in [second[o][0]])
        total += max(bet, call, fold)
    return total / 6


def best_response_second(first) -> float:
    """The second player's best value against P(bet), P(call after pass, bet) of the first."""
    rank, total = "JQK", 0.0
    for mine in rank:
        others = [card for card in rank if card != mine]
        win = {card: 1 if rank.index(mine) > rank.index(card) else -1 for card in others}
        total += max(sum(first[o][0] * 2 * win[o] for o in others), -sum(first[o][0] for o in others))
        bet = sum((1 - first[o][0]) * (first[o][1] * 2 * win[o] + 1 - first[o][1]) for o in others)
        total += max(bet, sum((1 - first[o][0]) * win[o] for o in others))
    return total / 6


def test_no_bar_of_the_committed_run_leaves_the_range_of_its_quantity():
    """Student's t drew probabilities below 0 and above 1, and exploitabilities below 0."""
    read = {name: paths.read_table("laptop", name) for name in ("strategies", "exploitability", "evaluation")}
    strategy = figures.kuhn_strategy(read["strategies"]).axes_dict.values()
    kuhn_ax = figures.exploitability(read["exploitability"])
    stages = figures.exploit_by_stage(read["evaluation"]).axes_dict.values()
    for axes, high in ((strategy, 1.0), ([kuhn_ax], np.inf), (stages, np.inf)):
        ends = [end for ax in axes for drawn in bars(ax).values() for _, _, *two in drawn for end in two]
        ends = [end for end in ends if not np.isnan(end)]
        assert ends and min(ends) >= -1e-9 and max(ends) <= high + 1e-9


def test_exploitability_shows_both_measures():
    table, _ = kuhn()
    ax = figures.exploitability(table)
    rows = table[(table.arm == "credited") & (table.step == 60)]
    for label, column in (("exploiter pool's advantage", "pool_advantage"), ("NashConv", "nashconv")):
        drawn = bars(ax)[label]
        assert len(drawn) == 4 and drawn[-1][1:] == pytest.approx(
            tuple(interval(rows[column], bounds(column)))
        )


def test_ablation_outcomes_by_arm_preset_and_place():
    table = ablation()
    grid = figures.ablation_outcomes(table)
    assert len(grid.axes_dict) == 6
    ax = grid.axes_dict["safety", "Prisoner's dilemma\nconflict pools"]
    rows = table[(table.kind == "outcome") & (table.step == 60) & (table.pools == "conflict")]
    for arm in figures.ARMS:
        for preset in figures.PRESETS:
            values = rows.loc[(rows.arm == arm) & (rows.preset == preset), "safety"]
            assert shown(ax, f"{arm}, {preset}") == pytest.approx(interval(values))
    assert [t.get_text() for t in grid.axes[-1, 0].get_xticklabels()] == (
        ["reward\nonly", "constant", "per\nrollout", "credited"]
    )


def test_penalty_gradient_shows_norm_and_cosine():
    table = ablation()
    grid = figures.penalty_gradient(table)
    rows = table[(table.kind == "gradient") & (table.pools == "paper") & (table.arm == "constant")]
    values = rows.loc[rows.preset == "published"]
    for metric in ("penalty_gradient_norm", "cosine_to_credited"):
        ax = grid.axes_dict[metric, "Prisoner's dilemma\npaper pools"]
        assert shown(ax, "constant, published") == pytest.approx(interval(values[metric]))
    assert len(figures.penalty_gradient(table.drop(columns="cosine_to_credited")).axes_dict) == 2


def test_paper_against_ours_shows_every_compared_value():
    """One row a recipe: J to the right, at the height of its own row, and nothing that is not compared."""
    table, paper = evaluation(("ipd", "kuhn", "deal")), authors.load()
    grid = figures.paper_against_ours(table, paper)
    assert list(grid.axes_dict) == ["ipd", "deal"]  # in Kuhn no row of the authors is compared
    data = authors.beside(figures.reported(table), paper)
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


CALLS = {
    "safety": lambda **d: figures.safety_by_stage(evaluation().drop(**d)),
    "objective": lambda **d: figures.training_curves(training().drop(**d), "ipd"),
    "seat": lambda **d: figures.kuhn_strategy(kuhn()[1].drop(**d)),
    "nashconv": lambda **d: figures.exploitability(kuhn()[0].drop(**d)),
    "payoff": lambda **d: figures.ablation_outcomes(ablation().drop(**d)),
    "penalty_gradient_norm": lambda **d: figures.penalty_gradient(ablation().drop(**d)),
}


@pytest.mark.parametrize("column", CALLS)
def test_a_missing_column_is_named(column):
    with pytest.raises(ValueError, match=f"needs the columns \\['{column}'\\]"):
        CALLS[column](columns=column)


def test_two_models_in_one_figure_are_refused():
    table = pd.concat([evaluation(), evaluation().assign(model="another")])
    with pytest.raises(ValueError, match="one model; choose among \\['another', 'm'\\]"):
        figures.safety_by_stage(table)


@pytest.mark.parametrize("table", [pd.DataFrame(), ablation()[:0], ablation().query("kind == 'gradient'")])
def test_nothing_to_draw(table):
    with pytest.raises(figures.NothingToDraw):
        figures.ablation_outcomes(table)


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
        f"{name}: skipped" in printed for name in ("kuhn_strategy", "exploitability", "ablation_outcomes")
    )
    first = {file: file.read_bytes() for file in files}
    assert {file: file.read_bytes() for file in figures.draw_all("p")} == first
    assert not any(b"CreationDate" in data or b"Matplotlib" in data for data in first.values())
    assert all(figures.caption(stem) in figures.CAPTIONS.values() for stem in stems)


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


def test_kuhns_figures_show_one_set_of_pools():
    exact, strategies = kuhn()
    other = [
        table.assign(pools="conflict", **{column: 0.9})
        for table, column in ((exact, "nashconv"), (strategies, "probability"))
    ]
    both = [
        pd.concat([table.assign(pools="paper"), more])
        for table, more in zip((exact, strategies), other, strict=True)
    ]
    assert bars(figures.exploitability(both[0])) == bars(figures.exploitability(exact))
    one, two = figures.kuhn_strategy(both[1]), figures.kuhn_strategy(strategies)
    for key, ax in two.axes_dict.items():
        assert bars(one.axes_dict[key]) == bars(ax)


def test_one_seed_has_the_bar_of_its_play():
    """And none where its table does not know it."""
    one = evaluation().query("seed == 1")
    known = one.assign(safety_low=one["safety"] - 0.5, safety_high=one["safety"] + 0.25)

    def heights(table):
        ax = next(iter(figures.safety_by_stage(table).axes_dict.values()))
        return [np.ptp(bar.get_segments()[0][:, 1]) for bar in ax.collections]

    assert heights(known) and heights(known) == pytest.approx([0.75] * len(heights(known)))
    assert heights(one) == []


def test_equal_seeds_have_a_mark_without_a_bar():
    _, (equal, apart) = plt.subplots(1, 2)
    for ax, values in ((equal, [0.5, 0.5, 0.5]), (apart, [0.5, 0.5, 0.6])):
        figures.mark(ax, 0.0, values, figures.CONFIGURATIONS["sft"])
    assert len(equal.collections) == 0 < len(apart.collections)
