"""The results of a run, as sentences and as rows of tables: read from its tables alone.

Intervals are at 95% over training seeds and of the kind that fits the quantity (`statistics.spread`).
Differences are paired by seed. A run of one seed has intervals of its evaluation noise instead, if its table
has them. A sentence whose table is missing is left out.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from sepo_lib import figures, games
from sepo_lib.config import paths
from sepo_lib.figures import NO_EFFECT
from sepo_lib.measure import statistics
from sepo_lib.measure.statistics import Interval, text
from sepo_lib.run import provenance, results
from sepo_lib.run.templates import render

ARM_KEYS = ["stage", "preset", "arm"]
TERMS = {"payoff": "u", "exploit": "e", "collusion": "c", "externality": "x"}  # column -> term of J
UNBIASED = {"stage": "sepo", "preset": "unbiased", "arm": "credited", "reported": True}


# --- sentences ------------------------------------------------------------------------------------------


def sentences(*profiles: str) -> list[str]:
    """Results of the runs beside the claims, as sentences whose directions and numbers come from the tables.

    A sentence is left out if its table or rows are missing. Of a table with several models, only the rows of
    the run's own model count. Raises ValueError as `provenance.own_rows` does.
    """
    profiles = tuple(dict.fromkeys(profiles))
    kuhn = [nashconv(profile) for profile in profiles]
    reason = nashconv_reason(profiles) if any(kuhn) else None
    found = [*kuhn, reason, *map(equilibrium, profiles), *map(breakdowns, profiles)]
    return [sentence for sentence in found if sentence]


def nashconv(profile: str) -> str | None:
    """The exploiter pool's advantage and NashConv in Kuhn poker, after SFT and after SEPO."""
    sft, sepo = (_rows(profile, "exploitability", **keys) for keys in ({"stage": "sft"}, UNBIASED))
    if sft.empty or sepo.empty:
        return None
    change = statistics.paired(*(rows.set_index("seed")["nashconv"] for rows in (sepo, sft)))
    before, after = (f"{rows['nashconv'].mean():.3f}" for rows in (sft, sepo))
    open_ = change.low <= 0 <= change.high and change.low < change.high
    verb = "changes" if open_ else "rises" if change.mean > 0 else "falls"
    strongest = " It is a mean over the exploiters; C1 reads the strongest of them."
    strongest = strongest if "worst_margin" in sepo else ""
    moves = f"stays at {after}" if before == after else f"{verb} from {before} to {after}"
    moves += f", a change of {text(change)}" + (" (the interval contains 0)" if open_ else "")
    return (
        f"In Kuhn poker on the paper pools (`{profile}`, {_seeds(sepo)}), the exploiter pool's "
        f"enumerated advantage is {sft['pool_advantage'].mean():.3f} chips per hand after SFT and "
        f"{sepo['pool_advantage'].mean():.3f} after SEPO (`unbiased`).{strongest} NashConv {moves}."
    )


def nashconv_reason(profiles: Sequence[str]) -> str | None:
    """Why a policy that no exploiter of the pool beats can be far from the equilibrium.

    Returns None if a run ends with at most half of the NashConv that every maximizer of J has, or if there
    is a maximizer of J that is an equilibrium.
    """
    optima = _rows(profiles[0], "kuhn_optimum", own=True)
    optima = optima.set_index("exploiter") if len(optima) else optima
    if not {"pool", "best_response"} <= set(optima.index):
        return None
    pool, response = optima.loc["pool"], optima.loc["best_response"]
    last = {profile: _rows(profile, "exploitability", **UNBIASED) for profile in profiles}
    ends = {profile: rows["nashconv"].mean() for profile, rows in last.items() if len(rows)}
    if not ends or pool["nashconv"] < 0.005 or min(ends.values()) <= pool["nashconv"] / 2:
        return None
    listed = " and ".join(f"{value:.2f} (`{profile}`)" for profile, value in ends.items())
    several = any(rows["seed"].nunique() > 1 for rows in last.values() if len(rows))
    mean = ", as a mean over seeds" if several else ""
    best = f"the maximum of J with the same weights has a NashConv of {abs(response['nashconv']):.2f}"
    return (
        "In Kuhn poker, maximizing J against a fixed exploiter pool does not lead to an equilibrium: every "
        f"strategy with the highest J has a NashConv of {pool['nashconv']:.2f} or more, though the pool wins "
        f"{abs(pool['exploit']):.2f} from it (by a linear program, `kuhn_optimum.csv`).{_dominated(pool)} "
        "Where the exploiter is a best response, "
        f"{best}. The models end at {listed}{mean}.{_without_penalty(profiles)}"
    )


