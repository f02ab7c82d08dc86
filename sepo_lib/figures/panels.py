"""The panels of a figure: a seaborn grid of its own, or the Axes of the caller.

A grid is as wide as the text of a page (`theme.WIDTH`) or narrower. Its panels wrap, so that each of them
stays readable: with `width=theme.COLUMN` the same figure fits one column.
"""

import math
import textwrap
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sepo_lib.figures.theme import COLUMN, WIDTH

LEAST = 1.45  # inches: the smallest width of a panel
PADDING = {"w_pad": 0.05, "h_pad": 0.05}  # inches around each panel
MARGIN = 0.04  # inches at the edges of a figure, besides the padding of the layout
CHARACTER = 0.0085  # inches: the mean width of a character, by points of the font


@dataclass
class Size:
    """The size of a grid: seaborn's `height`, `aspect` and `col_wrap` of a panel, and the whole `width`.

    Without `height` and `aspect`, a panel is `default` inches high, and as wide as the page allows up to
    `most`. All sizes are inches.
    """

    height: float | None = None
    aspect: float | None = None
    col_wrap: int | None = None
    width: float = WIDTH
    default: float = 1.75
    most: float = 2.4
    least: float = LEAST

    def columns(self, panels: int) -> int:
        """The number of panels in a row: as many as fit, and rows of equal length where that is possible."""
        if self.col_wrap:
            return min(self.col_wrap, panels)
        if self.height and self.aspect:
            fit = int(self.width / (self.height * self.aspect) + 1e-9)
        else:
            fit = int(self.width / self.least + 1e-9)
        fit = max(1, min(fit, panels))
        return math.ceil(panels / math.ceil(panels / fit))

    def together(self, number: int, lines: int = 1) -> int:
        """The panels in a row if `number` of them belong together and there are several such `lines`.

        Then it is the largest divisor of `number` that fits, so that no row mixes two lines.
        """
        fit = self.columns(number)
        return fit if lines == 1 else next(n for n in range(fit, 0, -1) if number % n == 0)

    def panel(self, columns: int) -> tuple[float, float]:
        """(height, aspect) of a panel."""
        height = self.height or self.default
        most = max(self.most, COLUMN / columns)  # a narrow figure has no room for its title and legend
        aspect = self.aspect or min(most, self.width / columns) / height
        return height, aspect


class Grid(sns.FacetGrid):
    """A FacetGrid that leaves the layout to matplotlib's constrained layout, which is not done twice."""

    def tight_layout(self, *args, **kwargs) -> "Grid":
        """Nothing: the constrained layout knows titles and legends, the tight layout does not."""
        return self


@dataclass
class Panels:
    """The Axes of a figure by the value that they show, and what the figure function returns (`drawn`)."""

    axes: dict[Hashable, Axes]
    drawn: Axes | sns.FacetGrid
    figure: Figure
    own: bool  # the figure belongs to the function, not to the caller
    columns: int = 1

    @property
    def width(self) -> float:
        """The width of a panel in inches, with its labels."""
        if not self.own:
            return next(iter(self.axes.values())).bbox.width / self.figure.dpi + 0.5
        return self.figure.get_figwidth() / self.columns

    @property
    def left(self) -> list[Axes]:
        """The first panel of every row."""
        return list(self.axes.values())[:: self.columns]

    @property
    def bottom(self) -> list[Axes]:
        """The last panel of every column."""
        axes = list(self.axes.values())
        return axes[-self.columns :]

    def titles(self, title: Callable[[Hashable], str], room: float = 0.25) -> None:
        """Write the title of every panel, wrapped to its width less `room` inches for the axis labels.

        The caller's Axes keep a title that they have.
        """
        for value, ax in self.axes.items():
            ax.set_title(
                wrapped(title(value), self.width - room) if self.own else ax.get_title() or title(value)
            )

    def labels(self, x: str | None = None, y: str | None = None) -> None:
        """Label the x axis of the lowest panels and the y axis of the first panels."""
        for ax in self.axes.values():
            if x is not None:
                ax.set_xlabel(wrapped(x, self.width) if ax in self.bottom else "")
            if y is not None:
                ax.set_ylabel(y if ax in self.left else "")

    def legend(self, handles: Sequence, title: str | None = None) -> None:
        """One legend: in a free cell of the grid, else below the panels; in the Axes of the caller, inside.

        Labels that are wider than the figure (or the caller's Axes) are shortened.
        """
        handles = list(handles)
        if not handles:
            return
        if not self.own:
            room = max(12, int((self.width - 0.9) / (CHARACTER * 7.5)))
            labels = shortened([handle.get_label() for handle in handles], room)
            self.drawn.legend(handles=handles, labels=labels, title=title)
            return
        room = int((self.figure.get_figwidth() - 0.6) / (CHARACTER * 7.5))
        labels = shortened([handle.get_label() for handle in handles], room)
        widest = max(map(len, labels)) * CHARACTER * 7.5 + 0.45
        look = {"handles": handles, "labels": labels, "title": title, "handletextpad": 0.4}
        free, line = -len(self.axes) % self.columns, 0.17
        height = self.figure.get_figheight() / math.ceil(len(self.axes) / self.columns) - 0.4
        if free and (len(handles) + bool(title)) * line < height and widest < self.width * free:
            cell = self.figure.add_subplot(next(iter(self.axes.values())).get_gridspec()[-1, -free:])
            cell.set_axis_off()
            cell.legend(loc="center", borderaxespad=0, **look)
            return
        columns = min(len(handles), max(1, int((self.figure.get_figwidth() - 0.2) / widest)))
        lines = math.ceil(len(handles) / columns)
        columns = math.ceil(len(handles) / lines)
        grow(self.figure, line * (lines + bool(title)))
        self.figure.legend(
            loc="outside lower center", ncols=columns, columnspacing=1.3, borderaxespad=0.4, **look
        )


