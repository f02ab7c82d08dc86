"""The rows of a training step as tensors."""

import pytest
import torch

from sepo_lib.play.engines.rows import Row, share_of, to_tensors


def test_padding_and_weights_of_the_batch():
    long, short = Row((5, 6, 7), (8,), 0.5, 3), Row((5,), (9, 10), -1.0, 1)
    rows = [long, short, Row((5, 6), (8, 9), 2.0, 1)]
    batch = to_tensors(share_of(rows, 0, 1, multiple_of=2), 5, 0, torch.device("cpu"))
    assert batch["prompt_ids"][:3].tolist() == [[5, 6, 7], [0, 0, 5], [0, 5, 6]]
    assert batch["completion_ids"][:3].tolist() == [[8, 0], [9, 10], [8, 9]]
    assert batch["completion_mask"][:3].tolist() == [[1, 0], [1, 1], [1, 1]]
    assert batch["tool_mask"][:, 0].tolist() == [3.0, 1.0, 1.0, 0.0]  # the last row only fills the batch
    weighed = batch["advantages"] * batch["tool_mask"][:, 0]
    assert weighed.tolist() == [0.5, -1.0, 2.0, 0.0]
    direct = to_tensors([long, Row((5,), (9,), 0.7, 0)], 3, 0, torch.device("cpu"))
    weighed = direct["advantages"] * direct["tool_mask"][:, 0]
    assert weighed.tolist() == pytest.approx([0.5, 0.7]) and direct["tool_mask"][1, 0] < 1e-30
    assert direct["num_items_in_batch"] == 3
    assert batch["num_items_in_batch"].dim() == 0 and batch["num_items_in_batch"] == 5
