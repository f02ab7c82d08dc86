"""The generated blocks of README.md and of pages in docs/. They are made from the committed tables."""

from collections.abc import Mapping

import pandas as pd

from sepo_lib import figures, games
from sepo_lib.config import files, paths
from sepo_lib.measure import statistics
from sepo_lib.method import credit
from sepo_lib.report import became, claims, findings, found, headline_page
from sepo_lib.report.estimators_page import numbers
from sepo_lib.report.paper_claims import CLAMPED
from sepo_lib.report.verdicts import NOT_RUN, in_words
from sepo_lib.run import provenance
from sepo_lib.run.recipes import PRETRAIN_BATCH
from sepo_lib.run.templates import render

BEGIN, END = "<!-- results: written by `make notebooks` -->", "<!-- end of results -->"
NUMBERS, END_OF_NUMBERS = "<!-- numbers: written by `make document` -->", "<!-- end of numbers -->"
OUTCOMES, END_OF_OUTCOMES = "<!-- outcomes: written by `make document` -->", "<!-- end of outcomes -->"
HEADLINE, END_OF_HEADLINE = "<!-- headline: written by `make document` -->", "<!-- end of headline -->"
MODEL, END_OF_MODEL = "<!-- model: written by `make document` -->", "<!-- end of model -->"

EARLIER, END_OF_EARLIER = "<!-- h200: written by `make document` -->", "<!-- end of h200 -->"
H200 = "h200"  # the folder of the tables of a run on a GPU with the code of 2026-11-26

WIDEST = 80  # characters of a part of a reason in README; docs/CLAIMS.md has the longer ones
LIKE = 0.5  # a policy is like a known strategy if it agrees with it in this share of its decisions
EVERY_GAME = "every game"  # ends the scope of a verdict on all games of a pool set
PROFILE, STUDY = "laptop", "study"  # the run that README shows, and the larger one that it is compared with
RECIPES = {
    "published": "published (the paper's)",
    "authors_current": "the authors' code",
    "unbiased": "unbiased (ours)",
}
CONTROL = "reward_only"  # the arm without a penalty; README judges it by the rules of C1 to C4


def update(profile: str) -> None:
    """Rewrite the results in README.md from the tables of `profile`. Raises as `results` and `rewrite`."""
    rewrite("README.md", BEGIN, END, results(profile))


def update_estimators(profile: str) -> None:
    """Rewrite the numbers in docs/ESTIMATORS.md from the tables of `profile`."""
    rewrite("docs/ESTIMATORS.md", NUMBERS, END_OF_NUMBERS, numbers(profile))


def update_outcomes(profile: str) -> None:
    """Rewrite the headline and the results of the arms in docs/ESTIMATORS.md from the tables of `profile`."""
    rewrite("docs/ESTIMATORS.md", HEADLINE, END_OF_HEADLINE, headline_page.text(profile))
    rewrite("docs/ESTIMATORS.md", OUTCOMES, END_OF_OUTCOMES, findings.outcomes(profile))


def update_model(profile: str) -> None:
    """Rewrite the results of a real model in docs/MODELS.md from the tables of `profile`."""
    rewrite("docs/MODELS.md", MODEL, END_OF_MODEL, real_model(profile))


def update_nano(profile: str) -> None:
    """Rewrite the numbers in the model card of `nano` from the tables of `profile`."""
    rewrite("data/models/nano/README.md", NUMBERS, END_OF_NUMBERS, base_model(profile))


def update_earlier() -> None:
    """Rewrite the results of the run H200 in docs/MODELS.md from its tables."""
    rewrite("docs/MODELS.md", EARLIER, END_OF_EARLIER, earlier())


def rewrite(name: str, begin: str, end: str, text: str) -> None:
    """Put `text` between two markers of a document. Raises ValueError if the document lacks a marker."""
    path = paths.root() / name
    document = path.read_text(encoding="utf-8")
    if begin not in document or end not in document:
        raise ValueError(f"{name} lacks the lines '{begin}' and '{end}', which enclose the generated text.")
    before, _, rest = document.partition(begin)
    _, _, after = rest.partition(end)
    paths.replace_text(path, f"{before}{begin}\n{text}\n{end}{after}")


