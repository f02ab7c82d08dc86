"""An audit of chat examples: what a model would learn from them, counted by game.

`table` counts: duplicates, answers that the parser refuses, reasons that contradict the visible state, how
often each action is demonstrated, and lengths. `summary` puts one game into one row.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

import pandas as pd

from sepo_lib import games
from sepo_lib.chat.chat_files import Example
from sepo_lib.measure import other_reasons
from sepo_lib.measure.other_prompts import game_of
from sepo_lib.measure.other_reasons import Verdict

#: The columns of `table`: a row says that `count` of `of` examples of a game have a property. `first` is the
#: place of the first one. Rows of lengths have the length as `count`, and no `of`.
COLUMNS = ["data_set", "game", "measure", "count", "of", "first"]
#: A game with more actions than this has no row for each of them.
MOST_ACTIONS = 9

ROWS, HELD_OUT = "examples", "held out from training"
PROMPTS, DUPLICATES = "distinct prompts", "exact duplicate of an earlier example"
OTHER_ANSWER = "prompt of an earlier example with another action"
READ, REFUSED = "state read from the prompt", "action refused by the parser"
CHECKED, CONTRADICTS = "reason with a claim that can be checked", "reason contradicts the visible state"
COMMONEST, ACTION = "the commonest action: ", "action: "
PROMPT_LENGTH, ANSWER_LENGTH = "characters of the prompt", "characters of the answer"


def table(name: str, examples: Iterable[Example]) -> pd.DataFrame:
    """The audit of one data set, called `name`, as a long table (COLUMNS); games in the order of the kit."""
    by_game: dict[str, list[Example]] = {}
    for example in examples:
        by_game.setdefault(game_of(example), []).append(example)
    order = [*games.GAMES, *sorted(set(by_game) - set(games.GAMES))]
    rows = [(name, game, *row) for game in order if game in by_game for row in _rows(game, by_game[game])]
    found = pd.DataFrame(rows, columns=COLUMNS)
    return found.astype({"count": "Int64", "of": "Int64"})


def summary(audit: pd.DataFrame) -> pd.DataFrame:
    """The main counts of `table`, one row per data set and game: shares in [0, 1], lengths in characters."""
    rows = []
    for (name, game), part in audit.groupby(["data_set", "game"], sort=False):
        cells = part.set_index("measure")
        row = {"data_set": name, "game": game, "examples": cells.loc[ROWS, "count"]}
        for column, measure in _SUMMARY.items():
            row[column] = _share(cells, measure)
        commonest = next((one for one in cells.index if one.startswith(COMMONEST)), None)
        row["commonest action"] = commonest.removeprefix(COMMONEST) if commonest else ""
        row["its share"] = _share(cells, commonest)
        for column, measure in (("prompt", PROMPT_LENGTH), ("answer", ANSWER_LENGTH)):
            row[column] = cells.loc[f"{measure}, median", "count"]
        rows.append(row)
    return pd.DataFrame(rows)


def claims(audit: pd.DataFrame) -> list[str]:
    """The measures of `table` that are contradictions of one kind."""
    kinds = {name for claims in other_reasons.CLAIMS.values() for name, *_ in claims}
    return [name for name in audit["measure"].unique() if name in {*kinds, other_reasons.OWN_WORDS}]


_SUMMARY = {
    "duplicates": DUPLICATES,
    "refused": REFUSED,
    "checked": CHECKED,
    "contradicting": CONTRADICTS,
}


def _share(cells: pd.DataFrame, measure: str | None) -> float:
    if measure not in cells.index or not cells.loc[measure, "of"]:
        return float("nan")
    return float(cells.loc[measure, "count"] / cells.loc[measure, "of"])


def _rows(game: str, examples: Sequence[Example]) -> list[tuple]:
    """(measure, count, of, first) of one game."""
    size = len(examples)
    rows = [(ROWS, size, size, examples[0].place)]
    rows.append(_counted(HELD_OUT, [one for one in examples if one.split != "train"], size))
    rows.append((PROMPTS, len({_key(one.prompt) for one in examples}), size, ""))
    rows.append(_counted(DUPLICATES, _repeated(examples), size))
    if game in other_reasons.CLAIMS:
        rows += _judged(game, examples)
    for measure, lengths in (
        (PROMPT_LENGTH, [sum(len(m["content"]) for m in one.prompt) for one in examples]),
        (ANSWER_LENGTH, [len(one.answer) for one in examples]),
    ):
        rows.append((f"{measure}, median", round(median(lengths)), None, ""))
        rows.append((f"{measure}, largest", max(lengths), None, examples[lengths.index(max(lengths))].place))
    return rows


def _judged(game: str, examples: Sequence[Example]) -> list[tuple]:
    """The rows about states, actions and reasons."""
    pairs = [(one, other_reasons.judge(game, one.prompt[-1]["content"], one.answer)) for one in examples]
    read = [(one, verdict) for one, verdict in pairs if verdict.read]
    acted = [(one, verdict) for one, verdict in read if verdict.action is not None]
    checked = [(one, verdict) for one, verdict in acted if verdict.claims]
    rows = [_counted(READ, [one for one, _ in read], len(examples))]
    rows.append(_counted(REFUSED, [one for one, verdict in read if verdict.action is None], len(read)))
    seen: dict[tuple, set] = {}
    other = []
    for one, verdict in acted:
        actions = seen.setdefault(_key(one.prompt), set())
        other += [one] if actions - {verdict.action} else []
        actions.add(verdict.action)
    rows.append(_counted(OTHER_ANSWER, other, len(acted)))
    rows.append(_counted(CHECKED, [one for one, _ in checked], len(acted)))
    rows.append(_counted(CONTRADICTS, [one for one, v in checked if v.contradicts], len(checked)))
    for claim in dict.fromkeys(name for _, verdict in checked for name in verdict.claims):
        made = [(one, verdict.claims[claim]) for one, verdict in checked if claim in verdict.claims]
        rows.append(_counted(claim, [one for one, found in made if found], len(made)))
    return rows + _balance(game, acted)


def _balance(game: str, acted: Sequence[tuple[Example, Verdict]]) -> list[tuple]:
    """How often each action is demonstrated; of many actions only the commonest."""
    spell = games.get(game).spell
    counts = Counter(spell(verdict.action) for _, verdict in acted)
    rows = [(f"{COMMONEST}{action}", count, len(acted), "") for action, count in counts.most_common(1)]
    if len(counts) <= MOST_ACTIONS:
        rows += [(f"{ACTION}{action}", count, len(acted), "") for action, count in sorted(counts.items())]
    return rows


def _counted(measure: str, found: Sequence[Example], of: int) -> tuple:
    return (measure, len(found), of, found[0].place if found else "")


def _repeated(examples: Sequence[Example]) -> list[Example]:
    """The examples whose whole chat an earlier one has."""
    first: dict[tuple, Example] = {}
    return [one for one in examples if first.setdefault(_key(one.chat), one) is not one]


def _key(messages: Iterable[Mapping[str, str]]) -> tuple:
    return tuple((one["role"], one["content"]) for one in messages)
