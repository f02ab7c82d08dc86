"""What the page takes from the kit's documents: the terms of the glossary, and what a row of a table is."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"
#: The terms that a reader of the page needs, of docs/glossary.md.
TERMS = (
    "opponent|pool|exploiter|shift pool|conflict pools|parse rate|constrained decode|payoff, u|margin|"
    "exploit-pool advantage, e|collusion, c|externality, x|objective, J|safety|NRA|NashConv|SFT|GRPO|"
    "rollout|group|estimator|switch|preset|arm|recipe|stage|evaluation noise"
).split("|")


def glossary() -> list[tuple[str, str]]:
    """The terms and their meanings; none if the documents are not there, as in an installed package.

    Raises ValueError for a term that docs/glossary.md no longer has.
    """
    file = DOCS / "glossary.md"
    if not file.exists():
        return []
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    known = dict(rows)
    if missing := [term for term in TERMS if term not in known]:
        raise ValueError(
            f"docs/glossary.md does not define {missing}; correct the list of terms of the page."
        )
    return [(term, known[term]) for term in TERMS]


def tables() -> dict[str, str]:
    """File of a result table -> the first sentence about it in docs/results.md: what a row is."""
    file = DOCS / "results.md"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.findall(r"^## (\w+\.(?:csv|parquet))\n\n(.*?)\.(?=\s)", text, flags=re.MULTILINE | re.DOTALL)
    return {name: " ".join(sentence.split()) + "." for name, sentence in found}
