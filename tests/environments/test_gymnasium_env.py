"""Games in Gymnasium and PettingZoo: the contract of each framework, and the episodes of the kit."""

import warnings

import gymnasium
import numpy as np
import outside_play
import pages
import pytest
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import api_test, seed_test

from sepo_lib import games
from sepo_lib.environments import gymnasium_env, pettingzoo_env
from sepo_lib.environments.session import measures, setups
from sepo_lib.measure.measures import measure

NUMBERED = [game.name for game in games.having("enumerable")]
TEXT = {"text": True}


def make(game, **options):
    return gymnasium.make("sepo/Game-v0", game=game, **options)


def episode(env, **reset):
    """Play an episode by `choose`: its rewards and its last info."""
    _, info = env.reset(**reset)
    rewards, over = [], False
    while not over:
        session = env.unwrapped.session
        action = outside_play.choose(session.game, session.view)
        said = session.game.spell(action) if "messages" in info else session.view.legal.index(action)
        _, reward, over, truncated, info = env.step(said)
        rewards.append(reward)
        assert not truncated
    return rewards, info


@pytest.mark.parametrize(
    ("game", "text"), [*((name, False) for name in NUMBERED), ("ipd", True), ("deal", True)]
)
def test_gymnasium_accepts_the_environment(game, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make(game, text=text, render_mode="ansi").unwrapped)


@pytest.mark.parametrize(
    ("game", "text"), [*((name, False) for name in NUMBERED), *((name, True) for name in games.GAMES)]
)
def test_gymnasium_plays_the_episodes_of_the_kit(game, text):
    own = outside_play.played(game, {"train": 2}, seed=5)
    env = make(game, text=text)
    found = [episode(env, **({"seed": 5} if n == 0 else {})) for n in range(len(own))]
    by_place = {(info["opponent"], info["rollout"]): (rewards, info) for rewards, info in found}
    assert [info["opponent"] for _, info in found[:3]] == list(games.get(game).pools["paper"]["train"])[:3]
    for played in own:
        rewards, info = by_place[played.opponent, played.rollout]
        assert sum(rewards) == outside_play.points(played)
        assert info["collusion"] == pytest.approx(sum(played.collusion_T) / len(played.rounds))
        assert info["externality"] == pytest.approx(sum(played.externality_T) / len(played.rounds))


def test_numbers_are_the_information_sets_of_the_tabular_policies():
    env = make("kuhn", opponent="nash")
    listed = list(games.get("kuhn").enumeration.legal)
    observation, info = env.reset(seed=1)
    facts = env.unwrapped.session.view.facts
    assert listed[observation] == (facts["history"], facts["card"])
    assert info["action_mask"].tolist() == [1, 1]
    assert env.observation_space.n == len(listed) == 12


def test_rewards_are_paid_round_by_round_or_with_the_objective_at_the_end():
    own = outside_play.played("split", {"train": 1})[2]
    assert episode(make("split", opponent=own.opponent), seed=0)[0] == own.own_T.tolist()
    rewards, info = episode(make("ipd", pool="collusive", reward="objective"), seed=0)
    assert rewards[:-1] == [0.0] * 7
    assert rewards[-1] == pytest.approx(-games.get("ipd").train_weights.collusion * info["collusion"])


def test_a_text_without_an_action_ends_the_episode():
    env = make("deal", **TEXT)
    env.reset(seed=0)
    observation, reward, over, _, info = env.step("no idea")
    assert over and reward == -4 * games.get("deal").max_payoff and info["forfeited"] == 4
    assert observation == f"You left the game with 4 of 4 rounds to play. Your points: {reward:g}."


@pytest.mark.parametrize(
    ("made", "action", "sentence"),
    [
        ({"game": "ipd"}, 2, "2 is no action; choose a whole number from 0 to 1"),
        ({"game": "ipd"}, "DEFECT", "'DEFECT' is no action; choose a whole number"),
        ({"game": "ipd", "text": True}, 1, "1 is no text"),
        ({"game": "deal"}, 0, r"situations of deal cannot be listed as numbers; choose the texts .text=True"),
        ({"game": "chess"}, 0, "no game 'chess'"),
        ({"game": "ipd", "opponent": "me"}, 0, "no opponent 'me'; choose from"),
        ({"game": "ipd", "pool": "me"}, 0, "'me' is no pool; choose one of"),
    ],
)
def test_a_wrong_value_is_one_sentence(made, action, sentence):
    with pytest.raises(ValueError, match=sentence):
        env = gymnasium_env.GameEnv(**made)
        env.reset(seed=0)
        env.step(action)