def results(profile: str) -> str:
    """The results of a run as Markdown: hardware and time, the claims by recipe, findings, and safety.

    Raises FileNotFoundError for a missing manifest or table, as `provenance.read` and `read_table` do.
    """
    runs = [run for run in (profile, STUDY) if run == profile or paths.manifest(run).exists()]
    decided = {run: claims.read(run) for run in runs}
    first = profile if provenance.older(runs[-1]) else runs[-1]  # results of older code come second
    became_in = first if paths.table(first, "behaviour").exists() else profile
    effects = headline_page.effects_of(STUDY)
    by_estimator = _by_estimator() if STUDY in runs else None
    shown = {run: _by_recipe(pd.concat([table, _control(run)])) for run, table in decided.items()}
    safety = _with_highest(_safety(findings.read(profile, "evaluation")), profile)
    return render(
        "report/templates/results.md.j2",
        profile=profile,
        study=STUDY,
        first=first,
        second=next((run for run in runs if run != first), ""),
        runs=[_run(run) for run in runs],
        caution=" ".join(claims.cautions(decided[profile])),
        claims=shown,
        controlled=any(CONTROL in column for row in shown[first][:1] for column in row),
        absent={run: _absent(table) for run, table in decided.items()},
        clamped=list(dict.fromkeys(name for table in decided.values() for name in _clamped(table))),
        other_claims=_without_recipe(decided),
        findings=findings.sentences(*runs),
        effects=headline_page.effect_rows(effects) if STUDY in runs else [],
        in_short=_in_short(effects, by_estimator) if STUDY in runs else None,
        caption=headline_page.EFFECTS.format(run=STUDY),
        by_term=_by_term(first),
        became_in=became_in,
        became=_became(became_in),
        safety=safety,
        headline=_with_highest(_headline(by_estimator), STUDY),
        highest=any("highest J" in row for row in safety),
    )


def real_model(profile: str) -> str:
    """The measures of each stage of a run's model by game, and the time of each job, as Markdown.

    Raises FileNotFoundError as `results` does.
    """
    jobs = provenance.seconds_of_jobs(provenance.read(profile))
    return render(
        "report/templates/real_model.md.j2",
        run=_run(profile),
        measures=findings.measures(findings.read(profile, "evaluation")),
        nashconvs=findings.nashconvs(findings.read(profile, "exploitability")),
        jobs=[{"job": name, "minutes": f"{time / 60:.1f}"} for name, time in jobs.items() if time >= 60],
    )


def base_model(profile: str) -> str:
    """The size of `nano`, its pre-training, and how it plays without any further training, as Markdown."""
    index = paths.models() / "nano" / "model.safetensors.index.json"
    evaluation = findings.read(profile, "evaluation")
    return render(
        "report/templates/nano.md.j2",
        run=profile,
        older=provenance.older(profile),
        parameters=files.read_json(index, "run `git restore data/models`")["metadata"]["total_parameters"],
        settings=provenance.read(profile)["settings"],
        batch=PRETRAIN_BATCH,
        measures=findings.measures(evaluation[evaluation["stage"] == "base"]),
    )


def earlier() -> str:
    """The measures of each stage of the run H200, and the differences between stages, as Markdown."""
    evaluation = findings.read(H200, "evaluation")
    safety = evaluation[evaluation["reported"]].set_index("seed").groupby(["game", "stage"])["safety"]
    pairs = {"SEPO minus base model": ("sepo", "base"), "SEPO minus SFT": ("sepo", "sft")}
    differences = [
        {"game": game}
        | {
            name: statistics.text(statistics.paired(*(safety.get_group((game, one)) for one in pair)))
            for name, pair in pairs.items()
        }
        for game in dict.fromkeys(evaluation["game"])
    ]
    return render(
        "report/templates/earlier_model.md.j2",
        measures=findings.measures(evaluation),
        differences=differences,
        nashconvs=findings.nashconvs(findings.read(H200, "exploitability")),
    )


def _by_estimator() -> pd.DataFrame | None:
    """`headline_page.by_seed` of the run STUDY; None without its tables."""
    made = all(paths.table(STUDY, name).exists() for name in ("evaluation", "exploitability"))
    return headline_page.by_seed(STUDY) if made else None


def _headline(rows: pd.DataFrame | None) -> list[dict[str, str]]:
    """Safety by estimator in the run STUDY, from `_by_estimator`."""
    return [] if rows is None else headline_page.safety(rows, findings.read(STUDY, "evaluation"))


def _in_short(effects: headline_page.Effects, rows: pd.DataFrame | None) -> str | None:
    """`headline_page.in_short` of the run STUDY, with the correction over all differences if it has them."""
    return headline_page.in_short(effects, () if rows is None else headline_page.contrasts(rows))


