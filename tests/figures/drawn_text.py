"""Measures of a drawn figure: where its texts stand, and which of them overlap or leave the page."""

import itertools

from matplotlib.text import Text


def texts(figure):
    """(text, bounding box in pixels) of every visible text of a figure, after it is drawn."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    hidden = {
        id(label)
        for ax in figure.axes
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim())))
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not low <= tick.get_loc() <= high
    }
    hidden |= {
        id(text)
        for ax in figure.axes
        if not ax.axison
        for text in ax.findobj(Text)
        if text.axes is ax and text not in _legend_texts(ax)
    }
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found if id(t) not in hidden]


def overlaps(figure, slack=1.0):
    """Pairs of texts whose boxes overlap by more than `slack` pixels in both directions, and texts that
    leave the figure by more than `slack` pixels."""
    boxes, page = texts(figure), figure.bbox
    pairs = [
        (a, b)
        for (a, one), (b, two) in itertools.combinations(boxes, 2)
        if min(one.x1, two.x1) - max(one.x0, two.x0) > slack
        and min(one.y1, two.y1) - max(one.y0, two.y0) > slack
    ]
    outside = [
        (text, "outside of the figure")
        for text, box in boxes
        if box.x0 < page.x0 - slack
        or box.y0 < page.y0 - slack
        or box.x1 > page.x1 + slack
        or box.y1 > page.y1 + slack
    ]
    return pairs + outside


def _legend_texts(ax):
    legend = ax.get_legend()
    return [*legend.get_texts(), legend.get_title()] if legend else []
