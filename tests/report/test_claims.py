"""Every verdict of every rule is reachable, and nothing but intervals decides."""

import re
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

from sepo_lib.games import GAMES
from sepo_lib.games.split import Split
from sepo_lib.measure import statistics
from sepo_lib.report import claims
from sepo_lib.report.verdicts import in_words

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


def decided(*evaluation: pd.DataFrame, ablation: pd.DataFrame | None = None) -> pd.DataFrame:
    """All claims of tables in which `exploit` is the pool's advantage and `margin` the signed one in Kuhn."""
    table = pd.concat(evaluation) if evaluation else pd.DataFrame()
    exact = table.assign(pool_advantage=table["exploit"]) if len(table) else table
    return claims.decide(table, pd.DataFrame() if ablation is None else ablation, exact, "p", "m")


def rule_of(claim: str):
    """A context in which `claims.decide` decides this claim alone: all of them take most of the time."""
    return patch.dict(claims.RULES, {claim: claims.RULES[claim]}, clear=True)


def decide(claim: str, *evaluation: pd.DataFrame, recipe="unbiased", scope="", **tables) -> pd.Series:
    with rule_of(claim):
        found = decided(*evaluation, **tables).set_index(["claim", "recipe", "scope"])
    return found.loc[(claim, "" if claim in ("C5", *ESTIMATORS) else recipe, scope)]


ESTIMATORS = ("E1", "E2", "E3", "E4", "E5")


def test_columns_and_order_are_exact():
    found = decided()
    assert found.columns.tolist() == (
        "claim recipe scope statement measured ci_low ci_high interval verdict reason profile model".split()
    )
    names = ["C1", "C1b", "C2", "C3", "C4", "C5", "C6", *ESTIMATORS, "E6", "E7", "E8", "E9"]
    assert list(dict.fromkeys(found["claim"])) == names
    assert found["claim"].tolist() == sorted(found["claim"], key=list(claims.RULES).index)
    assert (found["profile"] == "p").all() and (found["model"] == "m").all()
    by_recipe = found[found["claim"].isin(["C1", "C1b", "C2"])]["recipe"].tolist()
    assert by_recipe == ["published", "authors_current", "unbiased"] * 3  # the paper's own first
    assert all(rule.text.startswith("Measured: ") for rule in claims.RULES.values())


def test_where_nothing_was_run_the_verdict_is_not_run_and_says_why():
    found = decided()
    assert (found["verdict"] == "not run").all() and found["measured"].isna().all()
    assert (found["interval"] == "none").all() and (found["reason"] != "").all()
    reasons = found.set_index(["claim", "recipe", "scope"])["reason"]
    assert reasons["C1", "published", ""] == "game kuhn not run"
    assert reasons["C6", "published", "paper pools"] == "the ablation was not trained on the paper pools here"
    assert reasons["E1", "", ""] == "the estimators were not studied here"


def test_every_recipe_is_decided_from_its_own_rows():
    """The laptop run's C4: not supported for the paper's recipe, inconclusive for ours, the third not run."""
    base, sft = (rows(stage, "deal", {"nra": BELOW}) for stage in ("base", "sft"))
    own = rows("sepo", "deal", {"nra": WIDE / 10})
    published = rows("sepo", "deal", {"nra": BELOW}, preset="published", arm="per_rollout")
    stray = rows("sepo", "deal", {"nra": ABOVE}, preset="published", arm="credited")  # an arm of the ablation
    found = decided(base, sft, own, published, stray)
    found = found[(found["claim"] == "C4") & (found["scope"] == "SEPO positive")].set_index("recipe")
    assert found["verdict"].to_dict() == {
        "published": "not supported",
        "authors_current": "not run",
        "unbiased": "inconclusive",
    }
    assert found["reason"]["authors_current"] == "not trained here"
    assert found["reason"]["unbiased"] == "the interval contains 0"
    authors = rows("sepo", "deal", {"nra": ABOVE}, preset="authors_current")
    by_authors = decide("C4", base, sft, authors, recipe="authors_current", scope="SEPO positive")
    assert by_authors.verdict == "supported"


