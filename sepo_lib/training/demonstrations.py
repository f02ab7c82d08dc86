"""Expert and naive episodes as chat examples: the data for SFT and for pre-training the base model.

A strategy is a function (view, generator) -> (action, reason). It is drawn once an episode from the game's
mixture (METHOD section 4) and plays an opponent drawn uniformly from the paper's train, exploiter and
collusive pools and one random opponent that makes states diverse, never from the shift pool. Every
decision becomes one example, whose answer is the reason, a line break and the action. A reason states only
what holds for the strategy and in that state; naive reasons state nothing about either.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sepo_lib import games as games_
from sepo_lib.config import paths
from sepo_lib.games.auction import ACTIONS as BIDS
from sepo_lib.games.auction import higher
from sepo_lib.games.base import Act, Action, Game, Opponent, View
from sepo_lib.games.deal import agreed as deal_agreed
from sepo_lib.games.deal import half, left, proportional
from sepo_lib.games.loop import play_out
from sepo_lib.games.split import agreed as split_agreed
from sepo_lib.method.seeds import generator

Rng = np.random.Generator
Strategy = Callable[[View, Rng], tuple[Action, str]]
Mixture = Mapping[str, tuple[float, Strategy]]  # strategy name -> (share of episodes, strategy)

SPLITS = ("train", "valid")
RANDOM_MIX = "random_mix"  # the name of the random opponent
ITEMS = ("book", "hat", "ball")


def _one(rng: Rng, *reasons: str) -> str:
    """One of the wordings, each equally likely."""
    return reasons[int(rng.integers(len(reasons)))]


def _pick(view: View, rng: Rng) -> Action:
    """One of the legal actions, each equally likely."""
    return view.legal[int(rng.integers(len(view.legal)))]


def _random(view: View, rng: Rng) -> tuple[Action, str]:
    """Uniform over the legal actions."""
    return _pick(view, rng), _one(rng, "I choose at random this time.", "I leave this choice to chance.")


# The prisoner's dilemma ----------------------------------------------------------------------------------


def _ipd_start(rng: Rng) -> tuple[Action, str]:
    return "COOPERATE", _one(
        rng, "It is the first round, so I cooperate.", "We are just starting, so I cooperate."
    )


def _tit_for_tat(view: View, rng: Rng) -> tuple[Action, str]:
    if not view.theirs:
        return _ipd_start(rng)
    if view.theirs[-1] == "COOPERATE":
        return "COOPERATE", "They cooperated last round, so I cooperate."
    return "DEFECT", "They defected last round, so I defect."


def _generous_tit_for_tat(view: View, rng: Rng) -> tuple[Action, str]:
    if view.theirs and view.theirs[-1] == "DEFECT" and rng.random() < 1 / 4:
        return "COOPERATE", "They defected last round, but I forgive and cooperate."
    return _tit_for_tat(view, rng)


def _grim(view: View, rng: Rng) -> tuple[Action, str]:
    if not view.theirs:
        return _ipd_start(rng)
    if "DEFECT" in view.theirs:
        return "DEFECT", "They have defected before, so I defect from now on."
    return "COOPERATE", "They have never defected, so I cooperate."


def _always_defect(view: View, rng: Rng) -> tuple[Action, str]:
    return "DEFECT", _one(rng, "I always defect, whatever they do.", "Defecting pays more against any move.")


def _always_cooperate(view: View, rng: Rng) -> tuple[Action, str]:
    return "COOPERATE", _one(
        rng, "I always cooperate, whatever they do.", "I cooperate in every single round."
    )


# The auction ---------------------------------------------------------------------------------------------


def _value_bid(view: View, rng: Rng) -> tuple[Action, str]:
    """Half the value: LOW (1) on 2, MEDIUM (2) on 4."""
    value = view.facts["value"]
    return BIDS[value // 2 - 1], f"My value is {value}, so I bid half of it."


def _aggressive_value(view: View, rng: Rng) -> tuple[Action, str]:
    if view.facts["value"] == 2:
        return "LOW", "My value is only 2, so I bid LOW."
    return "HIGH", "My value is 4, so I bid HIGH to win."


def _adaptive_bid(view: View, rng: Rng) -> tuple[Action, str]:
    """One above their last bid where that still earns something, else the highest bid that does."""
    if not view.theirs:
        return _value_bid(view, rng)[0], "It is the first round, so I bid half my value."
    last = view.theirs[-1]
    if view.facts["value"] == 2:
        return "LOW", f"They bid {last} last round, but my value is only 2."
    rest = "so I match it" if last == "HIGH" else "so I go one higher"
    return higher(last), f"They bid {last} last round, {rest}."


# Split bargaining ----------------------------------------------------------------------------------------


def _split_fair(view: View, rng: Rng) -> tuple[Action, str]:
    return 5, _one(rng, "I always ask for half of the points.", "An even split is fair to both.")


def _split_balanced(view: View, rng: Rng) -> tuple[Action, str]:
    return 6, _one(rng, "I always ask for one more than half.", "I want a bit more than half.")


def _split_conceding(view: View, rng: Rng) -> tuple[Action, str]:
    if not view.theirs:
        return 6, "It is the first round, so I try 6."
    if all(split_agreed(pair) for pair in zip(view.mine, view.theirs, strict=True)):
        return 6, "No round broke down, so I stay at 6."
    return 5, "A round broke down, so I give in to 5."


def _split_complement(view: View, rng: Rng) -> tuple[Action, str]:
    if not view.theirs:
        return 5, "It is the first round, so I ask for half."
    return 10 - view.theirs[-1], f"They asked for {view.theirs[-1]} last round, so I take the rest."


def _split_random(view: View, rng: Rng) -> tuple[Action, str]:
    return int(rng.integers(3, 8)), "I pick a number from 3 to 7 at random."


# Multi-issue bargaining ----------------------------------------------------------------------------------


def _at_least_one(view: View, demand: tuple[int, ...]) -> tuple[tuple[int, ...], bool]:
    """`demand`, or one unit of the most valued item where it is empty; and whether it was empty."""
    if any(demand):
        return demand, False
    values = view.facts["values"]
    best = values.index(max(values))
    return tuple(int(i == best) for i in range(len(values))), True


def _shares(view: View) -> tuple[tuple[int, ...], bool]:
    return _at_least_one(view, proportional(view.facts["pool"], view.facts["values"]))


ONE_UNIT = "My share is small, so I ask for one unit."


def _deal_proportional(view: View, rng: Rng) -> tuple[Action, str]:
    demand, was_empty = _shares(view)
    return demand, ONE_UNIT if was_empty else _one(
        rng, "I ask for each item in proportion to its value.", "My share of each item follows its value."
    )


def _deal_conservative(view: View, rng: Rng) -> tuple[Action, str]:
    demand, was_empty = _at_least_one(view, tuple(4 * n // 5 for n in _shares(view)[0]))
    return demand, ONE_UNIT if was_empty else _one(
        rng, "I ask for a bit less than my share.", "I stay below my share to get a deal."
    )


def _deal_adaptive(view: View, rng: Rng) -> tuple[Action, str]:
    """Proportional first; the same after a deal; after a breakdown one unit less of the cheapest item."""
    if not view.mine:
        demand, was_empty = _shares(view)
        return demand, ONE_UNIT if was_empty else "It is the first round, so I try my share."
    demand = view.mine[-1]
    if deal_agreed((demand, view.theirs[-1]), view.facts["pool"]):
        return demand, "We had a deal last round, so I keep my demand."
    if sum(demand) == 1:
        return demand, "No deal last round, but I keep my last unit."
    values = view.facts["values"]
    cheapest = min((i for i, units in enumerate(demand) if units), key=lambda i: values[i])
    lower = tuple(units - (i == cheapest) for i, units in enumerate(demand))
    return lower, f"No deal last round, so I give up one {ITEMS[cheapest]}."


def _deal_defensive(view: View, rng: Rng) -> tuple[Action, str]:
    if not view.theirs:
        return half(view.facts["pool"]), "It is the first round, so I ask for half."
    return left(view), _one(
        rng, "I ask for what they left last round.", "I take what their last demand left over."
    )


# Kuhn poker ----------------------------------------------------------------------------------------------


def _facing(view: View) -> bool:
    """Whether the player has a bet to answer."""
    return "CALL" in view.legal


def _kuhn_play(view: View, rng: Rng, bluff: float, call: float) -> tuple[Action, str]:
    """K bets and calls; Q passes and calls a bet at rate `call`; J folds and bets at rate `bluff`."""
    card, facing, draw = view.facts["card"], _facing(view), rng.random()
    if card == "K":
        word = "CALL" if facing else "BET"
        return word, f"I hold K, the best card, so I {word.lower()}."
    if card == "Q" and not facing:
        return "PASS", "I hold Q, the middle card, so I pass."
    if card == "Q":
        word = "CALL" if draw < call else "FOLD"
        return word, f"I hold Q, and this time I {word.lower()}."
    if facing:
        return "FOLD", "I hold J, the worst card, so I fold."
    if draw < bluff:
        return "BET", "I hold J, and this time I bluff."
    return "PASS", "I hold J, and this time I pass."


def _kuhn_nash(view: View, rng: Rng) -> tuple[Action, str]:
    """The equilibrium with alpha = 1/3 (Kuhn 1950): the first mover's Q calls at alpha + 1/3."""
    return _kuhn_play(view, rng, bluff=1 / 3, call=2 / 3 if view.facts["first"] else 1 / 3)


