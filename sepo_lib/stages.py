"""The jobs of a run: what each notebook trains and measures, cut into pieces that can run side by side.

Every function whose name ends in `_jobs` makes the list for `jobs.run`; every `run_*` function is one job.
A job leaves its evaluations in its folder as Parquet files; `collect_tables` makes the run's tables of them.
"""

import functools
import hashlib
import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch

from . import (
    adapters,
    credit,
    demonstrations,
    evaluation,
    games,
    models,
    paths,
    processes,
    profiles,
    rollouts,
    seeds,
    sepo,
    sft,
    statistics,
)
from .jobs import Job, Report, finished
from .profiles import Settings, hyperparameters

BASE_STEP = 0
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


def load_policy(model_name: str, dtype: str, temperature: float, max_new_tokens: int):
    """A loaded model as (model, tokenizer, policy that plays it)."""
    model, tokenizer = models.load(model_name, dtype)
    engine = models.engine_for(model, tokenizer)
    return model, tokenizer, rollouts.LanguageModelPolicy(engine, tokenizer, temperature, max_new_tokens)


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
    query = running.query()
    rules, user = (message["content"] for message in game.messages(query.view))
    return {"rules": rules, "user": user}, policy.answer([query])[0]


def _evaluate(policy, folder: Path, label: str, play: dict, where: list, keys: dict) -> None:
    """Measure `policy` in every (game, pool set) of `where`; `play` holds the sizes of the evaluation."""
    for game, pools in where:
        tables = evaluation.evaluate(policy, games.get(game), pools, **play, keys=keys)
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
    evaluation.save({"sft": pd.DataFrame(rows).assign(**keys)}, folder, "log")
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
) -> dict:
    """Train with SEPO from the SFT model of job `start`, evaluating at every checkpoint.

    `after` is that job's fingerprint. Leaves model/, training-log.parquet and the evaluations.
    """
    processes.meet()  # the first one has made the job's folder ready
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
        **train,
    )
    if processes.index():
        return {}
    if train["lora"]:
        facts = {"game": game, "pools": pools, "preset": preset, "arm": arm}
        facts |= {"train": train, "load": load, "run": keys, "base_fingerprint": after}
        adapters.write_card(folder / "model", paths.relative(sft_model), "sepo", facts)
    log = pd.DataFrame(rows).assign(game=game, pools=pools, **keys).assign(step=[r["step"] for r in rows])
    evaluation.save({"training": log}, folder, "log")
    return {"objective": rows[-1]["objective"]}


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
    seed: int,
    keys: dict,
) -> dict:
    """The gradient of the penalty alone, by arm, on one recorded batch of the SFT model.

    An arm's penalty gradient is that of sum(A_arm - A_reward_only) log pi in units of J (scale "none").
    Leaves gradient-log.parquet: penalty_gradient_norm, cosine_to_credited and advantage_difference (the
    largest difference of an advantage to reward_only's, under the preset as it is trained).
    """
    model, tokenizer, policy = load_policy(str(folder_of(keys["profile"], start) / "model"), **load)
    domain = games.get(game)
    counts = dict.fromkeys(sepo.TRAINING_POOLS, rollouts_per_opponent)
    episodes = rollouts.play(policy, rollouts.plan(domain, pools, counts, seed, share_chance=True))
    unscaled = credit.preset("unbiased").with_(scale="none")
    reward = credit.assign(episodes, domain, unscaled.with_(arm="reward_only")).advantages
    gradients, rows = {}, []
    for number, arm in enumerate(arms):
        mine = credit.assign(episodes, domain, unscaled.with_(arm=arm)).advantages
        penalty = [_minus(a, b) for a, b in zip(mine, reward, strict=True)]
        gradients[arm] = _policy_gradient(model, tokenizer, episodes, penalty, load["temperature"])
        difference = max(
            _largest_difference(episodes, domain, credit.preset(name, arm)) for name in credit.PRESETS
        )
        rows.append({"arm": arm, "advantage_difference": difference})
        report(number + 1, {})
    for row in rows:
        mine, credited = gradients[row["arm"]], gradients.get("credited")
        row["penalty_gradient_norm"] = float(mine.norm())
        product = float(mine.norm() * credited.norm()) if credited is not None else 0.0
        row["cosine_to_credited"] = float(mine @ credited) / product if product else np.nan
    where = {**keys, "game": game, "pools": pools, "preset": "unbiased"}
    del where["arm"]
    table = pd.DataFrame(rows).assign(**where)
    evaluation.save({"gradient": table}, folder, "log")
    return {}


