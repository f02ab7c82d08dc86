"""docs/data.md: the audit of the kit's demonstrations, and counts from the authors' data."""

import pandas as pd

from sepo_lib import games
from sepo_lib.config import files, paths
from sepo_lib.measure import audit
from sepo_lib.report import documents
from sepo_lib.run import data_audit
from sepo_lib.run.templates import render

BEGIN, END = "<!-- audit: written by `make document` -->", "<!-- end of audit -->"


def update() -> None:
    """Rewrite the audit in docs/data.md. Raises ValueError if its markers are missing."""
    documents.rewrite("docs/data.md", BEGIN, END, page())


def page() -> str:
    """The audits as Markdown, from data/results/sft_audit.csv and data/paper/sft_audit.csv."""
    table = files.read_csv(paths.root() / data_audit.COMMITTED, "run `make audit` with OUT=, or restore it")
    return render(
        "report/templates/data.md.j2", own=_own(table), authors=_authors(paths.read_paper("sft_audit"))
    )


def _own(table: pd.DataFrame) -> list[dict[str, str]]:
    """One row per game of the kit's demonstrations."""
    return [
        {
            "game": games.get(row["game"]).title,
            "examples": f"{row['examples']:,}",
            "duplicates": f"{row['duplicates']:.1%}",
            "refused": f"{row['refused']:.1%}",
            "reasons checked": f"{row['checked']:.1%}",
            "contradicting": f"{row['contradicting']:.1%}",
            "commonest action": f"`{row['commonest action']}` ({row['its share']:.0%})",
            "prompt, answer": f"{row['prompt']}, {row['answer']}",
        }
        for row in audit.summary(table).to_dict("records")
    ]


def _authors(table: pd.DataFrame) -> list[dict[str, str]]:
    """One row per sample: lines, duplicates, illegal actions, and reasons that contradict the state."""
    rows = []
    for name, part in table.groupby("data_set", sort=False):
        cells = part[part["game"] == "all"].set_index("class")
        if _CONTRADICTS in cells.index:  # of one file too little was seen
            found, of = cells.loc[_CONTRADICTS, ["count", "of"]]
            known = [game for game in part["game"].unique() if game != "all"]
            rows.append(
                {
                    "data set": f"`{name}`",
                    "games": ", ".join(known),
                    "lines": str(of),
                    "duplicates": str(cells.loc["exact duplicate of an earlier line", "count"]),
                    "illegal actions": str(part.loc[part["class"] == "illegal action", "count"].sum()),
                    "contradicting reasons": f"{found} of {of} ({found / of:.0%})",
                }
            )
    return rows


_CONTRADICTS = "ANY reason that contradicts the visible state"
