"""docs/AUTHORS.md: the authors' rows beside ours, in tables and sentences made from the tables alone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sepo_lib import figures, games
from sepo_lib.measure import statistics
from sepo_lib.measure.authors import STAGES, TEMPERATURE, TERMS, load, ours, side_by_side
from sepo_lib.measure.statistics import Interval
from sepo_lib.report import documents
from sepo_lib.report.documents import PROFILE, STUDY
from sepo_lib.report.findings import markdown, read, text
from sepo_lib.run import provenance

BEGIN, END = "<!-- authors: written by `make document` -->", "<!-- end of authors -->"
CLAIM_C4 = "deal"  # the game that the paper's claim C4 is about
NEAREST = (
    "published+credit"  # the recipe nearest to their current code, where `authors_current` is not trained
)


def update() -> None:
    """Rewrite docs/AUTHORS.md between its marks. Raises as `block` and `readme.rewrite` do."""
    documents.rewrite("docs/AUTHORS.md", BEGIN, END, block())


def block() -> str:
    """The page from the committed runs' tables. Raises FileNotFoundError for a missing one."""
    evaluation, study = (figures.reported(read(run, "evaluation")) for run in (PROFILE, STUDY))
    marks = [f"`{run}`: {older}" for run in (PROFILE, STUDY) if (older := provenance.older(run))]
    return "\n\n".join([*marks, page(evaluation, study, read(STUDY, "switches"))])


def page(evaluation: pd.DataFrame, study: pd.DataFrame, switches: pd.DataFrame) -> str:
    """What the comparison shows, as Markdown.

    `evaluation` and `study` are reported evaluation rows of the run that stands beside theirs and of the
    study, `switches` the study's table of recipes between `published` and `unbiased`.
    """
    theirs = load()
    table = side_by_side(evaluation, theirs)
    models = f"{', '.join(sorted(evaluation['model'].unique()))} (`{evaluation['profile'].iloc[0]}` run)"
    parts = [
        _used(theirs),
        f"**Do theirs and ours change in the same direction?** Ours is {models}. The change of J and of e, "
        "ours with its 95% interval over seeds (paired). The last step counts.",
        *_changes(table, ours(evaluation)),
        *_credited(table, study, switches),
        "**Rows that are compared.** Terms and J by stage. The last step of each recipe is in bold.",
        "\n".join(markdown([_shown(row) for row in table.to_dict("records")])),
        *_at_zero(theirs[theirs["reason"] == "temperature 0"]),
        _courses(theirs[theirs["game"] == CLAIM_C4]),
        _claim_c4(theirs[theirs["game"] == CLAIM_C4]),
    ]
    return "\n\n".join(parts)


def _used(theirs: pd.DataFrame) -> str:
    """How many rows are compared, and why the others are not."""
    left_out = theirs.loc[theirs["reason"] != "", ["game", "reason"]].value_counts(sort=False)
    counts = [{"game": game, "rows": n, "reason": why} for (game, why), n in left_out.items()]
    lines = "\n".join(markdown(counts))
    own, known = _same_weights(theirs), theirs["game"].isin(list(games.GAMES))
    return (
        f"**What is compared.** {(theirs['reason'] == '').sum()} of the {len(theirs)} stored rows. "
        f"{(known & ~own).sum()} rows of the kit's games were printed with other weights than the "
        "evaluation weights. J is recomputed for all rows of the kit's games. The other rows are not "
        f"compared:\n\n{lines}"
        f"{_twice(theirs)}"
    )


def _twice(theirs: pd.DataFrame) -> str:
    """How far apart two stored evaluations of one model are, where one of them is compared."""
    keys, lines = ["game", "who", "stage", "variant", "step"], []
    for _, rows in theirs.fillna({"variant": "", "step": 0}).groupby(keys, sort=False):
        if rows["reason"].eq("").any() and rows["reason"].str.startswith("temperature").any():
            told = " and ".join(
                f"{row.safety:.3f} (temperature: {row.temperature.split(' ')[0]}; episodes an opponent: "
                f"{row.episodes_per_opponent})"
                for row in rows.itertuples()
            )
            first = rows.iloc[0]
            stage = STAGES[first["recipe"]] + (f" step {first['step']:.0f}" if first["step"] else "")
            apart = rows["safety"].max() - rows["safety"].min()
            lines.append(
                f"Two stored evaluations of the same model ({first['who']} in {first['game']}, {stage}) "
                f"differ in J by {apart:.3f}, at settings that may differ: {told}."
            )
    return "\n\n" + " ".join(lines) if lines else ""


def _same_weights(theirs: pd.DataFrame) -> pd.Series:
    """Whether each row's safety was printed with the kit's evaluation weights."""
    same = []
    for row in theirs.itertuples():
        weights = games.GAMES[row.game].evaluation_weights if row.game in games.GAMES else None
        printed = (row.lambda_e, row.lambda_c, row.lambda_x)
        same.append(
            weights is not None
            and np.allclose(printed, (weights.exploit, weights.collusion, weights.externality))
        )
    return pd.Series(same, theirs.index)


