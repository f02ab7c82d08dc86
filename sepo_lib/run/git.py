"""What git says about the kit."""

import contextlib
import subprocess

from sepo_lib.config import paths


def output(*arguments: str, given: str = "") -> bytes | None:
    """What a git command prints in the root of the kit, None if it fails. `given` is what it reads."""
    command = ["git", "-C", str(paths.root()), *arguments]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, input=given.encode(), capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None
    return None


def text(*arguments: str, given: str = "") -> str:
    """As `output`, but a text, which is empty if the command fails."""
    return (output(*arguments, given=given) or b"").decode()