def test_an_arm_that_is_the_same_estimator_as_the_authors_code_is_judged_as_theirs():
    """In Kuhn poker published+credit and authors_current give the same advantages; in deal they do not."""
    games = [
        rows("sepo", game, {"worst_margin": margin, "nra": ABOVE}, preset="published", arm="credited")
        for game, margin in (("kuhn", 0.0), ("deal", 0.0))
    ]
    found = decided(*games).query("recipe == 'authors_current'").set_index(["claim", "scope"])["verdict"]
    assert found["C1", ""] == "supported" and found["C4", "SEPO positive"] == "not run"
    own = rows("sepo", "kuhn", {"worst_margin": 9.0}, preset="authors_current")
    assert decide("C1", *games, own, recipe="authors_current").verdict == "not supported"


def test_the_recipes_are_presets_with_their_own_arms():
    from sepo_lib.method import credit

    known = {name: arm for name, arm in claims.RECIPES.items() if name in credit.PRESETS}
    assert {"published", "unbiased"} <= set(known)
    assert known == {name: credit.preset(name).arm for name in known}


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
    equal = len(set(exploit)) == 1
    assert found.interval == ("none: equal in all seeds" if equal else "95% t over 3 seeds, cut at 0")
    assert np.isnan(found.ci_low) if equal else found.ci_low >= 0
    assert "decided on the clamped pool_advantage" in found.reason


@pytest.mark.parametrize(
    ("margin", "verdict", "reason"),
    [
        (0.0 + SPREAD / 2, "supported", "the interval reaches at most 0.02"),
        (-5.0 + NOISE, "inconclusive", "the interval contains 0.02"),
        (0.3 + SPREAD, "not supported", "no part of the interval lies at or below 0.02"),
    ],
)
def test_c1_reads_the_signed_margin_where_the_table_has_it(margin, verdict, reason):
    """Clamped at 0, margins of -10, -5 and 0 are 0 in every seed: an interval of width zero, and no doubt."""
    e = np.maximum(margin, 0.0)
    found = decide("C1", rows("sepo", "kuhn", {"exploit": e, "worst_margin": margin}))
    assert (found.verdict, found.interval) == (verdict, "95% over 3 seeds, from signed margins")
    assert found.reason == f"{reason}; {(margin > 0.02).sum()} of 3 seeds above 0.02"
    assert found.measured == pytest.approx(np.mean(e))
    if verdict == "inconclusive":
        assert decide("C1", rows("sepo", "kuhn", {"exploit": e})).verdict == "supported"


def test_c1_does_not_hide_an_exploited_seed_behind_one_that_wins():
    """The mean of these signed margins is -0.037, with an interval that ends at 0.007."""
    margin = [0.06, 0.05, 0.04, -0.05, -0.06, -0.07, -0.08, -0.09, -0.08, -0.09]
    found = decide("C1", rows("sepo", "kuhn", {"worst_margin": margin}, seeds=range(10)))
    assert found.verdict == "inconclusive" and found.measured == pytest.approx(0.015)
    assert found.reason.endswith("3 of 10 seeds above 0.02")


@pytest.mark.parametrize(
    ("change", "verdict"), [(BELOW, "supported"), (ABOVE, "not supported"), (WIDE, "inconclusive")]
)
def test_c1b_holds_sepo_against_sft_in_the_signed_margin(change, verdict):
    sft = np.array([-1.0, 0.0, 3.0])
    tables = [
        rows("sft", "kuhn", {"worst_margin": sft}),
        rows("sepo", "kuhn", {"worst_margin": sft + change}),
    ]
    found = decide("C1b", *tables)
    assert found.verdict == verdict and found.measured == pytest.approx(np.mean(change))


