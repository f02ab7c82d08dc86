"""What was found: sentences from a notebook's tables, with numbers that can be checked by hand.

With two seeds the half-width of a Student t interval of differences d1 and d2 is 12.706 |d1 - d2| / 2.
"""

import warnings

import jinja2
import pandas as pd
import pytest

from sepo_lib.config import paths, profiles
from sepo_lib.report import claims, found, headline_page
from sepo_lib.run import results

SFT, BASE = {"stage": "sft"}, {"stage": "base"}


def evaluated(**games):
    """Rows of the base and the SFT model: game -> the safety of SFT by seed; that of base is 0."""
    return pd.DataFrame(
        {"game": game, "stage": stage, "seed": seed, "step": 0, "pools": "paper", "reported": True}
        | {"safety": value if stage == "sft" else 0.0, "exploit": value + 1 if stage == "sft" else 1.0}
        for game, values in games.items()
        for seed, value in enumerate(values, start=1)
        for stage in ("base", "sft")
    )


def told(table, **more):
    return found.tally(found.changes(table, "safety", SFT, BASE), "higher", "lower", **more)


def displayed(monkeypatch):
    """The Markdown texts that are displayed from now on."""
    shown = []
    monkeypatch.setattr(found, "display", lambda one: shown.append(one.data))
    return shown


# --- sentences from differences -------------------------------------------------------------------------


def test_games_are_counted_by_their_intervals():
    """1.0 and 1.02 are clearly positive (1.01 +- 0.13), -2 in both seeds negative, 1 and -1 neither."""
    table = evaluated(ipd=(1.0, 1.02), kuhn=(-2.0, -2.0), deal=(1.0, -1.0))
    assert told(table) == (
        "higher in 1 of 3 games (Prisoner's dilemma) and lower in 1 (Kuhn poker); "
        "in Multi-issue bargaining the interval contains zero"
    )
    changes = found.changes(table, "safety", SFT, BASE)
    assert found.listed(changes) == (
        "Prisoner's dilemma 1.01 [0.88, 1.14]; Multi-issue bargaining 0.00 [-12.71, 12.71]; "
        "Kuhn poker -2.00 (no spread)"
    )


def test_all_games_both_games_and_no_game():
    up = {"ipd": (1.0, 1.02), "kuhn": (2.0, 2.01), "deal": (3.0, 3.02)}
    assert told(evaluated(**up)) == "higher in all 3 games"
    assert told(evaluated(ipd=(-1.0, -1.0), kuhn=(-2.0, -2.0))) == "lower in both games"
    assert told(evaluated(ipd=(1.0, -1.0), kuhn=(2.0, -2.0))) == (
        "neither clearly higher nor clearly lower; in both games the interval contains zero"
    )
    assert told(evaluated(ipd=(0.0, 0.0))) == "unchanged in Prisoner's dilemma"
    with pytest.raises(ValueError, match="no recipes to count"):
        found.tally([], "higher", "lower", "recipes")


def test_one_seed_counts_by_sign_and_says_so():
    table = evaluated(ipd=(0.5,), kuhn=(-0.25,))
    assert told(table) == "higher in 1 of 2 games (Prisoner's dilemma) and lower in 1 (Kuhn poker)"
    assert found.listed(found.changes(table, "safety", SFT, BASE)).endswith("Kuhn poker -0.25")
    assert "one training seed (1), so no difference has an interval" in found.brackets(table)
    assert "over the 2 training seeds 1 and 2; differences are paired" in found.brackets(
        evaluated(ipd=(1.0, 2.0))
    )


def test_a_game_of_ones_own_counts_and_stands_last():
    table = evaluated(chicken=(-1.0, -1.0), ipd=(1.0, 1.0))
    assert told(table) == "higher in 1 of 2 games (Prisoner's dilemma) and lower in 1 (chicken)"


def test_a_game_that_lacks_one_of_the_two_stages_is_named():
    table = evaluated(ipd=(1.0, 1.0), kuhn=(1.0, 1.0))
    table = table[(table["game"] == "ipd") | (table["stage"] == "sft")]
    assert told(table) == ("higher in 1 of 2 games (Prisoner's dilemma); in Kuhn poker nothing was measured")