def panels(
    values: Sequence[Hashable],
    *,
    ax: Axes | None = None,
    size: Size | None = None,
    name: str = "game",
    columns: int | None = None,
    **sharing: bool,
) -> Panels:
    """One panel for each of `values`, in their order; or `ax` for a single value.

    `columns` fixes the number of panels in a row as long as it fits the width. `sharing` are `sharex` and
    `sharey` of seaborn's FacetGrid (both False by default). Raises ValueError if `ax` is given for several
    values; `name` says what they are.
    """
    values = list(values)
    if ax is not None:
        if len(values) != 1:
            raise ValueError(
                f"`ax` takes one panel, and the table has {len(values)} values of {name}: {values}. Choose "
                "the rows of one of them, or leave `ax` out."
            )
        return Panels({values[0]: ax}, ax, ax.figure.figure, own=False)
    size = size or Size()
    fit = size.columns(len(values))
    if columns and not size.col_wrap and columns * size.least <= size.width + 1e-9:
        fit = min(columns, len(values))
    height, aspect = size.panel(fit)
    keys = range(len(values))
    grid = Grid(
        pd.DataFrame({"panel": keys}),
        col="panel",
        col_order=list(keys),
        col_wrap=fit if fit < len(values) else None,
        height=height,
        aspect=aspect,
        **{"sharex": False, "sharey": False, **sharing},
    )
    grid.figure.set_layout_engine("constrained", **PADDING)
    axes = dict(zip(values, grid.axes.flat, strict=True))
    for one in axes.values():
        one.set_title("")
        one.tick_params(labelbottom=True)
    # The axes of a panel are found by the value that it shows: grid.axes_dict["kuhn"].
    grid._axes_dict = axes
    return Panels(axes, grid, grid.figure, own=True, columns=fit)


def single(ax: Axes | None, *, width: float, height: float) -> Panels:
    """One Axes: that of the caller, or a new one in a figure of `width` by `height` inches."""
    if ax is not None:
        return Panels({None: ax}, ax, ax.figure.figure, own=False)
    figure, made = plt.subplots(figsize=(width, height))
    figure.set_layout_engine("constrained", **PADDING)
    sns.despine(ax=made)
    return Panels({None: made}, made, figure, own=True)


def grow(figure: Figure, inches: float) -> None:
    """Make a figure higher, so that a title or legend takes no room from its panels."""
    figure.set_figheight(figure.get_figheight() + inches)


def keep_margin(figure: Figure) -> None:
    """Keep the texts of a figure of constrained layout `MARGIN` away from its left, right and lower edge.

    Pages and notebooks may cut what stands at the very edge. The height of the figure must be final.
    """
    if figure.get_layout_engine() is None:
        return
    grow(figure, MARGIN)
    x, y = MARGIN / figure.get_figwidth(), MARGIN / figure.get_figheight()
    figure.get_layout_engine().set(rect=(x, y, 1 - 2 * x, 1 - y))


def name_categories(ax: Axes, labels: Sequence[str], width: float) -> None:
    """Write the names of the places 0, 1, 2 ... of an x axis that is `width` inches wide.

    Names are wrapped if all their words fit below their place, else they are turned. A name of more than 28
    characters is shortened.
    """
    labels = shortened(list(labels), 28)
    room = width / max(1, len(labels))
    fits = max(len(word) for label in labels for word in label.split() or [""]) * CHARACTER * 7.2 < room
    if fits:
        ax.set_xticks(range(len(labels)), [wrapped(label, room, 7.2) for label in labels], fontsize=7)
    else:
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(len(labels)), labels, fontsize=7, **turned)
    ax.set(xlim=(-0.55, len(labels) - 0.45), xlabel="")
    ax.grid(False, axis="x")


def wrapped(text: str, width: float, size: float = 8.0) -> str:
    """`text` in lines of at most `width` inches at a font of `size` points. Its own line breaks stay."""
    characters = max(8, int(width / (CHARACTER * size)))
    lines = (textwrap.wrap(line, characters, break_long_words=True) or [""] for line in text.split("\n"))
    return "\n".join(line for part in lines for line in part)


def shortened(labels: Sequence[str], most: int) -> list[str]:
    """The labels, each of at most `most` characters, and different ones still different.

    A long label keeps its start and its end, which often holds a size or a version.
    """
    short: list[str] = []
    for label in labels:
        text = label
        if len(label) > most:
            tail = max(1, most // 3)
            text = f"{label[: most - tail - 1]}…{label[-tail:]}"
        number = 2
        while text in short and label not in labels[: len(short)]:
            mark = f"…{number}"
            text, number = label[: most - len(mark)] + mark, number + 1
        short.append(text)
    return short
