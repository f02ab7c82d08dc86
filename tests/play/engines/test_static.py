"""The engine `static` gives the answers of `generate`; engines that cannot serve a model are found out."""

import re

import numpy as np
import pytest
import tiny_architectures
import tiny_models
import torch
import transformers
from peft import LoraConfig, get_peft_model

from sepo_lib.play import engines, models
from sepo_lib.play.engines import GenerateEngine, SharedPrefixEngine, StaticEngine, probe, static

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "pad_token_id": 0,
}
WINDOW = {"sliding_window": 6, "head_dim": 8}
TINY = {  # name -> (class, attention, fields of its configuration)
    "Llama": ("sdpa", {}),
    "Mistral": ("sdpa", WINDOW),  # a window in every layer
    "Gemma2": ("eager", WINDOW),  # a window in every second layer
    "StableLm": ("sdpa", {}),
    "GPT2": ("sdpa", {"n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}),
    "Bloom": (None, {"n_layer": 2, "n_head": 4}),
    "Mamba2": (None, {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1}),
}


def tiny(name, vocabulary=60):
    attention, fields = TINY[name]
    transformers.set_seed(3)
    config = getattr(transformers, f"{name}Config")(**SMALL, **fields, vocab_size=vocabulary)
    cls = getattr(transformers, f"{name}ForCausalLM" if name != "GPT2" else "GPT2LMHeadModel")
    return cls._from_config(config, attn_implementation=attention).to(models.device()).eval()


@pytest.fixture(scope="module")
def nano():
    return models.load("nano")


@pytest.fixture(scope="module")
def prompts():
    """A common beginning, lengths from 20 to 50, some equal prompts, one that is the beginning of all."""
    rng = np.random.default_rng(0)
    begin = rng.integers(5, 60, size=20).tolist()
    found = [begin + rng.integers(5, 60, size=size).tolist() for size in (1, 5, 9, 5, 3, 30)]
    return [*found, found[1], found[5], begin]


@pytest.fixture(scope="module")
def uniforms_BL():
    return np.random.default_rng(1).random((9, 8))


def assert_same(samples, expected):
    assert [sample.ids for sample in samples] == [sample.ids for sample in expected]
    assert [sample.finished for sample in samples] == [sample.finished for sample in expected]
    for ours, plain in zip(samples, expected, strict=True):
        np.testing.assert_allclose(ours.logps, plain.logps, atol=1e-4)


@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Gemma2", "StableLm", "GPT2", *tiny_models.MODELS])
def test_answers_are_those_of_generate(kind, prompts, uniforms_BL, tmp_path):
    if kind in TINY:
        model = tiny(kind)
    else:
        model = models.load(str(tiny_models.make(kind, tmp_path)))[0]
    engine, plain = StaticEngine(model, [7, 8]), GenerateEngine(model, [7, 8])
    for temperature in (0.0, 0.8):
        expected = plain.sample(prompts, uniforms_BL, temperature)
        assert_same(engine.sample(prompts, uniforms_BL, temperature), expected)
    parts = StaticEngine(model, [7, 8], max_rows=4)
    assert_same(parts.sample(prompts, uniforms_BL, 0.8), expected)
    few = [[9], [11], [9]]  # nothing is read before the first step; buffers hold what was there before
    assert_same(engine.sample(few, uniforms_BL[:3], 0.8), plain.sample(few, uniforms_BL[:3], 0.8))
    assert engine.sample([], uniforms_BL[:0], 0.8) == []


def test_answers_end_and_the_steps_end_with_them(nano, prompts, uniforms_BL, monkeypatch):
    model, steps = nano[0], []
    monkeypatch.setattr(
        static.Decoder, "step", lambda self, step=static.Decoder.step: steps.append(step(self))
    )
    everything = range(model.config.vocab_size)
    assert {len(s.ids) for s in StaticEngine(model, everything).sample(prompts, uniforms_BL, 0.8)} == {1}
    assert len(steps) == min(static._CHECKED[model.device.type], uniforms_BL.shape[1])
    ends = range(0, model.config.vocab_size, 3)
    some = StaticEngine(model, ends).sample(prompts, uniforms_BL, 0.8)
    assert_same(some, GenerateEngine(model, ends).sample(prompts, uniforms_BL, 0.8))
    assert len({len(sample.ids) for sample in some}) > 2


def test_weights_that_change_in_place_and_adapters_are_followed(prompts, uniforms_BL):
    model = tiny("Llama")
    engine, plain = StaticEngine(model, [7]), GenerateEngine(model, [7])
    seen = []

    def check():
        seen.append(engine.sample(prompts, uniforms_BL, 1.5))
        assert_same(seen[-1], plain.sample(prompts, uniforms_BL, 1.5))

    check()
    decoders = list(engine._decoders.values())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    check()
    assert list(engine._decoders.values()) == decoders  # the places are the same: so are the graphs
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    engine.model = plain.model = adapted.eval()
    check()
    with adapted.disable_adapter():
        check()
    assert len({str(samples) for samples in seen}) == 3 and str(seen[1]) == str(seen[3])


def test_rows_fit_the_memory(nano, monkeypatch):
    engine = StaticEngine(nano[0], [1])
    engine._refresh()
    for free, rows in ((2**40, static._ROWS[nano[0].device.type]), (2**26, 16), (2**10, 1)):
        monkeypatch.setattr(engine, "_free_bytes", lambda free=free: free)
        assert engine._most_rows(512) == rows
        assert rows == 1 or rows * engine._buffers.row_bytes(512) < free


def test_many_prompts_are_read_in_parts_of_the_memory(nano, prompts, uniforms_BL, monkeypatch):
    model, read = nano[0], []
    engine = StaticEngine(model, [1])
    expected = engine.sample(prompts, uniforms_BL, 0.8)
    monkeypatch.setattr(static, "_TOKENS", 20)
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    assert_same(engine.sample(prompts, uniforms_BL, 0.8), expected)
    hook.remove()
    # 7 distinct prompts: 19 tokens of all of them once; then the rests without the last token
    assert [shape for shape in read if shape[1] > 1] == [(1, 19), (4, 5), (2, 9), (1, 30)]


def test_what_prompts_share_is_read_with_them_where_one_call_more_costs_more(
    nano, prompts, uniforms_BL, monkeypatch
):
    model, read = nano[0], []
    engine = StaticEngine(model, [1])
    expected = engine.sample(prompts, uniforms_BL, 0.8)
    monkeypatch.setitem(static._CALL_WORTH, model.device.type, 1e12)
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    assert_same(engine.sample(prompts, uniforms_BL, 0.8), expected)
    hook.remove()
    assert [shape for shape in read if shape[1] > 1] == [(7, 49)]


def test_a_batch_that_does_not_fit_the_memory_is_divided(nano, prompts, uniforms_BL, monkeypatch):
    engine, sample, sizes = StaticEngine(nano[0], [1]), StaticEngine._sample, []
    expected = engine.sample(prompts, uniforms_BL, 0.8)

    def limited(self, prompts, *arguments):
        sizes.append(len(prompts))
        if len(prompts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return sample(self, prompts, *arguments)

    monkeypatch.setattr(StaticEngine, "_sample", limited)
    most, engine.max_rows = 3, 8
    assert_same(engine.sample(prompts, uniforms_BL, 0.8), expected)
    assert sizes == [8, 4, 2, 2, 2, 2, 1]
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        engine.sample(prompts, uniforms_BL, 0.8)


@pytest.mark.parametrize(
    ("name", "asked", "reason"),
    [
        ("StableLm", "shared_prefix", r"TypeError: .*missing 1 required positional argument: 'prompts'"),
        ("Mistral", "shared_prefix", "not every layer attends to all tokens before"),
        ("Bloom", "shared_prefix", "its log-probabilities differ by .* from those of the model"),
        ("Bloom", "static", "ValueError: "),
        ("Mamba2", "static", "its log-probabilities differ by .* from those of the model"),
    ],
)
def test_generate_replaces_an_engine_that_cannot_serve_the_model(nano, name, asked, reason, capsys):
    engine = engines.make(tiny(name, len(nano[1])), nano[1], asked)
    assert isinstance(engine, GenerateEngine)
    said = capsys.readouterr().out
    said = re.sub("The engine static runs without CUDA graphs: .*\n", "", said)  # on a GPU, before
    assert re.fullmatch(f"Engine: generate, as {asked} cannot serve {name}ForCausalLM: {reason}.*\n", said)


def test_engines_that_serve_the_model_are_kept(nano, capsys):
    auto = StaticEngine if models.device().type == "cuda" else SharedPrefixEngine
    for name, kind in (("auto", auto), ("static", StaticEngine), ("shared_prefix", SharedPrefixEngine)):
        assert type(engines.make(*nano, name)) is kind
    for name in ("StableLm", "Mistral"):
        assert type(engines.make(tiny(name, len(nano[1])), nano[1], "static")) is StaticEngine
    assert capsys.readouterr().out == ""


def test_a_model_that_cannot_go_on_from_a_shared_beginning_reads_every_prompt_whole(
    nano, prompts, uniforms_BL, capsys
):
    """Jamba's recurrent layers begin anew with every call of several tokens."""
    model = tiny_architectures.make("jamba", nano[1]).to(models.device()).eval()
    assert "log-probabilities differ" in probe.fault(StaticEngine(model, [1], shares=True), nano[1])
    engine = engines.make(model, nano[1], "static")
    assert type(engine) is StaticEngine and "from its beginning on" in capsys.readouterr().out
    low = tiny_architectures.make("jamba", nano[1]).to(models.device(), torch.bfloat16).eval()
    assert (
        engines.make(low, nano[1], "static").shares is False
    )  # the rounding hides it, but not in the states
    drawn = uniforms_BL[:, :3]
    assert_same(engine.sample(prompts, drawn, 1.0), GenerateEngine(model, [1]).sample(prompts, drawn, 1.0))


def test_the_probe_sees_a_window_that_is_ignored(nano, monkeypatch):
    model = tiny("Mistral", len(nano[1]))
    assert probe.fault(StaticEngine(model, [1]), nano[1]) is None
    whole = static.masks

    def blind(config, columns_C, position_B1, dtype):
        monkeypatch.setattr(config, "sliding_window", 999)
        try:
            return whole(config, columns_C, position_B1, dtype)
        finally:
            monkeypatch.undo()
            monkeypatch.setattr(static, "masks", blind)

    monkeypatch.setattr(static, "masks", blind)
    assert "log-probabilities differ" in probe.fault(StaticEngine(model, [1]), nano[1])


@pytest.mark.device
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_graph_gives_the_answers_of_the_step_and_is_captured_once(nano, prompts, uniforms_BL, monkeypatch):
    captured = []
    capture = static.Decoder.capture
    monkeypatch.setattr(static.Decoder, "capture", lambda self, pool: captured.append(capture(self, pool)))
    model = nano[0]
    engine, eager = StaticEngine(model, [1]), StaticEngine(model, [1], graphs=False)
    for size in (9, 9, 5, 1):
        drawn = uniforms_BL[:size]
        assert engine.sample(prompts[:size], drawn, 0.8) == eager.sample(prompts[:size], drawn, 0.8)
    assert engine.graphs and len(captured) == 3  # batches of 16, 8 and 1 rows
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    assert engine.sample(prompts, uniforms_BL, 0.8) == eager.sample(prompts, uniforms_BL, 0.8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.div_(1.01)
    assert len(captured) == 3
