"""The headline: six estimators in every game and pool set, as rows of tables and in sentences.

Everything is made of `evaluation.csv` and `exploitability.csv` of a run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from sepo_lib import games
from sepo_lib.measure import headline, statistics
from sepo_lib.measure.statistics import Interval
from sepo_lib.report import findings, found
from sepo_lib.report.found import Change, by_terms, changes
from sepo_lib.run import provenance
from sepo_lib.run.templates import render

Rows = list[dict[str, str]]
#: Column of the tables -> its name in a table of the documents.
MEASURES = {**findings.TERMS, "nra": "NRA", "nashconv": "NashConv"}


def by_seed(run: str) -> pd.DataFrame:
    """`headline.rows` of a run. Raises as `findings.read` does."""
    return headline.rows(*(findings.read(run, name) for name in ("evaluation", "exploitability")))


def safety(rows: pd.DataFrame, evaluation: pd.DataFrame) -> Rows:
    """Safety after SFT and after training, by game and pool set (rows) and estimator (columns).

    `rows` are those of `by_seed`; SFT is read from `evaluation`. A dash stands for what was not trained or
    measured.
    """
    start = evaluation[evaluation["stage"] == "sft"]
    return [
        {"game": game, "pools": pools}
        | {"SFT": _cell(start[(start["game"] == game) & (start["pools"] == pools)], "safety")}
        | {name: _cell(here[here["estimator"] == name], "safety") for name in headline.ESTIMATORS}
        for (game, pools), here in rows.groupby(["game", "pools"], sort=False)
    ]


def parse_rates(rows: pd.DataFrame) -> str | None:
    """A sentence on the mean parse rate of the trained models and the lowest of a seed; None if unknown."""
    if "parse_rate" not in rows or rows["parse_rate"].isna().all():
        return None
    least = rows.loc[rows["parse_rate"].idxmin()]
    return (
        f"The trained models name an action in {rows['parse_rate'].mean():.1%} of their answers. The lowest "
        f"share of one seed is {least['parse_rate']:.1%} (`{least['estimator']}`, "
        f"{findings.title(least['game'])}, {least['pools']} pools)."
    )


def measures(rows: pd.DataFrame) -> Rows:
    """Safety, the terms of J, NRA and NashConv of every estimator, as means over seeds."""
    return [
        {"game": game, "pools": pools, "estimator": name, "safety": _cell(own, "safety")}
        | {label: _mean(own, column) for column, label in MEASURES.items()}
        | ({"parse rate": f"{own['parse_rate'].mean():.0%}"} if "parse_rate" in own else {})
        for (game, pools), here in rows.groupby(["game", "pools"], sort=False)
        for name in headline.ESTIMATORS
        if len(own := here[here["estimator"] == name])
    ]


def negotiations(rows: pd.DataFrame) -> Rows:
    """e and the share of rounds without an agreement of every estimator, in the negotiations.

    An exploiter earns nothing in such a round, so a low e can be the result of not trading.
    """
    names = {"exploiter_externality": "no agreement, exploiters", "train_externality": "no agreement, train"}
    return [
        {"game": game, "estimator": name, "e": _cell(own, "exploit")}
        | {label: _cell(own, column) for column, label in names.items()}
        for game in (game.name for game in games.having("negotiation"))
        for name in headline.ESTIMATORS
        if len(own := rows[(rows["game"] == game) & (rows["estimator"] == name)])
    ]


def contrasts(rows: pd.DataFrame) -> Rows:
    """Safety of each estimator minus that of `reward_only`, with p-values (`headline.table`).

    A difference that is equal in all seeds (`constant`) is left out: it has no p-value.
    """
    table = headline.table(rows, ["safety"]).dropna(subset="p")
    ends = ("difference", "difference_low", "difference_high")
    return [
        {"game": row["game"], "pools": row["pools"], "estimator": row["estimator"], "seeds": row["pairs"]}
        | {f"minus {headline.REFERENCE}": statistics.text(Interval(*(row[end] for end in ends)))}
        | {"p": f"{row['p']:.2g}", "p, Holm": f"{row['p_holm']:.2g}"}
        | {"excludes 0": _yes(row["p"] < 0.05), "after Holm": _yes(row["p_holm"] < 0.05)}
        for row in table.to_dict("records")
    ]


def text(run: str) -> str:
    """The headline of a run as Markdown. Raises FileNotFoundError for a missing table."""
    rows = by_seed(run)
    return render(
        "report/templates/headline.md.j2",
        run=run,
        older=provenance.older(run),
        power=power(rows),
        safety=safety(rows, findings.read(run, "evaluation")),
        contrasts=(every := contrasts(rows)),
        measures=measures(rows),
        negotiations=negotiations(rows),
        in_short=" ".join(in_short(seen := effects_of(run), every)),
        effects=effect_rows(seen),
        caption=EFFECTS.format(run=run),
    )


@dataclass(frozen=True)
class Effects:
    """Differences of safety after training by game and pool set, paired by seed.

    `penalty`: `unbiased` minus `reward_only`. `switches`: `reward_only` minus the same arm with the switches
    of `published`. `horizon`: `reward_only` minus the same arm with the immediate payoff. `authors`:
    `unbiased` minus `authors_current`. `parts`: `penalty` by the four terms of J (`found.by_terms`). `shift`:
    `unbiased` minus `reward_only` in the payoff against the shift pool.
    """

    penalty: Sequence[Change]
    switches: Sequence[Change]
    horizon: Sequence[Change]
    authors: Sequence[Change] = ()
    parts: Sequence[tuple[Change, dict[str, str]]] = ()
    shift: Sequence[Change] = ()

    @property
    def by_term(self) -> list[str]:
        """`parts` as texts."""
        return [found.origin(*one) for one in self.parts]

    @property
    def work(self) -> dict[str, list[str]]:
        """What the penalty and the horizon do, in words -> the places in which they do it.

        Where the horizon was not changed alone, all switches stand in its place. Changes of one seed are left
        out, because they have no interval that could decide.
        """
        penalty, switches, horizon = (
            [one for one in found if one.seeds > 1] for found in (self.penalty, self.switches, self.horizon)
        )
        others = {one.name: _does("the other switches", one.direction) for one in switches}
        others |= {one.name: _does("the horizon", one.direction) for one in horizon}
        places: dict[str, list[str]] = {}
        for one in penalty:
            if one.name in others:
                what = f"{others[one.name]} and {_does('charging the penalty', one.direction)}"
                places.setdefault(what, []).append(one.name)
        return places


#: The caption of `negotiations`.
NEGOTIATIONS = (
    "e is in points per round; the other columns are shares of rounds, against exploiters and against train "
    "opponents."
)


def effects(evaluation: pd.DataFrame) -> Effects:
    """The effects in an `evaluation.csv`; places that lack one of two arms are left out."""
    without = {"stage": "sepo", "preset": "unbiased", "arm": "reward_only"}
    pairs = (
        (without | {"arm": "credited"}, without),
        (without, without | {"preset": "published"}),
        (without, without | {"preset": headline.IMMEDIATE}),
        (without | {"arm": "credited"}, without | {"arm": "credited", "preset": "authors_current"}),
    )
    found = (changes(evaluation, "safety", *pair, ["game", "pools"]) for pair in pairs)
    several = ([one for one in changed if one.seeds] for changed in found)
    shift = (
        changes(evaluation, "shift_payoff", *pairs[0], ["game", "pools"])
        if "shift_payoff" in evaluation
        else ()
    )
    return Effects(*several, parts=by_terms(evaluation, *pairs[0], ["game", "pools"]), shift=shift)


def effects_of(run: str) -> Effects:
    """The `effects` in a run; none without its table."""
    return effects(findings.read_if_there(run, "evaluation"))


#: The caption of `effect_rows`.
EFFECTS = (
    "What raises J in `{run}`? *Penalty*: `unbiased` minus `reward_only`, also by the four terms of J "
    "(payoff u, exploiters e, collusion c, externality x; a positive number makes J larger). *Other "
    "switches*: `reward_only` with the horizon, scale and weights of `unbiased`, minus `reward_only` with "
    "those of `published`. *Horizon*: `reward_only` minus the same with the immediate payoff. *Authors' "
    "code*: `unbiased` minus `authors_current`. Intervals are 95% t intervals over seeds, paired, and not "
    "corrected for their number."
)


def effect_rows(seen: Effects) -> Rows:
    """The effects by game and pool set, the paper's pools first; those of the penalty also by term of J.

    Empty for a run without these arms, or of one seed.
    """
    if not any(one.seeds > 1 for one in seen.penalty):
        return []
    terms = {one.name: {f"by {term}": part for term, part in parts.items()} for one, parts in seen.parts}
    others = {"other switches": seen.switches, "horizon": seen.horizon, "authors' code": seen.authors}
    sizes = {
        f"{label}{_by_seeds(several)}": {one.name: found.amount(one) for one in several}
        for label, several in others.items()
    }
    return [
        {**one.key, f"penalty{_by_seeds(seen.penalty)}": found.amount(one)}
        | terms.get(one.name, {})
        | {label: size.get(one.name, "–") for label, size in sizes.items() if size}
        for one in sorted(seen.penalty, key=lambda one: one.key["pools"] != "paper")
    ]


def in_short(seen: Effects, every: Rows = ()) -> list[str]:
    """In how many settings the penalty and the switches raise J, in sentences; empty where `effect_rows` is.

    `every`: the rows of `contrasts`, to say what remains after the correction over all of them.
    """
    penalty, switches, shift = (
        [one for one in several if one.seeds > 1] for several in (seen.penalty, seen.switches, seen.shift)
    )
    if not penalty:
        return []
    higher = found.tally(penalty, "higher", "lower", "settings")
    sentences = [
        "Compared with no penalty, a penalty that is charged to the episodes that cause it makes J "
        f"{higher}{_by_seeds(penalty)}. A setting is a game with a pool set.{_largest_part(seen)}"
    ]
    if switches:
        higher = found.tally(switches, "higher", "lower", "settings")
        sentences.append(
            "Without a penalty, the other switches of `unbiased` (horizon, scale, weights) make J "
            f"{higher}{_by_seeds(switches)}."
        )
    if shift:
        higher = found.tally(shift, "higher", "lower", "settings")
        sentences.append(
            "Against opponents that no training meets (the shift pool), the penalty makes the payoff "
            f"{higher}{_by_seeds(shift)}. No exploiters are held out of training."
        )
    if len(penalty) > 1:
        sentences.append(_after_correction(penalty, switches, every))
    return sentences


def _after_correction(penalty: Sequence[Change], switches: Sequence[Change], every: Rows) -> str:
    """How many effects still exclude zero after a correction for their number."""
    left = found.words(_corrected({"the penalty": penalty, "the switches": switches}))
    number = len(penalty) + len(switches)
    text = f"With Holm's correction for these {number} effects on J, {left} still exclude zero"
    if of_penalty := [row for row in every if row["estimator"] == "unbiased"]:
        remain = sum(row["after Holm"] == "yes" for row in of_penalty)
        text += f". With the correction for all {len(every)} differences between an estimator and "
        text += f"`{headline.REFERENCE}` in docs/ESTIMATORS.md, {remain} of the penalty do"
    return f"{text}."


def _corrected(kinds: Mapping[str, Sequence[Change]]) -> list[str]:
    """`5 of the penalty`: how many changes of each kind have p < 0.05 after Holm's correction over all.

    A change without a p-value (equal in all seeds) is no test.
    """
    tested = [(kind, one.p) for kind, several in kinds.items() for one in several if not pd.isna(one.p)]
    clear = statistics.holm([p for _, p in tested]) < 0.05 if tested else []
    kept = [kind for (kind, _), excludes in zip(tested, clear, strict=True) if excludes]
    return [f"{kept.count(kind)} of {kind}" for kind, several in kinds.items() if several]


def _largest_part(seen: Effects) -> str:
    """Which term of J makes the largest part of the gain by the penalty, and in how many settings."""
    gains = [parts for one, parts in seen.parts if one.seeds > 1 and one.direction == "up"]
    raised = [max(parts, key=lambda term: float(parts[term])) for parts in gains]
    terms = [term for term in _TERMS if term in raised]
    if not terms:
        return ""
    less = "" if terms == ["e"] else ", so a higher J need not mean a model that is less exploited"
    counted = [f"{_TERMS[term]} in {raised.count(term)}" for term in terms]
    counted[0] += " setting" if raised.count(terms[0]) == 1 else " settings"
    places = found.words(counted) if len(terms) > 1 else _TERMS[terms[0]]
    return f" The largest part of the gain comes from {places}{less}."


_TERMS = {
    "u": "u (payoff)",
    "e": "e (exploiters)",
    "c": "c (collusion; in Kuhn poker, folding)",
    "x": "x (externality)",
}


def _by_seeds(several: Sequence[Change]) -> str:
    """` (10 seeds)`, ` (5 to 10 seeds)`; empty without changes."""
    counts = sorted({one.seeds for one in several})
    ends = " to ".join(map(str, counts[:: max(len(counts) - 1, 1)]))
    return f" ({ends} seed{'' if ends == '1' else 's'})" if counts else ""


def power(rows: pd.DataFrame) -> str:
    """The difference that a paired test finds with so many seeds, in standard deviations over seeds."""
    seeds = rows["seed"].nunique()
    if seeds < 2:
        return "One seed has no interval over seeds, so no difference can be judged."
    return (
        f"With {seeds} seeds a paired test at level 5% finds a difference of "
        f"{statistics.detectable(seeds):.1f} standard deviations over seeds with probability 80%; a smaller "
        "one can be missed."
    )


def _cell(rows: pd.DataFrame, name: str) -> str:
    rows = rows.dropna(subset=name)
    return findings.over_seeds(rows, name, 2) if len(rows) else "–"


def _mean(rows: pd.DataFrame, name: str) -> str:
    return "–" if rows[name].isna().all() else f"{rows[name].mean() + 0.0:.2f}"


def _does(what: str, direction: str) -> str:
    """`the penalty raises J`, `the penalty has no clear effect`; a plural has no s."""
    several = what.endswith("s")
    verb = {"up": "raise", "down": "lower"}.get(direction)
    none = f"{'have' if several else 'has'} no clear effect"
    return f"{what} {verb}{'' if several else 's'} J" if verb else f"{what} {none}"


def _yes(whether: bool) -> str:
    return "yes" if whether else "no"