def test_one_seed_decides_nothing():
    found = decide("C1", rows("sepo", "kuhn", {"exploit": [0.0]}, seeds=[11]))
    assert found.verdict == "inconclusive" and found.measured == 0.0 and np.isnan(found.ci_high)
    assert found.interval == "none" and found.reason.startswith("one seed")


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
    with pytest.raises(ValueError, match="A seed has two rows"):
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
        ([ABOVE, np.array([2.0])] + [ABOVE] * 3, "supported", 4, 5),  # one seed alone
        ([BELOW] * 2, "inconclusive", 0, 3),
    ],
)
def test_c2(gains, verdict, measured, possible):
    shared = np.array([-50.0, 0.0, 50.0])  # what a seed does to both stages cancels in the pairing
    tables = []
    for game, gain in zip(GAMES, gains, strict=False):
        here = shared[: len(gain)]
        tables += [
            rows(stage, game, {"safety": safety}, SEEDS[: len(gain)])
            for stage, safety in (("base", here), ("sepo", here + gain))
        ]
    found = decide("C2", *tables)
    assert found.interval == "count: safer to safer-or-open games"  # no 95% interval
    assert (found.verdict, found.measured, found.ci_low, found.ci_high) == (
        verdict,
        measured,
        measured,
        possible,
    )


def test_c2_names_the_games_in_its_reason():
    gains = {"ipd": ABOVE, "auction": WIDE, "split": BELOW, "kuhn": ABOVE}
    tables = [
        rows(stage, game, {"safety": gain * (stage == "sepo")})
        for game, gain in gains.items()
        for stage in ("base", "sepo")
    ]
    found = decide("C2", *tables)
    assert found.reason == "safer: ipd, kuhn; open: auction; not safer: split; not run: deal"
    assert decide("C2", *tables, recipe="published").verdict == "not run"


def negotiation(game, base, sft, sepo, column="margin") -> list[pd.DataFrame]:
    stages = {"base": base, "sft": sft, "sepo": sepo}
    return [rows(stage, game, {column: values}) for stage, values in stages.items()]


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
    found = decide("C3", *negotiation("deal", base, sft, sepo), scope="deal")
    assert found.verdict == verdict
    assert found.measured == pytest.approx(np.mean(sft - base)) and found.interval == "95% t over 3 seeds"
    assert found.reason.startswith("SFT - base: ") and "; SFT - SEPO " in found.reason
    older = decide("C3", *negotiation("deal", base + 9, sft + 9, sepo + 9, "exploit"), scope="deal")
    assert older.verdict == verdict and older.reason.endswith("as the table has no signed margin")


def test_c3_is_decided_game_by_game():
    """SFT raises e in deal and lowers it in split: the mean over both hides that."""
    deal, split = ((SPREAD, rise + SPREAD, SPREAD) for rise in (5.0, -1.0))
    tables = [*negotiation("deal", *deal), *negotiation("split", *split)]
    found = decided(*tables).query("claim == 'C3' and recipe == 'unbiased'").set_index("scope")
    assert found["verdict"].to_dict() == {
        "split": "not supported",
        "deal": "supported",
        "both games": "not supported",
    }
    assert found["measured"]["deal"] == pytest.approx(5.0) and found["measured"]["split"] == pytest.approx(
        -1.0
    )
    assert found["reason"]["both games"] == "split: not supported; deal: supported"
    alone = decided(*negotiation("deal", *deal)).query("claim == 'C3' and recipe == 'unbiased'")
    assert alone["verdict"].tolist() == ["not run", "supported", "inconclusive"]
    assert alone["reason"].tolist()[0] == "game split not run"
    both = decided(*negotiation("deal", *deal), *negotiation("split", *deal)).query("claim == 'C3'")
    assert both["verdict"].tolist() == ["not run"] * 6 + ["supported"] * 3


@pytest.mark.parametrize(
    ("base", "sft", "sepo", "positive", "alone"),
    [
        (BELOW, BELOW, ABOVE, "supported", "supported"),
        (WIDE, BELOW, ABOVE, "supported", "inconclusive"),  # perhaps the base model gains as well
        (ABOVE, BELOW, ABOVE, "supported", "not supported"),
        (ABOVE, BELOW, WIDE, "inconclusive", "not supported"),  # the laptop run
        (BELOW, ABOVE, ABOVE, "supported", "not supported"),
        (BELOW, BELOW, BELOW, "not supported", "supported"),
        (BELOW, BELOW, WIDE, "inconclusive", "supported"),
    ],
)
def test_c4(base, sft, sepo, positive, alone):
    stages = {"base": base, "sft": sft, "sepo": sepo}
    tables = [rows(stage, "deal", {"nra": nra / 10}) for stage, nra in stages.items()]
    own, others = (decide("C4", *tables, scope=scope) for scope in ("SEPO positive", "no other positive"))
    assert (own.verdict, others.verdict) == (positive, alone)
    assert own.measured == pytest.approx(np.mean(sepo) / 10)
    assert others.measured == pytest.approx(max(np.mean(base), np.mean(sft)) / 10)
    for found in (own, others):
        assert -1 <= found.ci_low <= found.ci_high <= 1 and found.interval.endswith("cut to [-1, 1]")
    assert others.reason.startswith("base model (evaluation noise only): ") and "; SFT: " in others.reason