def _changes(table: pd.DataFrame, mine: pd.DataFrame) -> list[str]:
    """Each change of the authors' models beside ours, as a table and one sentence that counts."""
    steps = [("base", "sft"), ("sft", "published"), ("sft", "authors_current")]
    last = table[table["last"]].set_index(["game", "who", "recipe"])
    rows, verdicts = [], []
    for (game, who), stages in table[~table["ours"]].groupby(["game", "who"], sort=False):
        for before, after in steps:
            if not {before, after} <= set(stages["recipe"]):
                continue
            cells = {"game": game, "authors' model": who, "change": f"{STAGES[before]} to {STAGES[after]}"}
            for name in ("safety", "exploit"):
                change = last.loc[(game, who, after), name] - last.loc[(game, who, before), name]
                found = _paired(mine[mine["game"] == game], before, after, name)
                verdict = _verdict(change, found)
                cells |= {f"{TERMS[name]}, theirs": f"{change:+.3f}"}
                cells |= {
                    f"{TERMS[name]}, ours": text(found) if found else "–",
                    f"{TERMS[name]}: same?": verdict,
                }
                verdicts.append((name, verdict))
            rows.append(cells)
    counts = []
    for name in ("safety", "exploit"):
        found = [verdict for key, verdict in verdicts if key == name]
        counts.append(
            f"Of {len(found)} changes of {TERMS[name]} by the authors' models ours has the same direction in "
            f"{found.count('yes')} and the opposite one in {found.count('no')}; {found.count('open')} are "
            f"open (our interval contains 0), and for {found.count('not trained')} we have trained no such "
            "recipe."
        )
    return ["\n".join(markdown(rows)), " ".join(counts)]


def _paired(rows: pd.DataFrame, before: str, after: str, name: str) -> Interval | None:
    """Our change of a measure between two recipes over seeds; None where one of them was not trained."""
    a, b = (rows[rows["recipe"] == recipe].set_index("seed")[name] for recipe in (after, before))
    return statistics.paired(a, b) if len(a.index.intersection(b.index)) else None


def _verdict(theirs: float, found: Interval | None) -> str:
    if found is None:
        return "not trained"
    if np.isnan(found.low) or found.low <= 0 <= found.high:
        return "open"
    return "yes" if np.sign(theirs) == np.sign(found.mean) else "no"


def _credited(table: pd.DataFrame, study: pd.DataFrame, switches: pd.DataFrame) -> list[str]:
    """Whether the authors' credited result is found again, for every game and model that has one."""
    lines = []
    last = table[table["last"]]
    for (game, who), rows in last[~last["ours"]].groupby(["game", "who"], sort=False):
        J = rows.set_index("recipe")["safety"]
        if "authors_current" not in J:
            continue
        told = "; ".join(f"{STAGES[recipe]} {value:.3f}" for recipe, value in J.items())
        found, name = _recipe(game, study, switches)
        lines.append(
            f"**Their credited result.** {games.get(game).title}, {who}, temperature {TEMPERATURE}, J at the "
            f"last step: {told}. {_replicated(found, name, rows.set_index('recipe'))}"
        )
        lines.append(_ends("published", last[last["game"] == game]))
    return lines


def _ends(recipe: str, rows: pd.DataFrame) -> str:
    """Where one recipe ends in one game, for every model that has it."""
    rows = rows[rows["recipe"] == recipe]
    terms = [name for name in TERMS if name != "safety"]
    mine, ends = rows.loc[rows["ours"], terms], []
    for row in rows.to_dict("records"):
        told = ", ".join(f"{label} {row[name] + 0.0:.3f}" for name, label in TERMS.items())
        if len(mine) and not row["ours"]:
            apart = max(abs(row[name] - mine[name].iloc[0]) for name in terms)
            told += f" (largest difference of u, e, c, x from ours: {apart:.3f})"
        ends.append(f"{row['who']}: {told}")
    return f"**Where the recipe {STAGES[recipe]} ends there.** {'; '.join(ends)}."


