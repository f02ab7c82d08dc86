"""The figures of the page: drawn from the tables as SVG, and numbered."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from urllib.parse import quote
from xml.etree import ElementTree

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from sepo_lib import figures
from sepo_lib.figures import gallery

_SVG, _HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", _SVG.strip("{}"))
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")

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
    "transfer": "What carries over to other games",
    **dict.fromkeys(("estimators", "headroom", "kuhn_optimum"), NO_MODEL),
    **dict.fromkeys(("paper_nashconv", "replication"), PAPER),
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
    return {group: [replace(one, number=next(numbers)) for one in made] for group, made in kept.items()}


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
    """The figure as an SVG image, with text as text and fonts that other systems have, for a data address.

    What changes nothing that is seen is left out (`_slim`): as text, the page is smaller than with pictures
    in base64.
    """
    text = figures.as_svg(figure)
    plt.close(figure)
    text = text[text.index("<svg") :].replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    text = _slim(re.sub(r' transform="rotate\(-?0 [^)"]*\)"', "", text))
    text = re.sub(r"<[^>]*>", lambda tag: tag[0].replace("'", "").replace('"', "'"), text)
    return quote(text, safe=" !$'()*+,/:;<=>?@[]{}|~")


def _slim(text: str) -> str:
    """An SVG image that looks the same in fewer characters.

    Left out are more than two decimals of a point, indentation, names that nothing refers to, groups without
    attributes, and second copies of a marker. A style that occurs more than once becomes a class.
    """
    used = set(re.findall(r"#([\w-]+)", text))
    root = ElementTree.fromstring(text)
    styles = Counter(one.get("style") for one in root.iter() if one.get("style"))
    classes = {style: f"s{number}" for number, style in enumerate(styles) if styles[style] > 1}
    markers: dict[str, str] = {}  # a definition without its name -> the name of its first copy
    same: dict[str, str] = {}  # name -> the name of the first copy
    for one in root.iter():
        one.text, one.tail = ((part or "").strip() or None for part in (one.text, one.tail))
        if one.get("style") in classes:
            one.set("class", classes[one.attrib.pop("style")])
        for name in {"d", "x", "y", "x1", "x2", "y1", "y2"} & set(one.attrib):
            one.set(name, re.sub(r"(\.\d\d)\d+", r"\1", one.attrib[name]))
        if (name := one.attrib.pop("id", None)) in used:
            first = markers.setdefault(f"{one.tag} {sorted(one.attrib.items())}", name)
            same[name] = first if one.tag == f"{_SVG}path" else name
            one.set("id", name)
    _unwrap(root, {name for name, first in same.items() if name != first})
    for one in root.iter():
        if (target := one.get(_HREF, "")[1:]) in same:
            one.set(_HREF, f"#{same[target]}")
    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    ElementTree.SubElement(root, f"{_SVG}style").text = rules
    return ElementTree.tostring(root, encoding="unicode")


def _unwrap(parent: ElementTree.Element, copies: Set[str]) -> None:
    """Put the content of groups without attributes in their places; leave out elements with these names."""
    kept = []
    for one in parent:
        _unwrap(one, copies)
        bare = one.tag == f"{_SVG}g" and not one.attrib
        empty = one.tag == f"{_SVG}defs" and not len(one)
        if bare:
            kept += one
        elif not empty and one.get("id") not in copies:
            kept.append(one)
    parent[:] = kept
