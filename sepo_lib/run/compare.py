"""Compare the tables of two runs, in four grades (`GRADES`).

    identical   every value is the same
    rounding    the same rows and texts, and numbers that differ by at most RELATIVE of their size
    intervals   the same rows; chance explains the differences between means over seeds; the claims agree
    different   anything else

Columns that measure time are left out, and so is `profile`. A table that differs but has no interval over
seeds is `open`: it is not judged. docs/REPRODUCIBILITY.md explains the rules.

Chance: every measure of every policy is one comparison, a two-sided t test of its mean over seeds. The test
is paired if both runs have the same seeds, else it is Welch's. The p-values depend on each other, because
policies share seeds and models, so both rules hold under any dependence:

    one    a comparison is outside if its p-value is at most ONE after Holm's correction for all comparisons
    many   the share SHARE of those that differ at all has p-values of at most SHARE x MANY; these are outside
           (the k-th smallest of n p-values, times n / k, is a p-value: Rueger 1978)

Two runs of one experiment are therefore called different with a probability of at most ONE + MANY; in
simulations with three to ten seeds it was at most 2%.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from sepo_lib.measure import statistics
from sepo_lib.measure.rows import KEYS, reported

GRADES = ("identical", "rounding", "intervals", "different")
OPEN = "open"  # the grade of a table that is not judged
RELATIVE, ABSOLUTE = 1e-6, 1e-9  # numbers that differ by less are equal within rounding
NEGLIGIBLE = 1e-4  # a smaller part of the means is no difference: float32 numbers are rounded
ONE, MANY, SHARE = 0.01, 0.09, 0.25  # levels of the two rules, and the share of the second
DISJOINT = 0.05  # share of the rows of estimators.parquet whose intervals may be disjoint
TIMES = ("play_seconds", "reference_seconds", "step_time")

_KEYS = KEYS[1:]  # without the profile, which is a label
_ESTIMATOR = ("how", "switch", "arm", "horizon", "clamp", "scale", "weights", "baseline")
_SIZES = ("group_size", "groups", "groups_per_batch", "term")
#: Table -> the columns that identify a row.
IDENTITY = {
    **dict.fromkeys(("evaluation", "training", "exploitability", "switches"), _KEYS),
    "episodes": (*_KEYS, "pool", "opponent", "rollout", "decision"),
    "sft": ("model", "stage", "arm", "preset", "seed", "step"),
    "strategies": (*_KEYS, "reading", "state", "situation", "action"),
    "behaviour": (*_KEYS, "kind", "situation", "action"),
    "crossplay": ("game", "pools", "row", "column"),
    "ablation": (*_KEYS, "kind"),
    "sweep": (*_KEYS, "multiple"),
    "replication": (*_KEYS, "share", "top_p"),
    "transfer": (*_KEYS, "trained_on"),
    "exploiters": ("model", "exploiter", "baseline", "stage", "seed", "step"),
    "estimators": ("game", "pools", "policy", *_ESTIMATOR, *_SIZES),
    "headroom": ("game", "pools", "weights", "family"),
    "paper_nashconv": ("generation", "model", "stage", "step"),
    "kuhn_optimum": ("pools", "exploiter", "exploit_weight", "collusion_weight", "own"),
    "weights": ("game", "weight", "value", "stage", "seed"),
    "crossings": ("game", "weight", "first", "second"),
    "headline": ("game", "pools", "estimator", "metric"),
    "claims": ("claim", "recipe", "scope"),
}
_OUTCOME = ("safety", "payoff", "exploit", "collusion", "externality")
#: Table -> the measures whose means over seeds are compared. A policy has one row per seed, its last step; of
#: the tables in AVERAGED it has the mean over all steps.
MEASURES = {
    "evaluation": (*_OUTCOME, "shift_payoff", "parse_rate"),
    "training": ("objective", "kl", "entropy", "parse_rate"),
    "sft": ("loss",),
    "exploitability": ("nashconv", "pool_advantage"),
    "exploiters": ("nashconv", "pool_advantage"),
    "ablation": (*_OUTCOME, "penalty_gradient_norm", "cosine_to_credited"),
    "switches": _OUTCOME,
    "sweep": _OUTCOME,
    "replication": _OUTCOME,
    "transfer": _OUTCOME,
}
AVERAGED = ("training", "sft")
_DIFFERENCE = ("table", "row", "game", "measure", "seeds", "size", "difference", "error", "freedom")
#: Tables that depend on no language model and on no draw: they have to be equal within rounding.
EXACT = ("headroom", "kuhn_optimum", "paper_nashconv")
#: Tables without a column for the game: what they hold depends on which games a run has.
OVER_GAMES = ("claims", "crossplay", "exploiters")
#: Table -> the table that it is computed from, or that is computed from it: its grade is that of the other.
FOLLOWS = {
    "episodes": "evaluation",
    "behaviour": "evaluation",
    "weights": "evaluation",
    "crossings": "evaluation",
    "headline": "evaluation",
    "strategies": "exploitability",
}


@dataclass(frozen=True)
class Run:
    """The tables of a run by name, and the games and seeds that it was asked for."""

    name: str
    tables: Mapping[str, pd.DataFrame]
    games: Sequence[str] = ()
    seeds: Sequence[int] = ()


@dataclass
class Compared:
    """What the comparison of one table found: its grade, the number of common rows, and notes."""

    table: str
    grade: str
    rows: int = 0
    notes: list[str] = field(default_factory=list)


def compare(mine: Run, other: Run) -> list[Compared]:
    """Compare every table that one of the runs has, in the order of IDENTITY."""
    found: dict[str, Compared] = {}
    judged: list[pd.DataFrame] = []
    for name in IDENTITY:
        if name in mine.tables or name in other.tables:
            one = found[name] = _values(name, mine, other)
            if one.grade == OPEN and name in MEASURES:
                judged.append(differences(name, mine.tables[name], other.tables[name]))
    if judged:
        for name, rows in judge(pd.concat(judged, ignore_index=True)).groupby("table", sort=False):
            _grade(found[name], rows)
    if "claims" in found and found["claims"].grade == OPEN:
        _claims(found["claims"], mine, other)
    if "estimators" in found and found["estimators"].grade == OPEN:
        _estimators(found["estimators"], mine, other)
    for name, one in found.items():
        source = found.get(FOLLOWS.get(name, ""))
        if one.grade == OPEN and source is not None:
            one.grade = "intervals" if source.grade in GRADES[:2] else source.grade
            one.notes.append(f"Its numbers differ; its grade follows {source.table}.")
        elif one.grade == OPEN and not one.notes:
            one.notes.append("Its numbers differ; it has no interval over two or more seeds.")
    return list(found.values())


def grade(found: Iterable[Compared]) -> str:
    """The grade of two runs: the worst grade of a table; `open` if the evaluation is not judged."""
    grades = {one.table: one.grade for one in found}
    if "different" not in grades.values() and grades.get("evaluation", OPEN) == OPEN:
        return OPEN
    return max((one for one in grades.values() if one != OPEN), key=GRADES.index)


def conclusion(found: Sequence[Compared]) -> str:
    """The result in one sentence."""
    worst = grade(found)
    if worst == "different":
        names = ", ".join(one.table for one in found if one.grade == "different")
        return f"The runs differ by more than chance explains, or in their rows: {names}."
    return {
        "identical": "The runs are identical: every compared value is the same.",
        "rounding": f"The runs are equal within rounding: no difference exceeds {RELATIVE:g} of a number.",
        "intervals": "The runs are equal within intervals: chance explains what differs; the claims agree.",
        OPEN: "The runs cannot be judged: their numbers differ, and an interval needs two or more seeds.",
    }[worst]


def differences(name: str, mine: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of one table: one row per policy and measure.

    Columns: table, row (the policy in words), game, measure, seeds, size (of the larger mean), difference
    (mine minus the other's mean), error (its standard error; 0 if all seeds are equal), freedom (degrees of
    freedom). Policies with fewer than two seeds in a run are left out.
    """
    parts = [pd.DataFrame(columns=[*_DIFFERENCE])]
    if mine.empty or other.empty:
        return parts[0]
    by = [key for key in IDENTITY[name] if key not in ("seed", "step")]
    measures = [measure for measure in MEASURES[name] if measure in mine and measure in other]
    by_seed = [_by_seed(name, table, by, measures) for table in (mine, other)]
    for measure in measures:
        a_PS, b_PS = (one[measure].dropna(how="all") for one in by_seed)
        policies = a_PS.index.intersection(b_PS.index, sort=False)
        a_PS, b_PS = a_PS.loc[policies], b_PS.loc[policies]
        paired = set(a_PS) == set(b_PS)
        samples = [a_PS - b_PS] if paired else [a_PS, b_PS]
        sizes = [sample.count(axis=1) for sample in samples]
        squares = [_squared_error(sample) for sample in samples]
        total = sum(squares)
        weights = sum(square**2 / (size - 1) for square, size in zip(squares, sizes, strict=True))
        equal = sum(size - 1 for size in sizes)  # the degrees of freedom if no seed differs from another
        known = {
            "table": name,
            "row": [_words((*policy, measure)) for policy in policies.droplevel("model")],
            "game": policies.get_level_values("game") if "game" in by else "",
            "measure": measure,
            "seeds": [" and ".join(map(str, row)) for row in zip(*sizes, strict=True)],
            "size": np.maximum(a_PS.mean(axis=1).abs(), b_PS.mean(axis=1).abs()),
            "difference": samples[0].mean(axis=1) - (0.0 if paired else samples[1].mean(axis=1)),
            "error": np.sqrt(total),
            "freedom": (total**2 / weights).where(total > 0.0, equal),
        }
        found = pd.DataFrame(known)
        found["seeds"] += " paired seeds" if paired else " seeds"
        parts.append(found[np.min(sizes, axis=0) > 1])
    return pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)