def _dominated(optimum: pd.Series) -> str:
    """That every maximizer of J calls with the lowest card, if the table says so; older ones do not."""
    if not optimum.get("jack_calls", 0.0) > 0.005:
        return ""
    return (
        " As the second mover it calls a bet with the jack, the lowest card, with probability "
        f"{optimum['jack_calls']:.2f} or more. Such a call always loses, but a fold counts as collusion."
    )


def equilibrium(profile: str) -> str | None:
    """NashConv in Kuhn poker after training against a best response alone, by baseline and effort."""
    table = read_if_there(profile, "exploiters")
    table = table[table["exploiter"] == "best_response_only"] if len(table) else table
    rows = results.paired_exploiter(table)
    if rows.empty:
        return None
    ways = {"enumerated": "enumerated advantages", "group": "the advantages of played groups"}
    reached = " and ".join(
        f"{text(Interval(row.nashconv_mean, row.nashconv_low, row.nashconv_high))} with {ways[row.baseline]} "
        f"({_effort(row.step, row.answers)})"
        for row in rows.itertuples(False)
    )
    return (
        f"Trained against a best response alone (`{profile}`, {rows['seeds'].min()} seeds), the model ends "
        f"with a NashConv of {reached} in Kuhn poker; after SFT it was {rows['nashconv_sft'].mean():.3f}."
        f"{_at_equal_effort(table, rows, ways)}"
    )


def _effort(step: int, answers: float) -> str:
    return f"{step} steps" + ("" if pd.isna(answers) else f", {answers / 1e6:.2f} million answers")


def _at_equal_effort(table: pd.DataFrame, ends: pd.DataFrame, ways: Mapping[str, str]) -> str:
    """NashConv of the longest training when it had used about as many answers as the shortest in all.

    Empty if no checkpoint has that number of answers within a quarter.
    """
    if len(ends) < 2 or ends["answers"].isna().any():
        return ""
    short, long = (ends.loc[ends["answers"].agg(which)] for which in ("idxmin", "idxmax"))
    own = table[table["baseline"] == long["baseline"]]
    answers = own.groupby("step")["answers"].mean()
    step = (answers - short["answers"]).abs().idxmin()
    if step == long["step"] or abs(answers[step] / short["answers"] - 1) > 0.25:
        return ""
    at = own[own["step"] == step].set_index("seed")["nashconv"]
    last = table[(table["baseline"] == short["baseline"]) & (table["step"] == short["step"])]
    then = statistics.interval(at, statistics.bounds("nashconv"))
    change = statistics.paired(at, last.set_index("seed")["nashconv"])
    return (
        f" The training with {ways[long['baseline']]} is longer. After about as many answers as the other "
        f"({_effort(step, answers[step])}), its NashConv was {text(then)}, a difference of {text(change)}."
    )


