"""The command behind `make audit`: audits files of chat examples, and prints or keeps the counts."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sepo_lib import games
from sepo_lib.chat import chat_files
from sepo_lib.config import paths
from sepo_lib.config.errors import InputError
from sepo_lib.measure import audit
from sepo_lib.run import sft_data

#: The audit of the kit's demonstrations that git holds; `make audit OUT=data/results/sft_audit.csv` wrote it.
COMMITTED = "data/results/sft_audit.csv"
#: The columns of the printed table that are shares.
_SHARES = ("duplicates", "refused", "checked", "contradicting", "its share")


def run(data: Sequence[str] | None, out: str | None = None) -> str:
    """Audit the files and folders `data`, from the root, by default the demonstrations of git.

    Writes the whole table to the .csv file `out`. Returns the text to print. Raises InputError as
    `chat_files.read` does, and for an `out` that is no .csv file.
    """
    if out and (not out.endswith(".csv") or not (paths.root() / out).parent.is_dir()):
        raise InputError(f"OUT must be a .csv file in a folder that exists, not '{out}'.")
    names = list(data or [paths.relative(paths.demonstrations())])
    found = [audit.table(Path(name).as_posix(), chat_files.read(paths.root() / name)) for name in names]
    table = pd.concat(found, ignore_index=True)
    if out:
        paths.write_csv(table, paths.root() / out)
    return text(table) + (f"\nThe whole table: {out}" if out else "")


def summary(data: str) -> pd.DataFrame:
    """The main counts of one file or folder, from the root: one row per game (`audit.summary`)."""
    return audit.summary(audit.table(data, chat_files.read(paths.root() / data)))


def used(data: str) -> str:
    """How many of the examples SFT would train on, by game, and what is left out."""
    return sft_data.described(data).text


def in_brief(data: str) -> str:
    """The audit of one file or folder in one line, all games together."""
    table = audit.table(data, chat_files.read(paths.root() / data))
    counts = table.groupby("measure")[["count", "of"]].sum()
    kinds = {"duplicates": audit.DUPLICATES, "refused answers": audit.REFUSED}
    kinds["reasons that contradict the state"] = audit.CONTRADICTS
    found = {name: counts.loc[measure] for name, measure in kinds.items() if measure in counts.index}
    return ", ".join(f"{row['count']:,} of {row['of']:,} {name}" for name, row in found.items())


def text(table: pd.DataFrame) -> str:
    """The main counts as text: one row per game, then what the reasons contradict, then what was not read."""
    shown = audit.summary(table)
    for column in _SHARES:
        shown[column] = [f"{share:.1%}" if pd.notna(share) else "" for share in shown[column]]
    lines = [shown.to_string(index=False), ""]
    read = table[table["measure"] == audit.READ]
    for row in read[read["count"] < read["of"]].itertuples():
        lines.append(
            f"{row.data_set}, {row.game}: of {row.of} prompts, {row.of - row.count} could not be read."
        )
    for (name, game), rows in table.groupby(["data_set", "game"], sort=False):
        if game not in games.GAMES:
            lines.append(
                f"{name}, {game}: the kit has no such game, so neither actions nor reasons are checked."
            )
        for row in rows[rows["measure"].isin(audit.claims(rows)) & (rows["count"] > 0)].itertuples():
            lines.append(f"{name}, {game}: {row.count} of {row.of}: {row.measure} (the first: {row.first})")
    return "\n".join(lines).rstrip()
