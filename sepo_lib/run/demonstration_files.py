"""The files of the demonstrations: a Parquet file for each game, their card, and their metadata."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sepo_lib import games as games_
from sepo_lib.config import files, paths
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.run import croissant
from sepo_lib.run.templates import render

if TYPE_CHECKING:  # it takes a second to import, and the hash of a file does not need it
    import datasets

#: The columns of the files, all of them text but for the two indices, and what they mean.
COLUMNS = {
    "game": "name of the domain",
    "strategy": "the demonstrating strategy, fixed for the episode",
    "opponent": "the opponent; `random_mix` acts at random with odds drawn once an episode",
    "episode": "index of the episode, from 0",
    "round": "index of the round (the hand, in poker) within the episode, from 0",
    "system": "the rules and the form of the answer",
    "user": "the current state and the visible history",
    "assistant": "the reason, a line break, the action",
    "split": "`train` or `valid`; all of an episode is in one of them",
}


#: The metadata of the files for programs (`croissant`).
CROISSANT = "croissant.json"

#: Settings of the files, so that their bytes are always the same.
_FORMAT = {
    "row_group_size": 2000,
    "version": "2.6",
    "data_page_version": "1.0",
    "compression": "zstd",
    "compression_level": 9,
    "store_schema": False,
}
_REMEDY = "run notebooks/01_demonstrations.ipynb again, or restore it with git if git holds it"


def write(
    folder: str | Path, games: Sequence[str], examples_per_game: int, seed: int, kind: str = "expert"
) -> dict[str, str]:
    """Write `<game>.parquet` for each game, README.md and croissant.json to `folder`; file name -> sha256.

    The bytes depend on the arguments and the pinned library versions alone. Raises what `build` raises.
    """
    from sepo_lib.training.demonstrations import build

    folder = Path(folder)
    tables = {game: _flat(build(game, examples_per_game, seed, kind)) for game in games}
    for game, table in tables.items():
        paths.replace(folder / f"{game}.parquet", partial(pq.write_table, table, **_FORMAT))
    paths.replace_text(folder / "README.md", _card(tables, seed, kind))
    about = f"Decisions of scripted players ({kind}, seed {seed}) in games with two players, as chats."
    paths.replace_text(folder / CROISSANT, croissant.described(folder, tables, COLUMNS, about))
    written = [*(f"{game}.parquet" for game in games), "README.md", CROISSANT]
    return {name: files.sha256(folder / name) for name in written}


def load(folder: str | Path, games: Sequence[str], split: str) -> "datasets.Dataset":
    """The `train` or `valid` examples of `games` in TRL's conversational prompt/completion form.

    Columns as `build` gives them, without `split`; rows in the order of `games`. Raises MissingError
    where a file is missing, InputError on an unknown split or game, or no game at all.
    """
    import datasets

    from sepo_lib.training.demonstrations import SPLITS

    if split not in SPLITS:
        raise InputError(f"'{split}' is no split; choose one of {list(SPLITS)}.")
    if not games:
        raise InputError("Name at least one game to load.")
    rows: list[dict] = []
    for game in games:
        path = _file(folder, games_.get(game).name)
        with files.reading(path, _REMEDY, "it is no whole Parquet file of demonstrations"):
            found = pq.read_table(path, filters=[("split", "=", split)]).to_pylist()
        for row in found:
            system, user, answer = (row.pop(name) for name in ("system", "user", "assistant"))
            row["prompt"] = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            row["completion"] = [{"role": "assistant", "content": answer}]
            del row["split"]
            rows.append(row)
    return datasets.Dataset.from_list(rows)


def mixed(
    examples: "datasets.Dataset", game: str, strategies: Sequence[str], share: float
) -> "datasets.Dataset":
    """The `examples` (as `load` gives them) with another mixture of strategies in `game`, as many as before.

    Of every strategy that is not one of `strategies`, the first `share` of the episodes is replaced, example
    by example, by those of `strategies` in their order, from the beginning again after the last one. Raises
    InputError if none of `strategies` has an example.
    """
    import datasets

    rows = examples.to_list()
    at = [place for place, row in enumerate(rows) if row["game"] == game]
    wanted = [rows[place] for place in at if rows[place]["strategy"] in strategies]
    if not wanted:
        there = sorted({rows[place]["strategy"] for place in at})
        raise InputError(f"The demonstrations of {game} have none of {list(strategies)}, only {there}.")
    episodes: dict[str, list[int]] = {}  # strategy -> its episodes, each once and in their order
    for place in at:
        own = episodes.setdefault(rows[place]["strategy"], [])
        own.extend([] if rows[place]["episode"] in own[-1:] else [rows[place]["episode"]])
    gone = {
        (strategy, episode)
        for strategy, own in episodes.items()
        if strategy not in strategies
        for episode in own[: round(share * len(own))]
    }
    replacement = itertools.cycle(wanted)
    for place in at:
        if (rows[place]["strategy"], rows[place]["episode"]) in gone:
            rows[place] = next(replacement)
    return datasets.Dataset.from_list(rows)


def sha256(folder: str | Path, game: str) -> str:
    """The hash of one game's file. Raises MissingError as `load` does."""
    return files.sha256(_file(folder, game))


def _flat(rows: "datasets.Dataset") -> pa.Table:
    """The rows with the columns of the files: one column of text per message, in the place of lists."""
    columns = {name: rows[name][:] for name in COLUMNS if name in rows.column_names}
    prompts, completions = rows["prompt"][:], rows["completion"][:]
    columns["system"] = [prompt[0]["content"] for prompt in prompts]
    columns["user"] = [prompt[1]["content"] for prompt in prompts]
    columns["assistant"] = [completion[0]["content"] for completion in completions]
    schema = [(name, pa.int32() if name in ("episode", "round") else pa.string()) for name in COLUMNS]
    return pa.table({name: columns[name] for name in COLUMNS}, schema=pa.schema(schema))


def _card(tables: Mapping[str, pa.Table], seed: int, kind: str) -> str:
    """The dataset card. Every number is counted from `tables`, except the shares of the mixtures."""
    from sepo_lib.training.demonstrations import SPLITS, mixture

    games = []
    for game, table in tables.items():
        strategy_N, episode_N, splits = (table[name].to_numpy() for name in ("strategy", "episode", "split"))
        counts = [table.num_rows, *((splits == split).sum() for split in SPLITS)]
        counts += [len(table[name].unique()) for name in ("episode", "user")]
        strategies = [
            (name, f"{share:.2f}", len(np.unique(episode_N[strategy_N == name])), (strategy_N == name).sum())
            for name, (share, _) in mixture(game, kind).items()
        ]
        met = sorted(table["opponent"].unique().to_pylist())
        games.append({"name": game, "counts": counts, "opponents": met, "strategies": strategies})
    values = {"kind": kind, "seed": seed, "games": games, "columns": COLUMNS}
    return render("run/templates/dataset_card.md.j2", **values) + "\n"


def _file(folder: str | Path, game: str) -> Path:
    path = Path(folder) / f"{game}.parquet"
    if not path.exists():
        raise MissingError(f"{paths.shown(path)} is missing; notebooks/01_demonstrations.ipynb makes it.")
    return path
