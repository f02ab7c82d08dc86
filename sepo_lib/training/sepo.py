"""SEPO: GRPO on strategic games, a thin layer over `trl.GRPOTrainer`.

One training job of a run, with one process or with several (see `run/launch.py`):

    python -m sepo_lib.run.launch --profile laptop --game kuhn --seed 1
    accelerate launch --num_processes 4 -m sepo_lib.run.launch --profile paper --game kuhn --seed 11

What differs from GRPO as TRL runs it:

1. A "generation" is a batch of whole episodes against every opponent of three pools (`rollouts.play`). One
   decision is one row, with the token ids that were sampled.
2. Advantages come from `credit.assign`, not from a reward function and TRL's group normalization.
3. Every decision of the batch is in the loss, whatever the arm. A decision that the arm leaves out has
   advantage 0 and enters only the KL term. Both terms are divided by the number of all decisions.
4. The probability of a decision is that of its text. If the text does not parse, the probability of the
   action in the constrained decode is a second factor. The loss trains both (`merge_rows`).
5. Equal (prompt, answer) rows become one row with the sum of their advantages. Its weight in the KL term is
   the number of merged rows. Loss and gradient do not change.
6. The loss is a sum over the tokens of a decision, so that a decision weighs the same however long it is.
7. Log-probabilities are computed with shared beginnings of prompts read once, in parts that fit the memory.
8. A step can play several games. Each has its own advantages, and the loss is the mean of the games' losses.

`method/loss.py` states the loss. TRL does the clipping, KL term, optimizer, schedule and checkpoints.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sepo_lib.config import tracking
from sepo_lib.games.base import OBJECTIVE_POOLS, Game, Weights
from sepo_lib.measure import best_response, enumerated, kuhn_strategy, measures, switches
from sepo_lib.measure.best_response import BestResponse
from sepo_lib.method import credit, seeds
from sepo_lib.method.records import Episode
from sepo_lib.play import rollouts
from sepo_lib.play.engines import Engine, WeightsChanged, distributed
from sepo_lib.play.engines.checkpoints import Checkpoints
from sepo_lib.play.engines.row_loss import RowLoss
from sepo_lib.play.engines.rows import merge_rows, share_of, to_tensors
from sepo_lib.play.policy import LanguageModelPolicy
from sepo_lib.pretrained import adapters
from sepo_lib.training.sft import StepLogger, trainer_options


class Batch(NamedTuple):
    """What a step plays in one game: `rollouts_per_opponent` episodes against every opponent of `pools`."""

    game: Game
    pools: str
    rollouts_per_opponent: int


@dataclass(frozen=True)
class SEPOConfig:
    """One SEPO run. `config/profiles.yaml` holds the values, with what the paper says about each.

    Raises ValueError if the exploiter is not refreshed at every checkpoint, where a resumed run starts, if a
    run on several games has what fits one game only, and as `enumerated.check` does.
    """

    game: Game
    """The game that is played."""
    pools: str
    """The pool set of the game, `paper` or `conflict`."""
    estimator: credit.Estimator
    """The estimator of the advantages."""
    rollouts_per_opponent: int
    """Episodes against every opponent in a step: the size G of a group."""
    steps: int
    """Optimizer steps; every step plays a batch of its own."""
    learning_rate: float
    """The highest learning rate, at the first step."""
    learning_rate_floor: float
    """The last learning rate of the cosine schedule, as a share of the highest."""
    kl_beta: float
    """The weight of the KL divergence from the SFT model."""
    clip: float
    """Probability ratios are clipped to [1 - clip, 1 + clip]."""
    max_grad_norm: float
    """Longer gradients are scaled down to this norm."""
    temperature: float
    """The temperature of the sampling in play and of the log-probabilities in the loss."""
    max_new_tokens: int
    """The longest answer in tokens."""
    checkpoint_every: int
    """Steps between two checkpoints, each with an evaluation."""
    micro_batches: int | None
    """Parts of a batch that go through the model one after the other; None: as the memory needs."""
    seed: int
    """Step n plays with seeds derived from this one and n alone, so that a resumed run continues exactly."""
    penalty_weights: Weights | None = None
    """le, lc and lx of J; None: the training weights of the game."""
    exploiter: BestResponse | None = None
    """A best response that replaces some pools, or None."""
    lora: dict | None = None
    """Rank, alpha and dropout of LoRA; None tunes every weight."""
    answers_per_set: int | None = None
    """Answers at every information set in a step, for an estimator with the baseline `enumerated`."""
    gradient_checkpointing: str = "auto"
    """Whether activations are computed again in the backward pass: always, never or auto (see `Parts`)."""
    also: tuple[Batch, ...] = ()
    """What every step plays in further games; all games weigh the same in the loss."""

    def __post_init__(self) -> None:
        enumerates = self.estimator.baseline == "enumerated"
        if self.also and (self.exploiter or self.penalty_weights or enumerates):
            raise ValueError(
                "exploiter, penalty_weights and an enumerated baseline fit one game; leave them out."
            )
        if self.exploiter and self.checkpoint_every % self.exploiter.refresh:
            raise ValueError(
                f"checkpoint_every ({self.checkpoint_every}) must be a multiple of exploiter_refresh "
                f"({self.exploiter.refresh}), so that a resumed run meets the same exploiter."
            )
        if enumerates:
            enumerated.check(self.game, self.answers_per_set)


def train(
    model: PreTrainedModel,
    tokenizer,
    engine: Engine,
    folder: Path,
    config: SEPOConfig,
    report: Callable[[int, dict], None],
    evaluate: Callable[[int], dict | None],
) -> list[dict]:
    """Train `model` (an SFT model loaded from a folder, which is also the KL reference) with SEPO.

    Resumes from the last checkpoint in folder/trainer if there is one. `engine` samples from `model`;
    `report(step, metrics)` is called at every step, `evaluate(step)` at every checkpoint. Saves the trained
    model (with LoRA: the adapter) to folder/model. Returns the log, one dict per step.
    """
    checkpoints = Checkpoints(folder / "trainer")
    evaluations = _Evaluations(config.checkpoint_every, evaluate)
    trainer = SEPOTrainer(
        model,
        engine,
        config,
        processing_class=tokenizer,
        peft_config=adapters.lora(model, **config.lora) if config.lora else None,
        callbacks=[StepLogger(report), evaluations, checkpoints],
        args=GRPOConfig(
            max_steps=config.steps,
            per_device_train_batch_size=2,
            num_generations=2,
            gradient_accumulation_steps=config.micro_batches or 1,
            steps_per_generation=config.micro_batches or 1,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": config.learning_rate_floor},
            beta=config.kl_beta,
            epsilon=config.clip,
            loss_type="dapo",
            max_grad_norm=config.max_grad_norm,
            temperature=config.temperature,
            max_completion_length=config.max_new_tokens,
            disable_dropout=True,
            **trainer_options(model, folder, config.seed, config.checkpoint_every),
        ),
    )
    evaluations.trackers = tracking.callbacks(trainer)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=checkpoints.newest())
    trainer.save_model(str(folder / "model"))
    return [row for row in trainer.state.log_history if "loss" in row]


class SEPOTrainer(RowLoss, distributed.OneDevice, GRPOTrainer):
    """GRPOTrainer whose generation is play and whose advantages are those of `credit.assign`.

    `RowLoss` makes it faster and changes no result: it computes less, in parts that fit the memory.
    `options` are GRPOTrainer's own arguments. `last_episodes` holds the batch of the latest step, game after
    game, and `by_game` the same episodes by game.
    """

    def __init__(self, model: PreTrainedModel, engine: Engine, config: SEPOConfig, **options):
        args: GRPOConfig = options["args"]
        rows = args.per_device_train_batch_size * args.steps_per_generation * args.world_size
        prompts = [[{"role": "system", "content": config.game.rules()}]] * rows  # only their number matters
        data = Dataset.from_dict({"prompt": prompts})
        super().__init__(model=model, reward_funcs=_never_called, train_dataset=data, **options)
        self.config = config
        self.set_up(config.micro_batches, config.gradient_checkpointing)
        sampling = config.temperature, config.max_new_tokens
        self.policy = LanguageModelPolicy(engine, self.processing_class, *sampling)
        engine.model = self.model  # with its adapter, if it has one
        self.add_callback(WeightsChanged(engine))
        self.last_episodes: list[Episode] = []
        self.by_game: dict[Game, list[Episode]] = {}

    def _generate_and_score_completions(self, inputs):
        """One batch of play -> the tensors of the loss. TRL's `inputs` (dataset rows) are not used."""
        config, step, metrics = self.config, self.state.global_step, self._metrics["train"]
        seed = seeds.derive(config.seed, "step", step)
        began = time.perf_counter()
        self.model.eval()
        # 1. Play episodes or, with the baseline `enumerated`, ask at every information set.
        # 2. Credit: one advantage per decision.
        enumerates = config.estimator.baseline == "enumerated"
        assigned, logged, notes = self._ask(step, seed) if enumerates else self._play(step, seed)
        self.policy.engine.release_memory()
        self.model.train()
        played = time.perf_counter()
        # 3. Merge: equal (prompt, answer) rows become one; sorted by length, so that parts pad less. (TRL
        #    shuffles the rows before it cuts them into `micro_batches`, if that is set.)
        rows = merge_rows(self.last_episodes, assigned.advantages, assigned.weights)
        rows.sort(key=lambda row: len(row.prompt_ids) + len(row.completion_ids))
        # 4. Split: every process takes an equal share, which divides into micro-batches.
        share = share_of(rows, distributed.rank(), distributed.world_size(), config.micro_batches or 2)
        decisions = sum(row.count for row in rows)  # of all processes
        batch = to_tensors(share, decisions, self.processing_class.pad_token_id, self.accelerator.device)
        # 5. Reference: log-probabilities under the SFT model, for the KL term.
        if self.beta != 0.0:
            batch["ref_per_token_logps"] = self.reference_logps(batch, config.micro_batches)
        if config.estimator.arm == "reward_only":
            # By how much a penalty shared by the whole group changes an advantage: 0 up to rounding.
            constant = self._assign(config.estimator.with_(arm="constant"))
            metrics["constant_difference"].append(switches.largest_difference(assigned, constant))
        # 6. Log: columns of training.parquet (docs/results.md).
        logged |= {"zero_variance_groups": assigned.frac_reward_zero_std, "rows": float(len(rows))}
        logged["decisions"] = float(sum(len(episode.decisions) for episode in self.last_episodes))
        logged |= {"play_seconds": played - began, "reference_seconds": time.perf_counter() - played}
        for name, value in logged.items():
            metrics[name].append(value)
        for note in notes:
            print(f"step {step + 1}: {note}", flush=True)
        return batch

    def _play(self, step: int, seed: int) -> tuple[credit.Credit, dict[str, float], list[str]]:
        """G episodes against every opponent of all games: those of the pools, or the best response.

        Returns their credit, what is logged of them, and notes.
        """
        config, plans = self.config, []
        replacements = config.exploiter.opponents(self.policy, step, seed) if config.exploiter else None
        batches = (Batch(config.game, config.pools, config.rollouts_per_opponent), *config.also)
        for game, pools, size in batches:
            plans += rollouts.plan(game, pools, dict.fromkeys(OBJECTIVE_POOLS, size), seed, replacements)
        self.last_episodes = rollouts.play_distributed(self.policy, plans, replacements)
        self.by_game = {b.game: [e for e in self.last_episodes if e.game == b.game.name] for b in batches}
        logged, notes = measures.of_batch(self.by_game)
        logged |= {"nashconv": config.exploiter.nashconv} if config.exploiter else {}
        return self._assign(config.estimator), logged, notes

    def _ask(self, step: int, seed: int) -> tuple[credit.Credit, dict[str, float], list[str]]:
        """Answers at every information set, with enumerated advantages (`measure/enumerated.py`)."""
        config, exploiter = self.config, self.config.exploiter
        asked = enumerated.ask(self.policy, config.game, config.answers_per_set, seed)
        self.last_episodes = asked.episodes
        met = exploiter.opponents(self.policy, step, seed, asked.strategy) if exploiter else None
        assigned, logged = asked.credit(config.estimator, config.pools, config.penalty_weights, met)
        note = measures.parse_note(logged["parse_rate"], logged.pop("option_log10_mass"))
        return assigned, logged, [note] if note else []

    def _assign(self, estimator: credit.Estimator) -> credit.Credit:
        """The credit of the latest batch by game, with exploiters' mean margins enumerated if possible."""
        exploiter, found = self.config.exploiter, []
        for game, episodes in self.by_game.items():
            if exploiter and "exploiter" in exploiter.pools:
                means = {best_response.NAME: exploiter.nashconv}
            else:
                means = kuhn_strategy.mean_margins(game, episodes[0].pools, episodes)
            found.append(credit.assign(episodes, game, estimator, self.config.penalty_weights, means))
        advantages = [advantage for one in found for advantage in one.advantages]
        zero_std = float(np.mean([one.frac_reward_zero_std for one in found]))
        if len(self.by_game) == 1:
            return credit.Credit(advantages, zero_std)
        decisions_E = [[len(e.decisions) for e in episodes] for episodes in self.by_game.values()]
        mean = np.mean([sum(counts) for counts in decisions_E])  # all games weigh the same
        weights = [float(mean / sum(counts)) for counts in decisions_E for _ in counts]
        return credit.Credit(advantages, zero_std, weights)


class _Evaluations(TrainerCallback):
    """Calls `evaluate(step)` when a checkpoint is due, before it is written; `trackers` see the result."""

    def __init__(self, every: int, evaluate: Callable[[int], dict | None]):
        self.every, self.evaluate, self.trackers = every, evaluate, []

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            measured = self.evaluate(state.global_step)
            for tracker in self.trackers:
                tracker.on_log(args, state, control, logs=measured or {})


def _never_called(*args, **kwargs):
    """TRL asks for a reward function; SEPO's advantages come from `credit.assign` instead."""
    raise RuntimeError("SEPOTrainer computes advantages from episodes; TRL's reward functions are not used.")
