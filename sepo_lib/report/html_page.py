"""One self-contained page per run: what was run, what became of the claims, tables and figures."""

import base64
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure.statistics import summarize
from sepo_lib.report import findings
from sepo_lib.report.claims import number
from sepo_lib.run import provenance

CSS = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5c6670; --line: #dfe3e8; --page: #fff;
        --card: #f6f8fa; --good: #14713f; --bad: #b3261e; --open: #7a5c00 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #a2abb4; --line: #333b44; --page: #14181c; --card: #1d2329;
          --good: #62c98d; --bad: #ff8a80; --open: #e3c15b } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.1rem 4rem; max-width: 60rem; background: var(--page);
       color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line) }
p { margin: .4rem 0 .8rem } .soft { color: var(--soft); font-size: .9rem }
dl { display: grid; grid-template-columns: minmax(6.5rem, max-content) 1fr; gap: .25rem 1.1rem; margin: 0 }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
.wide { overflow-x: auto; -webkit-overflow-scrolling: touch }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .7rem .4rem 0; text-align: left; vertical-align: top;
         border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600 } td.n, th.n { text-align: right; white-space: nowrap }
.verdict { font-weight: 600; white-space: nowrap }
.supported { color: var(--good) } .not-supported { color: var(--bad) } .inconclusive { color: var(--open) }
.not-run { color: var(--soft) }
figure { margin: 1.4rem 0 0 }
figure img { display: block; width: 100%; height: auto; min-width: 34rem; max-width: 56rem;
             padding: .6rem; background: #fff; border: 1px solid var(--line); border-radius: 8px }
figcaption { margin-top: .4rem; color: var(--soft); font-size: .9rem }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr } dt { margin-top: .5rem } }
@media print { body { max-width: none } figure { break-inside: avoid } }
"""

MARKS = {"supported": "✓", "not supported": "✗", "inconclusive": "?", "not run": "–"}


def build(profile: str) -> Path:
    """Write runs/<profile>/report.html and return its path.

    Reads claims.csv, evaluation.csv, the PNG figures (drawn first where there are none) and, when there is
    one, the manifest. Raises FileNotFoundError naming the notebook to run where a table is missing.
    """
    claims, evaluation = paths.read_table(profile, "claims"), paths.read_table(profile, "evaluation")
    pictures = sorted(paths.figures(profile).glob("*.png"), key=rank)
    if not pictures:
        figures.draw_all(profile)
        pictures = sorted(paths.figures(profile).glob("*.png"), key=rank)
    file = paths.manifest(profile)
    manifest = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    title = f"SEPO reproduction kit: the run “{html.escape(profile)}”"
    sentences = findings.sentences(profile)
    found = "<h2>What was found</h2>" + "".join(
        f"<p>{html.escape(one.replace('`', ''))}</p>" for one in sentences
    )
    found = found if sentences else ""
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{CSS}</style></head><body>
<h1>{title}</h1>
<p class="soft">Safe Equilibrium Policy Optimization (arXiv 2605.30854), reproduced and extended.
{html.escape(provenance.older(profile) or "")}</p>
<h2>What was run</h2>
{facts_list(facts(manifest, evaluation))}
<h2>Claims</h2>
{claims_table(claims)}
<p class="soft">The paper's own recipe is <code>published</code>. The rule behind each verdict stands in
<code>sepo_lib/report/claims.py</code>, and in <code>docs/CLAIMS.md</code> with the dates of its changes,
before or after results had been seen.</p>
{found}
<h2>Safety and exploitability by stage</h2>
{summary_table(evaluation)}
<p class="soft">Means over training seeds; the last column names the kind of the intervals (of safety, of e).
The base model is one model, evaluated once a seed: its intervals cover evaluation noise only.</p>
<h2>Figures</h2>
{"".join(map(picture, pictures))}
</body></html>
"""
    return paths.replace_text(paths.report(profile), page)


def rank(file: Path) -> tuple[int, str]:
    """Figures in the order of `figures.CAPTIONS`, then by name."""
    stems = list(figures.CAPTIONS)
    return next((k for k, stem in enumerate(stems) if file.stem.startswith(stem)), len(stems)), file.stem


