"""An adapter is read whole, with its own tokenizer and vocabulary, or refused in one sentence."""

import json
import re
import shutil

import pytest
import tiny_architectures
import tiny_models
import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sepo_lib.config import bundled
from sepo_lib.config.errors import DamagedError, InputError
from sepo_lib.play import models
from sepo_lib.run import model_files

LORA = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
WEIGHTS = "adapter_model.safetensors"
LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_models.tokenizer_of("chatml")


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("base")
    tiny_architectures.make("llama", tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def save(base, tmp_path):
    def saved(config, tokens=None, base=base):
        """The adapter in its folder, and with PEFT; its weights are random, for `tokens` tokens."""
        model = AutoModelForCausalLM.from_pretrained(base)
        if tokens:
            model.resize_token_embeddings(tokens, mean_resizing=False)
        adapted = get_peft_model(model, config)
        torch.manual_seed(21)
        for weights in (p for p in adapted.parameters() if p.requires_grad):
            weights.data.add_(torch.randn_like(weights) * 0.2)
        adapted.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter", adapted

    return saved


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(40, 60, device=model.device)[None]).logits.cpu()


def edit(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder, change):
    save_file(
        {change(name): w for name, w in load_file(folder / WEIGHTS).items() if change(name)}, folder / WEIGHTS
    )


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(**LORA),
        LoraConfig(**LORA, use_dora=True, bias="all"),
        LoraConfig(**LORA, modules_to_save=["lm_head"]),
        LoraConfig(**LORA, trainable_token_indices=[3, 4]),
        IA3Config(target_modules=["k_proj"], feedforward_modules=[], task_type="CAUSAL_LM"),
    ],
)
def test_adapters_that_peft_merges_are_read_as_peft_reads_them(config, save):
    folder, adapted = save(config)
    assert torch.allclose(logits(models.load(str(folder))[0]), logits(adapted), atol=1e-4)


def test_weights_that_are_missing_or_left_over_are_named(save):
    folder, _ = save(LoraConfig(**LORA))
    whole = (folder / WEIGHTS).read_bytes()
    edit_weights(folder, lambda name: "layers.1" not in name and name)
    missing = r"lack model\.layers\.1\.self_attn\.q_proj\.lora_A\.weight and 3 more"
    with pytest.raises(DamagedError, match=rf"^The weights of the adapter in .*adapter {missing}; save or"):
        models.load(str(folder))
    (folder / WEIGHTS).write_bytes(whole)
    edit_weights(folder, lambda name: name.replace("self_attn", "attention"))
    both = rf"lack {LAYER}\S+ and 7 more and have model.layers.0.attention\S+ and 7 more, which its base"
    with pytest.raises(DamagedError, match=both):
        models.load(str(folder))


@pytest.mark.parametrize(
    ("fields", "gone"), [({"modules_to_save": ["lm_head"]}, "lm_head"), ({"bias": "all"}, ".bias")]
)
def test_weights_of_other_kinds_than_lora_are_missed_too(fields, gone, save, tokenizer, tmp_path):
    for part in (tiny_architectures.make("qwen2", tokenizer), tokenizer):
        part.save_pretrained(tmp_path / "qwen")
    folder, _ = save(LoraConfig(**LORA, **fields), base=tmp_path / "qwen")
    models.load(str(folder))
    edit_weights(folder, lambda name: gone not in name and name)
    with pytest.raises((DamagedError, InputError), match=rf"lack \S*{re.escape(gone)}"):
        models.load(str(folder))


def test_the_tokenizer_and_the_template_are_those_of_the_adapter(save, tokenizer):
    folder, _ = save(LoraConfig(**LORA))
    assert models.load(str(folder))[1].chat_template == tokenizer.chat_template
    own = tiny_models.tokenizer_of("chatml")
    own.chat_template = own.chat_template.replace("<|im_start|>", "<|im_start|>TRAINED ")
    (folder / "chat_template.jinja").write_text(own.chat_template)  # without a tokenizer
    assert models.load(str(folder))[1].chat_template == own.chat_template
    (folder / "chat_template.jinja").unlink()
    own.add_tokens(["Splendid"])
    template, own.chat_template = own.chat_template, None
    own.save_pretrained(folder)  # without a template
    found = models.load(str(folder))[1]
    assert found.chat_template == tokenizer.chat_template and "Splendid" in found.get_vocab()
    assert found.padding_side == "left"
    own.chat_template = template.replace("TRAINED", "Splendid")
    own.save_pretrained(folder)
    with pytest.raises(
        InputError, match=r"tokenizer in .*adapter writes the token \d+ \('Splendid'\), but the"
    ):
        models.load(str(folder))


