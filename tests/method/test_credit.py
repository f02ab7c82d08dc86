"""Credit assignment against hand-computed advantages, and the identities the paper's argument rests on."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from episodes import episode

from sepo_lib import games
from sepo_lib.method import credit
from sepo_lib.play import rollouts
from sepo_lib.play.policy import Answer
from sepo_lib.studies import published

IPD, KUHN = games.get("ipd"), games.get("kuhn")
SETTINGS = [credit.preset(name) for name in credit.PRESETS]


def random_batch(seed=0, rollouts=4, rounds=3):
    rng = np.random.default_rng(seed)
    pools = {"train": ["a", "b"], "exploiter": ["x", "y"], "collusive": ["z"]}
    return [
        episode(
            pool,
            opponent,
            rollout,
            own=rng.normal(size=rounds).tolist(),
            other=(rng.normal(size=rounds) + 0.5).tolist(),
            collusion=rng.integers(2, size=rounds).astype(float).tolist(),
            externality=rng.random(rounds).tolist(),
        )
        for pool, names in pools.items()
        for opponent in names
        for rollout in range(rollouts)
    ]


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


@pytest.mark.parametrize("how", SETTINGS, ids=list(credit.PRESETS))
def test_the_largest_difference_between_two_arms(how):
    batch = random_batch(3)
    reward = how.with_(arm="reward_only")
    assert credit.largest_difference(batch, IPD, reward, "constant") <= 1e-12
    other, own = advantages(batch, how.with_(arm="per_rollout")), advantages(batch, reward)
    by_hand = max(np.abs(a - b).max() for a, b in zip(own, other, strict=True) if a is not None)
    assert credit.largest_difference(batch, IPD, reward, "per_rollout") == by_hand > 1e-3
    credited = advantages(batch, how.with_(arm="credited"))
    alone = max(np.abs(a).max() for a, b in zip(credited, own, strict=True) if b is None)
    assert credit.largest_difference(batch, IPD, reward, "credited") >= alone > 0.0


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
        assert given.zero_variance == 1.0
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
    fields = ("own", "other", "collusion", "externality", "decisions")
    return {
        pool: {key: credit.Rollouts(*(getattr(r, f)[batch] for f in fields)) for key, r in groups.items()}
        for pool, groups in pools.items()
    }


def record(pools):
    """Arrays of shape (1, G, T) as the episodes that they stand for."""
    values = ("own", "other", "collusion", "externality")
    return [
        episode(*key, g, *(getattr(r, value)[0, g].tolist() for value in values))
        for groups in pools.values()
        for key, r in groups.items()
        for g in range(r.own.shape[1])
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
    margin = credit.mean_margins(batch)
    assert margin["x"] == pytest.approx(
        np.mean([np.subtract(e.other_T, e.own_T) for e in batch if e.opponent == "x"])
    )
    own = credit.assign(batch, IPD, how, means=margin).advantages
    for a, b in zip(own, credit.assign(batch, IPD, how).advantages, strict=True):
        np.testing.assert_array_equal(a, b)  # what the batch itself says is the default
    ahead = credit.assign(batch, IPD, how, means={"x": 0.1, "y": 0.1}).advantages
    behind = credit.assign(batch, IPD, how, means={"x": -0.1, "y": 0.1}).advantages
    free = credit.assign(batch, IPD, how, replace(IPD.train_weights, exploit=0.0)).advantages
    for e, a, b, f in zip(batch, ahead, behind, free, strict=True):
        if e.opponent == "x":  # behind on average: its margin is not charged
            assert not np.allclose(a, f) and np.allclose(b, f)
        else:
            np.testing.assert_allclose(a, b)


def test_a_preset_with_switches_turned():
    published, unbiased = (credit.PRESETS[name] for name in ("published", "unbiased"))
    assert credit.preset("published+horizon") == published.with_(horizon="to_go")
    assert credit.preset("published+credit", "constant") == published.with_(arm="constant")
    assert credit.preset("+".join(["published", *credit.TURNS])) == unbiased
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


def test_the_authors_current_code_is_published_credit_where_s_cancels():
    how, credited = credit.preset("authors_current"), credit.preset("published+credit")
    equal = {name: credit.same(how, credited, games.get(name)) for name in games.GAMES}
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
    plans = rollouts.plan(game, pools, dict.fromkeys(credit.POOLS, 8), seed)
    played = rollouts.play(RandomPolicy(), plans)
    found = {pool: {} for pool in credit.POOLS}
    for pool in credit.POOLS:
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
        for switch, field in credit.TURNS.items():
            ends = [
                how.with_(**{field: getattr(credit.PRESETS[end], field)}) for end in ("published", "unbiased")
            ]
            largest = 0.0
            for batch in batches:
                first, second = (credit.advantages(batch, game, end)[0] for end in ends)
                for key in first | second:
                    difference = np.abs(first.get(key, 0.0) - second.get(key, 0.0)).max()
                    largest = max(largest, float(difference))
            assert credit.acts(how, switch, game, pools) == (largest > 0.02), (switch, pools, largest)


def elsewhere(name, batch, game=IPD, batches=1):
    """The advantages of a published estimator on one batch, by key, (G, T); more batches are copies of it."""
    pools = {
        pool: {
            key: credit.Rollouts(*(np.repeat(a[None], batches, axis=0) for a in vars(r).values()))
            for key, r in groups.items()
        }
        for pool, groups in batch.items()
    }
    given, _ = credit.advantages(pools, game, published.ELSEWHERE[name].estimator)
    return {key: advantage[0, 0] for key, advantage in given.items()}


def three_pools(own, decisions=None):
    """One batch in which the train group alone earns anything: `own` of shape (G, T)."""
    own = np.array(own, dtype=float)[None]
    nothing, ones = np.zeros_like(own), np.ones_like(own)
    counts = ones if decisions is None else np.array(decisions, dtype=float)[None]
    group, idle = (credit.Rollouts(o, nothing, nothing, nothing, counts) for o in (own, nothing))
    return {pool: {(pool, "a"): group if pool == "train" else idle} for pool in credit.POOLS}


def test_trajectory_estimators_by_hand():
    batch = three_pools([[1, 5], [0, 0], [6, 0]])
    returns = np.array([3.0, 0.0, 3.0])[:, None] * np.ones(2)  # s / T = 1/2, for every round of the episode
    mean, std = 2.0, np.sqrt(3.0)
    np.testing.assert_allclose(elsewhere("Dr. GRPO", batch)["train", "a"], returns - mean)
    np.testing.assert_allclose(elsewhere("RLOO", batch)["train", "a"], (returns - mean) * 3 / 2)
    np.testing.assert_allclose(
        elsewhere("GRPO by trajectory", batch)["train", "a"], (returns - mean) / std, rtol=1e-3
    )
    np.testing.assert_allclose(elsewhere("SPIRAL (RAE)", batch, batches=2)["train", "a"], returns - mean)
    with pytest.raises(ValueError, match="at least two batches"):
        elsewhere("SPIRAL (RAE)", batch)


def test_the_return_of_a_role_is_that_of_its_hands_alone():
    """Kuhn: hands 0 and 2 from the first seat, 1 and 3 from the second, which earns nothing; s / T = 3 / 8.
    The first seat earned 4 in both rollouts of the first batch, and 2 in those of the second."""
    own = np.array([[[[2.0, 0, 2, 0], [4, 0, 0, 0]]], [[[1, 0, 1, 0], [2, 0, 0, 0]]]])
    nothing, ones = np.zeros_like(own), np.ones_like(own)
    group, idle = (credit.Rollouts(o, nothing, nothing, nothing, ones) for o in (own, nothing))
    pools = {pool: {(pool, "a"): group if pool == "train" else idle} for pool in credit.POOLS}
    given = credit.advantages(pools, KUHN, published.ELSEWHERE["SPIRAL (RAE)"].estimator)[0]["train", "a"]
    # returns 4 and 2 with the baselines 2 and 4 from the first seat; 0 with the baseline 0 from the other
    np.testing.assert_allclose(given[0, 0], [[1.5 / 4 * 2, 0] * 2] * 2)
    np.testing.assert_allclose(given[1, 0], [[1.5 / 4 * -2, 0] * 2] * 2)
    whole = credit.advantages(pools, KUHN, published.ELSEWHERE["RLOO"].estimator)[0]["train", "a"]
    np.testing.assert_allclose(whole, 0.0)  # the six hands as one trajectory, in which all earned the same
    one_role = credit.advantages(pools, IPD, published.ELSEWHERE["SPIRAL (RAE)"].estimator)[0]["train", "a"]
    np.testing.assert_allclose(one_role[0, 0], 1 / 4 * 2 * np.ones((2, 4)))  # s / T = 1 / 4; every round


def test_a_role_is_normalized_over_all_its_turns():
    batch = three_pools([[1, 5], [0, 0]])
    to_go = np.array([[3.0, 2.5], [0.0, 0.0]])
    centred = to_go - to_go.mean()  # one seat: all four turns together
    np.testing.assert_allclose(elsewhere("MARSHAL, centred only", batch)["train", "a"], centred)
    np.testing.assert_allclose(elsewhere("MARSHAL", batch)["train", "a"], centred / to_go.std(), rtol=1e-3)
    # Kuhn: hand 0 from the first seat, hand 1 from the second; s / T = .75; turns count, not hands
    batch = three_pools([[2, -1], [-1, 1]], decisions=[[2, 1], [1, 1]])
    given = elsewhere("MARSHAL, centred only", batch, KUHN)["train", "a"]
    first = (2 * 1.5 - 0.75) / 3
    np.testing.assert_allclose(given, [[1.5 - first, -0.75], [-0.75 - first, 0.75]])


def test_a_baseline_by_turn_depends_on_how_many_turns_were_taken():
    """Rollouts 0 and 1 end after one turn, 2 and 3 take a second one; one hand, s = 1.5."""
    batch = three_pools([[4.0], [0.0], [2.0], [-2.0]], decisions=[[1], [1], [2], [2]])
    given = elsewhere("baseline by turn", batch, KUHN)["train", "a"][:, 0] / 1.5
    first, second = (4 + 0 + 0 + 0) / 4, (2 - 2) / 2  # all four have a first turn, two a second one
    np.testing.assert_allclose(given, [4 - first, 0 - first, 2 - first - second, -2 - first - second])
    even = three_pools([[4.0], [0.0], [2.0], [-2.0]])
    np.testing.assert_allclose(
        elsewhere("baseline by turn", even, KUHN)["train", "a"],
        elsewhere("Dr. GRPO", even, KUHN)["train", "a"],
    )


def test_presets_keep_the_baseline_of_their_group():
    assert {how.baseline for how in credit.PRESETS.values()} == {"group"}
    for one in published.ELSEWHERE.values():
        assert (one.estimator.arm, one.estimator.weights, one.estimator.clamp) == ("credited", "pool", "mean")
    with pytest.raises(ValueError, match="Unknown baseline 'value'; choose from group, mean, role"):
        credit.preset("unbiased").with_(baseline="value")


def test_the_switches_that_cannot_act():
    ipd, kuhn = games.get("ipd"), games.get("kuhn")
    assert credit.idle("published", ipd) == credit.idle("published", kuhn) == ["published+weights"]
    assert credit.idle("authors_current", ipd) == []  # x and e of an exploiter have shares of their own
    assert credit.idle("authors_current", kuhn) == ["authors_current+weights"]  # there is no x
    assert credit.idle("unbiased", ipd) == []
    assert credit.idle("published", games.get("split")) == ["published+clamp", "published+weights"]
    assert not credit.clamp_acts(games.get("split"))  # no exploiter there can be behind in an episode
    assert credit.clamp_acts(ipd, "conflict") and credit.clamp_acts(kuhn)
    assert credit.acts(credit.preset("unbiased"), "clamp", games.get("split"))  # through the horizon
    assert not credit.acts(credit.preset("published", "reward_only"), "clamp", ipd)
    assert credit.acts(credit.preset("published", "reward_only"), "horizon", ipd)
    assert not credit.acts(
        credit.preset("published", "reward_only"), "horizon", kuhn
    )  # no hand knows another
    with pytest.raises(ValueError, match="Unknown switch 'arm'; choose from credit"):
        credit.acts(credit.preset("published"), "arm", ipd)
