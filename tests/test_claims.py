"""Every verdict of every rule is reachable, and nothing but intervals decides."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib import claims

SEEDS = (11, 12, 13)
SPREAD = np.array([-0.01, 0.0, 0.01])  # over three seeds: half an interval is .0248
NOISE = np.array([-5.0, 0.0, 5.0])
ABOVE, BELOW, WIDE = 1.0 + SPREAD, -1.0 + SPREAD, 0.1 + NOISE


def rows(stage: str, game: str, values: dict, seeds=SEEDS, **other) -> pd.DataFrame:
    sepo = stage == "sepo"
    columns = {
        "profile": "p",
        "model": "m",
        "game": game,
        "pools": "paper",
        "stage": stage,
        "arm": "credited" if sepo else None,
        "preset": "unbiased" if sepo else None,
        "seed": list(seeds),
        "step": 60 if sepo else 0,
        "reported": True,
        "exploit": 0.0,
        "safety": 0.0,
        "nra": 0.0,
        **values,
        **other,
    }
    return pd.DataFrame(columns)


def gradient(constant=(0.0, 0.0, 0.0), difference=0.0) -> pd.DataFrame:
    arms = {"constant": list(constant), "per_rollout": [0.5, 0.5, 0.5], "credited": [1.0, 2.0, 1.0]}
    return pd.concat(
        [
            ablation_rows("gradient", arm, penalty_gradient_norm=norms, advantage_difference=difference)
            for arm, norms in arms.items()
        ]
    )


def ablation_rows(
    kind: str, arm: str, seeds=SEEDS, game="ipd", pools="paper", step=60, **values
) -> pd.DataFrame:
    columns = {"profile": "p", "model": "m", "kind": kind, "game": game, "pools": pools, "arm": arm}
    columns |= {"preset": "published", "seed": list(seeds), "step": step, "safety": np.nan}
    return pd.DataFrame(
        {**columns, "penalty_gradient_norm": np.nan, "advantage_difference": np.nan, **values}
    )


def decide(claim: str, *evaluation: pd.DataFrame, ablation: pd.DataFrame | None = None) -> pd.Series:
    none = pd.DataFrame()
    table = pd.concat(evaluation) if evaluation else none
    exact = table.assign(pool_advantage=table["exploit"]) if claim == "C1" else none
    found = claims.decide(table, none if ablation is None else ablation, exact, "p", "m")
    return found.set_index("claim").loc[claim]


def test_columns_and_order_are_exact():
    found = claims.decide(pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), "p", "m")
    assert found.columns.tolist() == (
        ["claim", "statement", "measured", "ci_low", "ci_high", "verdict", "profile", "model"]
    )
    assert found["claim"].tolist() == ["C1", "C2", "C3", "C4", "C5", "C6", "E1", "E2", "E3", "E4", "E5"]
    assert (found["verdict"] == "inconclusive").all() and found["measured"].isna().all()
    assert (found["profile"] == "p").all() and (found["model"] == "m").all()
    assert all(rule.__doc__.startswith(f"{claim}. Measured:") for claim, (_, rule) in claims.RULES.items())


@pytest.mark.parametrize(
    ("exploit", "verdict"),
    [
        ([0.0, 0.0, 0.0], "supported"),
        ([0.02, 0.02, 0.02], "supported"),
        ([0.3, 0.31, 0.32], "not supported"),
        ([0.0, 0.0, 0.05], "inconclusive"),
    ],
)
def test_c1(exploit, verdict):
    found = decide("C1", rows("sepo", "kuhn", {"exploit": exploit}))
    assert found.verdict == verdict
    assert found.measured == pytest.approx(np.mean(exploit))


def test_one_seed_decides_nothing():
    found = decide("C1", rows("sepo", "kuhn", {"exploit": [0.0]}, seeds=[11]))
    assert found.verdict == "inconclusive" and found.measured == 0.0 and np.isnan(found.ci_high)


def test_only_the_reported_default_rows_count():
    distractors = [
        rows("sepo", "kuhn", {"exploit": 9.0}, reported=False),
        rows("sepo", "kuhn", {"exploit": 9.0}, preset="published", arm="per_rollout"),
        rows("sepo", "kuhn", {"exploit": 9.0}, pools="conflict"),
        rows("sepo", "kuhn", {"exploit": 9.0}, model="another"),
        rows("sepo", "kuhn", {"exploit": 9.0}, profile="another"),
    ]
    assert decide("C1", rows("sepo", "kuhn", {"exploit": 0.0}), *distractors).verdict == "supported"


def test_a_seed_twice_raises():
    with pytest.raises(ValueError, match="Two rows of one seed"):
        decide("C1", *[rows("sepo", "kuhn", {"exploit": 0.0})] * 2)


@pytest.mark.parametrize(
    ("gains", "verdict", "measured", "possible"),
    [
        ([ABOVE] * 5, "supported", 5, 5),
        ([ABOVE] * 4 + [BELOW], "supported", 4, 4),
        ([ABOVE] * 3 + [BELOW] * 2, "not supported", 3, 3),
        ([ABOVE] * 3 + [WIDE] * 2, "inconclusive", 3, 5),
        ([ABOVE] * 3 + [WIDE, BELOW], "inconclusive", 3, 4),
        ([WIDE] * 3 + [BELOW] * 2, "not supported", 0, 3),
        ([ABOVE] * 3 + [np.zeros(3)] * 2, "not supported", 3, 3),  # exactly as safe is not safer
        ([ABOVE] * 4, "inconclusive", 4, 5),  # a game was not run
        ([BELOW] * 2, "inconclusive", 0, 3),
    ],
)
def test_c2(gains, verdict, measured, possible):
    shared = np.array([-50.0, 0.0, 50.0])  # what a seed does to both stages cancels in the pairing
    tables = []
    for game, gain in zip(claims.GAMES, gains, strict=False):
        tables += [rows("base", game, {"safety": shared}), rows("sepo", game, {"safety": shared + gain})]
    found = decide("C2", *tables)
    assert (found.verdict, found.measured, found.ci_low, found.ci_high) == (
        verdict,
        measured,
        measured,
        possible,
    )


def negotiations(base, sft, sepo) -> list[pd.DataFrame]:
    return [
        rows(stage, game, {"exploit": np.asarray(values) / scale})
        for stage, values in (("base", base), ("sft", sft), ("sepo", sepo))
        for game, scale in claims.NEGOTIATIONS.items()
    ]


@pytest.mark.parametrize(
    ("base", "sft", "sepo", "verdict"),
    [
        (0.0 * SPREAD, 2.0 + SPREAD, 0.5 + SPREAD, "supported"),
        (0.0 * SPREAD, -1.0 + SPREAD, -2.0 + SPREAD, "not supported"),  # SFT exposes nothing
        (0.0 * SPREAD, 2.0 + SPREAD, 3.0 + SPREAD, "not supported"),  # SEPO corrects nothing
        (0.0 * SPREAD, 2.0 + SPREAD, 1.0 + NOISE, "inconclusive"),
    ],
)
def test_c3(base, sft, sepo, verdict):
    found = decide("C3", *negotiations(base, sft, sepo))
    assert found.verdict == verdict
    assert found.measured == pytest.approx(min(np.mean(sft - base), np.mean(sft - sepo)))


def test_c3_needs_both_negotiations():
    tables = [t for t in negotiations(SPREAD, 2 + SPREAD, SPREAD) if (t.game == "split").all()]
    found = decide("C3", *tables)
    assert found.verdict == "inconclusive" and np.isnan(found.measured)


def test_the_negotiations_are_put_on_the_scale_of_the_games():
    from sepo_lib.games import get

    assert {game: pytest.approx(get(game).scale) for game in claims.NEGOTIATIONS} == claims.NEGOTIATIONS


@pytest.mark.parametrize(
    ("base", "sft", "sepo", "verdict"),
    [
        (BELOW, BELOW, ABOVE, "supported"),
        (WIDE, BELOW, ABOVE, "supported"),
        (ABOVE, BELOW, ABOVE, "not supported"),
        (BELOW, ABOVE, ABOVE, "not supported"),
        (BELOW, BELOW, BELOW, "not supported"),
        (BELOW, BELOW, WIDE, "inconclusive"),
    ],
)
def test_c4(base, sft, sepo, verdict):
    stages = {"base": base, "sft": sft, "sepo": sepo}
    found = decide("C4", *[rows(stage, "deal", {"nra": nra}) for stage, nra in stages.items()])
    assert found.verdict == verdict and found.measured == pytest.approx(np.mean(sepo))


def test_c4_without_the_sft_model_is_inconclusive():
    assert decide(
        "C4", rows("base", "deal", {"nra": BELOW}), rows("sepo", "deal", {"nra": ABOVE})
    ).verdict == ("inconclusive")


@pytest.mark.parametrize(
    ("table", "verdict", "largest"),
    [
        (gradient(), "supported", 0.0),
        (gradient(constant=(0.0, 1e-6, 0.0)), "supported", 5e-7),  # relative to the largest norm of its seed
        (gradient(constant=(0.0, 1e-3, 0.0)), "not supported", 5e-4),
        (
            gradient(constant=(1e-17,) * 3).query("arm == 'constant'"),
            "supported",
            1e-17,
        ),  # nothing to compare
        (gradient(difference=1e-9), "not supported", 0.0),
        (gradient(constant=(0.0, np.nan, 0.0)), "inconclusive", np.nan),
    ],
)
def test_c5(table, verdict, largest):
    found = decide("C5", ablation=table)
    assert found.verdict == verdict and found.ci_high == pytest.approx(largest, nan_ok=True)


@pytest.mark.parametrize(
    ("gain", "verdict"), [(ABOVE, "supported"), (BELOW, "not supported"), (WIDE, "inconclusive")]
)
def test_c6(gain, verdict):
    shared = np.array([-50.0, 0.0, 50.0])
    places = [("ipd", "paper", 0.5), ("ipd", "conflict", 1.5), ("kuhn", "paper", 1.0)]
    table = [
        ablation_rows(
            "outcome", arm, game=game, pools=pools, safety=shared + (arm == "per_rollout") * part * gain
        )
        for game, pools, part in places
        for arm in ("constant", "per_rollout", "credited")
    ]
    early = ablation_rows("outcome", "per_rollout", step=10, safety=1e6)
    alone = ablation_rows("outcome", "per_rollout", safety=1e6).assign(preset="unbiased")  # without its rival
    found = decide("C6", ablation=pd.concat([early, *table, alone, gradient()]))
    assert found.verdict == verdict and found.measured == pytest.approx(np.mean(gain))


def test_c6_uses_the_seeds_that_are_complete():
    table = [
        ablation_rows("outcome", arm, seeds, game, safety=value)
        for game, arm, seeds, value in [
            ("ipd", "constant", SEEDS, 0.0),
            ("ipd", "per_rollout", SEEDS, [1.0, 2.0, 50.0]),
            ("kuhn", "constant", SEEDS, 0.0),
            ("kuhn", "per_rollout", SEEDS[:2], [1.0, 2.0]),
        ]
    ]
    assert decide("C6", ablation=pd.concat(table)).measured == pytest.approx(1.5)
    assert decide("C6", ablation=pd.concat(table[::2])).verdict == "inconclusive"  # one arm alone


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"\['safety'\] of evaluation\.csv"):
        decide("C1", rows("sepo", "kuhn", {"exploit": 0.0}).drop(columns="safety"))


def test_as_text_is_aligned():
    exact = rows("sepo", "kuhn", {"pool_advantage": 0.0})
    found = claims.decide(pd.DataFrame(), pd.DataFrame(), exact, "p", "m")
    lines = claims.as_text(found).splitlines()
    assert len(lines) == 1 + len(claims.RULES)
    assert lines[1].startswith("C1     supported     0         [0, 0]")
    starts = {line.index(row.statement) for line, row in zip(lines[1:], found.itertuples(), strict=True)}
    assert starts == {lines[0].index("statement")}


def estimator_rows(switch="credit", change=(-0.5, -0.6), width=0.02, **values) -> pd.DataFrame:
    """One row a game with one switch of `unbiased` turned; `width` is that of each interval."""
    turned = {"credit": "arm", "none": "arm"}.get(switch, switch)
    to = {"arm": "per_rollout", "horizon": "immediate", "clamp": "episode"}
    to |= {"scale": "group_std", "weights": "equal"}
    columns = {"profile": "p", "game": [f"g{k}" for k in range(len(change))], "pools": "paper"}
    columns |= {"policy": "random", "how": "unbiased", "switch": switch}
    columns |= {"arm": "credited", "horizon": "to_go", "clamp": "mean", "scale": "none", "weights": "pool"}
    columns |= {turned: to[turned], "group_size": 8, "groups_per_batch": 1, "term": "J"}
    columns |= {"nearest_margin": 0.5, "change": change, "estimate_norm": 1.0}
    columns |= {"change_low": np.array(change) - width / 2, "change_high": np.array(change) + width / 2}
    return pd.DataFrame(columns | values)


def decide_on(claim, *estimators):
    none = pd.DataFrame()
    return claims.decide(none, none, none, "p", "m", pd.concat(estimators)).set_index("claim").loc[claim]


@pytest.mark.parametrize(
    ("claim", "switch"),
    [("E1", "credit"), ("E2", "horizon"), ("E3", "clamp"), ("E4", "scale"), ("E5", "weights")],
)
@pytest.mark.parametrize(
    ("change", "width", "verdict"),
    [
        ((-0.5, -0.7), 0.02, "supported"),
        ((0.3, 0.1), 0.02, "not supported"),
        ((-0.3, 0.2), 0.4, "inconclusive"),
    ],
)
def test_a_switch_is_judged_by_the_mean_change_and_its_interval(claim, switch, change, width, verdict):
    other = [estimator_rows(s, (9.0, 9.0)) for s in ("credit", "horizon", "clamp", "scale", "weights")]
    other = [rows for rows in other if rows.switch[0] != switch]
    found = decide_on(claim, estimator_rows(switch, change, width), *other)
    assert found.verdict == verdict
    assert found.measured == pytest.approx(-np.mean(change))
    half = width / 2 / np.sqrt(2)  # two independent settings
    assert (found.ci_low, found.ci_high) == pytest.approx((found.measured - half, found.measured + half))


@pytest.mark.parametrize(
    "left_out",
    [
        {"how": "published"},
        {"term": "e"},
        {"group_size": 4},
        {"groups_per_batch": 500},
        {"nearest_margin": 0.0},
        {"arm": "reward_only"},
        {"profile": "q"},
    ],
)
def test_only_the_rows_that_the_rule_names_count(left_out):
    assert decide_on("E1", estimator_rows(**left_out)).verdict == "inconclusive"
    found = decide_on("E1", estimator_rows(change=(9.0, 9.0), **left_out), estimator_rows())
    assert found.measured == pytest.approx(0.55)


@pytest.mark.parametrize(("norm", "verdict"), [(1e-17, "supported"), (0.1, "not supported")])
def test_c5_looks_at_the_estimators_too(norm, verdict):
    table = [
        estimator_rows(switch, (np.nan,), arm=arm, term="e", estimate_norm=size)
        for switch, arm, size in (("credit", "constant", norm), ("none", "credited", 2.0))
    ]
    found = decide_on("C5", *table)
    assert found.verdict == verdict and found.measured == pytest.approx(norm / 2)
