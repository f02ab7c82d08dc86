"""How much of the penalty reaches the gradient of a language model, by arm?

An arm's penalty gradient is that of sum(A_arm - A_reward_only) log pi in units of J (scale none), with
respect to what SEPO would train: the weights of a new LoRA adapter, or all weights.

Memory. A gradient is kept on the CPU, in float32 and with at most LARGEST numbers; of a longer one a random
projection is kept (`_sketch`). Two are kept for every arm: that of the batch, and the sum over batches.
Activations are those of a part of the rows (`padded.parts`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import get_peft_model

from sepo_lib import games
from sepo_lib.config import paths, progress
from sepo_lib.config.progress import Report
from sepo_lib.games.base import OBJECTIVE_POOLS, Game
from sepo_lib.measure import job_tables, switches
from sepo_lib.method import credit, seeds
from sepo_lib.method.records import Episode
from sepo_lib.play import rollouts
from sepo_lib.play.engines import padded, scoring
from sepo_lib.play.engines.prefix_cache import bare
from sepo_lib.play.policy import LanguageModelPolicy, load_policy
from sepo_lib.pretrained import adapters, gpu
from sepo_lib.training import sepo

ROUNDING = 1e-9  # advantages that differ by less are equal
#: The most numbers of a gradient that are kept. An adapter of rank 16 on a model of 4 billion weights has
#: about half as many, or fewer.
LARGEST = 2**26
#: Bytes that the activations of one backward pass may take on a CPU.
ACTIVATIONS = 2**33
_PER_LAYER = 20  # activations of a layer that the backward pass needs, in units of the hidden size
_PER_LOGIT = 4  # copies of the logits in a forward and backward pass
_BLOCK = 2**24  # numbers that are projected, or multiplied in float64, at a time


@dataclass(frozen=True)
class GradientStudy:
    """What is measured: the penalty gradient of `arms` over `batches` batches of play."""

    game: Game
    pools: str
    """The pool set that is played."""
    rollouts_per_opponent: int
    """The size G of a group."""
    arms: Sequence[str]
    batches: int
    seed: int
    """Batch n plays with seeds derived from this one and n."""


def measure(study: GradientStudy, model, policy: LanguageModelPolicy, report: Report) -> pd.DataFrame:
    """One row per arm. `policy` plays `model`; `report(number, {})` is called after every gradient.

    Means over batches of a batch's gradient: `penalty_gradient_norm` and `cosine_to_credited`, and
    `advantage_difference`, the largest difference of an advantage to that of reward_only under the presets
    as they are trained. Of the mean gradient over batches: `mean_gradient_norm`, `mean_cosine_to_credited`,
    and `signal_to_noise`, the squared norm of its expectation over the variance of a batch's gradient. The
    latter is estimated without bias, so that it may be negative; it is NaN with one batch or no variance.
    """
    counts = dict.fromkeys(OBJECTIVE_POOLS, study.rollouts_per_opponent)
    totals: dict[str, torch.Tensor] = {}
    rows = []
    for batch in range(study.batches):
        plans = rollouts.plan(study.game, study.pools, counts, seeds.derive(study.seed, "batch", batch))
        episodes = rollouts.play(policy, plans)
        gradients = {}
        for number, arm in enumerate(study.arms):
            advantages = penalty_advantages(episodes, study.game, arm)
            gradients[arm] = policy_gradient(model, episodes, advantages, policy.temperature)
            report(batch * len(study.arms) + number + 1, {})
        for arm, gradient in gradients.items():
            totals[arm] = totals.get(arm, torch.zeros_like(gradient)) + gradient
            rows.append(
                {
                    "arm": arm,
                    "advantage_difference": _difference_as_trained(episodes, study.game, arm),
                    "penalty_gradient_norm": _dot(gradient, gradient) ** 0.5,
                    "squared": _dot(gradient, gradient),
                    "cosine_to_credited": _cosine(gradient, gradients.get("credited")),
                }
            )
    table = pd.DataFrame(rows).groupby("arm", sort=False).mean().reset_index()
    for row, arm in enumerate(table["arm"]):
        mean, n = totals[arm] / study.batches, study.batches
        squared = _dot(mean, mean)
        variance = (table.loc[row, "squared"] - squared) * n / (n - 1) if n > 1 else 0.0
        table.loc[row, "mean_gradient_norm"] = squared**0.5
        table.loc[row, "mean_cosine_to_credited"] = _cosine(mean, totals.get("credited"))
        table.loc[row, "signal_to_noise"] = (squared - variance / n) / variance if variance > 0 else np.nan
    return table.drop(columns="squared")


def run_gradient(
    folder: Path, report: Report, *, sft_job: str, sft_work: str, sampling: dict, labels: dict, **study
) -> dict:
    """One job of the study: `measure` the model of `sft_job`, whose `Job.work` is `sft_work`.

    `study` holds the fields of `GradientStudy`, the game by name, its `weights` if the run changes them, and
    the arguments `lora` of `adapters.lora` if the run trains an adapter. Leaves gradient-log.parquet, whose
    rows also have the columns `labels`.
    """
    progress.doing("loading the SFT model")
    model, _, policy = load_policy(str(paths.other_job(folder, sft_job) / "model"), **sampling)
    if lora := study.pop("lora", None):
        model = policy.engine.model = _adapted(model, lora, study["seed"])
    game = games.get(study["game"], study.pop("weights", None))
    table = measure(GradientStudy(**{**study, "game": game}), model, policy, report)
    columns = {name: value for name, value in labels.items() if name != "arm"}
    columns |= {"game": study["game"], "pools": study["pools"], "preset": "unbiased"}
    columns["batches"] = study["batches"]
    job_tables.save({"gradient": table.assign(**columns)}, folder, "log")
    return {}


def penalty_advantages(episodes: Sequence[Episode], game: Game, arm: str) -> list[np.ndarray | None]:
    """A_arm - A_reward_only of every decision in units of J, 0 if they differ by rounding only; None for an
    episode that the arm leaves out."""
    unscaled = credit.preset("unbiased").with_(scale="none")
    of_arm, reward_only = (
        credit.assign(episodes, game, unscaled.with_(arm=one)).advantages for one in (arm, "reward_only")
    )
    return [
        a if a is None or b is None else np.where(np.abs(a - b) < ROUNDING, 0.0, a - b)
        for a, b in zip(of_arm, reward_only, strict=True)
    ]


def policy_gradient(model, episodes, advantages, temperature: float) -> torch.Tensor:
    """The gradient of (1 / G) sum over decisions of A log pi (see `rows.merge_rows`) with respect to all
    parameters that are trained: one float32 vector on the CPU, projected if it is longer than LARGEST."""
    rows = [row for row in sepo.merge_rows(episodes, advantages) if row.advantage]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    group = max(episode.rollout for episode in episodes) + 1
    size = min(sum(parameter.numel() for parameter in trained), LARGEST)
    gradient = torch.zeros(size, device=model.device)
    pairs = [row.prompt_ids for row in rows], [row.completion_ids for row in rows]
    for part in padded.parts(model, *pairs, _most_tokens(model)):
        model.zero_grad()
        prompts, answers = ([ids[number] for number in part.rows] for ids in pairs)
        total_B = torch.tensor([rows[number].advantage for number in part.rows], device=model.device)
        ((scoring.totals(model, prompts, answers, temperature) * total_B).sum() / group).backward()
        gradient += _as_vector(trained)  # parts are added in float32, also if the model has another format
    model.zero_grad()
    return gradient.cpu()


def _adapted(model, lora: dict, seed: int):
    """The model with a new adapter, as SEPO begins: no answer changes, and only the adapter is trained."""
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # PEFT draws the first weights from the global generator
        torch.manual_seed(seed)
        return get_peft_model(model, adapters.lora(model, **lora))


def _most_tokens(model) -> int:
    """The number of tokens whose activations fit into ACTIVATIONS, or into a quarter of the memory that this
    process may still take of the GPU."""
    config = bare(model).config.get_text_config()
    memory = gpu.free_bytes() // 4 if model.device.type == "cuda" else ACTIVATIONS
    layers = _PER_LAYER * config.num_hidden_layers * config.hidden_size
    return max(1, memory // (4 * (layers + _PER_LOGIT * config.vocab_size)))


def _as_vector(trained: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """The gradients of the parameters in one vector, 0 where there is none; projected if it is too long."""
    if sum(parameter.numel() for parameter in trained) > LARGEST:
        return _sketch(trained)
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    return torch.cat([part.flatten().float() for part in parts])


def _sketch(trained: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """A random projection of the gradients of the parameters to LARGEST numbers.

    It is the count sketch of Charikar, Chen and Farach-Colton (2002): each number, with a random sign, is
    added to one of LARGEST sums. The projection is linear, and the same in every call. The inner product of
    two projected vectors a, b has the expectation a b and a standard error of at most
    sqrt((|a|^2 |b|^2 + (a b)^2) / LARGEST): relative to |a| |b|, at most 0.0002.
    """
    device = trained[0].device
    sums, generator = torch.zeros(LARGEST, device=device), torch.Generator(device)
    for number, parameter in enumerate(trained):
        if parameter.grad is None:
            continue
        generator.manual_seed(number)
        for block in parameter.grad.flatten().split(_BLOCK):
            drawn = torch.randint(2 * LARGEST, block.shape, generator=generator, device=device)
            sums.index_add_(0, drawn // 2, block.float() * (drawn % 2 * 2 - 1))
    return sums


def _difference_as_trained(episodes: Sequence[Episode], game: Game, arm: str) -> float:
    """The largest difference of an advantage from that of reward_only, over the presets."""
    return max(
        switches.largest_difference(
            *(credit.assign(episodes, game, credit.preset(name, one)) for one in (arm, "reward_only"))
        )
        for name in credit.PRESETS
    )


def _cosine(a: torch.Tensor, b: torch.Tensor | None) -> float:
    """The cosine of two vectors; NaN if one is missing or zero."""
    product = (_dot(a, a) * _dot(b, b)) ** 0.5 if b is not None else 0.0
    return _dot(a, b) / product if product else np.nan


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    """The inner product of two vectors, in float64."""
    blocks = zip(a.split(_BLOCK), b.split(_BLOCK), strict=True)
    return sum(float(one.double() @ other.double()) for one, other in blocks)
