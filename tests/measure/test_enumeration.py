"""The enumerated distribution of a model's actions against brute force, against samples, and its limits."""

import numpy as np
import pytest
import torch

from sepo_lib import games
from sepo_lib.games.kuhn import INFORMATION_SETS
from sepo_lib.measure import enumeration, exploitability, kuhn_strategy
from sepo_lib.play import engines, models
from sepo_lib.play.engines import answer_tree
from sepo_lib.play.policy import LanguageModelPolicy, Query, load_policy
from sepo_lib.run import base_model

KUHN = games.get("kuhn")
VIEWS = [INFORMATION_SETS[number][1] for number in (0, 4, 9)]  # J to open; Q after a pass; J facing a bet
DECISIONS = [(KUHN, view) for view in VIEWS]


def policy_of(max_new_tokens, temperature=0.8, end=0.0):
    """A random `nano` that writes seven tokens only: the four words, a line end, a letter, the end.

    `end` is added to the logit of the end token. Returns the policy and the token ids.
    """
    tokenizer = models.load("nano")[1]
    model = base_model.new_nano(tokenizer, seed=4).eval().to(models.device())
    written = [tokenizer(text)["input_ids"] for text in ("PASS", "BET", "CALL", "FOLD", "\n", "I")]
    ids = [*(token for (token,) in written), tokenizer.eos_token_id]
    others = torch.ones(len(tokenizer), dtype=torch.bool, device=model.device)
    others[ids] = False

    def narrow(module, args, logits):
        logits = 4 * logits.masked_fill(others, -torch.inf)
        logits[..., tokenizer.eos_token_id] += end
        return logits

    model.lm_head.register_forward_hook(narrow)
    engine = engines.make(model, tokenizer)
    return LanguageModelPolicy(engine, tokenizer, temperature, max_new_tokens), ids


@torch.inference_mode()
def brute_force(policy, view, ids, length):
    """P(action) by writing out every answer up to `length` tokens, each probability from a plain forward."""
    model, tokenizer, end = policy.engine.model, policy.tokenizer, ids[-1]
    ((_, prompt),) = policy.encode([KUHN.messages(view)])

    def after(prefixes):
        rows = torch.tensor([[*prompt, *prefix] for prefix in prefixes], device=model.device)
        return torch.softmax(model(rows).logits[:, -1].double() / policy.temperature, dim=-1)

    direct = []
    for word in view.legal:
        (token,) = tokenizer(word)["input_ids"]
        direct.append(float(after([()])[0, token] * after([(token,)])[0, end]))
    found = dict.fromkeys([*view.legal, None], 0.0)
    reach = {(): 1.0}
    for depth in range(length):
        p_NV = after(list(reach))
        for row, (prefix, p) in enumerate(list(reach.items())):
            for token in ids:
                now = p * float(p_NV[row, token])
                if token == end:
                    found[KUHN.parse(tokenizer.decode(list(prefix)), view.legal)] += now
                elif depth + 1 == length:
                    found[None] += now  # not finished
                else:
                    reach[(*prefix, token)] = now
        reach = {prefix: p for prefix, p in reach.items() if len(prefix) == depth + 1}
    spread = found.pop(None) * np.array(direct) / sum(direct)
    return np.array(list(found.values())) + spread


@pytest.mark.parametrize("trees", [True, False])
def test_it_is_the_sum_over_all_answers(trees, monkeypatch):
    if not trees:
        monkeypatch.setattr(answer_tree, "supports", lambda model: False)
    policy, ids = policy_of(max_new_tokens=3)
    found = enumeration.action_distributions(policy, DECISIONS, mass=0.999999, most_nodes=500)
    for p_A, view in zip(found, VIEWS, strict=True):
        truth = brute_force(policy, view, ids, 3)
        assert truth.sum() == pytest.approx(1.0) and p_A == pytest.approx(truth, abs=2e-6)
    assert np.ptp([p_A[0] for p_A in found]) > 0.01  # they are not all alike


def test_what_is_left_out_bounds_the_error():
    policy, ids = policy_of(max_new_tokens=4)
    truth = [brute_force(policy, view, ids, 4) for view in VIEWS]
    for mass, most_nodes in [(0.6, 5), (0.6, 10_000), (0.9, 40), (0.9, 10_000)]:
        found = enumeration.action_distributions(policy, DECISIONS, mass, most_nodes)
        for p_A, true_A in zip(found, truth, strict=True):
            left = 1 - p_A.sum()
            assert (p_A <= true_A + 1e-6).all() and (true_A <= p_A + left + 1e-6).all()
            assert most_nodes < 10_000 or left <= 1 - mass


def test_it_agrees_with_a_large_sample():
    policy, _ = policy_of(max_new_tokens=8, end=4.0)
    found = enumeration.action_distributions(policy, DECISIONS, mass=0.99, most_nodes=900)
    for p_A, view in zip(found, VIEWS, strict=True):
        assert p_A.sum() >= 0.99
        answers = policy.answer([Query(KUHN, view, seed) for seed in range(3000)])
        share = np.mean([answer.action == view.legal[1] for answer in answers])
        p = p_A[1] / p_A.sum()
        assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 3000) + 0.01  # and 0.01 left out


def test_a_greedy_policy_has_one_answer():
    policy, _ = policy_of(max_new_tokens=3, temperature=0.0)
    found = enumeration.action_distributions(policy, DECISIONS, most_nodes=9)
    sampled = policy.answer([Query(KUHN, view, seed) for view in VIEWS for seed in range(2)])
    for number, (p_A, view) in enumerate(zip(found, VIEWS, strict=True)):
        assert p_A.sum() == pytest.approx(1.0)
        if sampled[2 * number].parsed:
            assert view.legal[int(p_A.argmax())] == sampled[2 * number].action


@pytest.mark.parametrize("mass, most_nodes", [(0.0, 10), (1.0, 10), (0.9, 2)])
def test_impossible_limits_are_refused(mass, most_nodes):
    with pytest.raises(ValueError, match="at least 3 nodes"):
        enumeration.action_distributions(None, DECISIONS, mass, most_nodes)


def test_nano_is_enumerated_and_where_the_mass_is_not_reached_the_row_says_sampled():
    policy = load_policy("nano", "float32", 0.8, 32)[2]
    full = kuhn_strategy.read_strategy(policy, KUHN, kuhn_strategy.Reading(64, 0.999, 2000), 5)
    few = kuhn_strategy.read_strategy(policy, KUHN, kuhn_strategy.Reading(64, 0.999, 40), 5)
    assert set(few["reading"]) == {"sampled", "constrained"} and (few["enumerated_mass"] < 0.999).any()
    assert (full[full["reading"] == "enumerated"].groupby("state")["probability"].sum().round(9) == 1).all()
    new, old = exploitability.row(full, KUHN, "paper"), exploitability.row(few, KUHN, "paper")
    assert (new["nashconv_method"], old["nashconv_method"]) == ("enumerated", "sampled")
    assert new["enumerated_mass"] >= 0.999 > old["enumerated_mass"] and np.isnan(old["nashconv_enumerated"])
    assert old["nashconv"] == new["nashconv_sampled"] != new["nashconv"]
    assert 0 < new["nashconv_high"] - new["nashconv_low"] < 0.01
    assert new["nashconv_sampled_low"] <= new["nashconv"] <= new["nashconv_sampled_high"]
