"""The parts of the documents that hold results: written from the committed tables, never by hand."""

import pandas as pd

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure import statistics
from sepo_lib.measure.statistics import Interval
from sepo_lib.method import credit
from sepo_lib.report import claims, findings
from sepo_lib.run import provenance
from sepo_lib.studies import estimators, published

BEGIN, END = "<!-- results: written by `make notebooks` -->", "<!-- end of results -->"
NUMBERS = "<!-- numbers: written by `make document` -->"
END_OF_NUMBERS = "<!-- end of numbers -->"
OUTCOMES = "<!-- outcomes: written by `make document` -->"
END_OF_OUTCOMES = "<!-- end of outcomes -->"
MODEL = "<!-- model: written by `make document` -->"
END_OF_MODEL = "<!-- end of model -->"
EXACT = 0.999  # a cosine that high counts as following the exact gradient


PROFILE, STUDY = "laptop", "study"  # the run whose results README shows, and the larger one named beside it
RECIPES = {
    "published": "published (the paper's)",
    "authors_current": "the authors' code",
    "unbiased": "unbiased (ours)",
}


def results(profile: str) -> str:
    """Hardware and time of a run, the claims by recipe, what it found, and safety, as Markdown.

    Raises FileNotFoundError for a missing manifest or table, as `provenance.read` and `read_table` do.
    """
    decided = findings.read(profile, "claims").fillna({"recipe": "", "scope": "", "reason": ""})
    of_a_recipe = decided[decided["recipe"] != ""]
    beside = [run for run in (profile, STUDY) if paths.table(run, "claims").exists()]
    parts = [
        [" ".join(filter(None, (_how(profile), provenance.older(profile))))],
        [_study()],
        [
            "The paper's claims, by recipe. Brackets are intervals of the kind that the last column names; "
            "[docs/CLAIMS.md](docs/CLAIMS.md) gives the reason for each verdict."
        ],
        _claims(of_a_recipe),
        [_caveat(of_a_recipe)],
        ["Claims that are about no recipe:"],
        _identities(decided[decided["recipe"] == ""]),
        [f"- {sentence}" for sentence in [*_claims_of(STUDY, decided), *findings.sentences(*beside)]],
        [
            "Safety (J with the evaluation weights), mean over seeds with its 95% t interval; the base "
            "model is one model, evaluated once a seed, so its interval covers evaluation noise only:"
        ],
        _safety(findings.read(profile, "evaluation")),
    ]
    return "\n\n".join("\n".join(part) for part in parts if any(part))


def _study() -> str:
    """A sentence on the larger run that stands beside, and whether it is older than the last correction."""
    if not paths.manifest(STUDY).exists():
        return ""
    seeds = ", ".join(map(str, provenance.read(STUDY)["seeds"]))
    age = ", made before these corrections too" if provenance.older(STUDY) else ""
    return f"Some sentences below are about `{STUDY}`, a larger run of fewer games (seeds {seeds}{age})."


def _how(profile: str) -> str:
    """A sentence on hardware, time and seeds of a run."""
    manifest = provenance.read(profile)
    seconds = provenance.duration(manifest)
    hardware = manifest["hardware"]
    seeds = manifest["settings"]["seeds"]
    return (
        f"The committed `{profile}` run took {seconds / 60:.0f} minutes on {hardware['cores']} cores "
        f"({hardware['processor']}, accelerator: {hardware['accelerator']}), with the training "
        f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}."
    )


def _claims(decided: pd.DataFrame) -> list[str]:
    """A Markdown table of the claims, a column a recipe, the paper's own first; only those that ran."""
    run = decided[decided["verdict"] != claims.NOT_RUN]
    shown = [recipe for recipe in RECIPES if (run["recipe"] == recipe).any()]
    rows = []
    for (claim, scope), mine in decided.groupby(["claim", "scope"], sort=False):
        statement = mine["statement"].iloc[0] + (f" *{scope}*" if scope else "")
        kinds = [kind for kind in dict.fromkeys(mine["interval"]) if kind != "none"]
        cells = {row.recipe: _cell(row) for row in mine.itertuples()}
        named = {RECIPES[recipe]: cells.get(recipe, "–") for recipe in shown}
        rows.append(
            {"claim": claim, "statement": statement} | named | {"interval": "; ".join(kinds) or "none"}
        )
    return findings.markdown(rows)