def test_of_more_than_five_only_the_numbers_are_given():
    rows = evaluated(ipd=(1.0, 1.0), kuhn=(1.0, 1.0), deal=(-1.0, -1.0))
    both = pd.concat([rows, rows.assign(pools="conflict")])
    changes = found.changes(both, "safety", SFT, BASE, by=["game", "pools"])
    assert changes[1].name == "Prisoner's dilemma with conflict pools"
    assert found.tally(changes, "safer", "less safe", "settings") == (
        "safer in 4 of 6 settings and less safe in 2"
    )


def test_only_reported_rows_count_and_a_missing_column_is_named():
    early = evaluated(ipd=(9.0, 9.0)).assign(stage="sepo", step=1, reported=False)
    last = evaluated(ipd=(1.0, 2.0)).assign(stage="sepo", step=2)[1::2]
    assert found.value(found.pick(pd.concat([early, last]), stage="sepo"), "safety", 1) == "1.5 [-4.9, 7.9]"
    with pytest.raises(ValueError, match=r"lacks the columns \['arm'\]; it has \['game'"):
        found.pick(last, arm="credited")


# --- templates ------------------------------------------------------------------------------------------


def test_notebook_00_does_not_count_an_advantage_that_may_be_noise():
    """2 and 2.02 are clearly positive (2.01 +- 0.13); 0 and 1 have an interval that is cut at 0."""
    rows = evaluated(ipd=(1.0, 1.0), auction=(1.0, 1.0)).query("stage == 'base'")
    table = rows.assign(exploit=[2.0, 2.02, 0.0, 1.0], parse_rate=1.0)
    places = pd.MultiIndex.from_tuples([("ipd", "paper"), ("auction", "paper")], names=["game", "pools"])
    beside = pd.DataFrame({"safety": [-5.0, 1.0], "safety, random": [-1.5, 0.5]}, index=places)
    settings = profiles.load("laptop")
    said = found.text("00_base_model", settings, evaluation=table, beside=beside)
    assert "is Prisoner's dilemma 2.01 [1.88, 2.14]; Auction 0.50 [0.00, 6.85]. e is never below 0." in said
    assert (
        "at random in Prisoner's dilemma (-5.00; random -1.50), and not below it in Auction (1.00; " in said
    )
    assert "win more" not in said and "constrained decode" not in said
    low = table.assign(
        parse_rate=[0.0, 0.02, 1.0, 1.0], option_log10_mass=[-6.9, -7.1, float("nan"), float("nan")]
    )
    said = found.text("00_base_model", settings, evaluation=low, beside=beside)
    assert (
        "probability of about 1e-7 in Prisoner's dilemma. An action drawn from so little says nothing" in said
    )
    without = found.text("00_base_model", settings, evaluation=low[list(table)], beside=beside[:0])
    assert "1e-7" not in without and "**Safety.**" not in without


def test_notebook_02_reads_a_loss_of_safety_as_one():
    table = evaluated(ipd=(-1.0, -1.0), kuhn=(1.0, -1.0))
    text = found.text("02_sft", profiles.load("laptop"), evaluation=table, negotiations=["kuhn"])
    assert "lower in 1 of 2 games (Prisoner's dilemma); in Kuhn poker the interval contains zero" in text
    assert "Here e after SFT is neither clearly higher nor clearly lower; in Kuhn poker the interval" in text
    assert "Prisoner's dilemma -1.00 (no spread)" in text and "mean nothing" not in text
    assert "mean nothing" in found.text("02_sft", profiles.load("smoke"), evaluation=table, negotiations=[])
    with pytest.raises(jinja2.UndefinedError, match="evaluation"):
        found.text("02_sft", profiles.load("laptop"))


def arm(name, *safety, game="ipd", preset="unbiased"):
    keys = {"kind": "outcome", "game": game, "pools": "paper", "stage": "sepo", "preset": preset}
    return [
        {**keys, "arm": name, "seed": seed, "step": 2, "safety": value} for seed, value in enumerate(safety)
    ]


def kuhn(stage, *nashconvs):
    keys = {"game": "kuhn", "pools": "paper", "stage": stage, "step": 0, "reported": True}
    sepo = {"preset": "unbiased", "arm": "credited"} if stage == "sepo" else {"preset": "", "arm": ""}
    return [
        {**keys, **sepo, "seed": seed, "nashconv": value, "pool_advantage": 0.125}
        for seed, value in enumerate(nashconvs)
    ]


