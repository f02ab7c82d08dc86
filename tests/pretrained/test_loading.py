"""A model is read whole, with a tokenizer that fits it, or refused in one sentence."""

import json
import shutil

import pytest
import tiny_architectures
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertLMHeadModel, T5Config, T5ForConditionalGeneration

from sepo_lib.config.errors import DamagedError, InputError
from sepo_lib.play import models
from sepo_lib.pretrained import loading

WEIGHT = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("llama"), tiny_models.tokenizer_of("chatml")
    tiny_architectures.make("llama", tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "mine")


def read(folder, dtype=torch.float32):
    return loading.read(folder, dtype)


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_are_missing_are_not_made_up(folder):
    edit_weights(folder, lambda weights: weights.pop(WEIGHT))
    with pytest.raises(DamagedError, match=rf"^The weights in .*mine lack {WEIGHT}; save or download"):
        models.load(str(folder))


def test_weights_of_another_shape_are_named(folder):
    edit_weights(folder, lambda weights: weights.update({WEIGHT: torch.zeros(3, 3)}))
    with pytest.raises(InputError, match=r"its weights do not have the shapes that its config\.json gives; "):
        read(folder)


def test_code_of_a_model_is_not_run_and_nobody_is_asked(folder, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *text: pytest.fail("It asked."))
    code = {"AutoConfig": "configuration_x.C", "AutoModelForCausalLM": "modeling_x.M"}
    edit(folder / "config.json", model_type="brandnew", auto_map=code)
    with pytest.raises(InputError, match="code of its own along, which the kit does not run; choose another"):
        read(folder)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda size: None, "model type `brandnew` but Transformers does not recognize this architecture; "),
        (
            lambda size: T5ForConditionalGeneration(
                T5Config(vocab_size=size, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
            ),
            "cannot be loaded as a causal language model: transformers has none for T5; choose another model",
        ),
        (
            lambda size: BertLMHeadModel(
                BertConfig(
                    vocab_size=size,
                    hidden_size=8,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    intermediate_size=8,
                    initializer_range=1.0,
                )
            ),
            "BertLMHeadModel also reads the tokens that follow; choose another model",
        ),
    ],
)
def test_what_is_no_causal_language_model_is_named(folder, make, sentence):
    model = make(2000)
    if model is None:
        edit(folder / "config.json", model_type="brandnew")
    else:
        model.save_pretrained(folder)
    with pytest.raises(InputError, match=sentence):
        read(folder)


def test_a_decoder_whose_configuration_could_be_an_encoder_s_is_read(tmp_path):
    tokenizer = tiny_models.tokenizer_of("chatml")
    model = tiny_architectures.make("gpt_neox", tokenizer)
    assert model.config.is_decoder is False
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert type(read(tmp_path)[0]) is type(model)


@pytest.mark.parametrize("rows", [2000, -1, -5])
def test_a_vocabulary_of_another_size_is_refused_only_if_chats_need_more_tokens(folder, rows):
    model, tokenizer = read(folder)
    size = rows if rows > 0 else len(tokenizer) + rows
    model.config.pad_token_id = None
    model.resize_token_embeddings(size)
    model.save_pretrained(folder)
    edit(folder / "config.json", pad_token_id=None)
    if rows == -5:  # `<|im_start|>` and `<|im_end|>` among them
        with pytest.raises(InputError, match=rf"writes the token \d+ \('<.*>'\), but the model has {size} "):
            read(folder)
    else:
        assert read(folder)[0].get_input_embeddings().weight.shape[0] == size


@pytest.mark.parametrize("gone", [["pad_token"], ["pad_token", "eos_token"]])
def test_a_tokenizer_without_padding_pads_with_the_end_and_on_the_left(folder, gone):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name in gone:
        setattr(tokenizer, name, None)
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)
    _, found = read(folder)
    assert (found.pad_token, found.padding_side) == ("<|im_end|>", "left")


def test_a_tokenizer_that_needs_another_package_is_named(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"no vocabulary")
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")
    with pytest.raises(
        InputError, match=r"^The tokenizer in .*mine cannot be loaded: .*; save it with trans"
    ):
        read(folder)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_read_in_the_dtype_that_is_asked_for(folder, stored):
    model, _ = read(folder)
    model.to(stored).save_pretrained(folder)
    for asked in (torch.float32, torch.bfloat16):
        found, _ = read(folder, asked)
        assert {p.dtype for p in found.parameters()} == {asked}
    assert torch.equal(read(folder)[0].lm_head.weight, model.lm_head.weight.float())
