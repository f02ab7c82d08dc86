"""Remove what runs have made, except what git holds: the command behind `make clean`.

It needs no package, so that it works before the environment is set up.
"""

import os
import subprocess
import sys

from sepo_lib.config import paths
from sepo_lib.run import lock

#: The folders in which runs write.
FOLDERS = ("runs", "data/results", "data/sft", "figures")


def main() -> int:
    """Say what is removed, and remove it. Returns 2 if nothing can be removed, because a run is in use."""
    if used := lock.in_use():
        print(f"error: {used[0]} Nothing was removed.", file=sys.stderr)
        return 2
    command = ["git", "-C", str(paths.root()), "clean", "-d", "-x", "--force", "--", *FOLDERS]
    environment = {**os.environ, "LC_ALL": "C"}  # so that git says `Removing`
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"error: git could not clean: {done.stderr.strip()}", file=sys.stderr)
        return 2
    removed = [line.removeprefix("Removing ") for line in done.stdout.splitlines()]
    print(
        "\n".join(["Removed:", *removed, "What git holds was kept."])
        if removed
        else "There was nothing to remove."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