COSINES = [
    {"estimator": name, "settings": 4, "mean cosine": mean, "lowest": low, "0.999 or more": 0}
    for name, mean, low in (
        ("published", "0.250", "-0.125"),
        ("unbiased", "0.750", "0.500"),
        ("large batch", "0.875", "0.625"),
        ("known margins", "1.000", "0.999"),
    )
]
LOWEST = {"switch": "horizon", "game": "ipd", "pools": "paper", "policy": "uniform"}
LOWEST |= {"cosine": "-0.50", "own": "0.25"}
OPTIMA = [{"exploiter": "pool", "lowest NashConv": "0.722"}]
NONE = pd.DataFrame()
TABLES_04 = {
    "cosines": COSINES,
    "headroom": pd.DataFrame(
        [
            ("ipd", "paper", "train", "enumerated", 0.0),
            ("kuhn", "paper", "train", "enumerated", 0.5),
            ("ipd", "paper", "train", "every", 0.0625),
            ("kuhn", "paper", "train", "every", 0.75),
        ],
        columns=["game", "pools", "weights", "family", "gap"],
    ),
    "ablation": pd.DataFrame(
        [*arm("credited", 1.0, 3.0), *arm("reward_only", 2.0, 4.0), *arm("per_rollout", 1.0, 3.5)]
    ),
    "effects": headline_page.effects(NONE),
    "exploitability": pd.DataFrame([*kuhn("sft", 0.25, 0.25), *kuhn("sepo", 0.5, 0.5)]),
    "optima": OPTIMA,
    "evaluation": evaluated(ipd=(1.0, 2.0)),
    "transfer": NONE,
}


def test_notebook_04_sums_up_in_five_sentences():
    text = found.text("04_ablations", profiles.load("laptop"), **TABLES_04)
    assert "0.250 for the published estimator (lowest -0.125) and 0.750 for the unbiased one" in text
    assert "is not the one with the highest J in 1 of 2 combinations of game and pool set." in text
    assert "(`reward_only`), safety of `credited` is lower in Prisoner's dilemma with paper pools" in text
    assert "NashConv is 0.250 (no spread) and 0.500 (no spread)" in text
    assert text.count("\n- ") == 3 and "per_rollout" not in text  # the rest stands in the sections


def test_notebook_04_says_what_the_penalty_and_the_switches_do():
    published = [{**row, "preset": "published"} for row in arm("reward_only", 0.0, 1.0)]
    trained = pd.concat([TABLES_04["ablation"], pd.DataFrame(published)]).assign(stage="sepo")
    effects = headline_page.effects(trained)
    text = found.text("04_ablations", profiles.load("laptop"), **TABLES_04 | {"effects": effects})
    assert (
        "In Prisoner's dilemma with paper pools, the other switches have no clear effect and charging the "
        "penalty lowers J." in " ".join(text.split())
    )


def test_notebook_04_says_which_comparisons_have_fewer_seeds():
    seven = pd.DataFrame({"game": "ipd", "stage": "sft", "step": 1, "seed": range(7), "safety": 0.0})
    study = found.text("04_ablations", profiles.load("study"), **TABLES_04 | {"evaluation": seven})
    assert "differences are paired by seed. All of these seeds were used for `unbiased` with every" in study
    assert study.endswith("the other comparisons use the first 5 seeds.")
    few = found.text("04_ablations", profiles.load("study"), **TABLES_04 | {"evaluation": seven[:5]})
    assert few.endswith("differences are paired by seed.")


def test_changes_by_two_columns_compare_without_a_warning_of_pandas():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (one,) = found.changes(
            TABLES_04["ablation"], "safety", {"arm": "credited"}, {"arm": "reward_only"}, ["game", "pools"]
        )
    assert one.seeds == 2


def test_notebook_04_leaves_out_what_the_run_lacks():
    missing = dict.fromkeys(("headroom", "ablation", "exploitability"), NONE) | {"cosines": []}
    text = found.text("04_ablations", profiles.load("laptop"), **TABLES_04 | missing)
    assert text.startswith("- **Exploiter pool.** This run has no SEPO models of Kuhn poker.")
    assert "Estimators" not in text and "Headroom" not in text and "Trained arms" not in text


