"""One HTML page per run that can be read alone: question, run, verdicts, findings, figures, sample games.

The page needs no network and no other file. The modules of `page` make its parts from the tables, and
`templates/report.html.j2` writes it. Links to tables and figures work where the page lies in its run folder.
"""

import contextlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure import statistics
from sepo_lib.measure.measures import LOW_PARSE_RATE, mass_note
from sepo_lib.measure.rows import WEIGHT_COLUMNS, weights_of
from sepo_lib.report import claims, findings, found
from sepo_lib.report.page import highlights, pictures, reference, sample_games, verdict_cards
from sepo_lib.report.page.comparison import comparison
from sepo_lib.report.short_verdicts import RECIPES
from sepo_lib.report.verdicts import NOT_RUN, caution, in_words
from sepo_lib.run import provenance
from sepo_lib.run.templates import render

#: Column of evaluation.csv -> heading in the results by stage.
MEASURES = {
    "safety": "safety J",
    "exploit": "advantage e",
    "payoff": "payoff u",
    "collusion": "c",
    "externality": "x",
}
_STAGES = {"base": "base model", "sft": "after SFT"}


def build(profile: str) -> Path:
    """Write runs/<profile>/report.html and return its path.

    Reads the tables of the run, the manifest if it exists, and the authors' results. Draws every figure
    again. Only the rows of the run's own model are shown. Raises FileNotFoundError naming the notebook to run
    if claims.csv or evaluation.csv is missing, and as `provenance.own_rows` and the figures do.
    """
    decided, evaluation = claims.read(profile), findings.read(profile, "evaluation")
    manifest = provenance.read(profile) if paths.manifest(profile).exists() else {}
    model = evaluation["model"].iloc[0]
    with contextlib.redirect_stdout(io.StringIO()):  # the page names the figures that are skipped
        groups = pictures.pictures(pictures.drawn(profile, model))
    stages, kinds = stage_rows(evaluation)
    judged = figures.configured(evaluation[evaluation["pools"] == "paper"], ablation=True)  # by C1 to C4
    made = [picture.name for group in groups.values() for picture in group]
    page = render(
        "report/templates/report.html.j2",
        run=profile,
        older=provenance.older(profile) or "",
        reused=provenance.reused(profile) or "",
        caution=caution(evaluation["profile"].iloc[0]),
        facts=facts(manifest, evaluation),
        versions=plain(manifest.get("versions", {})),
        settings=plain(manifest.get("settings", {})),
        others=_other_models(profile, evaluation),
        cards=verdict_cards.cards(decided),
        counts=verdict_cards.counts(decided),
        idle=verdict_cards.idle(decided),
        recipes=RECIPES,
        trained=[name for name in RECIPES if (judged["configuration"] == name).any()],
        enumerated=len(findings.read_if_there(profile, "exploitability")),
        findings=highlights.highlights(profile, evaluation, decided),
        n_findings=highlights.SHOWN,
        brackets=found.brackets(evaluation),
        stages=stages,
        kinds=kinds,
        groups=groups,
        notes=pictures.NOTES,
        paper_group=pictures.PAPER,
        not_drawn=pictures.not_drawn(made),
        games=sample_games.sample_games(sample_games.read(profile)),
        paper=comparison(figures.reported(evaluation)),
        limits=limits(evaluation, decided),
        glossary=reference.glossary(),
        files=_files(profile),
        folders={
            "figures": _link(profile, paths.figures(profile)),
            "docs": _link(profile, paths.root() / "docs"),
        },
    )
    return paths.replace_text(paths.report(profile), page + "\n")


def facts(manifest: Mapping[str, Any], evaluation: pd.DataFrame) -> dict[str, str]:
    """The main facts of a run, from its manifest and its evaluation table; unknown ones are left out."""
    commit, settings = manifest.get("commit"), manifest.get("settings", {})
    if isinstance(commit, Mapping):
        commit = commit["commit"] and commit["commit"] + (" with changes" if commit.get("dirty") else "")
    seeds = sorted(evaluation["seed"].unique().tolist())
    found = {
        "model": evaluation["model"].unique(),
        "games": [f"{findings.title(game)} ({game})" for game in figures.ordered_games(evaluation)],
        "training seeds": seeds,
        "SFT data": settings.get("sft_data"),
        "SFT steps": settings.get("sft_steps"),
        "SEPO steps": by_game(settings.get("sepo_steps")),
        "rollouts per opponent": by_game(settings.get("rollouts_per_opponent")),
        "evaluation episodes per opponent": by_game(settings.get("evaluation_episodes")),
        "other weights of J": other_weights(evaluation),
        "hardware": _hardware(manifest.get("hardware", {})),
        "time": _time(manifest),
        "finished": manifest.get("finished"),
        "commit": commit,
    }
    return {key: text for key, value in found.items() if (text := words(value))}


def other_weights(evaluation: pd.DataFrame) -> list[str]:
    """The weights of J of every game in which the run changed them, once for training and evaluation each."""
    known = [name for name in ("game", *WEIGHT_COLUMNS) if name in evaluation]
    return [
        f"{findings.title(row['game'])} in {'training' if kind == 'train' else kind} ({words(weights)})"
        for row in evaluation[known].drop_duplicates().to_dict("records")
        for kind, weights in weights_of(row).items()
    ]


def by_game(value: Any) -> Any:
    """A setting that differs between games: `30; Kuhn poker 60`. Other values are returned unchanged."""
    if not isinstance(value, Mapping):
        return value
    games = "".join(f"; {findings.title(key)} {words(one)}" for key, one in value.items() if key != "others")
    return f"{words(value.get('others'))}{games}".removeprefix("; ")