def _cell(row) -> str:
    """A verdict and what was measured; the reason where there is no interval over seeds to read it from."""
    found = claims.in_words(statistics.Interval(row.measured, row.ci_low, row.ci_high))
    reason = [row.reason] if row.interval.startswith("count") or found == "–" else []
    return f"**{row.verdict}** " + "; ".join([*([] if found == "–" else [found]), *reason])


def _caveat(decided: pd.DataFrame) -> str:
    """What to know of claims that an older table could not decide on signed margins."""
    older = decided[decided["reason"].str.contains(claims.CLAMPED)]["claim"].unique()
    if not len(older):
        return ""
    return (
        f"{', '.join(older)} are decided on clamped margins, as this run's tables lack the signed ones; "
        "intervals of clamped values cover too little near 0."
    )


def _identities(decided: pd.DataFrame) -> list[str]:
    """A Markdown table of the claims that no recipe is trained for."""
    return findings.markdown(
        [
            {"claim": row.claim, "statement": row.statement, "verdict": _cell(row), "interval": row.interval}
            for row in decided.itertuples()
        ]
    )


def _claims_of(profile: str, decided: pd.DataFrame) -> list[str]:
    """C1 with the seeds of a larger run, and each claim whose verdict there is another one than that of the
    run that `decided`, as one sentence; nothing where it has none."""
    if not paths.table(profile, "claims").exists():
        return []
    key = ["claim", "recipe", "scope", "verdict"]
    same = set(decided[key].itertuples(index=False, name=None))
    there = findings.read(profile, "claims").fillna({"recipe": "", "scope": "", "reason": ""})
    there = there[there["verdict"] != claims.NOT_RUN]
    keys = there[key].itertuples(index=False, name=None)
    there = there[[one[0] == "C1" or one not in same for one in keys]]
    listed = []
    for (claim, scope), rows in there.groupby(["claim", "scope"], sort=False):
        cells = [f"`{row.recipe}` {_cell(row)}" if row.recipe else _cell(row) for row in rows.itertuples()]
        listed.append(f"{claim}{scope and f' *{scope}*'}: {', '.join(cells)}.")
    return [f"With the seeds and settings of `{profile}`: {' '.join(listed)}"] if listed else []


def _safety(evaluation: pd.DataFrame) -> list[str]:
    """A Markdown table of safety by game (rows) and configuration (columns) on the paper's pools."""
    rows = figures.configured(evaluation[evaluation.pools == "paper"])
    measured = statistics.summarize(rows, ["game", "configuration"], ["safety"]).set_index(
        ["game", "configuration"]
    )
    columns = [key for key in figures.CONFIGURATIONS if key in measured.index.get_level_values(1)]
    return findings.markdown(
        [
            {"game": game}
            | {
                figures.CONFIGURATIONS[key].label: statistics.as_text(measured.loc[(game, key)])
                for key in columns
            }
            for game in dict.fromkeys(measured.index.get_level_values(0))
        ]
    )


def update(profile: str) -> None:
    """Rewrite the results in README.md from the tables of `profile`. Raises ValueError without the marks."""
    rewrite("README.md", BEGIN, END, results(profile))


def update_estimators(profile: str) -> None:
    """Rewrite the numbers in docs/ESTIMATORS.md from the tables of `profile`, in the manner of `update`."""
    rewrite("docs/ESTIMATORS.md", NUMBERS, END_OF_NUMBERS, numbers(profile))


