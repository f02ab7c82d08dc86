"""How fast play and training are, against plain `generate`, and how far from the machine's limit.

Three ways to play the same planned episodes with the same model, in one process, in turns:

    one_at_a_time   one episode after the other, one prompt a call of `generate`, as in the authors' code
    batched         lock-step, `generate` on padded batches of BATCH prompts
    shared_prefix   lock-step, the kit's engine

A ratio is taken within a turn, and its median and range over the turns are reported. Time is the processor
time of this process on one CPU thread (so that other work on the machine counts less), and elapsed time on a
GPU. Compute is counted as 2 x parameters x tokens that went through the model, three times that for tokens
with a backward pass (twice with LoRA), over the rate of a large matrix product measured in the same turn.
"""

import functools
import gc
import hashlib
import json
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch

from sepo_lib import figures, games
from sepo_lib.config import paths, profiles
from sepo_lib.method import credit
from sepo_lib.play import models, rollouts
from sepo_lib.play.engines.engine import GenerateEngine
from sepo_lib.play.policy import LanguageModelPolicy, load_policy, sampling
from sepo_lib.report import documents, findings
from sepo_lib.run import job_arguments, provenance
from sepo_lib.training import sepo

NAME = "bench"  # of its folders in data/results and figures
VERSION = 3  # of what is measured: the finished cells of another one are not kept
BATCH = 64  # prompts a call of `generate`; more at once was no faster
SEED = 7
ONE, BATCHED, OURS = "one_at_a_time", "batched", "shared_prefix"
KEYS = ["model", "game", "part", "arm", "group_size"]
#: What the operators of a profile do, by how their names begin; the first that fits counts.
OPERATORS = {
    "attention": (
        *("aten::_scaled_dot_product", "aten::_flash_attention"),
        *("aten::bmm", "aten::baddbmm", "aten::_softmax"),  # of the engine's, where it writes answers
    ),
    "products": ("aten::mm", "aten::addmm", "aten::mkldnn_linear"),
    "moving": ("aten::cat", "aten::index", "aten::_index", "aten::copy_", "aten::gather", "aten::scatter"),
    "elementwise": ("aten::",),
}
PROFILES = {"play_profile": "play", "step_profile": "a step"}  # parts of the table, and their names
OUTSIDE = "outside"  # of all operators: Python, the games, the tokenizer, calling the operators
BEGIN, END = "<!-- written by `make bench` -->", "<!-- end of what `make bench` writes -->"


@dataclass(frozen=True)
class Suite:
    """What is measured for a model. `ticks` cuts every episode of the comparison short (None: whole ones);
    `singles` episodes are played one at a time; `scaling` has the most episodes of a step, by game."""

    profile: str
    games: tuple[str, ...]
    sizes: tuple[int, ...]
    step_sizes: tuple[int, ...]
    steps: int
    turns: int
    ticks: int | None
    singles: int
    scaling: dict[str, int]


SUITES = {
    "nano": Suite(
        "laptop",
        ("ipd", "kuhn", "deal"),
        sizes=(4, 8, 16, 32, 64),
        step_sizes=(4, 8, 16, 32, 64),
        steps=4,
        turns=5,
        ticks=None,
        singles=2,
        scaling={"kuhn": 4096, "ipd": 1024},
    ),
    "smollm2": Suite(
        "smollm2",
        ("kuhn", "deal"),
        sizes=(4, 16, 64),
        step_sizes=(2, 4),
        steps=1,
        turns=2,
        ticks=2,
        singles=1,
        scaling={},
    ),
}
#: model -> the least ratio to one_at_a_time and to batched that is aimed at.
TARGETS = {"nano": (25.0, 6.0), "smollm2": (8.0, 2.5)}
DOUBLING_TARGET = 1.6


class TorchSampler(GenerateEngine):
    """`generate` with its own sampler and no log-probabilities: the fastest that a baseline can be."""

    def _write(self, ids_BL, mask_BL, uniforms_BL, temperature):
        sampling = self.config(
            uniforms_BL.shape[1], do_sample=True, temperature=temperature, top_k=0, top_p=1.0
        )
        whole = self.model.generate(ids_BL, attention_mask=mask_BL, generation_config=sampling)
        written = whole[:, ids_BL.shape[1] :]
        return written, torch.zeros(written.shape)