def test_c4_without_the_sft_model_is_inconclusive():
    tables = rows("base", "deal", {"nra": BELOW}), rows("sepo", "deal", {"nra": ABOVE})
    assert decide("C4", *tables, scope="no other positive").verdict == "inconclusive"


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
    assert found.interval in ("range over 3 rows", "none")


@pytest.mark.parametrize(
    ("gain", "verdict"), [(ABOVE, "supported"), (BELOW, "not supported"), (WIDE, "inconclusive")]
)
def test_c6(gain, verdict):
    shared = np.array([-50.0, 0.0, 50.0])
    places = [("ipd", 0.5), ("split", 1.5), ("kuhn", 1.0)]
    table = [
        ablation_rows("outcome", arm, game=game, safety=shared + (arm == "per_rollout") * part * gain)
        for game, part in places
        for arm in ("constant", "per_rollout", "credited")
    ]
    early = ablation_rows("outcome", "per_rollout", step=10, safety=1e6)
    alone = ablation_rows("outcome", "per_rollout", pools="conflict", safety=1e6)  # without its rival
    table = pd.concat([early, *table, alone, gradient()])
    found = decide("C6", ablation=table, recipe="published", scope="paper pools")
    assert found.verdict == verdict and found.measured == pytest.approx(np.mean(gain))
    each = [f"{game} {in_words(statistics.interval(part * gain))}" for game, part in sorted(places)]
    assert found.reason.endswith(f"by game: {', '.join(each)}")
    for recipe, scope in (("published", "conflict pools"), ("unbiased", "paper pools")):
        assert decide("C6", ablation=table, recipe=recipe, scope=scope).verdict == "not run"


def test_c6_is_decided_under_each_preset_and_pool_set():
    """Its study: no effect under the published switches, harm under the unbiased ones."""
    gains = {("published", "paper"): WIDE, ("unbiased", "paper"): BELOW, ("unbiased", "conflict"): ABOVE}
    table = pd.concat(
        ablation_rows("outcome", arm, pools=pools, safety=gain * (arm == "per_rollout")).assign(preset=preset)
        for (preset, pools), gain in gains.items()
        for arm in ("constant", "per_rollout")
    )
    found = decided(ablation=table).query("claim == 'C6'")
    assert found["verdict"].tolist() == ["inconclusive", "not run", "not supported", "supported"]


