"""Options of a command: an error is one sentence, and no option is taken for another or given twice."""

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn

from sepo_lib.config.errors import InputError
from sepo_lib.config.text import in_brief, is_one_line

#: The longest value of an option, in characters: the longest path on most systems.
LONGEST = 4096


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError instead of printing its usage and leaving the process.

    Options cannot be abbreviated, because --seed would then mean --seeds.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **({"allow_abbrev": False} | options))
        for name in (None, "store"):
            self.register("action", name, _Once)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse, but words that are no options of this command are an error."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [name for action in self._actions for name in action.option_strings if name != "-h"]
            raise InputError(
                f"`{self.prog}` does not know '{in_brief(' '.join(unknown))}'; its options are "
                f"{', '.join(options)}."
            )
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Raise InputError; `message` is what argparse says."""
        if unknown := re.match(
            r"argument command: invalid choice: '(.*)' \(choose from (.*)\)", message, re.S
        ):
            commands = unknown[2].replace("'", "")  # Python 3.11 quotes them
            raise InputError(f"There is no command '{in_brief(unknown[1])}'; choose from {commands}.")
        if lacking := re.match(r"argument (.*): expected (?:one|at least one) argument", message):
            message = f"{lacking[1]} needs a value (with -, write it as {lacking[1].split('/')[0]}=-1)"
        elif wrong := re.match(r"argument (.*?): (.*)", message, re.S):
            message = f"{wrong[1]}: {wrong[2]}"
        else:
            message = message[:1].upper() + message[1:]
        raise InputError(f"{message}; see `{self.prog} --help`.")


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that is a whole number in a range."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,30}", text) or not least <= int(text) <= most:
            size = f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"a whole number {size} is needed, not '{in_brief(text)}'")
        return int(text)

    return parse


def filled(text: str) -> str:
    """The type of an option whose value cannot be empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the value is empty")
    return text


class _Once(argparse.Action):
    """Keep the value of an option; an option given twice, or a value of several lines, is an error."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        given = namespace.__dict__.setdefault("given", set())
        if self.dest in given:
            raise argparse.ArgumentError(self, "it is given twice")
        given.add(self.dest)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, str) and not is_one_line(value):
                raise argparse.ArgumentError(self, f"the value '{in_brief(value)}' is not one line of text")
            if isinstance(value, str) and len(value) > LONGEST:
                raise argparse.ArgumentError(
                    self, f"the value has {len(value)} characters, more than {LONGEST}"
                )
        setattr(namespace, self.dest, values)
