"""The generated blocks of README.md and of pages in docs/. They are made from the committed tables."""

import pandas as pd

from sepo_lib import figures
from sepo_lib.config import files, paths
from sepo_lib.measure import statistics
from sepo_lib.report import claims, findings, headline_page
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

PROFILE, STUDY = "laptop", "study"  # the run that README shows, and the larger one that it is compared with
RECIPES = {
    "published": "published (the paper's)",
    "authors_current": "the authors' code",
    "unbiased": "unbiased (ours)",
}


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
    decided = claims.read(profile)
    of_a_recipe = decided[decided["recipe"] != ""]
    on_clamped = of_a_recipe["reason"].str.contains(CLAMPED)
    runs = [run for run in (profile, STUDY) if paths.table(run, "claims").exists()]
    return render(
        "report/templates/results.md.j2",
        run=_run(profile),
        caution=" ".join(claims.cautions(decided)),
        study=STUDY if paths.manifest(STUDY).exists() else "",
        study_seeds=provenance.read(STUDY)["seeds"] if paths.manifest(STUDY).exists() else [],
        study_is_older=bool(provenance.older(STUDY)),
        claims=_by_recipe(of_a_recipe),
        clamped=list(of_a_recipe[on_clamped]["claim"].unique()),
        other_claims=_without_recipe(decided[decided["recipe"] == ""]),
        findings=[
            *_other_verdicts(STUDY, decided),
            *findings.sentences(*runs),
            *filter(None, map(headline_page.sentence, runs)),
        ],
        safety=_safety(findings.read(profile, "evaluation")),
        headline=_headline(),
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


def _headline() -> list[dict[str, str]]:
    """Safety by estimator in the run STUDY; empty without its tables."""
    made = all(paths.table(STUDY, name).exists() for name in ("evaluation", "exploitability"))
    return headline_page.safety(headline_page.by_seed(STUDY)) if made else []


def _run(profile: str) -> str:
    """Sentences on the hardware, time and seeds of a run, and on older code that made it."""
    manifest = provenance.read(profile)
    return render(
        "report/templates/run.md.j2",
        profile=profile,
        minutes=round(provenance.duration(manifest) / 60),
        hardware=manifest["hardware"],
        seeds=manifest["settings"]["seeds"],
        notes=[note for note in (provenance.older(profile), provenance.reused(profile)) if note],
    )


def _by_recipe(decided: pd.DataFrame) -> list[dict[str, str]]:
    """The claims as rows, with a column for each recipe that was trained, the paper's own first."""
    run = decided[decided["verdict"] != NOT_RUN]
    shown = [recipe for recipe in RECIPES if (run["recipe"] == recipe).any()]
    rows = []
    for (claim, scope), own in decided.groupby(["claim", "scope"], sort=False):
        statement = own["statement"].iloc[0] + (f" *{scope}*" if scope else "")
        kinds = [kind for kind in dict.fromkeys(own["interval"]) if kind != "none"]
        cells = {row.recipe: _cell(row) for row in own.itertuples()}
        named = {RECIPES[recipe]: cells.get(recipe, "–") for recipe in shown}
        rows.append(
            {"claim": claim, "statement": statement} | named | {"interval": "; ".join(kinds) or "none"}
        )
    return rows


def _cell(row) -> str:
    """A verdict and the measured value; also the reason if there is no interval over seeds."""
    found = in_words(statistics.Interval(row.measured, row.ci_low, row.ci_high))
    reason = [row.reason] if row.interval.startswith("count") or found == "–" else []
    return f"**{row.verdict}** " + "; ".join([*([] if found == "–" else [found]), *reason])


def _without_recipe(decided: pd.DataFrame) -> list[dict[str, str]]:
    """The claims that do not depend on a recipe, as rows."""
    return [
        {"claim": row.claim, "statement": row.statement, "verdict": _cell(row), "interval": row.interval}
        for row in decided.itertuples()
    ]


def _other_verdicts(profile: str, decided: pd.DataFrame) -> list[str]:
    """One sentence with the verdicts of `profile` on C1, and on each claim for which its verdict differs from
    the one in `decided`. The list is empty if there are none."""
    if not paths.table(profile, "claims").exists():
        return []
    key = ["claim", "recipe", "scope", "verdict"]
    same = set(decided[key].itertuples(index=False, name=None))
    there = claims.read(profile)
    there = there[there["verdict"] != NOT_RUN]
    keys = there[key].itertuples(index=False, name=None)
    there = there[[one[0] == "C1" or one not in same for one in keys]]
    listed = []
    for (claim, scope), rows in there.groupby(["claim", "scope"], sort=False):
        cells = [f"`{row.recipe}` {_cell(row)}" if row.recipe else _cell(row) for row in rows.itertuples()]
        listed.append(f"{claim}{scope and f' *{scope}*'}: {', '.join(cells)}.")
    return [f"With the seeds and settings of `{profile}`: {' '.join(listed)}"] if listed else []


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
