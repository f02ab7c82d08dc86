"""How is it called? The commands behind the Makefile: `python -m sepo_lib <command>`, listed by `--help`."""

import argparse
import os
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from sepo_lib import games
from sepo_lib.config import bundled, caches, changes, disk, paths, profiles, tracking
from sepo_lib.config.command_line import Parser, filled, whole
from sepo_lib.config.errors import Explained, InputError
from sepo_lib.config.settings import known
from sepo_lib.run import (
    endings,
    executors,
    headless,
    job,
    jobs,
    lock,
    model_files,
    needs,
    provenance,
    replaced,
    runs,
    sft_data,
    unchanged,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns 0 if it succeeds, 1 if a run fails, 2 if the command cannot be carried out, and 128 + n if
    signal n ends it: 130 after an interrupt, 141 if nobody reads its output any more.
    """
    try:
        options = parser().parse_args(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with endings.signals_raised():
        endings.end_with_make()
        return _run(options)


def parser() -> Parser:
    """The commands with their options."""
    made = Parser(prog="python -m sepo_lib", description="The SEPO reproducibility kit.")
    commands = made.add_subparsers(required=True, metavar="command")
    seeds = whole(0, profiles.LARGEST_SEED)
    all_games = ", ".join(games.GAMES)
    models = f"{', '.join(profiles.MODELS)}, a folder, or a hub id such as org/name"

    def add(
        name: str, command: Callable[[argparse.Namespace], int], text: str, profile: bool = True
    ) -> Parser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=command)
        if profile:
            default = f"(default: that of the run, or {profiles.DEFAULT})"
            one.add_argument("--profile", help=f"{', '.join(profiles.names())} {default}")
            one.add_argument(
                "--run", help="the name of the run (default: made of the profile and the options)"
            )
        return one

    text = "Run every notebook and write tables, figures and a report."
    for one in (
        add("reproduce", reproduce, text),
        add("train", train, "SFT and SEPO alone; print what the model learned and where it is."),
    ):
        one.add_argument("--model", help=models)
        one.add_argument("--seeds", help="training seeds, such as 11,12,13")
        one.add_argument("--games", help=f"all, or some of {all_games}, separated by commas")
        one.add_argument("--steps", help="training steps of SFT and SEPO")
        one.add_argument("--sft-data", help="a file or folder of chat examples for SFT (docs/data.md)")
        text = "other hyperparameters, such as 'sft_learning_rate=2e-4 sepo_steps.kuhn=60'"
        one.add_argument("--set", help=text)
        one.add_argument("--reuse", help="yes: use finished jobs of older code or libraries too")
        trackers = ", ".join(tracking.TRACKERS)
        one.add_argument("--report-to", help=f"{trackers}: trackers of the trainers' metrics")
        one.add_argument("--executor", help=f"where jobs run: {', '.join(executors.EXECUTORS)}")
        one.add_argument("--scheduler", help="the address of a Dask scheduler, such as tcp://host:8786")
        one.add_argument("--jobs-per-gpu", help="jobs at a time on each GPU of this machine")
    add("figures", figures, "Draw every figure again from the tables; nothing is trained.")
    add("notebooks", notebooks, "Write the outputs of a finished run into notebooks/ and README.md.")
    add("document", document, "Write the numbers of a finished run into its documents in docs/.")
    text = "Simulate how often the kit's intervals contain the true value: data/results/coverage.csv."
    add("coverage", coverage, text, profile=False)
    one = add("study-tables", study_tables, "Make the tables without a model: estimators, headroom.")
    one.add_argument("--games", help=f"all, or some of {all_games}, instead of the profile's games")
    one.add_argument("--groups", help="groups per opponent, instead of the profile's number")
    one = add("verify", verify, "Check the tables and figures of a run against its manifest or another run.")
    one.add_argument("--against", help="a run to compare it with; its own name stands for its version in git")
    add("remeasure", remeasure, "Make the tables of a run again from its records; nothing is trained.")
    one = add("play", play, "Play one game against a model.", profile=False)
    one.add_argument("game", help=all_games)
    one.add_argument(
        "--model", type=filled, default="nano", help=f"{models}; the folder can be that of a job"
    )
    one.add_argument("--seed", type=seeds, default=0, help="seed of the chance moves and the model's answers")
    one.add_argument(
        "--watch", type=filled, metavar="OPPONENT", help="let this scripted opponent play for you"
    )
    text = "Play models against each other and against every pool of a game."
    one = add("crossplay", crossplay, text, profile=False)
    one.add_argument("--game", required=True, help=all_games)
    one.add_argument("--models", required=True, nargs="+", metavar="NAME=PATH", help="models, as in play")
    one.add_argument("--pools", default="paper", help="the pool set: paper or conflict (default: paper)")
    one.add_argument(
        "--episodes", type=whole(4, 10**6), default=96, help="episodes per pair of models (default: 96)"
    )
    one.add_argument("--seed", type=seeds, default=0, help="seed of the chance moves and the answers")
    text = "Measure the speed of play and training against plain generate."
    one = add("bench", bench, text, profile=False)
    one.add_argument("--model", help=f"{' or '.join(profiles.MODELS)} (default: both)")
    text = "Count what chat examples teach: duplicates, refused answers, reasons that contradict the state."
    one = add("audit", audit, text, profile=False)
    one.add_argument("files", nargs="*", type=filled, help="files or folders (default: data/sft)")
    one.add_argument("--data", help="one more file or folder")
    one.add_argument("--out", help="a .csv file for the whole table")
    text = "Push demonstrations, an adapter or a model, with its card, to a hub."
    one = add("push", push, text, profile=False)
    one.add_argument("--what", help="demonstrations, or the folder of a job or of a model")
    one.add_argument("--to", help="the repository on the hub, such as org/name")
    one.add_argument("--base", help="the repository of the base model of an adapter, where that is a folder")
    one.add_argument("--dry-run", help="yes: list what would be pushed, and push nothing")
    text = "Print every hyperparameter, its value in each profile, and why."
    add("profiles", show_profiles, text, profile=False)
    return made


def _run(options: argparse.Namespace) -> int:
    """Run the command of `options`; an error is a sentence, and its exit code is returned."""
    try:
        caches.use_writable()
        code = options.command(options)
        sys.stdout.flush()
        return code
    except headless.Stopped as stop:
        print(stop, file=sys.stderr)
        return 1
    except jobs.JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError) and endings.reader_gone():
            return endings.NO_READER
        print(f"error: {disk.explain(error) or error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, endings.Terminated) as end:
        then = _THEN.get(options.command, "the same command starts from the beginning")
        print(f"\n{endings.said(end)} Nothing was deleted; {then}.", file=sys.stderr)
        return endings.code(end)


def _existing(options: argparse.Namespace) -> str:
    """The run that a command works on."""
    return runs.find(options.run, options.profile)


# ---------------------------------------------------------------------------------------- reproduce


def reproduce(options: argparse.Namespace) -> int:
    """Run the notebooks in order; see `parser` for the options.

    Nothing is run if the run is finished and nothing that it depends on has changed.
    """
    settings = _begun(options, headless.check_notebooks)
    with lock.held(settings.run, "make reproduce"):
        changed = unchanged.changes(settings)
        if changed == []:
            _nothing_to_do(settings.run)
        else:
            executors.check()
            _reproduce(settings, runs.parameters(settings), changed or [])
    return 0


def train(options: argparse.Namespace) -> int:
    """SFT and SEPO without the notebooks; see `report.trained`."""
    settings = _begun(options)
    from sepo_lib.report import trained

    with lock.held(settings.run, "make train"):
        executors.check()
        headless.announce(settings, whole=False)
        if not paths.manifest(settings.run).exists():
            provenance.start(settings, model=model_files.described(settings.model))
        print("\n" + trained.train(settings))
    return 0


def _begun(options: argparse.Namespace, check: Callable[[], None] = lambda: None) -> profiles.Settings:
    """The settings of a command that trains. What would stop it, also in `check`, is an error at once."""
    given = {
        name: getattr(options, name) or None for name in ("model", "seeds", "games", "steps", "sft_data")
    }
    settings = runs.settings(options.run, options.profile, changes.parse(options.set), **given)
    tracking.use(options.report_to)
    if settings.sft_data:
        sft_data.described(settings.sft_data)  # raises for examples that cannot be used
    check()
    reuse = _is_yes("REUSE", options.reuse)
    if options.reuse:  # this process, and those that it starts, use jobs of older code, or no longer
        os.environ[job.REUSE] = "yes" if reuse else "no"
    executors.choose(options.executor, options.scheduler, options.jobs_per_gpu)
    needs.check(settings)
    bundled.resolve(settings.model)  # raises for a model that cannot be had
    disk.check_writable(folder(settings.run) for folder in (paths.run, paths.results, paths.figures))
    return settings


def _reproduce(settings: profiles.Settings, parameters: dict[str, Any], changed: Sequence[str]) -> None:
    """Run the notebooks, and build the report; what has `changed` is printed."""
    headless.announce(settings)
    if changed:
        more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
        print(f"  changed   {changed[0]}{more}", flush=True)
    replaced.make_room(settings.run)
    begun = time.monotonic()
    model, made_from = model_files.described(settings.model), unchanged.made_from(settings)
    provenance.start(settings, model=model, made_from=made_from)
    since = paths.manifest(settings.run).stat().st_mtime
    with headless.kernel(settings.run):
        for number, name in enumerate(paths.NOTEBOOKS, start=1):
            label = f"[{number}/{len(paths.NOTEBOOKS)}] {name}"
            with provenance.stage(settings.run, name), headless.progress(settings.run, label):
                headless.run_notebook(name, settings.run, parameters)
    replaced.stale(settings.run, since)  # every notebook has written its tables and figures again
    provenance.finish(settings.run, unchanged.reused_jobs(settings.run))
    _build_report(settings.run)
    unchanged.seal(settings)
    _conclude(settings, time.monotonic() - begun)


def _is_yes(option: str, value: str | None) -> bool:
    """Whether an option is yes, not no or left out. Raises InputError for another value."""
    if value not in (None, "", "no", "yes"):
        raise InputError(f"{option} must be yes or no, not '{value}'.")
    return value == "yes"


def _nothing_to_do(run: str) -> None:
    """Print that the run is finished and where its results are."""
    print(
        f"Nothing to do: the run {run} was finished on {provenance.read(run)['finished']} by this code with "
        "these settings,\nand all its files are unchanged. To make it again, move "
        f"{headless.folder(paths.run(run))} away first."
    )
    if note := provenance.reused(run):
        print(note)
    print(headless.where(run))


def _build_report(profile: str) -> None:
    try:
        from sepo_lib.report import html_page

        html_page.build(profile)
    except Exception as error:
        if not isinstance(error, Explained):
            traceback.print_exc()
        raise headless.Stopped(
            f"error: the run is complete, but its report could not be built: {error}"
        ) from error


def _conclude(settings: profiles.Settings, seconds: float) -> None:
    """Print the claims, what to look out for, and where the results are."""
    from sepo_lib.report import claims, trained, verdicts

    decided = paths.read_table(settings.run, "claims", claims.COLUMNS)
    print(f"\nDone in {headless.clock(seconds)}.\n")
    print(textwrap.indent(claims.as_text(decided), "  "))
    last = [*trained.cautions_of(settings), verdicts.caution(settings.profile)]  # where the eye is
    for note in filter(None, [*last, provenance.reused(settings.run)]):
        print(f"\n  {note}")
    print(headless.where(settings.run))


# ------------------------------------------------------------------------------- the other commands


def figures(options: argparse.Namespace) -> int:
    """Draw the figures of a run again; those that are no longer drawn are moved aside.

    The manifest of a finished run notes those that have changed.
    """
    profile = _existing(options)
    written = [paths.figures(profile), paths.manifest(profile)]
    with lock.held(profile, "make figures"), replaced.keeping(paths.run(profile), written):
        from sepo_lib import figures as drawing

        files = drawing.draw_all(profile)
        dropped = replaced.drop(paths.figures(profile), files)
        if provenance.read(profile, missing_ok=True).get("finished"):
            provenance.remade(profile, [*files, *dropped])
    print(f"{len(files)} files in {headless.folder(paths.figures(profile))}")
    return 0


def study_tables(options: argparse.Namespace) -> int:
    """Run the studies that need no model, one job after the other, and write their tables.

    Without options, the studies of a finished run take its games and replace its tables; the manifest notes
    it. With options they are a run of their own.
    """
    groups = {"estimator_groups": options.groups} if options.groups else {}
    settings = runs.settings(options.run, options.profile, games=options.games or None, **groups)
    profile = settings.run
    done = provenance.read(profile, missing_ok=True).get("finished")
    settings = runs.recorded(profile) if done else settings
    from sepo_lib.run import recipes, results

    studies = recipes.study_jobs(settings)
    with lock.held(profile, "study-tables"), replaced.keeping(paths.run(profile), [paths.results(profile)]):
        jobs.run(studies, profile, "studies without a model")
        written = results.write_studies(settings, studies)
        if done:
            provenance.remade(profile, [paths.table(profile, name) for name in written])
    print(f"Wrote {', '.join(written)} into {headless.folder(paths.results(profile))}")
    return 0


def document(options: argparse.Namespace) -> int:
    """Write the numbers of a run into the documents that show it.

    docs/CLAIMS.md shows every run. The audit in docs/data.md and the earlier results in docs/MODELS.md belong
    to no run.
    """
    profile = _existing(options)
    from sepo_lib.report import authors_page, claims_page, data_page, documents

    updates = [("docs/CLAIMS.md", claims_page.update), ("docs/data.md", data_page.update)]
    updates.append(("docs/MODELS.md", documents.update_earlier))
    if profile == documents.PROFILE:
        updates.append(("README.md", lambda: documents.update(profile)))
        updates.append(("data/models/nano/README.md", lambda: documents.update_nano(profile)))
    if profile == documents.STUDY:
        updates.append(("docs/ESTIMATORS.md", lambda: documents.update_estimators(profile)))
        updates.append(("docs/ESTIMATORS.md", lambda: documents.update_outcomes(profile)))
    if profile in (documents.PROFILE, documents.STUDY):
        updates.append(("docs/AUTHORS.md", authors_page.update))
    if provenance.read(profile)["settings"]["model"] != "nano":
        updates.append(("docs/MODELS.md", lambda: documents.update_model(profile)))
    pages = [paths.root() / name for name in dict(updates)]
    with lock.held(profile, "make document"), replaced.keeping(paths.run(profile), pages):
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
    """Compare a run with its manifest, or with another run."""
    profile = _existing(options)
    if options.against:
        from sepo_lib.run import verification

        text, code = verification.against(profile, runs.find(options.against, None))
        print(text)
        return code
    mismatches = provenance.verify(profile)
    for mismatch in mismatches:
        print(mismatch)
    files = len(provenance.read(profile)["sha256"])
    print(
        f"Mismatches of the run {profile}: {len(mismatches)}."
        if mismatches
        else f"All {files} tables and figures of the run {profile} are as the run left them."
    )
    if older := provenance.older(profile):
        print(older)
    return 1 if mismatches else 0


def remeasure(options: argparse.Namespace) -> int:
    """Make all tables that follow from the records of a run again, without training."""
    profile = _existing(options)
    with lock.held(profile, "make remeasure"):
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
    from sepo_lib.measure import crossplay as cross

    folder, models = paths.crossplay(games.get(options.game).name), cross.named(options.models)
    with replaced.keeping(folder, [*folder.glob("crossplay.*")]):
        table = cross.crossplay(models, options.game, options.pools, options.episodes, options.seed, folder)
        from sepo_lib import figures as drawing

        drawing.save(drawing.crossplay(table).figure, folder, "crossplay")
    table["interval"] = table.apply(lambda row: f"[{row.ci_low:.3f}, {row.ci_high:.3f}]", axis=1)
    shown = table[["row", "column", "payoff", "interval", "other_payoff", "parse_rate", "episodes"]]
    print(shown.round(3).to_string(index=False))
    print(f"\nThe table and its figure: {headless.folder(folder)}")
    return 0


def bench(options: argparse.Namespace) -> int:
    """Measure speed and write docs/BENCH.md; see `sepo_lib.bench.suites`."""
    if options.model:
        known("model to measure called", options.model, profiles.MODELS)
    from sepo_lib.bench import suites
    from sepo_lib.report import bench_page

    suites.run([options.model] if options.model else list(suites.SUITES))
    bench_page.update()
    print("\n".join(bench_page.verdicts(suites.kept("bench"))))
    return 0


def audit(options: argparse.Namespace) -> int:
    """Audit chat examples; see `sepo_lib.run.data_audit`."""
    from sepo_lib.run import data_audit

    print(data_audit.run([*options.files, *filter(None, [options.data])], options.out or None))
    return 0


def push(options: argparse.Namespace) -> int:
    """Push to a hub, or say what would be pushed; see `sepo_lib.run.push`."""
    from sepo_lib.run import push as pushing

    dry_run = _is_yes("DRY_RUN", options.dry_run)
    upload = pushing.prepare(options.what or "", options.to or "", options.base or None)
    print(upload.text())
    print("Nothing was pushed, because this is a dry run." if dry_run else f"Pushed: {upload.push()}")
    return 0


def show_profiles(options: argparse.Namespace) -> int:
    """Print the hyperparameters."""
    print(profiles.as_text())
    return 0


def notebooks(options: argparse.Namespace) -> int:
    """Copy the outputs of a run into the notebooks in git: all of them, or none if one is refused."""
    profile = _existing(options)
    written = [*map(paths.notebook, paths.NOTEBOOKS), paths.root() / "README.md"]
    with lock.held(profile, "make notebooks"):
        from sepo_lib.report import documents, publishing

        with replaced.keeping(paths.run(profile), written):
            published = publishing.publish_run(profile)
            documents.update(profile)
        print(f"Wrote the outputs of {len(published)} notebooks into {headless.folder(paths.notebooks())}")
        return document(options)


_CONTINUES = "the same command continues where it stopped"
#: What follows after a command was interrupted, if it does not start from the beginning.
_THEN = {
    reproduce: _CONTINUES,
    train: _CONTINUES,
    study_tables: _CONTINUES,
    play: "a game that did not end has no result",
}

if __name__ == "__main__":
    sys.exit(main())
