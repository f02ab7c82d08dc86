"""Text as notebooks and terminals show it: in lines that no front end has to break."""

import textwrap
import unicodedata

#: The longest line, in characters: JupyterLab breaks longer ones within words.
WIDTH = 100
#: The longest value that a message shows, in characters.
LONGEST_VALUE = 60


def wrapped(text: str) -> str:
    """The text with its lines broken between words, so that none is longer than WIDTH."""
    lines = (
        textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
        if len(line) > WIDTH
        else [line]
        for line in text.split("\n")
    )
    return "\n".join(part for parts in lines for part in parts)


def exchange(prompt: str, answer: str) -> str:
    """A prompt, and below it the answer behind `>`; both wrapped."""
    return wrapped(prompt) + "\n\n" + wrapped("> " + answer.replace("\n", "\n> "))


def in_brief(value: object, longest: int = LONGEST_VALUE) -> str:
    """A value as a message shows it: in one line, and cut after `longest` characters."""
    try:
        text = str(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return text if len(text) <= longest else f"{text[:longest]}..."


def is_one_line(text: str) -> bool:
    """Whether a text has no line breaks, other control characters, or bytes that are no text."""
    return not any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in text)
