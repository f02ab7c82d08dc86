"""The browser check finds what it is made to find, on a small notebook with one fault of each kind."""

import check_notebooks as check
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CELLS = """\
import matplotlib.pyplot as plt, sys; from IPython.display import HTML, Image, SVG; import pandas as pd
---
print("a line " * 17); display(pd.DataFrame({"a": [1]}), HTML("<img alt='a point' src=''>"))
---
print("a line " * 18)
---
plt.plot([1, 2]); None
---
pd.DataFrame([[123456789] * 30])
---
HTML("<svg width='9' height='9'></svg>")
---
print("careful", file=sys.stderr)
---
from sepo_lib.config import profiles; profiles.load("big")
---
1 / 0
"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        try:
            opened = check.launch(started)
        except playwright.Error as error:
            pytest.skip(f"there is no browser: {error}")
        yield opened
        opened.close()


@pytest.mark.parametrize("how", ["step", "run_all"])
def test_each_fault_is_found_where_it_is(browser, tmp_path, how):
    file = tmp_path / "notebooks" / "faults.ipynb"
    file.parent.mkdir()
    book = new_notebook(cells=[new_code_cell(cell) for cell in CELLS.split("\n---\n")])
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, file)
    with check.serve(tmp_path) as (url, _), check.opened(browser, url, file, tmp_path) as page:
        getattr(page, how)(60)
        found = page.faults()
        page.shoot("seen")
    expected = [
        ("cell 2: ", "a line of 126 characters is broken within words"),
        ("cell 3: ", "a picture has no alt text"),
        ("cell 4: ", "pixels wide, and the page"),
        ("cell 5: ", "a drawing has no title"),
        ("cell 6: ", "a warning: careful"),
        ("cell 7: ", "InputError: There is no profile 'big'; choose from"),
        ("cell 8: ", "did not run"),  # "Run all" stops at an error, and so does a reader
    ]
    assert len(found) == len(expected), found
    assert all(
        fault.startswith(cell) and what in fault for fault, (cell, what) in zip(found, expected, strict=True)
    )
    assert list(tmp_path.glob("faults-seen-*.png"))