@pytest.mark.parametrize(
    ("without", "rollout", "verdict"),
    [
        (ABOVE, ABOVE, "supported"),
        (ABOVE, BELOW, "not supported"),  # the penalty helps, but not because of its credit
        (BELOW, ABOVE, "not supported"),
        (WIDE, ABOVE, "inconclusive"),
        (ABOVE, WIDE, "inconclusive"),
    ],
)
def test_e7_needs_both_differences_and_every_game(without, rollout, verdict):
    """`without` and `rollout`: safety of credited minus that of reward_only and of per_rollout, in Kuhn."""

    def arms(game, pools, without, rollout):
        gains = {"credited": 0.0, "reward_only": -without, "per_rollout": -rollout, "constant": 50 * ABOVE}
        return [
            ablation_rows("outcome", arm, game=game, pools=pools, safety=np.array(SEEDS) + gain).assign(
                preset="unbiased"
            )
            for arm, gain in gains.items()
        ]

    early = ablation_rows("outcome", "credited", game="kuhn", pools="conflict", step=10, safety=1e6)
    table = [*arms("ipd", "conflict", ABOVE, ABOVE), *arms("kuhn", "conflict", without, rollout)]
    table += [early.assign(preset="unbiased"), gradient()]
    found = decided(ablation=pd.concat(table)).query("claim == 'E7'").set_index("scope")
    assert list(found.index) == [
        *("conflict pools, ipd", "conflict pools, kuhn", "conflict pools, every game"),
        "paper pools, every game",
    ]
    kuhn = found.loc["conflict pools, kuhn"]
    assert kuhn["verdict"] == verdict and kuhn["measured"] == pytest.approx(np.mean(without))
    assert "credited - per_rollout" in kuhn["reason"]
    assert found["verdict"]["conflict pools, ipd"] == "supported"
    assert found["verdict"]["conflict pools, every game"] == verdict  # every game has to pass
    assert found["verdict"]["paper pools, every game"] == "not run"
    others = [arms(game, "paper", ABOVE, ABOVE) for game in ("ipd", "auction", "split", "deal")]
    for games, expected in (
        (others, "inconclusive"),
        ([*others, arms("kuhn", "paper", ABOVE, ABOVE)], "supported"),
    ):
        whole = pd.concat([*table, *(rows for own in games for rows in own)])
        every = decided(ablation=whole).query("scope == 'paper pools, every game'").iloc[0]
        assert every["verdict"] == expected
        assert every["reason"].endswith("not trained: kuhn") == (expected == "inconclusive")


def test_e7_refuses_rows_of_two_runs_and_names_what_is_missing():
    def arms(game="ipd", **more):
        gains = {"credited": 5.0 + ABOVE, "reward_only": 0.0, "per_rollout": -ABOVE}
        rows = [
            ablation_rows("outcome", arm, game=game, pools="paper", safety=np.array(SEEDS) + gain, **more)
            for arm, gain in gains.items()
        ]
        return pd.concat(rows, ignore_index=True).assign(preset="unbiased")

    def judged(table):
        found = decided(ablation=table).query("claim == 'E7'").set_index("scope")
        return found.loc["paper pools, every game"], found

    whole, other = arms(), arms("kuhn")
    every, _ = judged(pd.concat([whole, other[other["arm"] != "per_rollout"]]))
    assert every["verdict"] == "inconclusive"
    reason = "ipd: supported; kuhn: not run (an arm was not trained); not trained: auction, split, deal"
    assert every["reason"] == reason
    unmeasured = whole["safety"].where(whole.index > 0)
    for short in (whole[1:], whole.assign(safety=unmeasured)):
        _, found = judged(short)
        assert found.loc["paper pools, ipd", "reason"].endswith(f"; 1 of {len(SEEDS)} seeds lack an arm")
    with pytest.raises(
        ValueError, match=r"ablation\.csv has an outcome twice: .*'arm': 'credited', 'seed': 1"
    ):
        judged(pd.concat([whole, whole]))
    with pytest.raises(ValueError, match=r"different last steps in ipd, paper pools: \[7, 60\]"):
        judged(pd.concat([whole[whole["arm"] != "credited"], arms(step=7).query("arm == 'credited'")]))


def test_a_game_of_a_user_changes_no_claim_of_the_paper(monkeypatch):
    """A sixth game is in no claim, neither when it is only registered nor when the run has it."""
    parts = {"base": SPREAD, "sft": 5.0 + SPREAD, "sepo": 1.0 + SPREAD}
    both = {
        game: pd.concat(
            rows(stage, game, {"safety": values, "margin": values, "nra": values})
            for stage, values in parts.items()
        )
        for game in (*GAMES, "bargain")
    }
    arms = {
        game: pd.concat(
            ablation_rows("outcome", arm, game=game, safety=gain * (arm == "per_rollout"))
            for arm in ("constant", "per_rollout")
        )
        for game, gain in (("ipd", ABOVE), ("bargain", 9 * BELOW))
    }
    before = decided(*(both[game] for game in GAMES), ablation=arms["ipd"])
    assert before.query("claim == 'C2' and recipe == 'unbiased'")["verdict"].tolist() == ["supported"]
    monkeypatch.setitem(
        GAMES, "bargain", type("Bargain", (Split,), {"name": "bargain", "__module__": "own"})()
    )
    registered = decided(*(both[game] for game in GAMES if game != "bargain"), ablation=arms["ipd"])
    played = decided(*both.values(), ablation=pd.concat(arms.values()))
    pd.testing.assert_frame_equal(registered, before)
    pd.testing.assert_frame_equal(played, before)


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
    where = {"recipe": "published", "scope": "paper pools"}
    assert decide("C6", ablation=pd.concat(table), **where).measured == pytest.approx(1.5)
    assert decide("C6", ablation=pd.concat(table[::2]), **where).verdict == "not run"  # one arm alone