def breakdowns(profile: str) -> str | None:
    """How often negotiations with exploiters break down, and e.

    Only if e fell in every negotiation does the sentence name the breakdowns as a possible reason.
    """
    shares, overs = [], set()
    for game in games.having("negotiation"):
        sft, sepo = (
            _rows(profile, "evaluation", game=game.name, **keys) for keys in ({"stage": "sft"}, UNBIASED)
        )
        if len(sft) and len(sepo) and "exploiter_externality" in sft and "exploit" in sft:
            after, before = (rows["exploiter_externality"].mean() for rows in (sepo, sft))
            shares.append((game.short_title, after, before, sepo["exploit"].mean(), sft["exploit"].mean()))
            overs.add(_over(sepo))
    if not shares or any(pd.isna(share[1]) or pd.isna(share[2]) for share in shares):
        return None
    listed = " and ".join(
        f"{after:.1%} of the rounds of {name} (after SFT {before:.1%}; e is {e:.2f}, after SFT {e_sft:.2f})"
        for name, after, before, e, e_sft in shares
    )
    over = overs.pop() if len(overs) == 1 else "means over the seeds of each game"
    reason = ""
    if all(after > 0.5 for _, after, *_ in shares):
        reason = " A round without an agreement gives the exploiter nothing"
        safer = all(e < e_sft for *_, e, e_sft in shares)
        reason += ", so a part of the fall of e can come from not trading." if safer else "."
    return (
        f"Against the exploiters, the SEPO model (`unbiased`, `{profile}`, {over}) reaches no agreement in "
        f"{listed}.{reason}"
    )


# --- rows of tables -------------------------------------------------------------------------------------


def outcomes(profile: str) -> str:
    """All results of the trained arms of a profile, as Markdown; a table without rows is left out.

    Raises FileNotFoundError for a missing table.
    """
    ablation = read(profile, "ablation")
    return render(
        "report/templates/outcomes.md.j2",
        profile=profile,
        seeds=sorted(read(profile, "evaluation")["seed"].unique()),
        older=provenance.older(profile),
        arms=arms(ablation),
        penalty_gradients=penalty_gradients(ablation),
        switches=switches(read(profile, "switches")),
        nashconvs=nashconvs(read(profile, "exploitability")),
        exploiters=exploiters(read(profile, "exploiters")),
        reaching=reaching(read(profile, "exploiters")),
        frontier=frontier(read(profile, "sweep")),
        replications=replications(read_if_there(profile, "replication")),
    )


def read(profile: str, name: str) -> pd.DataFrame:
    """A table of a run, cut to the run's model. Raises as `paths.read_table` and `provenance.own_rows` do."""
    return provenance.own_rows(profile, paths.read_table(profile, name))


def read_if_there(profile: str, name: str) -> pd.DataFrame:
    """As `read`; no rows if the run lacks the table."""
    return read(profile, name) if paths.table(profile, name).exists() else pd.DataFrame()


def highest(*profiles: str) -> dict[tuple[str, str], str]:
    """(game, pool set) -> the highest J with the evaluation weights, by headroom.csv of several runs.

    No model is involved, so that the runs agree, but an older one may know fewer strategies. Runs without the
    table, or with evaluation weights of their own, are left out. Where only some strategies are known, the
    value is a lower bound, followed by "or more"; if they were played, it is also rounded by "about".
    """
    tables = [read_if_there(profile, "headroom") for profile in profiles]
    tables = [table for table in tables if len(table) and "evaluation_weights" not in table]
    found = {}
    rows = pd.concat(tables).query("weights == 'evaluation'") if tables else None
    for place, own in rows.groupby(["game", "pools"]) if tables else ():
        families, most = set(own["family"]), f"{own['best_J'].max():.3f}"
        about = "about " if families == {"scripted"} else ""
        found[place] = most if "every" in families else f"{about}{most} or more"
    return found


