"""SEPO: GRPO on strategic games, a thin layer over `trl.GRPOTrainer`.

What differs from GRPO as TRL runs it:

1. A "generation" is a batch of whole episodes against every opponent of three pools (rollouts.play); one
   decision is one row, with the token ids that were sampled.
2. Advantages come from `credit.assign`, not from a reward function and TRL's group normalization.
3. Every decision of the batch is in the loss, whatever the arm. One that the arm leaves out has advantage
   0 and feels the KL term alone; both terms are divided by the number of all decisions.
4. The probability of a decision is that of its text and, where the text does not parse, that of its action
   in the constrained decode. The loss trains both (`merge_rows`).
5. Equal (prompt, answer) rows become one row with the sum of their advantages and their number as its weight
   in the KL term, which leaves loss and gradient as they were.
6. The loss is a sum over the tokens of a decision, so a decision weighs the same however long its answer.
7. Log-probabilities are computed with every prefix read once that prompts or answers share.

Clipping, the KL term to the SFT model, optimizer, schedule and checkpoints are TRL's.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOConfig, GRPOTrainer

from sepo_lib.games.base import Game, Weights
from sepo_lib.measure import kuhn_strategy
from sepo_lib.method import credit, objective, seeds
from sepo_lib.method.records import Episode
from sepo_lib.play import models, rollouts
from sepo_lib.play.engines import Engine, answer_tree, distributed
from sepo_lib.play.policy import LanguageModelPolicy
from sepo_lib.training import best_response
from sepo_lib.training.best_response import BestResponse
from sepo_lib.training.sft import Report, precision

TRAINING_POOLS = ("train", "exploiter", "collusive")
_NO_KL = 2.0**-100  # a weight with which a KL term is lost in rounding


@dataclass(frozen=True)
class Row:
    """One distinct (prompt, answer) of a batch: its token ids; `advantage`, the factor of its log-probability
    in the policy term, which is a sum over decisions; and `count`, its weight in the KL term: how many
    decisions sampled it, 0 where it is only an option of constrained decodes."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    advantage: float
    count: int


def merge_rows(episodes: Sequence[Episode], advantages: Sequence) -> list[Row]:
    """The distinct rows of all decisions; the advantages of an episode may be None, which counts as 0.

    An action from the constrained decode has the probability pi(a) = p(a) / sum over the legal b of p(b),
    where p(b) is that of the direct answer b. The score of the decision is then grad log p(text) +
    grad log pi(a), and grad log pi(a) = sum over b of (1[b = a] - pi(b)) grad log p(b): a row for every b.
    Raises ValueError where there is no decision.
    """
    sums: dict[tuple, list] = {}

    def add(prompt: Sequence[int], answer: Sequence[int], advantage: float, count: int) -> None:
        cell = sums.setdefault((tuple(prompt), tuple(answer)), [0.0, 0])
        cell[0] += advantage
        cell[1] += count

    for episode, given_T in zip(episodes, advantages, strict=True):
        advantage_T = np.zeros(len(episode.decisions)) if given_T is None else given_T
        for decision, advantage in zip(episode.decisions, map(float, advantage_T), strict=True):
            add(decision.prompt_ids, decision.completion_ids, advantage, 1)
            if decision.options and advantage:
                factors = advantage * decision.options.score(decision.action)
                for answer, factor in zip(decision.options.completion_ids, factors.tolist(), strict=True):
                    add(decision.prompt_ids, answer, factor, 0)
    if not sums:
        raise ValueError("The batch holds no decision, so there is nothing to train on.")
    return [Row(*row, total, count) for row, (total, count) in sums.items()]


def share_of(rows: Sequence[Row], process: int, world_size: int, multiple_of: int = 1) -> list[Row]:
    """The rows of one of several processes: every `processes`-th one, as many for each.

    Rows of weight 0 fill up to `multiple_of` in every process.
    """
    filler = replace(rows[0], advantage=0.0, count=0)
    filled = [*rows, *[filler] * (-len(rows) % (world_size * multiple_of))]
    return filled[process::world_size]