def update_outcomes(profile: str) -> None:
    """Rewrite what the trained arms show in docs/ESTIMATORS.md, in the manner of `update`."""
    rewrite("docs/ESTIMATORS.md", OUTCOMES, END_OF_OUTCOMES, findings.outcomes(profile))


def update_model(profile: str) -> None:
    """Rewrite what a real model shows in docs/MODELS.md, in the manner of `update`."""
    rewrite("docs/MODELS.md", MODEL, END_OF_MODEL, real_model(profile))


def real_model(profile: str) -> str:
    """How long each job of a run took, and what each stage of its model does in each game, as Markdown.

    Raises FileNotFoundError as `results` does.
    """
    jobs = provenance.read(profile)["jobs"]
    minutes = [
        {"job": name, "minutes": f"{seconds / 60:.1f}"} for name, seconds in jobs.items() if seconds >= 60
    ]
    return "\n".join(
        [
            " ".join(filter(None, (_how(profile), provenance.older(profile)))),
            "",
            "Measures of the last step by game and stage (in brackets 95% intervals over seeds; with one "
            "seed they cover evaluation noise only):",
            "",
            *findings.markdown(findings.measures(findings.read(profile, "evaluation"))),
            "",
            "Kuhn poker, chips a hand:",
            "",
            *findings.markdown(findings.nashconvs(findings.read(profile, "exploitability"))),
            "",
            "What each job of a minute and more took:",
            "",
            *findings.markdown(minutes),
        ]
    )


def rewrite(name: str, begin: str, end: str, text: str) -> None:
    """Put `text` between two marks of a document. Raises ValueError where it lacks them."""
    path = paths.root() / name
    document = path.read_text(encoding="utf-8")
    if begin not in document or end not in document:
        raise ValueError(f"{name} lacks the lines '{begin}' and '{end}' between which results stand.")
    before, _, rest = document.partition(begin)
    _, _, after = rest.partition(end)
    paths.replace_text(path, f"{before}{begin}\n{text}\n{end}{after}")


# --- the numbers of docs/ESTIMATORS.md ------------------------------------------------------------------


def numbers(profile: str) -> str:
    """What `estimators.csv` and `headroom.csv` of a profile show, as Markdown.

    Raises FileNotFoundError for a missing table. Settings (a policy in a game with a pool set) in which a
    margin is exactly 0 are left out: J has no gradient there.
    """
    table = paths.read_table(profile, "estimators")
    size = min(table["group_size"].unique(), key=lambda size: abs(size - estimators.TERMS_AT))
    table = table[(table["groups"] == table["groups"].max()) & (table["nearest_margin"] != 0)]
    near = table[table["group_size"] == size]
    settings = len(table[["game", "pools", "policy"]].drop_duplicates())
    lines = [
        f"From `data/results/{profile}/estimators.csv`: {table['groups'].max():,} groups an opponent in each "
        f"of {settings} settings (game, pool set, policy); G = {size} unless it says otherwise. Ranges go "
        "from the lowest to the highest policy.",
        "",
        *_exactness(near[near["term"] == "J"]),
        "",
        *_elsewhere(near[near["term"] == "J"]),
        "",
        *_switches(near[near["term"] == "J"]),
        "",
        *_penalty_terms(near),
        "",
        *_batch_size(table[table["term"] == "J"]),
        "",
        *_headroom(paths.read_table(profile, "headroom")),
    ]
    return "\n".join(lines)


