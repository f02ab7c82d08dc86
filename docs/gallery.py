"""Draw the figures of docs/gallery and write docs/gallery.md.

    python docs/gallery.py

runs every script of docs/gallery. Each draws one figure of sepo_lib/figures from a small table that the kit
did not make; the command stamps its picture as an example. The page shows the script, the picture, what the
docstring of the function says about the columns, and what docs/gallery/columns.csv says that they hold. A
test compares the committed files with what this script makes.
"""

import inspect
import os
import re
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this copy of the library, not an installed one

import matplotlib as mpl  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import pandas as pd  # noqa: E402
from matplotlib import font_manager  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

from sepo_lib import figures, games  # noqa: E402
from sepo_lib.figures import gallery  # noqa: E402
from sepo_lib.figures.rows import ordered_games  # noqa: E402

#: Figure without a table of a run -> the call that draws it from a table of the kit.
OTHERS = {
    "by_stage": 'figures.by_stage(paths.read_table("laptop", "evaluation"), "payoff")',
    "replication": 'figures.replication(paths.read_table("study", "replication"), authors.load())',
    "crossplay": 'figures.crossplay(paths.read_table("laptop", "crossplay"))',
    "transfer_matrix": 'figures.transfer_matrix(paths.read_table("study", "transfer"))',
    "bench_arms": 'figures.bench_arms(pd.read_csv("data/results/bench/bench.csv"))',
    "bench_step": 'figures.bench_step(pd.read_csv("data/results/bench/bench.csv"))',
    "bench_scaling": 'figures.bench_scaling(pd.read_csv("data/results/bench/scaling.csv"))',
}
COLOURS = 64  # of a picture, which makes it half as large
STAMP, GREY, STRIP = "example data", (138, 138, 138), 16  # the text below a picture, and its height in pixels
RUNS = ("laptop", "study")  # a figure is drawn from the first run whose table has rows
#: Library -> how it is imported in the examples.
IMPORTS = {
    "pd": "import pandas as pd",
    "authors": "from sepo_lib.measure import authors",
    "paths": "from sepo_lib.config import paths",
    "figures": "from sepo_lib import figures",
}

INTRODUCTION = """# Gallery of figures

<!-- Written by `python docs/gallery.py`. -->

Each figure of the kit is one function of `sepo_lib.figures`. It takes a table (a pandas DataFrame), and
returns a seaborn grid or a matplotlib Axes. This page draws each of them from a table that the kit did not
make: **the numbers of these tables are invented**. Games, methods and models that the kit does not know are
drawn as well, and each picture says *example data*.

Figures need NumPy, pandas, SciPy and seaborn only: `pip install <path of this repository>`. Take one of the
scripts in `docs/gallery/`, and let it read your own table. Run it from the folder of this repository:

```bash
python docs/gallery/safety_by_stage.py
```

- Most functions understand these keywords of seaborn: `hue`, `order`, `hue_order`, `palette`, `errorbar`,
  `ax`, `height`, `aspect`, `col_wrap`. `labels` renames categories, and `width=3.3` fits a figure into one
  column of a page.
- `title="My title"` stands in the place of the question above a figure, and `title=None` draws none. The axes
  are labelled as in seaborn: `grid.set_ylabels("wins")`, `grid.set_axis_labels("step", "wins")`, or
  `ax.set_ylabel("wins")` for a figure of one Axes.
- A row is one training seed. Marks are means over seeds. A table without a column `seed` is drawn too.
- A table of the kit has the column `profile`. Only of such tables do captions and legends say what the kit
  knows of its own stages and recipes. The categories of other tables keep their names.
- The returned object has an attribute `caption`. It says how to read the figure, which error bars it has, and
  which rows of the table it leaves out. Below, it stands under each picture.
- A table that cannot be drawn raises one sentence. It names the column, the values found and what is allowed.
"""


COLUMNS = """## Columns

These columns mean the same in all figures; each figure explains its others. `metric`, `metrics` and `hue`
stand for the columns that the keywords of these names choose. [results.md](results.md) defines the columns of
the tables that the kit writes.
"""


def names() -> list[str]:
    """The figures of the gallery, in the order of the report."""
    return list(figures.FIGURES)


def scripts() -> list[Path]:
    """The scripts of the gallery. Raises FileNotFoundError for a figure without a script."""
    files = [ROOT / "docs" / "gallery" / f"{name}.py" for name in names()]
    if missing := [file.name for file in files if not file.exists()]:
        raise FileNotFoundError(f"docs/gallery has no script {missing[0]}; every figure of FIGURES has one.")
    return files


def run(script: Path) -> Any:
    """Run a script, which writes its picture below the current folder. Returns its grid or Axes."""
    drawn = runpy.run_path(str(script))["drawn"]
    picture = Path("docs", "gallery", f"{script.stem}.png")
    with Image.open(picture) as large:
        small = stamped(large).quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(picture, optimize=True)
    return drawn