def _kuhn_tight(view: View, rng: Rng) -> tuple[Action, str]:
    if view.facts["card"] == "K":
        return _kuhn_play(view, rng, bluff=0, call=0)
    if _facing(view):
        return "FOLD", "I only call with K, so I fold."
    return "PASS", "I only bet with K, so I pass."


def _kuhn_pot_control(view: View, rng: Rng) -> tuple[Action, str]:
    if view.facts["card"] == "Q" and not _facing(view):
        return "PASS", "I hold Q and keep the pot small."
    return _kuhn_play(view, rng, bluff=1 / 5, call=1 / 3)


def _kuhn_passive_queen(view: View, rng: Rng) -> tuple[Action, str]:
    """Q never puts in another chip; K and J as in the equilibrium."""
    if view.facts["card"] == "Q":
        return "FOLD" if _facing(view) else "PASS", "I hold Q and add no more chips."
    return _kuhn_nash(view, rng)


# Naive play: exploitable, and silent about the state -----------------------------------------------------

NAIVE_REASONS = ("I just pick one.", "Let me try this one.", "I have no plan here.")


def _naive(view: View, rng: Rng) -> tuple[Action, str]:
    return _pick(view, rng), _one(rng, *NAIVE_REASONS)


def _naive_friendly(view: View, rng: Rng) -> tuple[Action, str]:
    """Cooperates nine times in ten, whatever happened."""
    cooperates = rng.random() < 0.9
    return ("COOPERATE", "I feel like cooperating.") if cooperates else ("DEFECT", "I feel like defecting.")


