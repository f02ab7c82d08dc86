"""The key-value caches of the engine `static`: read in caches that grow, decoded in buffers of fixed sizes.

Every attention layer keeps all tokens, also one with a sliding window: its mask hides what left the window.
"""

import copy
import itertools
from collections.abc import Sequence

import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import (
    CacheLayerMixin,
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

_STATES_DIFFER = 0.02  # the largest relative difference of two states that counts as rounding


def empty_cache(model: PreTrainedModel) -> Cache:
    """A cache that grows, whose sliding layers keep all tokens.

    Raises ValueError for a model with layers of another kind.
    """
    layers = DynamicCache(config=model.config.get_text_config()).layers
    for number, layer in enumerate(layers):
        if type(layer) is DynamicSlidingWindowLayer:
            layers[number] = DynamicLayer()
        elif type(layer) not in (DynamicLayer, LinearAttentionLayer, DummyLayer):
            raise ValueError(f"its cache has layers of the kind {type(layer).__name__}")
    return Cache(layers=layers)


@torch.inference_mode()
def goes_on(model: PreTrainedModel, ids: Sequence[int]) -> bool:
    """Whether recurrent layers go on from the state that an earlier call has left, when they read several
    tokens: the states of the first one after two calls, the second with two tokens, are those after one call.
    Some begin anew with every call of several tokens.

    States show it better than log-probabilities do, whose rounding in bfloat16 can be larger. In the first
    recurrent layer little rounding has come together.
    """
    states = []
    for cuts in ((0, len(ids)), (0, len(ids) - 2, len(ids))):
        cache = empty_cache(model)
        for begin, end in itertools.pairwise(cuts):
            positions = torch.arange(begin, end, device=model.device)[None]
            part = torch.tensor([list(ids[begin:end])], device=model.device)
            model(
                input_ids=part,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        kept = [layer for layer in cache.layers if _is_recurrent(layer)][:1]
        states.append([state.float() for layer in kept for _, _, state in _states(layer)])
    pairs = zip(*states, strict=True)
    return all(bool((one - two).norm() <= _STATES_DIFFER * one.norm()) for one, two in pairs)


def repeated(cache: Cache, rows: int) -> Cache:
    """A copy of a cache of one row with `rows` rows."""
    repeated = copy.deepcopy(cache)
    repeated.reorder_cache(torch.zeros(rows, dtype=torch.long))
    return repeated


def masks(config, columns_C: torch.Tensor, position_B1: torch.Tensor, dtype: torch.dtype):
    """The attention masks of a decode step, (B, 1, 1, C) each, as a model with this text config takes them.

    They are added to the scores: 0 where a token attends, else the lowest number. A model with several kinds
    of layers takes a dict, kind -> mask. Raises ValueError for a kind whose mask is not known.
    """
    seen_BC = columns_C <= position_B1

    def mask(kind: str) -> torch.Tensor | None:
        if kind in ("linear_attention", "conv"):
            return None
        if kind == "full_attention":
            sees = seen_BC
        elif kind == "sliding_attention":
            sees = seen_BC & (columns_C > position_B1 - config.sliding_window)
        elif kind == "chunked_attention":
            chunk = config.attention_chunk_size
            sees = seen_BC & (columns_C // chunk == position_B1 // chunk)
        else:
            raise ValueError(f"it has layers of the kind {kind}")
        lowest = torch.finfo(dtype).min
        return torch.zeros_like(sees, dtype=dtype).masked_fill_(~sees, lowest)[:, None, None]

    if getattr(config, "layer_types", None) is not None:
        found = {kind: mask(kind) for kind in set(config.layer_types)}
        return found if any(value is not None for value in found.values()) else None
    if getattr(config, "sliding_window", None) is not None:
        return mask("sliding_attention")
    return mask("chunked_attention" if getattr(config, "attention_chunk_size", None) else "full_attention")


class Buffers:
    """The memory of the caches of all batches of a model. Caches of other sizes are views of the same memory,
    so only one batch is decoded at a time."""

    def __init__(self, model: PreTrainedModel):
        cache = empty_cache(model)
        ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        model(input_ids=ids, position_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self._model, self._pattern = model, cache.layers  # the kinds and shapes of the layers
        self._rows = self._cells = 0
        self._flat: dict[tuple, torch.Tensor] = {}
        keys = [layer for layer in cache.layers if type(layer) is DynamicLayer]
        states = [state for layer in cache.layers if _is_recurrent(layer) for _, _, state in _states(layer)]
        self.recurrent = bool(states)
        self.cell_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in keys)
        self._state_bytes = sum(state.nbytes for state in states)

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row of a cache with so many columns."""
        return self.cell_bytes * columns + self._state_bytes

    def bytes(self) -> int:
        """Bytes of all buffers."""
        return self.cell_bytes * self._cells + self._state_bytes * self._rows

    def hold(self, rows: int, columns: int) -> bool:
        """Whether the buffers are large enough for a cache of these sizes."""
        return rows <= self._rows and rows * columns <= self._cells

    def grow(self, rows: int, columns: int) -> None:
        """Make the buffers large enough. Caches made before must not be used any more."""
        self._rows, self._cells = max(rows, self._rows), max(rows * columns, self._cells)
        self._flat.clear()

    def cache(self, rows: int, columns: int) -> Cache:
        """A cache of these sizes."""
        layers = []
        for number, layer in enumerate(self._pattern):
            if type(layer) is DynamicLayer:
                views = [
                    self._view((number, name), state, rows, columns)
                    for name, state in (("keys", layer.keys), ("values", layer.values))
                ]
                layers.append(_Attention(*views))
            elif _is_recurrent(layer):
                own = _Recurrent(layer)
                for kind, index, state in _states(layer):
                    getattr(own, kind)[index] = self._view((number, kind, index), state, rows, None)
                layers.append(own)
            else:
                layers.append(_Nothing())
        return Cache(layers=layers)

    def _view(self, name: tuple, like: torch.Tensor, rows: int, columns: int | None) -> torch.Tensor:
        """The part of the buffer `name` for so many rows, of the shape of `like` (one row, one column)."""
        numbers = like.numel() * (self._rows if columns is None else self._cells)
        if name not in self._flat:  # zeros: what is not attended to must be finite
            self._flat[name] = torch.zeros(numbers, dtype=like.dtype, device=like.device)
        shape = (rows, *like.shape[1:])
        if columns is not None:
            shape = (rows, like.shape[1], columns, like.shape[3])
        return self._flat[name][: torch.Size(shape).numel()].view(shape)


class _Attention(CacheLayerMixin):
    """Keys and values of a layer, (B, heads, C, D); a token's column is its position."""

    is_compileable = True
    is_sliding = False
    position_B1: torch.Tensor  # the positions of the tokens that are read next

    def __init__(self, keys: torch.Tensor, values: torch.Tensor):
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True
        self.position_B1 = keys.new_zeros(len(keys), 1, dtype=torch.long)

    def update(self, key_states, value_states, *args, **kwargs):
        """Write one token a row at its position."""
        for kept, new in ((self.keys, key_states), (self.values, value_states)):
            kept.scatter_(2, self.position_B1[:, :, None, None].expand_as(new), new)
        return self.keys, self.values

    def fill(self, rows: slice, source_B: torch.Tensor, read: DynamicLayer) -> None:
        """Copy the rows source_B of `read` to `rows`."""
        if read.is_initialized:
            for kept, new in ((self.keys, read.keys), (self.values, read.values)):
                kept[rows, :, : new.shape[2]].copy_(new.index_select(0, source_B))

    def lazy_initialization(self, key_states, value_states) -> None:
        """Nothing: the buffers are there."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns, first column)."""
        return self.keys.shape[2], 0

    def get_seq_length(self) -> int:
        """The number of columns: rows differ in how many of them they have written."""
        return self.keys.shape[2]

    def get_max_length(self) -> int:
        """The number of columns."""
        return self.keys.shape[2]


class _Recurrent(LinearAttentionLayer):
    """The states of a recurrent layer, which the model overwrites in place."""

    def __init__(self, like: LinearAttentionLayer):
        vars(self).update({name: copy.copy(value) for name, value in vars(like).items()})

    def fill(self, rows: slice, source_B: torch.Tensor, read: LinearAttentionLayer) -> None:
        """Copy the rows source_B of `read` to `rows`; the states are 0 where nothing was read."""
        for kind, index, state in _states(self):
            if (new := getattr(read, kind)[index]) is None:
                state[rows].zero_()
            else:
                state[rows].copy_(new.index_select(0, source_B))


class _Nothing(DummyLayer):
    """A layer without a cache of its own."""

    def fill(self, rows: slice, source_B: torch.Tensor, read: DummyLayer) -> None:
        """Nothing."""


def _is_recurrent(layer) -> bool:
    return isinstance(layer, LinearAttentionLayer)


def _states(layer: LinearAttentionLayer) -> list[tuple[str, int, torch.Tensor]]:
    """(attribute, index, tensor) of the states that the layer has."""
    pairs = itertools.product(("conv_states", "recurrent_states"), range(layer.number_of_states))
    return [(kind, i, state) for kind, i in pairs if (state := getattr(layer, kind)[i]) is not None]
