"""Chat examples in files: every form and format gives the same chats, and errors name file and line."""

import json

import datasets
import pandas as pd
import pytest

from sepo_lib.chat import chat_files
from sepo_lib.config.errors import DamagedError, InputError

SYSTEM, USER, ANSWER = "Rules.", "What now?", "Because.\nDEFECT"
MESSAGES = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": USER},
    {"role": "assistant", "content": ANSWER},
]
ROWS = {  # every form of the same chat
    "messages": {"messages": MESSAGES},
    "conversational": {"prompt": MESSAGES[:2], "completion": MESSAGES[2:]},
    "the kit's": {"system": SYSTEM, "user": USER, "assistant": ANSWER},
}


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("format", ["jsonl", "json", "parquet", "saved"])
def test_every_form_in_every_format_is_the_same_chat(form, format, tmp_path):
    rows = [ROWS[form], ROWS[form] | {"game": "ipd", "split": "valid"}]
    rows[0] = {"game": None, "split": "train"} | rows[0]
    if format == "jsonl":
        path = lines(tmp_path / "a.jsonl", *rows)
    elif format == "json":
        path = tmp_path / "a.json"
        path.write_text(json.dumps(rows))
    elif format == "parquet":
        path = tmp_path / "a.parquet"
        pd.DataFrame(rows).to_parquet(path)
    else:
        path = tmp_path / "a"
        datasets.Dataset.from_list(rows).save_to_disk(path)
    first, second = chat_files.read(path)
    assert list(first.chat) == list(second.chat) == MESSAGES and first.answer == ANSWER
    assert (first.split, first.game, second.split, second.game) == ("train", None, "valid", "ipd")
    assert second.place.endswith("2")


def test_plain_texts_are_a_user_message_and_an_answer(tmp_path):
    (one,) = chat_files.read(lines(tmp_path / "a.jsonl", {"prompt": USER, "completion": ANSWER}))
    assert list(one.chat) == MESSAGES[1:]


def test_a_folder_holds_files_by_game_and_split_and_saved_data_sets(tmp_path):
    for name in ("ipd/train.jsonl", "ipd/valid.jsonl", "kuhn_test.jsonl", "more.parquet", "notes.txt"):
        if name.endswith(".parquet"):
            pd.DataFrame([ROWS["messages"]]).to_parquet(tmp_path / name)
        else:
            lines(tmp_path / name, ROWS["messages"])
    one = datasets.Dataset.from_list([ROWS["messages"]])
    datasets.DatasetDict({"train": one, "validation": one}).save_to_disk(tmp_path / "saved")
    splits = {one.place: one.split for one in chat_files.read(tmp_path)}
    assert splits == {
        "kuhn_test.jsonl, line 1": "test",
        "more.parquet, row 1": "train",
        "ipd/train.jsonl, line 1": "train",
        "ipd/valid.jsonl, line 1": "valid",
        "saved/train, row 1": "train",
        "saved/validation, row 1": "validation",
    }
    (named,) = chat_files.read(tmp_path / "ipd" / "valid.jsonl")
    assert named.split == "train"  # a file that is named itself is what is meant
    assert {"ipd/train.jsonl", "saved/train/state.json"} < set(chat_files.digests(tmp_path))
    assert "notes.txt" not in chat_files.digests(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([1], "are no JSON objects"),
        ({"text": "x"}, "do not have the columns of exactly one form"),
        (ROWS["messages"] | ROWS["conversational"], "do not have the columns of exactly one form"),
        ({"messages": "x"}, "have a message without a text in content, or with another role"),
        ({"messages": [*MESSAGES[:2], {"role": "tool", "content": "x"}]}, "or with another role"),
        ({"messages": [*MESSAGES[:2], {"role": "assistant", "content": None}]}, "without a text in content"),
        ({"messages": [*MESSAGES[:2], MESSAGES[2] | {"tool_calls": [1]}]}, "more than role and content"),
        ({"messages": MESSAGES[:2]}, "are no chat that ends with one answer of the assistant"),
        ({"messages": MESSAGES[2:]}, "are no chat that ends with one answer"),
        ({"messages": [MESSAGES[1], *MESSAGES]}, "are no chat that ends with one answer"),  # a later system
        ({"prompt": MESSAGES[:2], "completion": MESSAGES[1:]}, "are no chat that ends with one answer"),
        ({"prompt": "A \ud83d", "completion": "x"}, "have half of a surrogate pair in a text"),
        (
            {"messages": [*MESSAGES[:2], {"role": "assistant", "content": " \n"}]},
            "an empty message or answer",
        ),
    ],
)
def test_a_row_that_is_no_chat_is_counted_and_its_line_named(row, said, tmp_path):
    path = lines(tmp_path / "a.jsonl", ROWS["messages"], row, ROWS["messages"], row)
    with pytest.raises(InputError) as caught:
        chat_files.read(path)
    text = str(caught.value)
    assert text.startswith("2 of the 4 examples of ") and "(the first: a.jsonl, line 2); " in text, text
    assert said in text and text.endswith(".") and "\n" not in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"messages": [\n', "a.jsonl, line 1 is no valid JSON (Expecting value); correct or remove it."),
        (b'\n{"a": 1} x\n', "a.jsonl, line 2 is no valid JSON (Extra data); correct or remove it."),
        (b"\xff\xfe", "a.jsonl is no text in UTF-8 (byte 0); save it in UTF-8."),
        (b"\n \n", "holds no examples: its files are empty; add a row."),
        (b"[" * 100_000, "a.jsonl is no valid JSON (too deep); correct or remove it."),
    ],
)
def test_a_file_that_cannot_be_read_is_named(content, said, tmp_path):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError) as caught:
        chat_files.read(tmp_path / "a.jsonl")
    assert str(caught.value).endswith(said)


