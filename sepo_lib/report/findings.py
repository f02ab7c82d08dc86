"""What a run shows, in sentences and as Markdown tables: read from its tables alone.

Intervals are at 95% over training seeds and of the kind that fits the quantity (`statistics.spread`);
differences are paired by seed. A run of a single seed has the luck of its play instead, where the table knows
it. A sentence whose table is missing is left out.
"""

from collections.abc import Callable, Sequence

import pandas as pd
from scipy import stats

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.figures import NO_EFFECT
from sepo_lib.measure import statistics
from sepo_lib.measure.statistics import Interval
from sepo_lib.report import claims
from sepo_lib.run import provenance, results

ARM_KEYS = ["stage", "preset", "arm"]


def text(found: Interval, digits: int = 3) -> str:
    """`mean [low, high]`, or the mean alone where there is no interval or one without a width."""
    mean, low, high = (f"{value + 0.0:.{digits}f}" for value in found)
    if pd.isna(found.low):
        return mean
    wide = found.high - found.low > statistics.NO_SPREAD
    return f"{mean} [{low}, {high}]" if wide else f"{mean} (no spread)"


def over_seeds(rows: pd.DataFrame, name: str) -> str:
    """`text` of the interval that fits a column of rows that are seeds (`statistics.spread`)."""
    found = statistics.spread(rows, name)
    return f"{text(found)} (no spread)" if len(rows) > 1 and pd.isna(found.low) else text(found)


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
            "safety": over_seeds(mine, "safety"),
        }
        for (game, key), mine in statistics.grouped(rows, ["game", "configuration"])
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
    for (game, pools, arm), mine in statistics.grouped(table, ["game", "pools", "arm"]) if len(table) else ():
        credited = table.query("game == @game and pools == @pools and arm == 'credited'").set_index("seed")
        length = mine.set_index("seed")["mean_gradient_norm"] / credited["mean_gradient_norm"]
        cells = {"game": game, "pools": pools, "arm": arm, "batches": f"{mine['batches'].max():.0f}"}
        for name, values, ends in (
            ("length", length, statistics.NON_NEGATIVE),
            ("cosine with credited", mine["mean_cosine_to_credited"], (-1.0, 1.0)),
            ("signal to noise", mine["signal_to_noise"], None),
        ):
            found = statistics.interval(values.dropna(), ends) if values.notna().any() else statistics.UNKNOWN
            cells[name] = text(found) if values.notna().any() else "–"
        rows.append(cells)
    return rows


def switches(table: pd.DataFrame) -> list[dict]:
    """Safety of each recipe between the published and the unbiased one, and minus that of the published; of
    a switch that cannot act, words in the place of numbers."""
    idle = figures.idle_recipes(table)
    rows = [
        {"recipe": row.preset, "safety": f"{row.safety:.3f}", "minus published": _difference(row)}
        for row in results.paired_switches(table).itertuples(False)
        if row.preset not in idle
    ]
    unmoved = [{"recipe": recipe, "safety": NO_EFFECT, "minus published": "–"} for recipe in idle]
    return rows + unmoved if rows else []


def nashconvs(table: pd.DataFrame) -> list[dict]:
    """Kuhn poker at the last step of every stage and arm: the pool's advantage and NashConv."""
    table = table[table["reported"]] if len(table) else table
    rows = []
    for (pools, *keys), mine in (
        statistics.grouped(table.fillna(dict.fromkeys(ARM_KEYS, "")), ["pools", *ARM_KEYS])
        if len(table)
        else ()
    ):
        cells = {"pools": pools, **dict(zip(ARM_KEYS, keys, strict=True))}
        cells |= {"pool advantage": over_seeds(mine, "pool_advantage")}
        cells |= {"NashConv": over_seeds(mine, "nashconv"), "read": _reading(mine)}
        rows.append(cells | {"NashConv, constrained": over_seeds(mine, "nashconv_constrained")})
    return rows


def _reading(rows: pd.DataFrame) -> str:
    """How the action probabilities behind NashConv were read, and where enumerated what sampling gives."""
    if "nashconv_method" not in rows:
        return "sampled"
    known = rows[rows["nashconv_method"] == "enumerated"]
    parts = [f"enumerated (sampled: {known['nashconv_sampled'].mean():.3f})"] if len(known) else []
    return "; ".join([*parts, *(["sampled"] if len(known) < len(rows) else [])])


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
        | {name: over_seeds(mine, name) for name in ("payoff", "exploit")}
        for (game, multiple, weight), mine in (
            statistics.grouped(
                table.sort_values(["game", "multiple"]), ["game", "multiple", "exploit_weight"]
            )
            if len(table)
            else ()
        )
    ]


# --- what the kit found, in sentences -------------------------------------------------------------------


def sentences(*profiles: str) -> list[str]:
    """What the runs of `profiles` show beside the claims, in plain sentences; directions and numbers are read
    from the tables, and a sentence whose table or rows are missing is left out. Of tables with several models
    the rows of the run's own count; raises ValueError as `provenance.own_rows` does."""
    profiles = tuple(dict.fromkeys(profiles))
    kuhn = [nashconv(profile) for profile in profiles]
    others = [one(profile) for one in (penalty, breakdowns) for profile in profiles]
    found = [*kuhn, nashconv_reason(profiles) if any(kuhn) else None, *others]
    return [sentence for sentence in found if sentence]


