"""The jobs of a run: what each notebook trains and measures, cut into pieces that can run side by side.

Every function whose name ends in `_jobs` makes the list for `jobs.run`; every `run_*` function is one job.
A job leaves its evaluations in its folder as Parquet files; `results` makes the run's tables of them.
"""

import functools
import hashlib
import json
import shutil
from dataclasses import astuple, replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch

from . import (
    adapters,
    answer_tree,
    credit,
    demonstrations,
    estimators,
    evaluation,
    exact,
    games,
    headroom,
    models,
    paths,
    processes,
    profiles,
    rollouts,
    seeds,
    sepo,
    sft,
)
from .best_response import EXPLOITERS, BestResponse
from .jobs import Job, Report, fingerprint_of, finished
from .profiles import Settings, hyperparameters

BASE_STEP = 0
SWEEP_GAMES = ("ipd", "kuhn")
SWITCH_GAME = "ipd"
ROUNDING = 1e-9  # two advantages that differ by less are the same
PRETRAIN_BATCH = 64
PRETRAIN_LEARNING_RATE = 2e-3
PRETRAIN_SHARE = {"deal": 3}  # times the examples of another game: its answers are the hardest to get in form


# ------------------------------------------------------------------------------------ the base model


def pretrain(folder: Path, report: Report, *, steps: int, examples: int, batch: int, seed: int) -> dict:
    """Make `nano` from nothing: its tokenizer, then `steps` of pre-training on naive play of all games.

    `examples` naive decisions per game (see PRETRAIN_SHARE). Saves to folder/model.
    Returns {"loss": the last one, "parameters": their number}.
    """
    naive = datasets.concatenate_datasets(
        [
            demonstrations.build(game, examples * PRETRAIN_SHARE.get(game, 1), seed, kind="naive")
            for game in games.GAMES
        ]
    )
    expert = [demonstrations.build(game, examples, seed) for game in games.GAMES]
    texts = [m["content"] for row in naive for m in row["prompt"] + row["completion"]]
    texts += 4 * [row["completion"][0]["content"] for data in expert for row in data]  # what it will write
    tokenizer = models.train_tokenizer(texts)
    model = models.new_nano(tokenizer, seed)
    log = sft.train(
        model,
        tokenizer,
        naive.select_columns(["prompt", "completion"]),
        folder,
        steps=steps,
        epochs=1,
        batch=batch,
        learning_rate=PRETRAIN_LEARNING_RATE,
        max_length=512,
        seed=seed,
        report=report,
    )
    return {"loss": log[-1]["loss"], "parameters": model.num_parameters()}


