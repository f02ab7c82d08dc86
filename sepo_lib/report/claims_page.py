"""docs/CLAIMS.md: from each claim to its rule, its revisions, its tables and its verdicts."""

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.measure import statistics
from sepo_lib.report import claims, documents, findings
from sepo_lib.run import provenance
from sepo_lib.run.revisions import REVISIONS
from sepo_lib.studies import coverage

BEGIN, END = "<!-- claims: written by `make document` -->", "<!-- end of claims -->"
RUNS = (documents.PROFILE, documents.STUDY, "smollm2")
POWERED = (3, 5, 10)
LOW = 0.92  # a coverage below it is named


def update() -> None:
    """Rewrite the generated part of docs/CLAIMS.md. Raises ValueError where the page lacks its marks."""
    documents.rewrite("docs/CLAIMS.md", BEGIN, END, text())


def text() -> str:
    """Every claim, the coverage of the intervals, power, and contrasts after Holm, as Markdown."""
    decided = pd.concat(
        [findings.read(run, "claims").assign(run=run) for run in RUNS if paths.table(run, "claims").exists()]
    ).fillna({"recipe": "", "scope": "", "reason": ""})
    lines = [*_runs(), ""]
    for claim, rule in claims.RULES.items():
        lines += [*_claim(claim, rule, decided[decided["claim"] == claim]), ""]
    return "\n".join([*lines, *_coverage(), "", *_power(), "", *_contrasts("study")])


def _runs() -> list[str]:
    """One line a run: seeds, and whether it is older than the last correction."""
    lines = []
    for run in RUNS:
        if paths.manifest(run).exists():
            manifest = provenance.read(run)
            seeds = ", ".join(map(str, manifest["seeds"]))
            marks = [
                f"- `{run}`: {manifest['settings']['model']}, training seeds {seeds}.",
                provenance.older(run),
            ]
            lines.append(" ".join(filter(None, marks)))
    return lines


def _claim(claim: str, rule: claims.Rule, decided: pd.DataFrame) -> list[str]:
    entries = REVISIONS[claim]
    revisions = [
        {"version": f"{claim}.{number}", "date": one.date, "change": one.change, "made": one.seen}
        for number, one in enumerate(entries, start=1)
    ]
    verdicts = [
        {"run": row.run, "recipe": " ".join(filter(None, (row.recipe, row.scope))) or "–"}
        | {"verdict": row.verdict, "measured": measured(row), "interval": row.interval, "reason": row.reason}
        for row in decided.itertuples()
    ]
    tables = ", ".join(
        f"[{name}.csv](../data/results/{run}/{name}.csv) of `{run}`"
        for run in dict.fromkeys(decided["run"])
        for name in rule.tables
    )
    return [
        *(f"## {claim}. {rule.statement}", "", f"**Rule {claim}.{len(entries)}.** {rule.text}", ""),
        *(f"**Tables.** {tables}.", "", "**Revisions.**", "", *findings.markdown(revisions), ""),
        *("**Verdicts.**", "", *findings.markdown(verdicts)),
    ]


def measured(row) -> str:
    """What a row of claims.csv measured, with its interval where it has one."""
    return claims.in_words(statistics.Interval(row.measured, row.ci_low, row.ci_high))


def _coverage() -> list[str]:
    """How often Student's t and the kit's own interval hold the truth."""
    table = pd.read_csv(coverage.file())
    rows = []
    for (quantity, setting), group in table.groupby(["quantity", "setting"], sort=False):
        cells = {"quantity": quantity, "setting": setting}
        own = group[group["kind"] != coverage.STUDENT]
        for seeds, here in group.groupby("seeds"):
            by_kind = here.set_index("kind")
            student, kit = by_kind.loc[coverage.STUDENT], by_kind.drop(index=coverage.STUDENT).iloc[0]
            cells |= {
                f"t, {seeds} seeds": f"{student['coverage']:.2f}",
                f"t leaves the range, {seeds}": f"{student['outside']:.0%}",
                f"the kit's, {seeds} seeds": f"{kit['coverage']:.2f}",
            }
        rows.append(cells | {"the kit's interval": own["kind"].iloc[0]})
    return [
        "## Coverage of the intervals",
        "",
        f"Share of {table['datasets'].iloc[0]:,} simulated data sets whose nominal 95% interval holds the "
        "truth (`python -m sepo_lib coverage`, [coverage.csv](../data/results/coverage.csv)). Each seed "
        "has a true value of its own and is measured with noise. `exploit` is e, a mean over exploiters "
        f"of max(0, margin); a margin has a standard deviation of {coverage.BETWEEN:g} between seeds and "
        f"of {coverage.PLAY:g} in play, or of the two numbers that the setting names. `pool_advantage` is "
        "the same of margins that are enumerated and so have no noise of play.",
        "",
        *findings.markdown(rows),
        "",
        _too_little(table),
        "",
        "Where events are so rare that most seeds have none, the number of trials is needed: with it the "
        "interval is widened to Wilson's. Values that are equal in all seeds have no interval without it.",
    ]


def _too_little(table: pd.DataFrame) -> str:
    """Where the kit's intervals hold the truth in less than `LOW` of the data sets."""
    low = table[(table["kind"] != coverage.STUDENT) & (table["coverage"] < LOW)]
    listed = "; ".join(
        f"`{quantity}`, {setting}: "
        + ", ".join(f"{row.coverage:.2f} at {row.seeds} seeds" for row in rows.itertuples())
        for (quantity, setting), rows in low.groupby(["quantity", "setting"], sort=False)
    )
    return f"The kit's intervals cover less than {LOW:.0%} here: {listed or 'nowhere'}."


def _power() -> list[str]:
    """What a number of seeds can show."""
    listed = ", ".join(f"{seeds} seeds {statistics.detectable(seeds):.1f}" for seeds in POWERED)
    return [
        "## Power",
        "",
        "The smallest difference that a two-sided paired t test at 5% finds with a probability of 80%, in "
        f"standard deviations of the paired differences over seeds: {listed}. An `inconclusive` with three "
        "seeds says little.",
    ]


def _contrasts(profile: str) -> list[str]:
    """The arm `credited` against the others, with Holm's correction for their number."""
    rows = findings.contrasts(profile) if paths.table(profile, "ablation").exists() else []
    exclude, remain = (sum(row[name] == "yes" for row in rows) for name in ("excludes 0", "after Holm"))
    return [
        "## Contrasts and their number",
        "",
        f"Of {len(rows)} contrasts of `credited` in `{profile}` (safety after training, paired by seed) "
        f"{exclude} exclude 0 on their own and {remain} remain after Holm's correction. `constant` is left "
        "out where its run is that of `reward_only`.",
        "",
        *findings.markdown(rows),
    ]
