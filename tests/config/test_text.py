"""Text is wrapped between words, and lines that fit stay as they are."""

from sepo_lib.config.text import WIDTH, exchange, wrapped


def test_long_lines_are_broken_between_words_and_short_ones_stay():
    long = " ".join(["word"] * 50)
    lines = wrapped(f"  short  line\n\n{long}\n{'x' * 120}").split("\n")
    assert lines[:2] == ["  short  line", ""] and lines[-1] == "x" * 120
    assert all(len(line) <= WIDTH for line in lines[2:-1]) and " ".join(lines[2:-1]) == long


def test_an_exchange_marks_every_line_of_the_answer():
    assert exchange("state", "reason\nDEFECT") == "state\n\n> reason\n> DEFECT"
