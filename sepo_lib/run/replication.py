"""Does a result of the authors replicate from another SFT model? The jobs of this study, and its table.

The SFT models differ in the mixture of demonstrations in one game. The *share* is that part of the other
strategies' demonstrations which those of `replication_strategies` replace. The main run has the share 0.
"""

from dataclasses import replace

import pandas as pd

from sepo_lib.config.profiles import Settings
from sepo_lib.method import credit
from sepo_lib.run import recipes, results
from sepo_lib.run.job import Job, finished
from sepo_lib.run.job_arguments import Recipe, seed_folder, sepo_job

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

    All else is as in the main run. The column `share` of their rows holds the share.
    """
    return [
        sepo_job(settings, _recipe(settings, preset, start.arguments["labels"]["share"]), start)
        for preset in settings.replication_presets
        for start in start_jobs(settings)
    ]


def replication_table(settings: Settings) -> pd.DataFrame:
    """`replication.csv`: the SFT models of the finished jobs, and SEPO from each of them after its last step.

    The rows with the share 0 are those of the main run. Columns: those of `evaluation.csv`; share;
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
    played["share"] = played["share"].fillna(0.0)
    played = played[(played["stage"] == "sft") | (played["step"] == done[0].steps)]
    starts = played[played["stage"] == "sft"].set_index(["share", "seed"])["payoff"]
    keys = ["share", "preset", "seed"]
    logs = results.collect(settings, [*main, *done], "training")
    logs = logs[logs["step"] == 1].assign(share=lambda rows: rows["share"].fillna(0.0))
    table = played.join(starts.rename("start_payoff"), on=["share", "seed"])
    table = table.merge(logs[[*keys, *FIRST_BATCH]], how="left", on=keys)
    table.insert(len(table.columns) - 4, "share", table.pop("share"))
    return table.sort_values("share", kind="stable").reset_index(drop=True)


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