def measures(evaluation: pd.DataFrame) -> list[dict]:
    """J's terms, parse rate and safety by game and stage, on the paper's pools."""
    rows = in_order(figures.configured(evaluation[evaluation["pools"] == "paper"]))
    return [
        {"game": game, "stage": figures.CONFIGURATIONS[key].label}
        | {term: f"{own[name].mean():.3f}" for name, term in TERMS.items()}
        | {"parse rate": f"{own['parse_rate'].mean():.0%}", "safety": over_seeds(own, "safety")}
        for (game, key), own in statistics.grouped(rows, ["game", "configuration"])
    ]


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `figures.configured` by game, and in the order of `figures.CONFIGURATIONS`."""
    order = rows["configuration"].map(list(figures.CONFIGURATIONS).index)
    return rows.assign(order=order).sort_values(["game", "order"], kind="stable")


def arms(ablation: pd.DataFrame) -> list[dict]:
    """Safety of `credited` minus that of every other arm."""
    rows: dict[tuple, dict] = {}
    for row in results.paired_arms(ablation).rename(columns={"credited minus": "other"}).itertuples(False):
        key = (row.game, row.pools, row.preset)
        cells = rows.setdefault(key, dict(zip(("game", "pools", "preset"), key, strict=True)))
        cells["seeds"] = row.seeds
        cells[f"minus {row.other}"] = _difference(row)
    return list(rows.values())


def penalty_gradients(ablation: pd.DataFrame) -> list[dict]:
    """The penalty's gradient in the language model by arm: norm and direction of its mean, and its noise."""
    if ablation.empty:
        return []
    table, rows = ablation[ablation["kind"] == "gradient"], []
    for (game, pools, arm), own in statistics.grouped(table, ["game", "pools", "arm"]):
        credited = table.query("game == @game and pools == @pools and arm == 'credited'").set_index("seed")
        length = own.set_index("seed")["mean_gradient_norm"] / credited["mean_gradient_norm"]
        cells = {"game": game, "pools": pools, "arm": arm, "batches": f"{own['batches'].max():.0f}"}
        for name, values, ends in (
            ("length", length, statistics.NON_NEGATIVE),
            ("cosine with credited", own["mean_cosine_to_credited"], (-1.0, 1.0)),
            ("signal to noise", own["signal_to_noise"], None),
        ):
            known = values.dropna()
            cells[name] = text(statistics.interval(known, ends)) if len(known) else "–"
        rows.append(cells)
    return rows


def noisy_references(ablation: pd.DataFrame) -> list[str]:
    """The games in which the penalty's gradient under `credited` cannot be told from noise.

    There the interval of its signal-to-noise ratio over seeds reaches 0, or there is no interval.
    """
    if ablation.empty:
        return []
    table = ablation.query("kind == 'gradient' and arm == 'credited'").dropna(subset="signal_to_noise")
    noisy = (
        game
        for (game, _), own in statistics.grouped(table, ["game", "pools"])
        if not statistics.interval(own["signal_to_noise"]).low > 0
    )
    return list(dict.fromkeys(noisy))


def switches(table: pd.DataFrame) -> list[dict]:
    """Safety of `unbiased` and of `published` with one switch changed, and each minus that of `published`.

    A switch that cannot act has words instead of numbers.
    """
    idle = figures.idle_recipes(table)
    rows = [
        {"recipe": row.preset, "seeds": row.seeds, "safety": f"{row.safety:.3f}"}
        | {"minus published": _difference(row)}
        for row in results.paired_switches(table).itertuples(False)
        if row.preset not in idle
    ]
    unmoved = [
        {"recipe": recipe, "seeds": "", "safety": NO_EFFECT, "minus published": "–"} for recipe in idle
    ]
    return rows + unmoved if rows else []


def nashconvs(table: pd.DataFrame) -> list[dict]:
    """The exploiter pool's advantage and NashConv at the last step of every stage and arm (Kuhn poker)."""
    if table.empty:
        return []
    named, keys = table[table["reported"]].fillna(dict.fromkeys(ARM_KEYS, "")), ["pools", *ARM_KEYS]
    return [
        dict(zip(keys, key, strict=True))
        | {"seeds": own["seed"].nunique(), "pool advantage": over_seeds(own, "pool_advantage")}
        | {"NashConv": over_seeds(own, "nashconv"), "action probabilities": _method(own)}
        | {"NashConv, constrained": over_seeds(own, "nashconv_constrained")}
        for key, own in statistics.grouped(named, keys)
    ]


