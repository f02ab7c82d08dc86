import json
import os

import pytest

from sepo_lib.config import files
from sepo_lib.config.errors import DamagedError, in_one_line


def test_an_error_is_told_in_one_line_without_its_full_stop():
    assert in_one_line(ValueError("\nNo such layer.\nMore")) == "No such layer"
    assert in_one_line(ValueError()) == in_one_line(ValueError(" ")) == "ValueError"


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe"])
def test_damaged_json_is_named_with_its_remedy(tmp_path, content):
    (tmp_path / "done.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"done\.json is damaged: .*; run the same command again\."):
        files.read_json(tmp_path / "done.json", "run the same command again")


def test_changes_of_recorded_files_are_named(tmp_path):
    for name in ("same", "gone", "shorter", "edited", "touched"):
        (tmp_path / name).write_text("12345")
    recorded = json.loads(json.dumps(files.checksums(tmp_path, tmp_path.iterdir())))
    (tmp_path / "gone").unlink()
    (tmp_path / "shorter").write_text("123")
    (tmp_path / "edited").write_text("12346")
    os.utime(tmp_path / "edited", ns=(1, 1))
    os.utime(tmp_path / "touched", ns=(1, 1))
    assert files.changed(tmp_path, recorded) == [
        "edited has another content",
        "gone is missing",
        "shorter has 3 bytes in the place of 5",
    ]