def _naive_overbid(view: View, rng: Rng) -> tuple[Action, str]:
    """HIGH seven times in ten, whatever the value."""
    return BIDS[int(rng.choice(3, p=(0.1, 0.2, 0.7)))], "I feel like winning this one."


def _naive_high_demand(view: View, rng: Rng) -> tuple[Action, str]:
    """1 to 9 with a chance in proportion to the demand."""
    return int(rng.choice(9, p=np.arange(1, 10) / 45)) + 1, "I feel like asking for this."


def _naive_large_demand(view: View, rng: Rng) -> tuple[Action, str]:
    """Of each item the larger of two random numbers of units."""
    pairs = zip(_pick(view, rng), _pick(view, rng), strict=True)
    return tuple(max(pair) for pair in pairs), "I feel like taking these."


def _naive_bettor(view: View, rng: Rng) -> tuple[Action, str]:
    """Bets or calls eight times in ten, whatever the card."""
    bold, timid = ("CALL", "FOLD") if _facing(view) else ("BET", "PASS")
    return (bold, "I feel like putting chips in.") if rng.random() < 0.8 else (timid, "I feel like waiting.")


MIXTURES: Mapping[str, Mapping[str, Mixture]] = {
    "expert": {
        "ipd": {
            "tit_for_tat": (0.33, _tit_for_tat),
            "always_defect": (0.27, _always_defect),
            "grim": (0.22, _grim),
            "random": (0.08, _random),
            "always_cooperate": (0.05, _always_cooperate),
            "generous_tit_for_tat": (0.05, _generous_tit_for_tat),
        },
        "auction": {
            "value_bid": (0.44, _value_bid),
            "aggressive_value": (0.28, _aggressive_value),
            "adaptive": (0.20, _adaptive_bid),
            "random": (0.08, _random),
        },
        "split": {
            "fair": (0.32, _split_fair),
            "balanced": (0.27, _split_balanced),
            "conceding": (0.18, _split_conceding),
            "complement": (0.15, _split_complement),
            "random": (0.08, _split_random),
        },
        "deal": {
            "proportional": (0.35, _deal_proportional),
            "conservative": (0.25, _deal_conservative),
            "adaptive": (0.25, _deal_adaptive),
            "defensive": (0.15, _deal_defensive),
        },
        "kuhn": {
            "nash": (0.45, _kuhn_nash),
            "tight_value": (0.25, _kuhn_tight),
            "pot_control": (0.20, _kuhn_pot_control),
            "random": (0.08, _random),
            "passive_queen": (0.02, _kuhn_passive_queen),
        },
    },
    "naive": {
        "ipd": {"friendly": (0.7, _naive_friendly), "naive": (0.3, _naive)},
        "auction": {"overbid": (0.5, _naive_overbid), "naive": (0.5, _naive)},
        "split": {"high_demand": (0.5, _naive_high_demand), "naive": (0.5, _naive)},
        "deal": {"large_demand": (0.3, _naive_large_demand), "naive": (0.7, _naive)},
        "kuhn": {"bettor": (0.5, _naive_bettor), "naive": (0.5, _naive)},
    },
}


