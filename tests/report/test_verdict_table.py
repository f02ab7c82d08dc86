"""The verdicts as a narrow table: its rows by hand, and the HTML that a notebook shows."""

import pandas as pd

from sepo_lib.report import claims, verdict_table

ROWS = [
    # claim, recipe, scope, measured, low, high, interval, verdict, reason
    ("C3", "published", "one", 1.5, 1.0, 2.0, "95% t over 3 seeds", "supported", "the interval lies above 0"),
    ("C3", "published", "both", None, None, None, "none", "not supported", "one: supported; two: not"),
    ("C3", "unbiased", "one", None, None, None, "none", "not run", "not trained here"),
    ("C3", "unbiased", "two", None, None, None, "none", "not run", "not trained here"),
    ("C3", "authors_current", "one", None, None, None, "none", "not run", "not trained here"),
    ("C5", None, None, 0.0, None, None, "none", "inconclusive", "one seed"),
]
COLUMNS = "claim recipe scope measured ci_low ci_high interval verdict reason".split()


def decided():
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    return table.assign(statement=table["claim"].map({"C3": "SFT < SEPO.", "C5": "It is zero."}))


def test_a_row_for_every_verdict_that_was_run_and_one_for_each_reason_of_the_others():
    first, last = verdict_table.entries(decided())
    assert (first["claim"], first["statement"], first["rule"]) == (
        "C3",
        "SFT < SEPO.",
        claims.RULES["C3"].text,
    )
    assert [(row["recipe"], row["verdict"], row["measured"], row["interval"]) for row in first["rows"]] == [
        ("published: one", "supported", "1.5 [1, 2]", "95% t over 3 seeds"),
        ("published: both", "not supported", "one: supported; two: not", ""),
        ("unbiased: one, two; authors_current: one", "not run", "not trained here", ""),
    ]
    assert [row["recipe"] for row in last["rows"]] == ["all recipes"]


def test_the_table_has_three_columns_and_escapes_what_it_shows():
    html = verdict_table.as_html(decided())
    assert html.count("<th style") == 3 and html.count('<th colspan="3"') == html.count("<details") == 2
    assert "C3. SFT &lt; SEPO." in html and "SFT < SEPO" not in html
    assert "<code>evaluation.csv</code>" in html and "`" not in html and "*" not in html  # the rule of C3
    assert html.count("✓ supported") == 1 and html.count("– not run") == 1


def test_show_displays_the_table_and_the_claims_as_text(monkeypatch):
    seen = []
    monkeypatch.setattr(verdict_table, "display", lambda data, raw: seen.append(data))
    verdict_table.show(decided())
    assert seen == [{"text/html": verdict_table.as_html(decided()), "text/plain": claims.as_text(decided())}]


def test_the_verdicts_of_smoke_say_that_they_mean_nothing():
    for profile, expected in (("smoke", 1), ("laptop", 0)):
        table = decided().assign(profile=profile)
        for shown in (verdict_table.as_html(table), claims.as_text(table)):
            assert shown.count("its verdicts and numbers mean nothing") == expected and "nan" not in shown