@pytest.mark.parametrize(
    ("stages", "reasons"),
    [
        (["sft", "sepo"], {"C2": "base model not measured", "C3": "base model not measured"}),
        (["base", "sepo"], {"C1b": "SFT model not measured", "C3": "SFT model not measured"}),
        (["base", "sft"], {"C1": "not trained here", "C2": "not trained here", "C3": "not trained here"}),
        (["sepo"], {"C3": "base model not measured; SFT model not measured"}),
        ([], {"C1": "game kuhn not run", "C2": "no game was run", "C3": "game split not run"}),
    ],
)
def test_the_reason_names_what_is_missing(stages, reasons):
    tables = [rows(stage, game, {"margin": 0.0, "worst_margin": 0.0}) for stage in stages for game in GAMES]
    found = decided(*tables)
    found = found[found["recipe"].isin(["", "unbiased"])].drop_duplicates("claim").set_index("claim")
    for claim, reason in reasons.items():
        assert (found.verdict[claim], found.reason[claim]) == ("not run", reason)


def test_c2_says_which_game_has_no_base_model():
    have = [("base", "ipd"), *(("sepo", game) for game in ("ipd", "kuhn"))]
    tables = [rows(stage, game, {"safety": ABOVE * (stage == "sepo")}) for stage, game in have]
    found = decide("C2", *tables)
    assert found.verdict == "inconclusive"
    assert found.reason == "safer: ipd; not run: auction, split, deal; base model not measured: kuhn"


def test_a_margin_that_one_seed_lacks_costs_that_seed_alone():
    base, sft, sepo = negotiation("split", SPREAD, 2 + SPREAD, 0.5 + SPREAD)
    sepo.loc[1, "margin"] = np.nan
    found = decide("C3", base, sft, sepo, scope="split")
    assert found.verdict == "supported" and found.measured == pytest.approx(2.0)
    assert found.reason.endswith("without seed 12, which has no margin")
    found = decide("C3", base, sft, sepo.assign(margin=np.nan), scope="split")  # none: the clamped e
    assert found.reason.endswith("as the table has no signed margin")


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"evaluation\.csv lacks the columns \['safety'\]"):
        decide("C1", rows("sepo", "kuhn", {"exploit": 0.0}).drop(columns="safety"))


def test_as_text_gives_each_recipe_a_line_and_never_prints_nan():
    exact = rows("sepo", "kuhn", {"worst_margin": 0.0})
    one = rows("sepo", "deal", {"nra": 0.5}, seeds=[11])
    lines = claims.as_text(decided(exact, one)).splitlines()
    assert lines[0] == "C1   In Kuhn poker the SEPO model has zero exploit-pool advantage."
    at = lines.index("C4   " + claims.RULES["C4"].statement)
    own = [line.split(maxsplit=2) for line in lines[1:at] if line.startswith("     unbiased")]
    assert own[0] == ["unbiased", "supported", "0; equal in all 3 seeds"]
    (line,) = (line for line in lines[at:] if line.split()[:3] == ["unbiased", "SEPO", "positive"])
    assert "inconclusive" in line and "0.5; one seed" in line
    assert not re.search(r"\bnan\b", "\n".join(lines))


def test_as_text_names_what_was_not_run_in_its_last_line_alone():
    lines = claims.as_text(decided(rows("sepo", "kuhn", {"worst_margin": 0.0}))).splitlines()
    assert not any("not run" in line for line in lines[:-1])
    assert lines[-1].startswith("Not run: C1 (published; authors_current), C1b, ")
    assert lines[-1].endswith("E8, E9.") and "C4," in lines[-1]


