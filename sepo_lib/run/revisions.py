"""When each rule of `claims` was written and changed, and what had been seen by then.

The dates and the order are those of the repository's history (`git log --follow -p
sepo_lib/report/claims.py`; E1 to E5 stood there too until 2026-11-26). "Run" means a run whose tables were
committed; settings and seeds of trials that were not are in docs/LOG.md.
"""

from typing import NamedTuple


class Revision(NamedTuple):
    """One version of a rule: its date, what changed, and which results had been seen."""

    date: str
    change: str
    seen: str

    @property
    def afterwards(self) -> bool:
        """Whether results that the rule decides on had been seen."""
        return self.seen.startswith("after")


WRITTEN = "2026-11-22", "Written."
BEFORE = "before any run"
AFTER = "after all runs so far (laptop, study, smollm2)"
BY_RECIPE = "Decided for each recipe by name, the paper's own first; `not run` where nothing was trained."
SIGNED = (
    "Reads the signed margin where the table has it: e is clamped at 0, where its t interval covers too "
    "little."
)
SWITCH = Revision(
    "2026-11-23",
    "Written.",
    "before the first committed table of the estimators, after exploratory estimates of single policies",
)
WORDS = Revision(
    "2026-11-26",
    "Statement without a word on bias; every other switch must be that of the unbiased preset. Same rows.",
    AFTER,
)

REVISIONS: dict[str, list[Revision]] = {
    "C1": [
        Revision(*WRITTEN, BEFORE),
        Revision(
            "2026-11-23",
            "Reads the advantage with every hand enumerated, no longer the one in played hands, whose "
            "noise is larger than 0.02. Kuhn's training settings were changed for the same reason "
            "(docs/LOG.md).",
            "after the first laptop run (0.031 [-0.064, 0.126], inconclusive). The run was made six times "
            "with the same seeds, and Kuhn's settings were changed in between (docs/LOG.md)",
        ),
        Revision(
            "2026-11-26",
            "Reads the largest signed margin over the exploiters, no longer e, their mean margin clamped at "
            "0, whose t interval covers too little. The new quantity is never smaller than e where e is "
            f"above 0. {BY_RECIPE}",
            f"{AFTER}; it turned `unbiased` in study from supported to inconclusive",
        ),
    ],
    "C1b": [Revision("2026-11-26", "Written.", AFTER)],
    "C2": [Revision(*WRITTEN, BEFORE), Revision("2026-11-26", BY_RECIPE, AFTER)],
    "C3": [
        Revision(*WRITTEN, BEFORE),
        Revision(
            "2026-11-26",
            "Decided game by game: the mean over both negotiations hid that SFT raises e in one and "
            "lowers it in the other. Measured is the rise, no longer the smaller of rise and correction. "
            f"{SIGNED} {BY_RECIPE}",
            AFTER,
        ),
    ],
    "C4": [
        Revision(*WRITTEN, BEFORE),
        Revision(
            "2026-11-26",
            "Two verdicts, one on SEPO's NRA and one on the other stages': version 1 mixed both in one. "
            f"{BY_RECIPE}",
            f"{AFTER}; version 1 said not supported of `unbiased` in laptop, as the base model's is positive",
        ),
    ],
    "C5": [
        Revision(*WRITTEN, BEFORE),
        Revision(
            "2026-11-23",
            "Reads the terms e, c and x of the table of estimators as well.",
            "after the first laptop run (supported), before the first table of the estimators",
        ),
        Revision(
            "2026-11-26", "Reads the rows of both presets only, as the table has other estimators now.", AFTER
        ),
    ],
    "C6": [
        Revision(*WRITTEN, BEFORE),
        Revision("2026-11-22", "Takes the mean over both presets; it had read `published` only.", BEFORE),
        Revision(
            "2026-11-26",
            "Decided for each preset, and apart for the paper's pools and the conflict pools: a mean over "
            "both mixed different questions. The statement is the paper's own again.",
            AFTER,
        ),
    ],
    **{claim: [SWITCH, WORDS] for claim in ("E1", "E2")},
    "E3": [
        SWITCH,
        WORDS._replace(
            change=f"{WORDS.change.removesuffix('Same rows.')}Leaves out the games and pools in which the "
            "clamp cannot act (the split): all that was measured there is the horizon that is turned with it."
        ),
    ],
    **{claim: [SWITCH, WORDS] for claim in ("E4", "E5")},
}


def versions() -> dict[str, int]:
    """The version of every rule: the number of its entries in `REVISIONS`."""
    return {claim: len(entries) for claim, entries in REVISIONS.items()}
