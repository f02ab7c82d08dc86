"""The style of all figures: sizes, fonts, colours, markers, and the files that they are saved to.

One colour has one meaning in all figures. Hues belong to stages and recipes (`looks.CONFIGURATIONS`), and two
of them to the sign of a difference (`HIGHER`, `LOWER`). Other categories are drawn in black, in grey, or in
shades of one colour that no stage has; their markers differ.
"""

import contextlib
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from sepo_lib.config import paths

WIDTH = 7.1  # inches: the text width of a two-column page
COLUMN = 3.3  # inches: one column of such a page
INK, MUTED, FAINT, BASE = "#222222", "#8a8a8a", "#d9d9d9", "#5b5b5b"
HIGHER, LOWER = "#2166ac", "#b2182b"  # the ends of the palette of `transfer_matrix`
COLOURS = sns.color_palette("colorblind").as_hex()
MARKERS = "osD^vPX*"  # one for each category of a list that has no looks of its own
DASHED = (0, (4, 3))  # the line style of a zero line
BROKEN = (0, (4, 1.5))  # the line style of an open marker, and of a way of playing without groups
DPI = 120  # of PNG files
COLOURS_OF_FILES = 256  # the palette of a PNG file, which makes it a third as large


def shades(number: int) -> list[str]:
    """Greys from dark to light, for categories that are neither stages nor recipes."""
    return [mpl.colors.to_hex((level,) * 3) for level in np.linspace(0.16, 0.68, number)]


class Look(NamedTuple):
    """How one category is drawn: its label, colour and marker. `filled` is False for an open marker."""

    label: str
    colour: str
    marker: str
    filled: bool = True

    @property
    def face(self) -> str:
        """The colour inside the marker."""
        return self.colour if self.filled else "white"


@contextlib.contextmanager
def style():
    """The context in which every figure is drawn and saved: print sizes, embedded fonts, a light grid.

    Use it around your own `savefig` to get TrueType fonts in PDF, and text as text in SVG. The context leaves
    matplotlib's interactive mode as it finds it at its end. A notebook switches that mode on when it draws
    its first figure, and shows no further figure without it.
    """
    settings = {
        **sns.axes_style("whitegrid"),
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
        "font.size": 8,
        "figure.titlesize": 9,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
        "axes.edgecolor": "#9a9a9a",
        "axes.linewidth": 0.7,
        "axes.labelcolor": INK,
        "text.color": INK,
        "grid.color": "#e8e8e8",
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "sepo",
        "savefig.facecolor": "white",
    }
    with mpl.rc_context(settings):
        yield
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)


class StyledFigure(Figure):
    """A figure whose plain `savefig` writes in the style of the kit, with TrueType fonts."""

    savefig = style()(Figure.savefig)


_OFF = 3.3e-8  # so that round figures such as 1/128 are not rounded up in one run and down in the next


def settle(figure: Figure, dpi: float) -> None:
    """Lay the figure out, once for all files that it is saved to. A figure without a layout engine stays.

    `dpi` is that of the PNG file: hinted letters can be wider there than at the figure's own resolution. The
    positions of the panels are rounded, because the last digits of the layout's solver vary from run to run.
    """
    if figure.get_layout_engine() is not None:
        own = figure.dpi
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        figure.set_dpi(own)
        figure.set_layout_engine("none")
        for panel in figure.axes:
            for which in ("original", "active"):
                bounds = panel.get_position(original=which == "original").bounds
                panel.set_position([round(value + _OFF, 6) for value in bounds], which=which)


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.pdf and `name`.png without dates or versions, and close the figure.

    Returns the two paths. The same figure gives the same bytes at every call.
    """
    files = [folder / f"{name}.pdf", folder / f"{name}.png"]
    with style():
        settle(figure, DPI)
        dates = {"CreationDate": None, "Creator": None, "Producer": None}
        paths.replace(files[0], partial(figure.savefig, format="pdf", metadata=dates))
    data = as_png(figure, DPI, COLOURS_OF_FILES)
    paths.replace(files[1], lambda file: file.write_bytes(data))
    plt.close(figure)
    return files


def as_png(figure: Figure, dpi: int, colours: int, **options) -> bytes:
    """The figure as a PNG file with a palette of `colours` colours; `options` are those of `savefig`."""
    file, smaller = io.BytesIO(), io.BytesIO()
    with style():
        figure.savefig(file, format="png", dpi=dpi, **options)
    drawn = [
        mpl.colors.to_rgb(colour)
        for line in figure.findobj(Line2D)
        for colour in (line.get_color(), line.get_markerfacecolor())
        if not mpl.colors.same_color(colour, "none")
    ]
    picture = _with_palette(np.asarray(Image.open(file).convert("RGB")), colours, drawn)
    picture.save(smaller, format="png", optimize=True, dpi=(dpi, dpi))
    return smaller.getvalue()


def _with_palette(picture: np.ndarray, colours: int, exact: Sequence[tuple[float, ...]]) -> Image.Image:
    """The picture (height, width, 3; bytes) with a palette of `colours` colours.

    Half of the palette are colours of the picture as they are: those of `exact` (RGB, 0 to 1), which a
    palette of averages would mix where their marks are small, and then the most frequent ones.
    """
    places = np.array([1 << 16, 1 << 8, 1])
    codes, code_of, counts = np.unique(picture @ places, return_inverse=True, return_counts=True)
    wanted = np.isin(codes, np.round(255 * np.reshape(exact, (-1, 3))).astype(int) @ places)
    kept = np.lexsort((-counts, ~wanted))[: colours // 2]
    palette = codes[kept, None] // places % 256
    entry_of_code = np.full(len(codes), -1)
    entry_of_code[kept] = np.arange(len(kept))
    entries = entry_of_code[code_of.ravel()]
    if (others := entries < 0).any():
        rest = Image.fromarray(picture.reshape(1, -1, 3)[:, others])
        rest = rest.quantize(colours - len(kept), dither=Image.Dither.NONE)
        entries[others] = np.asarray(rest).ravel() + len(kept)
        palette = np.append(palette, rest.getpalette())
    made = Image.frombytes("P", picture.shape[1::-1], entries.astype(np.uint8).tobytes())
    made.putpalette(palette.ravel().tolist())
    return made


def as_svg(figure: Figure) -> str:
    """The figure as the text of an SVG file, without a date. Text stays text, so that it can be searched."""
    file = io.StringIO()
    with style():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
