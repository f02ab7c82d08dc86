"""The trainer: what its batch is, that merging changes nothing, that a constant penalty has no gradient."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from trainers import (
    IPD,
    SIZES,
    Reference,
    advantages_of,
    assert_close,
    configuration,
    first_batch,
    loss_gradient,
)

from sepo_lib import games
from sepo_lib.games.base import OBJECTIVE_POOLS
from sepo_lib.measure import kuhn_strategy
from sepo_lib.measure.best_response import BestResponse
from sepo_lib.method import credit, objective
from sepo_lib.play import models, rollouts
from sepo_lib.play.engines import answer_tree, padded
from sepo_lib.play.policy import Answer, load_policy
from sepo_lib.pretrained import adapters
from sepo_lib.studies import penalty_gradient
from sepo_lib.training import sepo


@pytest.fixture(scope="module")
def played():
    model, tokenizer, policy = load_policy("nano", "float32", 0.8, 16)
    plans = rollouts.plan(IPD, "paper", dict.fromkeys(OBJECTIVE_POOLS, 2), seed=2)
    return model, tokenizer, rollouts.play(policy, plans)


def gradient_of(played, how):
    model, _, episodes = played
    given = credit.assign(episodes, IPD, how).advantages
    return penalty_gradient.policy_gradient(model, episodes, given, 0.8)


def test_equal_rows_are_merged_and_their_sums_kept(played):
    _, _, episodes = played
    given = credit.assign(episodes, IPD, credit.preset("unbiased")).advantages
    rows = sepo.merge_rows(episodes, given)
    decisions = sum(len(e.decisions) for e in episodes)
    assert len(rows) < decisions == sum(row.count for row in rows)
    total = sum(row.advantage for row in rows)
    assert total == pytest.approx(sum(a.sum() for a in given), abs=1e-9)
    assert len({(row.prompt_ids, row.completion_ids) for row in rows}) == len(rows)
    with pytest.raises(ValueError, match="The batch holds no decision"):
        sepo.merge_rows([], [])


def test_every_arm_covers_the_same_decisions_and_divides_by_their_number(tmp_path, monkeypatch):
    """The loss of each arm is -(1/N) sum A log pi + beta (1/N) sum KL with N all decisions of the batch; so
    arms differ in their advantages and in nothing else."""
    arms = {}

    def inspect(trainer):
        expected = None
        for arm in credit.ARMS:
            estimator = credit.preset("unbiased", arm)
            trainer.config = replace(trainer.config, estimator=estimator)
            found = loss_gradient(trainer)
            expected = expected or Reference(trainer)  # the play is the same
            given = credit.assign(trainer.last_episodes, IPD, estimator).advantages
            advantage_D = advantages_of(trainer, given)
            policy_term = -(advantage_D * expected.logp_D).sum()
            assert_close(found["gradient"], expected.gradient(policy_term, trainer.beta))
            length_D = torch.tensor(
                [len(d.completion_ids) for d in expected.decisions], device=advantage_D.device
            )
            value = -(advantage_D * length_D).sum() + trainer.beta * expected.kl  # ratios are 1
            assert found["loss"] == pytest.approx(value.item() / len(length_D), abs=1e-4)
            weights = found["batch"]["tool_mask"][:, 0]
            arms[arm] = (int(weights.sum()), int(found["batch"]["num_items_in_batch"]))
            assert advantage_D.pow(2).mean().sqrt() == pytest.approx(1.0, rel=1e-3)

    first_batch(tmp_path, monkeypatch, inspect)
    assert arms == dict.fromkeys(credit.ARMS, (112, 112))  # 7 opponents, 2 rollouts, 8 rounds


def test_rollouts_that_all_earned_the_same_leave_the_kl_term_alone(tmp_path, monkeypatch):
    play = sepo.rollouts.play_distributed

    def even(policy, plans, instead):
        episodes = play(policy, plans, instead)
        for e in episodes:
            e.rounds = [replace(r, payoffs=(1.0, 1.0)) for r in e.rounds]
            e.collusion_T = e.externality_T = [0.0] * len(e.rounds)
        return episodes

    def inspect(trainer):
        found, expected = loss_gradient(trainer), Reference(trainer)
        assert trainer._metrics["train"]["zero_variance_groups"] == [1.0] and expected.kl > 0
        assert not found["batch"]["advantages"].any()
        assert_close(found["gradient"], expected.gradient(0.0, trainer.beta))

    monkeypatch.setattr(sepo.rollouts, "play_distributed", even)
    first_batch(tmp_path, monkeypatch, inspect)


class Fair:
    """Demands half of each item."""

    def answer(self, queries):
        return [Answer(games.deal.half(query.view.facts["pool"])) for query in queries]


def test_larger_groups_know_better_which_exploiter_is_ahead(tmp_path, monkeypatch):
    """The sign of an exploiter's mean margin in the deals of a training step, hence what the clamp `mean`
    charges, is wrong less often in larger groups: every rollout has a deal of its own."""
    batches, margins = 16, {}

    class Planned(Exception):
        pass

    def against_fair(policy, plans, instead):
        hardball = [plan for plan in plans if plan.opponent == "hardball"]
        margins.setdefault(len(hardball), []).append(
            objective.margins(rollouts.play(Fair(), hardball))["hardball"]
        )
        raise Planned

    def inspect(trainer):
        for size in (4, 64):
            trainer.config = replace(trainer.config, rollouts_per_opponent=size)
            for trainer.state.global_step in range(batches):
                with pytest.raises(Planned):
                    trainer._generate_and_score_completions(None)

    monkeypatch.setattr(sepo.rollouts, "play_distributed", against_fair)
    first_batch(tmp_path, monkeypatch, inspect, game=games.get("deal"))
    wrong = {size: np.mean(np.array(values) <= 0) for size, values in margins.items()}  # hardball is ahead
    assert wrong[64] == 0.0 < wrong[4] and len(margins[4]) == batches
    assert 1.0 < np.mean(margins[64]) < 1.8


@pytest.mark.parametrize("preset", credit.PRESETS)
def test_a_constant_penalty_has_no_gradient_and_the_others_have_one(played, preset):
    how = credit.preset(preset)
    gradient = {arm: gradient_of(played, how.with_(arm=arm)) for arm in credit.ARMS}
    scale = gradient["reward_only"].norm()
    assert (gradient["constant"] - gradient["reward_only"]).norm() <= 1e-5 * scale
    assert (gradient["per_rollout"] - gradient["reward_only"]).norm() > 1e-2 * scale
    assert (gradient["credited"] - gradient["reward_only"]).norm() > 1e-2 * scale


def train(folder, **changes):
    """The log of one step."""
    model, tokenizer, policy = load_policy("nano", "float32", 0.8, 16)
    config = configuration(steps=1, **changes)
    return sepo.train(
        model, tokenizer, policy.engine, folder, config, lambda step, metrics: None, lambda step: None
    )


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_in_kuhn_the_clamp_is_given_enumerated_margins(tmp_path, monkeypatch):
    given = []

    class Seen(Exception):
        pass

    def watched(episodes, game, how, weights, means):
        given.append((means, kuhn_strategy.mean_margins(game, "paper", episodes)))
        raise Seen

    monkeypatch.setattr(credit, "assign", watched)
    kuhn = games.get("kuhn")
    for number, changes in enumerate(({}, {"game": kuhn}, {"game": kuhn, "exploiter": BestResponse(1, 4)})):
        with pytest.raises(Seen):
            train(tmp_path / str(number), **changes)
    assert given[0][0] == {}  # what the prisoner's dilemma prompts show is no state of an enumeration
    assert set(given[1][0]) == {"value_bettor", "always_bet"} and given[1][0] == given[1][1]
    assert set(given[2][0]) == {"best_response"} and given[2][0]["best_response"] > 0


@pytest.mark.parametrize("as_trees", [False, True])
def test_the_first_update_follows_the_estimator(played, tmp_path, monkeypatch, as_trees):
    """With no KL term the trainer's gradient is that of -(1/N) sum A log pi, whatever was merged; both ways
    of the penalty's gradient to read the answers give it."""
    log = train(tmp_path, kl_beta=0.0, max_grad_norm=1e9)
    assert log[0]["grad_norm"] > 0
    start, _, policy = load_policy("nano", "float32", 0.8, 16)
    seed = sepo.seeds.derive(SIZES["seed"], "step", 0)
    plans = rollouts.plan(IPD, "paper", dict.fromkeys(OBJECTIVE_POOLS, 2), seed)
    episodes = rollouts.play(policy, plans)
    given = credit.assign(episodes, IPD, credit.preset("unbiased")).advantages
    monkeypatch.setattr(answer_tree, "supports", lambda model: as_trees)
    mine = penalty_gradient.policy_gradient(start, episodes, given, 0.8)
    decisions = sum(len(e.decisions) for e in episodes)
    group = max(e.rollout for e in episodes) + 1
    assert float(mine.norm()) * group / decisions == pytest.approx(log[0]["grad_norm"], rel=1e-3)