def stamped(picture: Image.Image) -> Image.Image:
    """The picture with a strip at its lower edge, which says at the right that its data are an example."""
    made = Image.new("RGB", (picture.width, picture.height + STRIP), "white")
    made.paste(picture.convert("RGB"), (0, 0))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 11)
    ImageDraw.Draw(made).text((made.width - 8, made.height - 4), STAMP, fill=GREY, font=font, anchor="rs")
    return made


def meanings() -> dict[tuple[str, str], str]:
    """(figure, column) -> what the column holds; the figure "" stands for all figures."""
    table = pd.read_csv(ROOT / "docs" / "gallery" / "columns.csv", keep_default_na=False)
    return {(row.figure, row.column): row.meaning for row in table.itertuples()}


def named_columns(name: str) -> list[str]:
    """The columns that the docstring of a figure function names."""
    found = []
    for sentence in columns(name):
        text = re.sub(
            r"\([^)]*\)|`[^`]*`| for [^,;.]*|the interval of a single seed in ",
            "",
            sentence.partition(": ")[2].rstrip("."),
        )
        parts = re.split(r"[,;]| and | or ", text.replace("optionally ", ""))
        found += [
            word for part in parts if re.fullmatch(r"[A-Za-z]\w*", word := part.strip().removeprefix("and "))
        ]
    return list(dict.fromkeys(found))


def explained(name: str) -> str:
    """A list of the columns of a figure that do not mean the same in all figures; empty if it has none."""
    own = {column: meaning for (figure, column), meaning in meanings().items() if figure == name}
    return "\n".join(f"- `{column}`: {meaning}" for column, meaning in own.items())


def columns(name: str) -> list[str]:
    """What the docstring of a figure function says about columns: the sentences that start with `Columns`."""
    text = " ".join(inspect.getdoc(getattr(figures, name)).split())
    found = re.findall(r"(?:(?<=\. )|^)Columns(?: of `\w+`)?: [^.]+\.", text)
    if not found:
        raise ValueError(f"The docstring of {name} has no sentence that starts with 'Columns: '.")
    return found


def example(name: str) -> str:
    """The call that draws the figure from a committed table of the kit, with its imports."""
    call = OTHERS.get(name) or _call(figures.FIGURES[name])
    return "\n".join([line for name, line in IMPORTS.items() if f"{name}." in call] + ["", call])


def page(captions: dict[str, str]) -> str:
    """The page; `captions` are those of the drawn figures, by name."""
    contents = "\n".join(f"- [{figures.FIGURES[name].question}](#{name})" for name in names())
    shared = {column: meaning for (figure, column), meaning in meanings().items() if not figure}
    table = [
        "| column | meaning |",
        "| --- | --- |",
        *(f"| `{key}` | {text} |" for key, text in shared.items()),
    ]
    about = "\n".join(["\n" + COLUMNS, *table])
    return (
        "\n".join([INTRODUCTION, contents, about, *(_section(name, captions[name]) for name in names())])
        + "\n"
    )


def main() -> None:
    """Write the pictures and the page."""
    mpl.use("agg")
    os.chdir(ROOT)
    captions = {}
    for script in scripts():
        captions[script.stem] = run(script).caption
        plt.close("all")
    (ROOT / "docs" / "gallery.md").write_text(page(captions), encoding="utf-8")


def _call(entry) -> str:
    """The call for an entry of the gallery that reads a table of a run."""
    tables = {run: gallery.table_of(run, entry) for run in RUNS}
    profile = next((run for run, table in tables.items() if len(table)), RUNS[0])
    options = {}
    if "game" in entry.split:
        options["game"] = (ordered_games(tables[profile]) if len(tables[profile]) else list(games.GAMES))[0]
    arguments = [f'paths.read_table("{profile}", "{entry.reads}")']
    arguments += ["authors.load()"] if entry.also else []
    arguments += [f'{key}="{value}"' for key, value in options.items()]
    return f"figures.{entry.name}({', '.join(arguments)})"


def _section(name: str, caption: str) -> str:
    """One figure: question, picture, caption, code, columns, and the call on a table of the kit."""
    entry = figures.FIGURES[name]
    text = (ROOT / "docs" / "gallery" / f"{name}.py").read_text(encoding="utf-8")
    _, about, code = re.match(r'"""(.*?)\n\n(.*?)\n"""\n\n(.*)', text, flags=re.DOTALL).groups()
    code = code.partition("from sepo_lib import figures\n\n")[2].rstrip()
    tables = [
        f"[{table}.csv](gallery/tables/{table}.csv)" for table in re.findall(r"tables/(\w+)\.csv", code)
    ]
    module = Path(inspect.getsourcefile(inspect.unwrap(entry.draw))).relative_to(ROOT).as_posix()
    list_of_columns = f"\n\n{own}" if (own := explained(name)) else ""
    return f"""
## {name}

**{entry.question}** {about}

![{entry.question} {about}](gallery/{name}.png)

{caption}

```python
{code}
```

{" ".join(columns(name))}{list_of_columns}

Table: {", ".join(tables)}. Script: [{name}.py](gallery/{name}.py). All options: [{module}](../{module}).

From a table of the kit:

```python
{example(name)}
```"""


if __name__ == "__main__":
    main()