def to_tensors(rows: Sequence[Row], pad_id: int, device: torch.device, multiple_of: int = 1) -> dict:
    """Rows as the batch that GRPOTrainer's loss takes: prompts padded left, answers right, shapes (B, L).

    `tool_mask` carries each row's count as a float weight of its tokens, which TRL multiplies both with
    advantage and KL; `num_items_in_batch` is the number of decisions. A row that no decision sampled weighs
    _NO_KL, a power of 2, and so its advantage is what it should be and its KL nothing. The batch is filled
    with rows of weight 0 to a multiple of `multiple_of`.
    """
    rows = list(rows)
    decisions = sum(row.count for row in rows)
    filler = Row(rows[0].prompt_ids, rows[0].completion_ids, 0.0, 0)
    rows += [filler] * (-len(rows) % multiple_of)
    prompt_L = max(len(row.prompt_ids) for row in rows)
    answer_L = max(len(row.completion_ids) for row in rows)
    prompt_ids = torch.full((len(rows), prompt_L), pad_id)
    answer_ids = torch.full((len(rows), answer_L), pad_id)
    prompt_mask, answer_mask = torch.zeros_like(prompt_ids), torch.zeros_like(answer_ids)
    for b, row in enumerate(rows):
        prompt_ids[b, prompt_L - len(row.prompt_ids) :] = torch.tensor(row.prompt_ids)
        prompt_mask[b, prompt_L - len(row.prompt_ids) :] = 1
        answer_ids[b, : len(row.completion_ids)] = torch.tensor(row.completion_ids)
        answer_mask[b, : len(row.completion_ids)] = 1
    weights = [row.count or (_NO_KL if row.advantage else 0) for row in rows]
    weight_B = torch.tensor(weights, dtype=torch.float32)
    total_B = torch.tensor([row.advantage for row in rows], dtype=torch.float32)
    batch = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": answer_ids,
        "completion_mask": answer_mask,
        "advantages": total_B / weight_B.clamp(min=_NO_KL),
        "tool_mask": weight_B[:, None].expand_as(answer_mask).contiguous(),
        "num_items_in_batch": torch.tensor(float(decisions)),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _never_called(*args, **kwargs):
    """TRL asks for a reward function; SEPO's advantages come from `credit.assign` instead."""
    raise RuntimeError("SEPOTrainer computes advantages from episodes; TRL's reward functions are not used.")


