"""The probabilities of a language model's actions at a decision, summed over the answers that it may write.

Nothing is sampled. The tree of answers is expanded from its most probable nodes, for all decisions at once.
The probability of an answer that has ended goes to the action that the answer is parsed to. An answer without
a legal action, or without an end after `max_new_tokens` tokens, is unparsed. Its probability is distributed
over the actions as the constrained decode does it (`LanguageModelPolicy`).
"""

from collections.abc import Sequence

import numpy as np
import torch

from sepo_lib.games.base import Game, View
from sepo_lib.play.engines import scoring
from sepo_lib.play.policy import LanguageModelPolicy

_NODES = 1024  # most nodes of a batch
_ENTRIES = 2**23  # most entries of a batch: nodes times vocabulary


@torch.inference_mode()
def action_distributions(
    policy: LanguageModelPolicy,
    decisions: Sequence[tuple[Game, View]],
    mass: float = 0.999,
    most_nodes: int = 20_000,
) -> list[np.ndarray]:
    """Probabilities of the legal actions at each decision, in the order of `View.legal`, shape (A,) each.

    A decision's answers are summed until their probabilities add up to `mass`, or until `most_nodes` nodes
    (beginnings of answers) of all decisions together have been read. The sum of an array is the probability
    that was reached. The rest up to 1 belongs to the answers left out, and could all be that of one action.
    Temperature, end tokens and the longest answer are those of `policy`. Raises ValueError for a mass outside
    (0, 1) or less than one node a decision.
    """
    if not 0 < mass < 1 or most_nodes < len(decisions):
        raise ValueError(
            f"Enumerating needs a mass between 0 and 1 and at least {len(decisions)} nodes; found {mass} and "
            f"{most_nodes}."
        )
    end_ids = sorted({int(token) for token in policy.engine.end_ids})
    prompts = [ids for _, ids in policy.encode([game.messages(view) for game, view in decisions])]
    sums = [dict.fromkeys([*view.legal, None], 0.0) for _, view in decisions]  # None: unparsed
    nodes = [(number, ()) for number in range(len(decisions))]
    p_N = np.ones(len(nodes))
    read: list[tuple[int, tuple[int, ...]]] = []
    waiting_F, waiting_p_F = np.empty(0, dtype=np.int64), np.empty(0)  # number of a read node times V + token
    while nodes:
        p_NV = p_N[:, None] * _next(policy, prompts, nodes)
        vocabulary = p_NV.shape[1]
        for row, (number, prefix) in enumerate(nodes):
            game, view = decisions[number]
            for token in end_ids:
                text = policy.tokenizer.decode([*prefix, token], skip_special_tokens=True)
                sums[number][game.parse(text, view.legal)] += p_NV[row, token]
            p_NV[row, end_ids] = 0
            if len(prefix) + 1 == policy.max_new_tokens:
                sums[number][None] += p_NV[row].sum()
                p_NV[row] = 0
        found_F = np.argpartition(p_NV, -min(most_nodes, p_NV.size), axis=None)[-most_nodes:]
        waiting_F = np.concatenate([waiting_F, len(read) * vocabulary + found_F])
        waiting_p_F = np.concatenate([waiting_p_F, p_NV.ravel()[found_F]])
        read += nodes
        open_ = np.array([sum(found.values()) < mass for found in sums])
        number_F = np.array([number for number, _ in read])[waiting_F // vocabulary]
        waiting_p_F[~open_[number_F]] = 0
        order_F = np.argsort(-waiting_p_F, kind="stable")[: most_nodes - len(read)]
        order_F = order_F[waiting_p_F[order_F] > 0]
        waiting_F, waiting_p_F = waiting_F[order_F], waiting_p_F[order_F]
        batch = min(_NODES, max(1, _ENTRIES // vocabulary), max(len(decisions), len(read) // 4))
        parents = [(*read[at // vocabulary], int(at % vocabulary)) for at in waiting_F[:batch]]
        nodes, p_N = [(number, (*prefix, token)) for number, prefix, token in parents], waiting_p_F[:batch]
        waiting_F, waiting_p_F = waiting_F[batch:], waiting_p_F[batch:]
    constrained = policy.option_logps(decisions)
    return [
        np.array([found[action] for action in view.legal]) + found[None] * np.exp(logps)
        for (_, view), found, logps in zip(decisions, sums, constrained, strict=True)
    ]


def _next(policy: LanguageModelPolicy, prompts: Sequence, nodes: Sequence) -> np.ndarray:
    """The distribution that the policy samples the next token from at each node, shape (N, V)."""
    logp_NV = scoring.following(
        policy.engine.model,
        [prompts[number] for number, _ in nodes],
        [prefix for _, prefix in nodes],
        policy.temperature or 1.0,
    )
    if policy.temperature == 0:
        greedy_NV = torch.zeros_like(logp_NV).scatter_(1, logp_NV.argmax(dim=-1, keepdim=True), 1.0)
        return greedy_NV.cpu().double().numpy()
    return logp_NV.cpu().double().exp().numpy()
