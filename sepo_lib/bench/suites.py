"""How fast play and training are, compared with plain `generate` and with the machine's limit.

Four arms play the same planned episodes with the same model, in one process, in turns:

    one_at_a_time   one episode after the other, one prompt per call of `generate`, as in the authors' code
    batched         lock-step play, `generate` on padded batches of BATCH prompts
    continuous      lock-step play, `generate_batch` (continuous batching) on all prompts of a tick
    shared_prefix   lock-step play with the kit's engine for the device (on a GPU that is `static`)

A step of SEPO is compared with one of TRL's own trainer on the same planned episodes (`baselines`).
A ratio compares two arms within a turn; its median and range over the turns are reported. Compute is
2 x parameters x tokens that went through the model. A token with a backward pass counts three times, or twice
with LoRA. The share of the matmul rate divides compute per second by the rate of a large matrix product that
is measured in the same turn.
"""

import functools
import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import torch
from peft import get_peft_model
from trl import GRPOTrainer

from sepo_lib import figures, games
from sepo_lib.bench.baselines import ContinuousEngine, TorchSampler, train_with_trl
from sepo_lib.bench.meters import Meter, OperatorProfile, clock, matmul_rate, peak_mib, reset_peak, summarized
from sepo_lib.chat import templates
from sepo_lib.config import files, paths, profiles
from sepo_lib.games.base import OBJECTIVE_POOLS
from sepo_lib.method import credit
from sepo_lib.play import models, rollouts
from sepo_lib.play.engines import GenerateEngine
from sepo_lib.play.policy import LanguageModelPolicy, load_policy
from sepo_lib.pretrained import adapters
from sepo_lib.run import job_arguments, provenance
from sepo_lib.training import sepo

NAME = "bench"  # its folder in data/results and figures
VERSION = 4  # version of the measurements; cells that an older version measured are measured again
BATCH = 64  # prompts per call of `generate`; larger batches were no faster
SEED = 7
ONE, BATCHED, CONTINUOUS, OURS = "one_at_a_time", "batched", "continuous", "shared_prefix"
TRL = "trl"  # the arm whose step is TRL's
KEYS = ["model", "game", "part", "arm", "group_size"]


@dataclass(frozen=True)
class Suite:
    """What is measured for one model; `suites.yaml` explains every field."""

    profile: str
    games: tuple[str, ...]
    sizes: tuple[int, ...]
    step_sizes: tuple[int, ...]
    trl_sizes: tuple[int, ...]
    steps: int
    turns: int
    ticks: int | None
    singles: int
    scaling: dict[str, int]


class Cell(NamedTuple):
    """One measurement: its table, game, part of the table and group size, and the function that makes it."""

    table: str
    game: str
    part: str
    size: int
    measure: Callable[[], list[dict]]


