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

`method/loss.py` states the loss. TRL does the clipping, KL term, optimizer, schedule and checkpoints.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sepo_lib.config import tracking
from sepo_lib.games.base import OBJECTIVE_POOLS, Game, Weights
from sepo_lib.measure import best_response, enumerated, kuhn_strategy, measures, switches
from sepo_lib.measure.best_response import BestResponse
from sepo_lib.method import credit, objective, seeds
from sepo_lib.method.records import Episode
from sepo_lib.play import models, rollouts
from sepo_lib.play.engines import Engine, WeightsChanged, distributed
from sepo_lib.play.engines.checkpoints import Checkpoints
from sepo_lib.play.engines.row_loss import RowLoss
from sepo_lib.play.engines.rows import merge_rows, share_of, to_tensors
from sepo_lib.play.policy import LanguageModelPolicy
from sepo_lib.training.sft import StepLogger, trainer_options

_LOGGED = ("payoff", "exploit", "collusion", "externality", "objective", "parse_rate", "nashconv")


@dataclass(frozen=True)
class SEPOConfig:
    """One SEPO run. `config/profiles.yaml` holds the values, with what the paper says about each.

    Raises ValueError if the exploiter is not refreshed at every checkpoint, where a resumed run starts, and
    if the baseline `enumerated` lacks `answers_per_set` or the game known information sets.
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
    answers_per_set: int | None = None
    """Answers at every information set in a step, for an estimator with the baseline `enumerated`."""
    penalty_weights: Weights | None = None
    """le, lc and lx of J; None: the training weights of the game."""
    exploiter: BestResponse | None = None
    """A best response that replaces some pools, or None."""
    lora: dict | None = None
    """Rank, alpha and dropout of LoRA; None tunes every weight."""
    gradient_checkpointing: str = "auto"
    """Whether activations are computed again in the backward pass: always, never or auto (see `Parts`)."""

    def __post_init__(self) -> None:
        if self.exploiter and self.checkpoint_every % self.exploiter.refresh:
            raise ValueError(
                f"checkpoint_every ({self.checkpoint_every}) must be a multiple of exploiter_refresh "
                f"({self.exploiter.refresh}), so that a resumed run meets the same exploiter."
            )
        if self.estimator.baseline == "enumerated":
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
        peft_config=models.lora(model, **config.lora) if config.lora else None,
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
    `options` are GRPOTrainer's own arguments. `last_episodes` holds the batch of the latest step.
    """

    def __init__(self, model: PreTrainedModel, engine: Engine, config: SEPOConfig, **options):
        args: GRPOConfig = options["args"]
        rows = args.per_device_train_batch_size * args.steps_per_generation * args.world_size
        prompts = [[{"role": "system", "content": config.game.rules()}]] * rows  # only their number matters
        super().__init__(
            model=model,
            reward_funcs=_never_called,
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            **options,
        )
        self.config = config
        self.set_up(config.micro_batches, config.gradient_checkpointing)
        self.policy = LanguageModelPolicy(
            engine, self.processing_class, config.temperature, config.max_new_tokens
        )
        engine.model = self.model  # with its adapter, if it has one
        self.add_callback(WeightsChanged(engine))
        self.last_episodes: list[Episode] = []

    def _generate_and_score_completions(self, inputs):
        """One batch of play -> the tensors of the loss. TRL's `inputs` (dataset rows) are not used."""
        config, step, metrics = self.config, self.state.global_step, self._metrics["train"]
        seed = seeds.derive(config.seed, "step", step)
        began = time.perf_counter()
        self.model.eval()
        # 1. Play episodes or, with the baseline `enumerated`, ask at every information set.
        # 2. Credit: one advantage per decision.
        enumerates = config.estimator.baseline == "enumerated"
        assigned, measured = self._ask(step, seed) if enumerates else self._play(step, seed)
        self.policy.engine.release_memory()
        self.model.train()
        played = time.perf_counter()
        # 3. Merge: equal (prompt, answer) rows become one; sorted by length, as micro-batches then pad less.
        rows = merge_rows(self.last_episodes, assigned.advantages, assigned.weights)
        rows.sort(key=lambda row: len(row.prompt_ids) + len(row.completion_ids))
        # 4. Split: every process takes an equal share, which divides into micro-batches.
        share = share_of(rows, distributed.rank(), distributed.world_size(), config.micro_batches or 2)
        decisions = sum(row.count for row in rows)  # of all processes
        batch = to_tensors(share, decisions, self.processing_class.pad_token_id, self.accelerator.device)
        # 5. Reference: log-probabilities under the SFT model, for the KL term.
        if self.beta != 0.0:
            batch["ref_per_token_logps"] = self._reference_logps(batch)
        if config.estimator.arm == "reward_only":
            # By how much a penalty shared by the whole group changes an advantage: 0 up to rounding.
            constant = self._assign(config.estimator.with_(arm="constant"))
            metrics["constant_difference"].append(switches.largest_difference(assigned, constant))
        self._log(measured, assigned, len(rows))
        metrics["play_seconds"].append(played - began)
        metrics["reference_seconds"].append(time.perf_counter() - played)
        return batch

    def _play(self, step: int, seed: int) -> tuple[credit.Credit, dict[str, float]]:
        """G episodes against every opponent of the pools, or the best response to the current policy."""
        config = self.config
        replacements = config.exploiter.opponents(self.policy, step, seed) if config.exploiter else None
        counts = dict.fromkeys(OBJECTIVE_POOLS, config.rollouts_per_opponent)
        plans = rollouts.plan(config.game, config.pools, counts, seed, replacements)
        self.last_episodes = rollouts.play_distributed(self.policy, plans, replacements)
        measured = measures.measure(config.game, self.last_episodes)
        margins = objective.margins(self.last_episodes)
        measured |= {f"margin/{opponent}": margin for opponent, margin in margins.items()}
        measured |= {"nashconv": config.exploiter.nashconv} if config.exploiter else {}
        return self._assign(config.estimator), measured

    def _ask(self, step: int, seed: int) -> tuple[credit.Credit, dict[str, float]]:
        """Answers at every information set, with enumerated advantages (`measure/enumerated.py`)."""
        config = self.config
        asked = enumerated.ask(self.policy, config.game, config.answers_per_set, seed)
        self.last_episodes, exploiter = asked.episodes, config.exploiter
        met = exploiter.opponents(self.policy, step, seed, asked.strategy) if exploiter else None
        return asked.credit(config.estimator, config.pools, config.penalty_weights, met)

    def _assign(self, estimator: credit.Estimator) -> credit.Credit:
        """The credit of the latest batch, with the mean margins of exploiters enumerated if possible."""
        game, exploiter = self.config.game, self.config.exploiter
        if exploiter and "exploiter" in exploiter.pools:
            means = {best_response.NAME: exploiter.nashconv}
        else:
            means = kuhn_strategy.mean_margins(game, self.config.pools, self.last_episodes)
        return credit.assign(self.last_episodes, game, estimator, self.config.penalty_weights, means)

    @torch.no_grad()
    def _reference_logps(self, batch) -> torch.Tensor:
        """Log-probabilities (nats) of the sampled tokens under the SFT model, shape (B, L)."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        keep = batch["completion_ids"].size(1)
        chunk = -(-len(ids) // (self.config.micro_batches or len(ids)))
        if self.ref_model is not None:
            return self._get_per_token_logps_and_entropies(self.ref_model, ids, mask, keep, chunk)[0]
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            return self._get_per_token_logps_and_entropies(self.model, ids, mask, keep, chunk)[0]

    def _log(self, measured: dict[str, float], assigned: credit.Credit, rows: int) -> None:
        """Log what was measured in the latest batch: columns of training.csv.

        `zero_variance_groups` is TRL's `frac_reward_zero_std`: the share of (group, round) cells whose
        rollouts all had the same return. At 1.0 the step follows the KL term alone. `decisions` counts all
        decisions of the batch, each of which is in the loss; `rows` counts the distinct ones together with
        the direct answers of constrained decodes.
        """
        metrics = self._metrics["train"]
        for key, value in measured.items():
            if key in _LOGGED or key.startswith("margin/"):
                metrics[key].append(value)
        if note := measures.parse_note(measured["parse_rate"], measured["option_log10_mass"]):
            print(f"step {self.state.global_step + 1}: {note}", flush=True)
        metrics["zero_variance_groups"].append(assigned.frac_reward_zero_std)
        metrics["decisions"].append(float(sum(len(episode.decisions) for episode in self.last_episodes)))
        metrics["rows"].append(float(rows))


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
