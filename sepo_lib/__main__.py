"""How is it called? The commands behind the Makefile: `python -m sepo_lib <command>`, listed by `--help`."""

import argparse
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from sepo_lib import games
from sepo_lib.config import paths, profiles
from sepo_lib.config.errors import MissingError
from sepo_lib.run import endings, headless, jobs, provenance


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns 0 if it succeeds, 1 if a run fails, 2 if the command cannot be carried out, and 128 + n if
    signal n ends it: 130 after an interrupt.
    """
    options = _parser().parse_args(arguments)
    with endings.signals_raised():
        endings.end_with_make()
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    """Run the command of `options`; an error is a sentence, and its exit code is returned."""
    try:
        return options.command(options)
    except headless.Stopped as stop:
        print(stop, file=sys.stderr)
        return 1
    except jobs.JobError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, endings.Terminated) as end:
        then = _THEN.get(options.command, "the same command starts from the beginning")
        print(f"\n{endings.said(end)} Nothing was deleted; {then}.", file=sys.stderr)
        return endings.code(end)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sepo_lib", description="The SEPO reproducibility kit.")
    commands = parser.add_subparsers(required=True, metavar="command")
    all_games = ", ".join(games.GAMES)
    models = f"{', '.join(profiles.MODELS)}, a folder, or a hub id such as org/name"

    def add(
        name: str, command: Callable[[argparse.Namespace], int], text: str, profile: bool = True
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=command)
        if profile:
            one.add_argument(
                "--profile", default="laptop", help=f"{', '.join(profiles.names())} (default: laptop)"
            )
        return one

    one = add("reproduce", reproduce, "Run every notebook and write tables, figures and a report.")
    one.add_argument("--model", help=models)
    one.add_argument("--seeds", help="training seeds, such as 11,12,13")
    one.add_argument("--games", help=f"all, or some of {all_games}, separated by commas")
    one.add_argument("--steps", help="training steps of SFT and SEPO")
    add("figures", figures, "Draw every figure again from the tables; nothing is trained.")
    add("notebooks", notebooks, "Write the outputs of a finished run into notebooks/ and README.md.")
    add("document", document, "Write the numbers of a finished run into its documents in docs/.")
    text = "Simulate how often the kit's intervals contain the true value: data/results/coverage.csv."
    add("coverage", coverage, text, profile=False)
    one = add("study-tables", study_tables, "Make the tables without a model: estimators.csv, headroom.csv.")
    one.add_argument("--games", help=f"all, or some of {all_games}, instead of the profile's games")
    one.add_argument("--groups", type=int, help="groups per opponent, instead of the profile's number")
    add("verify", verify, "Check the tables and figures of a run against its manifest.")
    add("remeasure", remeasure, "Make the tables of a run again from its records; nothing is trained.")
    one = add("play", play, "Play one game against a model.", profile=False)
    one.add_argument("game", help=all_games)
    one.add_argument("--model", default="nano", help=f"{models}; the folder can be that of a job")
    one.add_argument("--seed", type=int, default=0, help="seed of the chance moves and the model's answers")
    one.add_argument("--watch", metavar="OPPONENT", help="let this scripted opponent play for you")
    text = "Play models against each other and against every pool of a game."
    one = add("crossplay", crossplay, text, profile=False)
    one.add_argument("--game", required=True, help=all_games)
    one.add_argument("--models", required=True, nargs="+", metavar="NAME=PATH", help="models, as in play")
    one.add_argument("--pools", default="paper", help="the pool set: paper or conflict (default: paper)")
    one.add_argument("--episodes", type=int, default=96, help="episodes per pair of models (default: 96)")
    one.add_argument("--seed", type=int, default=0, help="seed of the chance moves and the answers")
    text = "Measure the speed of play and training against plain generate."
    one = add("bench", bench, text, profile=False)
    one.add_argument("--model", help=f"{' or '.join(profiles.MODELS)} (default: both)")
    text = "Print every hyperparameter, its value in each profile, and why."
    add("profiles", show_profiles, text, profile=False)
    return parser


def _settings(options: argparse.Namespace, **given: Any) -> profiles.Settings:
    """The settings of a command's profile. The commands name a run after its profile."""
    return profiles.load(options.profile, run=options.profile, **given)


# ---------------------------------------------------------------------------------------- reproduce


