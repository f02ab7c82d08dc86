"""The rule of claim E9: every verdict of each of its three parts is reachable."""

import numpy as np
import pandas as pd
import pytest

from sepo_lib.measure import authors
from sepo_lib.report import claims, replication_claim

SEEDS = (1, 2, 3)
SPREAD = np.array([-0.01, 0.0, 0.01])  # over three seeds: half an interval is .0248
NOISE = np.array([-5.0, 0.0, 5.0])


def table(seeds=SEEDS, preset="authors_current", top_p=1.0, **outcomes):
    """`replication.csv`. `share_1=(sft, sepo)` are J before and after SEPO, each a number or one per seed."""
    rows = []
    for share, (sft, sepo) in outcomes.items():
        for stage, recipe, safety in (("sft", None, sft), ("sepo", preset, sepo)):
            rows.append(
                pd.DataFrame(
                    {"profile": "p", "model": "m", "game": "ipd", "pools": "paper", "seed": list(seeds)}
                    | {"share": float(share.removeprefix("share_")), "stage": stage, "preset": recipe}
                    | {"top_p": top_p, "step": 30, "safety": np.broadcast_to(safety, len(seeds))}
                )
            )
    return pd.concat(rows, ignore_index=True)


def decide(replication):
    none = pd.DataFrame()
    decided = claims.decide(none, none, none, "p", "m", replication=replication)
    return decided[decided["claim"] == "E9"].set_index("scope")


def test_the_authors_numbers_are_those_of_their_stored_rows():
    theirs = authors.load().query("game == 'ipd' and reason == ''").sort_values("step")
    theirs = theirs[theirs["who"] == "gemma-4-e4b-it (rerun)"].groupby("recipe")["safety"].last()
    assert replication_claim.THEIRS == {
        "sft": pytest.approx(theirs["sft"], abs=5e-4),
        "sepo": pytest.approx(theirs["authors_current"], abs=5e-4),
    }
    assert "(1.752)" in claims.RULES["E9"].text and "(±0.208)" in claims.RULES["E9"].text


@pytest.mark.parametrize(
    ("sft", "sepo", "verdicts"),
    [
        # As the authors' model: up by .4 to their level; from share 0 the same recipe fell by .9.
        (1.34 - SPREAD, 1.74 + SPREAD, ("supported", "supported", "supported")),
        # Down to always defecting, as much as from share 0.
        (1.03 + SPREAD, 0.13, ("not supported", "not supported", "inconclusive")),
        # Down, but by less than from share 0.
        (1.34, 1.0 + SPREAD, ("not supported", "not supported", "supported")),
        # Up, and past the authors' model by more than half of their rise.
        (1.34, 2.5 + SPREAD, ("supported", "not supported", "supported")),
        (1.34, 1.5 + NOISE, ("inconclusive", "inconclusive", "inconclusive")),
        # 1.56 is .19 below 1.752: the interval reaches past the margin of .208.
        (1.34, 1.55 + SPREAD, ("supported", "inconclusive", "supported")),
    ],
)
def test_three_verdicts_on_the_largest_share(sft, sepo, verdicts):
    rows = table(share_0=(1.03 - SPREAD, 0.13 + SPREAD), share_1=(sft, sepo))
    half = table(**{"share_0.5": (9.0, -9.0)})  # no rule reads it
    others = table(share_1=(0.0, -9.0), preset="unbiased").query("stage == 'sepo'")
    decided = decide(pd.concat([half, rows, others]))
    assert dict(zip(decided.index, decided["verdict"], strict=True)) == dict(
        zip(("J rises", "the level is theirs", "this start helps"), verdicts, strict=True),
        **{"J rises with their top-p": "not run"},
    )
    rise, decided = np.mean(sepo) - np.mean(sft), decided[:3]
    assert decided["measured"].tolist() == pytest.approx([rise, np.mean(sepo) - 1.752, rise + 0.9], abs=1e-9)
    assert decided["reason"].str.endswith("; share 1").all() and set(decided["recipe"]) == {"authors_current"}


@pytest.mark.parametrize(
    ("sepo", "verdict"),
    [(1.75 + SPREAD, "supported"), (0.25 + SPREAD, "not supported"), (1.5 + NOISE, "inconclusive")],
)
def test_top_p_is_judged_by_its_own_rows_before_and_after(sepo, verdict):
    plain, filtered = table(share_1=(9.0 + SPREAD, 0.13)), table(top_p=0.95, share_1=(1.5, sepo))
    decided = decide(pd.concat([plain, filtered])).loc["J rises with their top-p"]
    assert decided["verdict"] == verdict and decided["measured"] == pytest.approx(np.mean(sepo) - 1.5)
    assert decide(filtered)["verdict"].tolist() == ["not run"] * 3 + [verdict]


def test_what_is_missing_is_not_run_and_one_seed_decides_nothing():
    assert set(decide(pd.DataFrame())["reason"]) == {"the replication was not run here"}
    alone = decide(table(share_1=(1.34, 1.74 + SPREAD)))
    assert alone["verdict"].tolist() == ["supported", "supported", "not run", "not run"]
    assert alone["reason"].iloc[-1] == "no authors_current with top-p here"
    assert alone.loc["this start helps", "reason"].endswith("not trained from the main run's SFT model")
    one = decide(table(seeds=(1,), share_0=(1.0, 0.1), share_1=(1.34, 1.74)))
    assert set(one["verdict"][:3]) == {"inconclusive"} and set(one["reason"][:3]) == {"one seed; share 1"}
    other = decide(table(share_1=(1.34, 1.74), preset="unbiased"))
    assert set(other["reason"][:3]) == {"no SFT model or no authors_current here"}
    with pytest.raises(ValueError, match=r"^replication.csv has a seed twice \(seeds \[1, 2, 3, 1, 2, 3\]\)"):
        decide(pd.concat([table(share_1=(1.0, 2.0))] * 2))


def test_the_main_runs_own_sft_model_is_no_replication_and_seeds_that_lack_a_model_are_named():
    own = decide(table(share_0=(1.0, 1.75 + SPREAD)))
    assert set(own["verdict"]) == {"not run"}
    assert set(own["reason"]) == {"only the main run's SFT model (share 0) here"}
    whole = table(share_0=(1.03, 0.13 - SPREAD), share_1=(1.34, 1.74 + SPREAD))
    for short in (whole[:-1], whole.assign(safety=whole["safety"].where(whole.index < len(whole) - 1))):
        found = decide(short)[:3]
        assert set(found["interval"]) == {"95% t over 2 seeds"}
        assert found["reason"].str.endswith("; share 1; 1 of 3 seeds lack a model").all()