def test_lora_trains_an_adapter_and_leaves_the_model(tmp_path):
    before = weights(models.load("nano")[0])
    train(tmp_path, lora={"rank": 4, "alpha": 8, "dropout": 0.0})
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()
    assert torch.equal(before, weights(models.load("nano")[0]))
    shutil.rmtree(tmp_path / "model")


def test_lora_targets_are_the_attention_projections():
    model, _ = models.load("nano")
    config = adapters.lora(model, 4, 8, 0.0)
    adapted = {name.rsplit(".", 1)[-1] for name in config.target_modules}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj"}


def test_the_log_has_every_term(tmp_path):
    log = train(tmp_path)
    for key in ("payoff", "exploit", "collusion", "externality", "objective", "kl", "entropy", "parse_rate"):
        assert np.isfinite(log[0][key]), key


def test_log_probabilities_behind_a_shared_prefix_are_those_of_trl(tmp_path, monkeypatch):
    """Values and gradient equal those of GRPOTrainer's own forward."""
    seen = {}

    def spy(self, inputs):
        batch = sepo.SEPOTrainer.play_batch(self, inputs)
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        keep = batch["completion_ids"].size(1)
        readers = (answer_tree.logps, padded.logps, None)
        for self.read in readers:
            self.model.zero_grad()
            logps, entropies, _ = self._get_per_token_logps_and_entropies(
                self.model, ids, mask, keep, compute_entropy=True
            )
            weight = batch["completion_mask"] * batch["advantages"][:, None]
            (logps * weight).sum().backward()
            gradient = torch.cat([p.grad.flatten().clone() for p in self.model.parameters()])
            seen[self.read] = [
                (logps * batch["completion_mask"]).detach(),
                entropies.detach() * batch["completion_mask"],
                gradient,
            ]
        self.model.zero_grad()
        return batch

    monkeypatch.setattr(
        sepo.SEPOTrainer, "play_batch", sepo.SEPOTrainer._generate_and_score_completions, raising=False
    )
    monkeypatch.setattr(sepo.SEPOTrainer, "_generate_and_score_completions", spy)
    train(tmp_path)
    read = [*seen[answer_tree.logps], *seen[padded.logps]]
    for ours, theirs in zip(read, 2 * seen[None], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max().clamp(min=1)))
