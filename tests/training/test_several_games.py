"""A training on several games: the loss is the mean of the games' losses, and a resumed run continues."""

from dataclasses import replace

import pytest
import torch
from trainers import IPD, assert_close, configuration, first_batch, loss_gradient

from sepo_lib import games
from sepo_lib.games.base import Weights
from sepo_lib.measure.best_response import BestResponse
from sepo_lib.play.policy import load_policy
from sepo_lib.training import sepo

KUHN = games.get("kuhn")
ALSO = (sepo.Batch(KUHN, "paper", 3),)


def test_the_gradient_is_the_mean_of_those_of_the_games(tmp_path, monkeypatch):
    """Kuhn has other group sizes, another number of decisions and other weights of J."""

    def inspect(trainer):
        two = trainer.config
        together, decisions = loss_gradient(trainer), {}
        for episode in trainer.last_episodes:
            decisions[episode.game] = decisions.get(episode.game, 0) + len(episode.decisions)
        metrics = {name: values[-1] for name, values in trainer._metrics["train"].items()}
        assert len(set(decisions.values())) == 2
        alone = []
        for game, pools, size in (sepo.Batch(IPD, "paper", 2), *ALSO):
            trainer.config = replace(two, game=game, pools=pools, rollouts_per_opponent=size, also=())
            alone.append(loss_gradient(trainer))
            logged = {name: values[-1] for name, values in trainer._metrics["train"].items()}
            for name in ("objective", "exploit", "parse_rate"):
                assert metrics[f"{name}/{game.name}"] == pytest.approx(logged[name])
            assert logged["decisions"] == decisions[game.name]
        objectives = [metrics[f"objective/{name}"] for name in decisions]
        assert metrics["objective"] == pytest.approx(sum(objectives) / 2)
        assert_close(together["gradient"], (alone[0]["gradient"] + alone[1]["gradient"]) / 2)
        assert together["loss"] == pytest.approx((alone[0]["loss"] + alone[1]["loss"]) / 2, abs=1e-5)
        cosine = torch.cosine_similarity(alone[0]["gradient"], alone[1]["gradient"], dim=0)
        assert abs(cosine) < 0.9  # so that the mean is neither of the two

    first_batch(tmp_path, monkeypatch, inspect, also=ALSO)


def test_a_training_on_two_games_that_was_stopped_continues_exactly(tmp_path):
    class Stopped(Exception):
        pass

    def stop(step):
        if step == 2:
            raise Stopped

    def trained(folder, evaluate=lambda step: None):
        model, tokenizer, policy = load_policy("nano", "float32", 0.8, 16)
        config = configuration(game=games.get("split"), steps=2, also=ALSO)
        sepo.train(model, tokenizer, policy.engine, folder, config, lambda step, metrics: None, evaluate)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", stop)
    begun = torch.cat([p.flatten() for p in load_policy("nano", "float32", 0.8, 16)[0].parameters()])
    whole = trained(tmp_path / "whole")
    assert torch.equal(trained(tmp_path / "stopped"), whole) and not torch.equal(whole, begun)


def test_what_fits_one_game_is_refused_with_several():
    for one in ({"exploiter": BestResponse(1, 4)}, {"penalty_weights": Weights(1.0, 1.0, 1.0)}):
        with pytest.raises(ValueError, match="fit one game"):
            configuration(steps=1, also=ALSO, **one)
