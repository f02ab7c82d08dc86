"""What notebooks 01 to 03 compute by hand is what the kit's trainers use: the tagged cells, run with nano."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from trainers import numpy_rows

from sepo_lib import games
from sepo_lib.config import profiles
from sepo_lib.games import OBJECTIVE_POOLS
from sepo_lib.method import credit
from sepo_lib.method.loss import reference_loss
from sepo_lib.play.policy import load_policy
from sepo_lib.studies import worked_example
from sepo_lib.training import demonstrations, sepo, sft

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def by_hand(notebook, change=lambda source: source, **names):
    """The names of a notebook after its imports and its cells with the tag by-hand."""
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    tagged = [cell.source for cell in cells if "by-hand" in cell.metadata.get("tags", [])]
    imports = [
        line
        for cell in cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
        if line.startswith(("import ", "from "))
    ]
    assert len(tagged) > 3
    found = {"settings": profiles.load("smoke"), **names}
    with mpl.rc_context({"backend": "agg"}):
        for source in ("\n".join(imports), *tagged):
            exec(compile(change(source), notebook, "exec"), found)
    return found


@pytest.fixture(scope="module")
def watched():
    """(names of notebook 03, the trainer, its batch, its loss)."""
    seen = SimpleNamespace()

    class Watched(sepo.SEPOTrainer):
        def compute_loss(self, model, inputs, **options):
            loss = super().compute_loss(model, inputs, **options)
            seen.trainer, seen.batch, seen.loss = self, inputs, loss.item()
            seen.rows = numpy_rows(self, inputs)
            return loss

    model, tokenizer, policy = load_policy("nano", "float32", 0.8, 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sepo, "SEPOTrainer", Watched)
        seen.names = by_hand("03_sepo_grpo", model_=model, tokenizer=tokenizer, policy=policy)
    return seen


def test_the_trainer_plays_the_episodes_of_the_notebook(watched):
    theirs = watched.trainer.last_episodes
    assert [e.rounds for e in theirs] == [e.rounds for e in watched.names["episodes"]]
    ids = [
        [d.completion_ids for e in played for d in e.decisions]
        for played in (theirs, watched.names["episodes"])
    ]
    assert ids[0] == ids[1]


def test_the_trainer_uses_the_advantages_of_the_notebook(watched):
    """Row by row of the batch, and with the sizes that the notebook states."""
    batch, names = watched.batch, watched.names
    expected = {(row.prompt_ids, row.completion_ids): row.advantage for row in names["rows"]}
    found = {}
    for line in range(len(batch["prompt_ids"])):
        parts = (
            (batch[f"{part}_ids"][line], batch[f"{part}_mask"][line].bool())
            for part in ("prompt", "completion")
        )
        key = tuple(tuple(ids[mask].tolist()) for ids, mask in parts)
        found[key] = watched.rows.advantages_B[line]
    assert found.keys() == expected.keys() and len(found) > 10
    assert all(found[key] == pytest.approx(expected[key], abs=1e-5) for key in found)
    assert names["by_hand"].keys() == credit.PRESETS.keys()
    assert any(abs(value) > 0.1 for value in expected.values())
    for preset, hand in names["by_hand"].items():
        assert list(hand) == (["train"] if preset == "published" else list(OBJECTIVE_POOLS))


def test_the_loss_by_hand_is_that_of_the_trainer(watched):
    names, config = watched.names, watched.trainer.config
    expected = reference_loss(watched.rows, config.clip, config.kl_beta, len(names["decisions"]))
    assert watched.loss == pytest.approx(expected, abs=1e-5)
    assert names["loss_by_hand"] == pytest.approx(expected, abs=1e-5) and abs(expected) > 1e-4
    assert names["log"]["loss"] == pytest.approx(expected, abs=1e-5)
    assert names["log"]["objective"] == pytest.approx(names["J"], abs=1e-9)


def test_the_step_raises_what_the_loss_asks_for(watched):
    assert (watched.names["row_A"] * watched.names["change"]).sum() > 0


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("* G / (G - 1)", ""), ("ddof=1", "ddof=0"), ("x_exploiter_GT / 2", "x_exploiter_GT")],
)
def test_wrong_arithmetic_stops_the_notebook(wrong, right):
    model, tokenizer, policy = load_policy("nano", "float32", 0.8, 16)
    with pytest.raises(AssertionError, match="sepo_lib differs from the cell above"):
        by_hand(
            "03_sepo_grpo",
            lambda source: source.replace(wrong, right),
            model_=model,
            tokenizer=tokenizer,
            policy=policy,
        )


def test_the_loss_of_one_example_is_the_mean_over_the_tokens_in_the_loss(monkeypatch):
    seen = []

    class Watched(sft.AnswerTrainer):
        def compute_loss(self, model, inputs, *arguments, **options):
            seen.append({name: value.clone() for name, value in inputs.items()})
            return super().compute_loss(model, inputs, *arguments, **options)

    monkeypatch.setattr(sft, "AnswerTrainer", Watched)
    model, tokenizer, _ = load_policy("nano", "float32", 0.8, 16)
    train = {"epochs": 1, "batch": 4, "learning_rate": 1e-3, "max_length": 512, "seed": 1}
    names = by_hand(
        "02_sft",
        model_=model,
        tokenizer=tokenizer,
        data=demonstrations.build("ipd", 20, seed=1).select_columns(["prompt", "completion"]),
        jobs_sft=[SimpleNamespace(arguments={"train": train})],
    )
    (batch,) = seen
    assert torch.equal(batch["input_ids"][0], names["ids_L"]) and torch.equal(
        batch["labels"][0], names["labels_L"]
    )
    kept = [loss for loss in names["losses"] if loss is not None]
    assert len(kept) == (batch["labels"] != -100).sum() < len(names["losses"])
    assert names["loss"] == pytest.approx(np.mean(kept), abs=1e-5) and names["loss"] > 1


def test_the_example_of_notebook_01_is_judged():
    names = by_hand("01_demonstrations")
    assert list(names["judged"].values()) == [True, False, False, None]
    assert [message["role"] for message in names["chat"]] == ["system", "user", "assistant"]


def test_one_opponent_each_leaves_the_game_as_it_is():
    game = games.get("kuhn")
    small = worked_example.one_opponent_each(game, "conflict")
    assert {pool: list(small.pool("conflict", pool)) for pool in ("train", "exploiter")} == {
        pool: list(game.pool("conflict", pool))[:1] for pool in ("train", "exploiter")
    }
    assert len(games.get("kuhn").pool("conflict", "train")) > 1 and "paper" not in small.pools


def test_tokens_outside_the_loss_are_grey_and_text_is_escaped():
    shown = worked_example.tokens_as_html(["<|user|>", "so", "no"], [None, 2.0, 1.0])
    assert shown.count("opacity") == 1 and "&lt;|user|&gt;" in shown and "loss 2.00 nats" in shown
    assert "rgba(222,143,5,0.85)" in shown and "rgba(222,143,5,0.50)" in shown