SWITCHED = pd.DataFrame(
    {"game": "ipd", "pools": "paper", "preset": preset, "seed": seed, "safety": value}
    for preset, values in {
        "published": (1.0, 2.0),
        "unbiased": (3.0, 4.0),
        "published+clamp": (2.0, 1.0),
    }.items()
    for seed, value in enumerate(values)
)
EXPLOITERS = pd.DataFrame(
    {"exploiter": "best_response", "stage": stage, "seed": seed, "step": step, "nashconv": value}
    for stage, step, value in (("sft", 0, 0.5), ("sepo", 1, 0.75), ("sepo", 2, 0.25))
    for seed in (1, 2)
)
REACHED = [
    {"exploiter": "best_response", "baseline": "group", "NashConv at most": limit}
    | {"seeds that reach it": seeds, "step": step, "answers": answers}
    for limit, seeds, step, answers in (("0.05", "2 of 2", "40", "1,200"), ("0.02", "0 of 2", "–", "–"))
]
GRADIENTS = [
    {"game": "ipd", "arm": arm, "length": length, "cosine with credited": cosine, "signal to noise": ratio}
    | {"batches": "4"}
    for arm, length, cosine, ratio in (
        ("constant", "0.000 (no spread)", "–", "–"),
        ("per_rollout", "0.500 [0.100, 0.900]", "0.100 [-0.500, 0.700]", "0.000 [-0.100, 0.100]"),
    )
]
SWEPT = pd.DataFrame(
    {"game": "ipd", "multiple": multiple, "seed": seed, "exploit": 1 / (1 + multiple), "payoff": 3.0}
    for multiple in (0.0, 1.0)
    for seed in (1, 2)
)
REPLICATED = pd.DataFrame(
    {"share": share, "stage": stage, "preset": preset, "step": 30, "seed": seed, "safety": safety + seed / 10}
    | {"top_p": top_p}
    for share, top_p, sft, sepo in ((0.0, 1.0, 1.0, 0.25), (1.0, 1.0, 1.25, 1.75), (1.0, 0.95, 1.5, 1.5))
    for stage, preset, safety in (("sft", None, sft), ("sepo", "authors_current", sepo))
    for seed in (1, 2)
)
THEIRS = {"sft": 1.336, "sepo": 1.752}
READINGS = {
    "estimators": (
        {"cosines": COSINES, "lowest": LOWEST},
        "the mean cosine is 0.875 with many groups in a batch, and 1.000 (lowest 0.999) with the exact "
        "margins. What is then left below 1 is the noise of finitely many batches. With one switch "
        "corrected, the lowest cosine is -0.50: `published` with the horizon of `unbiased`, in Prisoner's "
        "dilemma (paper pools) at the policy `uniform`, where `published` itself has 0.25. So correcting one "
        "switch alone can make the estimate worse.",
    ),
    "headroom": (
        {"headroom": TABLES_04["headroom"]},
        "In Prisoner's dilemma (paper pools), both have the same J. Among all strategies, which are known "
        "for 2 combinations, the gap is 0.062 in Prisoner's dilemma (paper pools) and 0.750 in Kuhn poker "
        "(paper pools).",
    ),
    "gradient": (
        {"gradients": GRADIENTS, "noisy": ["ipd"]},
        "Under `constant`, the penalty has no gradient in Prisoner's dilemma. Under `per_rollout`, the "
        "cosine of its mean gradient with that of `credited` is Prisoner's dilemma 0.100 [-0.500, 0.700], "
        "and its signal-to-noise ratio is Prisoner's dilemma 0.000 [-0.100, 0.100]. An interval that "
        "contains zero means that the gradient cannot be told from noise. In Prisoner's dilemma this holds "
        "for `credited` itself, which is the reference: with 4 batches per seed, nothing can be concluded",
    ),
    "arms": (
        {"ablation": TABLES_04["ablation"]},
        "Compared with `per_rollout`, it is neither clearly higher nor clearly lower; in Prisoner's dilemma "
        "with paper pools and `unbiased` the interval contains zero.",  # 0 and -0.5
    ),
    "switches": (
        {"switches": SWITCHED},
        "safety in Prisoner's dilemma is higher with 1 of 2 recipes (`unbiased`); with `published+clamp` the "
        "interval contains zero. The changes are `unbiased` 2.00 (no spread); `published+clamp` 0.00 "
        "[-12.71, 12.71].",
    ),
    "exploiters": (
        {"exploiters": EXPLOITERS, "reaching": REACHED},
        "is lower with `best_response`. The changes in chips per hand are `best_response` -0.25 (no spread). "
        "With `best_response` and the baseline `group`, NashConv less its estimated bias is at most 0.05 "
        "chips at a checkpoint on 2 of 2 seeds; the first such checkpoint comes, on average, after 40 steps "
        "and 1,200 answers. With `best_response` and the baseline `group`, NashConv less its estimated bias "
        "is at most 0.02 chips at a checkpoint on 0 of 2 seeds.",
    ),
    "replication": (
        {"replication": REPLICATED, "theirs": THEIRS, "judged": "The verdict."},
        "safety after `authors_current` is higher with 1 of 2 shares (`1.0`) and lower with 1 (`0.0`); the "
        "changes are `0.0` -0.75 (no spread); `1.0` 0.50 (no spread). With top-p 0.95, safety after "
        "`authors_current` is unchanged with `1.0`; the changes are `1.0` 0.00 (no spread). The authors' "
        "model changed by +0.42 with their current recipe, from 1.34 to 1.75. The verdict.",
    ),
    "weights": (
        {"crossings": pd.DataFrame({"crossing": [1.0, None, 9.0]}), "crossed": [{"weight": "lc"}]},
        "there the difference changes sign between 0 and 4, the plotted range. Of these crossings, 0 concern "
        "le, which the figure shows",
    ),
    "frontier": (
        {"sweep": SWEPT},
        "training with 0 times that weight makes the exploit-pool advantage e higher in Prisoner's dilemma, "
        "and the payoff u unchanged in Prisoner's dilemma.",
    ),
}


