"""docs/BENCH.md: the measured speed as tables, and whether each target is met."""

from collections.abc import Iterator

import pandas as pd

from sepo_lib.bench import suites
from sepo_lib.bench.meters import OPERATORS, OUTSIDE
from sepo_lib.config import files, paths
from sepo_lib.report import documents
from sepo_lib.report.verdicts import where
from sepo_lib.run.templates import render

BEGIN, END = "<!-- written by `make bench` -->", "<!-- end of what `make bench` writes -->"
DOUBLING_TARGET = 1.6  # doubling the group size should multiply the time of a step by less than this
PROFILES = {"play_profile": "play", "step_profile": "a step"}  # part of the table -> its name on the page
STEP_PARTS = ("step", "generation", "logps", "update", "rest")
TRL_PARTS = ("step", "generation", "update", "rest")  # the rest has the reference's log-probabilities


def update() -> None:
    """Rewrite the measured part of docs/BENCH.md. Raises ValueError if its markers are missing."""
    documents.rewrite("docs/BENCH.md", BEGIN, END, f"\n{page(suites.kept('bench'))}\n")


def page(table: pd.DataFrame) -> str:
    """The measured part of docs/BENCH.md, as Markdown."""
    note = files.read_json(paths.results(suites.NAME) / "hardware.json", "run `make bench` again")
    return render(
        "report/templates/bench.md.j2",
        hardware=note,
        arms=arms(table[table.part == "arms"]),
        steps=steps(table[table.part == "step"]),
        trainers=trainers(table),
        profiles=profiles(table[table.part.isin(PROFILES)]),
        verdicts=verdicts(table),
    )


def arms(table: pd.DataFrame) -> list[dict[str, str]]:
    """Speed of the arms by model, game and group size, with the ratios to the two baselines."""
    rows = []
    for (model, game, arm, size), found in table.groupby(["model", "game", "arm", "group_size"], sort=False):
        cell = {row.measure: row for row in found.itertuples()}
        rows.append(
            {
                "model": model,
                "game": game,
                "arm": arm,
                "G": str(size) if arm == suites.OURS else "",
                "decisions/s": f"{cell['decisions_per_second'].value:.1f}",
                "tokens/s": f"{cell['tokens_per_second'].value:.0f}",
                "share of matmul rate": f"{cell['matmul_share'].value:.3f}",
                "peak MiB": f"{cell['peak_mib'].value:.0f}",
                "times one at a time": _ratio(cell.get(f"ratio_to_{suites.ONE}")),
                "times batched": _ratio(cell.get(f"ratio_to_{suites.BATCHED}")),
            }
        )
        if suites.CONTINUOUS in set(table.arm):
            rows[-1]["times continuous"] = _ratio(cell.get(f"ratio_to_{suites.CONTINUOUS}"))
    return rows


def steps(table: pd.DataFrame) -> list[dict[str, str]]:
    """Seconds of a SEPO step by model, game and group size, in parts."""
    return [
        {"model": model, "game": game, "G": str(size)}
        | {name: f"{cell[f'step_{name}']:.0f}" for name in ("decisions", "rows")}
        | {f"{part} s": f"{cell[f'{part}_seconds']:.2f}" for part in STEP_PARTS}
        | {"share of matmul rate": f"{cell['step_matmul_share']:.2f}"}
        | {"peak MiB": f"{cell['step_peak_mib']:.0f}"}
        for (model, game, size), cell in _measures(table, "model", "game", "group_size")
    ]


def trainers(table: pd.DataFrame) -> list[dict[str, str]]:
    """Seconds of a step of TRL's trainer by model, game and group size, and how many SEPO steps that is."""
    by = ("model", "game", "group_size")
    ours = {key: cell["step_seconds"] for key, cell in _measures(table[table.part == "step"], *by)}
    return [
        {"model": key[0], "game": key[1], "G": str(key[2]), "decisions": f"{cell['step_decisions']:.0f}"}
        | {f"{part} s": f"{cell[f'{part}_seconds']:.2f}" for part in TRL_PARTS}
        | {"times a SEPO step": f"{cell['step_seconds'] / ours[key]:.1f}" if key in ours else ""}
        | {"peak MiB": f"{cell['step_peak_mib']:.0f}"}
        for key, cell in _measures(table[table.part == "trl_step"], *by)
    ]


def profiles(table: pd.DataFrame) -> list[dict[str, str]]:
    """The share of each kind of operator in the time of play and of a step."""
    return [
        {"model": model, "game": game, "profile of": PROFILES[part], "G": str(size)}
        | {kind: f"{share[kind + '_share']:.0%}" for kind in (*OPERATORS, OUTSIDE)}
        for (model, game, part, size), share in _measures(table, "model", "game", "part", "group_size")
    ]


def _measures(table: pd.DataFrame, *by: str) -> Iterator[tuple[tuple, dict[str, float]]]:
    """The values of the columns `by`, and measure -> value in the rows that have them."""
    for key, found in table.groupby(list(by), sort=False):
        yield key, dict(zip(found.measure, found.value, strict=True))


def verdicts(table: pd.DataFrame) -> list[str]:
    """One line per target and game, met or missed, at the largest measured group size."""
    lines = []
    for model, targets in suites.TARGETS.items():
        ours = table[(table.model == model) & (table.part == "arms") & (table.arm == suites.OURS)]
        for game in ours.game.unique():
            size = ours[ours.game == game].group_size.max()
            for baseline, target in targets.items():
                row = _only(ours, game=game, group_size=size, measure=f"ratio_to_{baseline}")
                met = "met" if row.value >= target else "missed"
                lines.append(
                    f"{model}, {game}, G {size}: {row.value:.1f} [{row.low:.1f}, {row.high:.1f}] times as "
                    f"fast as {baseline}, target {target:g}: {met}"
                )
        for game in table[(table.model == model) & (table.part == "step")].game.unique():
            if pairs := doublings(table, model, game):
                worst = max(ratio for _, ratio in pairs)
                met = "met" if worst < DOUBLING_TARGET else "missed"
                shown = ", ".join(f"{ratio:.2f} to G {size}" for size, ratio in pairs)
                lines.append(
                    f"{model}, {game}: doubling G multiplies the time of a step by {shown}; "
                    f"target {DOUBLING_TARGET}: {met}"
                )
    return lines


def doublings(table: pd.DataFrame, model: str, game: str) -> list[tuple[int, float]]:
    """(G, seconds of a step with G over those with G / 2) for every measured doubling."""
    rows = where(table, part="step", model=model, game=game, measure="step_seconds")
    seconds = dict(zip(rows.group_size, rows.value, strict=True))
    return [(size, seconds[size] / seconds[size // 2]) for size in sorted(seconds) if size // 2 in seconds]


def _ratio(row) -> str:
    return f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}]" if row else ""


def _only(table: pd.DataFrame, **values) -> pd.Series:
    """The one row of a tidy table with these values. Raises KeyError if there is not exactly one."""
    rows = where(table, **values)
    if len(rows) != 1:
        raise KeyError(f"Expected one row with {values}, found {len(rows)}.")
    return rows.iloc[0]
