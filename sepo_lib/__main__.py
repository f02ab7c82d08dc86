"""The commands behind the Makefile: `python -m sepo_lib <command>`, listed by `--help`."""

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sepo_lib.config import paths, profiles
from sepo_lib.run import jobs, provenance

#: Seconds between two progress lines where the output is a file, and where it is a terminal.
FILE_INTERVAL, TERMINAL_INTERVAL = 15.0, 1.0


class Stopped(Exception):
    """A notebook ended with an error; the text says which and why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all is well, 1 if a run failed, 2 if the command cannot be carried out."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 1
    except jobs.JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # the cells that were under way
        print(
            "\nInterrupted. Nothing was deleted; the same command continues where it stopped.",
            file=sys.stderr,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sepo_lib", description="The SEPO reproducibility kit.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=command)
        return one

    def add_profile(one: argparse.ArgumentParser) -> None:
        one.add_argument(
            "--profile", default="laptop", help=f"{', '.join(profiles.names())} (default: laptop)"
        )

    one = add(
        "reproduce", reproduce, "Run every notebook without a screen and write tables, figures and a report."
    )
    add_profile(one)
    one.add_argument("--model", help="nano, smollm2, a folder, or a hub id such as org/name")
    one.add_argument("--seeds", help="training seeds, such as 11,12,13")
    one.add_argument("--games", help="games, such as ipd,kuhn")
    one.add_argument("--steps", help="training steps of SFT and SEPO")
    add_profile(add("figures", figures, "Draw every figure again from the tables; nothing is trained."))
    add_profile(
        add("notebooks", notebooks, "Write the outputs of a finished run into notebooks/ and README.md.")
    )
    add_profile(add("document", document, "Write the numbers of a finished run into its document in docs/."))
    add(
        "coverage",
        coverage,
        "Simulate how often the kit's intervals hold the truth: data/results/coverage.csv.",
    )
    one = add(
        "study-tables", study_tables, "Make the tables that need no model: estimators.csv, headroom.csv."
    )
    add_profile(one)
    one.add_argument("--games", help="games, such as ipd,kuhn, in the place of the profile's")
    one.add_argument("--groups", type=int, help="groups an opponent, in the place of the profile's")
    add_profile(add("verify", verify, "Check the tables and figures of a run against its manifest."))
    add_profile(
        add("remeasure", remeasure, "Make the tables of a run again from its records; nothing is trained.")
    )
    one = add("play", play, "Play one game against a model, as the scripted opponents do.")
    one.add_argument("game", help="ipd, auction, split, deal or kuhn")
    one.add_argument(
        "--model", default="nano", help="nano, smollm2, a folder such as that of a job, or a hub id"
    )
    one.add_argument("--seed", type=int, default=0, help="of the chance moves and the model's answers")
    one.add_argument("--watch", metavar="OPPONENT", help="let a scripted opponent play in your place")
    one = add("crossplay", crossplay, "Play models against each other and against every pool of a game.")
    one.add_argument("--game", required=True, help="ipd, auction, split, deal or kuhn")
    one.add_argument("--models", required=True, nargs="+", metavar="NAME=PATH", help="as in play")
    one.add_argument("--pools", default="paper", help="the pool set: paper or conflict (default: paper)")
    one.add_argument("--episodes", type=int, default=96, help="per pair of models (default: 96)")
    one.add_argument("--seed", type=int, default=0, help="of the chance moves and the answers")
    one = add("bench", bench, "Measure the speed of play and training against plain generate.")
    one.add_argument("--model", help="nano or smollm2 (default: both)")
    add("profiles", show_profiles, "Print every hyperparameter, its value in each profile, and why.")
    return parser


# ---------------------------------------------------------------------------------------- reproduce


def reproduce(options: argparse.Namespace) -> int:
    """Run the notebooks in order; see `_parser` for the options."""
    given = {name: getattr(options, name) or None for name in ("model", "seeds", "games", "steps")}
    settings = profiles.load(options.profile, **given)
    missing = [name for name in paths.NOTEBOOKS if not paths.notebook(name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{paths.relative(paths.notebook(missing[0]))} is missing from this copy of the kit."
        )
    parameters: dict[str, Any] = {"profile": settings.profile, "model": given["model"]}
    parameters |= {key: list(getattr(settings, key)) if given[key] else None for key in ("seeds", "games")}
    parameters |= {"steps": settings.sepo_steps if given["steps"] else None}

    _announce(settings)
    begun = time.monotonic()
    provenance.start(settings)
    with _kernel(paths.run(settings.profile) / "kernel.log"):
        for number, name in enumerate(paths.NOTEBOOKS, start=1):
            label = f"[{number}/{len(paths.NOTEBOOKS)}] {name}"
            with provenance.stage(settings.profile, name), _progress(settings.profile, label):
                _run_notebook(name, settings.profile, parameters)
    provenance.finish(settings.profile)
    _build_report(settings.profile)
    _conclude(settings.profile, time.monotonic() - begun)
    return 0


def _build_report(profile: str) -> None:
    try:
        from sepo_lib.report import html_page

        html_page.build(profile)
    except Exception as error:
        traceback.print_exc()
        raise Stopped(f"error: the run is complete, but its report could not be built: {error}") from error


def _announce(settings: profiles.Settings) -> None:
    profile = settings.profile
    took = provenance.seconds(settings)
    if took is not None:
        expected = f"about {_clock(took)}, as in the run of {_shown(paths.run(profile))}"
    elif settings.expected_minutes:
        expected = f"about {_clock(settings.expected_minutes * 60)} for the whole profile on two CPU cores"
    else:
        expected = "not known; it depends on the GPU"
    seeds = ", ".join(map(str, settings.seeds))
    print(f"SEPO, profile {profile}: {settings.summary}")
    print(f"  model     {settings.model}")
    print(f"  games     {', '.join(settings.games)}")
    print(f"  seeds     {seeds}")
    sft = settings.sft_steps or f"{settings.sft_epochs} epochs"
    print(f"  steps     SFT {sft}, SEPO {profiles.spell(settings.sepo_steps)}")
    print(f"  results   {_shown(paths.results(profile))}, {_shown(paths.figures(profile))}")
    print(f"  the run   {_shown(paths.run(profile))}")
    print(f"  expected  {expected}; what is finished already is not done again", flush=True)


def _shown(folder: Path) -> str:
    return paths.relative(folder) + "/"


def _run_notebook(name: str, profile: str, parameters: dict[str, Any]) -> None:
    """Execute one notebook in its own kernel. Raises Stopped with the error's last line."""
    import papermill

    target = paths.executed(profile) / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(paths.notebook(name)),
            str(target),
            parameters=parameters,
            kernel_name="python3",
            language="python",
            cwd=str(paths.notebooks()),
            progress_bar=False,
        )
    except Exception as error:
        kind = getattr(error, "ename", type(error).__name__)
        text = str(getattr(error, "evalue", error)).strip() or "it gave no reason"
        last = text.splitlines()[-1]
        raise Stopped(
            f"error: {name} stopped: {kind}: {last}\n"
            f"The notebook as far as it went: {paths.relative(target)}\n"
            "Nothing was deleted; the same command continues where it stopped."
        ) from error
    finally:
        _forget_folders(target)


