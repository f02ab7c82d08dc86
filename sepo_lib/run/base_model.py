"""Pre-training of `nano`, the small model that the kit makes from nothing."""

from collections.abc import Iterable
from pathlib import Path

import datasets
import tokenizers
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, set_seed

from sepo_lib import games
from sepo_lib.config import progress
from sepo_lib.config.progress import Report
from sepo_lib.training import demonstrations, sft

PRETRAIN_LEARNING_RATE = 2e-3
SHARD = "2MB"  # of the weights, so that git holds no large file
_ROLE_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def pretrain(
    folder: Path, report: Report, *, played: list[str], examples: int, seed: int, **train: int
) -> dict:
    """Make `nano`: train its tokenizer, then the model on naive play of the games `played`.

    `examples` naive decisions per game (times its `pretraining_share`). `train` holds fields of
    `sft.SFTSettings`: `steps`, `batch` and `checkpoint_every`. Saves to folder/model, the weights in parts of
    SHARD. Returns {"loss": the last loss, "parameters": the number of parameters}.
    """
    progress.doing("playing the naive examples")
    naive = datasets.concatenate_datasets(
        [
            demonstrations.build(name, examples * games.get(name).pretraining_share, seed, kind="naive")
            for name in played
        ]
    )
    expert = [demonstrations.build(game, examples, seed) for game in played]
    texts = [m["content"] for row in naive for m in row["prompt"] + row["completion"]]
    texts += 4 * [row["completion"][0]["content"] for data in expert for row in data]  # what it will write
    progress.doing("training the tokenizer")
    tokenizer = train_tokenizer(texts)
    model = new_nano(tokenizer, seed)
    settings = sft.SFTSettings(
        epochs=1, learning_rate=PRETRAIN_LEARNING_RATE, max_length=512, seed=seed, **train
    )
    data = naive.select_columns(["prompt", "completion"])
    progress.doing("preparing the training and its first step")
    log = sft.train(model, tokenizer, data, folder, settings, report)
    (folder / "model" / "model.safetensors").unlink()
    model.save_pretrained(folder / "model", max_shard_size=SHARD)
    return {"loss": log[-1]["loss"], "parameters": model.num_parameters()}


def train_tokenizer(texts: Iterable[str], vocabulary: int = 1280) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the chat template of `nano`.

    Merges may join the words of one clause, so that a fixed phrase of the rules costs one or two tokens. They
    never cross a line end, a number or the end of a clause, so that what describes the state stays separate.
    """
    tokenizer = Tokenizer(tokenizers.models.BPE())
    pieces = r"\n| ?\[?\d+[\].,;:]*|[^\n\d\[.;:]+[.;:]?|."
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(_ROLE_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=100,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=_CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=1024,
    )


def new_nano(tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """An untrained `nano`: the Qwen3 architecture with about a million parameters."""
    set_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=384,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)