class SEPOTrainer(GRPOTrainer):
    """GRPOTrainer whose generation is play and whose advantages are `credit.assign`'s.

    `game` and `pools` say what is played, `rollouts` how many episodes per opponent (G), `estimator` how
    credit is assigned, `weights` those of J (None: the game's own), `exploiter` a best response in the place
    of some pools. The play of step n depends on `seed` and n alone, so a resumed run continues exactly.
    `last_episodes` holds the batch of the latest step.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        game: Game,
        pools: str,
        rollouts_per_opponent: int,
        estimator: credit.Estimator,
        engine: Engine,
        seed: int,
        weights: Weights | None = None,
        exploiter: BestResponse | None = None,
        **kwargs,
    ):
        args: GRPOConfig = kwargs["args"]
        share_prefix = answer_tree.supports(model)
        rows = args.per_device_train_batch_size * args.steps_per_generation * args.world_size
        prompts = [[{"role": "system", "content": game.rules()}]] * rows  # only their number matters
        super().__init__(
            model=model,
            reward_funcs=_never_called,
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            **kwargs,
        )
        self.game, self.pools, self.estimator, self.play_seed = game, pools, estimator, seed
        self.weights, self.exploiter = weights, exploiter
        self.counts = dict.fromkeys(TRAINING_POOLS, rollouts_per_opponent)
        self.policy = LanguageModelPolicy(
            engine, self.processing_class, args.temperature, args.max_completion_length
        )
        engine.model = self.model  # with its adapter, if it has one
        self.last_episodes: list[Episode] = []
        self.share_prefix = share_prefix

    def _generate_and_score_completions(self, inputs):
        """One batch of play -> the tensors of the loss. `inputs` (dataset rows) only set the rhythm."""
        seed = seeds.derive(self.play_seed, "step", self.state.global_step)
        began = time.perf_counter()
        self.model.eval()
        instead = None
        if self.exploiter:
            instead = self.exploiter.opponents(self.policy, self.state.global_step, seed)
            self._metrics["train"]["nashconv"].append(self.exploiter.nashconv)
        plans = rollouts.plan(self.game, self.pools, self.counts, seed, instead)
        self.last_episodes = rollouts.play_distributed(self.policy, plans, instead)
        self.model.train()
        played = time.perf_counter()
        means = self._mean_margins()
        given = credit.assign(self.last_episodes, self.game, self.estimator, self.weights, means)
        if self.estimator.arm == "reward_only":  # how far a penalty shared by the group is from changing it
            self._metrics["train"]["constant_difference"].append(
                credit.largest_difference(
                    self.last_episodes, self.game, self.estimator, "constant", self.weights, means
                )
            )
        rows = merge_rows(self.last_episodes, given.advantages)
        rows.sort(key=lambda row: len(row.prompt_ids) + len(row.completion_ids))
        decisions = sum(row.count for row in rows)
        parts = self.args.steps_per_generation
        mine = share_of(rows, distributed.rank(), distributed.world_size(), multiple_of=parts)
        device = self.accelerator.device
        batch = to_tensors(mine, self.processing_class.pad_token_id, device, multiple_of=parts)
        batch["num_items_in_batch"].fill_(decisions)  # of all processes
        if self.beta != 0.0:
            batch["ref_per_token_logps"] = self._reference_logps(batch)
        self._record(given, len(rows), played - began, time.perf_counter() - played)
        return batch

    def _mean_margins(self) -> dict[str, float]:
        """Mean margins of exploiters (points per round) in the latest batch, where they can be enumerated."""
        if self.exploiter and "exploiter" in self.exploiter.pools:
            return {best_response.NAME: self.exploiter.nashconv}
        return kuhn_strategy.mean_margins(self.game, self.pools, self.last_episodes)

    @torch.no_grad()
    def _reference_logps(self, batch) -> torch.Tensor:
        """Log-probabilities (nats) of the sampled tokens under the SFT model, shape (B, L)."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        keep = batch["completion_ids"].size(1)
        chunk = -(-len(ids) // self.args.steps_per_generation)
        if self.ref_model is not None:
            return self._get_per_token_logps_and_entropies(self.ref_model, ids, mask, keep, chunk)[0]
        with self.accelerator.unwrap_model(self.model).disable_adapter():
            return self._get_per_token_logps_and_entropies(self.model, ids, mask, keep, chunk)[0]

    def _get_per_token_logps_and_entropies(
        self,
        model,
        input_ids,
        attention_mask,
        logits_to_keep,
        batch_size=None,
        compute_entropy=False,
        **kwargs,
    ):
        """As in GRPOTrainer; where the cache is keys and values, by `answer_tree.logps`."""
        if not self.share_prefix:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **kwargs
            )
        lines = zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
        rows = [
            (
                list(compress(ids[:-logits_to_keep], mask)),
                list(compress(ids[-logits_to_keep:], mask[-logits_to_keep:])),
            )
            for ids, mask in lines
        ]
        prompts, answers = zip(*rows, strict=True)
        found = answer_tree.logps(model, prompts, answers, logits_to_keep, self.temperature, compute_entropy)
        return found[0], found[1] if compute_entropy else None, None

    def _record(self, given: credit.Credit, rows: int, play_seconds: float, other_seconds: float) -> None:
        """Log the measures of the latest batch: columns of training.csv.

        `zero_variance_groups` is the share of (group, round) cells whose rollouts all got the same reward; at
        1.0 the step follows the KL term alone (see `credit.Credit`). `decisions` counts all decisions of the
        batch, each of which is in the loss, and `rows` the distinct ones together with the direct answers of
        constrained decodes.
        """
        measures = objective.measure(self.game, self.last_episodes)
        decisions = sum(len(e.decisions) for e in self.last_episodes)
        for key in ("payoff", "exploit", "collusion", "externality", "objective", "parse_rate"):
            self._metrics["train"][key].append(measures[key])
        for opponent, margin in credit.mean_margins(self.last_episodes).items():
            self._metrics["train"][f"margin/{opponent}"].append(margin)
        if note := objective.parse_note(measures["parse_rate"]):
            print(f"step {self.state.global_step + 1}: {note}", flush=True)
        self._metrics["train"]["zero_variance_groups"].append(given.zero_variance)
        self._metrics["train"]["decisions"].append(float(decisions))
        self._metrics["train"]["rows"].append(float(rows))
        self._metrics["train"]["play_seconds"].append(play_seconds)
        self._metrics["train"]["reference_seconds"].append(other_seconds)


