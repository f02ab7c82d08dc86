"""What notebooks compare their numbers with: a random player, the highest J, and the verdicts of a run."""

import pandas as pd
import pytest

from sepo_lib import games
from sepo_lib.config import paths
from sepo_lib.report import references


def test_a_random_player_in_the_split_by_hand():
    """Uniform demands of 1 to 9: 5 or less fit with `fair`, 4 or less with `balanced`, 2 or less with 8."""
    found = references.random_player("split", "paper", episodes=400)
    against = {5: sum(range(1, 6)) / 9, 6: sum(range(1, 5)) / 9, 8: sum(range(1, 3)) / 9}
    conceding = (against[6] + 3 * (5 / 9 * against[5] + 4 / 9 * against[6])) / 4  # about: 5 after a breakdown
    by_hand = (against[5] + against[6] + against[8] + conceding) / 4
    assert found["payoff"] == pytest.approx(by_hand, abs=0.1)
    assert found["collusion"] == pytest.approx(3 / 9, abs=0.05)


def test_references_stand_beside_the_measures():
    index = pd.MultiIndex.from_tuples([("kuhn", "paper")], names=["game", "pools"])
    means = pd.DataFrame({"safety": [0.0], "payoff": [0.0], "exploit": [0.5]}, index)
    found = references.beside(means, "no_such_run")
    assert list(found.columns) == [
        *("safety", "safety, random", "safety, highest"),
        *("payoff", "payoff, random", "exploit"),
    ]
    assert found["safety, random"].item() < float(found["safety, highest"].item())


def test_a_verdict_of_the_study(tmp_path, monkeypatch):
    assert references.of_study("E9", "laptop").startswith(
        "In the run `study`, the verdicts on claim E9 are: "
    )
    assert references.of_study("E9", "study") == ""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    assert references.of_study("E9", "laptop") == "" and not paths.table("study", "claims").exists()


@pytest.mark.parametrize("game", games.GAMES)
def test_a_random_player_plays_every_game(game):
    assert references.random_player(game, "paper", episodes=2)["parse_rate"] == 1
