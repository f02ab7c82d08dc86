"""`accelerate launch -m sepo_lib.run.launch ...`: one SEPO job of a run, trained by one process or several.

The job is the one that notebook 03 (or, for the ablation, 04) would run, in the same folder, so the notebook
finds it done. Its SFT model must be there.

    accelerate launch --num_processes 4 -m sepo_lib.run.launch --profile paper --game kuhn --seed 11

On a CPU, several processes need `--multi_gpu` as well (accelerate's `--cpu` alone starts one).
"""

import argparse
import sys
from collections.abc import Sequence

from accelerate import PartialState

from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.method import credit
from sepo_lib.play import models
from sepo_lib.run import jobs, recipes, steps


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(prog="accelerate launch -m sepo_lib.run.launch", description=main.__doc__)
    made.add_argument("--profile", default="laptop", help=f"{', '.join(profiles.names())}")
    made.add_argument("--game", required=True, choices=games.GAMES, help="the game to train on")
    made.add_argument("--seed", required=True, type=int, help="the training seed, one of the run's")
    made.add_argument("--preset", help="unbiased, published or published+<switch> (default: the profile's)")
    made.add_argument("--arm", help="the arm (default: the one that the preset is trained with)")
    made.add_argument("--pools", help="paper or conflict (default: the pool set the run trains on)")
    for name, text in (("model", "the model"), ("seeds", "seeds"), ("games", "games"), ("steps", "steps")):
        made.add_argument(f"--{name}", help=f"the run's {text}, where make was given others")
    return made


def find(options: argparse.Namespace) -> tuple[profiles.Settings, jobs.Job]:
    """The settings of the run and the job that the options name.

    Raises ValueError listing the run's jobs where it is none of them.
    """
    given = {name: getattr(options, name) for name in ("model", "seeds", "games", "steps")}
    settings = profiles.load(options.profile, **given)
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
        raise ValueError(f"The run has no SEPO job with {asked}; it has {names}.")
    return settings, found[0]


def _of(job: jobs.Job, key: str) -> str | int:
    return job.arguments["labels"][key] if key == "seed" else job.arguments[key]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one SEPO job of a run with as many processes as accelerate launched."""
    try:
        settings, job = find(parser().parse_args(arguments))
        recipes.require(
            settings,
            [one for one in recipes.sft_jobs(settings) if one.name == job.arguments["sft_job"]],
            "02_sft",
        )
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        _train(settings, job)
    except jobs.JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _train(settings: profiles.Settings, job: jobs.Job) -> None:
    """The part of one process in the job."""
    state = PartialState(cpu=models.device().type == "cpu")
    done = jobs.finished(settings.profile, job)
    state.wait_for_everyone()
    if done:
        state.print(f"{job.name} was finished before.")
    elif state.is_main_process:
        print(f"{job.name}: {job.steps} steps in {state.num_processes} processes on {state.device.type}.")
        jobs.run([job], settings.profile, "SEPO")
        print(f"Done: {job.name}", flush=True)
    else:
        steps.run_sepo(paths.job(settings.profile, job.name), lambda step, metrics: None, **job.arguments)


if __name__ == "__main__":
    sys.exit(main())