def read(profile: str, name: str) -> pd.DataFrame:
    """A table of a run, cut to the run's model. Raises as `paths.read_table` and `provenance.own_rows` do."""
    return provenance.own_rows(profile, figures.read_or_empty(profile, name))


def _rows(profile: str, name: str, **chosen: object) -> pd.DataFrame:
    """The rows of a table on the paper's pools with these values; none where one is missing."""
    table = read(profile, name) if paths.table(profile, name).exists() else pd.DataFrame()
    chosen = {"pools": "paper", **chosen}
    if table.empty or not set(chosen) <= set(table.columns):
        return pd.DataFrame()
    return table[(table[list(chosen)] == pd.Series(chosen)).all(axis=1)]


UNBIASED = {"stage": "sepo", "preset": "unbiased", "arm": "credited", "reported": True}


def _seeds(rows: pd.DataFrame) -> str:
    return f"{rows['seed'].nunique()} seed" + ("s" if rows["seed"].nunique() > 1 else "")


def _game(name: str) -> str:
    return figures.title_of(name)


def nashconv(profile: str) -> str | None:
    """NashConv beside the pool's advantage in Kuhn poker, from SFT to SEPO."""
    sft, sepo = (_rows(profile, "exploitability", **keys) for keys in ({"stage": "sft"}, UNBIASED))
    if sft.empty or sepo.empty:
        return None
    change = statistics.paired(*(rows.set_index("seed")["nashconv"] for rows in (sepo, sft)))
    before, after = (f"{rows['nashconv'].mean():.3f}" for rows in (sft, sepo))
    open_ = change.low <= 0 <= change.high and change.low < change.high
    verb = "changes" if open_ else "rises" if change.mean > 0 else "falls"
    moves = f"stays at {after}" if before == after else f"{verb} from {before} to {after}"
    moves += f", a change of {text(change)}" + (" (the interval contains 0)" if open_ else "")
    return (
        f"In Kuhn poker (`{profile}`, {_seeds(sepo)}) the exploiter pool's advantage goes from "
        f"{sft['pool_advantage'].mean():.3f} to {sepo['pool_advantage'].mean():.3f} chips a hand between "
        f"SFT and SEPO (`unbiased`; means over seeds), while NashConv {moves}."
    )


def nashconv_reason(profiles: Sequence[str]) -> str | None:
    """Why a policy that the pool does not beat is far from the equilibrium: what J's maximisers are; None
    where a run ends at less than half of the NashConv of these."""
    optima = _rows(profiles[0], "kuhn_optimum", own=True)
    optima = optima.set_index("exploiter") if len(optima) else optima
    if not {"pool", "best_response"} <= set(optima.index):
        return None
    pool, response = optima.loc["pool"], optima.loc["best_response"]
    last = {profile: _rows(profile, "exploitability", **UNBIASED) for profile in profiles}
    ends = {profile: rows["nashconv"].mean() for profile, rows in last.items() if len(rows)}
    if not ends or min(ends.values()) <= pool["nashconv"] / 2:
        return None
    listed = " and ".join(f"{value:.2f} (`{profile}`)" for profile, value in ends.items())
    return (
        f"NashConv, mean over seeds, ends at {listed}. J with a fixed pool does not ask for an equilibrium: "
        f"every strategy with the highest J has a NashConv of {pool['nashconv']:.2f} or more, at an "
        f"advantage of {abs(pool['exploit']):.2f} for the pool (a linear program, `kuhn_optimum.csv`). With "
        "a best response as the exploiter the highest J has a NashConv of "
        f"{abs(response['nashconv']):.2f}.{_without_penalty(profiles)}"
    )


def _without_penalty(profiles: Sequence[str]) -> str:
    """Where NashConv ends in the arm that has no penalty."""
    arm = UNBIASED | {"arm": "reward_only"}
    last = {profile: _rows(profile, "exploitability", **arm) for profile in profiles}
    ends = [f"{rows['nashconv'].mean():.2f} (`{profile}`)" for profile, rows in last.items() if len(rows)]
    return f" Without any penalty (`reward_only`) it ends at {' and '.join(ends)}." if ends else ""


TERMS = {"payoff": "u", "exploit": "e", "collusion": "c", "externality": "x"}


