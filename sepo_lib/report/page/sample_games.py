"""Sample games in the model's own words: the same game, opponent and seed before SFT, after SFT, after SEPO.

A rule chooses them: the smallest training seed, and in each game the first episode against the first
exploiter of the paper's pools, with each model at its last step.
"""

import ast
import re
from dataclasses import dataclass

import pandas as pd
from pyarrow import parquet

from sepo_lib import figures, games
from sepo_lib.config import files, paths
from sepo_lib.report import findings

CHOSEN = {"pools": "paper", "pool": "exploiter", "rollout": 0}
_MARKUP = re.compile(r"<[^<>\s]{1,40}>|\[/?INST\]")  # special tokens of chat templates
_HISTORY = re.compile(r"History \(you, other\): [^.]*\. ?")  # as `Game.history` writes it
_ROLES = ("system", "user", "assistant", "model")


@dataclass(frozen=True)
class Move:
    """One decision: what the model read, what it wrote, and what came of it.

    `number` is that of the round. The opponent's action and the payoffs (model, opponent) stand in the last
    decision of a round; in others they are empty.
    """

    number: int
    situation: str
    answer: str
    parsed: bool
    action: str
    other_action: str
    payoffs: tuple[float, ...]


@dataclass(frozen=True)
class Play:
    """One model's episode: the label of the model, its moves, and both players' sums of points."""

    label: str
    moves: list[Move]
    totals: tuple[float, float]


@dataclass(frozen=True)
class SampleGame:
    """One game as several models played it, with the rules as the models read them."""

    title: str
    opponent: str
    seed: int
    rules: str
    plays: list[Play]


def read(run: str) -> pd.DataFrame:
    """The decisions that the rule chooses, of all models; no rows if the run has kept no episodes.

    Raises ValueError naming a column that episodes.parquet lacks.
    """
    file = paths.table(run, "episodes")
    if not file.exists():
        return pd.DataFrame()
    need = ["game", "stage", "arm", "preset", "seed", "step", "opponent", "decision", "round", "answer"]
    remedy = "run notebooks/03_sepo_grpo.ipynb again"
    with files.reading(file, remedy, "it is no whole Parquet file"):
        names = parquet.read_schema(file).names
    if missing := [name for name in (*need, *CHOSEN) if name not in names]:
        raise ValueError(f"{paths.relative(file)} lacks the columns {missing}, which the sample games need.")
    chosen = [(name, "==", value) for name, value in CHOSEN.items()]
    found = files.read_parquet(file, remedy, filters=chosen)
    return found[found["seed"] == found["seed"].min()]


def sample_games(decisions: pd.DataFrame) -> list[SampleGame]:
    """The games in the order of the registry; of SEPO, the last recipe of `figures.CONFIGURATIONS`."""
    if decisions.empty:
        return []
    rows = figures.configured(decisions)
    return [_game(game, rows[rows["game"] == game]) for game in figures.ordered_games(rows)]


def _game(game: str, rows: pd.DataFrame) -> SampleGame:
    met = list(rows["opponent"].unique())
    known = games.GAMES[game].pools["paper"]["exploiter"] if game in games.GAMES else ()
    opponent = next((name for name in known if name in met), met[0])
    rows = rows[rows["opponent"] == opponent]
    rules, situations = _prompts(list(rows["prompt"])) if "prompt" in rows else ("", [""] * len(rows))
    rows = rows.assign(situation=situations)
    recipes = list(figures.looks_of(rows["configuration"]))
    sepo = [key for key in recipes if key not in ("base", "sft")][-1:]
    shown = [key for key in ("base", "sft") if key in recipes] + sepo
    plays = [_play(key, rows[rows["configuration"] == key].sort_values("decision")) for key in shown]
    return SampleGame(findings.title(game), opponent, int(rows["seed"].iloc[0]), rules, plays)


def _play(configuration: str, rows: pd.DataFrame) -> Play:
    """One model's moves. The columns of the round repeat in each of its decisions, and count once."""
    last = ~rows.duplicated("round", keep="last")
    moves = [
        Move(
            number=row.round + 1,
            situation=_HISTORY.sub("", row.situation) if row.decision else row.situation,
            answer=row.answer.strip(),
            parsed=bool(row.parsed),
            action=_plain(row.action),
            other_action=_plain(row.other_action) if ends else "",
            payoffs=(row.own_payoff, row.other_payoff) if ends else (),
        )
        for row, ends in zip(rows.itertuples(), last, strict=True)
    ]
    look = figures.CONFIGURATIONS.get(configuration)
    totals = (rows.loc[last, "own_payoff"].sum(), rows.loc[last, "other_payoff"].sum())
    return Play(look.label if look else f"SEPO, {configuration}", moves, totals)


def _prompts(prompts: list[str]) -> tuple[str, list[str]]:
    """The text that all prompts begin with (the rules), and what follows it in each, without the markup of
    the chat template."""
    shared = _prefix(prompts)
    while shared and shared[-1] not in "\n>]":  # back to the end of a tag or line of the template
        shared = shared[:-1]
    behind = _prefix([prompt[::-1] for prompt in prompts])[::-1]
    tags = _MARKUP.search(behind)
    end = len(behind) - tags.start() if tags and len(set(prompts)) > 1 else 0
    return _unmarked(shared), [_unmarked(prompt[len(shared) : len(prompt) - end]) for prompt in prompts]


def _prefix(texts: list[str]) -> str:
    """The characters with which all texts begin."""
    first, last = min(texts), max(texts)
    same = (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def _unmarked(text: str) -> str:
    """A text without special tokens, and without the lines that name a role."""
    lines = _MARKUP.sub("\n", text).splitlines()
    return "\n".join(line for line in lines if line.strip() and line.strip() not in _ROLES)


def _plain(action: str) -> str:
    """An action as words: the stored `('PASS', 'FOLD')` becomes `PASS, FOLD`."""
    if not str(action).startswith("("):
        return str(action)
    return ", ".join(str(part) for part in ast.literal_eval(action))
