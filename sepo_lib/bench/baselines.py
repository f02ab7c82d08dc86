"""What a user would take instead of the kit: two ways of playing, and one of training.

    TorchSampler       `generate` of transformers with its own sampler
    ContinuousEngine   `generate_batch` of transformers: continuous batching over a paged cache
    train_with_trl     TRL's GRPOTrainer with a `rollout_func` that plays the same episodes

TRL's other way to an environment, `environment_factory`, needs a chat template with tools. The templates of
nano and SmolLM2 have none, and TRL refuses them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from datasets import Dataset
from transformers import ContinuousBatchingConfig, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from sepo_lib.method.records import Episode
from sepo_lib.play import rollouts
from sepo_lib.play.engines import GenerateEngine, Sample
from sepo_lib.play.engines.base import check
from sepo_lib.play.policy import LanguageModelPolicy
from sepo_lib.training.sepo import SEPOConfig
from sepo_lib.training.sft import StepLogger, trainer_options

_PAGE = 32  # tokens of a page of the cache on a CPU; transformers' own choice takes most of the memory there
_AT_ONCE = 64  # rows that TRL's trainer passes through the model together


class TorchSampler(GenerateEngine):
    """`generate` with its own sampler and without log-probabilities: the fastest possible baseline."""

    def _write(self, ids_BL, mask_BL, uniforms_BL, temperature):
        whole = self.model.generate(
            ids_BL, attention_mask=mask_BL, generation_config=_sampling(self, uniforms_BL, temperature)
        )
        written = whole[:, ids_BL.shape[1] :]
        return written, torch.zeros(written.shape)


class ContinuousEngine(GenerateEngine):
    """`generate_batch` with its own sampler and all prompts in one call; on a CPU its cache holds `at_once`.

    Raises RuntimeError if it leaves a prompt without an answer, about which transformers only writes a line.
    """

    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`; the random numbers are the sampler's own."""
        check(prompts, uniforms_BL)
        options = {}
        if self.model.device.type == "cpu":
            longest, at_once = max(map(len, prompts)), self.at_once or len(prompts)
            pages = -(-(longest + uniforms_BL.shape[1]) // _PAGE)
            options = {"page_size": _PAGE, "num_blocks": (pages + 1) * at_once}
            options["max_batch_tokens"] = max(at_once * _PAGE, longest)
        found = self.model.generate_batch(
            [list(prompt) for prompt in prompts],
            generation_config=_sampling(self, uniforms_BL, temperature),
            continuous_batching_config=ContinuousBatchingConfig(**options),
        )
        answers = [answer.generated_tokens for answer in found.values() if answer.generated_tokens]
        if len(answers) != len(prompts):
            raise RuntimeError(f"generate_batch wrote {len(answers)} answers to {len(prompts)} prompts.")
        return [Sample(ids, [0.0] * len(ids), ids[-1] in self.end_ids) for ids in answers]


def train_with_trl(
    policy: LanguageModelPolicy,
    plans: Sequence[rollouts.Plan],
    config: SEPOConfig,
    rows: int,
    report: Callable[[int, dict], None],
    folder: Path,
) -> None:
    """`config.steps` steps of TRL's GRPOTrainer on the decisions of the planned episodes.

    A `rollout_func` plays the episodes with the engine of `policy`. Every decision is one row, whose reward
    is the payoff of its episode; `rows` rows are trained on, `_AT_ONCE` at a time. If there are fewer
    decisions, copies of the first one fill the batch. Log-probabilities, advantages and loss are TRL's.
    """
    model = policy.engine.model
    at_once = min(rows, _AT_ONCE)
    rows = -(-rows // at_once) * at_once

    def rollout(prompts: list, trainer: GRPOTrainer) -> dict[str, list | None]:
        trainer.model.eval()
        episodes = rollouts.play(policy, plans)
        trainer.model.train()
        return _as_rows(episodes, len(prompts))

    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda prompts, completions, payoff, **_: payoff,
        train_dataset=Dataset.from_dict({"prompt": [[{"role": "user", "content": "play"}]] * rows}),
        processing_class=policy.tokenizer,
        rollout_func=rollout,
        callbacks=[StepLogger(report)],
        args=GRPOConfig(
            max_steps=config.steps,
            per_device_train_batch_size=at_once,
            num_generations=_divisor(at_once, config.rollouts_per_opponent),
            gradient_accumulation_steps=rows // at_once,
            steps_per_generation=rows // at_once,
            learning_rate=config.learning_rate,
            beta=config.kl_beta,
            epsilon=config.clip,
            max_grad_norm=config.max_grad_norm,
            temperature=config.temperature,
            max_completion_length=config.max_new_tokens,
            disable_dropout=True,
            **trainer_options(model, folder, config.seed, None),
        ),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def _as_rows(episodes: Sequence[Episode], rows: int) -> dict[str, list | None]:
    """The first `rows` decisions as what TRL asks of a `rollout_func`, filled up with copies of the first."""
    found = [(decision, float(e.own_T.mean())) for e in episodes for decision in e.decisions]
    found = [*found, *[found[0]] * (rows - len(found))][:rows]
    return {
        "prompt_ids": [decision.prompt_ids for decision, _ in found],
        "completion_ids": [decision.completion_ids for decision, _ in found],
        "logprobs": None,  # the update computes them
        "payoff": [payoff for _, payoff in found],
    }


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`, and at least 2, as TRL asks."""
    return max(n for n in range(2, number + 1) if number % n == 0 and (n <= most or n == number))


def _sampling(engine: GenerateEngine, uniforms_BL, temperature: float):
    return engine.config(uniforms_BL.shape[1], do_sample=True, temperature=temperature, top_k=0, top_p=1.0)
