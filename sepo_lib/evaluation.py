"""Playing a policy against every pool and turning the record into the tables of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from . import exact, exploitability, objective, seeds
from .games.base import Game
from .processes import play
from .records import Episode
from .rollouts import LanguageModelPolicy, plan
from .statistics import Interval, percentile

#: What identifies a row of every table of a run.
KEYS = ("profile", "model", "game", "pools", "stage", "arm", "preset", "seed", "step")
TABLES = ("evaluation", "exploitability", "strategies", "episodes")


def evaluate(
    policy: LanguageModelPolicy,
    game: Game,
    pools: str,
    episodes: int,
    shift_episodes: int,
    reading: exact.Reading,
    keys: dict,
) -> dict[str, pd.DataFrame]:
    """All measures of one policy in one game.

    `episodes` per opponent of the train, exploiter and collusive pools, `shift_episodes` of the shift pool;
    `reading` says how the strategy in Kuhn is read. `keys` names the row (see KEYS). The evaluation seed
    depends on keys["seed"] alone, so two stages of one seed meet the same opponents' chance moves. Returns
    the tables of TABLES by name; the two about Kuhn are left out for other games.
    """
    seed = seeds.derive(keys["seed"], "evaluation")
    counts = {"train": episodes, "exploiter": episodes, "collusive": episodes, "shift": shift_episodes}
    played = play(policy, plan(game, pools, counts, seed))
    measures = objective.measure(game, played)
    luck = safety_interval(game, played)
    measures |= {"safety_low": luck.low, "safety_high": luck.high}
    keys = {"game": game.name, "pools": pools, **keys}
    tables = {
        "evaluation": pd.DataFrame([{**keys, **measures}]),
        "episodes": episode_table(played, keys),
    }
    if game.name == "kuhn":
        strategy = exact.kuhn_strategy(policy, reading.samples, seed, reading.mass, reading.most_nodes)
        row = {**keys, **exploitability.row(strategy, pools), "pool_advantage_played": measures["exploit"]}
        tables["exploitability"] = pd.DataFrame([row])
        tables["strategies"] = strategy.assign(**keys)
    return tables


def safety_interval(
    game: Game, episodes: Sequence[Episode], confidence: float = 0.95, resamples: int = 1000
) -> Interval:
    """Safety of one policy and the luck of its play: a bootstrap over the episodes of each opponent.

    What another training seed would give it does not know (see `statistics`). Of an opponent's n episodes
    n - 1 are drawn with replacement, which keeps the variance of their mean right where they are few; one
    episode an opponent carries no information, and the bounds are nan. Raises ValueError as `measure` does.
    """
    rng = np.random.default_rng(0)
    # An array (1 + R, 4) for every opponent of a pool: the means, then the drawn ones.
    seen: dict[str, list] = {"train": [], "exploiter": [], "collusive": []}
    for pool, opponents in seen.items():
        for group in objective.require(episodes, pool).values():
            terms_E4 = np.array(
                [
                    (
                        e.own_T.mean(),
                        (e.other_T - e.own_T).mean(),
                        np.mean(e.collusion_T),
                        np.mean(e.externality_T),
                    )
                    for e in group
                ]
            )
            few = len(group) == 1
            chosen_RE = rng.integers(len(group), size=(resamples, max(len(group) - 1, 1)))
            drawn_R4 = terms_E4[chosen_RE].mean(axis=1) * (np.nan if few else 1.0)
            opponents.append(np.concatenate([terms_E4.mean(axis=0, keepdims=True), drawn_R4]))
    train_OR4, exploiter_OR4, collusive_OR4 = (np.stack(opponents) for opponents in seen.values())
    safety_R = objective.objective(
        game,
        train_OR4[..., 0].mean(axis=0),
        np.maximum(exploiter_OR4[..., 1], 0.0).mean(axis=0),
        collusive_OR4[..., 2].mean(axis=0),
        np.concatenate([train_OR4, exploiter_OR4])[..., 3].mean(axis=0),
        game.evaluation_weights,
    )
    return percentile(float(safety_R[0]), safety_R[1:], confidence)


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
