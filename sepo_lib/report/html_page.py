"""One self-contained HTML page per run: what was run, the verdicts on the claims, tables and figures."""

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure.rows import WEIGHT_COLUMNS, weights_of
from sepo_lib.measure.statistics import summarize
from sepo_lib.report import claims, findings
from sepo_lib.report.verdicts import number
from sepo_lib.run import provenance
from sepo_lib.run.templates import render

MARKS = {"supported": "✓", "not supported": "✗", "inconclusive": "?", "not run": "–"}


def build(profile: str) -> Path:
    """Write runs/<profile>/report.html and return its path.

    Reads claims.csv, evaluation.csv, the PNG figures (and draws them first if there are none), and the
    manifest if it exists. Raises FileNotFoundError naming the notebook to run if a table is missing.
    """
    decided, evaluation = (paths.read_table(profile, name) for name in ("claims", "evaluation"))
    if not list(paths.figures(profile).glob("*.png")):
        figures.draw_all(profile)
    pictures = sorted(paths.figures(profile).glob("*.png"), key=rank)
    file = paths.manifest(profile)
    manifest = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    page = render(
        "report/templates/report.html.j2",
        profile=profile,
        older=provenance.older(profile) or "",
        facts=facts(manifest, evaluation),
        claims=claims_rows(decided),
        sentences=[sentence.replace("`", "") for sentence in findings.sentences(profile)],
        stages=stage_rows(evaluation),
        figures=[
            {
                "stem": picture.stem,
                "caption": figures.caption(picture.stem),
                "data": base64.b64encode(picture.read_bytes()).decode(),
            }
            for picture in pictures
        ],
    )
    return paths.replace_text(paths.report(profile), page + "\n")


def rank(file: Path) -> tuple[int, str]:
    """Sort key of a figure: its place in `figures.CAPTIONS`, then its name."""
    stems = list(figures.CAPTIONS)
    return next((k for k, stem in enumerate(stems) if file.stem.startswith(stem)), len(stems)), file.stem


def facts(manifest: Mapping[str, Any], evaluation: pd.DataFrame) -> dict[str, str]:
    """The main facts of a run, from its manifest and its evaluation table; unknown ones are left out."""
    commit = manifest.get("commit")
    if isinstance(commit, Mapping):
        commit = commit["commit"] and commit["commit"] + (" with changes" if commit.get("dirty") else "")
    found = {
        "model": evaluation["model"].unique(),
        "games": [findings.title(game) for game in figures.ordered_games(evaluation)],
        "other weights of J": other_weights(evaluation),
        "seeds": sorted(evaluation["seed"].unique().tolist()),
        "commit": commit,
        "hardware": manifest.get("hardware"),
        "minutes": f"{provenance.duration(manifest) / 60:.0f}" if manifest else None,
        "finished": manifest.get("finished"),
        "versions": manifest.get("versions"),
    }
    return {key: words(value) for key, value in found.items() if value is not None and len(words(value))}


def other_weights(evaluation: pd.DataFrame) -> list[str]:
    """The weights of J of every game in which the run changed them, once for training and evaluation each."""
    known = [name for name in ("game", *WEIGHT_COLUMNS) if name in evaluation]
    return [
        f"{findings.title(row['game'])} in {'training' if kind == 'train' else kind} ({words(weights)})"
        for row in evaluation[known].drop_duplicates().to_dict("records")
        for kind, weights in weights_of(row).items()
    ]


def words(value: Any) -> str:
    """A value of the manifest as a line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {words(item)}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(words(item) for item in value)
    return str(value)


def claims_rows(decided: pd.DataFrame) -> list[dict[str, str]]:
    """The claims with their verdicts by recipe; `mark` repeats the verdict for readers who see no colour."""
    several = decided["model"].nunique() > 1
    return [
        {
            "claim": row.claim,
            "statement": row.statement + (f" ({row.model})" if several else ""),
            "recipe": " ".join(filter(None, (row.recipe, row.scope))),
            "mark": MARKS.get(row.verdict, ""),
            "verdict": row.verdict,
            "measured": number(row.measured),
            "interval": between(row.ci_low, row.ci_high),
            "kind of interval": row.interval,
            "reason": row.reason,
        }
        for row in decided.fillna(claims.EMPTY).itertuples()
    ]


def between(low: float, high: float) -> str:
    """The ends of an interval, or a dash if there is none."""
    return "–" if pd.isna(low) else f"{number(low)} to {number(high)}"


def stage_rows(evaluation: pd.DataFrame) -> list[dict[str, str]]:
    """Safety and exploit advantage by game and stage on the paper's pools, with intervals over seeds."""
    data = figures.configured(evaluation[evaluation["pools"] == "paper"])
    found = summarize(data, ["model", "game", "configuration"], ["safety", "exploit"])
    several = found["model"].nunique() > 1
    groups = dict(list(found.groupby(["model", "game", "configuration"])))
    rows = []
    for model in found["model"].unique():
        for game in figures.ordered_games(found):
            for key, look in figures.CONFIGURATIONS.items():
                if (model, game, key) not in groups:
                    continue
                by_metric = groups[model, game, key].set_index("metric")
                safety, exploit = by_metric.loc["safety"], by_metric.loc["exploit"]
                rows.append(
                    {
                        "game": findings.title(game) + (f" ({model})" if several else ""),
                        "stage": look.label,
                        "seeds": str(safety.n),
                        "safety J": number(safety["mean"]),
                        "interval of J": between(safety.ci_low, safety.ci_high),
                        "exploit e": number(exploit["mean"]),
                        "interval of e": between(exploit.ci_low, exploit.ci_high),
                        "kind": "; ".join(dict.fromkeys((safety.interval, exploit.interval))),
                    }
                )
    return rows
