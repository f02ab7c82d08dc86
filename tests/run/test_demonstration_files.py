"""The files of the demonstrations: their bytes, their card, and what is read back."""

import hashlib
import json
from itertools import islice
from pathlib import Path

import mlcroissant
import pyarrow.parquet as pq
import pytest

from sepo_lib import games
from sepo_lib.config import profiles
from sepo_lib.run import demonstration_files
from sepo_lib.training.demonstrations import SPLITS, build

ROOT = Path(__file__).resolve().parents[2]
#: sha256 of the two files of `write(folder, ["split", "deal"], 40, seed=11)`. They change with the prompts,
#: the reasons, the strategies, numpy's generators and pyarrow's writer, and with nothing else.
DIGESTS = {
    "split.parquet": "786787d8876415092e2c2f8094e44d103eab2e08454213a8c1924b4e8dfa0be5",
    "deal.parquet": "14fffb1f05145701176dd56220a16db10fec18298f5acb0ae5887ea6cfe417b6",
}


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    first = demonstration_files.write(tmp_path / "a", ["split", "kuhn"], 30, seed=1)
    assert first == demonstration_files.write(tmp_path / "b", ["split", "kuhn"], 30, seed=1)
    other = demonstration_files.write(tmp_path / "c", ["split", "kuhn"], 30, seed=2)
    naive = demonstration_files.write(tmp_path / "d", ["split", "kuhn"], 30, seed=1, kind="naive")
    assert all(len({files[name] for files in (first, other, naive)}) == 3 for name in first)
    for name, digest in first.items():
        assert hashlib.sha256((tmp_path / "a" / name).read_bytes()).hexdigest() == digest


def test_bytes_are_the_committed_ones(tmp_path):
    digests = demonstration_files.write(tmp_path, ["split", "deal"], 40, seed=11)
    assert {name: digests[name] for name in DIGESTS} == DIGESTS


def test_the_released_data_sets_are_what_their_code_makes(tmp_path):
    """All five, and their card, byte by byte: opponents and their generators count too."""
    size, seed = (
        profiles.hyperparameters()[f"demonstrations_{name}"]["default"] for name in ("per_game", "seed")
    )
    demonstration_files.write(tmp_path, list(games.GAMES), size, seed)
    released = {file.name: file.read_bytes() for file in (ROOT / "data" / "sft").iterdir()}
    assert set(released) == {*(f"{game}.parquet" for game in games.GAMES), "README.md", "croissant.json"}
    assert [name for name in released if (tmp_path / name).read_bytes() != released[name]] == []


def test_what_is_written_is_what_is_loaded(tmp_path):
    demonstration_files.write(tmp_path, ["auction", "deal"], 60, seed=3)
    rows = [row for game in ("auction", "deal") for row in build(game, 60, seed=3).to_list()]
    for split in SPLITS:
        expected = [{k: v for k, v in row.items() if k != "split"} for row in rows if row["split"] == split]
        assert demonstration_files.load(tmp_path, ["auction", "deal"], split).to_list() == expected


def test_the_card_counts_what_the_files_hold(tmp_path):
    demonstration_files.write(tmp_path, ["split"], 50, seed=3)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    train, valid = (len(demonstration_files.load(tmp_path, ["split"], split)) for split in SPLITS)
    assert card.startswith("---\n") and f"| split | 50 | {train} | {valid} | 13 |" in card


def test_missing_data_names_the_notebook(tmp_path):
    with pytest.raises(FileNotFoundError, match="01_demonstrations"):
        demonstration_files.load(tmp_path, ["split"], "train")


def test_missing_data_is_named_from_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    for read in (
        lambda: demonstration_files.load(tmp_path / "d", ["split"], "train"),
        lambda: demonstration_files.sha256(tmp_path / "d", "split"),
    ):
        with pytest.raises(FileNotFoundError, match=r"^d/split\.parquet is missing; notebooks/01_demon"):
            read()


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="train"):
        demonstration_files.load(tmp_path, ["split"], "test")
    with pytest.raises(ValueError, match="at least one"):
        demonstration_files.load(tmp_path, [], "train")


def test_mlcroissant_finds_no_fault_and_reads_the_records_of_the_released_files():
    """It checks the hashes of the files. A key of the metadata that it does not know would be a warning."""
    released = mlcroissant.Dataset(jsonld=ROOT / "data" / "sft" / demonstration_files.CROISSANT)
    assert (released.metadata.ctx.issues.errors, released.metadata.ctx.issues.warnings) == (set(), set())
    assert [records.uuid for records in released.metadata.record_sets] == list(games.GAMES)
    for game in ("kuhn", "split"):
        table = pq.read_table(ROOT / "data" / "sft" / f"{game}.parquet").to_pylist()
        found = [list(record.values()) for record in islice(released.records(game), 50)]
        texts = [[str(value) for value in row.values()] for row in table[:50]]
        assert [[getattr(v, "decode", lambda v=v: str(v))() for v in row] for row in found] == texts


def test_the_metadata_names_the_files_that_were_written(tmp_path):
    digests = demonstration_files.write(tmp_path, ["kuhn", "split"], 20, seed=1)
    made = json.loads((tmp_path / demonstration_files.CROISSANT).read_text(encoding="utf-8"))
    files = {one["contentUrl"]: (one["sha256"], one["contentSize"]) for one in made["distribution"]}
    assert files == {
        name: (digests[name], f"{(tmp_path / name).stat().st_size} B")
        for name in ("kuhn.parquet", "split.parquet")
    }
