"""Figures below a notebook cell: a small picture with alt text, and its caption below."""

import base64
import contextlib
import html
import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from PIL import Image

from sepo_lib.figures.gallery import caption_of
from sepo_lib.figures.rows import NothingToDraw
from sepo_lib.figures.theme import as_png, settle, style

_DPI = 120  # of the picture; it is shown at 96 pixels an inch, so that it stays sharp on fine screens
_CSS_DPI = 96
_COLOURS, _SHADES = 48, 256  # colours of a picture, and of one with a colour map


def show(drawn: Any, alt: str | None = None, caption: str | None = None) -> None:
    """Display a figure below the cell with its caption and alt text, and close the figure.

    `drawn` is what a figure function returns (Axes or a seaborn grid), or a Figure. `caption` is by default
    the figure's own, and may be empty. `alt` says to readers who do not see the picture what it shows; by
    default it is the caption, or the titles and axis labels of a figure without one.

    The picture is an HTML image, because JupyterLab ignores the alt text of `image/png` outputs.
    """
    from IPython.display import display

    figure = _figure_of(drawn)
    caption = caption_of(drawn) if caption is None else caption
    alt = alt or caption or _labels(figure)
    display({"text/html": as_html(figure, alt, caption), "text/plain": alt}, raw=True)
    plt.close(figure)


@contextlib.contextmanager
def or_reason() -> Iterator[None]:
    """Print the reason if the table of a figure has no rows to draw, and go on. Other errors are raised."""
    try:
        yield
    except NothingToDraw as reason:
        print(f"This run has no such figure. {reason}")


def as_html(figure: Figure, alt: str, caption: str = "") -> str:
    """The figure as an HTML element: a PNG picture with alt text, and the caption below.

    What stands between backticks in the caption becomes code.
    """
    with style():
        room = {} if figure.get_layout_engine() else {"bbox_inches": "tight", "pad_inches": 0.1}
        settle(figure, _DPI)
    shaded = any(isinstance(one, QuadMesh) for ax in figure.axes for one in ax.collections)
    picture = as_png(figure, _DPI, _SHADES if shaded else _COLOURS, **room)
    width = round(Image.open(io.BytesIO(picture)).width * _CSS_DPI / _DPI)
    data = base64.b64encode(picture).decode()
    image = f'<img alt="{html.escape(alt)}" width="{width}" src="data:image/png;base64,{data}">'
    written = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(caption))
    below = f"<figcaption>{written}</figcaption>" if caption else ""
    return f'<figure style="margin: 0">{image}{below}</figure>'


def _figure_of(drawn: Any) -> Figure:
    figure = drawn if isinstance(drawn, Figure) else getattr(drawn, "figure", None)
    if not isinstance(figure, Figure):
        raise ValueError(
            f"show() got {type(drawn).__name__}; pass a Figure, an Axes or a seaborn grid, "
            "such as a figure function returns."
        )
    return figure


def _labels(figure: Figure) -> str:
    """The title of the figure, and the title and axis labels of every panel."""
    parts = [figure.get_suptitle()]
    for ax in figure.axes:
        axes = " against ".join(filter(None, (ax.get_ylabel(), ax.get_xlabel())))
        parts.append(": ".join(filter(None, (ax.get_title(), axes))))
    return "; ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part)) or "a figure"