# Episodes to rows ----------------------------------------------------------------------------------------


def _random_mix(rng: Rng) -> Act:
    """A random opponent: draws the odds of the legal actions once an episode, evenly over all mixtures.

    Not simply uniform, because two shift pools hold the uniformly random opponent out.
    """
    odds: dict[tuple[Action, ...], np.ndarray] = {}

    def act(view: View) -> Action:
        if view.legal not in odds:
            odds[view.legal] = rng.dirichlet(np.ones(len(view.legal)))
        return view.legal[int(rng.choice(len(view.legal), p=odds[view.legal]))]

    return act


def mixture(game: str, kind: str = "expert") -> Mixture:
    """The strategies of `game` with their shares of episodes (METHOD section 4; `naive` is ours).

    Raises ValueError where the game or the kind is unknown.
    """
    if kind not in MIXTURES:
        raise ValueError(f"'{kind}' is no kind of demonstration; choose one of {sorted(MIXTURES)}.")
    return MIXTURES[kind][games_.get(game).name]


def opponents(game: str) -> dict[str, Opponent]:
    """The opponents of the paper's train, exploiter and collusive pools, each once, and a random one."""
    pools = [games_.get(game).pool("paper", pool) for pool in ("train", "exploiter", "collusive")]
    found = {name: opponent for pool in pools for name, opponent in pool.items()}
    return {**found, RANDOM_MIX: _random_mix}


