"""Playing a policy against every pool and turning the record into the tables of a run."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from . import exact, exploitability, objective, seeds
from .games.base import Game
from .processes import play
from .records import Episode
from .rollouts import LanguageModelPolicy, plan

#: What identifies a row of every table of a run.
KEYS = ("profile", "model", "game", "pools", "stage", "arm", "preset", "seed", "step")
TABLES = ("evaluation", "exploitability", "strategies", "episodes")


def evaluate(
    policy: LanguageModelPolicy,
    game: Game,
    pools: str,
    episodes: int,
    shift_episodes: int,
    samples: int,
    keys: dict,
) -> dict[str, pd.DataFrame]:
    """All measures of one policy in one game.

    `episodes` per opponent of the train, exploiter and collusive pools, `shift_episodes` of the shift pool,
    `samples` answers per information set (Kuhn). `keys` names the row (see KEYS). The evaluation seed
    depends on keys["seed"] alone, so two stages of one seed meet the same opponents' chance moves. Returns
    the tables of TABLES by name; the two about Kuhn are left out for other games.
    """
    seed = seeds.derive(keys["seed"], "evaluation")
    counts = {"train": episodes, "exploiter": episodes, "collusive": episodes, "shift": shift_episodes}
    played = play(policy, plan(game, pools, counts, seed))
    measures = objective.measure(game, played)
    keys = {"game": game.name, "pools": pools, **keys}
    tables = {
        "evaluation": pd.DataFrame([{**keys, **measures}]),
        "episodes": episode_table(played, keys),
    }
    if game.name == "kuhn":
        strategy = exact.kuhn_strategy(policy, samples, seed)
        sampled = exact.nashconv_of_strategy(strategy, "sampled")
        found = exploitability.nashconv_interval(*exploitability.sampled_counts(strategy))
        row = {
            **keys,
            "pool_advantage": exact.pool_advantage(strategy, "sampled", pools),
            "pool_advantage_played": measures["exploit"],
            "nashconv": sampled,
            "nashconv_constrained": exact.nashconv_of_strategy(strategy, "constrained"),
            "exploitability": sampled / 2,
            "nashconv_low": found.low,
            "nashconv_high": found.high,
        }
        tables["exploitability"] = pd.DataFrame([row])
        tables["strategies"] = strategy.assign(**keys)
    return tables


def episode_table(played: Sequence[Episode], keys: dict) -> pd.DataFrame:
    """One row per decision: who, against whom, what was seen, answered, done and earned in its round."""
    rows = []
    for episode in played:
        game_keys = {"pool": episode.pool, "opponent": episode.opponent, "rollout": episode.rollout}
        for number, decision in enumerate(episode.decisions):
            won = episode.rounds[decision.round]
            rows.append(
                {
                    **game_keys,
                    "decision": number,
                    "round": decision.round,
                    "prompt": decision.prompt,
                    "answer": decision.text,
                    "action": str(decision.action),
                    "parsed": decision.parsed,
                    "other_action": str(won.actions[1]),
                    "own_payoff": won.payoffs[0],
                    "other_payoff": won.payoffs[1],
                    "decision_seed": decision.seed,
                }
            )
    return pd.DataFrame(rows).assign(**keys)


def save(tables: dict[str, pd.DataFrame], folder: Path, label: str) -> None:
    """Keep one evaluation's tables in a job's folder, as `<table>-<label>.parquet`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        unfinished = folder / f".{name}-{label}.parquet"
        table.to_parquet(unfinished, index=False)
        unfinished.replace(folder / f"{name}-{label}.parquet")


def collect(folders: Sequence[Path], name: str) -> pd.DataFrame:
    """All rows of table `name` kept in the given jobs' folders (empty where none has any)."""
    files = [file for folder in folders for file in sorted(folder.glob(f"{name}-*.parquet"))]
    return (
        pd.concat([pd.read_parquet(file) for file in files], ignore_index=True) if files else pd.DataFrame()
    )


def mark_reported(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Adds `reported` (the last step of a training run, whatever it shows) and `best` (the step of highest
    safety, which is what the paper reports; choosing it on the same episodes flatters it)."""
    run = ["game", "pools", "stage", "arm", "preset", "seed"]
    groups = evaluation.groupby(run, dropna=False)
    return evaluation.assign(
        reported=evaluation["step"] == groups["step"].transform("max"),
        best=evaluation.index.isin(groups["safety"].idxmax()),
    )
