"""docs/data.md and docs/MODELS.md: numbers that belong to no run are those of the committed tables."""

import pages
import pandas as pd

from sepo_lib.chat import chat_files
from sepo_lib.config import paths
from sepo_lib.measure import audit
from sepo_lib.report import data_page, documents
from sepo_lib.run import data_audit

TABLE = pages.REPOSITORY / data_audit.COMMITTED


def test_the_page_holds_the_numbers_of_the_tables():
    text = (pages.REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    assert f"{data_page.BEGIN}\n{data_page.page()}\n{data_page.END}" in text
    assert (
        "| `sepo_sft_data_multi_valid` | auction, ipd, resource, split | 74 | 11 | 0 | 25 of 74 (34%) |"
        in text
    )


def test_models_md_holds_the_numbers_of_the_earlier_run_on_a_gpu():
    text = (pages.REPOSITORY / "docs" / "MODELS.md").read_text(encoding="utf-8")
    assert f"{documents.EARLIER}\n{documents.earlier()}\n{documents.END_OF_EARLIER}" in text
    assert "| ipd | 5.795 [5.378, 6.213] | 0.852 [0.141, 1.563] |" in text


def test_the_committed_audit_is_that_of_the_committed_demonstrations():
    kuhn = audit.table("data/sft", chat_files.read(paths.demonstrations() / "kuhn.parquet"))
    header, *rows = TABLE.read_text(encoding="utf-8").splitlines()
    expected = [header, *(row for row in rows if row.startswith("data/sft,kuhn,"))]
    assert kuhn.to_csv(index=False, lineterminator="\n").splitlines() == expected


def test_the_command_writes_the_whole_table_and_prints_the_main_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    row = '{"prompt": "Round 1 of 8.", "completion": "They cooperated.", "game": "%s"}\n'
    (tmp_path / "a.jsonl").write_text(row % "ipd" + row % "chess")
    text = data_audit.run(["a.jsonl"], "b.csv")
    assert "a.jsonl, chess: the kit has no such game, so neither actions nor reasons are checked." in text
    assert "a.jsonl, ipd: 1 of 1 " not in text and text.endswith("The whole table: b.csv")
    assert (
        data_audit.used("a.jsonl") == "1 examples (1 ipd); left out: 1 of chess, which is no game of the kit"
    )
    assert (
        data_audit.in_brief("a.jsonl")
        == "0 of 2 duplicates, 1 of 1 refused answers, 0 of 0 reasons that contradict the state"
    )
    assert list(pd.read_csv(tmp_path / "b.csv").columns) == audit.COLUMNS
