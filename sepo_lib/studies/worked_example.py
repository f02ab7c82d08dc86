"""One training step on an example that is small enough to follow by hand, for notebooks 02 and 03.

The notebooks do the arithmetic. These functions run the trainers of the kit on the example, and leave nothing
on the disk.
"""

import copy
import html
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datasets import Dataset

from sepo_lib.games.base import Game
from sepo_lib.play.engines import Engine
from sepo_lib.training import sepo, sft


def one_opponent_each(game: Game, pools: str = "paper") -> Game:
    """A copy of `game` with one pool set, whose pools hold only their first opponent in `pools`."""
    small = copy.copy(game)
    first = {pool: dict([next(iter(game.pool(pools, pool).items()))]) for pool in game.pools[pools]}
    small.pools = {pools: first}
    return small


def sft_step(model, tokenizer, example: Mapping, settings: sft.SFTSettings) -> float:
    """The loss that supervised fine-tuning computes on one example (columns: see `examples.prepare`).

    Nats per token, before the step. The step then changes `model`.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, once = Dataset.from_list([dict(example)]), replace(settings, batch=1, steps=1)
        return sft.train(model, tokenizer, data, Path(folder), once, lambda step, metrics: None)[0]["loss"]


def sepo_step(model, tokenizer, engine: Engine, config: sepo.SEPOConfig) -> dict[str, float]:
    """The metrics of the first step of `SEPOTrainer`, which plays its batch itself and changes `model`.

    The batch is that of `rollouts.plan` with the seed `derive(config.seed, "step", 0)`.
    """
    with tempfile.TemporaryDirectory() as folder:
        once = replace(config, steps=1, checkpoint_every=1, exploiter=None)
        log = sepo.train(
            model, tokenizer, engine, Path(folder), once, lambda step, metrics: None, lambda step: None
        )
    engine.model.eval()
    return log[0]


def tokens_as_html(tokens: Sequence[str], losses: Sequence[float | None]) -> str:
    """The tokens of an example in a row: those outside the loss (None) grey, the others shaded by their loss.

    The darkest shade is the largest loss.
    """
    largest = max((loss for loss in losses if loss is not None), default=0.0) or 1.0
    spans = []
    for token, loss in zip(tokens, losses, strict=True):
        look = (
            "opacity:.45" if loss is None else f"background:rgba(222,143,5,{0.15 + 0.7 * loss / largest:.2f})"
        )
        title = "not in the loss" if loss is None else f"loss {loss:.2f} nats"
        text = html.escape(token).replace("\n", "⏎<br>")
        spans.append(f'<span style="{look};border-radius:2px" title="{title}">{text}</span>')
    return f'<div style="white-space:pre-wrap;max-width:860px;line-height:1.7">{"".join(spans)}</div>'