def _minus(a, b):
    """a - b where an arm that leaves an episode out of the loss (None) counts as zeros."""
    if a is None:
        return None
    return a if b is None else a - b


def _largest_difference(episodes, domain, how: credit.Estimator) -> float:
    """Largest absolute difference of an arm's advantages to reward_only's under the same switches."""
    mine = credit.assign(episodes, domain, how).advantages
    reward = credit.assign(episodes, domain, how.with_(arm="reward_only")).advantages
    differences = [_minus(a, b) for a, b in zip(mine, reward, strict=True)]
    return float(max(np.abs(d).max() for d in differences if d is not None))


def _policy_gradient(model, tokenizer, episodes, advantages, temperature: float) -> torch.Tensor:
    """Gradient of (1 / G) sum over decisions of A log pi, all parameters in one float64 vector."""
    group = max(episode.rollout for episode in episodes) + 1
    batch = sepo.to_tensors(sepo.merge_rows(episodes, advantages), tokenizer.pad_token_id, model.device)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    keep = batch["completion_ids"].size(1)
    model.zero_grad()
    logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=keep + 1).logits[:, :-1]
    logps = torch.log_softmax(logits.float() / temperature, dim=-1)
    chosen = logps.gather(2, batch["completion_ids"][..., None]).squeeze(2)
    weight = batch["advantages"][:, None] * batch["tool_mask"] * batch["completion_mask"]
    ((chosen * weight).sum() / group).backward()
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
    pairs += [(game, pools) for game in settings.ablation_games for pools in settings.ablation_pools]
    return [list(pair) for pair in dict.fromkeys(pairs)]


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
    }


def _play(settings: Settings, episodes: int | None = None) -> dict:
    return {
        "episodes": episodes or settings.evaluation_episodes,
        "shift_episodes": settings.shift_episodes,
        "samples": settings.information_set_samples,
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


def _sepo_job(settings: Settings, start: Job, game, pools, preset, arm, seed, steps, episodes) -> Job:
    return Job(
        f"sepo/{game}-{pools}/{preset}-{arm}/seed-{seed}",
        "sepo_lib.stages:run_sepo",
        {
            "start": start.name,
            "after": start.fingerprint,
            "load": sampling(settings),
            "game": game,
            "pools": pools,
            "preset": preset,
            "arm": arm,
            "train": {
                "rollouts_per_opponent": settings.of("rollouts_per_opponent", game),
                "steps": steps,
                "learning_rate": settings.of("sepo_learning_rate", game),
                "learning_rate_floor": settings.learning_rate_floor,
                "kl_beta": settings.of("kl_beta", game),
                "clip": settings.clip,
                "max_grad_norm": settings.max_grad_norm,
                "checkpoint_every": settings.checkpoint_every,
                "micro_batches": settings.micro_batches,
                "seed": seeds.derive(seed, "sepo"),
                "lora": _lora(settings, "sepo"),
            },
            "play": _play(settings, episodes),
            "keys": _keys(settings, "sepo", seed, steps, arm, preset),
        },
        steps,
    )


def sepo_jobs(settings: Settings) -> list[Job]:
    """SEPO in every game from every seed's SFT model, and the published recipe beside it."""
    recipes = [(settings.preset, settings.arm)]
    if settings.compare_with_published:
        recipes.append(("published", credit.PRESETS["published"].arm))
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
            settings.of("sepo_evaluation_episodes", game),
        )
        for preset, arm in dict.fromkeys(recipes)
        for game in settings.games
        for seed, start in zip(settings.seeds, sft_jobs(settings), strict=True)
    ]


def ablation_jobs(settings: Settings) -> list[Job]:
    """Every arm under the unbiased preset, on the games and pool sets of the ablation."""
    return [
        _sepo_job(
            settings,
            start,
            game,
            pools,
            "unbiased",
            arm,
            seed,
            settings.of("ablation_steps", game),
            settings.evaluation_episodes,
        )
        for game in settings.ablation_games
        for pools in settings.ablation_pools
        for arm in settings.ablation_arms
        for seed, start in zip(settings.seeds, sft_jobs(settings), strict=True)
    ]