def exploiters(table: pd.DataFrame) -> list[dict]:
    """NashConv after training against each exploiter with each baseline, and its change since SFT."""
    return [
        {
            "exploiter": row.exploiter,
            "baseline": row.baseline,
            "seeds": row.seeds,
            "steps": row.step,
            "answers": "–" if pd.isna(row.answers) else f"{row.answers:,.0f}",
            "NashConv after SFT": f"{row.nashconv_sft:.3f}",
            "after training": text(Interval(row.nashconv_mean, row.nashconv_low, row.nashconv_high)),
            "change": text(Interval(row.change_mean, row.change_low, row.change_high)),
        }
        for row in results.paired_exploiter(table).itertuples(False)
    ]


def reaching(table: pd.DataFrame) -> list[dict]:
    """What training takes until NashConv less its bias is at most 0.05 and 0.02, by kind of training."""
    return [
        {
            "exploiter": row.exploiter,
            "baseline": row.baseline,
            "NashConv at most": f"{row.limit:g}",
            "seeds that reach it": f"{row.reached} of {row.seeds}",
            "step": f"{row.step:.0f}" if row.reached else "–",
            "answers": f"{row.answers:,.0f}" if row.reached else "–",
            "seconds": f"{row.seconds:.0f}" if row.reached else "–",
        }
        for row in results.reaching(table).itertuples(False)
    ]


def frontier(table: pd.DataFrame) -> list[dict]:
    """Payoff and exploit advantage of policies trained with multiples of the game's own exploit weight."""
    if table.empty:
        return []
    rows = table.sort_values(["game", "multiple"])
    return [
        {"game": game, "exploit weight": f"{weight:g} ({multiple:g} times)", "seeds": own["seed"].nunique()}
        | {name: over_seeds(own, name) for name in ("payoff", "exploit")}
        for (game, multiple, weight), own in statistics.grouped(rows, ["game", "multiple", "exploit_weight"])
    ]


#: The caption of the table `replications`.
REPLICATIONS = (
    "Share: part of the other strategies' demonstrations that is replaced; 0 is the SFT model of notebook "
    "02. Payoff spread: standard deviation of a round's payoff in a train group. Equal groups: share of "
    "(group, round) cells in which all rollouts have the same return. Both are measured in the first "
    "training batch."
)


def replications(table: pd.DataFrame) -> list[dict]:
    """J after SFT and after each recipe of SEPO, and the change, by the share of replaced demonstrations and
    the top-p of the sampling.

    Spread and equal groups are those of the first training batch, which the SFT model has played.
    """
    rows = []
    for (share, top_p), own in table.groupby(["share", "top_p"], sort=False) if len(table) else ():
        sft, sepo = own[own["stage"] == "sft"], own[own["stage"] == "sepo"]
        for (recipe,), trained in statistics.grouped(sepo, ["preset"]):
            after, before = (at.set_index("seed")["safety"] for at in (trained, sft))
            rows.append(
                {"share": f"{share:g}", "top-p": f"{top_p:g}", "u after SFT": over_seeds(sft, "payoff")}
                | {"J after SFT": over_seeds(sft, "safety"), "recipe": recipe, "seeds": len(trained)}
                | {"J after SEPO": over_seeds(trained, "safety")}
                | {"change of J": text(statistics.paired(after, before))}
                | {"payoff spread": over_seeds(trained, "payoff_spread", 2)}
                | {"equal groups": f"{trained['zero_variance_groups'].mean():.0%}"}
            )
    return rows