def _recipe(game: str, study: pd.DataFrame, switches: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Our rows of one game with SFT, the recipe nearest to their current code, and unbiased; its name."""
    mine = ours(study[study["game"] == game])
    if (mine["recipe"] == "authors_current").any():
        return mine, "authors_current"
    turned = switches[(switches["game"] == game) & (switches["preset"] == NEAREST)]
    return pd.concat([mine, turned.assign(recipe=NEAREST)]), NEAREST


def _replicated(mine: pd.DataFrame, name: str, theirs: pd.DataFrame) -> str:
    """Sentences on our change from SFT under the recipe `name`, and under `unbiased`, beside theirs."""
    change = theirs.loc["authors_current", "safety"] - theirs.loc["sft", "safety"]
    found = _paired(mine, "sft", name, "safety")
    if found is None:
        return "The study has trained no recipe that is near to theirs, so nothing can be said."
    sft = mine[mine["recipe"] == "sft"]
    means = [
        f"{label} {text(statistics.interval(mine.loc[mine['recipe'] == recipe, 'safety']))}"
        for recipe, label in (("sft", "SFT"), (name, f"`{name}`"), ("unbiased", "`unbiased`"))
        if (mine["recipe"] == recipe).any()
    ]
    verdict = {
        "yes": "The study's model changes in the same direction.",
        "no": (
            "This recipe does not replicate their result on the study's model, which trains for fewer steps "
            "and samples otherwise (docs/DEVIATIONS.md). A possible reason, which is "
            f"not tested: u after SFT is {theirs.loc['sft', 'payoff']:.2f} there and "
            f"{sft['payoff'].mean():.2f} here, so our SFT model leaves more room for the immediate payoff."
        ),
        "open": "Our interval contains 0, so the comparison is open.",
    }[_verdict(change, found)]
    return (
        f"Credited minus SFT is {change:+.3f} there. In our study ({sft['model'].iloc[0]}, "
        f"{len(sft['seed'].unique())} seeds) J is: {'; '.join(means)}. `{name}` minus SFT is {text(found)}. "
        f"{verdict}"
    )


def _shown(row: dict) -> dict[str, str]:
    """A row of `side_by_side` as text."""
    mark = "**" if row["last"] and row["recipe"] not in ("base", "sft") else ""
    cells = {"game": row["game"], "who": row["who"], "stage": f"{mark}{STAGES[row['recipe']]}{mark}"}
    cells["step"] = f"{row['step']:.0f}" if row["step"] else ""
    cells |= {label: f"{row[name] + 0.0:.3f}" for name, label in TERMS.items() if name != "safety"}
    return cells | {"J": text(Interval(row["safety"], row["low"], row["high"]))}


def _at_zero(rows: pd.DataFrame) -> Sequence[str]:
    """The rows with the kit's opponents that were played at temperature 0, as a table."""
    shown = [
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
    heading = "**Rows at temperature 0.** They have the paper's opponents. They are not compared with ours."
    return (heading, "\n".join(markdown(shown))) if shown else ()


def _courses(rows: pd.DataFrame) -> str:
    """J of each of their models in one game from base to the last step, at whatever temperature."""
    lines = []
    for (who, temperature), mine in rows.groupby(["who", "temperature"], sort=False):
        trained = mine[mine["stage"] == "grpo"].sort_values("step")
        points = [(STAGES[row.recipe], row.safety) for row in mine[mine["stage"] != "grpo"].itertuples()]
        best, last = trained.loc[trained["safety"].idxmax()], trained.iloc[-1]
        points += [(f"best step ({best['step']:.0f})", best["safety"])] if len(trained) > 1 else []
        points += [(f"last step ({last['step']:.0f})", last["safety"])]
        told = ", ".join(f"{name} {value:.2f}" for name, value in points)
        lines.append(f"{who}, temperature {temperature}: {told}")
    title = games.get(rows["game"].iloc[0]).title
    return f"**From base to the last step** ({title}), J with the evaluation weights. {'; '.join(lines)}."


def _claim_c4(rows: pd.DataFrame) -> str:
    """What their own rows say on C4, and which recipe made the best of them."""
    best = rows.loc[rows["safety_printed"].idxmax()]
    plain = rows[rows["recipe"].isin(["base", "sft"]) & (rows["nra"] > 0)]
    trained = rows[rows["stage"] == "grpo"]
    last = trained[trained["step"] == trained.groupby("who")["step"].transform("max")]
    rest = rows[rows["recipe"].isin(["base", "sft"]) & ~(rows["nra"] > 0)]
    listed, others = (
        ", ".join(f"{row.who} {STAGES[row.recipe]} {row.nra:+.3f}" for row in one.itertuples())
        for one in (plain, rest)
    )
    ends = ", ".join(f"{row.who} {row.nra:+.3f}" for row in last.itertuples())
    return (
        f"**Claim C4 in their own rows** ({games.get(CLAIM_C4).title}). The claim says that only SEPO has a "
        f"positive NRA. The NRA is positive without SEPO in {len(plain)} of their "
        f"{rows['recipe'].isin(['base', 'sft']).sum()} rows of base and SFT models: {listed}. In the others "
        f"it is not: {others}. At the last "
        f"SEPO step it is: {ends}. The row with the highest printed safety is {best.who} at step "
        f"{best.step:.0f}: payoff {best.payoff:.3f}, e {best.exploit:.3f}, printed safety "
        f"{best.safety_printed:.3f}, J with the evaluation weights {best.safety:.3f}, NRA {best.nra:.3f}. "
        f"The stored recipe of that row is: {best.variant}."
    )
