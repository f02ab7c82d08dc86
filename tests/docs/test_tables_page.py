"""docs/results.md describes every column of every table, and nothing else."""

import re

import pages
import pytest

from sepo_lib.config import paths

RESULTS = pages.REPOSITORY / "data" / "results"
FILES = sorted(file for file in RESULTS.rglob("*") if file.suffix in (".csv", ".parquet"))
COMMITTED = [file for file in FILES if file.parent.name in ("laptop", "study", "smollm2", "bench", "results")]


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_column_of_a_committed_table_is_described(file):
    assert pages.unknown_columns(file) == []


def test_every_described_column_is_written():
    """A table of `paths.TABLES` may have its first committed file with the next run."""
    there: dict[str, set[str]] = {}
    for file in COMMITTED:
        there.setdefault(file.name, set()).update(pages.columns(file))
    in_code = set(pages.constants())
    for table, (own, uses) in pages.described().items():
        made = table.partition(".")[0] in paths.TABLES  # by the present code, if by no committed run
        assert table in there or made, f"{table} is described and committed nowhere"
        for column in (*own, *uses):
            if column.endswith(".csv"):
                continue
            written = column in there.get(table, ()) or column in in_code
            if "<" in column:
                written = any(
                    re.fullmatch(re.sub(r"<\w+>", r"\\w+", column), name) for name in there.get(table, ())
                )
            assert written, f"{table}: the column {column} is described and written nowhere"


def test_a_column_that_is_not_described_is_found(tmp_path):
    file = tmp_path / "weights.csv"
    file.write_text("game,weight,value,own,stage,seed,safety,surprise\n")
    assert pages.unknown_columns(file) == ["surprise"]
