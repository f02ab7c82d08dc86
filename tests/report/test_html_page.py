"""The report is one page that needs nothing but itself and says what the tables say."""

import base64
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.report import claims, html_page

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def evaluation() -> pd.DataFrame:
    rows = [("base", None, None, -3.0), ("sft", None, None, 0.5), ("sepo", "credited", "unbiased", 1.25)]
    return pd.DataFrame(
        [
            dict(profile="p", model="m<1>", game="kuhn", pools="paper", stage=stage, arm=arm, preset=preset)
            | dict(seed=seed, step=0, reported=True, safety=value + seed / 10, exploit=0.0, nra=0.0)
            for seed in (1, 2, 3)
            for stage, arm, preset, value in rows
        ]
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run with two tables, two figures and a manifest."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    table = evaluation()
    paths.write_table(table, "p", "evaluation")
    exact = table.assign(pool_advantage=0.0)
    paths.write_table(claims.decide(table, pd.DataFrame(), exact, "p", "m<1>"), "p", "claims")
    paths.figures("p").mkdir(parents=True)
    for name in ("training_curves_ipd", "safety_by_stage"):
        (paths.figures("p") / f"{name}.png").write_bytes(PNG)
    manifest = {
        "commit": {"commit": "abc123", "dirty": True},
        "hardware": {"processor": "a chip", "memory_gib": 8},
        "stages": {"sft": {"seconds": 90}, "sepo": {"seconds": 210}},
        "job_seconds": 400,
        "settings": {"workers": 2},
        "finished": None,
    }
    paths.run("p").mkdir(parents=True)
    paths.manifest("p").write_text(json.dumps(manifest))
    return tmp_path


class Page(HTMLParser):
    """The page's tags, attributes and texts; unbalanced tags show in `open`."""

    VOID = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.texts, self.open, self.references = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.references += [value for key, value in attrs if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_one_self_contained_page(run):
    file = html_page.build("p")
    assert file == run / "runs" / "p" / "report.html"
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.references) == 2 and all(
        ref.startswith("data:image/png;base64,") for ref in page.references
    )
    assert base64.b64decode(page.references[0].split(",")[1]) == PNG
    assert not re.search(r"https?://|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_it_says_what_the_tables_say(run):
    page = Page(html_page.build("p").read_text(encoding="utf-8"))
    assert {"abc123 with changes", "processor a chip, memory gib 8", "m<1>", "1, 2, 3", "5"} <= set(
        page.texts
    )  # 300 s: 5 min
    decided = paths.read_table("p", "claims")
    for verdict, mark in (("supported", "✓"), ("inconclusive", "?"), ("not run", "–")):
        assert page.texts.count(f"{mark} {verdict}") == (decided["verdict"] == verdict).sum() > 0
    assert not re.search(r"\bnan\b", " ".join(page.texts))
    first = page.texts.index("published")  # the paper's own recipe comes first
    assert page.texts.index("✓ supported") > first
    assert "95% t over 3 seeds; none: equal in all seeds" in page.texts and "not trained here" in page.texts
    assert "Every number" not in " ".join(page.texts)
    # SEPO: 1.35, 1.45, 1.55: mean 1.45, standard error .1 / sqrt(3), times 4.303
    cells = [text for text in page.texts if text]
    assert cells[cells.index("SEPO, unbiased") :][:4] == ["SEPO, unbiased", "3", "1.45", "1.2 to 1.7"]
    assert [figures.CAPTIONS["safety_by_stage"], figures.CAPTIONS["training_curves"]] == [
        text for text in page.texts if text in figures.CAPTIONS.values()
    ]


def test_without_a_manifest_the_tables_speak(run):
    paths.manifest("p").unlink()
    page = Page(html_page.build("p").read_text(encoding="utf-8"))
    assert "abc123 with changes" not in page.texts and {"Kuhn poker", "1, 2, 3"} <= set(page.texts)


def test_a_missing_table_names_its_notebook(run):
    paths.table("p", "claims").unlink()
    with pytest.raises(FileNotFoundError, match="05_figures"):
        html_page.build("p")


def test_it_says_where_the_weights_of_J_are_not_the_games_own():
    table = pd.DataFrame({"game": ["kuhn", "split"], "model": "nano", "seed": 1})
    assert "other weights of J" not in html_page.facts({}, table)
    changed = table.assign(train_weights=['{"exploit": 9.0, "collusion": 2.4}', float("nan")])
    said = html_page.facts({}, pd.concat([changed, changed]))["other weights of J"]
    assert said == "Kuhn poker in training (exploit 9.0, collusion 2.4)"
