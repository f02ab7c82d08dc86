"""Answers that do not parse: what is trained is the probability of what was played, text and action."""

import itertools

import numpy as np
import pytest
import torch
from episodes import episode
from trainers import Reference, advantages_of, assert_close, first_batch, loss_gradient

from sepo_lib.games import ipd
from sepo_lib.method import credit
from sepo_lib.method.records import Options
from sepo_lib.studies import penalty_gradient
from sepo_lib.training import sepo

# ----------------------------------------------------------------------------- a table, all enumerated

ACTIONS = ipd.ACTIONS
#: The action of each of a table's texts: direct answers, answers with a reason, and two without an action.
TEXTS = (*ACTIONS, *ACTIONS, None, None)
STATES = ((), *itertools.product(ACTIONS, repeat=2))  # what a prompt shows: the round before
#: At every prompt half of the answers parse.
LOGITS = torch.log(
    torch.tensor(
        [
            [0.10, 0.15, 0.20, 0.05, 0.30, 0.20],
            [0.05, 0.20, 0.15, 0.10, 0.10, 0.40],
            [0.20, 0.02, 0.08, 0.20, 0.25, 0.25],
            [0.03, 0.07, 0.30, 0.10, 0.35, 0.15],
            [0.15, 0.15, 0.10, 0.10, 0.45, 0.05],
        ],
        dtype=torch.float64,
    )
)


def playouts(log_p):
    """Two rounds against tit-for-tat, all of them: [(probability, decisions, payoffs)], a decision being
    (state, text, action)."""
    decoded = log_p[:, : len(ACTIONS)].softmax(dim=1)  # among the direct answers

    def decide(state):
        for text, action in enumerate(TEXTS):
            for drawn, name in enumerate(ACTIONS):
                if action is None:
                    yield log_p[state, text].exp() * decoded[state, drawn], (state, text, name)
                elif action == name:
                    yield log_p[state, text].exp(), (state, text, name)

    for p, first in decide(0):
        shown = (first[2], ipd.COOPERATE)
        for q, second in decide(STATES.index(shown)):
            payoffs = [ipd.PAYOFFS[shown][0], ipd.PAYOFFS[second[2], first[2]][0]]
            yield p * q, (first, second), payoffs


def exact_gradient():
    logits = LOGITS.clone().requires_grad_()
    log_p = logits.log_softmax(dim=1)
    return torch.autograd.grad(sum(p * sum(payoffs) for p, _, payoffs in playouts(log_p)), logits)[0]


def expected_estimate(unparsed):
    """The mean of sum A grad log pi over all play, from the rows of `sepo.merge_rows`; A is the reward to go
    minus its mean. `unparsed`: what is done with such decisions (with options, text only, or left out)."""
    logits = LOGITS.clone().requires_grad_()
    log_p = logits.log_softmax(dim=1)
    everything = [(float(p), *rest) for p, *rest in playouts(log_p.detach())]
    assert sum(p for p, _, _ in everything) == pytest.approx(1.0)
    baseline_T = sum(p * np.cumsum(payoffs[::-1])[::-1] for p, _, payoffs in everything)
    batch, advantages = [], []
    for p, decisions, payoffs in everything:
        played = episode("train", "tit_for_tat", 0, own=payoffs, other=payoffs)
        advantage_T = p * (np.cumsum(payoffs[::-1])[::-1] - baseline_T)
        for t, (state, text, action) in enumerate(decisions):
            decision = played.decisions[t]
            decision.prompt_ids, decision.completion_ids, decision.action = [state], [text], action
            if TEXTS[text] is None and unparsed == "left out":
                advantage_T[t] = 0.0
            if TEXTS[text] is None and unparsed == "options":
                chances = log_p[state, : len(ACTIONS)].softmax(dim=0).detach().numpy()
                decision.options = Options(ACTIONS, ((0,), (1,)), chances)
        batch.append(played)
        advantages.append(advantage_T)
    rows = sepo.merge_rows(batch, advantages)
    total = sum(row.advantage * log_p[row.prompt_ids[0], row.completion_ids[0]] for row in rows)
    return torch.autograd.grad(total, logits)[0]


def test_the_estimate_is_the_gradient_of_j_only_with_the_constrained_decode_in_it():
    """Parse rate 0.5, all of play enumerated: no sampling error."""
    parsed = [action is not None for action in TEXTS]
    assert LOGITS.exp()[:, parsed].sum(dim=1).tolist() == pytest.approx([0.5] * len(STATES))
    truth = exact_gradient()
    cosine = {}
    for how in ("options", "text only", "left out"):
        cosine[how] = float(torch.cosine_similarity(truth.flatten(), expected_estimate(how).flatten(), dim=0))
    torch.testing.assert_close(expected_estimate("options"), truth)
    assert cosine["options"] > 0.999999
    assert cosine["text only"] < 0.9 and cosine["left out"] < 0.9, cosine


# ------------------------------------------------------------------------------------ a language model


def test_the_trainer_follows_the_probability_of_what_was_played(tmp_path, monkeypatch, capsys):
    """The gradient of the trainer and that of the penalty's study are those of log P(text) + log pi(action),
    and the KL term covers the sampled text alone."""
    rates = []

    def inspect(trainer):
        found = loss_gradient(trainer)
        given = credit.assign(trainer.last_episodes, trainer.config.game, trainer.config.estimator).advantages
        expected, advantage_D = Reference(trainer), advantages_of(trainer, given)
        policy_term = -(advantage_D * expected.logp_D).sum()
        rates.append(np.mean([d.parsed for d in expected.decisions]))
        assert_close(found["gradient"], expected.gradient(policy_term, trainer.beta))
        alone = expected.gradient(policy_term) * len(expected.decisions) / -2  # G
        assert_close(
            penalty_gradient.policy_gradient(trainer.model, trainer.last_episodes, given, 2.0).float(), alone
        )

    first_batch(tmp_path, monkeypatch, inspect, max_new_tokens=8, temperature=2.0)
    assert 0.2 < rates[0] < 0.8
    assert (
        f"parse rate {int(rates[0] * 1000) / 1000:g}: the actions of the other answers"
        in capsys.readouterr().out
    )
