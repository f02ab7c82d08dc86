"""The headline: what the penalty and the other switches change, in every game and pool set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sepo_lib.figures import dots
from sepo_lib.figures.gallery import figure
from sepo_lib.figures.looks import ARMS, Palette, axis_label, labels_among, looks_of, named, plain, quantity
from sepo_lib.figures.marks import handle, interval_of
from sepo_lib.figures.notes import count, entitle, note, of_kit
from sepo_lib.figures.panels import Size, panels, wrapped
from sepo_lib.figures.rows import (
    NothingToDraw,
    filled,
    in_order,
    keep,
    known,
    need,
    ordered_games,
    place_of,
    reported,
    unique,
)
from sepo_lib.figures.theme import COLUMN, HIGHER, INK, LOWER, MUTED, WIDTH, Look
from sepo_lib.measure.headline import COMPARED, CONTRASTS, WITHOUT, differences
from sepo_lib.measure.statistics import NO_SPREAD, Interval

#: Direction of a difference -> how the legend names it.
DIRECTIONS = {
    "higher": "higher (interval above 0)",
    "lower": "lower (interval below 0)",
    "open": "interval contains 0",
    "none": "no interval",
}
#: The two estimators of a contrast of the kit, in words.
PAIRS = {
    "the penalty": "unbiased: with − without penalty",
    "the other switches": "no penalty: unbiased − published",
}
#: What these contrasts are, for the caption.
MEANINGS = {
    "the penalty": "the preset unbiased with its penalty, minus the same without a penalty",
    "the other switches": "both without a penalty: horizon, scale and weights of unbiased, minus those of "
    "published",
}


@figure(
    "Where does the penalty make the policy safer, and where do the other switches?",
    "Differences between two estimators in one measure after training, paired by seed: a row for each game "
    "and pool set. All panels have one scale. Marks are means over training seeds, dots are single seeds. "
    "The intervals are not corrected for their number.",
    reads="evaluation",
)
def headline(
    data: pd.DataFrame,
    *,
    metric: str = "safety",
    contrasts: Mapping[str, tuple[str, str]] | None = None,
    order: Sequence | None = None,
    palette: Palette | None = None,
    labels: Mapping[Any, str] | None = None,
    pools: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    height: float | None = None,
    aspect: float | None = None,
    col_wrap: int | None = None,
    width: float = WIDTH,
) -> sns.FacetGrid | Axes:
    """What one change of the estimator does to a measure: a panel for each contrast, a row for each setting.

    A setting is a game, with its pool set if the table has one. A mark is the mean over seeds of the
    difference between two estimators with the same seed, and its bar is the 95% t interval. The title counts
    in how many settings the interval excludes 0.

    Columns: game, estimator, seed, `metric`; optionally pools and model. In a table without the column
    `estimator`, such as `evaluation.csv`, the columns stage, preset and arm tell it (`headline.COMPARED`).

    contrasts      name -> (estimator, estimator that is subtracted), a panel for each; by default those of
                   `headline.CONTRASTS`, or each estimator minus the first one of the table
    order          the games that are drawn, in their order
    palette        colours of `higher`, `lower`, `open` (the interval contains 0) and `none` (one seed, or
                   equal in all seeds)
    labels         labels of estimators
    pools          a pool set or a list of them; None draws all
    ax             the Axes of one contrast
    height, aspect, col_wrap, width   of the panels, in inches; see `panels.Size`

    >>> headline(pd.read_csv("mine.csv"), contrasts={"clipping": ("ppo", "reinforce")})
    """
    rows = data if "estimator" in data or not {"stage", "preset", "arm"} <= set(data) else _named(data)
    rows = known(need(rows, ["game", "estimator", "seed"], numbers=[metric]), metric)
    rows = in_order(keep(rows, "pools", pools), "game", order)
    unique(rows, ["game", "pools", "model", "estimator"])
    rows = rows.assign(place=place_of(rows).str.replace("\n", ", "))
    contrasts = _contrasts(rows, contrasts)
    found = differences(rows, metric, contrasts, "place")
    if found.empty:
        raise NothingToDraw(f"No seed has both estimators of one of the contrasts {list(contrasts)}.")
    contrasts = {name: pair for name, pair in contrasts.items() if (found["contrast"] == name).any()}
    places = [place for place in _ordered(rows, order) if (found["place"] == place).any()]
    names = _labels(rows, labels)
    looks = looks_of(DIRECTIONS, known=_looks(), palette=palette, name="direction")
    narrow = width < 1.5 * COLUMN
    texts = [wrapped(place.replace(", ", ",\n"), 0.42 * width, 7) if narrow else place for place in places]
    lines = max(text.count("\n") + 1 for text in texts)
    size = Size(height, aspect, col_wrap, width, least=1.7, most=4.6)
    size.default = 1.15 + (0.11 + 0.14 * lines) * max(2, len(places))
    drawn = panels(list(contrasts), ax=ax, size=size, name="contrast", columns=2)
    for contrast in drawn.axes if of_kit() else ():
        if CONTRASTS.get(contrast) == contrasts[contrast]:
            note(_start(contrast), MEANINGS[contrast])
    seen: dict[str, dict[str, str]] = {}
    for contrast, panel in drawn.axes.items():
        panel.axvline(0.0, color=INK, linewidth=0.9, zorder=1.5)
        own = found[found["contrast"] == contrast]
        seen[contrast] = {}
        for y, place in enumerate(places):
            here = own[own["place"] == place]
            if here.empty:
                dots.say(panel, -y, "not trained")
                continue
            way = _direction(interval_of(here, "difference"))
            dots.mark_row(panel, -y, here, "difference", looks[way]._replace(label=way))
            seen[contrast][place] = way
    dots.frame(list(drawn.axes.values()), drawn.width)
    dots.name_rows(drawn, {-y: name for y, name in enumerate(places)})
    for panel in drawn.left if narrow else ():
        panel.set_yticks(panel.get_yticks(), texts, fontsize=7)
    room = dots.label_width([line for text in texts for line in text.split("\n")], width) + 0.1
    room /= drawn.columns
    heads = {name: f"{_start(name)} ({_seeds(found, name)})" for name in contrasts}
    below = {
        name: PAIRS[name] if CONTRASTS.get(name) == pair else f"{names[pair[0]]} − {names[pair[1]]}"
        for name, pair in contrasts.items()
    }
    drawn.titles(lambda contrast: f"{heads[contrast]}\n{below[contrast]}", room)
    drawn.labels(x=wrapped(f"difference in {axis_label(metric)}", drawn.width - room))
    for panel in drawn.axes.values():
        panel.xaxis.set_major_locator(MaxNLocator(5 if drawn.width > 2 else 3, steps=[1, 2, 5, 10]))
        panel.xaxis.set_major_formatter(_tick)
    ways = [way for way in looks if any(way in ways.values() for ways in seen.values())]
    drawn.legend([handle(looks[way]) for way in ways])
    if title := _finding(_symbol(plain(quantity(metric))), seen, rows):
        entitle(title)
    return drawn.drawn


def _contrasts(rows: pd.DataFrame, chosen: Mapping | None) -> dict[str, tuple[str, str]]:
    """The contrasts that are drawn. Raises ValueError for one that is no pair of estimators of the table."""
    found = rows["estimator"].unique().tolist()
    if chosen is None:
        own = {name: pair for name, pair in CONTRASTS.items() if set(pair) <= set(found)}
        return own or {f"{plain(one)}": (one, found[0]) for one in found[1:]}
    for name, pair in chosen.items():
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"`contrasts` gives {name!r} the value {pair!r}; it is a pair of estimators.")
        if missing := [one for one in pair if one not in found]:
            raise ValueError(f"`contrasts` names {missing}, but estimator of the table has {found}.")
    return {str(name): tuple(pair) for name, pair in chosen.items()}


def _ordered(rows: pd.DataFrame, order: Sequence | None) -> list[str]:
    """The settings in the order of the tables: the paper's pools first, and within a pool set by game."""
    games = list(order or ordered_games(rows))
    found = filled(rows, {"pools": "paper"})
    found = found.assign(rank=found["game"].map(games.index), other=found["pools"] != "paper")
    return found.sort_values(["other", "rank"], kind="stable")["place"].drop_duplicates().tolist()


