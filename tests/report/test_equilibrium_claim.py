"""E6: NashConv of at most 0.02 chips on every seed, after training against a best response."""

import pandas as pd
import pytest

from sepo_lib.report import claims

NONE = pd.DataFrame()


def trained(highs, lows=None, **other) -> pd.DataFrame:
    """Rows of `exploiters.csv` after step 120, one per seed, with these ends of the intervals."""
    lows = lows or [high - 0.01 for high in highs]
    columns = {"profile": "p", "model": "m", "exploiter": "best_response_only", "baseline": "enumerated"}
    columns |= {"stage": "sepo", "seed": range(41, 41 + len(highs)), "step": 120}
    values = {"nashconv": [high - 0.005 for high in highs], "nashconv_low": lows, "nashconv_high": highs}
    return pd.DataFrame({**columns, **values, **other})


def decide(*exploiters: pd.DataFrame) -> pd.Series:
    table = pd.concat(exploiters) if exploiters else NONE
    found = claims.decide(NONE, NONE, NONE, "p", "m", exploiters=table)
    return found.set_index("claim").loc["E6"]


@pytest.mark.parametrize(
    ("highs", "lows", "verdict"),
    [
        ([0.012, 0.02], None, "supported"),
        ([0.012, 0.021], None, "inconclusive"),
        ([0.012, 0.04], [0.0, 0.02], "inconclusive"),
        ([0.012, 0.04], [0.0, 0.021], "not supported"),
    ],
)
def test_the_seed_with_the_largest_upper_end_decides(highs, lows, verdict):
    earlier = trained([0.5, 0.5], step=60)
    other = trained([0.9, 0.9], baseline="group")
    start = trained([0.9, 0.9], stage="sft", step=0)
    found = decide(start, earlier, trained(highs, lows), other)
    assert (found["verdict"], found["ci_high"]) == (verdict, max(highs))
    assert found["measured"] == pytest.approx(max(highs) - 0.005)
    assert found["interval"] == "sampling error of seed 42"


def test_without_such_a_run_the_verdict_is_not_run():
    assert decide()["verdict"] == "not run"
    older = trained([0.01]).drop(columns="baseline")  # before the study had baselines
    assert decide(older)["reason"] == "not trained against a best response with enumerated advantages here"
    with pytest.raises(ValueError, match="two rows of one seed"):
        decide(trained([0.01]), trained([0.01]))


def test_a_seed_that_lacks_the_last_step_supports_nothing():
    half = trained([0.01, 0.01], step=60)
    found = decide(half, trained([0.012]))
    assert found["verdict"] == "inconclusive"
    assert found["reason"].endswith("on 1 of 2 seeds; 1 of 2 seeds lack the last step")
    unmeasured = trained([0.012, 0.013])
    unmeasured.loc[unmeasured.seed == 42, ["nashconv", "nashconv_low", "nashconv_high"]] = float("nan")
    assert decide(unmeasured)["reason"].endswith("1 of 2 seeds lack the last step")
    assert decide(half, trained([0.04], [0.03]))["verdict"] == "not supported"


def test_one_seed_alone_supports_nothing():
    found = decide(trained([0.012]))
    assert (found["verdict"], found["reason"]) == (
        "inconclusive",
        "the upper end is at most 0.02 on 1 of 1 seeds; one seed",
    )
    assert decide(trained([0.04], [0.03]))["verdict"] == "not supported"