@pytest.mark.parametrize("section", READINGS)
def test_every_section_of_04_is_read_from_its_tables_or_says_that_it_was_not_run(section, monkeypatch):
    shown = displayed(monkeypatch)
    tables, sentence = READINGS[section]
    run = profiles.load("laptop", replication_presets=["authors_current"])
    found.reading("04_ablations", section, run, **tables)
    empty = {name: NONE if isinstance(table, pd.DataFrame) else [] for name, table in tables.items()}
    empty |= {"theirs": THEIRS}
    found.reading("04_ablations", section, profiles.load("laptop"), **empty)
    read, skipped = shown
    assert read.startswith("**Result.** ") and sentence in " ".join(read.split())
    assert "`laptop`" in skipped and "\n" not in skipped


def behaviour(sft, sepo):
    """`behaviour.csv` of a dilemma: P(COOPERATE) in two situations, and the agreement of three strategies."""
    keys = {"game": "ipd", "pools": "paper", "step": 1}
    stages = [("sft", "", "", sft), ("sepo", "unbiased", "credited", sepo)]
    rows = []
    for stage, preset, arm, p in stages:
        for seed in (1, 2):
            one = keys | {"stage": stage, "preset": preset, "arm": arm, "seed": seed}
            for situation, share in zip(("first round", "COOPERATE, COOPERATE"), p, strict=True):
                cell = one | {"kind": "situation", "situation": situation, "decisions": 40}
                rows.append(cell | {"action": "COOPERATE", "value": share + seed / 100})
                rows.append(cell | {"action": "DEFECT", "value": 1 - share - seed / 100})
            near = {"grim": p[1], "tit_for_tat": p[1], "always_defect": 1 - p[1]}
            cell = one | {"kind": "opponent", "situation": "all", "decisions": 600}
            rows += [cell | {"action": name, "value": value} for name, value in near.items()]
    return pd.DataFrame(rows)


def test_a_change_of_j_is_told_by_its_terms():
    """J = u - 0.5 e - c - 0.5 x with these weights in ipd, where s is 1."""
    weights = {"ipd": {"exploit": 0.5, "collusion": 1.0, "externality": 0.5}}
    sft = {"payoff": 1.0, "exploit": 0.0, "collusion": 0.5, "externality": 0.5, "safety": 0.25}
    sepo = {"payoff": 2.0, "exploit": 1.0, "collusion": 0.25, "externality": 0.5, "safety": 1.0}
    table = pd.DataFrame(
        {"game": "ipd", "stage": stage, "seed": seed, **terms}
        for stage, terms in (("sft", sft), ("sepo", sepo))
        for seed in (1, 2)
    )
    (told,) = found.origins(table, {"stage": "sepo"}, {"stage": "sft"}, weights=weights)
    assert told == "Prisoner's dilemma +0.75 = u +1.00, e -0.50, c +0.25, x 0.00"
    assert found.origins(table.drop(columns="exploit"), {"stage": "sepo"}, {"stage": "sft"}) == []
    assert found.origins(table, {"stage": "sepo"}, {"stage": "base"}) == []