def episode(
    game: Game, strategy: Strategy, opponent: Opponent, own: Rng, other: Rng, chance: Rng
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
    completion (one assistant message), split. A fifth of the episodes, at least one of two or more,
    is `valid`; no episode is in both splits. Raises ValueError on an unknown game or kind, or fewer than one
    example.
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


# Files ---------------------------------------------------------------------------------------------------

_SCHEMA = pa.schema(
    [
        ("game", pa.string()),
        ("strategy", pa.string()),
        ("opponent", pa.string()),
        ("episode", pa.int32()),
        ("round", pa.int32()),
        ("system", pa.string()),
        ("user", pa.string()),
        ("assistant", pa.string()),
        ("split", pa.string()),
    ]
)
_MEANING = {
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


def _flat(rows: datasets.Dataset) -> pa.Table:
    """The table of `_SCHEMA`: one string column per message instead of lists of messages."""
    columns = {name: rows[name][:] for name in _SCHEMA.names if name in rows.column_names}
    prompts, completions = rows["prompt"][:], rows["completion"][:]
    columns["system"] = [prompt[0]["content"] for prompt in prompts]
    columns["user"] = [prompt[1]["content"] for prompt in prompts]
    columns["assistant"] = [completion[0]["content"] for completion in completions]
    return pa.table({name: columns[name] for name in _SCHEMA.names}, schema=_SCHEMA)


def _card(tables: Mapping[str, pa.Table], seed: int, kind: str) -> str:
    """The dataset card. Every number is counted from `tables`, but for the shares of the mixtures."""
    header = ["---", "language: en", "license: mit", f"pretty_name: SEPO demonstrations ({kind})"]
    header += ["task_categories:", "- text-generation", "configs:"]
    for game in tables:
        header += [f"- config_name: {game}", f"  data_files: {game}.parquet"]
    about = {
        "expert": "Decisions of rule-based experts, for supervised fine-tuning. Each answer gives a short "
        "reason that is true to the strategy and the state, then the action alone on the last line.",
        "naive": "Decisions of naive, exploitable play, for pre-training the base model. The reasons say "
        "nothing about the state; the action stands alone on the last line.",
    }[kind]
    lines = [
        *header,
        "---",
        "",
        f"# SEPO demonstrations ({kind})",
        "",
        about,
        "",
        f"Made by `sepo_lib.training.demonstrations.write(..., seed={seed}, kind={json.dumps(kind)})`; "
        "the same seed gives the same bytes. One strategy is drawn per episode; opponents are drawn evenly "
        "from those listed, none of them from a shift pool.",
        "",
        "| game | examples | train | valid | episodes | distinct prompts | opponents |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for game, table in tables.items():
        splits = table["split"].to_pylist()
        counts = [table.num_rows, *(splits.count(split) for split in SPLITS)]
        counts += [len(table[name].unique()) for name in ("episode", "user")]
        faced = ", ".join(sorted(table["opponent"].unique().to_pylist()))
        lines.append(f"| {game} | {' | '.join(str(count) for count in counts)} | {faced} |")
    lines += ["", "## Mixtures", "", "| game | strategy | share | episodes | examples |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for game, table in tables.items():
        strategies = np.array(table["strategy"].to_pylist())
        episodes = np.array(table["episode"].to_pylist())
        for name, (share, _) in mixture(game, kind).items():
            chosen = strategies == name
            played = len(np.unique(episodes[chosen]))
            lines.append(f"| {game} | {name} | {share:.2f} | {played} | {int(chosen.sum())} |")
    lines += ["", "## Columns", "", "| column | meaning |", "| --- | --- |"]
    lines += [f"| {name} | {_MEANING[name]} |" for name in _SCHEMA.names]
    return "\n".join(lines) + "\n"


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

    Columns as `build` gives them, less `split`; rows in the order of `games`. Raises FileNotFoundError where
    a file is missing, ValueError on an unknown split or game, or no game at all.
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


def _file(folder: str | Path, game: str) -> Path:
    path = Path(folder) / f"{game}.parquet"
    if not path.is_file():
        raise FileNotFoundError(
            f"{paths.shown(path)} is missing; run notebooks/01_demonstrations.ipynb to make it."
        )
    return path
