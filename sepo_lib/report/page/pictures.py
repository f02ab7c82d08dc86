"""The figures of the page: drawn from the tables as SVG, and numbered."""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from sepo_lib import figures
from sepo_lib.figures import gallery

PAPER = "The authors' models and ours"
OUTCOME = "Outcome of training"
NO_MODEL = "Studies without a language model"
#: Table -> the group of the figures that are drawn from it, in the order of the page.
GROUPS = {
    **dict.fromkeys(("evaluation", "behaviour", "crossplay", "exploitability"), OUTCOME),
    **dict.fromkeys(("strategies", "weights"), OUTCOME),
    "training": "Course of training",
    **dict.fromkeys(
        ("ablation", "switches", "exploiters", "sweep"), "Effect of the penalty and the switches"
    ),
    **dict.fromkeys(("estimators", "headroom", "kuhn_optimum"), NO_MODEL),
    "paper_nashconv": PAPER,
}
#: Group -> a sentence that stands above its figures.
NOTES = {
    NO_MODEL: "These studies use tabular policies, which are enumerated. They say nothing about the model "
    "of this run.",
}


@dataclass(frozen=True)
class Picture:
    """One figure of the page. `width` is its natural width in pixels, `number` its place on the page."""

    name: str
    question: str
    caption: str
    width: int
    data: str
    number: int = 0


def pictures(drawn: Iterable[tuple[str, str, Figure]]) -> dict[str, list[Picture]]:
    """The figures by group, numbered in the order of the page; groups without figures are left out.

    `drawn` yields the name, the caption and the matplotlib figure of each. The figures are closed.
    """
    by_group: dict[str, list[Picture]] = {group: [] for group in GROUPS.values()}
    for name, caption, figure in drawn:
        entry, width = _entry(name), round(96 * figure.get_size_inches()[0])
        question = entry.question if entry else name.replace("_", " ")
        by_group[_group(entry)].append(Picture(name, question, caption, width, _svg(figure)))
    kept = {group: made for group, made in by_group.items() if made}
    numbers = iter(range(1, 1 + sum(map(len, kept.values()))))
    return {
        group: [Picture(**{**vars(one), "number": next(numbers)}) for one in made]
        for group, made in kept.items()
    }


def drawn(run: str, model: str) -> Iterator[tuple[str, str, Figure]]:
    """The name, caption and figure of everything that the tables of a run can show of a model.

    Raises as `figures.draw_all` does.
    """
    for name, made in gallery.drawn(run, only=model):
        yield name, gallery.caption_of(made), made.figure


def not_drawn(made: Iterable[str]) -> list[str]:
    """The figures of the gallery of which the page shows none, by name."""
    made = list(made)
    stems = [name for name, entry in figures.FIGURES.items() if entry.reads]
    return [stem for stem in stems if not any(name.startswith(stem) for name in made)]


def _entry(name: str) -> gallery.Figure | None:
    """The entry of the gallery that a figure's name begins with."""
    stem = max((stem for stem in figures.FIGURES if name.startswith(stem)), key=len, default="")
    return figures.FIGURES.get(stem)


def _group(entry: gallery.Figure | None) -> str:
    if entry is None:
        return OUTCOME
    return PAPER if entry.also else GROUPS.get(entry.reads or "", OUTCOME)


def _svg(figure: Figure) -> str:
    """The figure as an SVG image in base64, with text as text and fonts that other systems have."""
    text = figures.as_svg(figure)
    plt.close(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif", text)
    text = re.sub(r'\b[dxy]="[^"]*"', lambda place: re.sub(r"(\.\d\d)\d+", r"\1", place[0]), text)
    named = set(re.findall(r"#(\w+)", text))
    text = re.sub(r' id="(\w+)"', lambda one: one[0] if one[1] in named else "", text)
    text = re.sub(r"\n +", "\n", text)
    return base64.b64encode(text.encode()).decode()