def test_the_strategies_of_03_are_named_and_the_largest_change_is_told(monkeypatch):
    shown = displayed(monkeypatch)
    for table in (behaviour((0.9, 0.8), (0.1, 0.75)), behaviour((0.5, 0.5), (0.5, 0.5)), NONE):
        found.reading("03_sepo_grpo", "strategies", profiles.load("laptop"), behaviour=table)
    read, unchanged, empty = (" ".join(text.split()) for text in shown)
    evaluation = pd.DataFrame(
        {"game": "ipd", "stage": stage, "preset": "unbiased", "seed": seed, "safety": 1.0, "payoff": 1.0}
        | {"parse_rate": rate}
        for stage, rate in (("base", 1.0), ("sft", 1.0), ("sepo", 0.75))
        for seed in (1, 2)
    )
    tables = {"evaluation": evaluation, "kuhn": NONE, "chosen": pd.DataFrame({"difference": [0.0]})}
    settings = profiles.load("laptop", compare_with=[])
    summed = found.text("03_sepo_grpo", settings, behaviour=behaviour((0.9, 0.8), (0.1, 0.75)), **tables)
    assert "share of the decisions: Prisoner's dilemma `grim` or `tit_for_tat` 0.75 [" in summed
    assert "an action in a share of 0.75 of the answers after SEPO with `unbiased` in Prisoner's" in summed
    assert "**Strategies.**" not in found.text("03_sepo_grpo", settings, behaviour=NONE, **tables)
    assert "- **Prisoner's dilemma.** SFT: `grim` or `tit_for_tat` 0.80 [" in read
    assert "; SEPO, unbiased: `grim` or `tit_for_tat` 0.75 [" in read and "always_defect" not in read
    assert (
        "in the situation “first round” (last actions (own, other)): the share of COOPERATE falls from 0.92 "
        "to 0.12, a change of -0.80 (no spread)." in read
    )
    assert "SFT and SEPO (`unbiased`) do the same in every situation that both meet often." in unchanged
    assert "nothing to describe" in empty


def test_notebook_05_counts_the_verdicts_by_recipe():
    verdicts = [("C1", "published", "", "supported"), ("C3", "published", "split", "not supported")]
    verdicts += [
        ("C1", "unbiased", "", "not run"),
        ("C5", "", "", "supported"),
        ("E1", "", "", "inconclusive"),
    ]
    decided = pd.DataFrame(verdicts, columns=["claim", "recipe", "scope", "verdict"])
    text = found.text("05_figures", profiles.load("laptop"), claims=decided)
    assert "- **`published`.** 1 supported: C1; 1 not supported: C3 (split).\n" in text
    assert "- **`unbiased`.** 0 supported; 1 not run: C1.\n" in text
    assert "- **All recipes.** 1 supported: C5; 1 inconclusive: E1.\n" in text


def test_the_training_of_03_is_read_from_its_last_steps(monkeypatch):
    shown = displayed(monkeypatch)
    table = pd.DataFrame(
        {"game": "ipd", "preset": preset, "step": step, "collusion": c, "payoff": 2.0}
        | {"exploit": 0.25, "externality": 0.5, "objective": -c}
        for preset, c in (("unbiased", 0.125), ("published", 1.0))
        for step, c in ((1, 0.0), *((step, c) for step in range(4, 9)))
    )
    found.reading("03_sepo_grpo", "training", profiles.load("laptop"), training=table, first="ipd")
    assert "the last 5 steps in Prisoner's dilemma: `unbiased` ends with u 2.00, e 0.25, c 0.12" in shown[0]
    assert (
        "`published` ends with u 2.00, e 0.25, c 1.00 and x 0.50, so that J is -1.00 (first 3 steps: -0.67)."
        in shown[0]
    )


