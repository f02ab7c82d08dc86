"""J and its terms against numbers worked out by hand."""

import pytest
from episodes import episode

from sepo_lib import games
from sepo_lib.games.base import Weights
from sepo_lib.method import objective


def test_j_scales_payoff_and_margin_but_not_the_rates():
    split = games.get("split")
    assert split.scale == pytest.approx(0.6)
    weights = Weights(exploit=3.0, collusion=2.0, externality=1.8)
    assert objective.objective(split, 2.0, 0.5, 0.1, 0.2, weights) == pytest.approx(1.2 - 0.9 - 0.2 - 0.36)


def test_the_terms_are_means_over_opponents_of_the_means_of_their_episodes():
    played = [
        episode("train", "a", 0, own=[3, 1], other=[0, 0]),
        episode("train", "a", 1, own=[0, 0], other=[0, 0], externality=[1.0, 0.0]),
        episode("train", "b", 0, own=[5, 5], other=[0, 0]),
        episode("exploiter", "strong", 0, own=[0, 2], other=[5, 5]),
        episode("exploiter", "weak", 0, own=[5, 5], other=[1, 0]),
        episode("collusive", "c", 0, own=[5, 3], other=[0, 3], collusion=[1.0, 0.0]),
    ]
    assert objective.payoff(played) == (1 + 5) / 2
    assert objective.margins(played) == {"strong": 4.0, "weak": -4.5}
    assert objective.exploit(played) == (4 + 0) / 2
    assert objective.collusion(played) == 0.5
    assert objective.externality(played) == 0.25 / 4  # two train opponents and two exploiters
    with pytest.raises(ValueError, match="collusive pool"):
        objective.collusion(played[:-1])
