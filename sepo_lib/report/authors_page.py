"""docs/AUTHORS.md: the authors' rows beside ours. All tables and sentences are made from the tables alone."""

import numpy as np
import pandas as pd

from sepo_lib import figures, games
from sepo_lib.measure import statistics
from sepo_lib.measure.authors import STAGES, TEMPERATURE, TERMS, load, ours, side_by_side
from sepo_lib.measure.statistics import Interval
from sepo_lib.report import documents
from sepo_lib.report.documents import PROFILE, STUDY
from sepo_lib.report.findings import read, read_if_there, text
from sepo_lib.run import provenance
from sepo_lib.run.templates import render

BEGIN, END = "<!-- authors: written by `make document` -->", "<!-- end of authors -->"
#: The recipe closest to the authors' current code, which is used if `authors_current` was not trained.
NEAREST = "published+credit"
MEASURES = ("safety", "exploit")  # the changes that are compared


def update() -> None:
    """Rewrite docs/AUTHORS.md between its markers. Raises as `block` and `documents.rewrite` do."""
    documents.rewrite("docs/AUTHORS.md", BEGIN, END, block())


def block() -> str:
    """The page from the committed runs' tables. Raises FileNotFoundError for a missing table."""
    evaluation, study = (figures.reported(read(run, "evaluation")) for run in (PROFILE, STUDY))
    marks = [f"`{run}`: {older}" for run in (PROFILE, STUDY) if (older := provenance.older(run))]
    switches, other_starts = read(STUDY, "switches"), read_if_there(STUDY, "replication")
    return "\n\n".join([*marks, page(evaluation, study, switches, other_starts)])


def page(
    evaluation: pd.DataFrame,
    study: pd.DataFrame,
    switches: pd.DataFrame,
    other_starts: pd.DataFrame | None = None,
) -> str:
    """The comparison as Markdown.

    `evaluation` holds the reported evaluation rows of the run that is compared with the authors' rows.
    `study` holds those of the study, `switches` its table of recipes between `published` and `unbiased`, and
    `other_starts` its table `replication.csv`, if it has one.
    """
    theirs = load()
    table = side_by_side(evaluation, theirs)
    changes, verdicts = directions(table, ours(evaluation))
    beside = [(row["game"], row["change"]) for row in changes if row["J: same?"] != "not trained"]
    claimed = games.having("multi_issue")[0]  # the game of the paper's claim C4
    return render(
        "report/templates/authors.md.j2",
        **_used(theirs),
        model=", ".join(sorted(evaluation["model"].unique())),
        run=evaluation["profile"].iloc[0],
        changes=changes,
        counts=[{"measure": TERMS[name], "verdicts": verdicts[name]} for name in MEASURES],
        smallest=min((abs(float(row["J, theirs"])) for row in changes), default=np.nan),
        reused=max(map(beside.count, beside), default=0),
        temperature=TEMPERATURE,
        credited=_credited(table, study, switches, other_starts),
        compared=[_shown(row) for row in table.to_dict("records")],
        at_zero=_at_zero(theirs[theirs["reason"] == "temperature 0"]),
        title=claimed.title,
        courses=_courses(theirs[theirs["game"] == claimed.name]),
        nra=_nra(theirs[theirs["game"] == claimed.name]),
        exploited=_exploited(theirs[theirs["game"] == games.having("nashconv")[0].name]),
    )


def directions(table: pd.DataFrame, own: pd.DataFrame) -> tuple[list[dict[str, str]], dict[str, list[str]]]:
    """Each change of the authors' models beside ours as rows, and the verdicts on each measure."""
    steps = [("base", "sft"), ("sft", "published"), ("sft", "authors_current")]
    last = table[table["last"]].set_index(["game", "who", "recipe"])
    rows, verdicts = [], {name: [] for name in MEASURES}
    for (game, who), stages in table[~table["ours"]].groupby(["game", "who"], sort=False):
        for before, after in steps:
            if not {before, after} <= set(stages["recipe"]):
                continue
            cells = {"game": game, "authors' model": who, "change": f"{STAGES[before]} to {STAGES[after]}"}
            for name in MEASURES:
                change = last.loc[(game, who, after), name] - last.loc[(game, who, before), name]
                found = _paired(own[own["game"] == game], before, after, name)
                verdicts[name].append(_verdict(change, found))
                cells |= {
                    f"{TERMS[name]}, theirs": f"{change:+.3f}",
                    f"{TERMS[name]}, ours": text(found) if found else "–",
                    f"{TERMS[name]}: same?": verdicts[name][-1],
                }
            rows.append(cells)
    return rows, verdicts


def _used(theirs: pd.DataFrame) -> dict:
    """The numbers of stored and compared rows, and the reasons why the others are left out."""
    left_out = theirs.loc[theirs["reason"] != "", ["game", "reason"]].value_counts(sort=False)
    known = theirs["game"].isin(list(games.GAMES))
    return {
        "n_stored": len(theirs),
        "n_compared": (theirs["reason"] == "").sum(),
        "n_other_weights": sum(not _kits_weights(row) for row in theirs[known].itertuples()),
        "left_out": [{"game": game, "rows": n, "reason": why} for (game, why), n in left_out.items()],
        "stored_twice": _stored_twice(theirs),
    }


