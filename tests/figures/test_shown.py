"""A figure below a notebook cell: its picture, alt text and caption."""

import base64
import io
import re

import IPython.display
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from figure_tables import training
from matplotlib.figure import Figure
from PIL import Image

from sepo_lib import figures
from sepo_lib.figures import shown, theme


@pytest.fixture
def displayed(monkeypatch):
    bundles = []
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def picture(bundle):
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', bundle["text/html"])
    return base64.b64decode(data)


def test_a_figure_is_shown_small_with_its_texts_and_closed(displayed):
    grid = figures.training_curves(training(), game="ipd")
    shown.show(grid, alt='J "rises" & ends at 2 < 3', caption="The caption.")
    (bundle,) = displayed
    assert 'alt="J &quot;rises&quot; &amp; ends at 2 &lt; 3"' in bundle["text/html"]
    assert "<figcaption>The caption.</figcaption>" in bundle["text/html"]
    assert bundle["text/plain"] == 'J "rises" & ends at 2 < 3'
    assert not plt.fignum_exists(grid.figure.number)
    png = picture(bundle)
    assert len(png) < 45_000  # 60 kB as base64
    width = int(re.search(r'width="(\d+)"', bundle["text/html"])[1])
    assert Image.open(io.BytesIO(png)).width == pytest.approx(1.25 * width, abs=2)  # sharp on fine screens
    assert width <= 720


def test_the_picture_keeps_the_colours_of_all_looks_apart(displayed):
    looks = [*figures.CONFIGURATIONS.values(), *figures.ARMS.values()]
    axes = plt.figure(figsize=(7, 5)).subplots(3, 3)
    for number, ax in enumerate(axes.flat):  # many greys and blends of colours, and small marks
        ax.imshow([[0, 1], [2, 3]], interpolation="bicubic", cmap="viridis", extent=(0, 1, 0, 1))
        for place, look in enumerate(looks if number == 4 else []):
            style = {"color": look.colour, "mfc": look.face, "ms": 4}
            ax.plot(2 + place, 0.5, look.marker, **style)
    shown.show(axes[1, 1].figure)
    colours = Image.open(io.BytesIO(picture(displayed[0]))).convert("RGB").getcolors(256)
    found = {"#{:02x}{:02x}{:02x}".format(*colour) for _, colour in colours}
    assert {look.colour for look in looks} <= found and len(found) <= 48


def test_a_colour_bar_keeps_its_shades(displayed):
    """With 48 colours of the whole picture the bar had grey bands between blue and red."""
    figure = plt.figure(figsize=(6, 3))
    mesh = figure.add_subplot().pcolormesh([[0, 1], [2, 3]], cmap="RdBu")
    figure.colorbar(mesh)
    shown.show(figure)
    assert len(Image.open(io.BytesIO(picture(displayed[0]))).convert("RGB").getcolors(257)) > 100


def test_the_alt_text_is_the_caption_or_what_stands_at_the_axes(displayed):
    ax = plt.figure().add_subplot()
    ax.set(title="Kuhn poker", xlabel="training step", ylabel="objective J")
    shown.show(ax, caption="")
    shown.show(plt.figure(), caption="A caption alone.")
    assert displayed[0]["text/plain"] == "Kuhn poker: objective J against training step"
    assert "figcaption" not in displayed[0]["text/html"]
    assert 'alt="A caption alone."' in displayed[1]["text/html"]


def test_names_in_backticks_become_code_in_the_caption():
    text = shown.as_html(Figure(figsize=(2, 1)), "a figure", "A column `reason` < 2.")
    assert "<figcaption>A column <code>reason</code> &lt; 2.</figcaption>" in text


def test_the_same_figure_gives_the_same_bytes():
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([1, 2])
    assert shown.as_html(figure, "a line") == shown.as_html(figure, "a line")


def test_what_is_no_figure_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"show\(\) got DataFrame; pass a Figure, an Axes or a seaborn grid"):
        shown.show(training())


def test_a_figure_without_rows_says_why_and_other_errors_are_raised(capsys):
    with shown.or_reason():
        figures.safety_by_stage(pd.DataFrame())
    assert capsys.readouterr().out == "This run has no such figure. The table is empty.\n"
    with pytest.raises(ValueError, match="needs the columns"), shown.or_reason():
        figures.safety_by_stage(pd.DataFrame({"game": ["a game"]}))


def test_the_panels_of_a_saved_figure_have_rounded_places():
    """The solver of the layout varies in the last digits, which once changed a file of the same figure."""
    figure, _ = plt.subplots(2, 3, layout="constrained")
    theme.settle(figure, 200)
    bounds = [value for panel in figure.axes for value in panel.get_position().bounds]
    assert bounds == pytest.approx([round(value, 6) for value in bounds], abs=1e-12) and len(set(bounds)) > 4
    plt.close(figure)
