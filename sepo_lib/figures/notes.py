"""What a figure says about its table: functions take notes, and the caption of the figure ends with them.

A table of the kit has the column `profile`, the run that made it. Only then does a figure say what the kit
knows of its rows, for example that the rows of the stage `base` are evaluations of one model (`of_kit`).
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

#: The column that a table of the kit has.
RUN = "profile"
_ROWS = ("Drawn", "Left out")  # subjects that say which rows of a table were drawn
_TITLE = "Title"  # the subject under which a figure function notes the title that it computed

_NOTES: ContextVar[dict[str, list[str]] | None] = ContextVar("notes of the figure", default=None)
_OF_KIT: ContextVar[bool] = ContextVar("whether the table of the figure is one of the kit", default=True)


def note(subject: str, text: str) -> None:
    """Add a text to the caption of the figure that is drawn, under a subject such as `Left out`.

    Outside of a figure function the note is lost.
    """
    notes = _NOTES.get()
    if notes is not None and text not in notes.setdefault(subject, []):
        notes[subject].append(text)


def entitle(text: str) -> None:
    """Give the figure that is drawn a title that says what its table shows, in the place of its question."""
    note(_TITLE, text)


def title_among(notes: dict[str, list[str]]) -> str | None:
    """The text of `entitle`, which is taken out of the notes; None without one."""
    return next(iter(notes.pop(_TITLE, ())), None)


def of_kit() -> bool:
    """Whether the table of the figure that is drawn is one of the kit; True outside of a figure function."""
    return _OF_KIT.get()


@contextlib.contextmanager
def drawing(table: object) -> Iterator[dict[str, list[str]]]:
    """The context in which a figure of `table` is drawn: that of `noting`, and `of_kit` knows the table."""
    token = _OF_KIT.set(RUN in getattr(table, "columns", ()))
    try:
        with noting() as notes:
            yield notes
    finally:
        _OF_KIT.reset(token)


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
    """The notes as text, one sentence for each subject; which rows of the table were drawn comes last."""
    ordered = sorted(notes, key=lambda subject: subject in _ROWS)
    return " ".join(f"{subject}: {'; '.join(notes[subject])}." for subject in ordered)


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 row`, `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
