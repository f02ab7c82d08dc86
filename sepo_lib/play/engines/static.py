"""The engine `static`: padded batches in buffers of fixed sizes, and on a GPU a CUDA graph for each step.

The decode step of a small model takes a GPU less time than Python needs to start its kernels. A CUDA graph
starts all of them at once. It needs buffers of fixed sizes at fixed places: `static_cache` holds them. In
every row a token lies at the column of its position, so no row needs padding on the left:

    column   0 1 2 3 4 5 6 7
    row 0    p p p p p a a .     p prompt, a answer, . not yet written; no row attends to columns
    row 1    p p p a a . . .     behind its own position

1. Distinct prompts are read once, without their last token; what all of them share is read only once.
2. Their caches are copied to the rows of their answers.
3. The decode step reads one token a row, first the prompt's last one, and draws the next one.

Axes in this file: _B answers, the rows of a batch, _L tokens of an answer, _C columns of the cache.
"""

import itertools
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import Cache, PreTrainedModel

from sepo_lib.config import progress
from sepo_lib.config.errors import in_one_line
from sepo_lib.play.engines.base import Engine, Sample, check, pick_tokens, to_samples
from sepo_lib.play.engines.prefix_cache import all_alike
from sepo_lib.play.engines.static_cache import Buffers, empty_cache, masks, repeated
from sepo_lib.pretrained import gpu

_OTHERS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
_ROWS = {"cpu": 256, "cuda": 1024}  # the largest number of answers in a batch
_COLUMNS = 128  # caches have a multiple of so many columns
_DECODERS = 32  # decode steps that are kept, each with its graph
_CHECKED = {"cpu": 1, "cuda": 8}  # steps between two looks at whether all answers have ended
_CALL_WORTH = {"cpu": 0.0, "cuda": 6e12}  # operations done in the time of one more call of the model
_TOKENS = 2**15  # the largest number of tokens read in one call
_CPU_BYTES = 2**33  # the memory that a CPU is taken to have free
_ACTIVATIONS = 160  # bytes of activations per token read and unit of the hidden size, rounded up


