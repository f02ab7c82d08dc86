"""Lock-step play: a batch plays what single episodes play, and every decision is on record."""

import numpy as np
import pytest

from sepo_lib import games
from sepo_lib.play import engines, rollouts
from sepo_lib.play.engines import Sample
from sepo_lib.play.policy import LanguageModelPolicy, Query, load_policy


@pytest.fixture(scope="module")
def nano():
    return load_policy("nano", "float32", 0.8, 32)


@pytest.fixture(scope="module")
def policy(nano):
    return nano[2]


def small_plan(name, pools="paper"):
    counts = {"train": 2, "exploiter": 1, "collusive": 1}
    return rollouts.plan(games.get(name), pools, counts, seed=4)


@pytest.mark.parametrize("name", list(games.GAMES))
def test_a_batch_plays_the_same_episodes_as_one_at_a_time(policy, name):
    plans = small_plan(name)
    together = rollouts.play(policy, plans)
    for plan, episode in zip(plans[:3], together[:3], strict=True):
        alone = rollouts.play(policy, [plan])[0]
        assert alone.rounds == episode.rounds
        for a, b in zip(alone.decisions, episode.decisions, strict=True):
            assert (a.completion_ids, a.action, a.parsed, a.seed) == (
                b.completion_ids,
                b.action,
                b.parsed,
                b.seed,
            )
            np.testing.assert_allclose(a.logps, b.logps, atol=1e-4)


def test_hands_side_by_side_are_those_played_in_turn(policy):
    for plan in small_plan("kuhn"):
        together, ticks = rollouts.Running(plan), 0
        assert len(together.queries()) == 6
        while together.rounds is None:
            rollouts.tick(policy, [together])
            ticks += 1
        assert ticks <= 2  # a player acts at most twice in a hand
        in_turn, views = rollouts.Running(plan, in_turn=True), []
        while in_turn.rounds is None:
            (query,) = in_turn.queries()
            views.append(query.view)
            rollouts.tick(policy, [in_turn])
        one, other = together.episode(), in_turn.episode()
        assert one.rounds == other.rounds
        assert [(d.round, d.seed, d.text) for d in one.decisions] == [
            (d.round, d.seed, d.text) for d in other.decisions
        ]
        for view in views:
            assert view.payoffs == tuple(r.payoffs[0] for r in other.rounds[: view.round])


def test_the_record_is_complete_and_its_text_is_that_of_the_sampled_tokens(nano):
    _, tokenizer, policy = nano
    for episode in rollouts.play(policy, small_plan("ipd")):
        game = games.get("ipd")
        assert [d.round for d in episode.decisions] == list(range(8))
        for decision, played in zip(episode.decisions, episode.rounds, strict=True):
            assert played.actions[0] == decision.action
            assert tokenizer.decode(decision.completion_ids, skip_special_tokens=True) == decision.text
            assert len(decision.logps) == len(decision.completion_ids)
            assert tokenizer.decode(decision.prompt_ids) == decision.prompt
            if decision.parsed:
                assert game.parse(decision.text, ("COOPERATE", "DEFECT")) == decision.action


def test_prompts_made_together_are_those_made_alone(nano):
    _, tokenizer, policy = nano
    views = {name: rollouts.Running(small_plan(name)[0]).queries()[0].view for name in games.GAMES}
    chats = [games.get(name).messages(view) for name, view in views.items()]
    fresh = LanguageModelPolicy(policy.engine, tokenizer)
    fresh.encode(chats[:1])  # kept: the others are made beside it
    together = fresh.encode([*chats, chats[0]])
    assert together[0] == together[-1] and len({text for text, _ in together}) == len(chats)
    for chat, (text, ids) in zip(chats, together, strict=False):
        assert LanguageModelPolicy(policy.engine, tokenizer).encode([chat]) == [(text, ids)]
        assert all(message["content"] in text for message in chat) and tokenizer.decode(ids) == text


def test_the_base_model_s_answers_parse_in_every_game(policy):
    for name, game in games.GAMES.items():
        counts = {"train": 8, "exploiter": 8, "collusive": 8}
        played = rollouts.play(policy, rollouts.plan(game, "paper", counts, seed=9))
        parsed = [d.parsed for e in played for d in e.decisions]
        assert np.mean(parsed) >= 0.99, name