# -------------------------------------------------------------------------------------- instruments


def clock() -> float:
    """Seconds: elapsed on a GPU or with several threads, of this process's processor time with one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def matmul_rate(dtype: torch.dtype, size: int = 768) -> float:
    """Floating-point operations a second of a square matrix product, the best of eight."""
    a = torch.randn(size, size, device=models.device()).to(dtype)
    a @ a
    seconds = []
    for _ in range(8):
        began = clock()
        a @ a
        seconds.append(clock() - began)
    return 2 * size**3 / min(seconds)


def reset_peak() -> None:
    """Forget the peak of memory so far, where the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Peak memory since `reset_peak`, MiB: of the GPU, or of the process (its whole life if not on Linux)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


class Meter:
    """Seconds by name, and `passes`: tokens that went through the model, those with a backward weigh more."""

    def __init__(self):
        self.total = Counter()

    def timed(self, name: str, function: Callable, begin: Callable[[], None] = lambda: None) -> Callable:
        """`function`, its seconds added to `name`; `begin` is called first."""

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
        """A model's `forward` that counts the tokens it is given."""

        @functools.wraps(forward)
        def run(model, *args, **kwargs):
            tokens = kwargs["input_ids"].numel()
            self.total["passes"] += tokens * (backward_weight if torch.is_grad_enabled() else 1)
            return forward(model, *args, **kwargs)

        return run

    @contextmanager
    def watch(self, model, backward_weight: int = 1, begin: Callable = lambda: None) -> Iterator["Meter"]:
        """Measure play, reference log-probabilities and training steps inside the body."""
        trainer = sepo.SEPOTrainer
        with ExitStack() as stack:

            def patch(owner, name, new):
                stack.enter_context(mock.patch.object(owner, name, new))

            patch(type(model), "forward", self.counted(type(model).forward, backward_weight))
            patch(rollouts, "play", self.timed("generation", rollouts.play))
            patch(trainer, "_reference_logps", self.timed("logps", trainer._reference_logps))
            inputs = trainer._prepare_inputs
            patch(trainer, "_prepare_inputs", self.timed("inputs", inputs))
            patch(trainer, "training_step", self.timed("training", trainer.training_step, begin))
            yield self


# ----------------------------------------------------------------------------------- what is measured


def plans_of(game: games.Game, size: int) -> list[rollouts.Plan]:
    """The episodes of one SEPO step with groups of `size`."""
    return rollouts.plan(game, "paper", dict.fromkeys(sepo.TRAINING_POOLS, size), SEED)


def play(policy, plans: list, ticks: int | None, together: bool) -> tuple[float, int, int]:
    """(seconds, decisions, tokens) of the first `ticks` ticks; for an answer that does not parse an action is
    drawn at random, as decoding under constraint is no part of the comparison."""
    began, decisions, tokens = clock(), 0, 0
    with mock.patch.object(policy.engine, "score", lambda prompts, answers, _: np.zeros(len(answers))):
        for batch in [plans] if together else [[plan] for plan in plans]:
            running = [rollouts.Running(plan) for plan in batch]
            tick = 0
            while (ticks is None or tick < ticks) and (open_ := [r for r in running if r.rounds is None]):
                answers = rollouts.tick(policy, open_)
                decisions += len(answers)
                tokens += sum(len(answer.completion_ids) for answer in answers)
                tick += 1
    return clock() - began, decisions, tokens


def _with(policy, engine):
    return LanguageModelPolicy(engine, policy.tokenizer, policy.temperature, policy.max_new_tokens)


def _load(suite: Suite, model: str):
    settings = profiles.load(suite.profile, model=model)
    return settings, load_policy(model, **sampling(settings))