def _range(values: pd.Series, digits: int = 3) -> str:
    if values.empty:
        return "–"
    low, high = (f"{value + 0.0:.{digits}f}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _exactness(rows: pd.DataFrame) -> list[str]:
    """Cosines of the presets and the size of the unbiased one by game and pool set, and in how many settings
    each cosine reaches EXACT."""
    own = rows[rows["switch"] == estimators.OWN]
    unbiased = own["how"] == "unbiased"
    many = own["groups_per_batch"] > 1
    lines = [
        "Cosine of the mean estimate with the exact gradient of J. Last column: the length along the exact "
        "gradient of the estimate with margins known, relative to it (1 is right), where it is furthest from "
        "1, with its 95% interval.",
        "",
    ]
    kinds = {
        "published": own["how"] == "published",
        "authors' current code": own["how"] == "authors_current",
        "unbiased, scaled": own["how"] == "unbiased, scaled",
        "unbiased": unbiased & ~many,
        "large batch": unbiased & many,
        "margins known": own["how"] == estimators.KNOWN,
    }
    table = []
    for (game, pools), here in own.groupby(["game", "pools"], sort=False):
        cells = {name: _range(here.loc[kind.loc[here.index], "cosine"], 4) for name, kind in kinds.items()}
        known = here[kinds["margins known"].loc[here.index]]
        worst = known.loc[(known["size_ratio"] - 1).abs().idxmax()] if len(known) else None
        size = (
            "–"
            if worst is None
            else f"{worst['size_ratio']:.3f} [{worst['size_low']:.3f}, {worst['size_high']:.3f}]"
        )
        table.append({"game": game, "pools": pools, **cells, "its size": size})
    reached = {
        name: f"{(own.loc[kind, 'cosine'] >= EXACT).sum()} of {kind.sum()}" for name, kind in kinds.items()
    }
    table.append({"game": f"settings at {EXACT} or more", "pools": "", **reached, "its size": ""})
    size = rows["group_size"].iloc[0]
    told = (
        f"A cosine of at least {EXACT} needs known margins or a large batch. The unbiased estimate reaches "
        f"it in {reached['margins known']} settings with margins known and in {reached['large batch']} with "
        f"a fortieth of all groups in a batch, but in only {reached['unbiased']} where one group of {size} "
        "in a batch decides which exploiters are charged."
    )
    return [*lines, *findings.markdown(table), "", told]


def _elsewhere(rows: pd.DataFrame) -> list[str]:
    """The estimators of other papers beside the presets: cosine of the mean, and of one batch by game."""
    rows = rows[(rows["switch"] == estimators.OWN) & (rows["groups_per_batch"] == 1)]
    lines = [
        "Cosine with the exact gradient of J: of the mean estimate (range over settings, and in how many it "
        f"is at least {EXACT}), and of one batch (mean over batches and settings, with its 95% interval):",
        "",
    ]
    table = []
    for how in figures.labels_of(rows["how"]):
        mine = rows[rows["how"] == how]
        if mine.empty:
            continue
        exact = f"{(mine['cosine'] >= EXACT).sum()} of {len(mine)}"
        batch = {
            f"one batch, {game}": findings.text(Interval(*figures.mean_of_intervals(here, "batch_cosine")))
            for game, here in mine.groupby("game", sort=False)
        }
        cells = {"estimator": how, "mean": _range(mine["cosine"], 4), f"at least {EXACT}": exact, **batch}
        table.append(cells)
    sources = [
        {"estimator": name, "source": one.source, "adapted to J": one.adaptation}
        for name, one in published.ELSEWHERE.items()
    ]
    return [*lines, *findings.markdown(table), "", *findings.markdown(sources)]


def _switches(rows: pd.DataFrame) -> list[str]:
    """What turning one switch does to the cosine, from either preset, and in how many settings."""
    lines = [
        "Change of the cosine of the mean estimate when one switch alone is turned (mean over the settings "
        "in which it can act, one group in a batch; in brackets the number of settings in which its 95% "
        "interval lies below 0, contains 0, lies above 0):",
        "",
    ]
    rows = rows[rows["groups_per_batch"] == 1]
    table = []
    for switch in credit.TURNS:
        cells = {"switch": switch}
        for how, other, arm in (
            ("unbiased", "published", "per_rollout"),
            ("published", "unbiased", "credited"),
        ):
            mine = rows[(rows["how"] == how) & (rows["switch"] == switch)]
            mine = mine[mine["arm"] == arm] if switch == "credit" else mine
            # under unbiased the clamp turns a horizon too, which acts where the clamp itself cannot
            mine = mine[figures.acting(mine.assign(how="published") if switch == "clamp" else mine)]
            if mine.empty:
                cells[f"from {how} to {other}"] = figures.NO_EFFECT
                continue
            below, above = int((mine["change_high"] < 0).sum()), int((mine["change_low"] > 0).sum())
            counts = f"({below}, {len(mine) - below - above}, {above})"
            cells[f"from {how} to {other}"] = f"{mine['change'].mean():+.3f} {counts}"
        table.append(cells)
    return lines + findings.markdown(table)


def _penalty_terms(rows: pd.DataFrame) -> list[str]:
    """How long the penalties' part of the mean estimate is, by arm, under the unbiased preset."""
    lines = [
        "Length of what a penalty adds to the mean estimate (unbiased preset, scale none, one group in a "
        "batch), relative to its exact gradient; the same of noise alone; and its cosine with that gradient:",
        "",
    ]
    table = []
    rows = rows[(rows["how"] == "unbiased") & rows["switch"].isin([estimators.OWN, "credit"])]
    rows = rows[(rows["groups_per_batch"] == 1) & (rows["exact_norm"] > estimators.ZERO)]
    for term in ("e", "c", "x"):
        for arm in ("constant", "per_rollout", "credited"):
            mine = rows[(rows["term"] == term) & (rows["arm"] == arm)]
            if mine.empty:  # no game of the table has this term
                continue
            lengths = {
                name: claims.number((mine[column] / mine["exact_norm"]).median())
                for name, column in (("length", "estimate_norm"), ("noise", "noise_norm"))
            }
            cosine = claims.number(mine["cosine"].median())
            table.append({"term": term, "arm": arm, **lengths, "cosine": cosine})
    return [*lines, *findings.markdown(table), "", "These are medians over settings."]


def _batch_size(rows: pd.DataFrame) -> list[str]:
    """The error of the unbiased estimate's mean against G, game by game."""
    told = rows[rows["how"] == estimators.KNOWN]
    rows = rows[(rows["how"] == "unbiased") & (rows["switch"] == estimators.OWN)]
    sizes = sorted(rows["group_size"].unique())
    lines = [
        "Error of the mean of the unbiased estimate relative to the exact gradient, largest over policies, "
        "with one group in a batch by group size, with a fortieth of all groups at the largest size, and one "
        f"group of {sizes[0]} with margins known:",
        "",
    ]
    table = []
    error, told_error = (table["bias_norm"] / table["exact_norm"] for table in (rows, told))
    for (game, pools), here in rows.groupby(["game", "pools"], sort=False):
        one = here[here["groups_per_batch"] == 1]
        cells = {f"G = {size}": error[one.index[one["group_size"] == size]].max() for size in sizes}
        large = here[(here["groups_per_batch"] > 1) & (here["group_size"] == sizes[-1])]
        cells["large batch"] = error[large.index].max()
        mine = (told["game"] == game) & (told["pools"] == pools) & (told["group_size"] == sizes[0])
        cells[f"G = {sizes[0]}, margins known"] = told_error[mine].max()
        numbers = {name: claims.number(value) for name, value in cells.items()}
        table.append({"game": game, "pools": pools, **numbers})
    return lines + findings.markdown(table)


def _headroom(rows: pd.DataFrame) -> list[str]:
    """The two winners of every family under the training weights."""
    table = [
        {
            "game": row.game,
            "pools": row.pools,
            "strategies": f"{row.strategies:,}",
            "J of the highest payoff (u, e)": (
                f"{row.best_payoff_J:.3f} ({row.best_payoff_u:.2f}, {row.best_payoff_e:.2f})"
            ),
            "highest J (u, e)": f"{row.best_J:.3f} ({row.best_u:.2f}, {row.best_e:.2f})",
            "gap": f"{row.gap:.3f}",
        }
        for row in rows[rows["weights"] == "train"].itertuples()
    ]
    return ["Headroom, training weights:", "", *findings.markdown(table)]
