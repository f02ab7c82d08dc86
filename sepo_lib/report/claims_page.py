"""docs/CLAIMS.md: the rule, revisions, tables and verdicts of each claim; coverage and power."""

import pandas as pd

from sepo_lib.config import files, paths
from sepo_lib.config.errors import MissingError
from sepo_lib.measure import statistics
from sepo_lib.report import claims, documents, headline_page
from sepo_lib.report.verdicts import NOT_RUN, measured, which
from sepo_lib.run import provenance
from sepo_lib.run.revisions import REVISIONS
from sepo_lib.run.templates import render
from sepo_lib.studies import coverage

BEGIN, END = "<!-- claims: written by `make document` -->", "<!-- end of claims -->"
RUNS = (documents.PROFILE, documents.STUDY, "smollm2")
POWERED = (3, 5, 10)  # numbers of seeds whose power is shown
LOW = 0.92  # the page names every coverage below this value


def update() -> None:
    """Rewrite the generated part of docs/CLAIMS.md. Raises ValueError if the page lacks its markers."""
    documents.rewrite("docs/CLAIMS.md", BEGIN, END, text())


def text() -> str:
    """Every claim, the coverage of the intervals, the power, and contrasts after Holm's correction."""
    runs = [run for run in RUNS if paths.table(run, "claims").exists()]
    tables = [table.assign(run=run) for run in runs for table in (claims.read(run), _control(run))]
    if not runs:
        raise MissingError(
            f"None of {', '.join(RUNS)} has a claims.csv; `make reproduce` makes that of laptop."
        )
    decided = pd.concat([table for table in tables if len(table)])
    simulated = files.read_csv(coverage.file(), "run `python -m sepo_lib coverage` again")
    evaluated = paths.table(documents.STUDY, "evaluation").exists()
    return render(
        "report/templates/claims.md.j2",
        runs=[
            {"name": run, "manifest": provenance.read(run), "older": provenance.older(run)}
            for run in RUNS
            if paths.manifest(run).exists()
        ],
        claims=[_claim(claim, decided[decided["claim"] == claim]) for claim in claims.RULES],
        datasets=f"{simulated['datasets'].iloc[0]:,}",
        between=coverage.BETWEEN,
        noise=coverage.PLAY,
        coverage=_coverage(simulated),
        low=LOW,
        low_coverage=_low_coverage(simulated),
        power={seeds: statistics.detectable(seeds) for seeds in POWERED},
        study=documents.STUDY,
        contrasts=headline_page.contrasts(headline_page.by_seed(documents.STUDY)) if evaluated else [],
    )


def _control(run: str) -> pd.DataFrame:
    """The verdicts for training without a penalty that were run."""
    control = claims.control(run)
    return control[control["verdict"] != NOT_RUN] if len(control) else control


def _claim(claim: str, decided: pd.DataFrame) -> dict:
    """One claim: its rule, the revisions of the rule, the tables that it reads, and the verdicts."""
    rule, entries = claims.RULES[claim], REVISIONS[claim]
    revisions = [
        {"version": f"{claim}.{number}", "date": one.date, "change": one.change, "made": one.seen}
        for number, one in enumerate(entries, start=1)
    ]
    verdicts = [
        {
            "run": row.run,
            "recipe": which(row, ": ") or "–",
            "verdict": row.verdict,
            "measured": measured(row),
            "interval": row.interval,
            "reason": row.reason,
        }
        for row in decided.itertuples()
    ]
    runs = dict.fromkeys(decided["run"])
    tables = [{"run": run, "file": paths.table(run, name).name} for run in runs for name in rule.tables]
    return {"name": claim, "rule": rule, "tables": tables, "revisions": revisions, "verdicts": verdicts}


def _coverage(table: pd.DataFrame) -> list[dict[str, str]]:
    """Coverage of Student's t and of the kit's interval, by quantity and setting."""
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
    return rows


def _low_coverage(table: pd.DataFrame) -> str:
    """The settings in which the kit's intervals have a coverage below LOW; empty if there are none."""
    low = table[(table["kind"] != coverage.STUDENT) & (table["coverage"] < LOW)]
    return "; ".join(
        f"`{quantity}`, {setting}: "
        + ", ".join(f"{row.coverage:.2f} at {row.seeds} seeds" for row in rows.itertuples())
        for (quantity, setting), rows in low.groupby(["quantity", "setting"], sort=False)
    )