class StaticEngine(Engine):
    """See the module. The answers are those of `generate`, up to the rounding of other kernels.

    A batch holds at most `max_rows` answers (None: what the free memory allows, at most 1024), and half as
    many each time that the memory does not suffice. `graphs` says whether decode steps become CUDA graphs
    (None: on a GPU); a step that cannot be captured runs without one. `shares` says whether what all prompts
    of a batch begin with is read once (None: where that saves time).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        end_ids: Sequence[int],
        max_rows: int | None = None,
        graphs: bool | None = None,
        shares: bool | None = None,
    ):
        self.model, self.max_rows, self.shares = model, max_rows, shares
        self.end_ids = torch.tensor(sorted(end_ids), device=model.device)
        self.graphs = model.device.type == "cuda" if graphs is None else graphs
        self._decoders: OrderedDict[tuple, Decoder] = OrderedDict()
        self._buffers: Buffers | None = None
        self._state: tuple = ()

    @torch.inference_mode()
    def sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """See `Engine.sample`."""
        check(prompts, uniforms_BL)
        self._refresh()
        longest = max(map(len, prompts), default=0) + uniforms_BL.shape[1] - 1
        most = self._most_rows(_rounded_up(longest, _COLUMNS))
        samples = None
        try:
            samples = self._batches(prompts, uniforms_BL, temperature, most)
        except torch.OutOfMemoryError:
            if most == 1:
                raise
        if samples is None:  # here, as the error holds on to the tensors of the failed batch
            self.max_rows = most // 2
            self._forget()
            torch.cuda.empty_cache()
            return self.sample(prompts, uniforms_BL, temperature)
        if self._buffers.bytes() > self._free_bytes() // 2:  # training needs the memory
            self._forget()
        return samples

    def _batches(self, prompts, uniforms_BL, temperature, most: int) -> list[Sample]:
        """The answers, written in batches of at most `most` rows; prompts of similar length go together."""
        samples: list[Sample | None] = [None] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda b: (len(prompts[b]), tuple(prompts[b])))
        for start in range(0, len(order), most):
            part = order[start : start + most]
            found = self._sample([tuple(prompts[b]) for b in part], uniforms_BL[part], temperature)
            for b, sample in zip(part, found, strict=True):
                samples[b] = sample
        return samples

    def _sample(self, prompts, uniforms_BL, temperature) -> list[Sample]:
        """One batch; `prompts` are in ascending order of their lengths."""
        length = uniforms_BL.shape[1]
        columns = _rounded_up(len(prompts[-1]) + length - 1, _COLUMNS)
        decoder = self._decoder(_bucket(len(prompts)), columns, length, temperature)
        self._prefill(decoder, prompts)
        decoder.start(prompts, torch.as_tensor(uniforms_BL, dtype=torch.float64))
        every = _CHECKED.get(self.model.device.type, 1)
        for step in range(length):
            if step and step % every == 0 and not decoder.alive_B.any():
                break
            decoder.step()
        rows = slice(len(prompts))
        progress.sampled(int(decoder.length_B[rows].sum()))
        return to_samples(decoder.ids_BL[rows], decoder.logps_BL[rows], decoder.length_B[rows], self.end_ids)

    def _prefill(self, decoder: "Decoder", prompts) -> None:
        """Fill the decoder's cache with all tokens of the prompts except the last ones."""
        counts = Counter(prompts)
        distinct = list(counts)
        begin = distinct[0][: all_alike(distinct)]
        saved = 2 * self._parameters * len(begin) * (len(distinct) - 1)  # operations
        worth = saved >= _CALL_WORTH.get(self.model.device.type, 0.0)
        if len(distinct) > 1 and not (worth if self.shares is None else self.shares):
            begin = ()
        shared = self._read(empty_cache(self.model), [begin], 0)
        row = 0
        for part in self._parts(distinct, len(begin)):
            rests = [prompt[len(begin) : -1] for prompt in part]
            cache = self._read(repeated(shared, len(part)), rests, len(begin))
            source = [number for number, prompt in enumerate(part) for _ in range(counts[prompt])]
            decoder.fill(row, torch.tensor(source, device=self.model.device), cache)
            row += len(source)

    def _read(self, cache: Cache, rests, begin: int) -> Cache:
        """The cache after it has read one rest a row, padded on the right, from position `begin` on.

        No token attends to the padding behind it, so attention needs no mask for it.
        """
        width = max(map(len, rests))
        if width:
            device = self.model.device
            ids = torch.tensor([[*rest, *[0] * (width - len(rest))] for rest in rests], device=device)
            positions = torch.arange(begin, begin + width, device=device).expand(len(rests), -1)
            self.model(
                input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
        return cache

    def _parts(self, prompts, begin: int) -> Iterator[list]:
        """Prompts that are read in one call: as many as the memory allows. Padding would change the state of
        a recurrent layer, so if the model has one, prompts of equal length only."""
        cell, allowed = self._buffers.cell_bytes, self._free_bytes() // 8
        activations = _ACTIVATIONS * self.model.config.get_text_config().hidden_size
        part: list = []
        for prompt in prompts:
            rows, rest = len(part) + 1, len(prompt) - 1 - begin
            many = rows * rest > _TOKENS or rows * (3 * cell * len(prompt) + activations * rest) > allowed
            if part and (many or (self._buffers.recurrent and len(prompt) != len(part[0]))):
                yield part
                part = []
            part.append(prompt)
        yield part

    def _decoder(self, rows: int, columns: int, length: int, temperature: float) -> "Decoder":
        """The decode step for a batch of these sizes, with its graph."""
        key = (rows, columns, length, temperature)
        if key in self._decoders:
            self._decoders.move_to_end(key)
            return self._decoders[key]
        if not self._buffers.hold(rows, columns):
            self._decoders.clear()
            self._buffers.grow(rows, columns)
        elif len(self._decoders) == _DECODERS:
            self._decoders.popitem(last=False)
        cache = self._buffers.cache(rows, columns)
        decoder = self._decoders[key] = Decoder(
            self.model, cache, (rows, columns, length), self.end_ids, temperature
        )
        if self.graphs:
            try:
                decoder.capture(self._pool)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # whatever an architecture does that a graph cannot hold
                self.graphs = False
                torch.cuda.synchronize()
                print(f"The engine static runs without CUDA graphs: {in_one_line(error)}.", flush=True)
        return decoder

    def _refresh(self) -> None:
        """Forget buffers and graphs when the model or the place of a weight is another one than before."""
        state = _state_of(self.model)
        if self._buffers is None or state != self._state:
            self._forget()
            self._buffers, self._state = Buffers(self.model), state
            self._parameters = sum(parameter.numel() for parameter in self.model.parameters())
            self._pool = torch.cuda.graph_pool_handle() if self.graphs else None

    def _forget(self) -> None:
        self._decoders.clear()
        self._buffers = None

    def _most_rows(self, columns: int) -> int:
        """The largest number of rows in a batch with so many columns."""
        if self.max_rows:
            return self.max_rows
        vocabulary = self.model.config.get_text_config().vocab_size
        row = self._buffers.row_bytes(columns) + 24 * vocabulary  # logits, and what sampling makes of them
        allowed = int(self._free_bytes() / 2 / row)
        most = min(_ROWS.get(self.model.device.type, _ROWS["cpu"]), allowed)
        return max([1, *(size for size in _BUCKETS if size <= most)])

    def _free_bytes(self) -> int:
        """The memory that is free, or that this engine or PyTorch hold and can give back."""
        if self.model.device.type != "cuda":
            return _CPU_BYTES
        return gpu.free_bytes() + self._buffers.bytes()


class Decoder:
    """The decode step of a batch of fixed sizes (rows, columns, length), and all tensors that it works on."""

    def __init__(self, model, cache: Cache, sizes: tuple[int, int, int], end_ids, temperature: float):
        self.model, self.cache, self.end_ids, self.temperature = model, cache, end_ids, temperature
        (rows, columns, length), device = sizes, model.device
        self.token_B1, self.position_B1 = (
            torch.zeros(rows, 1, dtype=torch.long, device=device) for _ in range(2)
        )
        for layer in cache.layers:
            if hasattr(layer, "position_B1"):
                layer.position_B1 = self.position_B1
        self.rows_B = torch.arange(rows, device=device)
        self.columns_C = torch.arange(columns, device=device)
        self.alive_B = torch.zeros(rows, dtype=torch.bool, device=device)
        self.length_B = torch.zeros(rows, dtype=torch.long, device=device)
        self.ids_BL = torch.zeros(rows, length, dtype=torch.long, device=device)
        self.logps_BL, self.uniforms_BL = (
            torch.zeros(rows, length, dtype=torch.float64, device=device) for _ in range(2)
        )
        self.number_1 = torch.zeros(1, dtype=torch.long, device=device)  # of the step
        self._graph: torch.cuda.CUDAGraph | None = None

    def fill(self, row: int, source_B: torch.Tensor, read: Cache) -> None:
        """Copy the rows source_B of `read` to the rows from `row` on."""
        rows = slice(row, row + len(source_B))
        for own, other in zip(self.cache.layers, read.layers, strict=True):
            own.fill(rows, source_B, other)

    def start(self, prompts, uniforms_BL: torch.Tensor) -> None:
        """Begin the answers to `prompts`, whose other tokens are in the cache."""
        rows = slice(len(prompts))
        self._rest()
        self.token_B1[rows, 0] = torch.tensor([prompt[-1] for prompt in prompts]).to(self.token_B1)
        self.position_B1[rows, 0] = torch.tensor([len(prompt) - 1 for prompt in prompts]).to(self.token_B1)
        self.alive_B[rows] = True
        self.uniforms_BL[rows] = uniforms_BL.to(self.uniforms_BL)

    def step(self) -> None:
        """Draw one more token of every answer that has not ended."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._step()

    def capture(self, pool) -> None:
        """Record the step as a CUDA graph. Memory `pool` is shared with other graphs.

        The attention of cuDNN is the fastest here. It makes a plan for every new shape, which takes longer
        than the attention itself, but a graph has one shape.
        """
        with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, *_OTHERS]):
            self._capture(pool)

    def _capture(self, pool) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._rest()
            self._step()  # libraries choose and prepare their kernels
        torch.cuda.current_stream().wait_stream(side)
        self._rest()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            self._step()
        self._graph = graph

    def _rest(self) -> None:
        """No answer is being written."""
        for tensor in (self.token_B1, self.position_B1, self.alive_B, self.length_B, self.number_1):
            tensor.zero_()

    def _step(self) -> None:
        """The step itself: no value in a tensor decides what is computed, so that a graph can hold it."""
        config = self.model.config.get_text_config()
        logits_BV = self.model(
            input_ids=self.token_B1,
            position_ids=self.position_B1,
            attention_mask=masks(config, self.columns_C, self.position_B1, self.model.dtype),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        uniform_B = self.uniforms_BL.index_select(1, self.number_1)[:, 0]
        token_B, logp_B = pick_tokens(logits_BV.float(), self.rows_B, uniform_B, self.temperature)
        self.ids_BL.index_copy_(1, self.number_1, token_B[:, None])
        self.logps_BL.index_copy_(1, self.number_1, logp_B[:, None])
        self.length_B.add_(self.alive_B)
        self.position_B1.add_(self.alive_B[:, None])
        self.token_B1.copy_(token_B[:, None])
        self.alive_B.logical_and_((token_B[:, None] != self.end_ids).all(dim=1))
        self.number_1.add_(1)


_BUCKETS = (1, 2, 4, 8, 16, 32, *range(64, 1025, 64))  # the sizes of batches


def _bucket(rows: int) -> int:
    """The size of the batch for so many rows."""
    return next((size for size in _BUCKETS if size >= rows), _rounded_up(rows, _BUCKETS[-1]))


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _state_of(model: PreTrainedModel) -> tuple:
    """What a graph of the model depends on: the places of its tensors, and how its modules are switched.

    Optimizers write new weights to the old places, so a graph stays right.
    """
    tensors = itertools.chain(model.parameters(), model.buffers())
    switches = ("training", "_disable_adapters", "_active_adapter", "merged_adapters")
    return (
        id(model),
        *(tensor.data_ptr() for tensor in tensors),
        *(str([vars(module).get(name) for name in switches]) for module in model.modules()),
        *(id(vars(module).get("forward")) for module in model.modules()),  # trainers replace it
    )
