"""Which jobs make a run. Every function whose name ends in `_jobs` returns a list for `jobs.run`.

The arguments of the jobs with a language model are the dataclasses of `steps.arguments`. To list jobs takes a
moment: this module and those that it needs import no torch.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sepo_lib import games
from sepo_lib.config import disk, paths
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.config.files import sha256
from sepo_lib.config.profiles import (
    BY_HAND,
    STUDY_POLICIES,
    Settings,
    hyperparameters,
    overrides,
    sampling,
    spell,
)
from sepo_lib.measure import headline, switches
from sepo_lib.method import credit, seeds
from sepo_lib.run import demonstration_files, model_files, replaced, sft_data
from sepo_lib.run.job import Job, finished, state
from sepo_lib.run.job_arguments import (
    Recipe,
    equal_job,
    exploiter_arguments,
    game_of,
    labels_of,
    lora_arguments,
    main_pairs,
    policy_arguments,
    policy_job,
    seed_folder,
    seed_of,
    sepo_job,
    study_arguments,
)
from sepo_lib.run.steps.arguments import BaseJob, SFTJob

PRETRAIN_BATCH = 64
STUDY_SEED = 1  # of the study of estimators; not a training seed: nothing is trained there


# ------------------------------------------------------------------------------------- the main run


def pretrain_jobs(settings: Settings) -> list[Job]:
    """The job that makes `nano`, if the run is to make it again and uses it."""
    if not settings.rebuild_base or settings.model != "nano":
        return []
    arguments = {
        "played": list(games.GAMES),
        "steps": settings.pretrain_steps,
        "examples": settings.demonstrations_per_game,
        "batch": PRETRAIN_BATCH,
        "seed": settings.demonstrations_seed,
        "checkpoint_every": settings.sft_checkpoint_every,
    }
    run = "sepo_lib.run.base_model:pretrain"
    return [Job("pretrain", run, arguments, settings.pretrain_steps, settings.threads)]


def base_jobs(settings: Settings) -> list[Job]:
    """The evaluation of the base model, once per seed: the weights are the same, the episodes differ."""
    pairs = _evaluated_on(settings)
    return [
        policy_job(
            f"base/seed-{seed}",
            "base",
            BaseJob(
                **policy_arguments(settings, settings.games),
                labels=labels_of(settings, "base", seed, step=0),
                model=settings.model,
                model_sha256=model_files.sha256(settings.model),
                evaluated_on=pairs,
            ),
            len(pairs),
            settings.threads,
        )
        for seed in settings.seeds
    ]


def sft_jobs(settings: Settings) -> list[Job]:
    """One supervised fine-tuning per seed: on `sft_data`, else on the demonstrations of all `sft_games`.

    Raises MissingError naming the notebook to run first if the demonstrations of a game are missing, and
    InputError for examples of the user that cannot be trained on.
    """
    data, examples = _sft_examples(settings)
    steps = settings.sft_steps or settings.sft_epochs * -(-examples // settings.sft_batch)
    return [
        policy_job(
            f"sft/seed-{seed}",
            "sft",
            SFTJob(
                **policy_arguments(settings, settings.games),
                labels=labels_of(settings, "sft", seed, steps),
                model=settings.model,
                model_sha256=model_files.sha256(settings.model),
                evaluated_on=_evaluated_on(settings),
                **data,
                train={
                    "steps": settings.sft_steps,
                    "epochs": settings.sft_epochs,
                    "batch": settings.sft_batch,
                    "learning_rate": settings.sft_learning_rate,
                    "max_length": settings.sft_max_length,
                    "seed": seeds.derive(seed, "sft"),
                    "lora": lora_arguments(settings, "sft"),
                    "micro_batches": settings.micro_batches,
                    "gradient_checkpointing": settings.gradient_checkpointing,
                    "checkpoint_every": settings.sft_checkpoint_every,
                },
            ),
            steps,
            settings.threads,
        )
        for seed in settings.seeds
    ]


def sepo_jobs(settings: Settings) -> list[Job]:
    """SEPO in every game from the SFT model of every seed: `preset` and the presets of `compare_with`."""
    starts = sft_jobs(settings)
    return [
        sepo_job(settings, _main_recipe(settings, game, preset, arm), start)
        for preset, arm in main_pairs(settings)
        for game in settings.games
        for start in starts
    ]


# --------------------------------------------------------------------------- ablation and variations


def variation_starts(settings: Settings) -> list[Job]:
    """The SFT jobs from which notebook 04 trains all but the arms: those of the first `variation_seeds`."""
    return sft_jobs(settings)[: settings.variation_seeds]


def ablation_pairs(settings: Settings) -> list[tuple[str, str]]:
    """Every (game, pool set) of the ablation, without the pool sets that a game does not have."""
    return [
        (game, pools)
        for game in settings.ablation_games
        for pools in settings.ablation_pools
        if pools in games.get(game).pools
    ]


def ablation_jobs(settings: Settings) -> list[Job]:
    """Every arm under every preset of the ablation, and `ablation_recipes`, on its games and pool sets.

    A preset other than the run's has all seeds with its own arm, and those of `variation_starts` with the
    others. With `ablation_horizon`, reward_only has the immediate payoff as well, where that matters. Jobs
    that copy the results of another one come last, when that one is finished.
    """
    starts, first, known, jobs = sft_jobs(settings), variation_starts(settings), sepo_jobs(settings), {}
    pairs = [(preset, credit.PRESETS[preset].arm) for preset in settings.ablation_recipes]
    pairs += [(preset, arm) for preset in settings.ablation_presets for arm in settings.ablation_arms]
    pairs += [(headline.IMMEDIATE, "reward_only")] if settings.ablation_horizon else []
    for game, pools in ablation_pairs(settings):
        for preset, arm in dict.fromkeys(pairs):
            recipe = _ablation_recipe(settings, game, pools, preset, arm)
            everywhere = preset == settings.preset or arm == credit.preset(preset).arm
            if preset == headline.IMMEDIATE and game_of(settings, game).memoryless:
                continue
            for start in starts if everywhere else first:
                copy = equal_job(settings, known, recipe, start)
                if arm == "constant" and settings.copy_equal_runs and copy is None:
                    same = sepo_job(settings, replace(recipe, arm="reward_only"), start)
                    copy = jobs.get(same.name, same)
                job = sepo_job(settings, recipe, start, copy)
                jobs[job.name] = job
                known += [] if copy else [job]
    return sorted(jobs.values(), key=lambda job: "same_as" in job.arguments)


def switch_jobs(settings: Settings) -> list[Job]:
    """The published recipe with one of `switches` changed at a time, in `switch_game`.

    All else is as in `sepo_jobs`, which train the published and the unbiased recipe. A switch that changes no
    advantage in this game is left out.
    """
    game = settings.switch_game
    if game not in settings.games:
        return []
    idle = switches.idle("published", game_of(settings, game), settings.of("pools", game))
    starts, main = variation_starts(settings), sepo_jobs(settings)
    recipes = [
        replace(_main_recipe(settings, game, preset, credit.preset(preset).arm), variation=True)
        for preset in (f"published+{switch}" for switch in settings.switches)
        if preset not in idle
    ]
    return [
        sepo_job(settings, recipe, start, equal_job(settings, main, recipe, start))
        for recipe in recipes
        for start in starts
    ]


def gradient_jobs(settings: Settings) -> list[Job]:
    """The gradient of the penalty by arm at the SFT model of each seed.

    In every game of the ablation, on the last of its pool sets that the game has.
    """
    lora = lora_arguments(settings, "sepo")
    return [
        Job(
            f"gradient/{game}-{pools}/{seed_folder(start)}",
            "sepo_lib.studies.penalty_gradient:run_gradient",
            {
                "sft_job": start.name,
                "sft_work": start.work,
                "sampling": sampling(settings),
                "rollouts_per_opponent": _ablation_size(settings, game, pools)[1],
                "arms": list(settings.ablation_arms),
                "batches": settings.gradient_batches,
                "seed": seeds.derive(seed_of(start), "gradient"),
                **({"lora": lora} if lora else {}),
                **study_arguments(
                    settings, game, pools, labels_of(settings, "sft", seed_of(start), start.steps)
                ),
            },
            len(settings.ablation_arms) * settings.gradient_batches,
            settings.threads,
            needs=(start.function,),
        )
        for game, pools in dict(ablation_pairs(settings)).items()
        for start in variation_starts(settings)
    ]


def exploiter_jobs(settings: Settings) -> list[Job]:
    """SEPO in `exploiter_game` against each exploiter of `exploiters`, with each of `exploiter_baselines`.

    The columns `exploiter` and `baseline` of their rows name them. Only `exploiters.csv` holds these rows.
    """
    game = settings.exploiter_game
    if game not in settings.games:
        return []
    recipes = [
        replace(
            _main_recipe(settings, game, "unbiased", "credited"),
            steps=settings.exploiter_group_steps if baseline == "group" else settings.exploiter_steps,
            name=f"exploiter/{exploiter}-{baseline}",
            exploiter=exploiter,
            baseline=baseline,
            train=exploiter_arguments(settings, baseline),
            labels={"exploiter": exploiter, "baseline": baseline},
            last_samples=settings.exploiter_last_samples,
            variation=True,
        )
        for exploiter in settings.exploiters
        for baseline in settings.exploiter_baselines
    ]
    return [sepo_job(settings, recipe, start) for recipe in recipes for start in variation_starts(settings)]


def sweep_jobs(settings: Settings) -> list[Job]:
    """SEPO with the weight le multiplied by each of `sweep_exploit_weights`, in every game of `sweep_games`.

    The column `multiple` of their rows holds the multiple, `exploit_weight` le as trained. Only `sweep.csv`
    holds these rows; there `sweep_table` adds the main run, with the multiple 1.
    """
    starts = variation_starts(settings)
    recipes = []
    for game in (game for game in settings.sweep_games if game in settings.games):
        own = game_of(settings, game).train_weights
        for multiple in settings.sweep_exploit_weights:
            weights = replace(own, exploit=multiple * own.exploit)
            recipes.append(
                replace(
                    _main_recipe(settings, game, "unbiased", "credited"),
                    name=f"sweep/{game}/exploit-{multiple:g}",
                    exploiter="pool",
                    train_weights=weights,
                    labels={"multiple": multiple, "exploit_weight": weights.exploit},
                    variation=True,
                )
            )
    return [sepo_job(settings, recipe, start) for recipe in recipes for start in starts]


# ----------------------------------------------------------------------------- studies without a model


def study_jobs(settings: Settings) -> list[Job]:
    """The studies that need no model: estimators against the exact gradient, and headroom."""
    return estimator_jobs(settings) + headroom_jobs(settings)


def estimator_jobs(settings: Settings) -> list[Job]:
    """The study of estimators at every policy, in the games of `study_games` that can be enumerated, on all
    their pool sets."""
    return [
        Job(
            f"estimators/{game}-{pools}/{policy_name}",
            "sepo_lib.studies.estimators:run_estimators",
            {
                **study_arguments(settings, game, pools, {"profile": settings.profile}),
                "policy_name": policy_name,
                "groups": settings.estimator_groups,
                "group_sizes": list(settings.estimator_group_sizes),
                "seed": seeds.derive(STUDY_SEED, "estimators"),
            },
            1,
        )
        for game in settings.study_games
        if "enumerable" in games.get(game).traits
        for pools in games.get(game).pools
        for policy_name in STUDY_POLICIES
    ]


def headroom_jobs(settings: Settings) -> list[Job]:
    """The headroom of every game of `study_games`, on each of its pool sets."""
    return [
        Job(
            f"headroom/{game}-{pools}",
            "sepo_lib.studies.headroom:run_headroom",
            study_arguments(settings, game, pools, {"profile": settings.profile})
            | {"episodes": settings.headroom_episodes},
            1,
        )
        for game in settings.study_games
        for pools in games.get(game).pools
    ]


# ------------------------------------------------------------------------- what notebooks ask of a run


def require(settings: Settings, needed: list[Job], notebook: str) -> None:
    """Raises MissingError naming the first notebook to run if a job of `needed` is unfinished.

    `notebook` is the last one that makes jobs of `needed`.
    """
    states = {job.name: state(settings.run, job) for job in needed}
    missing = [name for name, one in states.items() if not one.usable]
    if missing:
        folder = paths.relative(paths.run(settings.run))
        why = ": ".join(filter(None, (missing[0], states[missing[0]].reason)))
        number = f"{len(missing)} of the {len(needed)} jobs" if len(needed) > 1 else "the job"
        raise _unfinished(settings, notebook, f"{folder} lacks {number} needed here (such as {why}).")


def demonstrations_folder(settings: Settings) -> Path:
    """The folder of the run's demonstrations.

    With the default size and seed they are those of git in data/sft, unless the run has made other ones. A
    run with another size or seed has its own, and so have the notebooks that are stepped through by hand.
    """
    own = paths.run(settings.run) / "sft"
    blocks = hyperparameters()
    is_default = all(
        getattr(settings, name) == blocks[name]["default"]
        for name in ("demonstrations_per_game", "demonstrations_seed")
    )
    named = not settings.run.startswith(BY_HAND) and not own.exists()
    return paths.demonstrations() if is_default and (settings.run == settings.profile or named) else own


def make_demonstrations(settings: Settings) -> dict[str, str]:
    """Write the demonstrations of all games for the run; file name -> sha256.

    Only the run of a profile writes into data/sft. Another run uses these files if they are what it would
    write, and else keeps its own. Files that change are moved aside (`replaced`).
    """
    own, shared = paths.run(settings.run) / "sft", paths.demonstrations()
    folder = demonstrations_folder(settings) if settings.run == settings.profile else own
    with replaced.keeping(paths.run(settings.run), [folder]):
        made = demonstration_files.write(
            folder, list(games.GAMES), settings.demonstrations_per_game, settings.demonstrations_seed
        )
    same = all((shared / n).is_file() and sha256(shared / n) == digest for n, digest in made.items())
    if folder == own and not settings.run.startswith(BY_HAND) and same:
        shutil.rmtree(own)
    return made


def checkpoints_of(settings: Settings, game: str, seed: int) -> dict[str, str]:
    """The checkpoints of one seed of a run in `game`, by name: base, SFT, and each SEPO recipe.

    Raises InputError if the run does not train that game with that seed.
    """
    trained = [job for job in sepo_jobs(settings) if job.arguments["game"] == game and seed_of(job) == seed]
    if not trained:
        raise InputError(f"The run has no SEPO job in {game} with seed {seed}.")
    folders = {"SFT": trained[0].arguments["sft_job"]}
    folders |= {f"SEPO, {job.arguments['preset']}": job.name for job in trained}
    found = {n: paths.relative(paths.job(settings.run, job)) for n, job in folders.items()}
    return {"base": settings.model, **found}


def install_base(settings: Settings) -> Path:
    """Replace the shipped `nano` by the one that `pretrain_jobs` makes; the earlier one is kept (`replaced`).

    Raises MissingError if there is none.
    """
    made = paths.job(settings.run, "pretrain")
    if not (made / "done.json").exists():
        raise MissingError("There is no pre-trained model to install: set rebuild_base=True and run again.")
    target = paths.models() / "nano"
    new = target.with_name(".nano.new")
    with disk.writing(target), replaced.keeping(paths.run(settings.run), [target]):
        shutil.rmtree(new, ignore_errors=True)  # of an installation that was interrupted
        shutil.copytree(made / "model", new, ignore=shutil.ignore_patterns("training_args.bin"))
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
    return target


def _unfinished(settings: Settings, last: str, reason: str) -> MissingError:
    """The error that names the notebooks up to `last` that have not run, or ran with other settings."""
    makes = {"00_base_model": base_jobs, "02_sft": sft_jobs, "03_sepo_grpo": sepo_jobs}
    folder = demonstrations_folder(settings)
    todo: list[str] = []
    for name in paths.NOTEBOOKS[: paths.NOTEBOOKS.index(last)]:
        if name == "01_demonstrations":
            done = all((folder / f"{game}.parquet").is_file() for game in settings.sft_games)
        else:  # the later notebooks cannot have run without the demonstrations
            done = "01_demonstrations" not in todo and all(
                finished(settings.run, job) for job in makes[name](settings)
            )
        todo += [] if done else [name]
    first = paths.run_first([*todo, last])
    here = [f"profile {settings.profile}"]
    here += [f"{name} {spell(value)}" for name, value in overrides(settings).items()]
    return MissingError(
        f"{first[0].upper()}{first[1:]}, with the same parameters as here ({', '.join(here)}): {reason}"
    )


# ---------------------------------------------------------------------------------------- recipes


def _main_recipe(settings: Settings, game: str, preset: str, arm: str) -> Recipe:
    """What the main run trains in `game` with this preset and arm."""
    exploiter = settings.of("exploiter", game) if "nashconv" in games.get(game).traits else "pool"
    return Recipe(
        game,
        settings.of("pools", game),
        preset,
        arm,
        settings.of("sepo_steps", game),
        exploiter=exploiter,
        baseline=settings.of("baseline", game) if (preset, arm) == ("unbiased", "credited") else "group",
        labels={} if exploiter == "pool" else {"exploiter": exploiter},
    )


def _ablation_size(settings: Settings, game: str, pools: str) -> tuple[int, int]:
    """(steps, G) of an arm: on the pools of the main run those of the main run, whose jobs are then used."""
    main = pools == settings.of("pools", game)
    steps, size = ("sepo_steps", "rollouts_per_opponent") if main else ("ablation_steps", "ablation_rollouts")
    return settings.of(steps, game), settings.of(size, game)


def _ablation_recipe(settings: Settings, game: str, pools: str, preset: str, arm: str) -> Recipe:
    steps, size = _ablation_size(settings, game, pools)
    recipe, main = _main_recipe(settings, game, preset, arm), main_pairs(settings)
    train, variation = {"rollouts_per_opponent": size}, pools != recipe.pools or (preset, arm) not in main
    return replace(recipe, pools=pools, steps=steps, baseline="group", train=train, variation=variation)


def _sft_examples(settings: Settings) -> tuple[dict[str, Any], int]:
    """What SFT trains on, as fields of `SFTJob`, and the number of its examples."""
    if settings.sft_data:
        found = sft_data.described(settings.sft_data)
        return {"data": settings.sft_data, "data_sha256": dict(found.files), "own_data": True}, found.used
    folder = demonstrations_folder(settings)
    try:
        data = {game: demonstration_files.sha256(folder, game) for game in settings.sft_games}
    except MissingError as error:
        raise _unfinished(settings, "01_demonstrations", str(error)) from None
    examples = settings.demonstrations_per_game * len(settings.sft_games) * 4 // 5
    return {"data": paths.relative(folder), "data_sha256": data}, examples


def _evaluated_on(settings: Settings) -> list[list[str]]:
    """Every (game, pool set) that the run trains on."""
    pairs = [(game, settings.of("pools", game)) for game in settings.games]
    return [list(pair) for pair in dict.fromkeys(pairs + ablation_pairs(settings))]