def optima(table: pd.DataFrame) -> list[dict]:
    """The strategy that maximizes J in Kuhn poker with the run's own weights, against each exploiter."""
    own = table[table["own"]]
    names = {"payoff": "u", "exploit": "e", "collusion": "c", "nashconv": "lowest NashConv"}
    return [
        {"exploiter": row["exploiter"], "highest J": f"{row['objective'] + 0.0:.3f}"}
        | {
            title: f"{abs(row[name]) if abs(row[name]) < 5e-4 else row[name]:.3f}"
            for name, title in names.items()
        }
        for row in own.to_dict("records")
    ]


def crossings(table: pd.DataFrame, most: float = 4.0) -> list[dict]:
    """The weights from 0 to `most` at which two stages have equal mean safety (`sensitivity.crossings`)."""
    if table.empty:
        return []
    stages = {"base": "base", "sft": "SFT", "sepo": "SEPO"}
    within = table[table["crossing"].between(0.0, most)]
    return [
        {"game": game, "weight": f"l{TERMS[row.weight]}", "own value": f"{row.own:g}"}
        | {"stages": f"{stages[row.first]} and {stages[row.second]}"}
        | {"equal safety at": text(Interval(row.crossing, row.ci_low, row.ci_high), 2)}
        for game in figures.ordered_games(within)
        for row in within[within["game"] == game].itertuples()
    ]


def over_seeds(rows: pd.DataFrame, name: str, digits: int = 3) -> str:
    """`text` of the interval of a column over seeds, one row each (`statistics.spread`)."""
    found = statistics.spread(rows, name)
    equal = len(rows) > 1 and pd.isna(found.low)
    return f"{text(found, digits)} (no spread)" if equal else text(found, digits)


def title(game: str) -> str:
    """The short title of a game; its name if the game is not registered."""
    return games.GAMES[game].short_title if game in games.GAMES else game


def _without_penalty(profiles: Sequence[str]) -> str:
    """NashConv after training without a penalty, and how far the penalty changes it; seeds of both arms."""
    ends = []
    for profile in profiles:
        without = _rows(profile, "exploitability", **UNBIASED | {"arm": "reward_only"})
        with_ = _rows(profile, "exploitability", **UNBIASED)
        if len(without) and len(with_) and set(without["seed"]) & set(with_["seed"]):
            without = without[without["seed"].isin(with_["seed"])]
            change = statistics.paired(*(rows.set_index("seed")["nashconv"] for rows in (with_, without)))
            ends.append(
                f"{without['nashconv'].mean():.2f} (`{profile}`; the penalty changes it by {text(change, 2)})"
            )
    return f" Without any penalty (`reward_only`) it is {' and '.join(ends)}." if ends else ""


def _rows(profile: str, name: str, **chosen: object) -> pd.DataFrame:
    """The rows of a table on the paper's pools with these values; no rows if a table or column is missing."""
    table = read_if_there(profile, name)
    chosen = {"pools": "paper", **chosen}
    if table.empty or not set(chosen) <= set(table.columns):
        return pd.DataFrame()
    return table[(table[list(chosen)] == pd.Series(chosen)).all(axis=1)]


def _seeds(rows: pd.DataFrame) -> str:
    number = rows["seed"].nunique()
    return f"{number} seeds, means over seeds" if number > 1 else f"{number} seed"


def _over(rows: pd.DataFrame) -> str:
    return "means over seeds" if rows["seed"].nunique() > 1 else "one seed"


def _method(rows: pd.DataFrame) -> str:
    """How the action probabilities were obtained; if enumerated, also the NashConv of sampled ones."""
    if "nashconv_method" not in rows:
        return "sampled"
    known = rows[rows["nashconv_method"] == "enumerated"]
    parts = [f"enumerated (sampled: {known['nashconv_sampled'].mean():.3f})"] if len(known) else []
    return "; ".join([*parts, *(["sampled"] if len(known) < len(rows) else [])])


def _difference(row) -> str:
    return text(Interval(row.mean, row.low, row.high))
