"""Train one job of a run, of SFT or SEPO, with one process or with several.

    accelerate launch --num_processes 4 -m sepo_lib.run.launch --stage sft --profile paper --seed 11
    accelerate launch --num_processes 4 -m sepo_lib.run.launch --profile paper --game kuhn --seed 11

The job is one that notebook 02 (SFT), 03 or 04 (SEPO) would run, in the same folder, so the notebook later
skips it. SEPO needs the SFT model of the run. On a CPU, accelerate starts several processes only with
`--multi_gpu`.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from accelerate import PartialState

from sepo_lib import games
from sepo_lib.config import caches, disk, paths, profiles
from sepo_lib.config.command_line import Parser, whole
from sepo_lib.config.errors import Explained, InputError, MissingError
from sepo_lib.config.settings import known
from sepo_lib.method import credit
from sepo_lib.play import models
from sepo_lib.run import endings, jobs, lock, recipes, runs
from sepo_lib.run.events import Progress
from sepo_lib.run.job import finished
from sepo_lib.run.job_arguments import seed_of
from sepo_lib.run.steps.sepo import run_sepo
from sepo_lib.run.steps.sft import run_sft

#: The stages whose jobs can be launched -> the function of their jobs.
_STAGES = {"sft": run_sft, "sepo": run_sepo}

#: The options of `make reproduce` that a run can have been started with.
_OF_RUN = ("model", "seeds", "games", "steps", "sft_data")


def parser() -> Parser:
    """The options of the command; their choices come from the registries."""
    made = Parser(prog="accelerate launch -m sepo_lib.run.launch", description=main.__doc__)
    default = f"(default: that of the run, or {profiles.DEFAULT})"
    made.add_argument("--profile", help=f"{', '.join(profiles.names())} {default}")
    made.add_argument("--stage", default="sepo", help=f"{' or '.join(_STAGES)} (default: sepo)")
    made.add_argument("--game", help=f"the game to train on with SEPO: {', '.join(games.GAMES)}")
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
    for name in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{name}") == "true":
            raise InputError(
                f"The launcher needs the whole model in each process, and {name} divides it; start it "
                f"without {name} (docs/scaling.md)."
            )
    known("stage to launch called", options.stage, _STAGES)
    if options.stage == "sft":
        extra = [name for name in ("game", "preset", "arm", "pools") if getattr(options, name) is not None]
        if extra:
            raise InputError(
                f"--{extra[0]} is an option of SEPO; SFT trains one model for all games of a seed."
            )
    elif options.game is None:
        raise InputError("SEPO trains on one game; name it with --game, or choose --stage sft.")
    else:
        games.get(options.game)  # an unknown game is an error
    given = {name: getattr(options, name) for name in _OF_RUN}
    settings = runs.settings(options.run, options.profile, **given)
    wanted: dict[str, str | int] = {"seed": options.seed}
    if options.stage == "sft":
        every = recipes.sft_jobs(settings)
    else:
        listed = (recipes.sepo_jobs, recipes.ablation_jobs, recipes.switch_jobs)
        every = [job for jobs_of in listed for job in jobs_of(settings)]
        preset = options.preset or settings.preset
        arm = settings.arm if preset == settings.preset else credit.preset(preset).arm
        pools = options.pools or settings.of("pools", options.game)
        wanted = {"game": options.game, "pools": pools, "preset": preset, **wanted, "arm": options.arm or arm}
    found = [job for job in every if wanted.items() <= {**job.arguments, "seed": seed_of(job)}.items()]
    if not found:
        lacks = f"The run has no {options.stage.upper()} job with "
        lacks += ", ".join(f"{key} {value}" for key, value in wanted.items())
        seeds = dict.fromkeys(map(seed_of, every))
        if options.seed not in seeds:
            raise InputError(f"{lacks}; its seeds are {', '.join(map(str, seeds))} (--seeds).")
        near = [job for job in every if seed_of(job) == options.seed]
        near = [job for job in near if job.arguments.get("game") == options.game] or near
        raise InputError(
            f"{lacks}; it has {', '.join(dict.fromkeys(job.name for job in near))}. What it trains is set by "
            "preset, arm, compare_with, switches and the hyperparameters that begin with ablation "
            "(sepo_lib/config/profiles.yaml)."
        )
    return settings, found[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one job of a run, of SFT or SEPO, with as many processes as accelerate launched."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # accelerate has started several processes
        endings.end_with_parent(os.getppid())
    try:
        caches.use_writable()
        settings, job = find(parser().parse_args(arguments))
        if start := job.arguments.get("sft_job"):
            needed = [one for one in recipes.sft_jobs(settings) if one.name == start]
            try:
                recipes.require(settings, needed, "02_sft")
            except MissingError as error:
                raise MissingError(f"{error} Or train the SFT model alone: --stage sft.") from None
    except (ValueError, OSError) as error:
        print(f"error: {disk.explain(error) or error}", file=sys.stderr)
        return 2
    try:
        with endings.signals_raised():
            _train(settings, job)
    except jobs.JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (Explained, OSError) as error:  # of a process other than the first, whose errors are JobError
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
        state.wait_for_everyone()  # the others have given the lock back, so that the next job can have it


def _train_with_lock(settings: profiles.Settings, job: jobs.Job, state: PartialState) -> None:
    done, stage = finished(settings.run, job), job.function.rpartition("_")[2]
    state.wait_for_everyone()
    if done:
        state.print(f"{job.name} was finished before.")
    elif state.is_main_process:
        number = state.num_processes
        where = f"{number} process{'es' if number > 1 else ''} on {state.device.type}"
        folder = paths.relative(paths.job(settings.run, job.name))
        deletes = job.arguments.get("tables_only")
        kept = " At the end only its tables are kept (keep_variations)." if deletes else ""
        print(f"{job.name}: {job.steps} steps in {where}. Folder: {folder}/{kept}", flush=True)
        jobs.run([job], settings.run, stage.upper(), watch=_teller(sys.stderr), here=True)
        print(f"Done: {job.name}", flush=True)
    else:
        _STAGES[stage](paths.job(settings.run, job.name), lambda step, metrics: None, **job.arguments)


def _teller(stream: TextIO) -> Callable[[Progress], None]:
    """What prints each new step to `stream`; all else that is printed during a job goes to its log."""
    told = ""

    def tell(progress: Progress) -> None:
        nonlocal told
        if progress.now not in ("", told):
            told = progress.now
            print(told, file=stream, flush=True)

    return tell


if __name__ == "__main__":
    sys.exit(main())