def _forget_folders(notebook: Path) -> None:
    """Remove the absolute paths that papermill notes in the notebooks it writes."""
    if notebook.exists():
        content = json.loads(notebook.read_text(encoding="utf-8"))
        for key in ("input_path", "output_path"):
            content["metadata"].get("papermill", {}).pop(key, None)
        paths.replace_text(notebook, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


_START_KERNEL = """
import os, sys
os.dup2(os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), 2)
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""


@contextlib.contextmanager
def _kernel(log: Path) -> Iterator[None]:
    """Make the kernel `python3` this very interpreter, whatever others there are, able to import the kit.

    What the kernel itself says on stderr (it mourns its tasks whenever it is shut down) goes to `log`.
    """
    package = str(Path(__file__).resolve().parents[1])
    argv = [sys.executable, "-c", _START_KERNEL, str(log), "-f", "{connection_file}"]
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder, "kernels", "python3", "kernel.json")
        kernel.parent.mkdir(parents=True)
        spec = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        kernel.write_text(json.dumps(spec))
        before = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "PYTHONPATH", jobs.HEADLESS)}
        os.environ[jobs.HEADLESS] = "1"
        for name, first in (("JUPYTER_PATH", folder), ("PYTHONPATH", package)):
            os.environ[name] = os.pathsep.join(filter(None, (first, before[name])))
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def _progress(profile: str, label: str) -> Iterator[None]:
    """Say how far a notebook is while the body runs: one line rewritten on a terminal, else one at times."""
    follower, begun, over = jobs.Follower(profile), time.monotonic(), threading.Event()
    terminal = sys.stdout.isatty()

    def say(text: str, last: bool = False) -> None:
        end = "\n" if last or not terminal else ""
        print(f"\r\033[K{text}" if terminal else text, end=end, flush=True)

    def watch() -> None:
        say(label)
        while not over.wait(TERMINAL_INTERVAL if terminal else FILE_INTERVAL):
            say(line(label, follower.read(), time.monotonic() - begun))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    how = "stopped after"
    try:
        yield
        how = "done in"
    finally:
        over.set()
        watcher.join()
        say(f"{label}  {how} {_clock(time.monotonic() - begun)}", last=True)


def line(label: str, progress: jobs.Progress | None, elapsed: float) -> str:
    """One line of progress; with a stage of jobs under way, all of it:

    [4/6] 03_sepo_grpo  12/30 jobs  step 740/1800  elapsed 6:12  left about 8:40
    """
    parts = [label]
    if progress is not None and not progress.finished:
        parts.append(f"{progress.jobs_done}/{progress.jobs_total} jobs")
        parts.append(f"step {progress.steps_done}/{progress.steps_total}")
    parts.append(f"elapsed {_clock(elapsed)}")
    if progress is not None and not progress.finished and progress.left is not None:
        parts.append(f"left about {_clock(progress.left)}")
    if progress is not None and not progress.finished and progress.note:
        parts.append(progress.note)
    return "  ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _conclude(profile: str, seconds: float) -> None:
    from sepo_lib.report import claims

    decided = paths.read_table(profile, "claims", claims.COLUMNS)
    print(f"\nDone in {_clock(seconds)}.\n")
    print(textwrap.indent(claims.as_text(decided), "  "))
    if profile == "smoke":
        print("\n  These verdicts only show that the code runs; the numbers of so small a run mean nothing.")
    print(f"\n  report    {paths.relative(paths.report(profile))}")
    print(f"  tables    {_shown(paths.results(profile))}")
    print(f"  figures   {_shown(paths.figures(profile))}")


# ------------------------------------------------------------------------------- the other commands


def figures(options: argparse.Namespace) -> int:
    """Draw the figures of a profile again."""
    profile = profiles.load(options.profile).profile
    from sepo_lib import figures as drawing

    files = drawing.draw_all(profile)
    print(f"{len(files)} files in {_shown(paths.figures(profile))}")
    return 0


def study_tables(options: argparse.Namespace) -> int:
    """Run the studies that need no model, one job after the other, and write their tables.

    Where the profile has a finished run they replace its tables: of its games, and noted in its manifest.
    """
    given = {} if options.groups is None else {"estimator_groups": options.groups}
    profile = profiles.load(options.profile).profile
    run = provenance.read(profile) if paths.manifest(profile).exists() else {"finished": None}
    own = ",".join(run["settings"]["games"]) if run["finished"] else None
    settings = profiles.load(options.profile, games=options.games or own, **given)
    from sepo_lib.run import recipes, results

    studies = recipes.study_jobs(settings)
    jobs.run(studies, profile, "studies without a model")
    written = results.write_studies(settings, studies)
    if run["finished"]:
        provenance.remade(profile, [paths.table(profile, name) for name in written])
    print(f"Wrote {', '.join(written)} into {_shown(paths.results(settings.profile))}")
    return 0


def document(options: argparse.Namespace) -> int:
    """Write the numbers of a run into the documents that show it; every run is in the one on claims."""
    settings = profiles.load(options.profile)
    from sepo_lib.report import authors_page, claims_page, documents

    profile = settings.profile
    updates = [("docs/CLAIMS.md", claims_page.update)]
    if profile == documents.PROFILE:
        updates.append(("README.md", lambda: documents.update(profile)))
    if profile == documents.STUDY:
        updates.append(("docs/ESTIMATORS.md", lambda: documents.update_estimators(profile)))
        updates.append(("docs/ESTIMATORS.md", lambda: documents.update_outcomes(profile)))
    if profile in (documents.PROFILE, documents.STUDY):
        updates.append(("docs/AUTHORS.md", authors_page.update))
    if settings.model != "nano":
        updates.append(("docs/MODELS.md", lambda: documents.update_model(profile)))
    for _, update in updates:
        update()
    print(f"Wrote the numbers of {profile} into {', '.join(dict(updates))}")
    return 0


def coverage(options: argparse.Namespace) -> int:
    """Simulate the coverage of the intervals."""
    from sepo_lib.studies import coverage as study

    table = study.write()
    print(table.to_string(index=False))
    return 0


def verify(options: argparse.Namespace) -> int:
    """Hold a run against its manifest."""
    profile = profiles.load(options.profile).profile
    mismatches = provenance.verify(profile)
    for mismatch in mismatches:
        print(mismatch)
    if older := provenance.older(profile):
        print(older)
    files = len(provenance.read(profile)["sha256"])
    print(
        f"{len(mismatches)} mismatches."
        if mismatches
        else f"All {files} tables and figures are as the run left them."
    )
    return 1 if mismatches else 0


def remeasure(options: argparse.Namespace) -> int:
    """Make again what follows from the records of a run, without training."""
    profile = profiles.load(options.profile).profile
    from sepo_lib.report import claims
    from sepo_lib.report import remeasure as measuring

    changed = measuring.run(profile)
    print(f"{len(changed)} files changed: {', '.join(changed)}." if changed else "No file has changed.")
    print(claims.as_text(paths.read_table(profile, "claims")))
    return document(options)


def play(options: argparse.Namespace) -> int:
    """A person against a model."""
    from sepo_lib.measure import person

    person.play_against(options.game, options.model, options.seed, options.watch)
    return 0


def crossplay(options: argparse.Namespace) -> int:
    """Models against each other: a table and a heat map."""
    from sepo_lib import figures as drawing
    from sepo_lib.measure import crossplay as cross

    folder = paths.crossplay(options.game)
    table = cross.crossplay(
        cross.named(options.models), options.game, options.pools, options.episodes, options.seed, folder
    )
    drawing.save(drawing.crossplay(table).figure, folder, "crossplay")
    table["interval"] = table.apply(lambda row: f"[{row.ci_low:.3f}, {row.ci_high:.3f}]", axis=1)
    shown = table[["row", "column", "payoff", "interval", "other_payoff", "parse_rate", "episodes"]]
    print(shown.round(3).to_string(index=False))
    print(f"\nThe table and its figure: {_shown(folder)}")
    return 0


def bench(options: argparse.Namespace) -> int:
    """Measure speed and write docs/BENCH.md; see `sepo_lib.bench.suites`."""
    from sepo_lib.bench import suites
    from sepo_lib.report import bench_page

    suites.run([options.model] if options.model else list(suites.SUITES))
    bench_page.update()
    print("\n".join(bench_page.verdicts(suites.kept("bench"))))
    return 0


def show_profiles(options: argparse.Namespace) -> int:
    """Print the hyperparameters."""
    table = profiles.table()
    for row in table.to_dict("records"):
        values = {row[name] for name in profiles.names()}
        print(row["hyperparameter"])
        print(f"  {row['meaning']}")
        if len(values) == 1:
            print(f"  every profile  {values.pop()}")
        else:
            for name in profiles.names():
                print(f"  {name:<13}  {row[name]}")
        print(f"  the paper      {row['paper_says']}")
        print(f"  why            {row['why']}\n")
    return 0


# ------------------------------------------------------------------------------ publishing notebooks


def notebooks(options: argparse.Namespace) -> int:
    """Copy the outputs of a run into the notebooks in git: all of them, or none if one is refused."""
    import nbformat

    from sepo_lib.report import documents, publishing

    profile = profiles.load(options.profile).profile
    runs = sorted(paths.executed(profile).glob("*.ipynb"))
    if not runs:
        raise FileNotFoundError(
            f"{_shown(paths.executed(profile))} is empty; run `make reproduce PROFILE={profile}`."
        )
    published = {file.stem: publishing.publish(file.stem, nbformat.read(file, as_version=4)) for file in runs}
    html_page = paths.report(profile)
    found = provenance.traces(html_page.read_text(encoding="utf-8")) if html_page.exists() else []
    if found:
        raise ValueError(
            f"{paths.relative(html_page)} shows folders of a machine ({found[0]}); build it again."
        )
    for name, notebook in published.items():
        paths.replace_text(paths.notebook(name), nbformat.writes(notebook) + "\n")
    documents.update(profile)
    print(f"Wrote the outputs of {len(published)} notebooks into {_shown(paths.notebooks())}")
    return document(options)


if __name__ == "__main__":
    sys.exit(main())