def facts(manifest: Mapping[str, Any], evaluation: pd.DataFrame) -> dict[str, str]:
    """What a reader wants to know of a run first: from its manifest, and from the table what it lacks."""
    commit = manifest.get("commit")
    if isinstance(commit, Mapping):
        commit = commit["commit"] and commit["commit"] + (" with changes" if commit.get("dirty") else "")
    found = {
        "model": evaluation["model"].unique(),
        "games": [figures.title_of(game) for game in figures.ordered_games(evaluation)],
        "seeds": sorted(evaluation["seed"].unique().tolist()),
        "commit": commit,
        "hardware": manifest.get("hardware"),
        "minutes": f"{provenance.duration(manifest) / 60:.0f}" if manifest else None,
        "finished": manifest.get("finished"),
        "versions": manifest.get("versions"),
    }
    return {key: words(value) for key, value in found.items() if value is not None and len(words(value))}


def words(value: Any) -> str:
    """A value of the manifest as a line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key.replace('_', ' ')} {words(item)}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(words(item) for item in value)
    return str(value)


def facts_list(found: Mapping[str, str]) -> str:
    rows = (f"<dt>{html.escape(key)}</dt><dd>{html.escape(text)}</dd>" for key, text in found.items())
    return f"<dl>{''.join(rows)}</dl>"


def rows_of(header: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; `header` pairs each column's name with its class, `rows` hold cells that are HTML."""
    head = "".join(f'<th class="{kind}">{html.escape(name)}</th>' for name, kind in header)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{cell}</td>' for cell, (_, kind) in zip(row, header, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def claims_table(claims: pd.DataFrame) -> str:
    """The claims with their verdicts by recipe; a mark and the word repeat what the colour says."""
    several = claims["model"].nunique() > 1
    rows = []
    for row in claims.fillna({"recipe": "", "scope": "", "reason": ""}).itertuples():
        verdict = f"{MARKS.get(row.verdict, '')} {row.verdict}".strip()
        kind = str(row.verdict).replace(" ", "-")
        statement = row.statement + (f" ({row.model})" if several else "")
        rows.append(
            (
                row.claim,
                html.escape(statement),
                html.escape(" ".join(filter(None, (row.recipe, row.scope)))),
                f'<span class="verdict {kind}">{html.escape(verdict)}</span>',
                number(row.measured),
                between(row.ci_low, row.ci_high),
                html.escape(row.interval),
                html.escape(row.reason),
            )
        )
    names = ("claim", "statement", "recipe", "verdict", "measured", "interval", "kind of interval", "reason")
    return rows_of([(name, "n" if name in ("measured", "interval") else "") for name in names], rows)


def between(low: float, high: float) -> str:
    """The ends of an interval, or a dash where there is none."""
    return "–" if pd.isna(low) else f"{number(low)} to {number(high)}"


def summary_table(evaluation: pd.DataFrame) -> str:
    """Safety and exploit advantage by game and stage on the paper's pools, with intervals over seeds."""
    data = figures.configured(evaluation[evaluation["pools"] == "paper"])
    found = summarize(data, ["model", "game", "configuration"], ["safety", "exploit"])
    several = found["model"].nunique() > 1
    rows = []
    for model in found["model"].unique():
        for game in figures.ordered_games(found):
            for key, look in figures.CONFIGURATIONS.items():
                chosen = found[(found.model == model) & (found.game == game) & (found.configuration == key)]
                if chosen.empty:
                    continue
                safety, exploit = (chosen[chosen.metric == name].iloc[0] for name in ("safety", "exploit"))
                game_cell = figures.title_of(game) + (f" ({model})" if several else "")
                cells = [html.escape(game_cell), html.escape(look.label), str(safety.n)]
                for value in (safety, exploit):
                    cells += [number(value["mean"]), between(value.ci_low, value.ci_high)]
                rows.append(
                    [*cells, html.escape("; ".join(dict.fromkeys((safety.interval, exploit.interval))))]
                )
    columns = ["safety J", "95% interval", "exploit e", "95% interval"]
    header = [("game", ""), ("stage", ""), ("seeds", "n"), *((name, "n") for name in columns), ("kind", "")]
    return rows_of(header, rows)


def picture(file: Path) -> str:
    """A figure of the page: the PNG inside it, with its caption as the text for those who cannot see it."""
    data = base64.b64encode(file.read_bytes()).decode()
    text = html.escape(figures.caption(file.stem))
    name = html.escape(file.stem.replace("_", " "))
    return (
        f'<figure><div class="wide"><img alt="{name}: {text}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{text} <code>{html.escape(file.stem)}.pdf</code></figcaption></figure>"
    )