_RESTORE = "correct it, or run `git restore sepo_lib/bench/suites.yaml`"
_PATH = Path(__file__).with_name("suites.yaml")
_FILE: dict[str, dict] = files.read_yaml(_PATH, _RESTORE)
with files.reading(_PATH, _RESTORE):
    #: Model -> baseline -> the smallest speed-up that the kit aims at.
    TARGETS: dict[str, dict[str, float]] = {model: values.pop("targets") for model, values in _FILE.items()}
    SUITES = {
        model: Suite(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
        for model, values in _FILE.items()
    }


def run(names: list[str], say: Callable[[str], None] = print) -> None:
    """Measure the models, write the tables after every cell, then draw the figures.

    A cell is skipped if the tables hold it, measured with the same settings on the same hardware. Raises
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
        for cell in cells(model, SUITES[model]):
            label = f"{cell.table:<8}{model}  {cell.game}  {cell.part}" + (
                f"  G {cell.size}" if cell.size else ""
            )
            old = kept(cell.table)
            if _finished(old, model, cell, key):
                say(f"{label}  kept")
                continue
            began = time.perf_counter()
            where = {"model": model, "game": cell.game, "part": cell.part}
            device = note["processor"] if note["accelerator"] == "none" else note["accelerator"]
            rows = pd.DataFrame([{**where, **row, "key": key, "device": device} for row in cell.measure()])
            if cell.table == "scaling":
                rows["episodes"] = cell.size * len(plans_of(games.get(cell.game), 1))
            if len(old):
                same = old[KEYS].apply(tuple, axis=1).isin(set(rows[KEYS].apply(tuple, axis=1)))
                rows = pd.concat([old[~same], rows])
            paths.write_table(rows, NAME, cell.table)
            say(f"{label}  {time.perf_counter() - began:.0f} s  {device}")
    draw()


def cells(model: str, suite: Suite) -> Iterator[Cell]:
    """Every measurement of a suite."""
    for game in suite.games:
        yield Cell("bench", game, "arms", 0, functools.partial(measure_arms, suite, model, game))
    for game in suite.games:
        for size in suite.step_sizes:
            measure = functools.partial(measure_steps, suite, model, game, size, suite.steps)
            yield Cell("bench", game, "step", size, measure)
    for game in suite.games:
        for size in suite.trl_sizes:
            measure = functools.partial(measure_trl, suite, model, game, size, suite.steps)
            yield Cell("bench", game, "trl_step", size, measure)
    for game in suite.games if models.device().type == "cpu" else ():  # the profile is one of the CPU
        for part, profile, size in (
            ("play_profile", profile_play, suite.sizes[-1]),
            ("step_profile", profile_step, suite.step_sizes[-1]),
        ):
            yield Cell("bench", game, part, size, functools.partial(profile, suite, model, game, size))
    for game, most in suite.scaling.items():
        groups = len(plans_of(games.get(game), 1))
        for episodes in (2**n for n in range(4, 13) if 2**n <= most):
            size = max(2, round(episodes / groups))
            measure = functools.partial(measure_steps, suite, model, game, size, 1)
            yield Cell("scaling", game, "step", size, measure)


def measure_arms(suite: Suite, model_name: str, game_name: str) -> list[dict]:
    """Decisions and tokens per second of the arms, and the ratios of shared_prefix to the others."""
    model, tokenizer, policy = _load(suite, model_name)
    game, end = games.get(game_name), templates.end_ids(model, tokenizer)
    plans = {size: plans_of(game, size) for size in suite.sizes}
    most = plans[max(plans)]
    few = max(1, BATCH // len(rollouts.Running(most[0]).queries()))  # episodes whose decisions fill a batch
    spread = most[:: max(1, len(most) // few)][:few]
    singles = most[:: len(most) // suite.singles][: suite.singles]
    time_play(policy, singles, 1, True)  # warm-up
    generate = [GenerateEngine(model, end, BATCH), TorchSampler(model, end, BATCH)]
    speed = [time_play(_with(policy, engine), spread[:16], suite.ticks or 3, True) for engine in generate]
    fastest = TorchSampler if speed[1][0] / speed[1][2] < speed[0][0] / speed[0][2] else GenerateEngine
    todo = [
        (ONE, 1, _with(policy, fastest(model, end, 1)), singles, False),
        (BATCHED, 0, _with(policy, fastest(model, end, BATCH)), spread, True),
        (CONTINUOUS, 0, _with(policy, ContinuousEngine(model, end, BATCH)), spread, True),
        *((OURS, size, policy, plans[size], True) for size in suite.sizes),
    ]
    rows = []
    for turn in range(suite.turns):
        rate, per_second = matmul_rate(model.dtype), {}
        for arm, size, player, episodes, together in todo:
            reset_peak()
            with Meter().watch(model) as meter:
                seconds, decisions, tokens = time_play(player, episodes, suite.ticks, together)
            per_second[arm, size] = decisions / seconds
            measures = {
                "decisions_per_second": decisions / seconds,
                "tokens_per_second": tokens / seconds,
                "matmul_share": 2 * model.num_parameters() * meter.total["passes"] / seconds / rate,
                "peak_mib": peak_mib(),
                "episodes": len(episodes),
                "decisions": decisions,
                "own_sampler": float(fastest is TorchSampler) if arm in (ONE, BATCHED) else None,
            }
            if arm == OURS:
                others = {name: rate for (name, _), rate in per_second.items() if name != OURS}
                measures |= {f"ratio_to_{name}": decisions / seconds / rate for name, rate in others.items()}
            rows += [
                {"arm": arm, "group_size": size, "measure": name, "value": value, "turn": turn}
                for name, value in measures.items()
                if value is not None
            ]
    return summarized(rows)


def measure_steps(suite: Suite, model_name: str, game_name: str, size: int, steps: int) -> list[dict]:
    """Seconds of a SEPO step with groups of `size`, by part; medians over `steps` steps."""
    model, backward_weight, train = _ready(suite, model_name, game_name, size, steps)
    rate, parameters, timed = matmul_rate(model.dtype), model.num_parameters(), _Steps()

    def report(step: int, metrics: dict) -> None:
        measured, passes = timed.ended("generation", "logps")
        measured["step_matmul_share"] = 2 * parameters * passes / measured["step_seconds"] / rate
        measured |= {"step_decisions": metrics["decisions"], "step_rows": metrics["rows"]}

    reset_peak()
    with timed.meter.watch(model, backward_weight, timed.begin):
        train(report)
    return _summary(timed.measured, size)


def measure_trl(suite: Suite, model_name: str, game_name: str, size: int, steps: int) -> list[dict]:
    """Seconds of a step of TRL's trainer on the episodes of a SEPO step with groups of `size`, by part.

    It plays with `generate` on batches of BATCH prompts and trains all weights or the adapter, as SEPO does.
    """
    model, tokenizer, policy = _load(suite, model_name)
    config, plans = _config(suite, model_name, game_name, size, steps), plans_of(games.get(game_name), size)
    if config.lora:
        model = get_peft_model(model, adapters.lora(model, **config.lora))
    decisions = sum(len(episode.decisions) for episode in rollouts.play(policy, plans))
    player = _with(policy, TorchSampler(model, templates.end_ids(model, tokenizer), BATCH))
    timed = _Steps()

    def report(step: int, metrics: dict) -> None:
        measured, _ = timed.ended("generation")
        measured["step_decisions"] = decisions

    reset_peak()
    inside = timed.meter.watch(model, begin=timed.begin, trainer=GRPOTrainer)
    with inside, tempfile.TemporaryDirectory() as folder:
        train_with_trl(player, plans, config, decisions, report, Path(folder))
    return _summary(timed.measured, size, TRL)


class _Steps:
    """`measured` holds one dict per step of a trainer: seconds by part, and the peak of memory."""

    def __init__(self):
        self.meter = Meter()
        self.measured: list[dict] = []
        self._begun: list[tuple[float, Counter]] = []

    def begin(self) -> None:
        """A micro-batch begins; only the first one of a step counts."""
        if len(self._begun) == len(self.measured):
            self._begun.append((clock(), self.meter.total.copy()))

    def ended(self, *parts: str) -> tuple[dict, int]:
        """(what was measured of the step, to which the caller may add; the `passes` of its `Meter`).

        `parts` of a step are measured besides its update. The rest is what is left of its time.
        """
        began, before = self._begun[-1]
        took, spent = clock() - began, self.meter.total - before
        seconds = {part: spent[part] for part in parts} | {"update": spent["training"] - spent["inputs"]}
        seconds |= {"rest": took - sum(seconds.values())}
        measured = {"step_seconds": took, **{f"{part}_seconds": found for part, found in seconds.items()}}
        self.measured.append(measured | {"step_peak_mib": peak_mib()})
        return self.measured[-1], spent["passes"]


def profile_play(suite: Suite, model_name: str, game_name: str, size: int) -> list[dict]:
    """The share of each kind of operator in the time of play with groups of `size`."""
    _, _, policy = _load(suite, model_name)
    plans, profile = plans_of(games.get(game_name), size), OperatorProfile()
    time_play(policy, plans[:4], 1, True)  # warm-up
    profile.start()
    time_play(policy, plans, suite.ticks, True)
    return _summary([profile.stop()], size)


def profile_step(suite: Suite, model_name: str, game_name: str, size: int) -> list[dict]:
    """The share of each kind of operator in the time of a SEPO step with groups of `size`."""
    model, _, train = _ready(suite, model_name, game_name, size, 1)
    profile, shares = OperatorProfile(), []
    with Meter().watch(model, begin=profile.start):
        train(lambda step, metrics: shares.append(profile.stop()))
    return _summary(shares, size)


def plans_of(game: games.Game, size: int) -> list[rollouts.Plan]:
    """The episodes of one SEPO step with groups of `size`."""
    return rollouts.plan(game, "paper", dict.fromkeys(OBJECTIVE_POOLS, size), SEED)


def time_play(policy, plans: list, ticks: int | None, together: bool) -> tuple[float, int, int]:
    """(seconds, decisions, tokens) of the first `ticks` ticks, of all episodes `together` or one by one.

    An answer that does not parse is followed by a random action, because all arms need the same constrained
    decoding and it is no part of the comparison.
    """
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


def settings_key(suite: Suite) -> str:
    """A hash of the settings and the hardware; cells with another key are measured again."""
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


def kept(table: str) -> pd.DataFrame:
    """The rows that have been measured, ordered by model as in SUITES; an empty table if there are none."""
    if not paths.table(NAME, table).exists():
        return pd.DataFrame()
    rows = paths.read_table(NAME, table)
    return rows.sort_values("model", key=lambda models_: models_.map(list(SUITES).index), kind="stable")


def draw() -> list[Path]:
    """Draw the figures from the tables, one of each kind per model; returns the files."""
    drawn = []
    for table, name, figure in (
        ("bench", "arms", figures.bench_arms),
        ("bench", "step", figures.bench_step),
        ("scaling", "scaling", figures.bench_scaling),
    ):
        rows = kept(table)
        for model, own in rows.groupby("model") if len(rows) else ():
            with suppress(figures.NothingToDraw):  # this part has not been measured yet
                drawn += figures.save(figure(own).figure, paths.figures(NAME), f"{name}_{model}")
    return drawn


def _with(policy, engine):
    return LanguageModelPolicy(engine, policy.tokenizer, policy.temperature, policy.max_new_tokens)


def _load(suite: Suite, model: str):
    return load_policy(model, **profiles.sampling(profiles.load(suite.profile, model=model)))


def _ready(suite: Suite, model_name: str, game_name: str, size: int, steps: int):
    """(model, weight of its backward pass, function that trains it for `steps` SEPO steps with groups of
    `size` and calls its argument `report` after each)."""
    model, tokenizer, policy = _load(suite, model_name)
    config = _config(suite, model_name, game_name, size, steps)
    time_play(policy, plans_of(config.game, 2)[:4], 1, True)  # warm-up

    def run(report: Callable[[int, dict], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            sepo.train(model, tokenizer, policy.engine, Path(folder), config, report, lambda step: None)

    return model, 2 if config.lora else 3, run


def _config(suite: Suite, model_name: str, game_name: str, size: int, steps: int) -> sepo.SEPOConfig:
    """`steps` SEPO steps with groups of `size`, without a checkpoint."""
    settings = profiles.load(suite.profile, model=model_name)
    train = job_arguments.train_arguments(settings, game_name, steps, SEED)
    return sepo.SEPOConfig(
        game=games.get(game_name),
        pools="paper",
        estimator=credit.preset(settings.preset),
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        **train | {"rollouts_per_opponent": size, "checkpoint_every": steps + 1},
    )


def _summary(measurements: list[dict[str, float]], size: int, arm: str = OURS) -> list[dict]:
    """`summarized` rows of `arm` with groups of `size`."""
    rows = [
        {"arm": arm, "group_size": size, "measure": name, "value": value}
        for measures in measurements
        for name, value in measures.items()
    ]
    return summarized(rows)


def _finished(table: pd.DataFrame, model: str, cell: Cell, key: str) -> bool:
    if not len(table):
        return False
    rows = (table.model == model) & (table.game == cell.game) & (table.part == cell.part) & (table.key == key)
    return bool((rows & (table.group_size == cell.size)).any() if cell.size else rows.any())