def _labels(rows: pd.DataFrame, labels: Mapping[Any, str] | None) -> dict[Any, str]:
    """Estimator -> its label."""
    found = {name: plain(name) for name in rows["estimator"].unique()}
    looks = named({**ARMS, WITHOUT: Look("reward only, published", INK, "o")})
    return (
        found | {name: look.label for name, look in looks.items()} | labels_among(labels, rows["estimator"])
    )


def _looks() -> dict[str, Look]:
    """Direction of a difference -> its look. A marker points to the side of 0 on which the interval lies."""
    marks = {"higher": (HIGHER, ">"), "lower": (LOWER, "<"), "open": (MUTED, "o"), "none": (MUTED, "x")}
    return {
        way: Look(DIRECTIONS[way], colour, marker, way != "open") for way, (colour, marker) in marks.items()
    }


def _direction(found: Interval) -> str:
    """On which side of 0 the interval lies: one of DIRECTIONS."""
    _, low, high = found
    if np.isnan([low, high]).any() or high - low <= NO_SPREAD:
        return "none"
    return "higher" if low > 0 else "lower" if high < 0 else "open"


def _tick(x: float, _: int) -> str:
    """The label of a tick; that of 0 says what 0 means."""
    return f"{x:g}".replace("-", "−") if abs(x) > NO_SPREAD else "0\nno effect"


