"""Which switches can act in a game, against advantages of batches that were really played."""

import functools

import numpy as np
import pytest
from episodes import random_batch

from sepo_lib import games
from sepo_lib.games.base import OBJECTIVE_POOLS
from sepo_lib.measure import switches
from sepo_lib.method import credit
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer


def test_the_authors_current_code_is_published_credit_where_s_cancels():
    how, credited = credit.preset("authors_current"), credit.preset("published+credit")
    equal = {name: switches.same(how, credited, games.get(name)) for name in games.GAMES}
    assert equal == {"ipd": True, "auction": True, "split": False, "deal": False, "kuhn": True}
    assert games.get("ipd").scale == games.get("auction").scale == 1.0
    assert games.get("kuhn").scale == 1.5 and games.get("kuhn").train_weights.externality == 0.0


class RandomPolicy:
    """Draws a legal action by the seed of the decision."""

    def answer(self, queries):
        return [
            Answer(q.view.legal[np.random.default_rng(q.seed).integers(len(q.view.legal))]) for q in queries
        ]


@functools.cache
def game_batch(game, pools, seed):
    """One batch of random play as the trainer would record it, 8 rollouts against every opponent."""
    plans = rollouts.plan(game, pools, dict.fromkeys(OBJECTIVE_POOLS, 8), seed)
    played = rollouts.play(RandomPolicy(), plans)
    found = {pool: {} for pool in OBJECTIVE_POOLS}
    for pool in OBJECTIVE_POOLS:
        for key in dict.fromkeys((e.pool, e.opponent) for e in played if e.pool == pool):
            group = [e for e in played if (e.pool, e.opponent) == key]
            values = ("own_T", "other_T", "collusion_T", "externality_T")
            counts = [np.bincount([d.round for d in e.decisions], minlength=game.rounds) for e in group]
            arrays = ([[getattr(e, value) for e in group]] for value in values)
            found[pool][key] = credit.Rollouts(
                *(np.array([a], dtype=float) for a in arrays), np.array([[counts]], dtype=float)
            )
    return found


@pytest.mark.parametrize("arm", credit.ARMS)
@pytest.mark.parametrize("name", list(credit.PRESETS))
@pytest.mark.parametrize("game", [games.get(name) for name in games.GAMES], ids=list(games.GAMES))
def test_a_switch_acts_where_it_changes_an_advantage_of_played_batches(game, name, arm):
    """The floor under the deviation (1e-4) is all that a switch may change which is said not to act."""
    how = credit.preset(name, arm)
    for pools in game.pools:
        batches = [game_batch(game, pools, seed) for seed in range(3)]
        for switch, field in credit.FIELD_OF_SWITCH.items():
            ends = [
                how.with_(**{field: getattr(credit.PRESETS[end], field)}) for end in ("published", "unbiased")
            ]
            largest = 0.0
            for batch in batches:
                first, second = (credit.advantages(batch, game, end)[0] for end in ends)
                for key in first | second:
                    difference = np.abs(first.get(key, 0.0) - second.get(key, 0.0)).max()
                    largest = max(largest, float(difference))
            assert switches.acts(how, switch, game, pools) == (largest > 0.02), (switch, pools, largest)


def test_the_switches_that_cannot_act():
    ipd, kuhn = games.get("ipd"), games.get("kuhn")
    assert switches.idle("published", ipd) == switches.idle("published", kuhn) == ["published+weights"]
    assert switches.idle("authors_current", ipd) == []  # x and e of an exploiter have shares of their own
    assert switches.idle("authors_current", kuhn) == ["authors_current+weights"]  # there is no x
    assert switches.idle("unbiased", ipd) == []
    assert switches.idle("published", games.get("split")) == ["published+clamp", "published+weights"]
    assert not switches.clamp_acts(games.get("split"))  # no exploiter there can be behind in an episode
    assert switches.clamp_acts(ipd, "conflict") and switches.clamp_acts(kuhn)
    assert switches.acts(credit.preset("unbiased"), "clamp", games.get("split"))  # through the horizon
    assert not switches.acts(credit.preset("published", "reward_only"), "clamp", ipd)
    assert switches.acts(credit.preset("published", "reward_only"), "horizon", ipd)
    assert not switches.acts(
        credit.preset("published", "reward_only"), "horizon", kuhn
    )  # no hand knows another
    with pytest.raises(ValueError, match="Unknown switch 'arm'; choose from credit"):
        switches.acts(credit.preset("published"), "arm", ipd)


@pytest.mark.parametrize("how", credit.PRESETS.values(), ids=list(credit.PRESETS))
def test_the_largest_difference_between_two_arms(how):
    batch = random_batch(3)
    reward_only, per_rollout, credited = (
        credit.assign(batch, games.get("ipd"), how.with_(arm=arm))
        for arm in ("reward_only", "per_rollout", "credited")
    )
    pairs = zip(reward_only.advantages, per_rollout.advantages, strict=True)
    by_hand = max(np.abs(a - b).max() for a, b in pairs if a is not None)
    assert switches.largest_difference(reward_only, per_rollout) == by_hand > 1e-3
    pairs = zip(credited.advantages, reward_only.advantages, strict=True)
    alone = max(np.abs(a).max() for a, b in pairs if b is None)
    assert switches.largest_difference(reward_only, credited) >= alone > 0.0
