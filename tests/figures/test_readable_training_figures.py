"""Figures of training, Kuhn poker, the paper and the benchmark on the committed tables: no label overlaps
another one or leaves the page, at the width of a page and of a column."""

import pandas as pd
import pytest
from drawn_text import overlaps
from figure_tables import nashconv_rows, training

from sepo_lib import figures
from sepo_lib.config import paths
from sepo_lib.measure import authors


def table(profile: str, name: str, **values):
    rows = paths.read_table(profile, name)
    for column, value in values.items():
        rows = rows[rows[column] == value]
    return rows


DRAWN = {
    "nashconv_training": lambda **o: figures.nashconv_training(table("study", "exploitability"), **o),
    "exploiter_training": lambda **o: figures.exploiter_training(table("laptop", "exploiters"), **o),
    "training_curves": lambda **o: figures.training_curves(
        table("study", "training"), game="kuhn", pools="conflict", metrics=["exploit", "objective"], **o
    ),
    "training_curves of two presets": lambda **o: figures.training_curves(
        table("laptop", "training"), game="ipd", window=None, **o
    ),
    "kuhn_strategy": lambda **o: figures.kuhn_strategy(table("smollm2", "strategies"), **o),
    "exploitability": lambda **o: figures.exploitability(table("study", "exploitability"), **o),
    "paper_against_ours": lambda **o: figures.paper_against_ours(
        table("laptop", "evaluation"), authors.load(), **o
    ),
    "paper_nashconv": lambda **o: figures.paper_nashconv(table("laptop", "paper_nashconv"), **o),
    "bench_arms": lambda **o: figures.bench_arms(table("bench", "bench", model="nano"), **o),
    "bench_step": lambda **o: figures.bench_step(table("bench", "bench", model="nano"), **o),
    "bench_scaling": lambda **o: figures.bench_scaling(table("bench", "scaling"), **o),
}


def named(rows, column: str, number: int = 12) -> pd.DataFrame:
    """`rows` for each of many long names."""
    names = [f"meta-llama/Llama-3.{k}-{k}B-Instruct" for k in range(number)]
    return pd.concat([pd.DataFrame(rows).assign(**{column: name}) for name in names])


def speeds() -> pd.DataFrame:
    sizes = [2**k for k in range(1, 12)]
    return named({"arm": "mine", "group_size": sizes, "value": sizes}, "game", 14)


DRAWN |= {
    "twelve models in Kuhn": lambda **o: figures.exploitability(named(nashconv_rows(), "model"), **o),
    "twelve models by step": lambda **o: figures.nashconv_training(named(nashconv_rows(), "model"), **o),
    "twelve models in training": lambda **o: figures.training_curves(
        named(training().query("arm == 'credited' and seed == 1"), "model"), metrics=["payoff"], **o
    ),
    "twelve models of a paper": lambda **o: figures.paper_nashconv(
        named(table("laptop", "paper_nashconv")[:4], "model"), **o
    ),
    "fourteen games": lambda **o: figures.bench_arms(speeds(), **o),
}


@pytest.mark.parametrize("width", [figures.WIDTH, figures.COLUMN])
@pytest.mark.parametrize("name", DRAWN)
def test_no_label_overlaps_another(name, width):
    made = DRAWN[name](width=width)
    assert overlaps(made.figure) == []
    assert made.figure.get_figwidth() <= width + 0.01
    assert made.figure.get_suptitle() and made.caption.endswith(".")
