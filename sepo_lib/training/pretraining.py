"""Pre-training of `nano`, the small model that the kit makes from nothing."""

from pathlib import Path

import datasets

from sepo_lib import games
from sepo_lib.config.progress import Report
from sepo_lib.play import models
from sepo_lib.training import demonstrations, sft

PRETRAIN_BATCH = 64
PRETRAIN_LEARNING_RATE = 2e-3


def pretrain(folder: Path, report: Report, *, steps: int, examples: int, batch: int, seed: int) -> dict:
    """Make `nano` from nothing: its tokenizer, then `steps` of pre-training on naive play of all games.

    `examples` naive decisions per game (times `Game.pretraining_share`). Saves to folder/model.
    Returns {"loss": the last one, "parameters": their number}.
    """
    naive = datasets.concatenate_datasets(
        [
            demonstrations.build(name, examples * game.pretraining_share, seed, kind="naive")
            for name, game in games.GAMES.items()
        ]
    )
    expert = [demonstrations.build(game, examples, seed) for game in games.GAMES]
    texts = [m["content"] for row in naive for m in row["prompt"] + row["completion"]]
    texts += 4 * [row["completion"][0]["content"] for data in expert for row in data]  # what it will write
    tokenizer = models.train_tokenizer(texts)
    model = models.new_nano(tokenizer, seed)
    log = sft.train(
        model,
        tokenizer,
        naive.select_columns(["prompt", "completion"]),
        folder,
        sft.SFTSettings(
            steps=steps,
            epochs=1,
            batch=batch,
            learning_rate=PRETRAIN_LEARNING_RATE,
            max_length=512,
            seed=seed,
        ),
        report,
    )
    return {"loss": log[-1]["loss"], "parameters": model.num_parameters()}
