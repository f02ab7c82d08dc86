"""The numbers of docs/ESTIMATORS.md: how each gradient estimator compares with the exact gradient of J."""

import pandas as pd

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure.statistics import Interval
from sepo_lib.method import credit
from sepo_lib.report import findings, found
from sepo_lib.report.verdicts import number
from sepo_lib.run.templates import render
from sepo_lib.studies import estimators, published

EXACT = 0.999  # a cosine of at least this value counts as following the exact gradient
Rows = list[dict[str, str]]
#: Row of `summary` -> its name in `in_brief`.
SHOWN = {
    "published": "the paper's estimator",
    "authors' current code": "the authors' current one",
    "unbiased, scaled": "the kit's",
}


def numbers(profile: str) -> str:
    """The results in `estimators.parquet` and `headroom.csv` of a profile, as Markdown.

    Raises FileNotFoundError for a missing table. A setting is a policy in a game with a pool set. Settings in
    which a margin is exactly 0 are left out, because J has no gradient there.
    """
    table = paths.read_table(profile, "estimators")
    size = min(table["group_size"].unique(), key=lambda size: abs(size - estimators.TERMS_AT))
    table = table[(table["groups"] == table["groups"].max()) & (table["nearest_margin"] != 0)]
    near = table[table["group_size"] == size]
    of_J = near[near["term"] == "J"]
    return render(
        "report/templates/estimators.md.j2",
        profile=profile,
        in_brief=in_brief(profile),
        groups=f"{table['groups'].max():,}",
        settings=len(table[["game", "pools", "policy"]].drop_duplicates()),
        group_size=size,
        smallest=min(table["group_size"]),
        threshold=EXACT,
        reached=reached(of_J),
        cosines=cosines(of_J),
        elsewhere=elsewhere(of_J),
        sources=[
            {"estimator": name, "source": one.source, "adapted to J": one.adaptation}
            for name, one in published.ELSEWHERE.items()
        ],
        switches=switches(of_J),
        penalty_terms=penalty_terms(near),
        errors=errors(table[table["term"] == "J"]),
        headroom=headroom(paths.read_table(profile, "headroom")),
    )


def in_brief(run: str) -> str | None:
    """How well the estimators follow the exact gradient of J, in a sentence; None without their table."""
    if not paths.table(run, "estimators").exists():
        return None
    table = paths.read_table(run, "estimators")
    by_name = {row["estimator"]: row for row in summary(table, estimators.TERMS_AT)}
    if not set(SHOWN) <= set(by_name):
        return None
    cosines = [f"{float(by_name[key]['mean cosine']):.2f} for {name}" for key, name in SHOWN.items()]
    return (
        "The gradient of J has to be estimated, and not every estimator points in its direction. The cosine "
        f"of the mean estimate with the exact gradient is {found.words(cosines)} (1: same direction), as "
        f"a mean over {by_name['published']['settings']} cases. A case is a policy in one game with one pool "
        "set; the policy is a small table, not the language model."
    )


def reached(rows: pd.DataFrame) -> dict[str, str]:
    """Kind of estimate -> in how many settings the cosine of its mean is at least EXACT, as `k of n`."""
    own = _own(rows)
    return {name: f"{(own.loc[kind, 'cosine'] >= EXACT).sum()} of {kind.sum()}" for name, kind in _kinds(own)}


def cosines(rows: pd.DataFrame) -> Rows:
    """Cosine of each kind of estimate by game and pool set, as a range over policies.

    The last column is the `size_ratio` of the estimate with known margins that is furthest from 1.
    """
    own = _own(rows)
    kinds = dict(_kinds(own))
    table = []
    for (game, pools), here in own.groupby(["game", "pools"], sort=False):
        cells = {name: _range(here.loc[kind.loc[here.index], "cosine"]) for name, kind in kinds.items()}
        known = here[kinds["known margins"].loc[here.index]]
        size = "–"
        if len(known):
            worst = known.loc[(known["size_ratio"] - 1).abs().idxmax()]
            size = f"{worst['size_ratio']:.3f} [{worst['size_low']:.3f}, {worst['size_high']:.3f}]"
        table.append({"game": game, "pools": pools, **cells, "size ratio": size})
    total = {"game": f"settings with {EXACT} or more", "pools": "", **reached(rows), "size ratio": ""}
    return [*table, total]