def gradient_jobs(settings: Settings) -> list[Job]:
    """The penalty's gradient by arm, measured at each seed's SFT model."""
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
                "rollouts_per_opponent": settings.of("rollouts_per_opponent", game),
                "arms": list(settings.ablation_arms),
                "seed": seeds.derive(seed, "gradient"),
                "keys": _keys(settings, "sft", seed, start.steps),
            },
            len(settings.ablation_arms),
        )
        for game in settings.ablation_games
        for pools in settings.ablation_pools
        for seed, start in zip(settings.seeds, sft_jobs(settings), strict=True)
    ]


# ---------------------------------------------------------------------------------------- the tables


def collect_tables(settings: Settings, jobs: list[Job]) -> dict[str, pd.DataFrame]:
    """The tables that the finished `jobs` add up to: evaluation, episodes, training, sft, gradient, and
    exploitability and strategies where Kuhn was played."""
    folders = [folder_of(settings.profile, job.name) for job in jobs]
    names = (*evaluation.TABLES, "training", "sft", "gradient")
    tables = {name: evaluation.collect(folders, name) for name in names}
    tables["evaluation"] = evaluation.mark_reported(tables["evaluation"])
    reported = tables["evaluation"].query("reported")[list(evaluation.KEYS)].assign(reported=True)
    for name in ("exploitability", "strategies"):
        if len(tables[name]):
            tables[name] = tables[name].merge(reported, how="left", on=list(evaluation.KEYS))
            tables[name]["reported"] = tables[name]["reported"].eq(True)
    return {name: table for name, table in tables.items() if len(table)}


def on_own_pools(settings: Settings, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that were played on the pool set that the run trains that game on."""
    return table[table["pools"] == table["game"].map(lambda game: settings.of("pools", game))]


def write_tables(settings: Settings, tables: dict[str, pd.DataFrame]) -> None:
    """Write every table of a run; one that the run has no rows for (Kuhn's, say) is written without rows."""
    for name in (*evaluation.TABLES, "training", "sft"):
        paths.write_table(tables.get(name, pd.DataFrame()), settings.profile, name)


def ablation_table(settings: Settings, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """`ablation.csv`: rows of kind "outcome" (a trained arm, last step) and "gradient" (the penalty's
    gradient on one batch of the SFT model); without rows where the run has no ablation."""
    if not settings.ablation_games:
        return pd.DataFrame()
    trained = tables["evaluation"].query("stage == 'sepo' and reported")
    compared = trained["game"].isin(settings.ablation_games) & trained["pools"].isin(settings.ablation_pools)
    columns = [*evaluation.KEYS, "safety", "payoff", "exploit", "collusion", "externality"]
    outcome = trained.loc[compared, columns].assign(kind="outcome")
    return pd.concat([outcome, tables["gradient"].assign(kind="gradient")], ignore_index=True)


def paired_safety(reported: pd.DataFrame) -> pd.DataFrame:
    """Safety of each SEPO recipe minus that of base and SFT, paired over seeds, by game (reported rows)."""
    rows = []
    for (game, pools, preset, arm), mine in reported[reported.stage == "sepo"].groupby(
        ["game", "pools", "preset", "arm"], sort=False
    ):
        for stage in ("base", "sft"):
            other = reported.query("game == @game and pools == @pools and stage == @stage")
            if len(mine) > 1:
                difference = statistics.paired(_by_seed(mine), _by_seed(other))
                rows.append(
                    {"game": game, "pools": pools, "preset": preset, "arm": arm, "minus": stage}
                    | difference._asdict()
                )
    return pd.DataFrame(rows)


def paired_arms(ablation: pd.DataFrame) -> pd.DataFrame:
    """Safety of `credited` minus that of each other arm, paired over seeds, by game, pools and preset."""
    rows = []
    outcome = (
        ablation[ablation.kind == "outcome"]
        if len(ablation)
        else ablation.assign(game=[], pools=[], preset=[])
    )
    for (game, pools, preset), group in outcome.groupby(["game", "pools", "preset"], sort=False):
        arms = {arm: _by_seed(mine) for arm, mine in group.groupby("arm", sort=False)}
        for arm in arms:
            if arm != "credited" and "credited" in arms and len(arms[arm]) > 1:
                difference = statistics.paired(arms["credited"], arms[arm])
                rows.append(
                    {"game": game, "pools": pools, "preset": preset, "credited minus": arm}
                    | difference._asdict()
                )
    return pd.DataFrame(rows)


def _by_seed(rows: pd.DataFrame) -> pd.Series:
    return rows.set_index("seed")["safety"]
