"""The instruments of the benchmark: clocks, memory, counted tokens, and a profile by kind of operator.

Time is the processor time of this process on one CPU thread, so that other work on the machine counts less,
and elapsed time on a GPU or with several threads.
"""

import functools
import gc
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pandas as pd
import torch

from sepo_lib.play import models, rollouts
from sepo_lib.play.engines import static
from sepo_lib.training import sepo

#: Kind of operator -> how the names of its operators begin. The first kind that fits counts.
OPERATORS = {
    "attention": (
        *("aten::_scaled_dot_product", "aten::_flash_attention"),
        *("aten::bmm", "aten::baddbmm", "aten::_softmax"),  # the kit's engine, while it generates answers
    ),
    "products": ("aten::mm", "aten::addmm", "aten::mkldnn_linear"),
    "moving": ("aten::cat", "aten::index", "aten::_index", "aten::copy_", "aten::gather", "aten::scatter"),
    "elementwise": ("aten::",),
}
OUTSIDE = "outside"  # time outside all operators: Python, games, tokenizer, calling the operators


def _on_gpu() -> bool:
    return models.device().type == "cuda"


def clock() -> float:
    """Seconds: processor time of this process with one CPU thread, else elapsed time."""
    if _on_gpu():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def matmul_rate(dtype: torch.dtype) -> float:
    """Floating-point operations per second of a square matrix product: the best of eight measurements.

    On a GPU the matrix is large and a measurement has several products, so starting them hardly counts.
    """
    size, products = (8192, 8) if _on_gpu() else (768, 1)
    a = torch.randn(size, size, device=models.device()).to(dtype)
    a @ a
    seconds = []
    for _ in range(8):
        began = clock()
        for _ in range(products):
            a @ a
        seconds.append(clock() - began)
    return 2 * size**3 * products / min(seconds)


def reset_peak() -> None:
    """Reset the peak of memory, if the system can."""
    if _on_gpu():
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Peak memory in MiB of the GPU or of this process, since `reset_peak` (on Linux) or since its start."""
    if _on_gpu():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # in bytes on macOS


def summarized(rows: list[dict]) -> list[dict]:
    """One row per arm, group size and measure: median (`value`), `low`, `high` and number of measurements."""
    values = pd.DataFrame(rows).groupby(["arm", "group_size", "measure"], sort=False)["value"]
    table = values.agg(value="median", low="min", high="max", turns="size")
    return table.reset_index().to_dict("records")


class Meter:
    """`total` holds seconds by name, and as `passes` the number of tokens that went through the model.

    A token with a backward pass counts `backward_weight` times.
    """

    def __init__(self):
        self.total = Counter()

    def timed(self, name: str, function: Callable, begin: Callable[[], None] = lambda: None) -> Callable:
        """`function`, with its seconds added to `name`; every call calls `begin` first."""

        @functools.wraps(function)
        def run(*args, **kwargs):
            begin()
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                self.total[name] += clock() - began

        return run

    def counted(self, forward: Callable, backward_weight: int) -> Callable:
        """A model's `forward` that adds its tokens to `passes`."""

        @functools.wraps(forward)
        def run(model, *args, **kwargs):
            tokens = kwargs["input_ids"].numel()
            self.total["passes"] += tokens * (backward_weight if torch.is_grad_enabled() else 1)
            return forward(model, *args, **kwargs)

        return run

    def replayed(self, step: Callable) -> Callable:
        """A `static.Decoder.step` that adds its tokens to `passes`, if it has called no forward pass.

        A CUDA graph repeats the work of a forward pass without calling it.
        """

        @functools.wraps(step)
        def run(decoder):
            before = self.total["passes"]
            step(decoder)
            if self.total["passes"] == before:
                self.total["passes"] += decoder.token_B1.numel()

        return run

    @contextmanager
    def watch(
        self,
        model,
        backward_weight: int = 1,
        begin: Callable = lambda: None,
        trainer: type = sepo.SEPOTrainer,
    ) -> Iterator["Meter"]:
        """Measure play, reference log-probabilities and the steps of `trainer` inside the body."""
        with ExitStack() as stack:

            def patch(owner, name, new):
                stack.enter_context(mock.patch.object(owner, name, new))

            patch(type(model), "forward", self.counted(type(model).forward, backward_weight))
            patch(static.Decoder, "step", self.replayed(static.Decoder.step))
            patch(rollouts, "play", self.timed("generation", rollouts.play))
            if reference := getattr(trainer, "reference_logps", None):  # TRL's trainer has none
                patch(trainer, "reference_logps", self.timed("logps", reference))
            inputs = trainer._prepare_inputs
            patch(trainer, "_prepare_inputs", self.timed("inputs", inputs))
            patch(trainer, "training_step", self.timed("training", trainer.training_step, begin))
            yield self


class OperatorProfile:
    """The share of the time between `start` and `stop` that each kind of operator takes.

    The profiler itself runs outside the operators, so the share of OUTSIDE is an upper bound.
    """

    def __init__(self):
        self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        self._began: float | None = None

    def start(self) -> None:
        """Start the profiler. Later calls do nothing."""
        if self._began is None:
            gc.collect()  # else the memory of an earlier profile could be collected during this one
            self._profiler.start()
            self._began = time.perf_counter()

    def stop(self) -> dict[str, float]:
        """The shares of OPERATORS and OUTSIDE, with keys `<kind>_share`; they add up to 1."""
        seconds = time.perf_counter() - self._began
        self._profiler.stop()
        spent = dict.fromkeys(OPERATORS, 0.0)
        for event in self._profiler.key_averages():
            kind = next((k for k, names in OPERATORS.items() if event.key.startswith(names)), None)
            if kind:
                spent[kind] += event.self_cpu_time_total / 1e6 / seconds
        spent[OUTSIDE] = 1 - sum(spent.values())
        return {f"{kind}_share": share for kind, share in spent.items()}