def summary(table: pd.DataFrame, group_size: int) -> Rows:
    """Cosine of the mean of each kind of estimate with the exact gradient, over all settings.

    Of `estimators.parquet`, the rows with the most groups and with groups of `group_size` are used, without
    the settings in which a margin is exactly 0. No rows for a table without rows.
    """
    if table.empty:
        return []
    own = _own(_settings(table, group_size))
    return [
        {"estimator": name, "settings": len(cosines), "mean cosine": f"{cosines.mean():.3f}"}
        | {"lowest": f"{cosines.min():.3f}", f"{EXACT} or more": int((cosines >= EXACT).sum())}
        for name, kind in _kinds(own)
        if len(cosines := own.loc[kind, "cosine"])
    ]


def lowest(table: pd.DataFrame, group_size: int) -> dict[str, str]:
    """Where `published` with one switch of `unbiased` has the lowest cosine, over the settings of `summary`.

    Keys: switch, game, pools, policy, cosine, and `own`, the cosine of `published` itself there. Empty for a
    table without such rows.
    """
    if table.empty:
        return {}
    rows = _settings(table, group_size)
    rows = rows[(rows["groups_per_batch"] == 1) & (rows["how"] == "published")]
    arm = credit.preset("unbiased").arm
    other = (rows["switch"] == "credit") & (rows["arm"] != arm)  # every arm is measured
    changed = rows[(rows["switch"] != estimators.OWN) & ~other]
    if changed.empty:
        return {}
    least = changed.loc[changed["cosine"].idxmin()]
    place = ["game", "pools", "policy"]
    own = _own(rows).set_index(place)["cosine"][tuple(least[place])]
    words = {name: str(least[name]) for name in ("switch", *place)}
    return words | {"cosine": f"{least['cosine']:.2f}", "own": f"{own:.2f}"}


def _settings(table: pd.DataFrame, group_size: int) -> pd.DataFrame:
    """The rows of J with the most groups and this group size, without settings with a margin of exactly 0."""
    rows = table[(table["groups"] == table["groups"].max()) & (table["nearest_margin"] != 0)]
    return rows[(rows["group_size"] == group_size) & (rows["term"] == "J")]


def elsewhere(rows: pd.DataFrame) -> Rows:
    """Estimators of other papers beside the presets: cosine of the mean, and of one batch by game."""
    rows = _own(rows[rows["groups_per_batch"] == 1])
    return [
        {"estimator": estimator, "mean": _range(own["cosine"])}
        | {f"at least {EXACT}": f"{(own['cosine'] >= EXACT).sum()} of {len(own)}"}
        | {f"one batch, {game}": _batch_cosine(own[own["game"] == game]) for game in rows["game"].unique()}
        for estimator in dict.fromkeys([*figures.labels_of(rows["how"]), "unbiased"])
        if len(own := rows[rows["how"] == estimator])
    ]


def switches(rows: pd.DataFrame) -> Rows:
    """Change of the cosine when one switch of a preset is changed, and the number of settings by its sign."""
    rows = rows[rows["groups_per_batch"] == 1]
    table = []
    for switch in credit.FIELD_OF_SWITCH:
        cells = {"switch": switch}
        for preset, other in (("unbiased", "published"), ("published", "unbiased")):
            own = rows[(rows["how"] == preset) & (rows["switch"] == switch)]
            own = own[own["arm"] == credit.preset(other).arm] if switch == "credit" else own
            # In `unbiased` the clamp also changes a horizon, which acts where the clamp itself cannot.
            own = own[figures.acting(own.assign(how="published") if switch == "clamp" else own)]
            column = f"from {preset} to {other}"
            if own.empty:
                cells[column] = figures.NO_EFFECT
                continue
            below, above = int((own["change_high"] < 0).sum()), int((own["change_low"] > 0).sum())
            counts = f"({below}, {len(own) - below - above}, {above})"
            cells[column] = f"{own['change'].mean():+.3f} {counts}"
        table.append(cells)
    return table