def test_every_rule_has_a_version_and_dated_revisions():
    """The rules of C1 and C5 were changed after the first run: the table says so."""
    from sepo_lib.run.revisions import REVISIONS, versions

    assert list(REVISIONS) == list(claims.RULES)
    assert versions()["C1"] == 4 and versions()["C1b"] == 1
    for entries in REVISIONS.values():
        dates = [entry.date for entry in entries]
        assert dates == sorted(dates) and all(len(date) == 10 for date in dates)
    assert [entry.seen.startswith("after") for entry in REVISIONS["C1"]] == [False, True, True, True]
    assert [entry.seen.startswith("after") for entry in REVISIONS["C5"]] == [False, True, True]


def test_a_rule_without_a_date_is_refused(monkeypatch):
    monkeypatch.setitem(claims.RULES, "C9", claims.RULES["C1"])
    with pytest.raises(ValueError, match=r"rule C9 has no date; add its entry to sepo_lib/run/revisions\.py"):
        decided()


def estimator_rows(switch="credit", change=(-0.5, -0.6), width=0.02, **values) -> pd.DataFrame:
    """One row a game with one switch of `unbiased` turned; `width` is that of each interval."""
    turned = {"credit": "arm", "none": "arm"}.get(switch, switch)
    to = {"arm": "per_rollout", "horizon": "immediate", "clamp": "episode"}
    to |= {"scale": "group_std", "weights": "equal"}
    columns = {"profile": "p", "game": list(GAMES)[: len(change)], "pools": "paper"}
    columns |= {"policy": "random", "how": "unbiased", "switch": switch}
    columns |= {
        "arm": "credited",
        "horizon": "to_go",
        "clamp": "mean",
        "scale": "none",
        "weights": "pool",
        "baseline": "group",
    }
    columns |= {turned: to[turned], "group_size": 8, "groups": 400, "groups_per_batch": 1, "term": "J"}
    columns |= {"nearest_margin": 0.5, "change": change, "estimate_norm": 1.0}
    columns |= {"change_low": np.array(change) - width / 2, "change_high": np.array(change) + width / 2}
    return pd.DataFrame(columns | values)


def decide_on(claim, *estimators):
    none = pd.DataFrame()
    with rule_of(claim):
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
    assert found.verdict == verdict and found.interval == "95% normal, simulation noise of 2 settings"
    assert found.reason.endswith(
        f"falls in {sum(np.array(change) < -width / 2)} of 2 settings and rises in "
        f"{sum(np.array(change) > width / 2)}"
    )
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
        {"horizon": "immediate"},
        {"how": "authors_current"},
        {"how": "unbiased, parse rate 0.5"},
        {"profile": "q"},
    ],
)
def test_only_the_rows_that_the_rule_names_count(left_out):
    assert decide_on("E1", estimator_rows(**left_out)).verdict == "not run"
    found = decide_on("E1", estimator_rows(change=(9.0, 9.0), **left_out), estimator_rows())
    assert found.measured == pytest.approx(0.55)


def test_the_clamp_is_judged_where_it_can_act():
    """In the split no exploiter is ever behind, so that turning the clamp there turns a horizon only."""
    acting, split = estimator_rows("clamp", (-0.02,)), estimator_rows("clamp", (-0.5,), game="split")
    assert decide_on("E3", acting, split).measured == pytest.approx(0.02)
    assert decide_on("E3", split).verdict == "not run"
    assert "cannot be split into rounds" in claims.RULES["E3"].text


def test_a_setting_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="a setting twice for the switch credit"):
        decide_on("E1", estimator_rows(), estimator_rows(groups=100))


@pytest.mark.parametrize(("norm", "verdict"), [(1e-17, "supported"), (0.1, "not supported")])
def test_c5_looks_at_the_estimators_too(norm, verdict):
    table = [
        estimator_rows(switch, (np.nan,), arm=arm, term="e", estimate_norm=size)
        for switch, arm, size in (("credit", "constant", norm), ("none", "credited", 2.0))
    ]
    other = [rows.assign(how="rloo", estimate_norm=1.0) for rows in table]  # not the paper's identity
    found = decide_on("C5", *table, *other)
    assert found.verdict == verdict and found.measured == pytest.approx(norm / 2)
