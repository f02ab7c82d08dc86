"""How the settings of a run become the arguments of its jobs. `recipes` lists the jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

from sepo_lib import games
from sepo_lib.config.profiles import Settings, sampling
from sepo_lib.measure import switches
from sepo_lib.measure.best_response import EXPLOITERS
from sepo_lib.measure.rows import weight_columns
from sepo_lib.method import credit, seeds
from sepo_lib.run.job import Job
from sepo_lib.run.steps.arguments import PolicyJob, SEPOJob

#: Episodes per opponent where only the strategy is measured.
FEW = 4


@dataclass(frozen=True)
class Recipe:
    """What one SEPO job trains, whatever its seed. The settings of the run give everything else."""

    game: str
    pools: str
    preset: str
    arm: str
    steps: int
    name: str = "sepo/{game}-{pools}/{preset}-{arm}"
    """The folder of the job, without its seed."""
    exploiter: str = "pool"
    """A key of `EXPLOITERS`."""
    baseline: str = "group"
    """The baseline of the estimator."""
    train_weights: games.Weights | None = None
    """Weights of J in training alone; None: those of the exploiter, of the run, or of the game."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `sepo.SEPOConfig` that differ from the main run's."""
    labels: Mapping[str, Any] = field(default_factory=dict)
    """More columns of every row that the job writes."""
    last_samples: int | None = None
    """See `SEPOJob`; if it is set, the episodes of an evaluation are few."""
    variation: bool = False
    """Whether no later job or notebook reads the model (`keep_variations`)."""


def sepo_job(settings: Settings, recipe: Recipe, start: Job, copy: Job | None = None) -> Job:
    """The job that trains `recipe` from the model of the SFT job `start`, or copies the results of `copy`."""
    name = recipe.name.format(game=recipe.game, pools=recipe.pools, preset=recipe.preset, arm=recipe.arm)
    seed, replaced = seed_of(start), EXPLOITERS[recipe.exploiter][0]
    weights = recipe.train_weights or EXPLOITERS[recipe.exploiter][1]
    labels = labels_of(settings, "sepo", seed, recipe.steps, recipe.arm, recipe.preset)
    labels |= {"baseline": recipe.baseline} if recipe.baseline != "group" else {}
    best_response = {
        "refresh": settings.exploiter_refresh,
        "samples": settings.exploiter_samples,
        "pools": list(replaced),
    }
    arguments = policy_arguments(settings, [recipe.game])
    if recipe.last_samples:
        arguments["evaluation"] |= {"episodes": {recipe.game: FEW}, "shift_episodes": 1}
    same_as = None
    if copy is not None:
        proven = copy.arguments["preset"] != recipe.preset
        same_as = {"name": copy.name, "work": copy.work, "proven": proven}
    return policy_job(
        f"{name}/{seed_folder(start)}",
        "sepo",
        SEPOJob(
            **arguments,
            labels=labels | dict(recipe.labels),
            sft_job=start.name,
            sft_work=start.work,
            game=recipe.game,
            pools=recipe.pools,
            preset=recipe.preset,
            arm=recipe.arm,
            baseline=recipe.baseline if recipe.baseline != "group" else None,
            train=train_arguments(settings, recipe.game, recipe.steps, seeds.derive(seed, "sepo"))
            | ({"answers_per_set": settings.answers_per_set} if recipe.baseline == "enumerated" else {})
            | dict(recipe.train),
            train_weights=list(astuple(weights)) if weights else None,
            exploiter=best_response if replaced else None,
            last_samples=recipe.last_samples,
            tables_only=(recipe.variation and not settings.keep_variations) or None,
            same_as=same_as,
        ),
        recipe.steps,
        settings.threads,
        needs=(start.function,),
    )


def train_arguments(settings: Settings, game: str, steps: int, seed: int) -> dict[str, Any]:
    """Fields of `sepo.SEPOConfig` whose values are hyperparameters."""
    return {
        "rollouts_per_opponent": settings.of("rollouts_per_opponent", game),
        "steps": steps,
        "learning_rate": settings.of("sepo_learning_rate", game),
        "learning_rate_floor": settings.of("learning_rate_floor", game),
        "kl_beta": settings.of("kl_beta", game),
        "clip": settings.clip,
        "max_grad_norm": settings.max_grad_norm,
        "checkpoint_every": settings.of("checkpoint_every", game),
        "micro_batches": settings.micro_batches,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "seed": seed,
        "lora": lora_arguments(settings, "sepo"),
    }