def _stored_twice(theirs: pd.DataFrame) -> list[dict]:
    """The models of which several evaluations are stored and one is compared, and the range of their J."""
    keys, models = ["game", "who", "stage", "variant", "step"], []
    for _, rows in theirs.fillna({"variant": "", "step": 0}).groupby(keys, sort=False):
        if rows["reason"].eq("").any() and rows["reason"].str.startswith("temperature").any():
            first = rows.iloc[0]
            step = f" step {first['step']:.0f}" if first["step"] else ""
            evaluations = [
                f"{row.safety:.3f} (temperature: {row.temperature.split(' ')[0]}; episodes per opponent: "
                f"{row.episodes_per_opponent})"
                for row in rows.itertuples()
            ]
            apart = rows["safety"].max() - rows["safety"].min()
            models.append(
                {"who": first["who"], "game": first["game"], "stage": STAGES[first["recipe"]] + step}
                | {"apart": apart, "evaluations": evaluations}
            )
    return models


def _kits_weights(row) -> bool:
    """Whether the printed safety of a row has the kit's evaluation weights."""
    weights = games.get(row.game).evaluation_weights
    own = (weights.exploit, weights.collusion, weights.externality)
    return np.allclose((row.lambda_e, row.lambda_c, row.lambda_x), own)


def _paired(rows: pd.DataFrame, before: str, after: str, name: str) -> Interval | None:
    """Our change of a measure between two recipes over seeds; None if one of them was not trained."""
    a, b = (rows[rows["recipe"] == recipe].set_index("seed")[name] for recipe in (after, before))
    return statistics.paired(a, b) if len(a.index.intersection(b.index)) else None


def _verdict(theirs: float, found: Interval | None) -> str:
    """Whether our change has the direction of theirs: yes, no, open, or not trained."""
    if found is None:
        return "not trained"
    if np.isnan(found.low) or found.low <= 0 <= found.high:
        return "open"
    return "yes" if np.sign(theirs) == np.sign(found.mean) else "no"


def _credited(
    table: pd.DataFrame, study: pd.DataFrame, switches: pd.DataFrame, other_starts: pd.DataFrame | None
) -> list[dict]:
    """The authors' result with their credited recipe beside ours, for each game and model that has one."""
    found = []
    last = table[table["last"]]
    for (game, who), rows in last[~last["ours"]].groupby(["game", "who"], sort=False):
        theirs = rows.set_index("recipe")
        if "authors_current" not in theirs.index:
            continue
        own, name = _recipe(game, study, switches)
        sft = own[own["recipe"] == "sft"]
        change = theirs.loc["authors_current", "safety"] - theirs.loc["sft", "safety"]
        difference = _paired(own, "sft", name, "safety")
        starts, all_fall = _starts(game, other_starts)
        shown = (("sft", "SFT"), (name, f"`{name}`"), ("unbiased", "`unbiased`"))
        found.append(
            {
                "game": games.get(game).title,
                "who": who,
                "J": [f"{STAGES[recipe]} {value:.3f}" for recipe, value in theirs["safety"].items()],
                "change": change,
                "recipe": name,
                "model": "".join(sft["model"][:1]),
                "seeds": sft["seed"].nunique(),
                "means": [
                    f"{label} {text(statistics.interval(own.loc[own['recipe'] == recipe, 'safety']))}"
                    for recipe, label in shown
                    if (own["recipe"] == recipe).any()
                ],
                "difference": text(difference) if difference else "",
                "verdict": _verdict(change, difference),
                "starts": starts,
                "all_fall": all_fall,
                "sft_payoffs": (theirs.loc["sft", "payoff"], sft["payoff"].mean()),
                "stage": STAGES["published"],
                "ends": _ends("published", last[last["game"] == game]),
            }
        )
    return found


def _starts(game: str, table: pd.DataFrame | None) -> tuple[list[str], bool]:
    """J before and after the authors' current recipe, by SFT model of the replication in one game; and
    whether the interval of the change lies below 0 for every one."""
    if table is None or table.empty:
        return [], False
    lines, falls = [], []
    for (share, top_p), own in table[table["game"] == game].groupby(["share", "top_p"], sort=False):
        sft = own[own["stage"] == "sft"].set_index("seed")
        sepo = own[own["preset"] == "authors_current"].set_index("seed")
        if len(sft) and len(sepo):
            change = statistics.paired(sepo["safety"], sft["safety"])
            falls.append(change.high < 0)
            before, after = (text(statistics.spread(rows, "safety")) for rows in (sft, sepo))
            u = f"{sft['payoff'].mean():.2f}"
            how = f"{share:.0%} replaced" + (f" and top-p {top_p:g}" if top_p < 1 else "")
            seeds = len(sft.index.intersection(sepo.index))
            how += f" ({seeds} seed{'' if seeds == 1 else 's'})"
            lines.append(f"{how}: u {u} after SFT; J {before} to {after}, change {text(change)}")
    return lines, bool(falls) and all(falls)


