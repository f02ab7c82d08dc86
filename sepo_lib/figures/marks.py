"""The drawn parts that figures share: marks with intervals, legend entries and zero lines."""

from collections.abc import Callable
from numbers import Real

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sepo_lib.figures.looks import quantity
from sepo_lib.figures.notes import note, of_kit
from sepo_lib.figures.theme import DASHED, MUTED, Look
from sepo_lib.measure.statistics import NO_SPREAD, UNKNOWN, Interval, bounds, kind, spread

#: seaborn's `errorbar`: "ci" (95%, the default), "sd", "se", ("pi", width in percent), "table" (the columns
#: <metric>_low and <metric>_high), a function of the values, or None.
Errorbar = str | tuple[str, float] | Callable[[np.ndarray], tuple[float, float]] | None

#: Error bars that are no confidence intervals over seeds, in words.
BARS = {
    "sd": "one standard deviation to both sides",
    "se": "one standard error to both sides",
    "pi": "the middle 95% of the seeds",
    ("pi", 100): "from the lowest seed to the highest",
    "table": "those of the table",
}
#: The same for errorbar=(name, level).
LEVELS = {
    "sd": "{:g} standard deviations to both sides",
    "se": "{:g} standard errors to both sides",
    "pi": "the middle {:g}% of the seeds",
}


def interval_of(rows: pd.DataFrame, metric: str, errorbar: Errorbar = "ci") -> Interval:
    """The mean of `metric` over the rows (one per seed), and the ends of its error bar (nan: it has none).

    "ci" is the 95% interval that fits the quantity (`statistics.spread`); for a single seed it is that of its
    evaluation noise, if the table has it. "sd" and "se" reach one standard deviation or standard error to
    both sides, ("pi", 100) from the lowest seed to the highest. No bar leaves the range of its quantity.
    Raises ValueError for an unknown `errorbar`, for "table" without the two columns, and for a value outside
    the range of the quantity.
    """
    values = rows[metric].to_numpy(dtype=float)
    _check_range(values, metric)
    if errorbar == "ci":
        made = kind_of(rows, metric)
        note("Error bars", made + (f" ({quantity(metric)})" if len(rows) == 1 else ""))
        if "signed margin" in made:
            note(
                f"Intervals of the {quantity(metric)}",
                "they come from signed margins; the lower end may be 0",
            )
        return spread(rows, metric)
    mean = float(values.mean())
    if errorbar is None:
        return Interval(mean, np.nan, np.nan)
    name = errorbar[0] if isinstance(errorbar, tuple) else errorbar
    words = BARS.get(errorbar, "")
    if not words and name in LEVELS:
        words = LEVELS[name].format(_level(errorbar))
    if values.size == 1 and name in ("sd", "se", "pi"):
        words = f"none: one {'seed' if 'seed' in rows.columns else 'row'}"
    note("Error bars", "those of a function" if callable(name) else words)
    low, high = _ends(rows, metric, values, errorbar)
    if (limits := bounds(metric)) is not None:
        low, high = np.clip([low, high], *limits)
    return Interval(mean, float(low), float(high))


def kind_of(rows: pd.DataFrame, metric: str) -> str:
    """The kind of the interval of `metric` (`statistics.kind`), in words that the columns of the table allow.

    Only in a table of the kit are the rows of the stage `base` evaluations of one model, and the interval of
    a single seed is one of evaluation noise. Rows are called seeds if the table has seeds.
    """
    if not of_kit():
        if len(rows) == 1 and {f"{metric}_low", f"{metric}_high"} <= set(rows.columns):
            return f"those of the columns {metric}_low and {metric}_high"
        rows = rows.drop(columns="stage", errors="ignore")
    words = kind(rows, metric)
    return words if "seed" in rows.columns else words.replace("seed", "row")


def _ends(rows: pd.DataFrame, metric: str, values: np.ndarray, errorbar: Errorbar) -> tuple[float, float]:
    """The ends of an error bar that is no confidence interval over seeds."""
    if callable(errorbar):
        ends = errorbar(values)
        if np.shape(ends) != (2,):
            raise ValueError(f"A function as `errorbar` returns the two ends (low, high), not {ends!r}.")
        return ends
    name, level = errorbar if isinstance(errorbar, tuple) else (errorbar, None)
    mean = values.mean()
    if name == "table":
        ends = [f"{metric}_low", f"{metric}_high"]
        if missing := [end for end in ends if end not in rows.columns]:
            raise ValueError(f'errorbar="table" needs the columns {ends}; the table lacks {missing}.')
        return rows[ends[0]].mean(), rows[ends[1]].mean()
    if name == "pi":
        tail = (100 - (level or 95)) / 2
        return np.percentile(values, tail), np.percentile(values, 100 - tail)
    if name in ("sd", "se"):
        if values.size < 2:
            return UNKNOWN[1:]
        half = values.std(ddof=1) * (level or 1) / (np.sqrt(values.size) if name == "se" else 1)
        return mean - half, mean + half
    raise ValueError(
        f'There is no errorbar {errorbar!r}; choose "ci", "sd", "se", ("pi", 95), "table", a function, None.'
    )


