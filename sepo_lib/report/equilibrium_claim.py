"""The rule of the kit's own claim E6: with enumerated advantages the language model reaches the equilibrium.

The rule reads `exploiters.csv`. Its docstring *is* the rule.
"""

from sepo_lib.measure.statistics import Interval
from sepo_lib.report.verdicts import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    Finding,
    Tables,
    because,
    lacking,
    nothing,
    where,
)

NEAR = 0.02  # chips per hand


def equilibrium_is_reached(tables: Tables, recipe: str) -> list[Finding]:
    """E6. Measured: NashConv in Kuhn poker (chips per hand) of the model that was trained against a best
    response alone (`best_response_only`) with the baseline `enumerated`, after the last step, on the seed
    with the largest upper end. NashConv of sampled shares is too high on average; nothing is subtracted.

    The interval covers the sampling error of the answers of that seed (`nashconv_low`, `nashconv_high`), not
    other training seeds. Supported: on every seed the upper end is at most 0.02. Not supported: on at least
    one seed the lower end is above 0.02; the ends are not corrected for the number of seeds. With one seed
    alone, or with a seed that lacks the last step, the claim is not supported or inconclusive.
    """
    if tables.exploiters.empty:
        return [nothing("the exploiter study was not run here")]
    rows = where(tables.exploiters, exploiter="best_response_only", baseline="enumerated", stage="sepo")
    if rows.empty:
        return [nothing("not trained against a best response with enumerated advantages here")]
    last = rows[rows.step == rows.step.max()]
    if last.seed.duplicated().any():
        raise ValueError(
            "exploiters.csv has two rows of one seed after the last step; keep one row per seed."
        )
    worst = last.loc[last.nashconv_high.astype(float).idxmax()]
    found = Interval(*(float(worst[end]) for end in ("nashconv", "nashconv_low", "nashconv_high")))
    near, far = int((last.nashconv_high <= NEAR).sum()), int((last.nashconv_low > NEAR).sum())
    seeds = rows.seed.nunique()
    verdict = SUPPORTED if near == seeds > 1 else NOT_SUPPORTED if far else INCONCLUSIVE
    counts = f"the upper end is at most {NEAR:g} on {near} of {seeds} seeds"
    note = f"the lower end is above it on {far}" if far else ""
    short = lacking(seeds - last.nashconv_high.notna().sum(), seeds, "the last step")
    reason = because(counts, note, "one seed" if seeds == 1 else "", short)
    return [Finding(*found, f"sampling error of seed {worst.seed:g}", verdict, reason)]
