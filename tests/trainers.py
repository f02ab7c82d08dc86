"""SEPO's trainer on one batch of its own play, and the log-probabilities of plain forward passes."""

import torch

from sepo_lib import games
from sepo_lib.chat import templates
from sepo_lib.games import ipd
from sepo_lib.method import credit
from sepo_lib.method.loss import Rows
from sepo_lib.play.policy import load_policy
from sepo_lib.training import sepo

IPD = games.get("ipd")
SIZES = {
    "rollouts_per_opponent": 2,
    "learning_rate": 1e-4,
    "learning_rate_floor": 0.2,
    "kl_beta": 0.05,
    "clip": 0.2,
    "max_grad_norm": 1.0,
    "temperature": 0.8,
    "max_new_tokens": 16,
    "checkpoint_every": 1,
    "micro_batches": 1,
    "seed": 5,
}


def configuration(**changes):
    """The prisoner's dilemma with small sizes."""
    config = {"game": IPD, "pools": "paper", "estimator": credit.preset("unbiased"), **SIZES, **changes}
    return sepo.SEPOConfig(**config)


def first_batch(tmp_path, monkeypatch, inspect, **changes):
    """`inspect` the trainer that `sepo.train` makes of nano, in the place of training.

    Its weights have moved away from those of the reference, so that the KL term has a gradient.
    """

    def moved(trainer, **kwargs):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in trainer.model.parameters():
                p.add_(0.05 * p.std().nan_to_num() * torch.randn(p.shape, generator=generator).to(p.device))
        trainer.current_gradient_accumulation_steps = 1  # as in training
        inspect(trainer)

    monkeypatch.setattr(sepo.SEPOTrainer, "train", moved)
    model, tokenizer, policy = load_policy("nano", "float32", 0.8, 16)
    config = configuration(steps=1, **changes)
    sepo.train(
        model, tokenizer, policy.engine, tmp_path, config, lambda step, metrics: None, lambda step: None
    )


def loss_gradient(trainer):
    """Play the batch of the trainer's step; its `batch`, `loss` and `gradient`."""
    batch = trainer._generate_and_score_completions(None)
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return {"batch": batch, "loss": loss.item(), "gradient": vector(trainer.model)}


def numpy_rows(trainer, batch):
    """The trainer's batch as the input of `reference_loss`."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    width = batch["completion_ids"].size(1)
    with torch.no_grad():
        logps = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, width)[0]
    batch = {name: tensor.double().cpu() for name, tensor in batch.items()}
    logps, weights = logps.double().cpu(), batch["tool_mask"][:, 0]
    return Rows(
        logps.numpy(),
        batch.get("ref_per_token_logps", logps).numpy(),
        batch["completion_mask"].numpy(),
        (batch["advantages"] * weights).numpy(),
        weights.round().numpy(),
        batch["old_per_token_logps"].numpy() if "old_per_token_logps" in batch else None,
    )


def vector(model):
    """The gradients of all parameters in one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def log_probabilities(model, rows, temperature):
    """Log-probabilities (nats) of the tokens of each (prompt, answer), by a plain forward pass of all that
    are distinct."""
    distinct = list(dict.fromkeys((tuple(prompt), tuple(answer)) for prompt, answer in rows))
    lines = [torch.tensor([*prompt, *answer], device=model.device) for prompt, answer in distinct]
    logits = model(torch.nn.utils.rnn.pad_sequence(lines, batch_first=True)).logits / temperature
    found = {}
    for b, (prompt, answer) in enumerate(distinct):
        logps = logits[b, len(prompt) - 1 : len(prompt) + len(answer) - 1].log_softmax(dim=-1)
        found[prompt, answer] = logps[range(len(answer)), answer]
    return [found[tuple(prompt), tuple(answer)] for prompt, answer in rows]


class Reference:
    """What the loss of a trainer's batch should be, by plain forward passes.

    `logp_D` is the log-probability of what was played at each decision: of the sampled text and, where it
    does not parse, of the action among the legal ones as direct answers. `kl` is the sum of the estimates of
    the KL term over the tokens of all decisions.
    """

    def __init__(self, trainer):
        self.model, tokenizer, temperature = trainer.model, trainer.processing_class, trainer.temperature
        self.decisions = [d for e in trainer.last_episodes for d in e.decisions]
        rows = [(d.prompt_ids, d.completion_ids) for d in self.decisions]
        texts = log_probabilities(self.model, rows, temperature)
        with torch.no_grad():
            before = log_probabilities(trainer.ref_model, rows, temperature)
        self.kl = sum(
            ((t - t.detach()).exp() * ((b - t).exp() - (b - t) - 1)).sum()  # TRL's use_bias_correction_kl
            for b, t in zip(before, texts, strict=True)
        )
        words, end = list(ipd.ACTIONS), templates.end_of_answer(tokenizer)
        answers = [[*ids, end] for ids in tokenizer(words)["input_ids"]]
        unparsed = [d for d in self.decisions if not d.parsed]
        rows = [(d.prompt_ids, answer) for d in unparsed for answer in answers] or rows[:1]
        direct = iter(log_probabilities(self.model, rows, temperature))
        self.logp_D = torch.stack([text.sum() for text in texts])
        for number, decision in enumerate(self.decisions):
            if not decision.parsed:
                totals = torch.stack([next(direct).sum() for _ in words])
                action = totals.log_softmax(0)[words.index(decision.action)]
                at = torch.tensor([number], device=action.device)
                self.logp_D = self.logp_D.index_add(0, at, action[None])

    def gradient(self, policy_term, beta=0.0):
        """Of policy term plus beta times KL, each over the number of all decisions."""
        self.model.zero_grad()
        ((policy_term + beta * self.kl) / len(self.decisions)).backward(retain_graph=True)
        return vector(self.model)


def advantages_of(trainer, given):
    """The advantages of all decisions in one vector, 0 for what the arm leaves out."""
    pairs = zip(trainer.last_episodes, given, strict=True)
    found = torch.cat([torch.zeros(len(e.decisions)) if a is None else torch.tensor(a) for e, a in pairs])
    return found.to(trainer.model.device)


def assert_close(mine, expected):
    """Two gradients, of which the largest entry tells the size."""
    torch.testing.assert_close(mine, expected, atol=1e-3 * float(expected.abs().max()), rtol=0)
