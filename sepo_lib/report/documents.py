"""The generated blocks of README.md and of pages in docs/. They are made from the committed tables."""

from collections.abc import Mapping

import pandas as pd

from sepo_lib import figures, games
from sepo_lib.config import files, paths
from sepo_lib.measure import statistics
from sepo_lib.method import credit
from sepo_lib.report import became, claims, findings, found, headline_page, short_verdicts
from sepo_lib.report.estimators_page import numbers
from sepo_lib.report.paper_claims import CLAMPED
from sepo_lib.run import provenance
from sepo_lib.run.recipes import PRETRAIN_BATCH
from sepo_lib.run.templates import render

FOUND, END_OF_FOUND = "<!-- found: written by `make notebooks` -->", "<!-- end of found -->"
BEGIN, END = "<!-- results: written by `make notebooks` -->", "<!-- end of results -->"
NUMBERS, END_OF_NUMBERS = "<!-- numbers: written by `make document` -->", "<!-- end of numbers -->"
OUTCOMES, END_OF_OUTCOMES = "<!-- outcomes: written by `make document` -->", "<!-- end of outcomes -->"
HEADLINE, END_OF_HEADLINE = "<!-- headline: written by `make document` -->", "<!-- end of headline -->"
MODEL, END_OF_MODEL = "<!-- model: written by `make document` -->", "<!-- end of model -->"

EARLIER, END_OF_EARLIER = "<!-- h200: written by `make document` -->", "<!-- end of h200 -->"
H200 = "h200"  # the folder of the tables of a run on a GPU with the code of 2026-11-26

PROFILE, STUDY = "laptop", "study"  # the run that README shows, and the larger one that it is compared with


def update(profile: str) -> None:
    """Rewrite the results in README.md from the tables of `profile`. Raises as `results` and `rewrite`."""
    rewrite("README.md", FOUND, END_OF_FOUND, found_in_brief(profile))
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


def found_in_brief(profile: str) -> str:
    """What was found, as a list in Markdown: in STUDY if there is one that the present code made."""
    return "\n".join(f"- {sentence}" for sentence in short_verdicts.sentences(shown_first(profile)))


def shown_first(profile: str) -> str:
    """STUDY, or `profile` if there is no STUDY or older code made it."""
    made = paths.manifest(STUDY).exists() and not provenance.older(STUDY)
    return STUDY if made else profile


def results(profile: str) -> str:
    """The results of a run as Markdown: safety, findings, the claims in words, and hardware and time.

    Raises FileNotFoundError for a missing manifest or table, as `provenance.read` and `read_table` do.
    """
    runs = [run for run in (profile, STUDY) if run == profile or paths.manifest(run).exists()]
    first = shown_first(profile)
    decided = {run: claims.read(run) for run in sorted(runs, key=lambda run: run != first)}
    every = pd.concat(decided.values())
    verdicts = short_verdicts.by_recipe(pd.concat([decided[first], claims.control(first)]))
    became_in = first if paths.table(first, "behaviour").exists() else profile
    effects = headline_page.effects_of(STUDY)
    by_estimator = _by_estimator() if STUDY in runs else None
    contrasts = () if by_estimator is None else headline_page.contrasts(by_estimator)
    safety = _with_highest(_safety(findings.read(profile, "evaluation")), profile)
    return render(
        "report/templates/results.md.j2",
        profile=profile,
        study=STUDY,
        first=first,
        runs=[_run(run) for run in runs],
        caution=" ".join(claims.cautions(decided[profile])),
        verdicts=verdicts,
        controlled=any(claims.CONTROL in column for row in verdicts[:1] for column in row),
        own_claims=short_verdicts.by_run(decided),
        clamped=every.loc[every["reason"].str.contains(CLAMPED), "claim"].unique().tolist(),
        findings=findings.sentences(first),
        effects=headline_page.effect_rows(effects) if STUDY in runs else [],
        in_short=headline_page.in_short(effects, contrasts) if STUDY in runs else [],
        caption=headline_page.EFFECTS.format(run=STUDY),
        by_term=_by_term(first),
        became_in=became_in,
        became=_became(became_in),
        safety=safety,
        headline=_with_highest(_headline(by_estimator), STUDY),
        parse_rates=None if by_estimator is None else headline_page.parse_rates(by_estimator),
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
    """Safety by estimator in STUDY, from `_by_estimator`; `constant` only if it is not `reward_only`."""
    if rows is None:
        return []
    table = headline_page.safety(rows, findings.read(STUDY, "evaluation"))
    if all(row["constant"] in ("–", row["reward_only"]) for row in table):
        table = [{name: cell for name, cell in row.items() if name != "constant"} for row in table]
    return table


def _by_term(run: str) -> list[dict[str, str]]:
    """The change of safety from SFT to SEPO and its parts, by game, recipe and pools, the paper's first."""
    rows, cells = findings.read(run, "evaluation"), []
    for preset, label in short_verdicts.RECIPES.items():
        sepo = {"stage": "sepo", "preset": preset, "arm": credit.preset(preset).arm}
        for one, parts in found.by_terms(rows, sepo, {"stage": "sft"}, ["game", "pools"]):
            if one.seeds:
                named = {f"by {term}": part for term, part in parts.items()}
                cells.append({**one.key, "recipe": label, "change of J": found.amount(one)} | named)
    order = list(dict.fromkeys(row["game"] for row in cells))
    return sorted(cells, key=lambda row: (row["pools"] != "paper", order.index(row["game"])))


def _became(profile: str) -> list[dict[str, str]]:
    """The known strategy that is nearest to the policy of every stage, by game; empty without the table."""
    table = findings.read_if_there(profile, "behaviour")
    rows = became.became(table, provenance.read(profile)["settings"]["preset"]) if len(table) else []
    return [
        {"game": games.get(one.game).short_title}
        | {policy: _nearest(near) for policy, near in one.nearest.items()}
        for one in rows
    ]


def _nearest(near: became.Nearest) -> str:
    """The nearest strategy with its agreement, or that the policy is like none of them."""
    shown = f"`{near.strategy.replace(' or ', '` or `')}` {near.agreement.mean:.2f}"
    return shown if near.like else f"like none ({shown})"


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
        notes=filter(None, (provenance.older(profile), provenance.reused(profile), _enumerated(manifest))),
    )


def _before(manifest: Mapping) -> str:
    """How the time of a run was counted, if jobs of it were finished before it was started; else empty."""
    seconds, workers = manifest.get("job_seconds_before", 0.0), manifest["settings"]["workers"]
    notebooks = round(sum(one["seconds"] for one in manifest["stages"].values()) / 60)
    if seconds / workers < 60:
        return ""
    return (
        f" ({notebooks} minutes in the last session; earlier ones ran {seconds / 3600:.1f} hours of jobs, "
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
