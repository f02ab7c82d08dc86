"""Measures of a drawn figure: where its texts stand, and which of them overlap or leave the page."""

import itertools

import numpy as np
from matplotlib.text import Text


def texts(figure):
    """(text, bounding box in pixels, corners in pixels) of every visible text of a figure, after it is drawn.

    The corners are those of the turned rectangle of a turned text.
    """
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
    return [
        (t.get_text(), t.get_window_extent(renderer), _corners(t, renderer))
        for t in found
        if id(t) not in hidden
    ]


def _corners(text, renderer):
    box, angle = text.get_window_extent(renderer), text.get_rotation()
    text.set_rotation(0)
    level = text.get_window_extent(renderer)
    text.set_rotation(angle)
    across, up = (
        size / 2 * np.array([np.cos(turn), np.sin(turn)])
        for size, turn in ((level.width, np.radians(angle)), (level.height, np.radians(angle + 90)))
    )
    middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    return np.array([middle + one * across + two * up for one, two in ((1, 1), (1, -1), (-1, -1), (-1, 1))])


def _overlap(one, two):
    """By how many pixels two rectangles overlap in the direction in which they overlap least."""
    depths = []
    for corners in (one, two):
        for end in (1, 3):
            side = corners[end] - corners[0]
            length = np.linalg.norm(side)
            if length:
                along = [rectangle @ side / length for rectangle in (one, two)]
                depths.append(min(a.max() for a in along) - max(a.min() for a in along))
    return min(depths)


#: Inches between a text and the left, lower and right edge of the figure; a page may cut what is nearer.
EDGES = (0.06, 0.05, 0.035)


def overlaps(figure, slack=1.0):
    """Pairs of texts that overlap by more than `slack` pixels in every direction, names of rows that touch
    (`_touching`), and texts that stand nearer to an edge of the figure than `EDGES`."""
    drawn = texts(figure)  # which lays the figure out
    left, lower, right = (edge * figure.dpi for edge in EDGES)
    pairs = [
        (a, b) for (a, _, one), (b, _, two) in itertools.combinations(drawn, 2) if _overlap(one, two) > slack
    ]
    outside = [
        (text, "at the edge of the figure")
        for text, box, _ in drawn
        if box.x0 < left or box.y0 < lower or box.x1 > figure.bbox.x1 - right or box.y1 > figure.bbox.y1
    ]
    return pairs + _touching(figure) + outside


def _touching(figure):
    """Pairs of neighbouring labels of a y axis with less than a pixel between them.

    Where one has two lines, four pixels stand between them, so that each line is seen to belong to its label.
    """
    found = []
    for ax in figure.axes:
        labels = [label for label in ax.get_yticklabels() if label.get_text() and label.get_visible()]
        boxes = sorted((label.get_window_extent().y0, label.get_window_extent().y1) for label in labels)
        least = 4.0 if any("\n" in label.get_text() for label in labels) else 1.0
        found += [
            (f"rows of {ax.get_title()}", f"{below:.1f} pixels apart")
            for below in (high[0] - low[1] for low, high in itertools.pairwise(boxes))
            if below < least
        ]
    return found


def _legend_texts(ax):
    legend = ax.get_legend()
    return [*legend.get_texts(), legend.get_title()] if legend else []