def _level(errorbar: tuple[str, float]) -> float:
    """The level of an errorbar such as ("pi", 50). Raises ValueError for one that is not possible."""
    level = errorbar[1] if len(errorbar) == 2 else None
    if not isinstance(level, Real) or not 0 < level <= (100 if errorbar[0] == "pi" else np.inf):
        allowed = "0 and 100" if errorbar[0] == "pi" else "0 and infinity"
        raise ValueError(f"`errorbar` is {errorbar!r}; its level is a number between {allowed}.")
    return level


def _check_range(values: np.ndarray, metric: str) -> None:
    """Raise ValueError for a value that its quantity cannot have."""
    low, high = bounds(metric) or (-np.inf, np.inf)
    outside = values[(values < low - 1e-9) | (values > high + 1e-9)]
    if outside.size:
        allowed = "at least 0" if high == np.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(
            f"The column '{metric}' holds {outside[0]:g}; the values of {quantity(metric)} are {allowed}. "
            "Draw another quantity under another name with `by_stage`."
        )


def mark_seeds(
    ax: Axes,
    x: float,
    rows: pd.DataFrame,
    metric: str,
    look: Look,
    offset: float = 0.2,
    errorbar: Errorbar = "ci",
) -> None:
    """Draw the mean of `metric` over the seeds (one row each) at `x`, with its error bar (`interval_of`).

    The single values are dots at `x + offset`; one value has none. An interval without a width is not drawn.
    """
    rows = rows.dropna(subset=[metric])
    if rows.empty:
        return
    mean, low, high = interval_of(rows, metric, errorbar)
    style = {**bar_style(look), "markeredgewidth": 1.1, "label": look.label, "zorder": 3}
    draw_mean(ax, (x, mean), style, y_ends=UNKNOWN[1:] if high - low <= NO_SPREAD else (low, high))
    if len(rows) > 1:
        dots = {"color": look.colour, "alpha": 0.55, "markersize": 4.2, "mew": 0}
        ax.plot(np.full(len(rows), x + offset), rows[metric], ".", **dots)


def draw_mean(
    ax: Axes,
    at: tuple[float, float],
    style: dict[str, object],
    x_ends: tuple[float, float] = UNKNOWN[1:],
    y_ends: tuple[float, float] = UNKNOWN[1:],
) -> None:
    """Draw a mark at (x, y) and its error bars from end to end (nan: none).

    The mean may lie outside of its bar, as with percentiles of few seeds.
    """
    bars, outside = {}, {}
    for name, mean, (low, high) in zip(("xerr", "yerr"), at, (x_ends, y_ends), strict=True):
        if low <= mean <= high:
            bars[name] = [[mean - low], [high - mean]]
        elif not np.isnan([low, high]).any():
            outside[name] = (low, high)
    ax.errorbar([at[0]], [at[1]], **bars, **style)
    for name, (low, high) in outside.items():
        middle, half = (low + high) / 2, [(high - low) / 2]
        place = ([middle], [at[1]]) if name == "xerr" else ([at[0]], [middle])
        ax.errorbar(*place, **{name: half}, **{**style, "fmt": "none", "ecolor": style["color"], "label": ""})


def bar_style(look: Look) -> dict[str, object]:
    """The arguments of `Axes.errorbar` for a mark with an error bar."""
    return {
        "fmt": look.marker,
        "color": look.colour,
        "markerfacecolor": look.face,
        "markersize": 5,
        "elinewidth": 1.3,
        "capsize": 2.4,
    }


def handle(look: Look, linestyle: str = "none") -> Line2D:
    """The entry of a look in a legend."""
    style = {"color": look.colour, "marker": look.marker, "markerfacecolor": look.face, "markersize": 5}
    return Line2D([], [], linestyle=linestyle, label=look.label, **style)


def dodge(number: int, width: float = 0.8) -> list[float]:
    """The places of `number` marks beside one another, around 0, within `width`."""
    return [(k - (number - 1) / 2) * width / number for k in range(number)]


def zero_line(ax: Axes) -> None:
    """A dashed horizontal line at 0."""
    ax.axhline(0.0, color=MUTED, linewidth=0.8, linestyle=DASHED, zorder=1)


def zero_line_x(ax: Axes) -> None:
    """A dashed vertical line at 0."""
    ax.axvline(0.0, color=MUTED, linewidth=0.8, linestyle=DASHED, zorder=1)
