"""The report is one page that needs nothing but itself and says what the tables say."""

import itertools
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.report import claims, html_page
from sepo_lib.report.page import highlights, pictures, reference

HOSTILE = "<script>alert('x')</script>"
STAGES = [("base", None, None, -3.0), ("sft", None, None, 0.5), ("sepo", "credited", "unbiased", 1.25)]


def evaluation(seeds=(1, 2, 3), game="kuhn") -> pd.DataFrame:
    """Safety rises by 0.1 with the seed. Its differences between stages are equal in all seeds."""
    keys = dict(profile="p", model="m<1>", game=game, pools="paper", step=0, reported=True)
    return pd.DataFrame(
        [
            keys
            | dict(
                stage=stage, arm=arm, preset=preset, seed=seed, safety=value + seed / 10, exploit=0.0, nra=0.0
            )
            for seed in seeds
            for stage, arm, preset, value in STAGES
        ]
    )


def write(table: pd.DataFrame) -> None:
    """The two tables that every report needs."""
    paths.write_table(table, "p", "evaluation")
    exact = table[table["game"] == "kuhn"].assign(pool_advantage=0.0)
    paths.write_table(claims.decide(table, pd.DataFrame(), exact, "p", "m<1>"), "p", "claims")


def drawn(run, model):
    for name in ("training_curves_ipd", "safety_by_stage"):
        figure, ax = plt.subplots(figsize=(5, 2))
        ax.set_title(f"title of {name}")
        yield name, f"What to see: `J` of {HOSTILE}", figure


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run with two tables, two figures and a manifest."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr(pictures, "drawn", drawn)
    write(evaluation())
    manifest = {
        "commit": {"commit": "abc123", "dirty": True},
        "hardware": {"processor": "a chip", "cores": 2, "memory_gib": 8, "accelerator": "none"},
        "stages": {"sft": {"seconds": 90}, "sepo": {"seconds": 210}},
        "job_seconds": 400,
        "settings": {"workers": 2, "model": "m<1>", "sepo_steps": {"others": 30, "kuhn": 60}},
        "versions": {"torch": "9.9"},
        "finished": None,
    }
    paths.run("p").mkdir(parents=True)
    paths.manifest("p").write_text(json.dumps(manifest))
    return tmp_path