def _by_term(run: str) -> list[dict[str, str]]:
    """The change of safety from SFT to SEPO and its parts, by game, recipe and pools, the paper's first."""
    rows, cells = findings.read(run, "evaluation"), []
    for preset, label in RECIPES.items():
        sepo = {"stage": "sepo", "preset": preset, "arm": credit.preset(preset).arm}
        for one, parts in found.by_terms(rows, sepo, {"stage": "sft"}, ["game", "pools"]):
            if one.seeds:
                named = {f"by {term}": part for term, part in parts.items()}
                cells.append({**one.key, "recipe": label, "change of J": found.amount(one)} | named)
    order = list(dict.fromkeys(row["game"] for row in cells))
    return sorted(cells, key=lambda row: (row["pools"] != "paper", order.index(row["game"])))


def _became(profile: str) -> list[dict[str, str]]:
    """The known strategy that is nearest to the policy of every stage, by game; empty without the table."""
    table = findings.read(profile, "behaviour") if paths.table(profile, "behaviour").exists() else []
    rows = became.became(table, provenance.read(profile)["settings"]["preset"]) if len(table) else []
    return [
        {"game": games.get(one.game).short_title}
        | {policy: _nearest(*near[0]) for policy, near in one.nearest.items() if near}
        for one in rows
    ]


def _nearest(name: str, found: statistics.Interval) -> str:
    """The nearest strategy with its agreement; below LIKE the policy is like none of them."""
    shown = f"`{name.replace(' or ', '` or `')}` {found.mean:.2f}"
    return shown if found.mean >= LIKE else f"like none ({shown})"


def _with_highest(rows: list[dict[str, str]], run: str) -> list[dict[str, str]]:
    """The rows, by game and pools (else the paper's), with the highest J there is in the last column."""
    highest = findings.highest(*dict.fromkeys((run, PROFILE)))
    if not highest:
        return rows
    return [row | {"highest J": highest.get((row["game"], row.get("pools", "paper")), "–")} for row in rows]


def _run(profile: str) -> str:
    """Sentences on the hardware, time and seeds of a run, and on older code that made it."""
    manifest = provenance.read(profile)
    return render(
        "report/templates/run.md.j2",
        profile=profile,
        minutes=round(provenance.duration(manifest) / 60),
        hardware=manifest["hardware"],
        seeds=manifest["settings"]["seeds"],
        before=_before(manifest),
        steps=_steps(manifest["settings"].get("sepo_steps", "")),
        notes=[
            note
            for note in (provenance.older(profile), provenance.reused(profile), _enumerated(manifest))
            if note
        ],
    )


def _before(manifest: Mapping) -> str:
    """How the time of a run was counted, if jobs of it were finished before it was started; else empty."""
    seconds, workers = manifest.get("job_seconds_before", 0.0), manifest["settings"]["workers"]
    notebooks = round(sum(one["seconds"] for one in manifest["stages"].values()) / 60)
    if seconds / workers < 60:
        return ""
    return (
        f" ({notebooks} in its last sitting, and before that jobs of {seconds / 3600:.1f} hours, "
        f"{workers} at a time)"
    )


def _steps(steps: int | str | Mapping[str, int]) -> str:
    """`30`, or `30 (Kuhn poker: 60)` where games differ."""
    if not isinstance(steps, Mapping):
        return str(steps)
    others = [f"{findings.title(game)}: {n}" for game, n in steps.items() if game != "others"]
    return f"{steps['others']} ({', '.join(others)})" if "others" in steps else ", ".join(others)


def _enumerated(manifest: Mapping) -> str:
    """In which games a recipe differs from the others in more than its switches; else empty."""
    baseline = manifest["settings"].get("baseline")
    by_game = baseline if isinstance(baseline, dict) else {}
    names = [findings.title(game) for game, value in by_game.items() if value == "enumerated"]
    if not names:
        return ""
    return (
        f"In {found.words(names)} this run trains `unbiased` with enumerated advantages "
        "([docs/ESTIMATORS.md](docs/ESTIMATORS.md#enumerated-advantages)), and all other recipes on played "
        "hands. So they differ in more than their switches there, which concerns C1 and C1b."
    )


def _control(run: str) -> pd.DataFrame:
    """The verdicts on C1 to C4 of a run if the arm CONTROL stands in the place of `unbiased`.

    The two differ only in the penalty, so that a claim that holds for both says nothing about the penalty.
    """
    if not all(paths.table(run, name).exists() for name in ("evaluation", "exploitability")):
        return pd.DataFrame()
    tables = []
    for name in ("evaluation", "exploitability"):
        table = findings.read(run, name)
        table = table.reindex(columns=dict.fromkeys([*table.columns, *claims.NEEDS[name]]))
        control = (table["preset"] == "unbiased") & (table["arm"] == CONTROL)
        tables.append(table[(table["stage"] != "sepo") | control].assign(arm="credited"))
    evaluation, exploitability = tables
    if (evaluation["stage"] != "sepo").all():
        return pd.DataFrame()
    known = (evaluation["profile"].iloc[0], evaluation["model"].iloc[0])
    decided = claims.decide(evaluation, pd.DataFrame(), exploitability, *known).fillna(claims.EMPTY)
    own = decided["claim"].isin(claims.SHARED) & (decided["recipe"] == "unbiased")
    return decided[own].assign(recipe=CONTROL)