def _start(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def _symbol(measure: str) -> str:
    """The symbol of a measure that has one: J for `safety J`; else its name."""
    last = measure.split()[-1]
    return last if len(last) == 1 else _start(measure)


def _finding(measure: str, seen: Mapping[str, Mapping[str, str]], rows: pd.DataFrame) -> str | None:
    """What the figure shows, as a sentence; None if no difference has an interval."""
    judged = {
        f"“{name}”" if "," in name else name: {place: way for place, way in ways.items() if way != "none"}
        for name, ways in seen.items()
    }
    judged = {name: ways for name, ways in judged.items() if ways}
    if not judged:
        return None
    if max(map(len, judged.values())) == 1:
        words = {"higher": "higher", "lower": "lower", "open": "not clearly different"}
        return f"{measure} is " + ", ".join(
            f"{words[way]} with {name} in {place}"
            for name, ways in judged.items()
            for place, way in ways.items()
        )
    noun = "settings" if rows["place"].nunique() > rows["game"].nunique() else "games"
    parts, last = [], None
    for name, ways in judged.items():
        up, down = (list(ways.values()).count(way) for way in ("higher", "lower"))
        total = "" if len(ways) == last else f" of {len(ways)}"
        text = f"with {name} in {up or 'none'}{total}" + (f" {noun}" if last is None else "")
        parts.append(text + (f" (lower in {down})" if down else ""))
        last = len(ways)
    return f"{measure} is higher {', '.join(parts)}"


def _seeds(found: pd.DataFrame, contrast: str) -> str:
    """How many seeds a contrast has, over all settings."""
    numbers = sorted(set(found[found["contrast"] == contrast].groupby("place").size()))
    return count(numbers[-1], "seed") if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} seeds"


def _named(evaluation: pd.DataFrame) -> pd.DataFrame:
    """The reported rows of the estimators of the kit, with the column `estimator`."""
    table = reported(evaluation)
    names = {("sepo", *recipe): name for name, recipe in COMPARED.items()}
    keys = zip(table["stage"], table["preset"], table["arm"], strict=True)
    table = table.assign(estimator=[names.get(key) for key in keys]).dropna(subset="estimator")
    if not any(set(pair) <= set(table["estimator"]) for pair in CONTRASTS.values()):
        raise NothingToDraw("The table has not both estimators of one of the contrasts.")
    return table