class _Checkpoints(TrainerCallback):
    """Calls `evaluate(step)` when a checkpoint is due, before it is written."""

    def __init__(self, every: int, evaluate: Callable[[int], None]):
        self.every, self.evaluate = every, evaluate

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.evaluate(state.global_step)


def train(
    model: PreTrainedModel,
    tokenizer,
    engine: Engine,
    folder: Path,
    *,
    game: Game,
    pools: str,
    estimator: credit.Estimator,
    rollouts_per_opponent: int,
    steps: int,
    learning_rate: float,
    learning_rate_floor: float,
    kl_beta: float,
    clip: float,
    max_grad_norm: float,
    temperature: float,
    max_new_tokens: int,
    checkpoint_every: int,
    micro_batches: int,
    seed: int,
    report: Callable[[int, dict], None],
    evaluate: Callable[[int], None],
    weights: Weights | None = None,
    exploiter: BestResponse | None = None,
    lora: dict | None = None,
) -> list[dict]:
    """Train `model` (an SFT model loaded from a folder, which is also the KL reference) with SEPO.

    Continues from the last checkpoint in folder/trainer where there is one. `engine` samples from `model`;
    `evaluate(step)` is called every `checkpoint_every` steps and after the last one. The trained model (or
    adapter, with `lora`) is saved to folder/model. Returns the log, one dict per step. `weights` and
    `exploiter`: as for `SEPOTrainer`. Raises ValueError for an `exploiter` that is not
    refreshed at every checkpoint: a run that continues there would meet another one.
    """
    if exploiter and checkpoint_every % exploiter.refresh:
        raise ValueError(
            f"checkpoint_every ({checkpoint_every}) must be a multiple of exploiter_refresh "
            f"({exploiter.refresh}), so that a run that continues meets the same exploiter."
        )
    trainer = SEPOTrainer(
        model,
        game=game,
        pools=pools,
        rollouts_per_opponent=rollouts_per_opponent,
        estimator=estimator,
        engine=engine,
        seed=seed,
        weights=weights,
        exploiter=exploiter,
        processing_class=tokenizer,
        peft_config=models.lora(model, **lora) if lora else None,
        callbacks=[Report(report), _Checkpoints(checkpoint_every, evaluate)],
        args=GRPOConfig(
            output_dir=str(folder / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=2,
            num_generations=2,
            gradient_accumulation_steps=micro_batches,
            steps_per_generation=micro_batches,
            learning_rate=learning_rate,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": learning_rate_floor},
            beta=kl_beta,
            epsilon=clip,
            loss_type="dapo",
            max_grad_norm=max_grad_norm,
            temperature=temperature,
            max_completion_length=max_new_tokens,
            disable_dropout=True,
            logging_steps=1,
            save_strategy="steps",
            save_steps=checkpoint_every,
            save_total_limit=1,
            report_to="none",
            disable_tqdm=True,
            seed=seed % 2**32,
            dataloader_pin_memory=False,
            ddp_find_unused_parameters=False,
            ddp_broadcast_buffers=False,  # the processes differ in how many forwards a batch takes
            **precision(model),
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer_folder = folder / "trainer"
    last = get_last_checkpoint(str(trainer_folder)) if trainer_folder.exists() else None
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(folder / "model"))
    return [row for row in trainer.state.log_history if "loss" in row]