class Page(HTMLParser):
    """The page's tags, attributes and texts; unbalanced tags show in `open`."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.tags, self.texts, self.open = text, [], [], []
        self.feed(text)
        self.said = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())

    def of(self, tag: str, attribute: str) -> list[str]:
        return [found[attribute] for name, found in self.tags if name == tag and attribute in found]


def built() -> Page:
    return Page(html_page.build("p").read_text(encoding="utf-8"))


def test_one_page_that_needs_nothing_else(run):
    page = built()
    assert (run / "runs" / "p" / "report.html").exists() and page.open == []
    sources = page.of("img", "src")
    assert len(sources) == 2
    assert all(source.startswith("data:image/svg+xml;charset=utf-8,<svg ") for source in sources)
    source = page.source
    for picture in sources:
        assert picture in source and not set(picture) & set('\n"#&')  # they would end the address
        ElementTree.fromstring(unquote(picture.partition(",")[2]))
        source = source.replace(picture, "")
    assert not re.search(r"https?://|url\(|@import|<script", source)
    assert "prefers-color-scheme: dark" in page.source and "@media print" in page.source
    ids = [found["id"] for _, found in page.tags if "id" in found]
    links = page.of("a", "href")
    assert len(ids) == len(set(ids)) and {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert "../../data/results/p/evaluation.csv" in links and "manifest.json" in links
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


def test_figures_are_svg_with_text_a_caption_and_a_number(run):
    page = built()
    first = unquote(page.of("img", "src")[0].partition(",")[2])
    assert "title of safety_by_stage" in first  # the outcome before the course of training
    assert "Verdana, sans-serif" in first and "<dc:date>" not in first and "Matplotlib" not in first
    assert (
        page.of("img", "alt")[0]
        == f"Figure 1. {figures.FIGURES['safety_by_stage'].question} What to see: J of {HOSTILE}"
    )
    assert "<strong>Figure 1.</strong> What to see: <code>J</code> of &lt;script&gt;" in page.source


def test_a_figure_says_nothing_twice_and_refers_to_what_it_has(run):
    """Repeated styles are classes, equal markers are one, and no group is without an effect."""
    for source in built().of("img", "src"):
        text = unquote(source.partition(",")[2])
        root = ElementTree.fromstring(text)
        every = list(root.iter())
        names = [one.get("id") for one in every if one.get("id")]
        assert set(re.findall(r"#(?![0-9a-f]{6}\b)([\w-]+)", text)) == set(names)
        assert len(names) == len(set(names))
        classes = {one.get("class") for one in every if one.get("class")}
        assert set(re.findall(r"\.(s\d+)\{", text)) == classes != set()
        styles = [one.get("style") for one in every if one.get("style")]
        assert len(styles) == len(set(styles))
        assert [one for one in every if one.tag.endswith("}g") and not one.attrib] == []
        markers = [
            tuple(one.attrib[name] for name in one.attrib if name != "id")
            for one in every
            if one.tag.endswith("}path") and one.get("id")
        ]
        assert len(markers) == len(set(markers)) > 0


def test_it_says_what_the_tables_say(run):
    page = built()
    for words in (
        "a chip, 2 cores, 8 GiB of memory, accelerator: none",
        "abc123 with changes",
        "5 minutes; sum over all jobs 7 minutes",
        "30; Kuhn poker 60",
        "torch 9.9",
        "The model is m<1>.",
    ):
        assert words in page.said
    decided = claims.read("p")
    shown = [
        attributes for tag, attributes in page.tags if (attributes.get("class") or "").startswith("verdict ")
    ]
    assert len(shown) == (decided["verdict"] != "not run").sum() > 0
    assert not re.search(r"\bnan\b", page.said)
    # SEPO: 1.35, 1.45, 1.55: mean 1.45, standard error .1 / sqrt(3), times 4.303
    rows = html_page.stage_rows(evaluation())[0]
    assert rows[2] == {
        "game": "Kuhn poker",
        "stage": "SEPO, unbiased",
        "safety J": "1.45 [1.2, 1.7]",
        "advantage e": "0",
        "kind": "b",
    }
    kinds = html_page.stage_rows(evaluation())[1]
    assert kinds["b"] == "J: 95% t over 3 seeds; e: none: equal in all seeds"
    # paired by seed: 1.25 - 0.5 in every seed
    assert "Compared with SFT, SEPO ( unbiased ) is safer in Kuhn poker." in page.said
    assert "Kuhn poker 0.75 (no spread)" in page.said


def test_numbers_without_an_interval_stand_alone(run):
    write(evaluation(seeds=[7]))
    page = built()
    rows, kinds = html_page.stage_rows(evaluation(seeds=[7]))
    assert rows[0]["safety J"] == "-2.3" and kinds == {"a": "none: one seed"}
    assert "– to –" not in page.said and "There is one training seed." in page.said
    assert "safer in Kuhn poker (one training seed, so this can be evaluation noise)" in page.said


def test_the_parse_rate_is_that_of_each_recipe():
    """The lowest share of one recipe is not hidden by the mean over recipes."""
    table = evaluation().assign(parse_rate=1.0)
    ours, base = table[table["stage"] == "sepo"], table["stage"] == "base"
    theirs = ours.assign(preset="published", arm="per_rollout", parse_rate=0.75)
    limits = html_page.limits(pd.concat([table, theirs]), pd.DataFrame({"verdict": []}))
    assert limits["parsed"] == [("Kuhn poker, SEPO with published", 0.75)] and limits["rarely"] == []
    conflict = theirs.assign(pools="conflict", parse_rate=0.5)
    table.loc[base, "parse_rate"] = 0.0
    limits = html_page.limits(pd.concat([table, theirs, conflict]), pd.DataFrame({"verdict": []}))
    assert limits["parsed"] == [("Kuhn poker, base model", 0.0)]
    assert limits["rarely"] == ["Kuhn poker, base model 0%"] and limits["unlikely"] == []
    masses = table.assign(option_log10_mass=table["stage"].map({"base": -7.02}))
    limits = html_page.limits(masses, pd.DataFrame({"verdict": []}))
    assert limits["unlikely"] == ["Kuhn poker, base model 1e-7"]


def test_parts_that_are_not_there_are_named(run):
    page = built()
    assert (
        "On the paper's pools, this run trained unbiased ." in page.said
        and "comes from played hands" not in page.said
    )
    for words in (
        "This run kept no episodes",
        "There is nothing to compare",
        "Nothing was trained with published or authors_current",
    ):
        assert words in page.said
    paths.write_table(claims.read("p")[:0], "p", "claims")
    assert "No claim was decided" in built().said


def test_a_game_and_texts_of_ones_own(run):
    table = pd.concat([evaluation(), evaluation(game=HOSTILE)])
    write(table)
    paths.write_table(claims.read("p").assign(reason=HOSTILE), "p", "claims")
    page = built()
    assert "<script" not in page.source and HOSTILE in page.said
    assert (
        f"is safer in both games. Differences of J, in scaled points: Kuhn poker 0.75 (no spread); {HOSTILE}"
        in page.said
    )


def test_only_the_runs_own_model_is_shown(run):
    write(evaluation())
    other = evaluation().assign(model="another", safety=99.0)
    paths.write_table(pd.concat([evaluation(), other]), "p", "evaluation")
    page = built()
    assert "leaves out: another" in page.said and "99" not in page.said


def test_without_a_manifest_the_tables_speak(run):
    paths.manifest("p").unlink()
    page = built()
    assert "abc123" not in page.said and "Kuhn poker (kuhn)" in page.said and "1, 2, 3" in page.said


def test_jobs_of_older_code_are_said(run):
    manifest = json.loads(paths.manifest("p").read_text())
    for jobs, said in (({"a": {"seconds": 1.0}}, False), ({"a": {"reused": True}, "b": {}}, True)):
        paths.manifest("p").write_text(json.dumps(manifest | {"jobs": jobs}))
        assert ("1 of 2 jobs was made by older code (REUSE=yes)." in built().said) == said


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


def test_figures_come_from_the_tables_of_the_run_and_its_model(run, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("SEPO_ROOT", str(run))
    two = {name: figures.FIGURES[name] for name in ("safety_by_stage", "headroom")}
    monkeypatch.setattr(figures, "FIGURES", two)  # deleted entries would come back at the end of the gallery
    monkeypatch.setattr("sepo_lib.figures.gallery.FIGURES", two)
    other = evaluation().assign(model="another")
    paths.write_table(pd.concat([evaluation(), other]), "p", "evaluation")
    found = list(pictures.drawn("p", "m<1>"))
    assert [name for name, _, _ in found] == ["safety_by_stage_m-1-"]
    assert pictures.not_drawn(name for name, _, _ in found) == ["headroom"]
    plt.close("all")


def test_the_estimators_claims_stand_apart_from_the_models():
    """E1 to E5 and C5 are about tabular policies, not about the run's model."""
    columns = dict.fromkeys(("ci_low", "ci_high"), float("nan")) | {"measured": 0.5, "interval": "none"}
    columns |= {"scope": "", "reason": "", "model": "m", "profile": "p", "verdict": "supported"}
    decided = pd.DataFrame(
        [
            columns | {"claim": claim, "recipe": recipe, "statement": f"statement of {claim}"}
            for claim, recipe in (("C1", "unbiased"), ("C1", "mine"), ("E1", ""))
        ]
    )
    found = html_page.verdict_cards.cards(decided)
    assert {group: [card["claim"] for card in cards] for group, cards in found.items()} == {
        "About the models of this run": ["C1"],
        "About the gradient estimator": ["E1"],
    }
    assert "Brackets: none. The policies" in highlights._estimators(decided)
    further = decided[-1:].assign(claim="E3", interval="of 17", measured=0.25)
    trained = further.assign(claim="E7", recipe="unbiased", measured=9.0)  # about models, no fall of a cosine
    sentence = highlights._estimators(pd.concat([decided, further, trained]))
    assert "falls most in E1 (statement of E1): by 0.5. The other falls are: E3 0.25." in sentence
    assert "Brackets: none (E1); of 17 (E3)." in sentence
    counted = html_page.verdict_cards.counts(pd.concat([decided, trained]))  # E7 is asked of one recipe alone
    assert [(row["recipe"], row["supported"]) for row in counted] == [
        ("unbiased (ours), C1 to C4", 1),
        ("the estimator alone", 1),
        ("mine, C1 to C4", 1),
    ]


def test_the_glossary_and_the_tables_are_those_of_the_documents():
    terms = dict(reference.glossary())
    assert terms["safety"] == "J with the evaluation weights." and len(terms) == len(reference.TERMS)
    assert reference.tables()["evaluation.csv"] == "One row is one evaluated policy in one game."
