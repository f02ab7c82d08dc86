"""Which layers LoRA adapts, what it says about them, and the merge."""

import copy

import pytest
import tiny_architectures
import tiny_models
import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from sepo_lib.config.errors import InputError
from sepo_lib.pretrained import adapters


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_models.tokenizer_of("chatml")


def empty(kind, **options):
    """The model `kind` in its usual size, without weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **options))


def test_the_line_says_what_is_adapted_and_what_share_that_is(tokenizer):
    model = tiny_architectures.make("phi3", tokenizer)
    assert adapters.described(model, 4) == (
        "LoRA adapts 4 linear layers (o_proj, qkv_proj) in the 2 modules Phi3Attention. They hold 100.0% of "
        f"the weights of these modules and 6.1% of all {model.num_parameters():,} weights of the model. "
        "It trains 1,280 weights of its own (1.27%)."
    )
    text = adapters.described(tiny_architectures.make("mamba", tokenizer), 4)
    assert " (in_proj) in the 2 modules MambaMixer" in text
    assert text.endswith("It does not adapt dt_proj, out_proj, x_proj in these modules.")


@pytest.mark.parametrize(
    ("kind", "options", "adapted", "left"),
    [
        ("zamba", {}, {"in_proj", "out_proj"}, {"q_proj", "k_proj", "v_proj", "o_proj"}),  # shared
        (
            "deepseek_v32",
            {"num_hidden_layers": 2},
            {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"},
            {"wq_b", "wk", "weights_proj"},  # of the indexer, which has no gradient
        ),
        (
            "longcat_flash",
            {"num_layers": 1},
            {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"},
            set(),
        ),
        ("llama4_text", {"num_hidden_layers": 2}, {"q_proj", "k_proj", "v_proj", "o_proj"}, set()),
        ("modernbert-decoder", {}, {"q_proj", "k_proj", "v_proj", "Wo"}, set()),
        ("bart", {}, {"q_proj", "k_proj", "v_proj", "out_proj"}, set()),
        ("falcon", {}, {"query_key_value", "dense"}, set()),  # of a class of its own that computes the same
        (
            "deepseek_v4",
            {"num_hidden_layers": 3},
            {"q_a_proj", "q_b_proj", "kv_proj", "gate_proj", "o_b_proj"},
            {"o_a_proj"},  # its class computes something else
        ),
        ("afmoe", {}, {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj"}),  # PEFT takes it for experts
        ("jetmoe", {"num_hidden_layers": 1}, {"kv_proj"}, {"layer"}),  # of a router
        ("phi4_multimodal", {}, {"qkv_proj", "o_proj"}, set()),  # and no layer of its towers
    ],
)
def test_layers_of_the_attention_are_found_by_their_place(kind, options, adapted, left):
    found = adapters.targets(empty(kind, **options))
    assert (set(found.names()), set(found.names(left=True))) == (adapted, left)
    assert not any("vision" in name or "audio" in name or "image" in name for name in found.layers)


def test_a_model_without_such_a_layer_is_refused():
    with pytest.raises(
        InputError, match=r"^LoRA finds no linear layer to adapt in the attention of XLNetLM.*; choose"
    ):
        adapters.lora(empty("xlnet"), rank=2, alpha=4, dropout=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])  # gpt2 stores its weights transposed
def test_a_merge_rounds_once(kind, dtype, tokenizer):
    model = tiny_architectures.make(kind, tokenizer).to(dtype)
    base = copy.deepcopy(model)
    config = adapters.lora(model, rank=4, alpha=8, dropout=0.0)
    adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    torch.manual_seed(1)
    deltas = {}
    for name in config.target_modules:
        layer = adapted.base_model.model.get_submodule(name)
        first, second = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        first.data.normal_(std=0.02), second.data.normal_(std=0.02)
        delta = 2.0 * second.float() @ first.float()
        deltas[name] = delta.T if kind == "gpt2" else delta
    merged = adapters.merge(adapted)
    assert {p.dtype for p in merged.parameters()} == {dtype}
    for name, delta in deltas.items():
        exact = (base.get_submodule(name).weight.float() + delta).to(dtype)
        assert torch.equal(merged.get_submodule(name).weight, exact)
