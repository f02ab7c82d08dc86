"""The verdicts in words, and the sentences at the top of README, from verdicts that are set by hand."""

import pandas as pd

from sepo_lib.config import paths
from sepo_lib.report import claims, estimators_page, short_verdicts

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE, NOT_RUN = "supported", "not supported", "inconclusive", "not run"


def decided(*rows):
    columns = ["claim", "recipe", "scope", "verdict"]
    return pd.DataFrame(
        [dict(zip(columns, row, strict=True)) | {"statement": f"About {row[0]}."} for row in rows]
    )


def test_a_claim_has_a_column_for_each_recipe_that_was_run_and_its_parts_where_they_differ():
    table = decided(
        ("C1", "published", "", NOT_SUPPORTED),
        ("C1", "authors_current", "", NOT_RUN),
        ("C1", "unbiased", "", INCONCLUSIVE),
        ("C3", "published", "split", NOT_SUPPORTED),
        ("C3", "published", "deal", SUPPORTED),
        ("C3", "unbiased", "split", SUPPORTED),
        ("C3", "unbiased", "deal", SUPPORTED),
        ("C5", "", "", SUPPORTED),
        ("C1b", "unbiased", "", SUPPORTED),
    )
    first, third, fifth = short_verdicts.by_recipe(table)
    ours, theirs = short_verdicts.TITLES["unbiased"], short_verdicts.TITLES["published"]
    assert list(first) == ["claim", "statement", theirs, ours]
    assert (first[theirs], first[ours]) == ("✗ not supported", "? inconclusive")
    assert (third[theirs], third[ours]) == ("✗ split; ✓ deal", "✓ supported")
    assert fifth[theirs] == fifth[ours] == "✓ supported"  # it has no recipe


def test_the_kit_s_claims_stand_by_run_and_every_game_stands_for_single_games():
    one = decided(
        ("C1b", "published", "", NOT_SUPPORTED),
        ("C1b", "unbiased", "", SUPPORTED),
        ("E7", "unbiased", "paper pools, ipd", SUPPORTED),
        ("E7", "unbiased", "paper pools, kuhn", NOT_SUPPORTED),
        ("E7", "unbiased", "paper pools, every game", NOT_SUPPORTED),
        ("C2", "unbiased", "", SUPPORTED),
    )
    other = decided(("E7", "unbiased", "paper pools, every game", NOT_RUN))
    below, seven = short_verdicts.by_run({"study": one, "laptop": other})
    assert below == {"claim": "C1b", "statement": "About C1b.", "`study`": "✓ supported", "`laptop`": "–"}
    assert (seven["`study`"], seven["`laptop`"]) == ("✗ not supported", "– not run")


def test_the_sentence_on_the_claims_counts_the_paper_s_recipe_and_names_what_needs_no_penalty(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    assert short_verdicts.sentences("study") == []
    table = decided(
        ("C1", "published", "", NOT_SUPPORTED),
        ("C2", "published", "", SUPPORTED),
        ("C2", "unbiased", "", NOT_SUPPORTED),
        ("C3", "published", "split", NOT_SUPPORTED),
        ("C3", "published", "deal", SUPPORTED),
        ("C5", "", "", SUPPORTED),
        ("E1", "", "", NOT_SUPPORTED),
    )
    paths.write_table(table.assign(model="nano", reason="", interval="none"), "study", "claims")
    control = decided(("C1", "reward_only", "", NOT_SUPPORTED), ("C2", "reward_only", "", SUPPORTED))
    text = "Of [the paper's claims](#the-papers-claims), judged for its own recipe, C2 and C5 are supported; "
    text += "C1 is not supported; C3 has parts with different verdicts."
    assert short_verdicts.in_brief("study") == text
    monkeypatch.setattr(claims, "control", lambda run: control)
    assert short_verdicts.in_brief("study") == f"{text} C2 (About C2) holds without a penalty too."
    paths.write_table(table[table["recipe"] != "published"].assign(model="nano"), "study", "claims")
    assert short_verdicts.in_brief("study") is None


def test_the_sentence_on_the_gradient_needs_all_three_estimators(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    rows = {"published": "0.436", "authors' current code": "0.742", "unbiased, scaled": "0.976"}
    made = [{"estimator": name, "settings": 21, "mean cosine": cosine} for name, cosine in rows.items()]
    monkeypatch.setattr(estimators_page, "summary", lambda table, size: made)
    assert estimators_page.in_brief("study") is None  # no table
    paths.write_table(pd.DataFrame({"term": ["J"]}), "study", "estimators")
    text = estimators_page.in_brief("study")
    assert (
        "is 0.44 for the paper's estimator, 0.74 for the authors' current one and 0.98 for the kit's" in text
    )
    assert text.endswith("the policy is a small table, not the language model.")
    made.pop()
    assert estimators_page.in_brief("study") is None