def measure_arms(suite: Suite, model_name: str, game_name: str) -> list[dict]:
    """Decisions and tokens a second of the three arms, and the ratios of ours to the other two."""
    _, (model, tokenizer, policy) = _load(suite, model_name)
    game, end = games.get(game_name), models.end_ids(model, tokenizer)
    plans = {size: plans_of(game, size) for size in suite.sizes}
    most = plans[max(plans)]
    few = max(1, BATCH // len(rollouts.Running(most[0]).queries()))  # episodes whose decisions fill a batch
    spread = most[:: max(1, len(most) // few)][:few]
    singles = most[:: len(most) // suite.singles][: suite.singles]
    play(policy, singles, 1, True)  # warm
    generate = [GenerateEngine(model, end, BATCH), TorchSampler(model, end, BATCH)]
    speed = [play(_with(policy, engine), spread[:16], suite.ticks or 3, True) for engine in generate]
    fastest = TorchSampler if speed[1][0] / speed[1][2] < speed[0][0] / speed[0][2] else GenerateEngine
    todo = [
        (ONE, 1, _with(policy, fastest(model, end, 1)), singles, False),
        (BATCHED, 0, _with(policy, fastest(model, end, BATCH)), spread, True),
        *((OURS, size, policy, plans[size], True) for size in suite.sizes),
    ]
    rows = []
    for turn in range(suite.turns):
        rate, per_second = matmul_rate(model.dtype), {}
        for arm, size, player, episodes, together in todo:
            reset_peak()
            with Meter().watch(model) as meter:
                seconds, decisions, tokens = play(player, episodes, suite.ticks, together)
            per_second[arm, size] = decisions / seconds
            measures = {
                "decisions_per_second": decisions / seconds,
                "tokens_per_second": tokens / seconds,
                "matmul_share": 2 * model.num_parameters() * meter.total["passes"] / seconds / rate,
                "peak_mib": peak_mib(),
                "episodes": len(episodes),
                "decisions": decisions,
                "own_sampler": float(fastest is TorchSampler) if arm != OURS else None,
            }
            if arm == OURS:
                measures["ratio_to_one_at_a_time"] = decisions / seconds / per_second[ONE, 1]
                measures["ratio_to_batched"] = decisions / seconds / per_second[BATCHED, 0]
            rows += [
                {"arm": arm, "group_size": size, "measure": name, "value": value, "turn": turn}
                for name, value in measures.items()
                if value is not None
            ]
    return summarized(rows)


def _ready(suite: Suite, model_name: str, game_name: str, size: int, steps: int):
    """(model, the weight of its backward pass, what trains it: `steps` SEPO steps with groups of `size`,
    `report` called after each)."""
    settings, (model, tokenizer, policy) = _load(suite, model_name)
    train = job_arguments.train_arguments(settings, game_name, steps, SEED)
    train |= {"rollouts_per_opponent": size, "checkpoint_every": steps + 1}
    game = games.get(game_name)
    play(policy, plans_of(game, 2)[:4], 1, True)  # warm

    def run(report: Callable[[int, dict], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            config = sepo.SEPOConfig(
                game=game,
                pools="paper",
                estimator=credit.preset(settings.preset),
                temperature=settings.temperature,
                max_new_tokens=settings.max_new_tokens,
                **train,
            )
            sepo.train(model, tokenizer, policy.engine, Path(folder), config, report, lambda step: None)

    return model, 2 if train["lora"] else 3, run


def measure_steps(suite: Suite, model_name: str, game_name: str, size: int, steps: int) -> list[dict]:
    """Seconds of a SEPO step with groups of `size`, by part, over `steps` steps."""
    model, backward_weight, train = _ready(suite, model_name, game_name, size, steps)
    rate, parameters, meter = matmul_rate(model.dtype), model.num_parameters(), Meter()
    begun: list[tuple[float, Counter]] = []
    rows: list[dict] = []

    def begin() -> None:
        if len(begun) == len(rows) // 9:
            begun.append((clock(), meter.total.copy()))

    def report(step: int, metrics: dict) -> None:
        began, before = begun[-1]
        took, spent = clock() - began, meter.total - before
        update = spent["training"] - spent["inputs"]
        measures = {
            "step_seconds": took,
            "generation_seconds": spent["generation"],
            "logps_seconds": spent["logps"],
            "update_seconds": update,
            "rest_seconds": took - spent["generation"] - spent["logps"] - update,
            "step_matmul_share": 2 * parameters * spent["passes"] / took / rate,
            "step_decisions": metrics["decisions"],
            "step_rows": metrics["rows"],
            "step_peak_mib": peak_mib(),
        }
        rows.extend(
            {"arm": OURS, "group_size": size, "measure": name, "value": value, "turn": step}
            for name, value in measures.items()
        )

    reset_peak()
    with meter.watch(model, backward_weight, begin):
        train(report)
    return summarized(rows)


class Profile:
    """Between `start` and `stop`: the share of the elapsed time in each kind of operator, and outside of all.

    The profiler itself takes some of the time outside, so that share is at most what it says.
    """

    def __init__(self):
        self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        self._began: float | None = None

    def start(self) -> None:
        """Begin; later calls do nothing."""
        if self._began is None:
            gc.collect()  # what an earlier profile left would be collected during this one
            self._profiler.start()
            self._began = time.perf_counter()

    def stop(self) -> dict[str, float]:
        """The shares, `<kind>_share`, of OPERATORS and OUTSIDE; they add up to 1."""
        seconds = time.perf_counter() - self._began
        self._profiler.stop()
        spent = dict.fromkeys(OPERATORS, 0.0)
        for event in self._profiler.key_averages():
            kind = next((k for k, names in OPERATORS.items() if event.key.startswith(names)), None)
            if kind:
                spent[kind] += event.self_cpu_time_total / 1e6 / seconds
        spent[OUTSIDE] = 1 - sum(spent.values())
        return {f"{kind}_share": share for kind, share in spent.items()}


def profile_play(suite: Suite, model_name: str, game_name: str, size: int) -> list[dict]:
    """What our play with groups of `size` spends its time on."""
    _, (_, _, policy) = _load(suite, model_name)
    plans, profile = plans_of(games.get(game_name), size), Profile()
    play(policy, plans[:4], 1, True)  # warm
    profile.start()
    play(policy, plans, suite.ticks, True)
    return _once(profile.stop(), size)


def profile_step(suite: Suite, model_name: str, game_name: str, size: int) -> list[dict]:
    """What a SEPO step with groups of `size` spends its time on."""
    model, _, train = _ready(suite, model_name, game_name, size, 1)
    profile, rows = Profile(), []
    with Meter().watch(model, begin=profile.start):
        train(lambda step, metrics: rows.extend(_once(profile.stop(), size)))
    return rows


def _once(measures: dict[str, float], size: int) -> list[dict]:
    return summarized(
        [{"arm": OURS, "group_size": size, "measure": m, "value": v} for m, v in measures.items()]
    )


def summarized(rows: list[dict]) -> list[dict]:
    """One row per arm, size and measure: the median over the turns, the lowest and the highest."""
    groups: dict[tuple, list[float]] = {}
    for row in rows:
        groups.setdefault((row["arm"], row["group_size"], row["measure"]), []).append(row["value"])
    return [
        {
            "arm": arm,
            "group_size": size,
            "measure": measure,
            "value": statistics.median(values),
            "low": min(values),
            "high": max(values),
            "turns": len(values),
        }
        for (arm, size, measure), values in groups.items()
    ]


# ------------------------------------------------------------------------------------------ the run


def settings_key(suite: Suite) -> str:
    """What the finished cells of an earlier run must have been measured with to be kept."""
    what = [
        VERSION,
        asdict(suite),
        SEED,
        BATCH,
        torch.get_num_threads(),
        torch.__version__,
        provenance.hardware(),
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def _kept(table: str) -> pd.DataFrame:
    """What has been measured, in the order of SUITES, whichever model was measured last."""
    if not paths.table(NAME, table).exists():
        return pd.DataFrame()
    kept = paths.read_table(NAME, table)
    return kept.sort_values("model", key=lambda models_: models_.map(list(SUITES).index), kind="stable")


def cells(model: str, suite: Suite) -> Iterator[tuple[str, str, str, int, Callable[[], list[dict]]]]:
    """Every measurement: (table, game, part, group size, what measures it)."""
    for game in suite.games:
        yield "bench", game, "arms", 0, functools.partial(measure_arms, suite, model, game)
    for game in suite.games:
        for size in suite.step_sizes:
            measure = functools.partial(measure_steps, suite, model, game, size, suite.steps)
            yield "bench", game, "step", size, measure
    for game in suite.games if models.device().type == "cpu" else ():  # a profile of the processor
        for part, profile, size in (
            ("play_profile", profile_play, suite.sizes[-1]),
            ("step_profile", profile_step, suite.step_sizes[-1]),
        ):
            yield "bench", game, part, size, functools.partial(profile, suite, model, game, size)
    for game, most in suite.scaling.items():
        groups = len(plans_of(games.get(game), 1))
        for episodes in (2**n for n in range(4, 13) if 2**n <= most):
            size = max(2, round(episodes / groups))
            yield "scaling", game, "step", size, functools.partial(measure_steps, suite, model, game, size, 1)


def run(names: list[str], say: Callable[[str], None] = print) -> None:
    """Measure the models, keeping every finished cell, then draw the figures and write docs/BENCH.md's table.

    A cell that the tables already hold, measured with the same settings on the same hardware, is kept. Raises
    ValueError for a model without a suite.
    """
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        raise ValueError(f"There is no benchmark of '{unknown[0]}'; choose from {', '.join(SUITES)}.")
    torch.set_num_threads(1)
    note = {"threads": torch.get_num_threads(), **provenance.hardware(), **provenance.versions()}
    paths.replace_text(paths.results(NAME) / "hardware.json", json.dumps(note, indent=2) + "\n")
    for model in names:
        key = settings_key(SUITES[model])
        for table, game, part, size, measure in cells(model, SUITES[model]):
            label = f"{table:<8}{model}  {game}  {part}" + (f"  G {size}" if size else "")
            if _finished(_kept(table), model, game, part, size, key):
                say(f"{label}  kept")
                continue
            began = time.perf_counter()
            where = {"model": model, "game": game, "part": part}
            rows = pd.DataFrame([{**where, **row, "key": key} for row in measure()])
            if table == "scaling":
                rows["episodes"] = size * len(plans_of(games.get(game), 1))
            old = _kept(table)
            if len(old):
                same = old[KEYS].apply(tuple, axis=1).isin(set(rows[KEYS].apply(tuple, axis=1)))
                rows = pd.concat([old[~same], rows])
            paths.write_table(rows, NAME, table)
            say(f"{label}  {time.perf_counter() - began:.0f} s")
    draw()
    write_page()
    for line in verdicts(_kept("bench")):
        say(line)


def _finished(table: pd.DataFrame, model: str, game: str, part: str, size: int, key: str) -> bool:
    if not len(table):
        return False
    rows = (table.model == model) & (table.game == game) & (table.part == part) & (table.key == key)
    return bool((rows & (table.group_size == size)).any() if size else rows.any())


def draw() -> list[Path]:
    """The figures of the tables, one of each kind per model."""
    files = []
    for table, name, figure in (
        ("bench", "arms", figures.bench_arms),
        ("bench", "step", figures.bench_step),
        ("scaling", "scaling", figures.bench_scaling),
    ):
        kept = _kept(table)
        for model, rows in kept.groupby("model") if len(kept) else ():
            with suppress(figures.NothingToDraw):  # a part that was not measured yet
                files += figures.save(figure(rows).figure, paths.figures(NAME), f"{name}_{model}")
    return files


# --------------------------------------------------------------------------------------- what it says


def value_of(table: pd.DataFrame, **where) -> pd.Series:
    """The one row of a tidy table with these values. Raises KeyError where there is none."""
    rows = table
    for column, value in where.items():
        rows = rows[rows[column] == value]
    if len(rows) != 1:
        raise KeyError(f"{len(rows)} rows with {where} where 1 was expected")
    return rows.iloc[0]


def doublings(table: pd.DataFrame, model: str, game: str) -> list[tuple[int, float]]:
    """(G, seconds of a step with G over those with G / 2) for every measured doubling."""
    rows = table[(table.model == model) & (table.game == game) & (table.measure == "step_seconds")]
    seconds = dict(zip(rows.group_size, rows.value, strict=True))
    return [(size, seconds[size] / seconds[size // 2]) for size in sorted(seconds) if size // 2 in seconds]


def verdicts(table: pd.DataFrame) -> list[str]:
    """One line per target and game, met or missed, at the largest group size that was measured."""
    lines = []
    for model, targets in TARGETS.items():
        arms = table[(table.model == model) & (table.part == "arms") & (table.arm == OURS)]
        for game in arms.game.unique():
            size = arms[arms.game == game].group_size.max()
            for baseline, target in zip((ONE, BATCHED), targets, strict=True):
                row = value_of(arms, game=game, group_size=size, measure=f"ratio_to_{baseline}")
                met = "met" if row.value >= target else "missed"
                ratio = f"{row.value:.1f} times [{row.low:.1f}, {row.high:.1f}]"
                lines.append(f"{model}, {game}, G {size}: {ratio} {baseline}, target {target:g}: {met}")
        for game in table[(table.model == model) & (table.part == "step")].game.unique():
            pairs = doublings(table, model, game)
            if pairs:
                size, worst = max(pairs, key=lambda pair: pair[1])
                met = "met" if worst < DOUBLING_TARGET else "missed"
                shown = ", ".join(f"{ratio:.2f} to G {size}" for size, ratio in pairs)
                lines.append(f"{model}, {game}: a doubling costs {shown}; target {DOUBLING_TARGET}: {met}")
    return lines


def page(table: pd.DataFrame) -> str:
    """The measured part of docs/BENCH.md, as Markdown."""
    note = json.loads((paths.results(NAME) / "hardware.json").read_text(encoding="utf-8"))
    lines = [
        f"Measured on {note['processor']}, {note['threads']} thread, accelerator: {note['accelerator']}."
    ]
    arms, steps = table[table.part == "arms"], table[table.part == "step"]
    head = "| model | game | arm | G | decisions/s | tokens/s | share of matmul rate | peak MiB |"
    lines += ["", f"{head} times one at a time | times batched |", "| --- " * 10 + "|"]
    for keys, rows in arms.groupby(["model", "game", "arm", "group_size"], sort=False):
        model, game, arm, size = keys
        cell = {row.measure: row for row in rows.itertuples()}
        numbers = [f"{cell[m].value:.{d}f}" for m, d in _COLUMNS]
        ratios = [
            f"{r.value:.1f} [{r.low:.1f}, {r.high:.1f}]" if (r := cell.get(f"ratio_to_{b}")) else ""
            for b in (ONE, BATCHED)
        ]
        row = [model, game, arm, str(size) if arm == OURS else "", *numbers, *ratios]
        lines.append(f"| {' | '.join(row)} |")
    parts = ("step", "generation", "logps", "update", "rest")
    head = "| model | game | G | decisions | rows | " + " | ".join(f"{p} s" for p in parts)
    lines += ["", f"{head} | share of matmul rate | peak MiB |", "| --- " * 12 + "|"]
    for (model, game, size), rows in steps.groupby(["model", "game", "group_size"], sort=False):
        cell = dict(zip(rows.measure, rows.value, strict=True))
        row = [model, game, str(size), f"{cell['step_decisions']:.0f}", f"{cell['step_rows']:.0f}"]
        row += [f"{cell[f'{part}_seconds']:.2f}" for part in parts]
        row += [f"{cell['step_matmul_share']:.2f}", f"{cell['step_peak_mib']:.0f}"]
        lines.append(f"| {' | '.join(row)} |")
    lines += ["", *_profiles(table)]
    return "\n".join([*lines, "", *(f"- {line}" for line in verdicts(table))])


def _profiles(table: pd.DataFrame) -> list[str]:
    """The table of the profiles, as lines of Markdown."""
    rows = []
    profiled = table[table.part.isin(PROFILES)]
    for keys, cells_ in profiled.groupby(["model", "game", "part", "group_size"], sort=False):
        model, game, part, size = keys
        share = dict(zip(cells_.measure, cells_.value, strict=True))
        rows.append(
            {"model": model, "game": game, "profile of": PROFILES[part], "G": str(size)}
            | {kind: f"{share[kind + '_share']:.0%}" for kind in (*OPERATORS, OUTSIDE)}
        )
    return findings.markdown(rows)


_COLUMNS = (("decisions_per_second", 1), ("tokens_per_second", 0), ("matmul_share", 3), ("peak_mib", 0))


def write_page() -> None:
    """Put the measured part into docs/BENCH.md. Raises ValueError without the marks."""
    documents.rewrite("docs/BENCH.md", BEGIN, END, f"\n{page(_kept('bench'))}\n")
