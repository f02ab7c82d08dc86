"""Tiny random models of the paper's two architectures, with the chat templates that TRL ships for them."""

from pathlib import Path

import trl
from transformers import (
    AutoTokenizer,
    Gemma4Config,
    Gemma4ForCausalLM,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    Qwen3_5Config,
    Qwen3_5ForCausalLM,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5TextConfig,
    set_seed,
)

from sepo_lib.config import paths

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
MODELS = ("qwen-text", "qwen-wrapper", "gemma-text", "gemma-wrapper")
#: Templates of older kinds: a newline behind the end token, no system role, a newline before the end token.
OLDER = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "gemma2": "<bos>{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('No system role.') }}{% else %}"
    "<|turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<turn|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n{% endif %}",
    "coder": "{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}### Response:\n{{ m['content'] }}\n<|EOT|>\n"
    "{% else %}{{ m['content'] }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}",
}


def tokenizer_of(family):
    """nano's tokenizer with the special tokens and the chat template of a family (Qwen's thinks if let)."""
    tokenizer = AutoTokenizer.from_pretrained(paths.models() / "nano", padding_side="left")
    if family in ("qwen", "chatml"):
        special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        words, template = ["<|im_start|>", "<think>", "</think>"], "qwen3_5_think"
    elif family == "coder":
        special = {"eos_token": "<|EOT|>", "pad_token": "<pad>"}
        words, template = [], None
    else:
        special = {"eos_token": "<eos>", "pad_token": "<pad>", "bos_token": "<bos>"}
        words, template = ["<|turn>", "<turn|>", "<|channel>", "<channel|>"], "gemma4_v5"
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(words, special_tokens=True)
    written = OLDER.get(family) or (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    tokenizer.chat_template = written
    return tokenizer


def _qwen(tokenizer):
    """Three layers of linear attention and one of full attention, as in every group of four of Qwen 3.5."""
    return Qwen3_5TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _gemma(tokenizer):
    """Windows of 16 tokens and full attention in turn; the last two layers share others' keys and values."""
    return Gemma4TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=6,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        global_head_dim=32,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"] * 3,
        num_kv_shared_layers=2,
        vocab_size_per_layer_input=len(tokenizer),
        hidden_size_per_layer_input=8,
        final_logit_softcapping=30.0,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )


def make(kind, folder):
    """Save a random model of `kind` (one of MODELS) and its tokenizer to `folder`, as a hub would hold it."""
    tokenizer = tokenizer_of(kind.split("-")[0])
    set_seed(3)
    vision = {"hidden_size": 16, "intermediate_size": 32}
    if kind == "qwen-text":
        model = Qwen3_5ForCausalLM(_qwen(tokenizer))
    elif kind == "qwen-wrapper":
        vision |= {"depth": 1, "num_heads": 2, "out_hidden_size": 32, "patch_size": 4}
        text = _qwen(tokenizer).to_dict()
        config = Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=True)
        model = Qwen3_5ForConditionalGeneration(config)
    elif kind == "gemma-text":
        model = Gemma4ForCausalLM(_gemma(tokenizer))
    else:
        vision |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
        audio = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        text = _gemma(tokenizer).to_dict()
        model = Gemma4ForConditionalGeneration(
            Gemma4Config(text_config=text, vision_config=vision, audio_config=audio)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