def exploiter_arguments(settings: Settings, baseline: str) -> dict[str, Any]:
    """Fields of `sepo.SEPOConfig` in which the exploiter study differs from the main run.

    With the baseline `group` it takes the learning rate of the main run.
    """
    common = {
        "kl_beta": settings.exploiter_kl_beta,
        "learning_rate_floor": settings.exploiter_learning_rate_floor,
    }
    if baseline == "group":
        return common | {"rollouts_per_opponent": settings.exploiter_rollouts}
    rate, answers = settings.exploiter_learning_rate, settings.exploiter_samples
    return common | {"learning_rate": rate, "answers_per_set": answers}


def equal_job(settings: Settings, main: list[Job], recipe: Recipe, start: Job) -> Job | None:
    """The job of the main run that trains the same model under the name of another preset.

    Two presets can be the same estimator in a game. None if there is no such job.
    """
    game, own = game_of(settings, recipe.game), credit.preset(recipe.preset, recipe.arm)
    for job in main:
        there = job.arguments
        if (there["game"], there["pools"], there["sft_job"]) == (recipe.game, recipe.pools, start.name):
            other = credit.preset(there["preset"], there["arm"])
            if there["preset"] != recipe.preset and switches.same(own, other, game, recipe.pools):
                return job
    return None


def policy_job(
    name: str, kind: str, work: PolicyJob, steps: int, threads: int, *, needs: tuple[str, ...] = ()
) -> Job:
    """A job of a kind (base, sft or sepo); arguments that are None or empty are left out."""
    arguments = {key: value for key, value in asdict(work).items() if value is not None and value != {}}
    return Job(name, f"sepo_lib.run.steps.{kind}:run_{kind}", arguments, steps, threads, needs=needs)


def policy_arguments(settings: Settings, played: Sequence[str]) -> dict[str, dict]:
    """`sampling`, `evaluation` and `weights` of a `PolicyJob` that plays the games `played`."""
    changed = {game: settings.changed_weights(game) for game in played}
    return {
        "sampling": sampling(settings),
        "evaluation": {
            "episodes": {game: settings.of("evaluation_episodes", game) for game in played},
            "shift_episodes": settings.shift_episodes,
            "reading": {
                "samples": settings.information_set_samples,
                "mass": settings.enumeration_mass,
                "most_nodes": settings.enumeration_nodes,
            },
        },
        "weights": {game: weights for game, weights in changed.items() if weights},
    }


def labels_of(settings: Settings, stage: str, seed: int, step: int, arm: str = "", preset: str = "") -> dict:
    """The columns that name the rows of a job; the evaluation adds game and pool set."""
    return {
        "profile": settings.profile,
        "model": settings.model,
        "stage": stage,
        "arm": arm,
        "preset": preset,
        "seed": seed,
        "step": step,
    }


def main_pairs(settings: Settings) -> list[tuple[str, str]]:
    """Every (preset, arm) of the main run."""
    compared = ((preset, credit.PRESETS[preset].arm) for preset in settings.compare_with)
    return list(dict.fromkeys([(settings.preset, settings.arm), *compared]))


def lora_arguments(settings: Settings, stage: str) -> dict | None:
    """Arguments of `adapters.lora` in this stage (sft or sepo); None if all weights are trained."""
    if settings.full_finetuning:
        return None
    return {
        "rank": settings.lora_rank,
        "alpha": settings.lora_alpha,
        "dropout": settings.of("lora_dropout", stage),
    }


def game_of(settings: Settings, name: str) -> games.Game:
    """The game with the weights of this run."""
    return games.get(name, settings.changed_weights(name))


def study_arguments(settings: Settings, game: str, pools: str, labels: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a study of one game and pool set; `labels` are columns of its rows."""
    changed = settings.changed_weights(game)
    arguments = {"game": game, "pools": pools, "labels": dict(labels) | weight_columns(changed)}
    return arguments | ({"weights": changed} if changed else {})


def seed_of(job: Job) -> int:
    """The training seed of a job with a language model."""
    return job.arguments["labels"]["seed"]


def seed_folder(job: Job) -> str:
    """The last part of the names of all jobs with this seed."""
    return f"seed-{seed_of(job)}"
