"""Does a result of the authors replicate from another SFT model? The jobs of this study, and its table.

The SFT models differ in the mixture of demonstrations in one game. The *share* is that part of the other
strategies' demonstrations which those of `replication_strategies` replace. The main run has the share 0.
From the largest share, one preset is trained once more with the top-p of the authors' sampling.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from sepo_lib.config.profiles import Settings
from sepo_lib.method import credit
from sepo_lib.run import recipes, results
from sepo_lib.run.job import Job, finished
from sepo_lib.run.job_arguments import Recipe, seed_folder, sepo_job

#: The columns that tell the rows of the study apart.
MARKS = ("share", "top_p")
#: Columns of the log that the table takes from the first training batch, which the SFT model has played.
FIRST_BATCH = ("payoff_spread", "zero_variance_groups")


def start_jobs(settings: Settings) -> list[Job]:
    """The SFT models of the study: those of notebook 02 with another mixture in `replication_game`.

    They are evaluated in this game alone. There are none if the run does not train the game with SEPO, or
    takes the examples of a user (`sft_data`).
    """
    game = settings.replication_game
    if game not in settings.games or game not in settings.sft_games or settings.sft_data:
        return []
    return [
        replace(
            start,
            name=f"replication/sft-{share:g}/{seed_folder(start)}",
            arguments=start.arguments
            | {
                "labels": start.arguments["labels"] | {"share": share},
                "evaluated_on": [[game, settings.of("pools", game)]],
                "mixture": {
                    "game": game,
                    "strategies": list(settings.replication_strategies),
                    "share": share,
                },
            },
        )
        for share in settings.replication_shares
        for start in recipes.variation_starts(settings)
    ]


def replication_jobs(settings: Settings) -> list[Job]:
    """SEPO in `replication_game` with each of `replication_presets` from the models of `start_jobs`.

    All else is as in the main run. The column `share` of their rows holds the share. The last jobs train the
    first preset from the models with the largest share, with `replication_top_p` in play and evaluation; the
    column `top_p` of their rows holds it, and their rows of step 0 are those of the SFT model.
    """
    starts = start_jobs(settings)
    return [
        *(
            sepo_job(settings, _recipe(settings, preset, _share(start)), start)
            for preset in settings.replication_presets
            for start in starts
        ),
        *(
            _with_top_p(settings, start)
            for start in starts
            if settings.replication_top_p and _share(start) == max(settings.replication_shares)
        ),
    ]


def replication_table(settings: Settings) -> pd.DataFrame:
    """`replication.csv`: the SFT models of the finished jobs, and SEPO from each of them after its last step.

    The rows with the share 0 are those of the main run. Columns: those of `evaluation.csv`; share; top_p;
    start_payoff, which is u of the SFT model; and those of FIRST_BATCH (SEPO only). Without a finished job of
    `replication_jobs` there are no rows.
    """
    done = [job for job in replication_jobs(settings) if finished(settings.run, job)]
    if not done:
        return results.empty("replication")
    seeds = {job.arguments["labels"]["seed"] for job in done}
    begun = recipes.variation_starts(settings)
    main = [job for job in recipes.sepo_jobs(settings) if _is_start_of_study(settings, job, begun)]
    played = results.collect(settings, [*begun, *start_jobs(settings), *main, *done], "evaluation")
    played = results.on_own_pools(settings, played[played["game"] == settings.replication_game])
    played = played[played["seed"].isin(seeds)]
    played = _starts_named(played)
    before = (played["stage"] == "sepo") & (played["step"] == 0)
    played.loc[before, ["stage", "arm", "preset"]] = "sft", "", ""
    played = played[(played["stage"] == "sft") | (played["step"] == done[0].steps)]
    keys = ["share", "top_p", "seed"]
    starts = played[played["stage"] == "sft"].set_index(keys)["payoff"]
    logs = _starts_named(results.collect(settings, [*main, *done], "training"))
    logs = logs.loc[logs["step"] == 1, [*keys, "preset", *FIRST_BATCH]]
    table = played.join(starts.rename("start_payoff"), on=keys).merge(logs, how="left", on=[*keys, "preset"])
    columns = [name for name in table if name not in (*MARKS, "start_payoff", *FIRST_BATCH)]
    table = table[[*columns, *MARKS, "start_payoff", *FIRST_BATCH]]
    return table.sort_values([*MARKS], ascending=[True, False], kind="stable").reset_index(drop=True)


def _starts_named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the share 0 and the top-p 1 where a job has no others."""
    return rows.assign(**{name: rows.get(name, np.nan) for name in MARKS}).fillna(
        {"share": 0.0, "top_p": 1.0}
    )


def _share(start: Job) -> float:
    return start.arguments["labels"]["share"]


def _with_top_p(settings: Settings, start: Job) -> Job:
    """The job that trains the first preset from `start` with `replication_top_p`."""
    share, top_p = _share(start), settings.replication_top_p
    recipe = _recipe(settings, settings.replication_presets[0], share)
    labels = {"share": share, "top_p": top_p}
    job = sepo_job(settings, replace(recipe, name=f"{recipe.name}-top-p", labels=labels), start)
    sampling = job.arguments["sampling"] | {"top_p": top_p}
    return replace(job, arguments=job.arguments | {"sampling": sampling, "evaluate_start": True})


def _recipe(settings: Settings, preset: str, share: float) -> Recipe:
    game = settings.replication_game
    return Recipe(
        game,
        settings.of("pools", game),
        preset,
        credit.PRESETS[preset].arm,
        settings.of("replication_steps", game),
        name=f"replication/{preset}-{share:g}",
        labels={"share": share},
        variation=True,
    )


def _is_start_of_study(settings: Settings, job: Job, begun: list[Job]) -> bool:
    """Whether a job of the main run is what the study trains with the share 0."""
    there, preset = job.arguments, job.arguments["preset"]
    return (
        there["game"] == settings.replication_game
        and preset in settings.replication_presets
        and there["arm"] == credit.PRESETS[preset].arm
        and job.steps == settings.of("replication_steps", settings.replication_game)
        and there["sft_job"] in {start.name for start in begun}
    )
