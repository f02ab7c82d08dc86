"""What a figure shows and leaves out: functions take notes, and the caption of the figure ends with them."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_NOTES: ContextVar[dict[str, list[str]] | None] = ContextVar("notes of the figure", default=None)


def note(subject: str, text: str) -> None:
    """Add a text to the caption of the figure that is drawn, under a subject such as `Left out`.

    Outside of a figure function the note is lost.
    """
    notes = _NOTES.get()
    if notes is not None and text not in notes.setdefault(subject, []):
        notes[subject].append(text)


@contextlib.contextmanager
def noting() -> Iterator[dict[str, list[str]]]:
    """Collect the notes that are taken in this context, by subject."""
    notes: dict[str, list[str]] = {}
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def sentences(notes: dict[str, list[str]]) -> str:
    """The notes as text, one sentence for each subject."""
    return " ".join(f"{subject}: {'; '.join(texts)}." for subject, texts in notes.items())


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 row`, `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
