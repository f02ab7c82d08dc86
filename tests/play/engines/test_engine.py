"""The engines against `generate` itself, a full forward, and the model's own distribution."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy import stats
from transformers import DynamicCache, GenerationConfig, Qwen3Config, Qwen3ForCausalLM, set_seed

from sepo_lib import games
from sepo_lib.chat import templates
from sepo_lib.play import engines, models, rollouts
from sepo_lib.play.engines import (
    GenerateEngine,
    SharedPrefixEngine,
    StaticEngine,
    answer_tree,
    base,
    prefix_cache,
    shared_prefix,
    vllm,
)
from sepo_lib.play.policy import LanguageModelPolicy

VOCABULARY, END = 24, 1
every = pytest.mark.parametrize("Engine", [SharedPrefixEngine, GenerateEngine, StaticEngine])


@pytest.fixture(scope="module")
def model():
    set_seed(3)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        pad_token_id=0,
        eos_token_id=END,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config).eval()


def prompts_of(count, seed=0):
    """Prompts that share their beginning, of different lengths, some of them equal."""
    rng = np.random.default_rng(seed)
    return [
        [2, 3, 4, *rng.integers(2, VOCABULARY, size=rng.integers(1, 5)).tolist()] for _ in range(count - 1)
    ] + [[2, 3, 4, 5]]


@pytest.fixture(scope="module")
def nano():
    return models.load("nano")


def uniforms(count, length, seed=1):
    return np.random.default_rng(seed).random((count, length))


def test_greedy_answers_equal_generate_token_for_token(model):
    prompts = prompts_of(12)
    samples = SharedPrefixEngine(model, [END]).sample(prompts, uniforms(12, 10), temperature=0)
    for prompt, sample in zip(prompts, samples, strict=True):
        ids = torch.tensor([prompt], device=model.device)
        whole = model.generate(ids, max_new_tokens=10, do_sample=False, attention_mask=torch.ones_like(ids))
        assert sample.ids == whole[0, len(prompt) :].tolist()


def test_many_answers_to_few_prompts_and_the_reverse_read_the_prompts_that_they_belong_to(model):
    """Slots of many seats, slots copied for a prompt that has most of the answers, and slots dropped."""
    few, many = [[2, 3, 4], [2, 3, 5, 6, 7]], [[2, 9, own] for own in range(10, 20)]
    prompts = [few[0]] * 40 + [few[1]] * 3 + many
    drawn = uniforms(len(prompts), 8)
    for end in ([END], [END, *range(2, 12)]):  # answers that go on, and answers of which most end soon
        together = SharedPrefixEngine(model, end).sample(prompts, drawn, 1.5)
        alone = GenerateEngine(model, end, at_once=1).sample(prompts, drawn, 1.5)
        assert [sample.ids for sample in together] == [sample.ids for sample in alone]
        for ours, plain in zip(together, alone, strict=True):
            assert ours.logps == pytest.approx(plain.logps, abs=1e-5)


def test_nodes_take_the_seats_of_their_prompts():
    cache, numbers = DynamicCache(), torch.arange(6.0).view(6, 1, 1, 1)
    cache.update(numbers, numbers, layer_idx=0)
    prompts = shared_prefix.PromptSlots(cache, torch.ones(6, 1))

    def seats_after(parents):  # prompts of the slots (their keys say which), seats of each, seats of nodes
        prompts.follow(torch.tensor(parents))
        return prompts.cache.layers[0].keys.flatten().tolist(), prompts.width, prompts.seat_N.tolist()

    assert seats_after([0, 1, 1, 2, 3, 4]) == ([0, 1, 2, 3, 4, 5], 2, [0, 2, 3, 4, 6, 8])
    parents = [0] * 12 + [1, 3, 4, 5]  # 6 slots would have 12 seats each; 7 slots with 4 do
    assert seats_after(parents) == ([0, 0, 0, 1, 2, 3, 4], 4, [*range(12), 12, 16, 20, 24])
    assert seats_after([15]) == ([4], 1, [0])  # 7 slots would have 1 seat each


def test_attention_that_does_more_is_refused():
    with pytest.raises(ValueError, match="attention with 'softcap'"):
        shared_prefix.attend(None, None, None, None, None, 1.0, None, softcap=50.0)


@pytest.mark.parametrize("name", games.GAMES)
def test_greedy_answers_equal_generate_on_prompts_of_every_game(nano, name):
    model, tokenizer = nano
    end = templates.end_ids(model, tokenizer)
    policy = LanguageModelPolicy(SharedPrefixEngine(model, end), tokenizer, 0.0, 32)
    plans = rollouts.plan(games.get(name), "paper", {"train": 1, "exploiter": 1}, seed=3)
    decisions = [d for episode in rollouts.play(policy, plans) for d in episode.decisions]
    answers = {tuple(d.prompt_ids): d.completion_ids for d in decisions}
    assert len(answers) > 4
    for prompt, answer in answers.items():
        ids = torch.tensor([prompt], device=model.device)
        whole = model.generate(ids, max_new_tokens=32, do_sample=False, attention_mask=torch.ones_like(ids))
        assert answer == whole[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    "build",
    [
        SharedPrefixEngine,
        lambda model, end: SharedPrefixEngine(model, end, max_rows=2),
        lambda model, end: StaticEngine(model, end, max_rows=2),
        GenerateEngine,
        lambda model, end: GenerateEngine(model, end, at_once=3),
    ],
)
def test_a_batch_samples_what_each_prompt_samples_alone(model, build, monkeypatch):
    monkeypatch.setattr(prefix_cache, "_CALL_COST", 0)  # read every shared prefix apart
    engine = build(model, [END])
    prompts, u = prompts_of(20) * 2, uniforms(40, 8)
    together = engine.sample(prompts, u, temperature=0.8)
    for number, prompt in enumerate(prompts):
        alone = engine.sample([prompt], u[number : number + 1], temperature=0.8)[0]
        assert together[number].ids == alone.ids


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_all_engines_give_the_same_answers_to_the_same_uniforms(model, temperature):
    prompts, u = prompts_of(30), uniforms(30, 8)
    shared, one = SharedPrefixEngine(model, [END]), GenerateEngine(model, [END], at_once=1)
    pairs = zip(shared.sample(prompts, u, temperature), one.sample(prompts, u, temperature), strict=True)
    for ours, plain in pairs:
        assert ours.ids == plain.ids
        np.testing.assert_allclose(ours.logps, plain.logps, atol=1e-5)


@pytest.mark.parametrize("value", [1, 20, 0.5, [[5]]], ids=repr)
def test_no_field_of_the_model_s_generation_config_changes_an_answer(model, monkeypatch, value):
    """Every field there is, to whatever it is set: no_repeat_ngram_size, num_beams, min_new_tokens, ..."""
    prompts, u = prompts_of(4), uniforms(4, 3)
    expected = [sample.ids for sample in SharedPrefixEngine(model, [END]).sample(prompts, u, 1.5)]
    fields = [name for name in vars(GenerationConfig()) if not name.startswith("_")]
    assert len(fields) > 50 and {"num_beams", "eos_token_id", "min_new_tokens"} <= set(fields)
    engine = GenerateEngine(model, [END])
    for name in [*fields, "a_field_of_its_own"]:
        given = GenerationConfig()
        setattr(given, name, value)
        monkeypatch.setattr(model, "generation_config", given)
        assert [sample.ids for sample in engine.sample(prompts, u, 1.5)] == expected, name
        assert model.generation_config is given and getattr(given, name) == value


def test_an_adapter_s_model_is_sampled_without_its_generation_config_and_keeps_it(model):
    prompts, u = prompts_of(8), uniforms(8, 8)
    expected = [sample.ids for sample in SharedPrefixEngine(model, [END]).sample(prompts, u, 1.5)]
    usual = model.generation_config
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.generation_config = given = GenerationConfig(no_repeat_ngram_size=1)
    assert [s.ids for s in GenerateEngine(adapted, [END]).sample(prompts, u, 1.5)] == expected
    with pytest.raises(IndexError):  # a token that there is not
        GenerateEngine(adapted, [END]).sample([[VOCABULARY]], u[:1], 1.5)
    assert model.generation_config is adapted.generation_config is given
    adapted.unload()
    model.generation_config = usual


@every
def test_an_answer_is_finished_where_it_ends_with_an_end_token_even_at_the_last_place(model, Engine):
    prompts = [[2, 3, 4, 5]] * 200
    long = Engine(model, [END]).sample(prompts, uniforms(200, 6), 1.5)
    cut = Engine(model, [END]).sample(prompts, uniforms(200, 6)[:, :3], 1.5)
    for whole, sample in zip(long, cut, strict=True):
        assert sample.ids == whole.ids[:3]
        assert sample.finished == (END in sample.ids) == (len(whole.ids) <= 3 and whole.finished)
    assert any(len(s.ids) == 3 and s.finished for s in cut) and not all(s.finished for s in cut)


@every
def test_log_probabilities_equal_a_full_forward(model, Engine):
    prompts = prompts_of(10)
    samples = Engine(model, [END]).sample(prompts, uniforms(10, 8), 0.8)
    for prompt, sample in zip(prompts, samples, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + sample.ids], device=model.device)).logits[
                0, len(prompt) - 1 : -1
            ]
        expected = torch.log_softmax(logits / 0.8, dim=-1)[range(len(sample.ids)), sample.ids]
        np.testing.assert_allclose(sample.logps, expected.cpu().numpy(), atol=1e-5)


@every
def test_the_sampled_distribution_is_the_model_s(model, Engine):
    prompt, count = [2, 3, 4, 5], 6000
    samples = Engine(model, [END]).sample([prompt] * count, uniforms(count, 1), temperature=1.0)
    with torch.no_grad():
        logits = model(torch.tensor([prompt], device=model.device)).logits[0, -1]
        p = torch.softmax(logits.double(), dim=-1).cpu().numpy()
    seen = np.bincount([s.ids[0] for s in samples], minlength=VOCABULARY)
    assert stats.chisquare(seen, p * count).pvalue > 1e-3
    wrong = np.roll(p, 1)
    assert stats.chisquare(seen, wrong * count).pvalue < 1e-6  # the test can fail


@pytest.mark.parametrize("as_trees", [True, False])
def test_scores_are_the_log_probabilities_of_whole_answers(model, monkeypatch, as_trees):
    if not as_trees:
        monkeypatch.setattr(answer_tree, "supports", lambda model: False)
        monkeypatch.setattr(answer_tree, "_ROWS", 2)
    prompts = [[2], [2, 3, 4], [2, 3, 4], [2, 3, 4], [2, 3, 9, 9, 9]]
    answers = [[8, END], [5, END], [6, 7, END], [6, 8, 8, END], [5, END]]
    scores = SharedPrefixEngine(model, [END]).score(prompts, answers, temperature=0.8)
    for prompt, answer, score in zip(prompts, answers, scores, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer], device=model.device)).logits[
                0, len(prompt) - 1 : -1
            ]
        expected = torch.log_softmax(logits / 0.8, dim=-1)[range(len(answer)), answer].sum()
        assert score == pytest.approx(float(expected), abs=1e-5)


@every
def test_an_answer_ends_at_the_end_token_and_empty_prompts_are_refused(model, Engine):
    engine = Engine(model, list(range(VOCABULARY)))
    assert [len(s.ids) for s in engine.sample([[2, 3], [4]], uniforms(2, 6), 0.8)] == [1, 1]
    with pytest.raises(ValueError, match="no empty prompt"):
        engine.sample([[]], uniforms(1, 2), 0.8)


def test_engines_have_names_and_without_vllm_its_error_says_what_to_do(nano, monkeypatch):
    assert isinstance(engines.make(*nano, "shared_prefix"), SharedPrefixEngine)
    assert isinstance(engines.make(*nano, "generate"), GenerateEngine)
    with pytest.raises(ValueError, match="choose from auto, static, shared_prefix, generate, vllm"):
        engines.make(*nano, "fast")
    monkeypatch.setattr(vllm, "is_vllm_available", lambda: False)
    with pytest.raises(ImportError, match=r"pip install 'trl\[vllm\]'.*`engine` to auto"):
        engines.make(*nano, "vllm")


@pytest.mark.parametrize("vocabulary", [5, 256, 700])
def test_a_token_is_the_inverse_transform_of_its_uniform(vocabulary):
    rng = np.random.default_rng(vocabulary)
    logits = torch.tensor(rng.normal(0, 3, (4, vocabulary)), dtype=torch.float32)
    logits[1, ::2] = -torch.inf
    rows, uniforms = torch.arange(400) % 4, torch.tensor(rng.random(400))
    tokens, logps = base.pick_tokens(logits, rows, uniforms, 0.8)
    p = torch.softmax(logits.double() / 0.8, dim=-1)
    expected = [
        int(np.searchsorted(p[r].cumsum(0), u, side="right")) for r, u in zip(rows, uniforms, strict=True)
    ]
    assert tokens.tolist() == expected
    assert logps.numpy() == pytest.approx(p[rows, tokens].log().numpy(), abs=1e-5)
    assert base.pick_tokens(logits, rows, uniforms, 0)[0].tolist() == logits.argmax(dim=-1)[rows].tolist()


def test_top_p_draws_from_the_most_probable_tokens_and_leaves_log_probabilities_alone():
    """Probabilities .5, .3, .15 and .05 over two blocks of the vocabulary: the first two add up to 0.8."""
    p = torch.full((1, 300), 1e-12, dtype=torch.float64)
    places = [290, 7, 3, 299]
    p[0, places] = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    uniform = torch.arange(0.0005, 1, 0.001, dtype=torch.float64)
    rows = torch.zeros(len(uniform), dtype=torch.long)
    for top_p, kept in ((0.79, 2), (0.81, 3), (0.5, 1), (0.999, 4)):
        tokens, logps = base.pick_tokens(p.log().float(), rows, uniform, 1.0, top_p)
        shares = {place: (tokens == place).double().mean().item() for place in places[:kept]}
        total = p[0, places[:kept]].sum()
        assert shares == {place: pytest.approx((p[0, place] / total).item(), abs=2e-3) for place in shares}
        assert logps.numpy() == pytest.approx(p[0, tokens].log().numpy(), abs=1e-5)
    assert base.pick_tokens(p.log(), rows, uniform, 0, 0.5)[0].unique().tolist() == [290]


@pytest.mark.parametrize("name", ["shared_prefix", "generate"])
def test_an_engine_with_top_p_never_writes_a_rare_token(name, nano):
    model, tokenizer = nano
    ids = tokenizer("You play 8 rounds.", add_special_tokens=False)["input_ids"]
    written = {}
    for top_p in (1.0, 0.3):
        engine = engines.make(model, tokenizer, name, top_p=top_p)
        written[top_p] = engine.sample([ids] * 60, uniforms(60, 1), 1.0)
    p = torch.softmax(model(torch.tensor([ids])).logits[0, -1].double(), dim=-1)
    rarer = {
        token: p[p > p[token]].sum().item() for one in written.values() for token in [s.ids[0] for s in one]
    }
    assert all(rarer[sample.ids[0]] < 0.3 for sample in written[0.3])
    assert any(rarer[sample.ids[0]] > 0.3 for sample in written[1.0])


def test_an_engine_without_top_p_says_so(nano):
    for name in ("static", "vllm"):
        with pytest.raises(ValueError, match=f"^The engine {name} has no top_p; choose shared_prefix or gen"):
            engines.make(*nano, name, top_p=0.9)


def test_tokens_of_many_answers_are_those_of_each_alone():
    """With more answers than blocks of the vocabulary the cumulative sums are made once a block."""
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(2, 600, generator=generator)  # 6 blocks
    rows, uniform = torch.arange(50) % 2, torch.rand(50, dtype=torch.float64, generator=generator)
    together = base.pick_tokens(logits, rows, uniform, 0.8)
    alone = [base.pick_tokens(logits, rows[b : b + 1], uniform[b : b + 1], 0.8) for b in range(50)]
    assert together[0].tolist() == [token.item() for token, _ in alone]
    assert together[1].tolist() == [logp.item() for _, logp in alone]
