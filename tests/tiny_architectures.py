"""Tiny random models of many architectures: what each differs in from SMALL, by its name in transformers.

    python tests/tiny_architectures.py

writes their table in docs/MODELS.md: the engine that each gets on a CPU, and what LoRA adapts.
"""

import sys
from pathlib import Path

from tiny_models import tokenizer_of
from transformers import AutoConfig, AutoModelForCausalLM, set_seed

from sepo_lib.play import engines
from sepo_lib.pretrained import adapters

PAGE = Path(__file__).resolve().parents[1] / "docs" / "MODELS.md"
BEGIN, END = "<!-- architectures: written by `python tests/tiny_architectures.py` -->", "<!-- end -->"
SMALL = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 1024},
    "initializer_range": 0.2,  # large enough for a wrong position or mask to show
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024, "head_dim": None}
MIXTRAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
DEEPSEEK = {
    **{"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
    **{"n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    **{"moe_intermediate_size": 16, "first_k_dense_replace": 1, "num_key_value_heads": 4},
}
DELTA_NET = {
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
    "layer_types": ["linear_attention", "full_attention"],
}
WINDOWS = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
ARCHITECTURES = {
    "afmoe": {},
    "apertus": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "cohere2": WINDOWS,
    "deepseek_v3": DEEPSEEK,
    "ernie4_5": {},
    "exaone4": WINDOWS,
    "falcon": {"head_dim": None},
    "gemma": {},
    "gemma2": WINDOWS,
    "gemma3_text": WINDOWS,
    "glm4": {},
    "gpt2": GPT2,
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "gpt_neox": {},
    "gpt_oss": {**MIXTRAL, **WINDOWS},
    "granite": {},
    "granitemoe": MIXTRAL,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 8},
    "jetmoe": {"num_local_experts": 4, "kv_channels": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "llama": {},
    "mamba": {"state_size": 8},
    "minimax": {**MIXTRAL, "layer_types": ["linear_attention", "full_attention"]},
    "mistral": {"sliding_window": 16},
    "mixtral": MIXTRAL,
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 1024},
    "nemotron": {},
    "olmo2": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3": {},
    "qwen3_moe": EXPERTS,
    "qwen3_next": {**EXPERTS, **DELTA_NET, "shared_expert_intermediate_size": 16},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "lru_width": 32},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
}


def make(kind, tokenizer):
    """A random model of the architecture `kind` for the vocabulary of `tokenizer`."""
    set_seed(3)
    ids = {f"{name}_token_id": tokenizer.eos_token_id for name in ("bos", "eos", "pad")}
    chosen = {**SMALL, **ids, **ARCHITECTURES[kind]}
    given = {name: value for name, value in chosen.items() if value is not None}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=len(tokenizer), **given))


def row(kind, model, engine):
    """The line of the table for a model and the engine that it got."""
    found = adapters.targets(model)
    layers = ", ".join(f"`{name}`" for name in found.names())
    left = f" (without {', '.join(f'`{name}`' for name in found.names(left=True))})" if found.left else ""
    name = type(engine).__module__.rpartition(".")[2]
    return f"| {kind} | {name} | {layers}{left} | {found.share():.0%} |"


def table(rows):
    """The block of docs/MODELS.md with these rows, one for every architecture."""
    head = [
        "| architecture | engine | LoRA adapts | share of the attention's weights |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([BEGIN, *head, *rows, END])


def written():
    """The block as it stands in docs/MODELS.md."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index(BEGIN) : text.index(END, text.index(BEGIN)) + len(END)]


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    tokenizer = tokenizer_of("chatml")
    made = {kind: make(kind, tokenizer).eval() for kind in ARCHITECTURES}
    block = table(row(kind, model, engines.make(model, tokenizer)) for kind, model in made.items())
    PAGE.write_text(PAGE.read_text(encoding="utf-8").replace(written(), block), encoding="utf-8")