def judge(compared: pd.DataFrame) -> pd.DataFrame:
    """`differences` of all tables with the columns p, low and high (the 95% interval), and outside.

    A difference that is equal in all seeds has no spread of its own; it takes the largest standard error of
    its measure in the same table and game. `outside` says that one of the two rules of the module rejects it.
    """
    error = compared["error"].astype(float)
    widest = error.groupby([compared[key] for key in ("table", "game", "measure")]).transform("max")
    error = error.where(error > 0.0, widest)
    size = compared["difference"].astype(float).abs()
    equal = size <= ABSOLUTE + NEGLIGIBLE * compared["size"].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(equal, 0.0, size / error)
    freedom = compared["freedom"].astype(float)
    p = 2 * stats.t.sf(t, freedom)
    half = stats.t.ppf(0.975, freedom) * error
    outside = statistics.holm(p) <= ONE
    small = p <= SHARE * MANY
    if small.sum() >= max(SHARE * (~equal).sum(), 1):
        outside |= small
    known = {"p": p, "low": compared["difference"] - half, "high": compared["difference"] + half}
    return compared.assign(error=error, outside=outside, **known)


# ------------------------------------------------------------------------------------ one table


def _values(name: str, mine: Run, other: Run) -> Compared:
    """The grade of a table as far as its values tell: identical, rounding, different, or else open."""
    missing = [run.name for run in (mine, other) if name not in run.tables]
    if missing:
        return Compared(name, "different", notes=[f"The table is missing in {missing[0]}."])
    tables, notes = [], []
    for own, there in ((mine, other), (other, mine)):
        table, left_out = _common(own, there, name)
        tables.append(table)
        notes += [f"{own.name} alone has {' and '.join(left_out)}."] if left_out else []
    columns = tables[0].columns.union(tables[1].columns, sort=False)
    a, b = (table.reindex(columns=columns) for table in tables)
    if a.equals(b):
        return Compared(name, "identical", len(a), notes)
    if name == "episodes":  # the decisions of two different runs need not correspond to each other
        if len(a) == len(b):
            notes.append(f"{(a.fillna('') != b.fillna('')).any(axis=1).sum():,} rows differ.")
        return Compared(name, OPEN, min(len(a), len(b)), notes)
    a, b = (_indexed(table, name) for table in (a, b))
    for own, one, there in ((mine, a, b), (other, b, a)):
        if len(alone := one.index.difference(there.index, sort=False)):
            notes.append(f"{own.name} alone has {len(alone)} rows, such as {_words(alone[0])}.")
            if not _may_lack_rows(name, mine, other):
                return Compared(name, "different", len(one) - len(alone), notes)
    common = a.index.intersection(b.index, sort=False)
    a, b = a.loc[common], b.loc[common]
    if a.empty:
        return Compared(name, OPEN, 0, notes if name in OVER_GAMES else [])
    excess = _excess(a, b)
    if not (excess > 0.0).any():
        return Compared(name, "identical", len(a), notes)
    if not (excess > 1.0).any():
        place = excess.idxmax()
        return Compared(name, "rounding", len(a), [*notes, f"The largest difference is at {_words(place)}."])
    if name in EXACT:
        notes.append(f"{(excess > 1.0).sum()} rows differ, such as {_words(excess.idxmax())}.")
    return Compared(name, "different" if name in EXACT else OPEN, len(a), notes)