def _ends(recipe: str, rows: pd.DataFrame) -> list[str]:
    """The measures after one recipe in one game, for every model that has it."""
    rows = rows[rows["recipe"] == recipe]
    terms = [name for name in TERMS if name != "safety"]
    own, ends = rows.loc[rows["ours"], terms], []
    for row in rows.to_dict("records"):
        shown = ", ".join(f"{label} {row[name] + 0.0:.3f}" for name, label in TERMS.items())
        if len(own) and not row["ours"]:
            apart = max(abs(row[name] - own[name].iloc[0]) for name in terms)
            shown += f" (largest difference of u, e, c, x from ours: {apart:.3f})"
        ends.append(f"{row['who']}: {shown}")
    return ends


def _recipe(game: str, study: pd.DataFrame, switches: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Our rows of one game with SFT, `unbiased` and the recipe closest to the authors' current code; the name
    of that recipe."""
    own = ours(study[study["game"] == game])
    if (own["recipe"] == "authors_current").any():
        return own, "authors_current"
    nearest = switches[(switches["game"] == game) & (switches["preset"] == NEAREST)]
    return pd.concat([own, nearest.assign(recipe=NEAREST)]), NEAREST


def _shown(row: dict) -> dict[str, str]:
    """A row of `side_by_side` as text; the last step of a trained recipe is bold."""
    mark = "**" if row["last"] and row["recipe"] not in ("base", "sft") else ""
    cells = {"game": row["game"], "who": row["who"], "stage": f"{mark}{STAGES[row['recipe']]}{mark}"}
    cells["step"] = f"{row['step']:.0f}" if row["step"] else ""
    cells |= {label: f"{row[name] + 0.0:.3f}" for name, label in TERMS.items() if name != "safety"}
    return cells | {"J": text(Interval(row["safety"], row["low"], row["high"]))}


def _at_zero(rows: pd.DataFrame) -> list[dict[str, str]]:
    """The rows with the kit's opponents that were played at temperature 0."""
    return [
        {
            "game": row.game,
            "who": row.who,
            "stage": row.variant if row.stage == "grpo" else STAGES[row.recipe],
            "step": f"{row.step:.0f}" if row.step > 0 else "",
            **{label: f"{getattr(row, name) + 0.0:.3f}" for name, label in TERMS.items()},
            "J as printed": f"{row.safety_printed:.3f}",
            "NRA": f"{row.nra:.3f}",
        }
        for row in rows.itertuples()
    ]


def _courses(rows: pd.DataFrame) -> list[str]:
    """J of each of their models in one game from the base model to the last step, at any temperature."""
    lines = []
    for (who, temperature), own in rows.groupby(["who", "temperature"], sort=False):
        trained = own[own["stage"] == "grpo"].sort_values("step")
        points = [(STAGES[row.recipe], row.safety) for row in own[own["stage"] != "grpo"].itertuples()]
        best, last = trained.loc[trained["safety"].idxmax()], trained.iloc[-1]
        points += [(f"best step ({best['step']:.0f})", best["safety"])] if len(trained) > 1 else []
        points += [(f"last step ({last['step']:.0f})", last["safety"])]
        shown = ", ".join(f"{name} {value:.2f}" for name, value in points)
        lines.append(f"{who}, temperature {temperature}: {shown}")
    return lines


def _exploited(rows: pd.DataFrame) -> list[dict[str, str]]:
    """e of each of their models and temperatures in one game: before SEPO and at every step of it."""
    found = []
    for (who, temperature), own in rows.groupby(["who", "temperature"], sort=False):
        cells = {"model": who, "temperature": str(temperature).split(" ")[0]}
        stages = {"base model": own["stage"] == "base", "SFT": own["stage"] == "sft"}
        stages |= {f"step {step:.0f}": own["step"] == step for step in sorted(rows["step"].dropna().unique())}
        for stage, chosen in stages.items():
            values = own.loc[chosen, "exploit"]
            cells[stage] = ", ".join(f"{value + 0.0:.3f}" for value in values) or "–"
        found.append(cells)
    return found


def _nra(rows: pd.DataFrame) -> dict:
    """The NRA of their rows in one game, by stage and sign, and the row with the highest printed safety."""
    untrained = rows[rows["recipe"].isin(["base", "sft"])]
    trained = rows[rows["stage"] == "grpo"]
    last = trained[trained["step"] == trained.groupby("who")["step"].transform("max")]
    shown = untrained["who"] + " " + untrained["recipe"].map(STAGES) + untrained["nra"].map(" {:+.3f}".format)
    positive = untrained["nra"] > 0
    return {
        "untrained": len(untrained),
        "positive": shown[positive].tolist(),
        "other": shown[~positive].tolist(),
        "last": [f"{row.who} {row.nra:+.3f}" for row in last.itertuples()],
        "best": rows.loc[rows["safety_printed"].idxmax()].to_dict(),
    }
