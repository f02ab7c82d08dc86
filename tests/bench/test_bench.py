"""The benchmark: its instruments, and that finished cells are kept."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from bench_tables import table
from trl.chat_template_utils import supports_tool_calling

from sepo_lib import games
from sepo_lib.bench import baselines, meters, suites
from sepo_lib.config import paths
from sepo_lib.play import models, rollouts
from sepo_lib.report import bench_page


def test_the_suites_name_registered_games_and_the_baselines():
    for model, suite in suites.SUITES.items():
        assert {*suite.games, *suite.scaling} <= set(games.GAMES)
        assert set(suites.TARGETS[model]) == {suites.ONE, suites.BATCHED}


def test_a_summary_is_the_median_and_the_range_of_the_turns():
    rows = [
        {"arm": "a", "group_size": 4, "measure": "m", "value": v, "turn": t} for t, v in enumerate([3, 1, 9])
    ]
    (one,) = meters.summarized(rows)
    assert (one["value"], one["low"], one["high"], one["turns"]) == (3, 1, 9, 3)


def test_the_meter_adds_seconds_and_counts_tokens_with_a_backward_more(monkeypatch):
    ticks = iter([0.0, 1.0, 5.0, 7.5])
    monkeypatch.setattr(meters, "clock", lambda: next(ticks))
    meter = meters.Meter()
    work = meter.timed("work", lambda: None)
    work(), work()
    assert meter.total["work"] == 3.5
    forward = meter.counted(lambda model, input_ids: None, backward_weight=3)
    with torch.no_grad():
        forward(None, input_ids=torch.zeros(2, 5))
    forward(None, input_ids=torch.zeros(1, 4))
    assert meter.total["passes"] == 10 + 12


def test_finished_cells_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    measured = []

    def cells(model, suite):
        rows = table().drop(columns=["model", "game", "part", "key"])
        for part in ("arms", "step"):
            mine = table()["part"] == part
            yield suites.Cell(
                "bench",
                "kuhn",
                part,
                0,
                lambda part=part, mine=mine: measured.append(part) or rows[mine].to_dict("records"),
            )

    monkeypatch.setattr(suites, "cells", cells)
    said = []
    suites.run(["nano"], said.append)
    suites.run(["nano"], said.append)
    assert measured == ["arms", "step"] and [line.endswith("kept") for line in said].count(True) == 2
    assert json.loads((paths.results("bench") / "hardware.json").read_text())["threads"] == 1
    assert {file.name for file in paths.figures("bench").iterdir()} >= {"arms_nano.png", "step_nano.pdf"}
    monkeypatch.setattr(suites, "BATCH", 32)
    suites.run(["nano"], said.append)
    assert measured == ["arms", "step"] * 2  # other settings: measured again
    with pytest.raises(ValueError, match="choose from nano, smollm2"):
        suites.run(["gpt"])


@pytest.mark.parametrize("game", ["kuhn", "split"])
def test_a_step_is_measured_by_its_parts(game):
    # Whatever the profile says, of all games or game by game, must reach the trainer.
    suite = replace(suites.SUITES["nano"], profile="smoke")
    found = {row["measure"]: row["value"] for row in suites.measure_steps(suite, "nano", game, 2, 1)}
    parts = sum(found[f"{part}_seconds"] for part in ("generation", "logps", "update", "rest"))
    assert parts == pytest.approx(found["step_seconds"]) and found["generation_seconds"] > 0
    assert found["step_decisions"] >= found["step_rows"] > 0


def test_a_profile_shares_the_time_out_among_the_kinds_of_work():
    profile, a = meters.OperatorProfile(), torch.randn(768, 768)
    profile.start()
    profile.start()  # as every micro-batch of a step does
    for _ in range(5):
        a @ a
    torch.cat([a[:8], a[:8]])
    shares = profile.stop()
    assert set(shares) == {f"{kind}_share" for kind in (*meters.OPERATORS, meters.OUTSIDE)}
    assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) >= 0
    assert shares["products_share"] > shares["moving_share"] > shares["attention_share"] == 0


def test_a_step_of_trl_trains_on_the_decisions_of_the_same_episodes():
    suite = replace(suites.SUITES["nano"], profile="smoke")
    rows = suites.measure_trl(suite, "nano", "kuhn", 2, 1)
    assert {row["arm"] for row in rows} == {suites.TRL}
    found = {row["measure"]: row["value"] for row in rows}
    parts = [found[f"{part}_seconds"] for part in bench_page.TRL_PARTS[1:]]
    assert sum(parts) == pytest.approx(found["step_seconds"]) and min(parts) > 0
    _, tokenizer, policy = suites._load(suite, "nano")
    played = rollouts.play(policy, suites.plans_of(games.get("kuhn"), 2))
    assert found["step_decisions"] == sum(len(episode.decisions) for episode in played)
    assert not supports_tool_calling(tokenizer)  # so TRL's `environment_factory` cannot play with nano
    keys = {"model": "nano", "game": "kuhn", "part": "trl_step", "key": "k"}
    ours = keys | {"part": "step", "group_size": 2, "measure": "step_seconds", "arm": suites.OURS}
    ours["value"] = found["step_seconds"] / 4
    (shown,) = bench_page.trainers(pd.DataFrame([*({**keys, **row} for row in rows), ours]))
    assert shown["times a SEPO step"] == "4.0" and shown["decisions"] == f"{found['step_decisions']:.0f}"


def test_rows_for_trl_are_decisions_filled_up_with_the_first():
    _, _, policy = suites._load(replace(suites.SUITES["nano"], profile="smoke"), "nano")
    episodes = rollouts.play(policy, suites.plans_of(games.get("split"), 2)[:2])
    decisions = [decision for episode in episodes for decision in episode.decisions]
    found = baselines._as_rows(episodes, len(decisions) + 2)
    assert found["prompt_ids"][:-2] == [decision.prompt_ids for decision in decisions]
    assert found["completion_ids"][-2:] == [decisions[0].completion_ids] * 2
    assert found["payoff"][-3] == pytest.approx(episodes[-1].own_T.mean())


def test_continuous_batching_answers_every_prompt(monkeypatch):
    model, tokenizer = models.load("nano")
    engine = baselines.ContinuousEngine(model, [tokenizer.eos_token_id], at_once=2)
    prompts = [[5, *range(20, 20 + length)] for length in (3, 40, 7)]  # one more than the cache holds
    samples = engine.sample(prompts, np.zeros((3, 6)), 0.8)
    assert len(samples) == 3 and all(1 <= len(sample.ids) <= 6 for sample in samples)
    assert all(sample.finished == (sample.ids[-1] == tokenizer.eos_token_id) for sample in samples)
    monkeypatch.setattr(type(model), "generate_batch", lambda self, *a, **k: {})  # as after an error inside
    with pytest.raises(RuntimeError, match="0 answers to 3 prompts"):
        engine.sample(prompts, np.zeros((3, 6)), 0.8)


def test_a_replayed_decode_step_counts_its_tokens_and_a_called_one_counts_them_once():
    meter, decoder = meters.Meter(), SimpleNamespace(token_B1=torch.zeros(3, 1))
    meter.replayed(lambda decoder: None)(decoder)  # a CUDA graph calls no forward pass
    assert meter.total["passes"] == 3
    forward = meter.counted(lambda model, input_ids: None, 1)
    meter.replayed(lambda decoder: forward(None, input_ids=decoder.token_B1))(decoder)
    assert meter.total["passes"] == 6
