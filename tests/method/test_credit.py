"""Credit assignment against hand-computed advantages, and the identities the paper's argument rests on."""

from dataclasses import replace

import numpy as np
import pytest
from episodes import episode, random_batch

from sepo_lib import games
from sepo_lib.method import credit, objective

IPD, KUHN = games.get("ipd"), games.get("kuhn")
SETTINGS = [credit.preset(name) for name in credit.PRESETS]


def advantages(batch, how, game=IPD):
    return credit.assign(batch, game, how).advantages


@pytest.mark.parametrize("how", SETTINGS, ids=list(credit.PRESETS))
@pytest.mark.parametrize("seed", range(5))
def test_a_constant_penalty_cancels(how, seed):
    batch = random_batch(seed)
    constant, reward_only = (advantages(batch, how.with_(arm=arm)) for arm in ("constant", "reward_only"))
    for one, other in zip(constant, reward_only, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("how", SETTINGS, ids=list(credit.PRESETS))
def test_a_per_rollout_penalty_does_not_cancel(how):
    batch = random_batch()
    per_rollout, reward_only = (
        advantages(batch, how.with_(arm=arm)) for arm in ("per_rollout", "reward_only")
    )
    assert (
        max(np.abs(a - b).max() for a, b in zip(per_rollout, reward_only, strict=True) if a is not None) > 0.1
    )


@pytest.mark.parametrize("how", SETTINGS, ids=list(credit.PRESETS))
def test_credited_charges_a_penalty_only_within_the_group_that_caused_it(how):
    how = how.with_(arm="credited", scale="none")
    before = random_batch()
    after = random_batch()
    guilty = next(e for e in after if e.pool == "collusive" and e.rollout == 1)
    guilty.collusion_T = [1.0 - c for c in guilty.collusion_T]
    changed = {
        (e.pool, e.opponent)
        for e, a, b in zip(after, advantages(before, how), advantages(after, how), strict=True)
        if not np.allclose(a, b)
    }
    assert changed == {("collusive", "z")}


def test_credited_lowers_the_guilty_episode_and_no_other():
    how = credit.preset("unbiased").with_(scale="none")
    batch = [e for e in random_batch() if e.pool != "collusive"] + [
        episode("collusive", "z", r, own=[3, 3], other=[3, 3], collusion=[float(r == 0), 0.0])
        for r in range(4)
    ]
    given = advantages(batch, how)[-4:]
    # lc / T = .5 for the guilty round; leave-one-out baseline: -(.5 - 0) and -(0 - .5 / 3)
    np.testing.assert_allclose(given[0], [-0.5, 0.0])
    for other in given[1:]:
        np.testing.assert_allclose(other, [0.5 / 3, 0.0])


def test_the_reward_to_go_by_hand():
    how = credit.preset("unbiased", "reward_only").with_(scale="none")
    batch = [e for e in random_batch(rollouts=2, rounds=2) if e.pool != "train"] + [
        episode("train", "a", 0, own=[5, 1], other=[0, 1]),
        episode("train", "a", 1, own=[3, 3], other=[3, 3]),
    ]
    given = advantages(batch, how)[-2:]
    # s / T = 1/2; to go: (3, .5) and (3, 1.5); minus the other rollout's
    np.testing.assert_allclose(given[0], [0.0, -1.0])
    np.testing.assert_allclose(given[1], [0.0, 1.0])
    immediate = advantages(batch, how.with_(horizon="immediate"))[-2:]
    np.testing.assert_allclose(immediate[0], [2.0, -2.0])


def test_rounds_of_a_memoryless_game_answer_for_themselves_alone():
    how = credit.preset("unbiased", "reward_only").with_(scale="none")
    batch = [e for e in random_batch(rollouts=2, rounds=2) if e.pool != "train"] + [
        episode("train", "a", 0, own=[2, -1], other=[-2, 1]),
        episode("train", "a", 1, own=[1, 1], other=[-1, -1]),
    ]
    given = advantages(batch, how, KUHN)[-2:]
    np.testing.assert_allclose(given[0], [1.5 / 2 * 1, 1.5 / 2 * -2])  # s / T = .75, no later hand counted


def test_published_advantage_is_the_formula_of_the_paper():
    batch = random_batch()
    how = credit.preset("published")
    given = advantages(batch, how)
    train = [e for e in batch if (e.pool, e.opponent) == ("train", "a")]
    reward = []
    for r, e in enumerate(train):
        exploiters = [b for b in batch if b.pool == "exploiter" and b.rollout == r]
        collusive = [b for b in batch if b.pool == "collusive" and b.rollout == r]
        e_r = np.mean([max(0.0, (b.other_T - b.own_T).mean()) for b in exploiters])
        c_r = np.mean([np.mean(b.collusion_T) for b in collusive])
        x_r = np.mean([np.mean(b.externality_T) for b in [e, *exploiters]])
        reward.append(e.own_T - (2.4 * e_r + 1.0 * c_r + 1.8 * x_r))
    reward = np.array(reward)
    expected = (reward - reward.mean(0)) / (reward.std(0, ddof=1) + 1e-4)
    np.testing.assert_allclose(np.array(given[: len(train)]), expected)


def test_only_exploiters_that_are_ahead_are_charged():
    how = credit.preset("unbiased").with_(scale="none")
    batch = [e for e in random_batch(rollouts=2, rounds=1) if e.pool != "exploiter"]
    batch += [episode("exploiter", "ahead", r, own=[0], other=[5 - r]) for r in range(2)]
    batch += [episode("exploiter", "behind", r, own=[5 - r], other=[0]) for r in range(2)]
    given = advantages(batch, how)
    # le s / 2 exploiters = 1.2 a point; rollout 0 lost one point more than rollout 1
    np.testing.assert_allclose(np.concatenate(given[-4:-2]), [-1.2, 1.2])
    np.testing.assert_allclose(np.concatenate(given[-2:]), [0.0, 0.0])


def test_the_clamp_per_episode_charges_luck_and_the_mean_does_not():
    batch = [e for e in random_batch(rollouts=2, rounds=1) if e.pool != "exploiter"]
    batch += [
        episode("exploiter", "even", 0, own=[0], other=[4]),
        episode("exploiter", "even", 1, own=[6], other=[0]),
    ]
    how = credit.preset("unbiased").with_(scale="none")
    np.testing.assert_allclose(np.concatenate(advantages(batch, how)[-2:]), [0.0, 0.0])
    clamped = advantages(batch, how.with_(clamp="episode"))[-2:]
    np.testing.assert_allclose(np.concatenate(clamped), [-2.4 * 4, 2.4 * 4])


def test_pool_weights_are_those_of_j():
    batch = random_batch()
    how = credit.preset("unbiased", "reward_only").with_(scale="none")
    pool, equal = advantages(batch, how), advantages(batch, how.with_(weights="equal"))
    np.testing.assert_allclose(pool[0] * 2, equal[0])  # two train opponents


def test_batch_scale_is_one_number_and_keeps_proportions():
    batch = random_batch()
    how = credit.preset("unbiased")
    scaled, raw = (np.concatenate(advantages(batch, h)) for h in (how, how.with_(scale="none")))
    np.testing.assert_allclose(scaled / raw, (scaled / raw)[0])
    assert np.sqrt(np.mean(scaled**2)) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("arm", credit.ARMS)
def test_batch_scale_is_the_root_mean_square_over_all_decisions_in_every_arm(arm):
    batch = random_batch()
    given = advantages(batch, credit.preset("unbiased", arm))
    square = sum(float((a**2).sum()) for a in given if a is not None)
    assert square / sum(len(e.decisions) for e in batch) == pytest.approx(1.0, rel=1e-2)


def test_equal_rewards_give_no_signal_and_are_counted():
    batch = [
        episode(pool, "o", r, own=[1, 1], other=[1, 1])
        for pool in ("train", "exploiter", "collusive")
        for r in (0, 1)
    ]
    for how in SETTINGS:
        given = credit.assign(batch, IPD, how)
        assert given.frac_reward_zero_std == 1.0
        assert all(np.all(a == 0) for a in given.advantages if a is not None)


def test_bad_batches_and_settings_are_refused():
    how = credit.preset("unbiased")
    batch = random_batch()
    with pytest.raises(ValueError, match="at least 2"):
        credit.assign(random_batch(rollouts=1), IPD, how)
    with pytest.raises(ValueError, match="collusive pool"):
        credit.assign([e for e in batch if e.pool != "collusive"], IPD, how)
    with pytest.raises(ValueError, match="same size"):
        credit.assign(batch[1:], IPD, how)
    with pytest.raises(ValueError, match="choose from published, authors_current, unbiased"):
        credit.preset("best")
    with pytest.raises(ValueError, match="choose from reward_only"):
        credit.preset("unbiased", "shared")


def array_batch(batches, groups, rollouts=4, rounds=3, seed=0):
    """Random rollouts of the core's shape, against two train opponents, two exploiters and one partner."""
    rng, shape = np.random.default_rng(seed), (batches, groups, rollouts, rounds)
    opponents = {"train": "ab", "exploiter": "xy", "collusive": "z"}
    return {
        pool: {
            (pool, name): credit.Rollouts(
                rng.normal(size=shape),
                rng.normal(size=shape),
                rng.integers(2, size=shape).astype(float),
                rng.random(shape),
                np.ones(shape),
            )
            for name in names
        }
        for pool, names in opponents.items()
    }


def part(pools, batch):
    """One batch of several."""
    return {
        pool: {key: credit.Rollouts(*(a[batch] for a in vars(r).values())) for key, r in groups.items()}
        for pool, groups in pools.items()
    }


def record(pools):
    """Arrays of shape (1, G, T) as the episodes that they stand for."""
    return [
        episode(*key, g, *(values[0, g].tolist() for values in list(vars(r).values())[:4]))
        for groups in pools.values()
        for key, r in groups.items()
        for g in range(r.own_NGT.shape[1])
    ]


@pytest.mark.parametrize("scale", ["group_std", "batch", "none"])
@pytest.mark.parametrize("arm", credit.ARMS)
@pytest.mark.parametrize("name", list(credit.PRESETS))
def test_many_batches_at_once_are_each_what_assign_gives(name, arm, scale):
    how = credit.preset(name, arm).with_(scale=scale)
    pools = array_batch(batches=3, groups=1)
    given, _ = credit.advantages(pools, IPD, how)
    for batch in range(3):
        alone = credit.assign(record(part(pools, batch)), IPD, how).advantages
        together = [a for advantage in given.values() for a in advantage[batch, 0]]
        np.testing.assert_allclose(together, [a for a in alone if a is not None], rtol=1e-12, atol=1e-14)


def test_groups_of_one_batch_share_the_clamp_and_the_scale_but_not_the_baseline():
    own = np.array([[[0.0], [0.0]], [[3.0], [1.0]]])  # (N, G, T): behind in group 0, ahead in group 1
    other = np.array([[[9.0], [7.0]], [[0.0], [0.0]]])
    nothing, ones = np.zeros_like(own), np.ones_like(own)
    pools = {
        "train": {("train", "a"): credit.Rollouts(nothing, nothing, nothing, nothing, ones)},
        "exploiter": {("exploiter", "x"): credit.Rollouts(own, other, nothing, nothing, ones)},
        "collusive": {("collusive", "z"): credit.Rollouts(nothing, nothing, nothing, nothing, ones)},
    }
    how = credit.preset("unbiased").with_(scale="none")
    given, _ = credit.advantages(pools, IPD, how)  # mean margin 3 > 0: charged in both groups; le s = 2.4
    np.testing.assert_allclose(given["exploiter", "x"][..., 0], 2.4 * np.array([[-2, 2], [2, -2]]))
    apart = {
        pool: {k: credit.Rollouts(*(a[:, None] for a in vars(r).values())) for k, r in g.items()}
        for pool, g in pools.items()
    }
    given, _ = credit.advantages(apart, IPD, how)  # two batches: nothing is charged in the second
    np.testing.assert_allclose(given["exploiter", "x"][:, 0, :, 0], 2.4 * np.array([[-2, 2], [0, 0]]))


def test_bad_arrays_are_refused():
    def rollouts(*shape):
        return credit.Rollouts(*[np.zeros(shape)] * 5)

    with pytest.raises(ValueError, match="at least 2"):
        rollouts(7, 1, 1, 3)
    with pytest.raises(ValueError, match="is empty"):
        rollouts(7, 1, 0, 3)
    with pytest.raises(ValueError, match="one shape"):
        credit.Rollouts(np.zeros((1, 2, 3)), *[np.zeros((1, 2, 2))] * 4)


def test_means_that_are_better_known_decide_who_is_ahead():
    batch = random_batch()
    how = credit.preset("unbiased").with_(scale="none")
    margin = objective.margins(batch)
    assert margin["x"] == pytest.approx(
        np.mean([np.subtract(e.other_T, e.own_T) for e in batch if e.opponent == "x"])
    )
    own = credit.assign(batch, IPD, how, mean_margins=margin).advantages
    for a, b in zip(own, credit.assign(batch, IPD, how).advantages, strict=True):
        np.testing.assert_array_equal(a, b)  # what the batch itself says is the default
    ahead = credit.assign(batch, IPD, how, mean_margins={"x": 0.1, "y": 0.1}).advantages
    behind = credit.assign(batch, IPD, how, mean_margins={"x": -0.1, "y": 0.1}).advantages
    free = credit.assign(batch, IPD, how, replace(IPD.train_weights, exploit=0.0)).advantages
    for e, a, b, f in zip(batch, ahead, behind, free, strict=True):
        if e.opponent == "x":  # behind on average: its margin is not charged
            assert not np.allclose(a, f) and np.allclose(b, f)
        else:
            np.testing.assert_allclose(a, b)


def test_a_preset_with_switches_changed():
    published, unbiased = (credit.PRESETS[name] for name in ("published", "unbiased"))
    assert credit.preset("published+horizon") == published.with_(horizon="to_go")
    assert credit.preset("published+credit", "constant") == published.with_(arm="constant")
    assert credit.preset("+".join(["published", *credit.FIELD_OF_SWITCH])) == unbiased
    with pytest.raises(
        ValueError, match="Unknown preset 'paper'; choose from published, authors_current, unbiased"
    ):
        credit.preset("paper+credit")
    with pytest.raises(ValueError, match="Unknown switch 'arm'; choose from credit, horizon"):
        credit.preset("published+arm")


def test_the_authors_current_code_by_hand():
    """Every group on its own: s times the payoff of the round, less the whole penalty of the episode; the
    group's deviation. Theirs is that of the population: longer by sqrt(G / (G - 1)) in every group of G."""
    batch, how = random_batch(), credit.preset("authors_current")
    game = games.get("split")  # s = .6; le, lc, lx = 3, 2, 1.8
    given = dict(zip(map(id, batch), advantages(batch, how, game), strict=True))

    def rewards(e):
        ahead = 0.6 * max(0.0, (e.other_T - e.own_T).mean())
        penalty = {
            "train": 1.8 * np.mean(e.externality_T),
            "exploiter": 3.0 * ahead + 1.8 * np.mean(e.externality_T),
            "collusive": 2.0 * np.mean(e.collusion_T),
        }[e.pool]
        return (0.6 * e.own_T if e.pool == "train" else np.zeros(3)) - penalty

    for key in {(e.pool, e.opponent) for e in batch}:
        group = [e for e in batch if (e.pool, e.opponent) == key]
        reward = np.array([rewards(e) for e in group])
        theirs = (reward - reward.mean(0)) / (reward.std(0) + 1e-8)
        ours = np.array([given[id(e)] for e in group])
        np.testing.assert_allclose(ours * np.sqrt(4 / 3), theirs, rtol=2e-3, atol=1e-6)
