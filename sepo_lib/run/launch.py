"""Train one SEPO job of a run with one process or with several.

    accelerate launch --num_processes 4 -m sepo_lib.run.launch --profile paper --game kuhn --seed 11

The job is one that notebook 03 (or 04, for the ablation) would run, in the same folder, so the notebook later
skips it. The SFT model of the run must exist. On a CPU, accelerate starts several processes only with
`--multi_gpu`.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from accelerate import PartialState

from sepo_lib import games
from sepo_lib.config import caches, disk, paths, profiles
from sepo_lib.config.command_line import Parser, whole
from sepo_lib.config.errors import InputError
from sepo_lib.method import credit
from sepo_lib.play import models
from sepo_lib.run import endings, jobs, lock, recipes, runs
from sepo_lib.run.job import finished
from sepo_lib.run.steps.sepo import run_sepo

#: The options of `make reproduce` that a run can have been started with.
_OF_RUN = ("model", "seeds", "games", "steps", "sft_data")


def parser() -> Parser:
    """The options of the command; their choices come from the registries."""
    made = Parser(prog="accelerate launch -m sepo_lib.run.launch", description=main.__doc__)
    default = f"(default: that of the run, or {profiles.DEFAULT})"
    made.add_argument("--profile", help=f"{', '.join(profiles.names())} {default}")
    made.add_argument("--game", required=True, help=f"the game to train on: {', '.join(games.GAMES)}")
    made.add_argument("--seed", required=True, type=whole(0, profiles.LARGEST_SEED), help="a training seed")
    presets = ", ".join(credit.PRESETS)
    made.add_argument("--preset", help=f"{presets}, or published+<switch> (default: that of the profile)")
    made.add_argument("--arm", help=f"{', '.join(credit.ARMS)} (default: the arm of the preset)")
    made.add_argument("--pools", help="the pool set: paper or conflict (default: that of the run)")
    made.add_argument("--run", help="the name of the run (default: as `make reproduce` with these options)")
    for name in _OF_RUN:
        option = f"--{name.replace('_', '-')}"
        made.add_argument(option, help=f"{name} of the run, if it was started with this option")
    return made


def find(options: argparse.Namespace) -> tuple[profiles.Settings, jobs.Job]:
    """The settings of the run and the job that the options describe.

    Raises InputError listing the jobs of the run if there is no such job.
    """
    games.get(options.game)  # an unknown game is an error
    given = {name: getattr(options, name) for name in _OF_RUN}
    settings = runs.settings(options.run, options.profile, **given)
    every = [
        *recipes.sepo_jobs(settings),
        *recipes.ablation_jobs(settings),
        *recipes.switch_jobs(settings),
    ]
    wanted = {
        "game": options.game,
        "pools": options.pools or settings.of("pools", options.game),
        "preset": options.preset or settings.preset,
        "seed": options.seed,
    }
    own = settings.arm if wanted["preset"] == settings.preset else credit.preset(wanted["preset"]).arm
    wanted["arm"] = options.arm or own
    found = [job for job in every if all(_of(job, key) == value for key, value in wanted.items())]
    if not found:
        names = ", ".join(dict.fromkeys(job.name for job in every))
        asked = ", ".join(f"{key} {value}" for key, value in wanted.items())
        raise InputError(f"The run has no SEPO job with {asked}; it has {names}.")
    return settings, found[0]


def _of(job: jobs.Job, key: str) -> str | int:
    return job.arguments["labels"][key] if key == "seed" else job.arguments[key]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one SEPO job of a run with as many processes as accelerate launched."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # accelerate has started several processes
        endings.end_with_parent(os.getppid())
    try:
        caches.use_writable()
        settings, job = find(parser().parse_args(arguments))
        needed = [one for one in recipes.sft_jobs(settings) if one.name == job.arguments["sft_job"]]
        recipes.require(settings, needed, "02_sft")
    except (ValueError, OSError) as error:
        print(f"error: {disk.explain(error) or error}", file=sys.stderr)
        return 2
    try:
        with endings.signals_raised():
            _train(settings, job)
    except jobs.JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (lock.InUse, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, endings.Terminated) as end:
        print(f"{endings.said(end)} The same command continues at the last checkpoint.", file=sys.stderr)
        return endings.code(end)
    return 0


def _train(settings: profiles.Settings, job: jobs.Job) -> None:
    """What one of the processes does for the job."""
    state = PartialState(cpu=models.device().type == "cpu")
    run = settings.run
    with lock.held(run, "launch") if state.is_main_process else contextlib.nullcontext():
        state.wait_for_everyone()  # the main process has the lock, which the others share
        with contextlib.nullcontext() if state.is_main_process else lock.shared(run):
            _train_with_lock(settings, job, state)


def _train_with_lock(settings: profiles.Settings, job: jobs.Job, state: PartialState) -> None:
    done = finished(settings.run, job)
    state.wait_for_everyone()
    if done:
        state.print(f"{job.name} was finished before.")
    elif state.is_main_process:
        print(f"{job.name}: {job.steps} steps in {state.num_processes} processes on {state.device.type}.")
        jobs.run([job], settings.run, "SEPO")
        print(f"Done: {job.name}", flush=True)
    else:
        run_sepo(paths.job(settings.run, job.name), lambda step, metrics: None, **job.arguments)


if __name__ == "__main__":
    sys.exit(main())