def test_an_unparsed_answer_is_kept_and_resolved_by_a_constrained_decode(nano):
    model, tokenizer, _ = nano
    engine = engines.make(model, tokenizer)
    cut_short = LanguageModelPolicy(engine, tokenizer, 0.8, max_new_tokens=1)
    episode = rollouts.play(cut_short, small_plan("kuhn")[:1])[0]
    for decision in episode.decisions:
        assert not decision.parsed
        assert len(decision.completion_ids) == 1
        assert decision.action in ("PASS", "BET", "CALL", "FOLD")
        options = decision.options
        words = [tokenizer.decode(ids, skip_special_tokens=True) for ids in options.completion_ids]
        assert words == list(options.actions) and decision.action in words
        chosen = np.array([word == decision.action for word in words])
        assert options.score(decision.action) == pytest.approx(chosen - options.probabilities)
        prompts = [decision.prompt_ids] * len(words)
        p_A = np.exp(engine.score(prompts, options.completion_ids, 0.8))  # before they are normalized
        assert 10**options.log10_mass == pytest.approx(p_A.sum(), rel=0.01)
    deal = games.get("deal")
    views = [rollouts.Running(plan).queries()[0].view for plan in small_plan("deal")[:2]]
    asked = [(games.get("kuhn"), view) for _, view in games.kuhn.INFORMATION_SETS[:3]]
    asked += [(deal, view) for view in views]
    together = cut_short.option_logps(asked)
    for (game, view), logp in zip(asked, together, strict=True):
        assert len(logp) == len(view.legal) and np.exp(logp).sum() == pytest.approx(1.0)
        assert logp == pytest.approx(cut_short.option_logps([(game, view)])[0], abs=1e-5)


def test_an_answer_that_was_cut_is_not_parsed_even_if_an_action_stands_last(nano):
    """`I take` and 1, where the next token may have been the 0 of 10, is no demand of 1."""
    _, tokenizer, _ = nano
    split = games.get("split")
    view = rollouts.Running(small_plan("split")[0]).queries()[0].view
    written = tokenizer("I take\n1", add_special_tokens=False)["input_ids"]

    class Scripted:
        """Writes the answer up to the largest number of tokens, then the end token if there is room."""

        def sample(self, prompts, uniforms_BL, temperature):
            ids = [*written, tokenizer.eos_token_id][: uniforms_BL.shape[1]]
            return [Sample(ids, [-1.0] * len(ids), ids[-1] == tokenizer.eos_token_id) for _ in prompts]

        def score(self, prompts, answers, temperature):
            return np.log(np.arange(1.0, len(answers) + 1))

    assert split.parse("I take\n1", view.legal) == 1
    queries = [Query(split, view, seed) for seed in range(40)]
    for room, parsed in [(len(written), False), (len(written) + 1, True), (32, True)]:
        answers = LanguageModelPolicy(Scripted(), tokenizer, 0.8, room).answer(queries)
        assert {answer.parsed for answer in answers} == {parsed}
        assert {answer.text for answer in answers} == {"I take\n1"}
        assert ({answer.action for answer in answers} == {1}) == parsed


@pytest.mark.parametrize("name", list(games.GAMES))
def test_the_seed_decides_and_every_rollout_has_chance_of_its_own(name):
    plans = small_plan(name)
    assert plans == small_plan(name)
    assert len({p.chance_seed for p in plans}) == len({p.seed for p in plans}) == len(plans)


def test_equal_answers_are_parsed_once(policy, monkeypatch):
    game, asked = games.get("kuhn"), []
    parse = type(game).parse
    monkeypatch.setattr(type(game), "parse", lambda *a: asked.append(a[1:]) or parse(*a))
    open_ = [rollouts.Running(plan) for plan in rollouts.plan(game, "paper", {"train": 40}, seed=4)]
    answers = rollouts.tick(policy, open_)
    assert 0 < len(asked) == len(set(asked)) < len(answers)
