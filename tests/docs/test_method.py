"""The tables of docs/method.md are those of the code and of the committed results."""

import re

import pages
import pandas as pd
import pytest

from sepo_lib import games
from sepo_lib.method import credit

TEXT = (pages.REPOSITORY / "docs" / "method.md").read_text(encoding="utf-8")
ROWS = [[re.sub("`", "", cell) for cell in row] for row in pages.rows(TEXT)]
SHIPPED = [game for name, game in games.GAMES.items() if name in {row[0] for row in ROWS}]


def row(name: str, cells: int) -> list[str]:
    return next(row for row in ROWS if row[0] == name and len(row) == cells)


def test_every_game_of_the_kit_is_described():
    ours = [name for name, game in games.GAMES.items() if type(game).__module__.startswith("sepo_lib.")]
    assert [game.name for game in SHIPPED] == ours


@pytest.mark.parametrize("game", SHIPPED, ids=lambda game: game.name)
def test_a_game(game):
    _, _, rounds, _, _, reference, weights = row(game.name, 7)
    assert (int(rounds), float(reference)) == (game.rounds, game.max_payoff)
    own = game.train_weights
    assert [float(weight) for weight in weights.split(",")] == [own.exploit, own.collusion, own.externality]
    assert game.evaluation_weights.collusion == (1.0 if "negotiation" in game.traits else own.collusion)


@pytest.mark.parametrize("game", SHIPPED, ids=lambda game: game.name)
def test_the_pools_of_a_game(game):
    for pool, cell in zip(games.POOLS, row(game.name, 5)[1:], strict=True):
        opponents = list(game.pool("paper", pool))
        if counted := re.match(r"\d+", cell):
            assert int(counted[0]) == len(opponents)
        else:
            assert re.findall(r"\b[a-z]+(?:_[a-z0-9]+)*\b", re.sub(r"\(.*?\)", "", cell)) == opponents


def test_the_presets():
    table = pages.rows(pages.section(TEXT, "What this kit does instead"))
    switches = {row[0].split(" ")[0]: [cell.strip("`") for cell in row[1:]] for row in table if len(row) == 4}
    for at, name in enumerate(("published", "authors_current", "unbiased")):
        estimator = credit.preset(name)
        values = {switch: cells[at] for switch, cells in switches.items()}
        assert values.pop("credit") == estimator.arm
        assert values == {switch: getattr(estimator, switch) for switch in values} and len(values) == 4


def test_the_headroom():
    table = pd.read_csv(pages.REPOSITORY / "data" / "results" / "laptop" / "headroom.csv")
    table = table[table["weights"] == "train"].assign(every=table["family"] == "every")
    gaps = table.set_index(["game", "pools", "every"])["gap"].to_dict()
    printed = {}
    for game, pools, _, family, every in pages.rows(pages.section(TEXT, "Headroom")):
        printed[game.strip("`"), pools, False] = float(family)
        printed |= {} if every == "–" else {(game.strip("`"), pools, True): float(every)}
    assert printed == pytest.approx(gaps, abs=0.00051)
