"""Recipes: which jobs make a run. Every function whose name ends in `_jobs` makes the list for `jobs.run`."""

import functools
import hashlib
import shutil
from dataclasses import astuple, replace
from pathlib import Path

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.config.profiles import Settings, hyperparameters
from sepo_lib.method import credit, seeds
from sepo_lib.play.policy import sampling
from sepo_lib.run.jobs import Job, finished
from sepo_lib.studies import estimators
from sepo_lib.training import demonstrations
from sepo_lib.training.best_response import EXPLOITERS
from sepo_lib.training.pretraining import PRETRAIN_BATCH

BASE_STEP = 0
SWEEP_GAMES = ("ipd", "kuhn")
SWITCH_GAME = "ipd"


def pretrain_job(settings: Settings) -> Job:
    """The job that makes `nano`."""
    return Job(
        "pretrain",
        "sepo_lib.training.pretraining:pretrain",
        {
            "steps": settings.pretrain_steps,
            "examples": settings.demonstrations_per_game,
            "batch": PRETRAIN_BATCH,
            "seed": settings.demonstrations_seed,
        },
        settings.pretrain_steps,
    )


def install_base(settings: Settings) -> Path:
    """Put the pre-trained model in the place of the shipped `nano`. Raises FileNotFoundError without one."""
    made = paths.job(settings.profile, "pretrain")
    if not (made / "done.json").exists():
        raise FileNotFoundError(
            "There is no pre-trained model to install: set rebuild_base=True and run again."
        )
    target = paths.models() / "nano"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(made / "model", target, ignore=shutil.ignore_patterns("training_args.bin"))
    return target


@functools.cache
def weights_of(model: str) -> str:
    """What a job on `model` depends on: sha256 of its weights where they are here, else its name."""
    folder = paths.model(model)
    if folder is None:
        return model
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def demonstrations_folder(settings: Settings) -> Path:
    """data/sft for the full set of examples, a folder of the run for any other size or seed."""
    blocks = hyperparameters()
    full = all(
        getattr(settings, name) == blocks[name]["default"]
        for name in ("demonstrations_per_game", "demonstrations_seed")
    )
    return paths.demonstrations() if full else paths.run(settings.profile) / "sft"


def _where(settings: Settings) -> list[list[str]]:
    """Every (game, pool set) that the run trains on."""
    pairs = [(game, settings.of("pools", game)) for game in settings.games]
    return [list(pair) for pair in dict.fromkeys(pairs + ablation_where(settings))]


def ablation_where(settings: Settings) -> list[tuple[str, str]]:
    """Every (game, pool set) of the ablation; a game without the `conflict` pools has its own alone."""
    return [
        (game, pools)
        for game in settings.ablation_games
        for pools in settings.ablation_pools
        if pools in games.get(game).pools
    ]


def _keys(settings: Settings, stage: str, seed: int, step: int, arm: str = "", preset: str = "") -> dict:
    return {
        "profile": settings.profile,
        "model": settings.model,
        "stage": stage,
        "arm": arm,
        "preset": preset,
        "seed": seed,
        "step": step,
    }


def _play(settings: Settings) -> dict:
    """The sizes of an evaluation, which are those of every stage: episodes by game, and the rest."""
    return {
        "episodes": {game: settings.of("evaluation_episodes", game) for game in settings.games},
        "shift_episodes": settings.shift_episodes,
        "reading": {
            "samples": settings.information_set_samples,
            "mass": settings.enumeration_mass,
            "most_nodes": settings.enumeration_nodes,
        },
    }


def _lora(settings: Settings, stage: str) -> dict | None:
    if settings.full_finetuning:
        return None
    return {
        "rank": settings.lora_rank,
        "alpha": settings.lora_alpha,
        "dropout": settings.of("lora_dropout", stage),
    }


def require(settings: Settings, needed: list[Job], notebook: str) -> None:
    """Raises FileNotFoundError naming the notebook to run first while a `needed` job is unfinished."""
    missing = [job.name for job in needed if not finished(settings.profile, job)]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(needed)} jobs that this stage builds on are not finished (such as "
            f"{missing[0]}) in runs/{settings.profile}: run notebooks/{notebook}.ipynb first."
        )


def base_jobs(settings: Settings) -> list[Job]:
    """The base model, measured once per seed (its weights are the same; the evaluation's seed is not)."""
    where = _where(settings)
    return [
        Job(
            f"base/seed-{seed}",
            "sepo_lib.run.steps:run_base",
            {
                "model": settings.model,
                "weights": weights_of(settings.model),
                "load": sampling(settings),
                "play": _play(settings),
                "where": where,
                "keys": _keys(settings, "base", seed, BASE_STEP),
            },
            len(where),
        )
        for seed in settings.seeds
    ]


