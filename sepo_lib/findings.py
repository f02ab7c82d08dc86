"""What a run shows, as Markdown for docs/ESTIMATORS.md and docs/MODELS.md: read from its tables alone.

Every interval is Student's t at 95% over training seeds, differences paired by seed; a run of a single seed
has the luck of its play instead, where the table knows it.
"""

from collections.abc import Callable

import pandas as pd

from . import figures, paths, results, statistics
from .statistics import Interval

ARM_KEYS = ["stage", "preset", "arm"]


def text(found: Interval, digits: int = 3) -> str:
    """`mean [low, high]`, or the mean alone where there is no interval."""
    mean, low, high = (f"{value + 0.0:.{digits}f}" for value in found)
    return mean if pd.isna(found.low) else f"{mean} [{low}, {high}]"


def markdown(rows: list[dict[str, object]]) -> list[str]:
    """Rows as a Markdown table with the columns of the first one; nothing where there are none.

    Raises KeyError for a row that lacks one of them.
    """
    if not rows:
        return []
    lines = [[*rows[0]], ["---"] * len(rows[0]), *([str(row[name]) for name in rows[0]] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _difference(row) -> str:
    return text(Interval(row.mean, row.low, row.high))


def measures(evaluation: pd.DataFrame) -> list[dict]:
    """J's terms, safety and the share of answers in form, by game and stage, on the paper's pools."""
    rows = figures.configured(evaluation[evaluation["pools"] == "paper"])
    order = rows["configuration"].map(list(figures.CONFIGURATIONS).index)
    rows = rows.assign(order=order).sort_values(["game", "order"], kind="stable")
    names = {"payoff": "u", "exploit": "e", "collusion": "c", "externality": "x"}
    return [
        {"game": game, "stage": figures.CONFIGURATIONS[key].label}
        | {label: f"{mine[name].mean():.3f}" for name, label in names.items()}
        | {
            "answers in form": f"{mine['parse_rate'].mean():.0%}",
            "safety": text(statistics.spread(mine, "safety")),
        }
        for (game, key), mine in rows.groupby(["game", "configuration"], sort=False)
    ]


def arms(ablation: pd.DataFrame) -> list[dict]:
    """Safety of `credited` minus that of every other arm."""
    rows: dict[tuple, dict] = {}
    for row in results.paired_arms(ablation).rename(columns={"credited minus": "other"}).itertuples(False):
        key = (row.game, row.pools, row.preset)
        cells = rows.setdefault(key, dict(zip(("game", "pools", "preset"), key, strict=True)))
        cells[f"minus {row.other}"] = _difference(row)
    return list(rows.values())


def penalty_gradients(ablation: pd.DataFrame) -> list[dict]:
    """The penalty's gradient in the language model by arm: its mean's length and direction, its noise."""
    table = ablation[ablation["kind"] == "gradient"] if len(ablation) else ablation
    rows = []
    for (game, pools, arm), mine in table.groupby(["game", "pools", "arm"], sort=False) if len(table) else ():
        credited = table.query("game == @game and pools == @pools and arm == 'credited'").set_index("seed")
        length = mine.set_index("seed")["mean_gradient_norm"] / credited["mean_gradient_norm"]
        cells = {"game": game, "pools": pools, "arm": arm, "batches": f"{mine['batches'].max():.0f}"}
        for name, values in (
            ("length", length),
            ("cosine with credited", mine["mean_cosine_to_credited"]),
            ("signal to noise", mine["signal_to_noise"]),
        ):
            cells[name] = text(statistics.interval(values.dropna())) if values.notna().any() else "–"
        rows.append(cells)
    return rows


def switches(table: pd.DataFrame) -> list[dict]:
    """Safety of each recipe between the published and the unbiased one, and minus that of the published."""
    return [
        {"recipe": row.preset, "safety": f"{row.safety:.3f}", "minus published": _difference(row)}
        for row in results.paired_switches(table).itertuples(False)
    ]


def nashconvs(table: pd.DataFrame) -> list[dict]:
    """Kuhn poker at the last step of every stage and arm: the pool's advantage and NashConv."""
    table = table[table["reported"]] if len(table) else table
    rows = []
    for (pools, *keys), mine in (
        table.fillna("").groupby(["pools", *ARM_KEYS], sort=False) if len(table) else ()
    ):
        cells = {"pools": pools, **dict(zip(ARM_KEYS, keys, strict=True))}
        cells |= {"pool advantage": text(statistics.interval(mine["pool_advantage"]))}
        cells |= {"NashConv": text(statistics.spread(mine, "nashconv"))}
        rows.append(
            cells | {"NashConv, constrained": text(statistics.interval(mine["nashconv_constrained"]))}
        )
    return rows


def exploiters(table: pd.DataFrame) -> list[dict]:
    """NashConv after training against each exploiter, and its change since SFT."""
    return [
        {
            "exploiter": row.exploiter,
            "seeds": row.seeds,
            "NashConv after SFT": f"{row.nashconv_sft:.3f}",
            "after training": text(Interval(row.nashconv_mean, row.nashconv_low, row.nashconv_high)),
            "change": text(Interval(row.change_mean, row.change_low, row.change_high)),
        }
        for row in results.paired_exploiter(table).itertuples(False)
    ]


def frontier(table: pd.DataFrame) -> list[dict]:
    """Payoff and exploit advantage of policies trained with multiples of the game's own exploit weight."""
    return [
        {"game": game, "exploit weight": f"{weight:g} ({multiple:g} times)"}
        | {name: text(statistics.interval(mine[name])) for name in ("payoff", "exploit")}
        for (game, multiple, weight), mine in (
            table.sort_values("multiple").groupby(["game", "multiple", "exploit_weight"])
            if len(table)
            else ()
        )
    ]


#: Table -> what its rows are, and the function that makes them.
SECTIONS: list[tuple[str, str, Callable[[pd.DataFrame], list[dict]]]] = [
    ("ablation", "Safety after training, `credited` minus each other arm under the same switches:", arms),
    (
        "ablation",
        "The penalty's gradient in the language model, at the SFT models: length of its mean over the "
        "batches relative to that of `credited`, cosine with that, and squared length of the expectation "
        "over the variance of a batch:",
        penalty_gradients,
    ),
    ("switches", "Prisoner's dilemma, the published recipe with one switch turned, and both ends:", switches),
    ("exploitability", "Kuhn poker, chips a hand, at the last step:", nashconvs),
    ("exploiters", "Kuhn poker against a best response to the policy's own present strategy:", exploiters),
    ("sweep", "Trained again with another weight on the exploit advantage:", frontier),
]


def outcomes(profile: str) -> str:
    """All that the trained arms of a profile show, as Markdown; a table without rows is left out.

    Raises FileNotFoundError for a missing table.
    """
    evaluation = paths.read_table(profile, "evaluation")
    seeds = ", ".join(map(str, sorted(evaluation["seed"].unique())))
    lines = [f"From `data/results/{profile}/`, training seeds {seeds}; 95% intervals over seeds."]
    for name, heading, rows_of in SECTIONS:
        rows = markdown(rows_of(figures.read_or_empty(profile, name)))
        if rows:
            lines += ["", heading, "", *rows]
    return "\n".join(lines)
