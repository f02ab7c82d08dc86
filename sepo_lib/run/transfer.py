"""What carries over from one game to another: the jobs of this study and its table, `transfer.csv`.

The models that the main run trains in one game each are evaluated in the other games. Another model is
trained on all games at once (`SEPOConfig.also`). A step of its training plays what a step in each game plays,
so that n steps take as many decisions as n steps in every game. The games have their own group sizes. The
learning rate, its floor and the weight of the KL term are those of most games (`others`), because a training
has one of each.
"""

import pandas as pd

from sepo_lib.config.profiles import Settings
from sepo_lib.measure.transfer import ALL, SFT
from sepo_lib.method import seeds
from sepo_lib.run import recipes, results
from sepo_lib.run.job import Job, finished
from sepo_lib.run.job_arguments import (
    labels_of,
    policy_arguments,
    policy_job,
    seed_folder,
    seed_of,
    train_arguments,
)
from sepo_lib.run.steps.arguments import SEPOJob, TransferJob

#: The columns that identify a row, and the measures that are kept.
KEYS = ("profile", "model", "trained_on", "game", "pools", "stage", "arm", "preset", "seed", "step")
MEASURES = ("safety", "safety_low", "safety_high", "payoff", "exploit", "collusion", "externality")
_MOST_GAMES = "others"  # the key of the value that most games have


def transfer_jobs(settings: Settings) -> list[Job]:
    """Training on all games at once, and the evaluation of the models of single games in the other games.

    From the SFT models of `recipes.variation_starts`, with the run's own preset and arm. Empty without
    `transfer`, and in a run of one game.
    """
    if not settings.transfer or len(settings.games) < 2:
        return []
    starts = recipes.variation_starts(settings)
    together = [_all_games_job(settings, start) for start in starts]
    return together + [_evaluation_job(settings, job) for job in _single_game_jobs(settings)]


def transfer_table(settings: Settings) -> pd.DataFrame:
    """`transfer.csv`: every model after its last step, in every game, on the pool set of the main run.

    One row per model, game and seed. `trained_on` is the game that SEPO was trained on, `all` for all games
    at once, and `sft` for the SFT model. Seeds without a finished job are left out.
    """
    done = [job for job in transfer_jobs(settings) if finished(settings.run, job)]
    columns = [*KEYS, "reported", *MEASURES, "parse_rate"]
    if not done:
        return pd.DataFrame(columns=columns)
    begun = results.collect(settings, recipes.sft_jobs(settings), "evaluation")
    begun = results.on_own_pools(settings, begun).assign(trained_on=SFT)
    own = results.collect(settings, _single_game_jobs(settings), "evaluation")
    own = own.assign(trained_on=own["game"])
    table = pd.concat([begun, own, results.collect(settings, done, "evaluation")], ignore_index=True)
    table = table[table["seed"].isin({seed_of(job) for job in done})]
    last = table.groupby(["trained_on", "game", "seed"])["step"].transform("max")
    return table.loc[table["step"] == last].assign(reported=True)[columns].reset_index(drop=True)


def _single_game_jobs(settings: Settings) -> list[Job]:
    """The SEPO jobs of the main run with its own preset and arm, of the seeds of this study."""
    chosen = {seed_of(start) for start in recipes.variation_starts(settings)}
    own = (settings.preset, settings.arm)
    return [
        job
        for job in recipes.sepo_jobs(settings)
        if (job.arguments["preset"], job.arguments["arm"]) == own and seed_of(job) in chosen
    ]


def _all_games_job(settings: Settings, start: Job) -> Job:
    """SEPO on all games of the run at once."""
    steps, seed = settings.of("all_games_steps", _MOST_GAMES), seed_of(start)
    (first, pools, size), *also = (
        [game, settings.of("pools", game), settings.of("rollouts_per_opponent", game)]
        for game in settings.games
    )
    train = train_arguments(settings, _MOST_GAMES, steps, seeds.derive(seed, "sepo"))
    named = "-".join(dict.fromkeys([pools, *(other[1] for other in also)]))
    labels = labels_of(settings, "sepo", seed, steps, settings.arm, settings.preset)
    return policy_job(
        f"sepo/all-{named}/{settings.preset}-{settings.arm}/{seed_folder(start)}",
        "sepo",
        SEPOJob(
            **policy_arguments(settings, settings.games),
            labels=labels | {"trained_on": ALL},
            sft_job=start.name,
            sft_work=start.work,
            game=first,
            pools=pools,
            preset=settings.preset,
            arm=settings.arm,
            train=train | {"rollouts_per_opponent": size},
            also=also,
        ),
        steps,
        settings.threads,
        needs=(start.function,),
    )


def _evaluation_job(settings: Settings, trained: Job) -> Job:
    """The model of a job that was trained on one game, in all other games of the run."""
    own = trained.arguments["game"]
    pairs = [[game, settings.of("pools", game)] for game in settings.games if game != own]
    labels = {key: trained.arguments["labels"][key] for key in labels_of(settings, "", 0, 0)}
    return policy_job(
        f"transfer/{own}/{seed_folder(trained)}",
        "transfer",
        TransferJob(
            **policy_arguments(settings, [game for game, _ in pairs]),
            labels=labels | {"trained_on": own},
            trained_job=trained.name,
            trained_work=trained.work,
            evaluated_on=pairs,
        ),
        len(pairs),
        settings.threads,
        needs=(trained.function, *trained.needs),
    )