@pytest.mark.parametrize("profile", ["laptop", "study", "smollm2"])
def test_committed_runs_are_read_without_a_nan(profile):
    settings = profiles.load(profile)
    text = found.text("05_figures", settings, claims=claims.read(profile))
    evaluation = results.on_own_pools(settings, paths.read_table(profile, "evaluation"))
    text += found.text("02_sft", settings, evaluation=evaluation, negotiations=["split", "deal"])
    assert "nan" not in text and "- **`unbiased`.**" in text


# --- a game of one's own: legible answers first ----------------------------------------------------------


def own_game(sft, sepo, file_weight=1.0):
    """The findings of notebook 06 with these parse rates by seed; `file_weight`: those with the file's le."""
    rows = pd.DataFrame(
        {"game": "chicken", "stage": stage, "seed": seed, "step": 0, "reported": True, "parse_rate": rate}
        | {"safety": safety, "exploit": 3.0 - safety, "externality": 0.25, "exploit_weight": 2.0}
        for stage, rates, safety in (("sft", sft, -1.0), ("sepo", sepo, 0.5))
        for seed, rate in enumerate(rates, start=11)
    )
    main = rows[rows["stage"] == "sepo"]
    swept = pd.concat([main, main.assign(exploit_weight=0.25, exploit=4.0, parse_rate=file_weight)])
    best = pd.DataFrame({"weight le": [0.25, 2.0], "strategy": "grim", "J": 0.9})
    settings = profiles.load("laptop")
    return found.text("06_your_own_game", settings, evaluation=rows, swept=swept, best=best)


def test_an_own_game_with_legible_answers_is_described():
    text = own_game((0.98, 0.99), (0.9, 1.0))
    assert text.startswith("- **Legible answers.** The parser finds an action in a share of 0.98")
    assert "the lowest share of a seed after SEPO is 0.90." in text
    assert "So nearly all actions after SEPO are those that the model names." in text
    assert "safety after SEPO is higher than safety after SFT; the difference is 1.50" in text
    assert "- **The weight.**" in text and "changes e by -1.50" in text and "- **Room.** Safety" in text


def test_no_safety_is_the_model_s_if_its_answers_are_not_legible_with_every_seed():
    """One seed below the limit is enough, although the mean is above it."""
    text = own_game((1.0, 1.0, 1.0), (1.0, 0.89, 1.0))
    assert "**After SEPO the model does not answer legibly**" in text
    assert "below 0.9 with the training seed 12." in text and "or lower `sepo_learning_rate`" in text
    assert "safety" not in text.lower() and "**SEPO.**" not in text and "higher" not in text
    text = own_game((0.5, 0.6), (0.1, 0.2))
    assert "with the training seeds 11 and 12). Train SFT with more steps" in text
    assert "safety" not in text.lower()


def test_only_legible_answers_are_compared():
    text = own_game((0.5, 1.0), (1.0, 1.0), file_weight=0.8)
    assert "with the training seed 11 (a share below 0.9), so safety after SEPO is not compared" in text
    assert "with le = 0.25 does not answer legibly with the training seeds 11 and 12" in text
    assert "difference" not in text.replace("differences are paired", "")


def test_the_reading_before_the_figures_of_06_is_the_first_finding(monkeypatch):
    shown = displayed(monkeypatch)
    rows = pd.DataFrame({"stage": ["sft", "sepo"], "seed": 11, "step": 0, "reported": True})
    for rate, words in ((0.95, "are those that the model names."), (0.5, "J after SEPO are not those")):
        found.reading("06_your_own_game", "legible", None, evaluation=rows.assign(parse_rate=rate))
        assert words in shown[-1] and "\n" not in shown[-1]


# --- tables ---------------------------------------------------------------------------------------------


def test_tables_have_titles_and_dashes_and_no_nan(monkeypatch):
    shown = displayed(monkeypatch)
    found.table(
        pd.DataFrame({"game": ["kuhn", "chicken"], "J": [0.12345, None], "arm": ["", "x"]}), "A note."
    )
    found.table([{"x": 1.0}], digits=1)
    found.table([])
    assert shown == [
        "| game | J | arm |\n| --- | --- | --- |\n| Kuhn poker | 0.123 | – |\n| chicken | – | x |"
        "\n\n<small>A note.</small>",
        "| x |\n| --- |\n| 1.0 |",
    ]
