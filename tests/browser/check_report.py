"""Look at a run's report.html in a browser: `python tests/browser/check_report.py runs/laptop/report.html`.

Needs Chromium (`apt-get install chromium`) and Playwright (`pip install playwright`), and says so and ends if
they are missing. With `--axe axe.min.js` (`npm install axe-core`) it also checks the accessibility. It writes
screenshots at 1280 and 390 pixels, light and dark, and the printed PDF into `--out`. The exit status is the
number of faults.
"""

import argparse
import shutil
import sys
from pathlib import Path

WIDTHS = (1280, 390)
SLICE = 1800  # pixels of the height of one screenshot
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: Faults of the page at one width, one sentence each.
FAULTS = """() => {
  const faults = [], wide = document.documentElement;
  document.querySelectorAll('details').forEach(one => { one.open = true });
  if (wide.scrollWidth > wide.clientWidth) {
    const out = [...document.querySelectorAll('body *')].filter(one =>
      one.getBoundingClientRect().right > wide.clientWidth + 1 && !one.closest('.canvas, .skip'));
    faults.push(`the page is ${wide.scrollWidth - wide.clientWidth} pixels too wide: ` +
      out.slice(0, 3).map(one => one.outerHTML.slice(0, 120)).join(' | '));
  }
  for (const image of document.images) {
    const name = image.alt.slice(0, 60);
    if (!image.complete || !image.naturalWidth) faults.push(`an image is not loaded: ${name}`);
    if (!image.alt) faults.push('an image has no alt text');
    const own = image.closest('figure').querySelector('figcaption').getBoundingClientRect();
    if (own.top < image.closest('.canvas').getBoundingClientRect().bottom - 1)
      faults.push(`a caption lies over its figure: ${name}`);
  }
  for (const link of document.querySelectorAll('a[href^="#"]'))
    if (!document.getElementById(link.getAttribute('href').slice(1)))
      faults.push(`a link leads nowhere: ${link.getAttribute('href')}`);
  const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
  for (const id of new Set(ids.filter((one, at) => ids.indexOf(one) !== at)))
    faults.push(`the id ${id} occurs twice`);
  for (const cell of document.querySelectorAll('td, dd, li, p')) {
    const box = cell.getBoundingClientRect();
    if (box.width && box.width < 60 && cell.innerText.trim().split(/\\s+/).length > 3)
      faults.push(`text is squeezed into ${Math.round(box.width)} pixels: ${cell.innerText.slice(0, 60)}`);
  }
  return faults;
}"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path, help="folder of the screenshots")
    parser.add_argument("--axe", type=Path, help="axe.min.js of the npm package axe-core")
    given = parser.parse_args(arguments)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser = None
    if browser is None:
        print("skipped: this check needs Chromium and the Python package playwright")
        return 0
    faults: list[str] = []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                faults += [f"{width} {scheme}: {one}" for one in look(started, given, width, scheme)]
        started.close()
    print("\n".join(faults) or f"{given.page}: no faults")
    return len(faults)


def look(browser, given: argparse.Namespace, width: int, scheme: str) -> list[str]:
    """The faults of the page at one width and colour scheme; writes its screenshots."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, faults = context.new_page(), []
    url = given.page.resolve().as_uri()
    page.on(
        "request", lambda sent: sent.url in (url,) or sent.url.startswith("data:") or faults.append(sent.url)
    )
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    page.goto(url)
    name = f"{given.page.parent.name}_{width}_{scheme}"
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=given.out / f"{name}_top.png")
        if (width, scheme) == (WIDTHS[0], "light"):
            page.pdf(path=given.out / f"{given.page.parent.name}.pdf", format="A4", print_background=True)
    faults += page.evaluate(FAULTS)  # opens everything that can be opened
    if given.out:
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": width, "height": SLICE})
        for number, top in enumerate(range(0, height, SLICE)):  # one picture of so long a page takes too long
            page.evaluate(f"window.scrollTo(0, {top})")
            page.screenshot(path=given.out / f"{name}_{number:02}.png", timeout=120_000)
    if given.axe:
        page.evaluate(given.axe.read_text(encoding="utf-8"))
        for one in page.evaluate("() => axe.run()")["violations"]:
            where = "; ".join(node["html"][:100] for node in one["nodes"][:3])
            line = f"axe, {one['impact']}: {one['help']} ({len(one['nodes'])}): {where}"
            if one["impact"] in ("serious", "critical"):
                faults.append(line)
            else:
                print(f"{width} {scheme}: {line}")
    context.close()
    return faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