@pytest.mark.parametrize("game", NUMBERED)
def test_pettingzoo_accepts_the_environment(game, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # the two remarks that every environment with a mask beside its observation gets, such as its chess
        warnings.filterwarnings("ignore", "Observation is not a NumPy array")
        warnings.filterwarnings("ignore", "Observation space for each agent probably should be")
        api_test(pettingzoo_env.GameEnv(game), num_cycles=40)
        seed_test(lambda: pettingzoo_env.GameEnv(game), num_cycles=20)
    assert "Passed API test" in capsys.readouterr().out


def self_play(env, seed):
    """Both seats by `choose`: the rewards of each."""
    env.reset(seed=seed)
    total = dict.fromkeys(env.possible_agents, 0.0)
    for agent in env.agent_iter():
        _, reward, over, _, _ = env.last()
        total[agent] += reward
        if over:
            env.step(None)
            continue
        view = env.unwrapped.table.views[pettingzoo_env.AGENTS.index(agent)]
        env.step(view.legal.index(outside_play.choose(env.unwrapped.game, view)))
    return total


@pytest.mark.parametrize("game", NUMBERED)
def test_both_seats_are_open_and_get_the_payoffs_of_the_rounds(game):
    env = pettingzoo_env.GameEnv(game)
    total = self_play(env, 11)
    rounds = env.table.rounds
    assert len(rounds) == env.game.rounds
    assert list(total.values()) == [sum(r.payoffs[seat] for r in rounds) for seat in (0, 1)]
    assert measures(env.game, rounds)["payoff"] == pytest.approx(total["player_0"] / len(rounds))


def test_a_scripted_second_seat_gives_the_episode_of_one_player():
    """Self-play against the moves of a scripted opponent is play against it."""
    setup = setups("ipd", {"train": 1})[3]  # grim: it draws nothing
    own = outside_play.played("ipd", {"train": 1})[3]
    env = pettingzoo_env.GameEnv("ipd")
    env.reset(seed=0)
    grim, total = games.get("ipd").pools["paper"]["train"][setup.opponent](np.random.default_rng(0)), 0.0
    for agent in env.agent_iter():
        _, reward, over, _, _ = env.last()
        total += reward * (agent == "player_0")
        if over:
            env.step(None)
            continue
        view = env.table.views[pettingzoo_env.AGENTS.index(agent)]
        action = outside_play.choose(env.game, view) if agent == "player_0" else grim(view)
        env.step(view.legal.index(action))
    assert total == outside_play.points(own)


def test_nobody_sees_an_action_of_the_open_round():
    env = pettingzoo_env.GameEnv("ipd")
    seen = []
    for first in (0, 1):
        env.reset(seed=0)
        env.step(first)
        seen.append((env.agent_selection, env.observe("player_1")["observation"], dict(env.rewards)))
    assert seen[0] == seen[1] and seen[0][0] == "player_1"


def test_an_illegal_number_raises():
    env = pettingzoo_env.GameEnv("split")
    env.reset(seed=0)
    for wrong in (9, -1, None):
        with pytest.raises(ValueError, match="is no action; choose a whole number from 0 to 8"):
            env.step(wrong)
    with pytest.raises(ValueError, match="situations of deal cannot be listed"):
        pettingzoo_env.GameEnv("deal")


def test_the_lines_of_the_page_play_and_learn(capsys):
    text = (pages.REPOSITORY / "docs" / "environments.md").read_text(encoding="utf-8")
    found = {}
    for section in ("What all adapters share", "Gymnasium", "PettingZoo"):
        (code,) = pages.fenced(pages.section(text, section), "python")
        exec(code, found.setdefault(section, {}))
    printed = capsys.readouterr().out.splitlines()
    own = found["What all adapters share"]["records"]
    assert printed[0] == str(measure(games.get("ipd"), own)["objective"]) and len(own) > 10
    listed = list(games.get("ipd").enumeration.legal)
    q = found["Gymnasium"]["q"]  # against tit-for-tat, it pays to cooperate after cooperation
    assert q[listed.index(("COOPERATE", "COOPERATE"))].argmax() == 0
    assert sum(found["PettingZoo"]["points"].values()) == 0