def plain(values: Mapping[str, Any]) -> dict[str, str]:
    """The values of the manifest as lines of text; empty ones are left out."""
    return {key.replace("_", " "): text for key, value in values.items() if (text := words(value))}


def words(value: Any) -> str:
    """A value of the manifest as a line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {words(item)}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(words(item) for item in value)
    return "" if value is None else str(value)


def stage_rows(evaluation: pd.DataFrame) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The measures by game and stage on the paper's pools; J and e have intervals over seeds.

    The column `kind` holds a letter; the second value says what kinds of intervals (J, e) each letter means.
    """
    data = figures.configured(evaluation[evaluation["pools"] == "paper"])
    names = {name: label for name, label in MEASURES.items() if name in data}
    found = statistics.summarize(data, ["game", "configuration"], list(names))
    rows: list[dict[str, str]] = []
    letters: dict[str, str] = {}
    for game in figures.ordered_games(found):
        own = found[found["game"] == game]
        for key in figures.looks_of(own["configuration"]):
            measured = own[own["configuration"] == key].set_index("metric")
            kinds = _kinds(*measured.loc[["safety", "exploit"], "interval"])
            letter = letters.setdefault(kinds, chr(ord("a") + len(letters)))
            look = figures.CONFIGURATIONS.get(key)
            rows.append(
                {"game": findings.title(game), "stage": look.label if look else f"SEPO, {key}"}
                | {label: _measured(measured.loc[name]) for name, label in names.items()}
                | {"kind": letter}
            )
    return rows, {letter: kinds for kinds, letter in letters.items()}


def _measured(row: pd.Series) -> str:
    """J and e with their intervals, the other measures without."""
    low, high = (row[["ci_low", "ci_high"]]) if row.name in ("safety", "exploit") else (np.nan, np.nan)
    return in_words(statistics.Interval(row["mean"], low, high))


def _kinds(of_safety: str, of_exploit: str) -> str:
    """The kinds of the two intervals; what both begin with is named once."""
    if of_exploit.startswith(of_safety):
        return f"{of_safety}{of_exploit.removeprefix(of_safety).replace(', ', '; that of e ', 1)}"
    return f"J: {of_safety}; e: {of_exploit}"


def limits(evaluation: pd.DataFrame, decided: pd.DataFrame) -> dict[str, Any]:
    """The numbers behind the limits of the run."""
    rows = figures.configured(evaluation, ablation=True)
    seeds, shares, unlikely = rows["seed"].nunique(), [], []
    if "parse_rate" in rows:
        means = rows.groupby(["game", "pools", "configuration"])["parse_rate"].mean().sort_values()
        shares = [(_policy(*key), share) for key, share in means.dropna().items()]
        if "option_log10_mass" in rows:
            seldom = rows[rows["parse_rate"] < LOW_PARSE_RATE]
            masses = seldom.groupby(["game", "pools", "configuration"])["option_log10_mass"].mean()
            unlikely = [f"{_policy(*key)} 1e{mass:.0f}" for key, mass in masses.items() if mass_note(mass)]
    return {
        "model": words(rows["model"].unique()),
        "seeds": seeds,
        "detectable": statistics.detectable(seeds) if seeds > 1 else None,
        "not_run": int((decided["verdict"] == NOT_RUN).sum()),
        "verdicts": len(decided),
        "parsed": shares[:1],
        "rarely": [f"{name} {share:.0%}" for name, share in shares if share < 0.5],
        "unlikely": unlikely,
    }


def _policy(game: str, pools: str, configuration: str) -> str:
    """`Kuhn poker, SEPO with unbiased`; pools other than the paper's are named."""
    stage = _STAGES.get(configuration, f"SEPO with {configuration}")
    return f"{findings.title(game)}, {stage}" + (f", {pools} pools" if pools != "paper" else "")


def _hardware(hardware: Mapping[str, Any]) -> str:
    """`a chip, 2 cores, 8 GiB of memory, Linux x86_64, accelerator: none`."""
    known = {"cores": "{} cores", "memory_gib": "{} GiB of memory", "accelerator": "accelerator: {}"}
    return ", ".join(known.get(key, "{}").format(value) for key, value in hardware.items())


def _time(manifest: Mapping[str, Any]) -> str | None:
    """The time of the whole run, and that of all jobs, which can run side by side."""
    if not {"stages", "job_seconds"} <= set(manifest):
        return None
    return f"{_clock(provenance.duration(manifest))}; sum over all jobs {_clock(manifest['job_seconds'])}"


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _other_models(profile: str, evaluation: pd.DataFrame) -> list[str]:
    """The models whose rows evaluation.csv holds beside those of the run's own."""
    every = paths.read_table(profile, "evaluation")["model"].unique()
    return sorted(set(every) - set(evaluation["model"]))


def _files(profile: str) -> list[dict[str, str]]:
    """The tables of a run: name, link from the page, and what a row is."""
    known = reference.tables()
    files = sorted(file for file in paths.results(profile).iterdir() if file.suffix in (".csv", ".parquet"))
    return [
        {"name": paths.relative(file), "link": _link(profile, file), "about": known.get(file.name, "")}
        for file in files
    ]


def _link(profile: str, target: Path) -> str:
    """A link from the page to a file or folder of the repository."""
    return Path(os.path.relpath(target, paths.report(profile).parent)).as_posix()