def penalty(profile: str) -> str | None:
    """What the penalty adds to the same switches without one, on the paper's pools: in J and in its terms."""
    arms = _rows(profile, "ablation", kind="outcome")
    if arms.empty:
        return None
    by_seed = {
        key: rows.set_index("seed")
        for key, rows in arms.groupby(["game", "preset", "arm"], sort=False)
        if key[1:] in (("unbiased", "credited"), ("unbiased", "reward_only"), ("published", "reward_only"))
    }
    adds, switches = [], []
    for game in dict.fromkeys(arms["game"]):
        credited, without = (by_seed.get((game, "unbiased", arm)) for arm in ("credited", "reward_only"))
        if credited is None or without is None:
            continue
        found = statistics.paired(credited["safety"], without["safety"])
        terms = ", ".join(
            f"{term} {statistics.difference(credited[name], without[name]).mean():+.3f}"
            for name, term in TERMS.items()
            if name in arms
        )
        adds.append(f"{_game(game)} {text(found)} ({terms})" if terms else f"{_game(game)} {text(found)}")
        published = by_seed.get((game, "published", "reward_only"))
        if published is not None and found.low <= 0 <= found.high:
            turned = statistics.paired(without["safety"], published["safety"])
            switches.append(f"{_game(game)} {text(turned)}")
    if not adds:
        return None
    sentence = (
        f"What the penalty adds on the paper's pools (`{profile}`, {_seeds(arms)}; J of `credited` minus "
        "that of `reward_only`, both with the unbiased switches; in brackets the mean change of J's terms): "
        f"{'; '.join(adds)}."
    )
    if switches:
        sentence += (
            " Where the interval contains 0, compare what the other switches add without any penalty "
            f"(`reward_only`, unbiased minus published): {'; '.join(switches)}."
        )
    return sentence


def breakdowns(profile: str) -> str | None:
    """How often the negotiations break down against exploiters, beside e."""
    shares = []
    for game in claims.NEGOTIATIONS:
        sft, sepo = (_rows(profile, "evaluation", game=game, **keys) for keys in ({"stage": "sft"}, UNBIASED))
        if len(sft) and len(sepo) and "exploiter_externality" in sft and "exploit" in sft:
            mine, before = (rows["exploiter_externality"].mean() for rows in (sepo, sft))
            shares.append((_game(game), mine, before, sepo["exploit"].mean(), sft["exploit"].mean()))
    if not shares or any(pd.isna(share[1]) or pd.isna(share[2]) for share in shares):
        return None
    listed = " and ".join(
        f"{mine:.1%} of the rounds of {game} (SFT {before:.1%}; e {e:.2f} after {e_before:.2f})"
        for game, mine, before, e, e_before in shares
    )
    ends = (
        '. A round without a deal gives the exploiter nothing: "safe" there is largely not trading.'
        if all(share[1] > 0.5 for share in shares)
        else "."
    )
    return (
        f"Against the exploiters SEPO (`unbiased`, `{profile}`) breaks down, by the means over seeds, in "
        f"{listed}{ends}"
    )


def contrasts(profile: str) -> list[dict]:
    """Safety of `credited` minus every other arm, with p-values of the paired t test and Holm's adjustment.

    `constant` is left out where it ends as `reward_only` in every seed: that is one run, not two.
    """
    outcome = read(profile, "ablation")
    outcome = outcome[outcome["kind"] == "outcome"] if len(outcome) else outcome
    rows = []
    for key, group in outcome.groupby(["game", "pools", "preset"], sort=False) if len(outcome) else ():
        arms = {arm: mine.set_index("seed")["safety"] for arm, mine in group.groupby("arm", sort=False)}
        if "constant" in arms and arms["constant"].equals(arms.get("reward_only")):
            del arms["constant"]
        for arm in arms:
            if arm != "credited" and "credited" in arms and len(arms[arm]) > 1:
                gain_S = statistics.difference(arms["credited"], arms[arm])
                p = float(stats.ttest_1samp(gain_S, 0.0).pvalue)
                rows.append((*key, arm, statistics.interval(gain_S), p))
    adjusted = statistics.holm([row[-1] for row in rows])
    return [
        {"game": game, "pools": pools, "preset": preset, "credited minus": arm, "safety": text(found)}
        | {"p": f"{p:.2g}", "p, Holm": f"{holm:.2g}"}
        | {"excludes 0": "yes" if p < 0.05 else "no", "after Holm": "yes" if holm < 0.05 else "no"}
        for (game, pools, preset, arm, found, p), holm in zip(rows, adjusted, strict=True)
    ]


#: Table -> what its rows are, and the function that makes them.
SECTIONS: list[tuple[str, str, Callable[[pd.DataFrame], list[dict]]]] = [
    ("ablation", "Safety after training, `credited` minus each other arm under the same switches:", arms),
    (
        "ablation",
        "The penalty's gradient in the language model, at the SFT models: length of its mean over the "
        "batches relative to that of `credited`, cosine with that, and squared length of the expectation "
        "over the variance of a batch (an unbiased estimate, which noise can take below 0):",
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
    evaluation = read(profile, "evaluation")
    seeds = ", ".join(map(str, sorted(evaluation["seed"].unique())))
    source = f"From `data/results/{profile}/`, training seeds {seeds}; 95% intervals over seeds."
    lines = [" ".join(filter(None, (source, provenance.older(profile))))]
    for name, heading, rows_of in SECTIONS:
        rows = markdown(rows_of(read(profile, name)))
        if rows:
            lines += ["", heading, "", *rows]
    return "\n".join(lines)