def reproduce(options: argparse.Namespace) -> int:
    """Run the notebooks in order; see `_parser` for the options."""
    given = {name: getattr(options, name) or None for name in ("model", "seeds", "games", "steps")}
    settings = _settings(options, **given)
    missing = [name for name in paths.NOTEBOOKS if not paths.notebook(name).exists()]
    if missing:
        raise MissingError(
            f"{paths.relative(paths.notebook(missing[0]))} is missing from this copy of the kit; "
            "restore it with git."
        )
    parameters: dict[str, Any] = {"profile": settings.profile, "run": settings.run, "model": given["model"]}
    parameters |= {key: list(getattr(settings, key)) if given[key] else None for key in ("seeds", "games")}
    parameters |= {"steps": settings.sepo_steps if given["steps"] else None}

    headless.announce(settings)
    begun = time.monotonic()
    provenance.start(settings)
    with headless.kernel(paths.run(settings.run) / "kernel.log"):
        for number, name in enumerate(paths.NOTEBOOKS, start=1):
            label = f"[{number}/{len(paths.NOTEBOOKS)}] {name}"
            with provenance.stage(settings.run, name), headless.progress(settings.run, label):
                headless.run_notebook(name, settings.run, parameters)
    provenance.finish(settings.run)
    _build_report(settings.run)
    _conclude(settings.run, time.monotonic() - begun)
    return 0


def _build_report(profile: str) -> None:
    try:
        from sepo_lib.report import html_page

        html_page.build(profile)
    except Exception as error:
        traceback.print_exc()
        raise headless.Stopped(
            f"error: the run is complete, but its report could not be built: {error}"
        ) from error


def _conclude(profile: str, seconds: float) -> None:
    """Print the claims and where the results are."""
    from sepo_lib.report import claims

    decided = paths.read_table(profile, "claims", claims.COLUMNS)
    print(f"\nDone in {headless.clock(seconds)}.\n")
    print(textwrap.indent(claims.as_text(decided), "  "))
    if profile == "smoke":
        print("\n  These verdicts only show that the code runs; the numbers of so small a run mean nothing.")
    print(f"\n  report    {paths.relative(paths.report(profile))}")
    print(f"  tables    {headless.folder(paths.results(profile))}")
    print(f"  figures   {headless.folder(paths.figures(profile))}")


# ------------------------------------------------------------------------------- the other commands


def figures(options: argparse.Namespace) -> int:
    """Draw the figures of a profile again."""
    profile = _settings(options).run
    from sepo_lib import figures as drawing

    files = drawing.draw_all(profile)
    print(f"{len(files)} files in {headless.folder(paths.figures(profile))}")
    return 0


def study_tables(options: argparse.Namespace) -> int:
    """Run the studies that need no model, one job after the other, and write their tables.

    If the profile has a finished run, the studies take the games of that run and replace its tables; the
    manifest notes it.
    """
    given = {} if options.groups is None else {"estimator_groups": options.groups}
    profile = _settings(options).run
    run = provenance.read(profile) if paths.manifest(profile).exists() else {"finished": None}
    own = ",".join(run["settings"]["games"]) if run["finished"] else None
    settings = _settings(options, games=options.games or own, **given)
    from sepo_lib.run import recipes, results

    studies = recipes.study_jobs(settings)
    jobs.run(studies, profile, "studies without a model")
    written = results.write_studies(settings, studies)
    if run["finished"]:
        provenance.remade(profile, [paths.table(profile, name) for name in written])
    print(f"Wrote {', '.join(written)} into {headless.folder(paths.results(settings.run))}")
    return 0


def document(options: argparse.Namespace) -> int:
    """Write the numbers of a run into the documents that show it. docs/CLAIMS.md shows every run."""
    settings = _settings(options)
    from sepo_lib.report import authors_page, claims_page, documents

    profile = settings.run
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
    """Compare a run with its manifest."""
    profile = _settings(options).run
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
    """Make all tables that follow from the records of a run again, without training."""
    profile = _settings(options).run
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
    print(f"\nThe table and its figure: {headless.folder(folder)}")
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
    print(profiles.as_text())
    return 0


def notebooks(options: argparse.Namespace) -> int:
    """Copy the outputs of a run into the notebooks in git: all of them, or none if one is refused."""
    from sepo_lib.report import documents, publishing

    profile = _settings(options).run
    published = publishing.publish_run(profile)
    documents.update(profile)
    print(f"Wrote the outputs of {len(published)} notebooks into {headless.folder(paths.notebooks())}")
    return document(options)


_CONTINUES = "the same command continues where it stopped"
#: What follows after a command was interrupted, if it does not start from the beginning.
_THEN = {reproduce: _CONTINUES, study_tables: _CONTINUES, play: "a game that did not end has no result"}

if __name__ == "__main__":
    sys.exit(main())
