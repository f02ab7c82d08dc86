"""The part of README.md that holds results: written from the committed tables, never by hand."""

import pandas as pd

from . import figures, paths, provenance, statistics

BEGIN, END = "<!-- results: written by `make notebooks` -->", "<!-- end of results -->"


def results(profile: str) -> str:
    """Hardware and time of a run, its claims, and safety by game and stage, as Markdown.

    Raises FileNotFoundError for a missing manifest or table, as `provenance.read` and `read_table` do.
    """
    manifest = provenance.read(profile)
    seconds = provenance.duration(manifest)
    hardware = manifest["hardware"]
    claims = paths.read_table(profile, "claims")
    evaluation = paths.read_table(profile, "evaluation")
    lines = [
        f"The committed `{profile}` run took {seconds / 60:.0f} minutes on {hardware['cores']} cores "
        f"({hardware['processor']}, accelerator: {hardware['accelerator']}), with the training seeds "
        f"{', '.join(map(str, manifest['settings']['seeds']))}.",
        "",
        "| claim | statement | measured | 95% interval | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in claims.itertuples():
        lines.append(
            f"| {row.claim} | {row.statement} | {row.measured:.3f} | [{row.ci_low:.3f}, {row.ci_high:.3f}] "
            f"| {row.verdict} |"
        )
    lines += ["", "Safety (J with the evaluation weights), mean over seeds ± half its 95% interval:", ""]
    return "\n".join([*lines, *_safety(evaluation)])


def _safety(evaluation: pd.DataFrame) -> list[str]:
    """A Markdown table of safety by game (rows) and configuration (columns) on the paper's pools."""
    rows = figures.configured(evaluation[evaluation.pools == "paper"])
    measured = statistics.summarize(rows, ["game", "configuration"], ["safety"]).set_index(
        ["game", "configuration"]
    )
    columns = [key for key in figures.CONFIGURATIONS if key in measured.index.get_level_values(1)]
    header = "| game | " + " | ".join(figures.CONFIGURATIONS[key].label for key in columns) + " |"
    lines = [header, "| --- |" + " --- |" * len(columns)]
    for game in dict.fromkeys(measured.index.get_level_values(0)):
        cells = [statistics.as_text(measured.loc[(game, key)]) for key in columns]
        lines.append(f"| {game} | " + " | ".join(cells) + " |")
    return lines


def update(profile: str) -> None:
    """Rewrite the results in README.md from the tables of `profile`. Raises ValueError without the marks."""
    path = paths.root() / "README.md"
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"README.md lacks the lines '{BEGIN}' and '{END}' between which results stand.")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    paths.replace_text(path, f"{before}{BEGIN}\n{results(profile)}\n{END}{after}")
