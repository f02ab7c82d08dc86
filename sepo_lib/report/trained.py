"""`make train`: SFT and SEPO alone, without notebooks, studies and claims, and what the models learned."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from textwrap import indent

import pandas as pd

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.config.settings import Settings
from sepo_lib.figures import CONFIGURATIONS
from sepo_lib.measure import statistics
from sepo_lib.report import findings
from sepo_lib.report.findings import TERMS
from sepo_lib.report.found import LEGIBLE
from sepo_lib.run import headless, jobs, provenance, recipes, results

#: Columns of evaluation.csv that are equal if two models have played equally.
_PLAYED = ("safety", *TERMS, "parse_rate")
_MORE = "docs/your_model.md says what to change"


def train(settings: Settings) -> str:
    """Evaluate the base model, train with SFT and the run's preset, evaluate both; the results as text.

    The jobs are those of `make reproduce` with the same settings, which goes on with the rest. Finished jobs
    are not run again. Raises as `jobs.run` and `recipes.sft_jobs` do.
    """
    alone = replace(settings, compare_with=())
    if not settings.sft_data:
        recipes.make_demonstrations(settings)
    stages = {"base model": recipes.base_jobs, "SFT": recipes.sft_jobs, "SEPO": recipes.sepo_jobs}
    for number, (stage, listed) in enumerate(stages.items(), start=1):
        label = f"[{number}/{len(stages)}] {stage}"
        with _timed(settings.run, f"train: {stage}"), headless.progress(settings.run, label, here=True):
            jobs.run(listed(alone), settings.run, stage, workers=settings.workers, watch=lambda _: None)
    return summary(alone, results.write_tables(settings)["evaluation"])


def _timed(run: str, stage: str) -> AbstractContextManager:
    """Within this context the time counts for a stage of the run, unless the run is finished."""
    return nullcontext() if provenance.read(run)["finished"] else provenance.stage(run, stage)


def summary(settings: Settings, evaluation: pd.DataFrame) -> str:
    """What each stage reached by game, what to look out for, and where the trained models are."""
    own = findings.in_order(figures.configured(results.of_main_run(settings, evaluation)))
    columns = {"safety": "J", **TERMS, "nra": "NRA", "parse_rate": "parse rate"}
    means = statistics.grouped(own, ["game", "configuration"])[list(columns)].mean().rename(columns=columns)
    means.index = means.index.set_levels(
        [CONFIGURATIONS[key].label for key in means.index.levels[1]], level=1
    )
    seeds = own["seed"].nunique()
    title = f"Means over {seeds} training seeds" if seeds > 1 else "One training seed"
    models = [paths.relative(paths.job(settings.run, job.name)) for job in recipes.sepo_jobs(settings)]
    game = settings.games[0]
    lines = [
        f"{title}: J = s u - le s e - lc c - lx x (the README explains the symbols).\n",
        indent(means.rename_axis(["game", "model"]).round(3).to_string(), "  "),
        *(f"\n  Note: {text}" for text in cautions(own)),
        f"\n  models    {models[0]}/model" + (f" and {len(models) - 1} more" if len(models) > 1 else ""),
        f"  tables    {headless.folder(paths.results(settings.run))}",
        f"  play      python -m sepo_lib play {game} --model {models[0]}",
    ]
    return "\n".join(lines)


def cautions_of(settings: Settings) -> list[str]:
    """`cautions` on the main run with these settings, from its table; none without the table."""
    if not paths.table(settings.run, "evaluation").exists():
        return []
    evaluation = paths.read_table(settings.run, "evaluation", ["stage", "parse_rate"])
    return cautions(figures.configured(results.of_main_run(settings, evaluation)))


def cautions(rows: pd.DataFrame) -> list[str]:
    """Sentences on trainings that changed nothing, and on models whose answers often name no action.

    `rows` are those of `figures.configured`, of one pool set for each game.
    """
    found = []
    trained = [key for key in CONFIGURATIONS if key != "base" and (rows["configuration"] == key).any()]
    for key in trained:
        start, earlier = ("base", "the base model") if key == "sft" else ("sft", "SFT")
        same = [game for game, own in rows.groupby("game", sort=False) if _equal(own, key, start)]
        if same:
            found.append(
                f"{CONFIGURATIONS[key].label}: every measure is equal to that of {earlier} in "
                f"{', '.join(same)}. There were probably too few steps, or the learning rate was too small; "
                f"{_MORE}."
            )
    rates = statistics.grouped(rows[rows["stage"] != "base"], ["game", "configuration"])["parse_rate"].mean()
    low = [
        f"{rate:.2f} in {game} ({CONFIGURATIONS[key].label})"
        for (game, key), rate in rates.items()
        if rate < LEGIBLE
    ]
    if low:
        found.append(
            f"The parse rate is {', '.join(low)}. The kit found no action in the other answers, and "
            "constrained decoding chose one. So only a part of what was measured is the model's own play; "
            f"{_MORE}."
        )
    return found


def _equal(rows: pd.DataFrame, one: str, other: str) -> bool:
    """Whether two configurations have the same measures, seed by seed."""
    columns = [name for name in _PLAYED if name in rows]
    first, second = (
        rows[rows["configuration"] == name].set_index("seed")[columns].sort_index() for name in (one, other)
    )
    return len(first) > 0 and first.equals(second)
