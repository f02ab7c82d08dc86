"""The dates on which the rules of the claims were written and changed, and which results were known by then.

Dates and order are those of the repository's history (`git log --follow -p sepo_lib/report/claims.py`, which
held all rules until 2026-11-26). "Run" means a run whose tables were committed. docs/LOG.md has the settings
and seeds of the other trials.
"""

from typing import NamedTuple


class Revision(NamedTuple):
    """One version of a rule: its date, the change, and which results had been seen."""

    date: str
    change: str
    seen: str


WRITTEN = "2026-11-22", "Written."
BEFORE = "before any run"
AFTER = "after all runs so far (laptop, study, smollm2)"
RELEASE = "after laptop and study were made anew on 2026-11-27"
BY_RECIPE = "Decided for each recipe by name, the paper's own first; `not run` if nothing was trained."
SIGNED = (
    "Reads the signed margin if the table has it, because e is clamped at 0 and its t interval then covers "
    "too little."
)
SWITCH = Revision(
    "2026-11-23",
    "Written.",
    "before the first committed table of the estimators, after exploratory estimates of single policies",
)
WORDS = Revision(
    "2026-11-26",
    "The statement does not mention bias; every other switch must be that of the unbiased preset. Same rows.",
    AFTER,
)
PLAIN = Revision(
    "2026-11-26",
    'Plainer statement. "Biases" means that the cosine of the mean estimate with ∇J falls when one switch of '
    "`unbiased` is changed. Same rule.",
    AFTER,
)

REVISIONS: dict[str, list[Revision]] = {
    "C1": [
        Revision(*WRITTEN, BEFORE),
        Revision(
            "2026-11-23",
            "Reads the advantage with every hand enumerated. Before, it read the one in played hands, whose "
            "noise is larger than 0.02. Kuhn's training settings were changed for the same reason "
            "(docs/LOG.md).",
            "after the first laptop run (0.031 [-0.064, 0.126], inconclusive). The run was made six times "
            "with the same seeds, and Kuhn's settings were changed in between (docs/LOG.md)",
        ),
        Revision(
            "2026-11-26",
            "Reads the largest signed margin over the exploiters. Before, it read e, their mean margin "
            "clamped at 0, whose t interval covers too little. The new quantity is never smaller than e if e "
            f"is above 0. {BY_RECIPE}",
            f"{AFTER}; it turned `unbiased` in study from supported to inconclusive",
        ),
        Revision(
            "2026-11-27",
            "A negative margin counts as 0 in its seed, so that it cannot hide a seed that is exploited; the "
            "interval is one for such values. Before, the mean was taken over signed margins, and could be "
            "smaller than e, although it never is in a single seed.",
            f"{RELEASE}; it turned `unbiased` in laptop from supported to inconclusive",
        ),
    ],
    "C1b": [Revision("2026-11-26", "Written.", AFTER)],
    "C2": [Revision(*WRITTEN, BEFORE), Revision("2026-11-26", BY_RECIPE, AFTER)],
    "C3": [
        Revision(*WRITTEN, BEFORE),
        Revision(
            "2026-11-26",
            "Decided game by game, because the mean over both negotiations hid that SFT raises e in one and "
            "lowers it in the other. The measured value is the rise. Before, it was the smaller of rise and "
            "correction. "
            f"{SIGNED} {BY_RECIPE}",
            AFTER,
        ),
    ],
    "C4": [
        Revision(*WRITTEN, BEFORE),
        Revision(
            "2026-11-26",
            "Two verdicts, one on SEPO's NRA and one on the NRA of the other stages. Version 1 mixed both. "
            f"{BY_RECIPE}",
            f"{AFTER}; version 1 gave `not supported` for `unbiased` in laptop, as the base model gains",
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
            "2026-11-26",
            "Reads the rows of the two presets only, because the table now has other estimators too.",
            AFTER,
        ),
    ],
    "C6": [
        Revision(*WRITTEN, BEFORE),
        Revision("2026-11-22", "Takes the mean over both presets. Before, it read `published` only.", BEFORE),
        Revision(
            "2026-11-26",
            "Decided for each preset, and separately for the paper's pools and the conflict pools, because a "
            "mean over both mixed different questions. The statement is the paper's own again.",
            AFTER,
        ),
    ],
    **{claim: [SWITCH, WORDS, PLAIN] for claim in ("E1", "E2")},
    "E3": [
        SWITCH,
        WORDS._replace(
            change=f"{WORDS.change.removesuffix('Same rows.')}Leaves out the games and pools in which the "
            "clamp cannot act (split). There it measured only the horizon, which changes with the clamp."
        ),
        PLAIN,
    ],
    **{claim: [SWITCH, WORDS, PLAIN] for claim in ("E4", "E5")},
    "E6": [
        Revision("2026-11-27", "Written.", BEFORE),
        Revision(
            "2026-11-27",
            "A seed that lacks the last step counts. Before, it was left out.",
            "after the laptop run, which lacks no step, and before that of study",
        ),
        Revision(
            "2026-11-27",
            "One seed alone supports nothing. Before, its upper end decided. Says that the ends are not "
            "corrected for the number of seeds.",
            "after the laptop run, which has three seeds, and before that of study",
        ),
    ],
    "E7": [
        Revision(
            "2026-11-27",
            "Written.",
            "before any run of the code and the seeds (41 to 50) that it judges. The study of 2026-11-24, of "
            "earlier code and other seeds, had shown `credited` minus `reward_only` on the paper's pools of "
            "three games and on the conflict pools",
        ),
        Revision(
            "2026-11-27",
            "Over all games, inconclusive if the arms were not trained in a game that has the pool set. "
            "Before, such a game was left out.",
            f"{RELEASE}; it changed no verdict",
        ),
    ],
    "E8": [
        Revision(
            "2026-11-27",
            "Written.",
            f"{BEFORE}; the units were chosen during a trial of all games at once on seed 21, when no "
            "model of a single game had been trained (docs/LOG.md)",
        ),
        Revision(
            "2026-11-27",
            "One seed, and no gain in any game, are inconclusive, as the words of all verdicts say. Before, "
            "(1) and (3) were `not run`.",
            BEFORE,
        ),
        Revision(
            "2026-11-27",
            "The names of the three parts say what their values are. Same rule.",
            RELEASE,
        ),
    ],
    "E9": [
        Revision("2026-11-27", "Written.", BEFORE),
        Revision(
            "2026-11-27",
            "A fourth verdict, on training and evaluation with top-p.",
            f"{BEFORE}; after a trial on seed 21, in which J fell to 0.16 without top-p",
        ),
        Revision(
            "2026-11-27",
            "*This start helps* was called *the start matters*; the rule asks only whether it raises J more. "
            "Same rule.",
            RELEASE,
        ),
    ],
}


def versions() -> dict[str, int]:
    """The version of every rule: the number of its entries in `REVISIONS`."""
    return {claim: len(entries) for claim, entries in REVISIONS.items()}