def pretrain_job(settings: Settings) -> Job:
    """The job that makes `nano`."""
    return Job(
        "pretrain",
        "sepo_lib.stages:pretrain",
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
    made = folder_of(settings.profile, "pretrain")
    if not (made / "done.json").exists():
        raise FileNotFoundError(
            "There is no pre-trained model to install: set rebuild_base=True and run again."
        )
    target = paths.models() / "nano"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(made / "model", target, ignore=shutil.ignore_patterns("training_args.bin"))
    return target


# --------------------------------------------------------------------------------- playing and measuring


def load_policy(
    model_name: str, dtype: str, temperature: float, max_new_tokens: int, engine: str = "shared_prefix"
):
    """A loaded model as (model, tokenizer, policy that plays it with the engine of that name)."""
    model, tokenizer = models.load(model_name, dtype)
    generator = models.engine_for(model, tokenizer, engine)
    return model, tokenizer, rollouts.LanguageModelPolicy(generator, tokenizer, temperature, max_new_tokens)


def open_policy(model: str) -> rollouts.LanguageModelPolicy:
    """The policy of a model to look at: nano, smollm2, a hub id, or a folder such as that of a job.

    It answers as in the job that made it (number format, temperature, longest answer), any other model as
    in the profile paper. Raises ValueError where there is no such model.
    """
    found = Path(models.resolve(profiles.load("paper", model=model).model))
    for folder in (found, found.parent):
        if (folder / "started.json").exists():
            job = json.loads((folder / "started.json").read_text(encoding="utf-8"))
            return load_policy(model, **job["arguments"]["load"])[2]
    return load_policy(model, **sampling(profiles.load("paper", model=model)))[2]


def first_decision(policy, game: games.Game, pools: str) -> tuple[dict[str, str], rollouts.Answer]:
    """What the policy is asked first in `game` ({"rules", "user"} texts) and what it answers."""
    opponent = next(iter(game.pool(pools, "train")))
    running = rollouts.Running(rollouts.Plan(game.name, pools, "train", opponent, 0, 0, 0))
    query = running.queries()[0]
    rules, user = (message["content"] for message in game.messages(query.view))
    return {"rules": rules, "user": user}, policy.answer([query])[0]


def _evaluate(policy, folder: Path, label: str, play: dict, where: list, keys: dict) -> None:
    """Measure `policy` in every (game, pool set) of `where`; `play` holds the sizes of the evaluation."""
    for game, pools in where:
        reading = exact.Reading(**play["reading"])
        sizes = {**play, "episodes": play["episodes"][game], "reading": reading}
        tables = evaluation.evaluate(policy, games.get(game), pools, **sizes, keys=keys)
        if processes.index() == 0:
            evaluation.save(tables, folder, f"{game}-{pools}-{label}")


def run_base(
    folder: Path, report: Report, *, model: str, weights: str, load: dict, play: dict, where: list, keys: dict
) -> dict:
    """Evaluate the base model. `weights` is its fingerprint, so that another model means another job."""
    _, _, policy = load_policy(model, **load)
    for number, pair in enumerate(where):
        _evaluate(policy, folder, "base", play, [pair], keys)
        report(number + 1, {})
    return {}


def run_sft(
    folder: Path,
    report: Report,
    *,
    model: str,
    weights: str,
    load: dict,
    data: str,
    data_sha256: dict,
    train: dict,
    play: dict,
    where: list,
    keys: dict,
) -> dict:
    """Fine-tune on demonstrations of all games at once, then evaluate. Leaves model/ and sft-log.parquet."""
    language_model, tokenizer, _ = load_policy(model, **load)
    examples = demonstrations.load(paths.root() / data, sorted(data_sha256), "train")
    rows = sft.train(language_model, tokenizer, examples, folder, report=report, **train)
    evaluation.save({"sft": _log(rows, keys)}, folder, "log")
    if train["lora"]:
        facts = {"data": data, "data_sha256": data_sha256, "train": train, "load": load, "run": keys}
        adapters.write_card(folder / "adapter", model, "sft", facts)
    _, _, policy = load_policy(str(folder / "model"), **load)
    _evaluate(policy, folder, "sft", play, where, keys)
    return {"loss": rows[-1]["loss"]}


def run_sepo(
    folder: Path,
    report: Report,
    *,
    start: str,
    after: str,
    load: dict,
    game: str,
    pools: str,
    preset: str,
    arm: str,
    train: dict,
    play: dict,
    keys: dict,
    weights: list | None = None,
    exploiter: dict | None = None,
    twin: dict | None = None,
) -> dict:
    """Train with SEPO from the SFT model of job `start`, evaluating at every checkpoint.

    `after` is that job's fingerprint; `weights` are those of J (le, lc, lx) where they are not the game's
    own, `exploiter` the arguments of a `BestResponse`. `twin` names a finished job (with its fingerprint)
    whose results are copied: either its estimator is the same in this game (`same`), or it is the job of arm
    reward_only that differs in nothing but the arm, and `constant` would have had the same advantages in
    every batch of it. Leaves model/ (not where results are copied), training-log.parquet and evaluations.
    """
    processes.meet()  # the first one has made the job's folder ready
    if twin and _take_over(folder, twin, keys):
        report(keys["step"], {})
        return {"shared_with": twin["name"]}
    sft_model = folder_of(keys["profile"], start) / "model"
    model, tokenizer, policy = load_policy(str(sft_model), **load)

    def evaluate(step: int) -> None:
        model.eval()
        _evaluate(policy, folder, f"{step:05d}", play, [(game, pools)], {**keys, "step": step})
        model.train()

    rows = sepo.train(
        model,
        tokenizer,
        policy.engine,
        folder,
        game=games.get(game),
        pools=pools,
        estimator=credit.preset(preset, arm),
        temperature=load["temperature"],
        max_new_tokens=load["max_new_tokens"],
        report=report,
        evaluate=evaluate,
        weights=games.Weights(*weights) if weights else None,
        exploiter=BestResponse(**exploiter) if exploiter else None,
        **train,
    )
    if processes.index():
        return {}
    if train["lora"]:
        facts = {"game": game, "pools": pools, "preset": preset, "arm": arm}
        facts |= {"train": train, "load": load, "run": keys, "base_fingerprint": after}
        adapters.write_card(folder / "model", paths.relative(sft_model), "sepo", facts)
    log = _log(rows, {"game": game, "pools": pools, **keys})
    evaluation.save({"training": log}, folder, "log")
    return {"objective": rows[-1]["objective"]}


def _log(rows: list[dict], keys: dict) -> pd.DataFrame:
    """A training log as a table: its rows with the job's `keys`, but each with the step of its own."""
    return pd.DataFrame(rows).assign(**{name: value for name, value in keys.items() if name != "step"})


def _take_over(folder: Path, twin: dict, keys: dict) -> bool:
    """Copy the tables of a finished job whose estimator is the same, or whose log says that `constant` had
    the same advantages (within ROUNDING) in every batch. False, and nothing done, otherwise."""
    source = folder_of(keys["profile"], twin["name"])
    if fingerprint_of(source) != twin["fingerprint"]:
        return False
    log = pd.read_parquet(source / "training-log.parquet")
    if not twin.get("same") and log["constant_difference"].max() > ROUNDING:
        return False
    labels = {"arm": keys["arm"], "preset": keys["preset"]}
    if processes.index() == 0:
        for file in source.glob("*.parquet"):
            name, _, label = file.stem.partition("-")
            evaluation.save({name: pd.read_parquet(file).assign(**labels)}, folder, label)
    return True


def run_gradient(
    folder: Path,
    report: Report,
    *,
    start: str,
    after: str,
    load: dict,
    game: str,
    pools: str,
    rollouts_per_opponent: int,
    arms: list,
    batches: int,
    seed: int,
    keys: dict,
) -> dict:
    """The gradient of the penalty alone, by arm, over `batches` recorded batches of the SFT model.

    An arm's penalty gradient is that of sum(A_arm - A_reward_only) log pi in units of J (scale "none").
    Leaves gradient-log.parquet, one row per arm. Means over batches: penalty_gradient_norm and
    cosine_to_credited of a batch's gradient, advantage_difference (the largest difference of an advantage to
    reward_only's, under the presets as they are trained). Of the mean gradient over batches:
    mean_gradient_norm, mean_cosine_to_credited, and signal_to_noise, the squared length of its expectation
    over the variance of a batch's gradient (estimated without bias, so that it may come out below 0; nan
    with one batch or without variance).
    """
    model, _, policy = load_policy(str(folder_of(keys["profile"], start) / "model"), **load)
    domain = games.get(game)
    counts = dict.fromkeys(sepo.TRAINING_POOLS, rollouts_per_opponent)
    unscaled = credit.preset("unbiased").with_(scale="none")
    totals: dict[str, torch.Tensor] = {}
    rows = []
    for batch in range(batches):
        plans = rollouts.plan(domain, pools, counts, seeds.derive(seed, "batch", batch))
        episodes = rollouts.play(policy, plans)
        reward = credit.assign(episodes, domain, unscaled.with_(arm="reward_only")).advantages
        gradients = {}
        for number, arm in enumerate(arms):
            mine = credit.assign(episodes, domain, unscaled.with_(arm=arm)).advantages
            penalty = [_minus(a, b) for a, b in zip(mine, reward, strict=True)]
            gradients[arm] = _policy_gradient(model, episodes, penalty, load["temperature"])
            report(batch * len(arms) + number + 1, {})
        for arm, gradient in gradients.items():
            totals[arm] = totals.get(arm, torch.zeros_like(gradient)) + gradient
            rows.append(
                {
                    "arm": arm,
                    "advantage_difference": max(
                        credit.largest_difference(episodes, domain, credit.preset(name, arm), "reward_only")
                        for name in credit.PRESETS
                    ),
                    "penalty_gradient_norm": float(gradient.norm()),
                    "squared": float(gradient @ gradient),
                    "cosine_to_credited": _cosine(gradient, gradients.get("credited")),
                }
            )
    table = pd.DataFrame(rows).groupby("arm", sort=False).mean().reset_index()
    for at, arm in enumerate(table["arm"]):
        mean = totals[arm] / batches
        squared = float(mean @ mean)
        variance = (table.loc[at, "squared"] - squared) * batches / (batches - 1) if batches > 1 else 0.0
        table.loc[at, "mean_gradient_norm"] = squared**0.5
        table.loc[at, "mean_cosine_to_credited"] = _cosine(mean, totals.get("credited"))
        table.loc[at, "signal_to_noise"] = (
            (squared - variance / batches) / variance if variance > 0 else np.nan
        )
    where = {**keys, "game": game, "pools": pools, "preset": "unbiased", "batches": batches}
    del where["arm"]
    evaluation.save({"gradient": table.drop(columns="squared").assign(**where)}, folder, "log")
    return {}


def _cosine(a: torch.Tensor, b: torch.Tensor | None) -> float:
    """The cosine of two vectors; nan where one is missing or zero."""
    product = float(a.norm() * b.norm()) if b is not None else 0.0
    return float(a @ b) / product if product else np.nan


def _minus(a, b):
    """a - b, 0 where they differ by rounding; an episode that an arm leaves out (None) counts as 0."""
    if a is None:
        return None
    return a if b is None else np.where(np.abs(a - b) < ROUNDING, 0.0, a - b)


def _policy_gradient(model, episodes, advantages, temperature: float) -> torch.Tensor:
    """Gradient of (1 / G) sum over decisions of A log pi (see `sepo.merge_rows`), all parameters in one
    float64 vector."""
    rows = [row for row in sepo.merge_rows(episodes, advantages) if row.advantage]
    if not rows:  # what is 0 everywhere needs no model
        return torch.zeros(sum(p.numel() for p in model.parameters() if p.requires_grad), dtype=torch.float64)
    group = max(episode.rollout for episode in episodes) + 1
    prompts, answers = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
    total_B = torch.tensor([row.advantage for row in rows], device=model.device)
    model.zero_grad()
    ((answer_tree.totals(model, prompts, answers, temperature) * total_B).sum() / group).backward()
    return torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])


# ------------------------------------------------------------------------------------------ the jobs


def folder_of(profile: str, job: str) -> Path:
    """The folder of a job."""
    return paths.checkpoints(profile) / job


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


def sampling(settings: Settings) -> dict:
    """What `load_policy` needs to know beside the model."""
    return {
        "dtype": settings.dtype,
        "temperature": settings.temperature,
        "max_new_tokens": settings.max_new_tokens,
        "engine": settings.engine,
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
            "sepo_lib.stages:run_base",
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
            "sepo_lib.stages:run_sft",
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
        "sepo_lib.stages:run_sepo",
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
            "sepo_lib.stages:run_gradient",
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
    return estimators.estimator_jobs(settings) + headroom.headroom_jobs(settings)