def test_a_folder_may_be_called_like_a_file_and_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "saved.parquet").mkdir()
    lines(tmp_path / "saved.parquet" / "part.jsonl", ROWS["messages"])
    assert [one.place for one in chat_files.read(tmp_path)] == ["saved.parquet/part.jsonl, line 1"]
    assert set(chat_files.digests(tmp_path)) == {"saved.parquet/part.jsonl"}
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "none")
    with pytest.raises(InputError, match=r"^a\.jsonl cannot be read \(No such file or directory\); correct"):
        chat_files.read(tmp_path)
    (tmp_path / "a.jsonl").rename(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"^a\.parquet cannot be read \(No such file or directory\)"):
        chat_files.read(tmp_path)


def test_what_holds_no_examples_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError, match=r"holds no examples: needed are files that end with \.jsonl, "):
            chat_files.read(path)
    with pytest.raises(InputError, match="There is no file or folder "):
        chat_files.read(tmp_path / "none")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedError, match=r"a\.parquet is damaged: it is no whole Parquet file; write"):
        chat_files.read(tmp_path)


def test_a_folder_is_read_at_any_depth_and_endings_in_capitals_count(tmp_path):
    row = ROWS["messages"]
    for name in ("x.jsonl", "x/y/z/train.jsonl", "x/UPPER.JSONL", "x/y/.hidden/a.jsonl"):
        lines(tmp_path / name, row)
    datasets.Dataset.from_list([row]).save_to_disk(tmp_path / "a" / "b" / "c")
    pd.DataFrame([row]).to_parquet(tmp_path / "B.PARQUET")
    (tmp_path / "x" / "loop").symlink_to(tmp_path)
    found = [one.place.split(",")[0].split(":")[0] for one in chat_files.read(tmp_path)]
    assert sorted(found) == ["B.PARQUET", "a/b/c", "x.jsonl", "x/UPPER.JSONL", "x/y/z/train.jsonl"]
    assert {"x/y/z/train.jsonl", "a/b/c/state.json"} < set(chat_files.digests(tmp_path))


def test_data_that_is_not_read_is_named(tmp_path):
    lines(tmp_path / "train.jsonl", ROWS["messages"])
    for name in ("more.csv", "x/old.jsonl.gz", "README.md", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert chat_files.unread(tmp_path) == ["more.csv", "x/old.jsonl.gz"]
    assert chat_files.unread(tmp_path / "train.jsonl") == []
