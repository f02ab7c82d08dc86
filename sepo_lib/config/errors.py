"""Errors that a user can correct: a wrong input, or a file that an earlier step makes.

Their message says what is wrong and what to do. A notebook shows the message alone, without a traceback, and
stops as at any other error.
"""

from sepo_lib.config.text import wrapped


def in_one_line(error: Exception) -> str:
    """The first line of an error's message without its full stop, or its class if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


class Explained(Exception):
    """An error whose message is all that a notebook shows; `%debug` still opens its traceback."""

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows in the place of a traceback."""
        return [wrapped(str(self))]


class InputError(Explained, ValueError):
    """A value that cannot be used. The message names the value and the valid ones."""


class MissingError(Explained, FileNotFoundError):
    """A file that does not exist yet. The message says what makes it."""


class DamagedError(Explained, OSError):
    """A file whose content cannot be used. The message names the file and what to do."""


class StorageError(Explained, OSError):
    """A file that the disk does not write or read: it is full, or there is no permission."""
