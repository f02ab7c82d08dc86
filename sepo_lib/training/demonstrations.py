"""Expert and naive episodes as chat examples: the data for SFT and for pre-training the base model.

An episode draws one strategy from the game's mixture (`Game.experts` or `Game.naive`) and one opponent,
uniformly from the paper's train, exploiter and collusive pools and a random opponent that makes the states
diverse. No opponent of the shift pool is met. Every decision becomes one example. Its answer is the
strategy's reason, a line break and the action. An expert's reason states only what holds for its strategy in
that state; a naive reason states nothing about either.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets
import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sepo_lib import games as games_
from sepo_lib.config import paths
from sepo_lib.games.base import OBJECTIVE_POOLS, Game, play_out
from sepo_lib.games.players import Act, Action, Mixture, Rng, Start, Strategy, View
from sepo_lib.method.seeds import generator

KINDS = ("expert", "naive")
SPLITS = ("train", "valid")
RANDOM_MIX = "random_mix"  # the name of the random opponent
#: The columns of the files, all of them text but for the two indices, and what they mean.
COLUMNS = {
    "game": "name of the domain",
    "strategy": "the demonstrating strategy, fixed for the episode",
    "opponent": f"the opponent; `{RANDOM_MIX}` acts at random with odds drawn once an episode",
    "episode": "index of the episode, from 0",
    "round": "index of the round (the hand, in poker) within the episode, from 0",
    "system": "the rules and the form of the answer",
    "user": "the current state and the visible history",
    "assistant": "the reason, a line break, the action",
    "split": "`train` or `valid`; all of an episode is in one of them",
}


def mixture(game: str, kind: str = "expert") -> Mixture:
    """The strategies of `game` with their shares of the episodes (docs/method.md, "Demonstrations").

    Raises ValueError where the game or the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"'{kind}' is no kind of demonstration; choose one of {list(KINDS)}.")
    found = games_.get(game)
    return found.experts if kind == "expert" else found.naive


def opponents(game: str) -> dict[str, Start]:
    """The opponents of the paper's train, exploiter and collusive pools, each once, and a random one."""
    pools = [games_.get(game).pool("paper", pool) for pool in OBJECTIVE_POOLS]
    found = {name: opponent for pool in pools for name, opponent in pool.items()}
    return {**found, RANDOM_MIX: _random_mix}


def episode(
    game: Game, strategy: Strategy, opponent: Start, own: Rng, other: Rng, chance: Rng
) -> list[tuple[View, Action, str]]:
    """One episode of `strategy` (player 0) against `opponent`: its decisions as (view, action, reason).

    Raises ValueError where the strategy or the opponent chooses an action that is not legal.
    """
    decisions: list[tuple[View, Action, str]] = []

    def decide(view: View) -> Action:
        action, reason = strategy(view, own)
        decisions.append((view, action, reason))
        return action

    play_out(game.play(chance), {0: decide, 1: opponent(other)})
    return decisions


def build(game: str, examples: int, seed: int, kind: str = "expert") -> datasets.Dataset:
    """Exactly `examples` decisions of demonstration episodes (the last episode may be cut short).

    Columns: game, strategy, opponent, episode and round (indices from 0), prompt (system and user message),
    completion (one assistant message), split. A fifth of the episodes, and at least one where there are two
    or more, is `valid`; no episode is in both splits. Raises ValueError on an unknown game or kind, or fewer
    than one example.
    """
    if examples < 1:
        raise ValueError(f"At least one example is needed, not {examples}.")
    domain, strategies, others = games_.get(game), mixture(game, kind), opponents(game)
    names, shares = list(strategies), np.array([share for share, _ in strategies.values()])
    rows: list[dict] = []
    number = 0
    while len(rows) < examples:
        path = ("demonstrations", kind, game, number)
        draw = generator(seed, *path, "draw")
        name = names[int(draw.choice(len(names), p=shares / shares.sum()))]
        opponent = list(others)[int(draw.integers(len(others)))]
        streams = (generator(seed, *path, stream) for stream in ("own", "other", "chance"))
        for view, action, reason in episode(domain, strategies[name][1], others[opponent], *streams):
            answer = f"{reason}\n{domain.spell(action)}"
            rows.append(
                {
                    "game": game,
                    "strategy": name,
                    "opponent": opponent,
                    "episode": number,
                    "round": view.round,
                    "prompt": domain.messages(view),
                    "completion": [{"role": "assistant", "content": answer}],
                }
            )
        number += 1
    order = generator(seed, "demonstrations", kind, game, "split").permutation(number)
    valid = set(order[: max(int(number > 1), round(number / 5))].tolist())
    rows = [{**row, "split": SPLITS[row["episode"] in valid]} for row in rows[:examples]]
    return datasets.Dataset.from_list(rows)