def _by_recipe(decided: pd.DataFrame) -> list[dict[str, str]]:
    """The claims as rows, with a column for each recipe that was trained, the paper's own first.

    Scopes that no recipe was run on are left out, and so are the verdicts on single games beside one on
    every game.
    """
    decided = decided[decided["recipe"] != ""]
    run = decided[decided["verdict"] != NOT_RUN]
    titles = RECIPES | {CONTROL: f"no penalty (`{CONTROL}`)"}
    shown = [recipe for recipe in titles if (run["recipe"] == recipe).any()]
    every = run["scope"].str.endswith(EVERY_GAME)
    run = run[every | ~run["claim"].isin(run.loc[every, "claim"])]
    rows, before = [], None
    for (claim, scope), own in run.groupby(["claim", "scope"], sort=False):
        statement = _stated(own["statement"].iloc[0], claim) if claim != before else ""
        kinds = [kind for kind in dict.fromkeys(own["interval"]) if kind != "none"]
        cells = {row.recipe: _cell(row) for row in own.itertuples()}
        rows.append(
            {"claim": claim, "statement": " ".join(filter(None, (statement, scope and f"*{scope}*")))}
            | {titles[recipe]: cells.get(recipe, "–") for recipe in shown}
            | {"interval": "; ".join(kinds) or "none"}
        )
        before = claim
    return rows


def _stated(statement: str, claim: str) -> str:
    """The statement of a claim, and what supports it in short."""
    return f"{statement} Supported if {claims.RULES[claim].supported_if}."


def _absent(decided: pd.DataFrame) -> list[str]:
    """The claims that were run with no recipe, and such parts of claims: `E8`, `C6 *paper pools*`."""
    found = []
    for claim, own in decided.groupby("claim", sort=False):
        run = own.loc[own["verdict"] != NOT_RUN, "scope"]
        parts = [f"{claim} *{scope}*" for scope in dict.fromkeys(own["scope"]) if scope not in set(run)]
        found += parts if len(run) else [claim]
    return found


def _clamped(decided: pd.DataFrame) -> list[str]:
    """The claims that were decided on clamped margins."""
    return list(decided.loc[decided["reason"].str.contains(CLAMPED), "claim"])


def _cell(row) -> str:
    """A verdict and the measured value; also the reason if there is no interval over seeds.

    A list that would fill the cell, such as the twenty pairs of E8, stands in docs/CLAIMS.md only.
    """
    found = in_words(statistics.Interval(row.measured, row.ci_low, row.ci_high))
    given = row.interval.startswith("count") or found == "–"
    reason = [part for part in row.reason.split("; ") if given and len(part) <= WIDEST]
    return f"**{row.verdict}** " + "; ".join([*([] if found == "–" else [found]), *reason])


def _without_recipe(decided: dict[str, pd.DataFrame]) -> list[dict[str, str]]:
    """The claims that do not depend on a recipe as rows, with two columns for each run."""
    of_runs = {run: table[table["recipe"] == ""].set_index("claim") for run, table in decided.items()}
    rows = []
    for claim in dict.fromkeys(claim for own in of_runs.values() for claim in own.index):
        found = {run: own.loc[claim] for run, own in of_runs.items() if claim in own.index}
        row = {"claim": claim, "statement": _stated(next(iter(found.values()))["statement"], claim)}
        for run in decided:
            row[f"`{run}`"] = _cell(found[run]) if run in found else "–"
            row[f"interval, `{run}`"] = found[run]["interval"] if run in found else "–"
        rows.append(row)
    return rows


def _safety(evaluation: pd.DataFrame) -> list[dict[str, str]]:
    """Safety by game (rows) and configuration (columns) on the paper's pools."""
    rows = figures.configured(evaluation[evaluation.pools == "paper"])
    measured = statistics.summarize(rows, ["game", "configuration"], ["safety"])
    measured = measured.set_index(["game", "configuration"])
    columns = [key for key in figures.CONFIGURATIONS if key in measured.index.get_level_values(1)]
    return [
        {"game": game}
        | {
            figures.CONFIGURATIONS[key].label: statistics.as_text(measured.loc[(game, key)])
            for key in columns
        }
        for game in dict.fromkeys(measured.index.get_level_values(0))
    ]
