"""Small random tables for the tests of figures, and what an Axes shows."""

import numpy as np
import pandas as pd

from sepo_lib import figures

SEEDS = (1, 2, 3)
TERMS = ("payoff", "exploit", "collusion", "externality")


def stages() -> list[dict]:
    """The rows' keys of one game: base, SFT, both presets of SEPO with an early step, and an ablation arm."""
    keys = []
    for seed in SEEDS:
        for stage, arm, preset, step, reported in (
            ("base", None, None, 0, True),
            ("sft", None, None, 0, True),
            ("sepo", "per_rollout", "published", 60, True),
            ("sepo", "credited", "unbiased", 30, False),
            ("sepo", "credited", "unbiased", 60, True),
            ("sepo", "constant", "published", 60, True),
        ):
            keys.append(
                dict(
                    profile="p",
                    model="m",
                    stage=stage,
                    arm=arm,
                    preset=preset,
                    seed=seed,
                    step=step,
                    reported=reported,
                )
            )
    return keys


def evaluation(games=("ipd", "kuhn")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                **keys,
                "game": game,
                "pools": pools,
                "safety": rng.normal(),
                "exploit": rng.random(),
                "nra": 0.0,
            }
            for game in games
            for pools in ("paper", "conflict")
            for keys in stages()
        ]
    )


def kuhn() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    exact = [{**keys, "pool_advantage": rng.random(), "nashconv": rng.random()} for keys in stages()]
    strategies = [
        {**keys, "reading": reading, "seat": seat, "card": card, "situation": situation, "action": action}
        | {"probability": p if action in ("BET", "CALL") else 1 - p, "samples": 50}
        for keys in stages()
        for reading in ("sampled", "constrained")
        for seat in ("first", "second")
        for card in "JQK"
        for situation, actions in (("open", ("PASS", "BET")), ("facing_bet", ("FOLD", "CALL")))
        for p in [rng.random()]
        for action in actions
    ]
    return pd.DataFrame(exact), pd.DataFrame(strategies)


def ablation() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows = []
    for pools in ("paper", "conflict"):
        for arm in figures.ARMS:
            for preset in figures.PRESETS:
                for seed in SEEDS:
                    keys = dict(
                        profile="p", model="m", game="ipd", pools=pools, arm=arm, preset=preset, seed=seed
                    )
                    found = {"safety": rng.normal(), "payoff": rng.random(), "exploit": rng.random()}
                    norm = {"penalty_gradient_norm": rng.random(), "cosine_to_credited": rng.random()}
                    rows.append({**keys, "kind": "outcome", "step": 30, **found, "safety": 99.0})
                    rows.append({**keys, "kind": "outcome", "step": 60, **found})
                    rows.append({**keys, "kind": "gradient", "step": 0, **norm, "advantage_difference": 0.0})
    return pd.DataFrame(rows)


def training(steps: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    metrics = ["payoff", "exploit", "collusion", "externality", "objective"]
    return pd.DataFrame(
        [
            dict(
                profile="p",
                model="m",
                game="ipd",
                pools="paper",
                arm=arm,
                preset=preset,
                seed=seed,
                step=step,
            )
            | {metric: rng.random() for metric in metrics}
            for preset, arm in (("published", "per_rollout"), ("unbiased", "credited"))
            for seed in SEEDS
            for step in range(1, steps + 1)
        ]
    )


def nashconv_rows(**more):
    rng = np.random.default_rng(0)
    return [
        {"profile": "p", "model": "m", "pools": "paper", "arm": "", "preset": "", "stage": stage}
        | {"seed": seed, "step": step}
        | {"pool_advantage": rng.random(), "nashconv": rng.random()}
        | more
        | ({"arm": "credited", "preset": "unbiased"} if stage == "sepo" else {})
        for stage, step in (("base", 0), ("sft", 250), ("sepo", 15), ("sepo", 30))
        for seed in SEEDS
    ]


def bars(ax) -> dict[str, list[tuple[float, float, float, float]]]:
    """The means with intervals that an Axes shows: label -> [(x, mean, low, high), ...]."""
    found: dict[str, list] = {}
    for container in ax.containers:
        line, _, drawn = container.lines
        if not drawn:  # no bar: all seeds have the same value
            continue
        (segments,) = drawn
        (_, low), (_, high) = segments.get_segments()[0]
        found.setdefault(container.get_label(), []).append(
            (line.get_xdata()[0], line.get_ydata()[0], low, high)
        )
    return found


def shown(ax, label: str) -> tuple[float, float, float]:
    ((_, *values),) = bars(ax)[label]
    return tuple(values)


def across(ax) -> dict[str, list[tuple[float, float, float, float]]]:
    """The means of a dot plot with their intervals: label -> [(y, mean, low, high), ...]; nan: no bar."""
    found: dict[str, list] = {}
    for container in ax.containers:
        line, _, bars = container.lines
        low, high = bars[0].get_segments()[0][:, 0] if bars else (np.nan, np.nan)
        found.setdefault(container.get_label(), []).append(
            (line.get_ydata()[0], line.get_xdata()[0], low, high)
        )
    return found