def write(
    folder: str | Path, games: Sequence[str], examples_per_game: int, seed: int, kind: str = "expert"
) -> dict[str, str]:
    """Write `<game>.parquet` for each game and the card README.md into `folder`; file name -> sha256.

    The bytes depend on the arguments and the pinned library versions alone. Raises what `build` raises.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tables = {game: _flat(build(game, examples_per_game, seed, kind)) for game in games}
    for game, table in tables.items():
        pq.write_table(
            table,
            folder / f"{game}.parquet",
            row_group_size=2000,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=9,
            store_schema=False,
        )
    (folder / "README.md").write_text(_card(tables, seed, kind), encoding="utf-8", newline="\n")
    files = [*(f"{game}.parquet" for game in games), "README.md"]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}


def load(folder: str | Path, games: Sequence[str], split: str) -> datasets.Dataset:
    """The `train` or `valid` examples of `games` in TRL's conversational prompt/completion form.

    Columns as `build` gives them, without `split`; rows in the order of `games`. Raises FileNotFoundError
    where a file is missing, ValueError on an unknown split or game, or no game at all.
    """
    if split not in SPLITS:
        raise ValueError(f"'{split}' is no split; choose one of {list(SPLITS)}.")
    if not games:
        raise ValueError("Name at least one game to load.")
    rows: list[dict] = []
    for game in games:
        path = _file(folder, games_.get(game).name)
        for row in pq.read_table(path, filters=[("split", "=", split)]).to_pylist():
            system, user, answer = (row.pop(name) for name in ("system", "user", "assistant"))
            row["prompt"] = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            row["completion"] = [{"role": "assistant", "content": answer}]
            del row["split"]
            rows.append(row)
    return datasets.Dataset.from_list(rows)


def sha256(folder: str | Path, game: str) -> str:
    """The hash of one game's file. Raises FileNotFoundError as `load` does."""
    return hashlib.sha256(_file(folder, game).read_bytes()).hexdigest()


def _random_mix(rng: Rng) -> Act:
    """A random opponent that draws its odds of the legal actions once an episode, uniformly over all odds.

    Its odds are not simply equal, because two shift pools hold out the opponent that plays uniformly.
    """
    odds: dict[tuple[Action, ...], np.ndarray] = {}

    def act(view: View) -> Action:
        if view.legal not in odds:
            odds[view.legal] = rng.dirichlet(np.ones(len(view.legal)))
        return view.legal[int(rng.choice(len(view.legal), p=odds[view.legal]))]

    return act


def _flat(rows: datasets.Dataset) -> pa.Table:
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
    text = (Path(__file__).parent / "templates" / "dataset_card.md.j2").read_text(encoding="utf-8")
    options = {"trim_blocks": True, "undefined": jinja2.StrictUndefined, "keep_trailing_newline": True}
    return jinja2.Template(text, **options).render(kind=kind, seed=seed, games=games, columns=COLUMNS)


def _file(folder: str | Path, game: str) -> Path:
    path = Path(folder) / f"{game}.parquet"
    if not path.is_file():
        raise FileNotFoundError(
            f"{paths.shown(path)} is missing; run notebooks/01_demonstrations.ipynb to make it."
        )
    return path