def _may_lack_rows(name: str, mine: Run, other: Run) -> bool:
    """Whether rows may be missing: the runs have no seed in common, or other games and a table over games."""
    seeded = "seed" in IDENTITY[name] and not set(mine.seeds) & set(other.seeds)
    return seeded or (name in OVER_GAMES and set(mine.games) != set(other.games))


def _common(own: Run, there: Run, name: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows of a table without those of games and seeds that only this run was asked for; what these are.

    If the runs have no seed in common, the rows of all seeds stay.
    """
    table = own.tables[name].drop(columns=["profile", *TIMES], errors="ignore")
    left_out = []
    for column, here, elsewhere in (("game", own.games, there.games), ("seed", own.seeds, there.seeds)):
        if column not in table or not set(here) & set(elsewhere):
            continue
        extra = set(table[column]) - set(elsewhere) - set(there.tables[name].get(column, ()))
        if extra:
            table = table[~table[column].isin(extra)]
            left_out.append(f"the {column}s {', '.join(map(str, sorted(extra)))}")
    return table.dropna(axis=1, how="all").reset_index(drop=True), left_out


def _excess(a: pd.DataFrame, b: pd.DataFrame) -> pd.Series:
    """The largest difference of each row: 0 if all values are equal, at most 1 within rounding."""
    excess = np.zeros(len(a))
    for column in a:
        if all(pd.api.types.is_numeric_dtype(one[column]) and one[column].dtype != bool for one in (a, b)):
            x, y = (one[column].to_numpy(float) for one in (a, b))
            with np.errstate(invalid="ignore"):
                found = np.abs(x - y) / (ABSOLUTE + RELATIVE * np.maximum(np.abs(x), np.abs(y)))
            found = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.nan_to_num(found, nan=np.inf))
        else:
            x, y = (_filled(one[column]).to_numpy() for one in (a, b))
            found = np.where(x == y, 0.0, np.inf)
        excess = np.maximum(excess, found)
    return pd.Series(excess, index=a.index)


def _filled(column: pd.Series) -> pd.Series:
    """A column in which empty cells are equal to each other."""
    return column.astype(object).where(column.notna(), "")


def _grade(one: Compared, rows: pd.DataFrame) -> None:
    """The grade of a table from its judged comparisons, with the clearest difference as a note."""
    one.grade = "different" if rows["outside"].any() else "intervals"
    number = (rows["p"] <= 0.05).sum()
    one.notes.append(f"{number} of {len(rows)} differences lie outside their 95% intervals.")
    for row in rows.sort_values("p").head(3 if one.grade == "different" else 1).itertuples():
        ends = f"{row.difference:.3g} [{row.low:.3g}, {row.high:.3g}]"
        one.notes.append(f"{row.row}: {ends}, {row.seeds}.")


def _claims(one: Compared, mine: Run, other: Run) -> None:
    """Claims agree if the verdict is the same or the intervals overlap.

    A row without an interval sums up others and is not judged, and neither is the interval of one seed.
    """
    a, b = (_indexed(run.tables["claims"], "claims") for run in (mine, other))
    both = a.join(b, lsuffix="_a", rsuffix="_b", how="inner")
    changed = both[both["verdict_a"] != both["verdict_b"]]
    one.grade = "intervals"
    for place, row in changed.iterrows():
        said = f"{_words(place)}: {row['verdict_a']} in {mine.name}, {row['verdict_b']} in {other.name}"
        apart = row["ci_low_a"] > row["ci_high_b"] or row["ci_low_b"] > row["ci_high_a"]
        one_seed = any("one seed" in str(row[f"interval_{end}"]) for end in "ab")
        if (apart and not one_seed) or "not run" in (row["verdict_a"], row["verdict_b"]):
            one.grade = "different"
            one.notes.append(f"{said}; {'the intervals are disjoint' if apart else 'one was not run'}.")
        else:
            one.notes.append(f"{said}; the intervals overlap or are missing.")
    if _may_lack_rows("claims", mine, other):
        one.grade = OPEN
        one.notes.append("The runs have other games, so their claims are not judged.")


def _estimators(one: Compared, mine: Run, other: Run) -> None:
    """The estimators agree if the intervals of the cosine overlap in all but a share DISJOINT of the rows."""
    a, b = (_indexed(run.tables["estimators"], "estimators") for run in (mine, other))
    common = a.index.intersection(b.index)
    a, b = a.loc[common], b.loc[common]
    apart = (a["cosine_low"] > b["cosine_high"]) | (b["cosine_low"] > a["cosine_high"])
    one.grade = "different" if apart.mean() > DISJOINT else "intervals"
    one.notes.append(f"The intervals of the cosine are disjoint in {apart.sum()} of {len(apart)} rows.")


def _indexed(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table `name` of a run whose index is the columns that identify a row."""
    keys = [key for key in IDENTITY[name] if key in table]
    return table.assign(**{key: _filled(table[key]) for key in keys}).set_index(keys)


def _by_seed(name: str, table: pd.DataFrame, by: list[str], measures: list[str]) -> pd.DataFrame:
    """The values of `measures`: a row for each policy, a column for each measure and seed."""
    if name == "exploiters":
        table = table[table["step"] == table.groupby(["exploiter", "stage"])["step"].transform("max")]
    elif name not in AVERAGED:
        table = reported(table)
    table = table.assign(**{key: _filled(table[key]) for key in by})
    return table.groupby([*by, "seed"], sort=False)[measures].mean().unstack("seed")


def _squared_error(sample_PS: pd.DataFrame) -> pd.Series:
    """The squared standard error of the mean of each row; 0 if all its values are equal up to rounding."""
    spread = sample_PS.max(axis=1) - sample_PS.min(axis=1) > statistics.NO_SPREAD
    return (sample_PS.var(axis=1) / sample_PS.count(axis=1)).where(spread, 0.0)


def _words(place: object) -> str:
    """A row's values of the key columns in words."""
    parts = place if isinstance(place, tuple) else (place,)
    return ", ".join(str(part) for part in parts if part != "" and not pd.isna(part))