def sft_jobs(settings: Settings) -> list[Job]:
    """One supervised warm start per seed, on all games of the run together.

    Raises FileNotFoundError naming notebook 01 when a game's demonstrations are missing.
    """
    folder = demonstrations_folder(settings)
    data = {game: demonstrations.sha256(folder, game) for game in settings.games}
    examples = settings.demonstrations_per_game * len(settings.games) * 4 // 5
    steps = settings.sft_steps or int(examples * settings.sft_epochs // settings.sft_batch)
    return [
        Job(
            f"sft/seed-{seed}",
            "sepo_lib.run.steps:run_sft",
            {
                "model": settings.model,
                "weights": weights_of(settings.model),
                "load": sampling(settings),
                "data": paths.relative(folder),
                "data_sha256": data,
                "train": {
                    "steps": settings.sft_steps,
                    "epochs": settings.sft_epochs,
                    "batch": settings.sft_batch,
                    "learning_rate": settings.sft_learning_rate,
                    "max_length": settings.sft_max_length,
                    "seed": seeds.derive(seed, "sft"),
                    "lora": _lora(settings, "sft"),
                    "micro_batches": settings.micro_batches,
                },
                "play": _play(settings),
                "where": _where(settings),
                "keys": _keys(settings, "sft", seed, steps),
            },
            steps,
        )
        for seed in settings.seeds
    ]


def training(settings: Settings, game: str, steps: int, seed: int) -> dict:
    """What `sepo.train` needs to know of the settings in `game`, beside how answers are sampled."""
    return {
        "rollouts_per_opponent": settings.of("rollouts_per_opponent", game),
        "steps": steps,
        "learning_rate": settings.of("sepo_learning_rate", game),
        "learning_rate_floor": settings.of("learning_rate_floor", game),
        "kl_beta": settings.of("kl_beta", game),
        "clip": settings.clip,
        "max_grad_norm": settings.max_grad_norm,
        "checkpoint_every": settings.checkpoint_every,
        "micro_batches": settings.micro_batches,
        "seed": seed,
        "lora": _lora(settings, "sepo"),
    }


def _sepo_job(
    settings: Settings,
    start: Job,
    game,
    pools,
    preset,
    arm,
    seed,
    steps,
    *,
    name: str = "sepo/{game}-{pools}/{preset}-{arm}",
    exploiter: str | None = None,
    weights: games.Weights | None = None,
    train: dict | None = None,
    keys: dict | None = None,
    twin: Job | None = None,
) -> Job:
    """A job of `run_sepo`. `exploiter` (None: what the settings say), `weights` and `train` change what is
    trained and `keys` how its rows are called, `twin` is a job whose results may be copied; a job that
    changes nothing has the fingerprint it always had.
    """
    name = name.format(game=game, pools=pools, preset=preset, arm=arm)
    exploiter = exploiter or (settings.kuhn_exploiter if game == "kuhn" else "pool")
    replaced, exploiter_weights = EXPLOITERS[exploiter]
    weights = weights or exploiter_weights
    changes: dict = {"weights": list(astuple(weights))} if weights else {}
    if replaced:
        changes["exploiter"] = {
            "refresh": settings.exploiter_refresh,
            "samples": settings.exploiter_samples,
            "pools": list(replaced),
        }
    if twin:
        changes["twin"] = {"name": twin.name, "fingerprint": twin.fingerprint}
        if twin.arguments["preset"] != preset:
            changes["twin"]["same"] = True
    return Job(
        f"{name}/seed-{seed}",
        "sepo_lib.run.steps:run_sepo",
        {
            "start": start.name,
            "after": start.fingerprint,
            "load": sampling(settings),
            "game": game,
            "pools": pools,
            "preset": preset,
            "arm": arm,
            "train": {**training(settings, game, steps, seeds.derive(seed, "sepo")), **(train or {})},
            "play": _play(settings),
            "keys": {**_keys(settings, "sepo", seed, steps, arm, preset), **(keys or {})},
            **changes,
        },
        steps,
    )


def sepo_jobs(settings: Settings) -> list[Job]:
    """SEPO in every game from every seed's SFT model, and the presets of `compare_with` beside it."""
    recipes = [(settings.preset, settings.arm)]
    recipes += [(preset, credit.PRESETS[preset].arm) for preset in settings.compare_with]
    return [
        _sepo_job(
            settings,
            start,
            game,
            settings.of("pools", game),
            preset,
            arm,
            seed,
            settings.of("sepo_steps", game),
        )
        for preset, arm in dict.fromkeys(recipes)
        for game in settings.games
        for seed, start in zip(settings.seeds, sft_jobs(settings), strict=True)
    ]


def _twin(main: list[Job], game: str, pools: str, preset: str, arm: str, seed: int) -> Job | None:
    """Of the jobs of the main run, the one that trains the same model: with an estimator that is the same in
    this game under the name of another preset. None where there is none."""
    for job in main:
        there = job.arguments
        if (there["game"], there["pools"], there["keys"]["seed"]) == (game, pools, seed):
            own, other = credit.preset(preset, arm), credit.preset(there["preset"], there["arm"])
            if there["preset"] != preset and credit.same(own, other, games.get(game), pools):
                return job
    return None


def _ablation_size(settings: Settings, game: str, pools: str) -> tuple[int, int]:
    """(steps, G) of an arm: on the pools that the main run trains on those of the main run, whose jobs they
    then are."""
    main = pools == settings.of("pools", game)
    steps, size = ("sepo_steps", "rollouts_per_opponent") if main else ("ablation_steps", "ablation_rollouts")
    return settings.of(steps, game), settings.of(size, game)


def ablation_jobs(settings: Settings) -> list[Job]:
    """Every arm under the presets of the ablation, on its games and pool sets. With `share_twins` the runs
    of `constant` come last, so that those of `reward_only` can be taken over."""
    starts, main = sft_jobs(settings), sepo_jobs(settings)

    def job(game: str, pools: str, preset: str, arm: str, number: int, twin: Job | None = None) -> Job:
        steps, size = _ablation_size(settings, game, pools)
        train = {"rollouts_per_opponent": size}
        seed, start = settings.seeds[number], starts[number]
        twin = twin or _twin(main, game, pools, preset, arm, seed)
        return _sepo_job(settings, start, game, pools, preset, arm, seed, steps, train=train, twin=twin)

    runs = [
        (game, pools, preset, arm, number)
        for game, pools in ablation_where(settings)
        for preset in settings.ablation_presets
        for arm in settings.ablation_arms
        for number in range(len(settings.seeds))
    ]
    shared = [run for run in runs if run[3] == "constant" and settings.share_twins]
    own = [run for run in runs if run not in shared]
    return [
        *(job(*run) for run in own),
        *(job(*run, twin=job(*run[:3], "reward_only", run[4])) for run in shared),
    ]


def switch_jobs(settings: Settings) -> list[Job]:
    """The published recipe with each of `switches` turned alone, in the prisoner's dilemma; else as in
    `sepo_jobs`, which train both ends. A switch that cannot act there is left out."""
    if SWITCH_GAME not in settings.games:
        return []
    pools = settings.of("pools", SWITCH_GAME)
    idle, main = credit.idle("published", games.get(SWITCH_GAME), pools), sepo_jobs(settings)
    return [
        _sepo_job(
            settings,
            start,
            SWITCH_GAME,
            pools,
            f"published+{switch}",
            arm,
            seed,
            settings.of("sepo_steps", SWITCH_GAME),
            twin=_twin(main, SWITCH_GAME, pools, f"published+{switch}", arm, seed),
        )
        for switch in settings.switches
        if f"published+{switch}" not in idle
        for arm in [credit.preset(f"published+{switch}").arm]
        for seed, start in zip(settings.seeds, sft_jobs(settings), strict=True)
    ]


def gradient_jobs(settings: Settings) -> list[Job]:
    """The penalty's gradient by arm, at each seed's SFT model: in every game of the ablation, on the last of
    its pool sets that the game has."""
    return [
        Job(
            f"gradient/{game}-{pools}/seed-{seed}",
            "sepo_lib.studies.penalty_gradient:run_gradient",
            {
                "start": start.name,
                "after": start.fingerprint,
                "load": sampling(settings),
                "game": game,
                "pools": pools,
                "rollouts_per_opponent": _ablation_size(settings, game, pools)[1],
                "arms": list(settings.ablation_arms),
                "batches": settings.gradient_batches,
                "seed": seeds.derive(seed, "gradient"),
                "keys": _keys(settings, "sft", seed, start.steps),
            },
            len(settings.ablation_arms) * settings.gradient_batches,
        )
        for game, pools in dict(ablation_where(settings)).items()
        for seed, start in zip(settings.seeds, sft_jobs(settings), strict=True)
    ]


def exploiter_jobs(settings: Settings) -> list[Job]:
    """Kuhn trained from every seed's SFT model against each exploiter of `exploiters`, all else the same.

    Their rows carry `exploiter:` and its name in the column `pools`, so that no reader of the main tables
    takes them for its own; what is measured is measured on the pool set that the run trains Kuhn on.
    """
    if "kuhn" not in settings.games:
        return []
    return [
        _sepo_job(
            settings,
            start,
            "kuhn",
            settings.of("pools", "kuhn"),
            "unbiased",
            "credited",
            seed,
            settings.exploiter_steps,
            name=f"exploiter/{exploiter}",
            exploiter=exploiter,
            train={
                "rollouts_per_opponent": settings.exploiter_rollouts,
                "kl_beta": settings.exploiter_kl_beta,
                "learning_rate_floor": settings.exploiter_learning_rate_floor,
            },
            keys={"pools": f"exploiter:{exploiter}"},
        )
        for exploiter in settings.exploiters
        for seed, start in zip(settings.seeds, sft_jobs(settings), strict=True)
    ]


def sweep_jobs(settings: Settings) -> list[Job]:
    """SEPO retrained with the exploit weight le at each of `sweep_exploit_weights` times the game's own;
    with that itself the main run trains (`sweep_table`).

    Their rows carry `sweep:` and the multiple in the column `pools`, so that no reader of the main tables
    takes them for its own; what is measured is measured on the pool set that the run trains the game on.
    """
    return [
        _sepo_job(
            settings,
            start,
            game,
            settings.of("pools", game),
            "unbiased",
            "credited",
            seed,
            settings.of("sepo_steps", game),
            name=f"sweep/{game}/exploit-{multiple:g}",
            exploiter="pool",
            weights=replace(own, exploit=multiple * own.exploit),
            keys={"pools": f"sweep:{multiple:g}"},
        )
        for game in SWEEP_GAMES
        if game in settings.games
        for own in [games.get(game).train_weights]
        for multiple in settings.sweep_exploit_weights
        for seed, start in zip(settings.seeds, sft_jobs(settings), strict=True)
    ]


def study_jobs(settings: Settings) -> list[Job]:
    """The studies that need no model: estimators against the exact gradient, and headroom."""
    return estimator_jobs(settings) + headroom_jobs(settings)


def estimator_jobs(settings: Settings) -> list[Job]:
    """The study at every policy, in those of `study_games` with an enumeration, on all their pool sets."""
    return [
        Job(
            f"estimators/{game}-{pools}/{policy_name}",
            "sepo_lib.studies.estimators:run_estimators",
            {
                "game": game,
                "pools": pools,
                "policy_name": policy_name,
                "groups": settings.estimator_groups,
                "group_sizes": list(settings.estimator_group_sizes),
                "seed": seeds.derive(estimators.STUDY_SEED, "estimators"),
                "keys": {"profile": settings.profile},
            },
            1,
        )
        for game in settings.study_games
        if "enumerable" in games.get(game).traits
        for pools in games.get(game).pools
        for policy_name in estimators.POLICIES
    ]


def headroom_jobs(settings: Settings) -> list[Job]:
    """The headroom of every game of `study_games`, on each of its pool sets."""
    return [
        Job(
            f"headroom/{game}-{pools}",
            "sepo_lib.studies.headroom:run_headroom",
            {
                "game": game,
                "pools": pools,
                "episodes": settings.headroom_episodes,
                "keys": {"profile": settings.profile},
            },
            1,
        )
        for game in settings.study_games
        for pools in games.get(game).pools
    ]


def checkpoints_of(settings: Settings, game: str, seed: int) -> dict[str, str]:
    """The checkpoints of one seed of a run in `game`, by name: base, SFT, and each SEPO recipe.

    Raises ValueError where the run does not train that game with that seed.
    """
    trained = [
        job
        for job in sepo_jobs(settings)
        if job.arguments["game"] == game and job.arguments["keys"]["seed"] == seed
    ]
    if not trained:
        raise ValueError(f"The run has no SEPO job in {game} with seed {seed}.")
    folders = {"SFT": trained[0].arguments["start"]}
    folders |= {f"SEPO, {job.arguments['preset']}": job.name for job in trained}
    found = {n: paths.relative(paths.job(settings.profile, job)) for n, job in folders.items()}
    return {"base": settings.model, **found}
