"""Lines of token ids of any lengths as one tensor."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn.utils.rnn import pad_sequence


def pad(
    lines: Sequence[Sequence[int]], side: Literal["left", "right"], value: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) of the lines, each (B, L), padded on one side with `value` and 0."""
    rows = [torch.tensor(line, dtype=torch.long) for line in lines]
    ones = [torch.ones_like(row) for row in rows]
    ids_BL, mask_BL = (
        pad_sequence(columns, batch_first=True, padding_value=fill, padding_side=side)
        for columns, fill in ((rows, value), (ones, 0))
    )
    return ids_BL, mask_BL