@pytest.mark.parametrize("gone", ["*token*", "chat_template.jinja"])
def test_a_base_model_needs_no_tokenizer_and_no_template_if_the_adapter_has_them(
    gone, base, save, tokenizer, tmp_path
):
    plain = shutil.copytree(base, tmp_path / "plain")
    for file in plain.glob(gone):
        file.unlink()
    folder, adapted = save(LoraConfig(**LORA), base=plain)
    with pytest.raises(
        InputError, match=r"adapter needs its base model\. The folder .*plain' holds no model .* lacks"
    ):
        bundled.resolve(str(folder))
    tokenizer.save_pretrained(folder)
    model, found = models.load(str(folder))
    assert torch.allclose(logits(model), logits(adapted), atol=1e-4)
    assert found.chat_template == tokenizer.chat_template
    assert "base/config.json" in model_files.digests(str(folder))
    second = tmp_path / "second"
    get_peft_model(model, LoraConfig(**LORA)).save_pretrained(second)  # an adapter of the adapter
    edit(second, base_model_name_or_path=str(folder))
    assert models.load(str(second))[1].chat_template == tokenizer.chat_template
    for file in (*folder.glob("*token*"), folder / "chat_template.jinja"):
        file.unlink()
    tokenizer.save_pretrained(second)
    assert models.load(str(second))[1].chat_template == tokenizer.chat_template


@pytest.mark.parametrize("added", [8, -1])
@pytest.mark.parametrize("fields", [{"modules_to_save": ["lm_head", "embed_tokens"]}, {}])
def test_a_changed_vocabulary_is_that_of_the_adapter(fields, added, save, tokenizer):
    folder, adapted = save(LoraConfig(**LORA, **fields), tokens=len(tokenizer) + added)
    model, _ = models.load(str(folder))
    assert model.get_input_embeddings().weight.shape[0] == model.config.vocab_size == len(tokenizer) + added
    assert torch.allclose(logits(model), logits(adapted), atol=1e-4)


def test_added_tokens_are_not_made_up(save, tokenizer):
    new = list(range(len(tokenizer), len(tokenizer) + 2))
    both = {"embed_tokens": new, "lm_head": new}
    folder, adapted = save(LoraConfig(**LORA, trainable_token_indices=both), tokens=len(tokenizer) + 2)
    assert torch.allclose(logits(models.load(str(folder))[0]), logits(adapted), atol=1e-4)
    folder, _ = save(LoraConfig(**LORA, trainable_token_indices=new), tokens=len(tokenizer) + 2)
    edit_weights(folder, lambda name: "lm_head" not in name and name)
    with pytest.raises(
        DamagedError, match=r"is for \d+ tokens .* lacks lm_head\.weight; save it with save_embed"
    ):
        models.load(str(folder))


def test_an_adapter_that_cannot_be_merged_is_refused_before_a_model_is_loaded(save):
    folder, _ = save(PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    with pytest.raises(
        InputError, match="of the type PROMPT_TUNING, which cannot be merged into a model; pass"
    ):
        bundled.resolve(str(folder))


def test_an_adapter_of_itself_is_refused(save, tmp_path):
    folder, _ = save(LoraConfig(**LORA))
    other = shutil.copytree(folder, tmp_path / "other")
    for base in (folder, other):
        edit(folder, base_model_name_or_path=str(base))
        edit(other, base_model_name_or_path=str(folder))
        with pytest.raises(
            InputError, match=r"adapter_config\.json leads back to this adapter; name the model"
        ):
            bundled.resolve(str(folder))


def test_an_adapter_of_another_model_or_another_rank_is_refused(save, tmp_path, tokenizer):
    folder, _ = save(LoraConfig(**LORA))
    edit(folder, r=4)
    with pytest.raises(
        InputError, match=rf"its base model, LlamaForCausalLM: {LAYER}.lora_A.weight has another"
    ):
        models.load(str(folder))
    tiny_architectures.make("gpt2", tokenizer).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    edit(folder, base_model_name_or_path=str(tmp_path / "gpt2"))
    with pytest.raises(
        InputError, match=r"GPT2LMHeadModel: it has none of the layers that the adapter adapts"
    ):
        models.load(str(folder))
    edit(folder, peft_type="BRANDNEW")
    with pytest.raises(InputError, match=r"does not fit its base model, .*BRANDNEW"):
        models.load(str(folder))