def penalty_terms(rows: pd.DataFrame) -> Rows:
    """Norm and direction of each penalty's part of the mean estimate, by arm; medians over settings."""
    rows = rows[(rows["how"] == "unbiased") & rows["switch"].isin([estimators.OWN, "credit"])]
    rows = rows[(rows["groups_per_batch"] == 1) & (rows["exact_norm"] > estimators.ZERO)]
    return [
        {"term": term, "arm": arm}
        | {"length": number((own["estimate_norm"] / own["exact_norm"]).median())}
        | {"noise": number((own["noise_norm"] / own["exact_norm"]).median())}
        | {"cosine": number(own["cosine"].median())}
        for term in ("e", "c", "x")
        for arm in ("constant", "per_rollout", "credited")
        if len(own := rows[(rows["term"] == term) & (rows["arm"] == arm)])
    ]


def errors(rows: pd.DataFrame) -> Rows:
    """Relative error of the mean of the unbiased estimate by game and pool set, for several batch sizes."""
    known = rows[rows["how"] == estimators.KNOWN]
    rows = _own(rows[rows["how"] == "unbiased"])
    sizes = sorted(rows["group_size"].unique())
    error, known_error = (table["bias_norm"] / table["exact_norm"] for table in (rows, known))
    table = []
    for (game, pools), here in rows.groupby(["game", "pools"], sort=False):
        one = here[here["groups_per_batch"] == 1]
        cells = {f"G = {size}": error[one.index[one["group_size"] == size]].max() for size in sizes}
        large = here[(here["groups_per_batch"] > 1) & (here["group_size"] == sizes[-1])]
        cells["large batch"] = error[large.index].max()
        own = (known["game"] == game) & (known["pools"] == pools) & (known["group_size"] == sizes[0])
        cells[f"G = {sizes[0]}, known margins"] = known_error[own].max()
        table.append({"game": game, "pools": pools} | {name: number(value) for name, value in cells.items()})
    return table


def headroom(rows: pd.DataFrame) -> Rows:
    """The strategy with the highest payoff and the one with the highest J, with the training weights."""
    return [
        {
            "game": row.game,
            "pools": row.pools,
            "strategies": f"{row.strategies:,.0f}" if pd.notna(row.strategies) else row.family,
            "J of the highest payoff (u, e)": (
                f"{row.best_payoff_J:.3f} ({row.best_payoff_u:.2f}, {row.best_payoff_e:.2f})"
            ),
            "highest J (u, e)": f"{row.best_J:.3f} ({row.best_u:.2f}, {row.best_e:.2f})",
            "gap": f"{row.gap:.3f}",
        }
        for row in rows[rows["weights"] == "train"].itertuples()
    ]


def _own(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of presets as they are, with no switch changed."""
    return rows[rows["switch"] == estimators.OWN]


def _kinds(own: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """The kinds of estimate that the first table shows, each with a mask of its rows."""
    unbiased, many = own["how"] == "unbiased", own["groups_per_batch"] > 1
    return [
        ("published", own["how"] == "published"),
        ("authors' current code", own["how"] == "authors_current"),
        ("unbiased, scaled", own["how"] == "unbiased, scaled"),
        ("unbiased", unbiased & ~many),
        ("large batch", unbiased & many),
        ("known margins", own["how"] == estimators.KNOWN),
    ]


def _batch_cosine(rows: pd.DataFrame) -> str:
    return findings.text(Interval(*figures.mean_of_intervals(rows, "batch_cosine"))) if len(rows) else "–"


def _range(cosines: pd.Series) -> str:
    if cosines.empty:
        return "–"
    low, high = (f"{value + 0.0:.4f}" for value in (cosines.min(), cosines.max()))
    return low if low == high else f"{low} to {high}"
