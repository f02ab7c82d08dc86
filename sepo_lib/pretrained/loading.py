"""Reading a model and its tokenizer from a folder, with an error in one sentence where they cannot be used.

transformers itself fills in random numbers for weights that a file lacks, and asks on the terminal whether it
may run code that a model brings along.
"""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from sepo_lib.chat import templates
from sepo_lib.config import paths
from sepo_lib.config.errors import DamagedError, InputError

_ANOTHER = "choose another model"


def read(
    folder: Path, dtype: torch.dtype, chat: bool = True
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast | None]:
    """The model in `folder`, on the CPU, and its tokenizer, which pads on the left.

    A tokenizer without a padding token gets its end token for that; without `chat` none is read. Raises
    InputError for what is no causal language model, for code that the model brings along, and for a tokenizer
    that does not fit the model; DamagedError if weights are missing.
    """
    shown = paths.shown(folder)
    words = tokenizer(folder) if chat else None
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, trust_remote_code=False, output_loading_info=True
        )
    except (ValueError, KeyError, ImportError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"{shown} cannot be loaded as a causal language model: {reason(error)}; {_ANOTHER}."
        ) from error
    if missing := sorted(report["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DamagedError(
            f"The weights in {shown} lack {missing[0]}{more}; save or download the model again."
        )
    if not _looks_back_only(model):
        raise InputError(f"{shown}: {type(model).__name__} also reads the tokens that follow; {_ANOTHER}.")
    return model, fitting(model, words, shown) if words else None


def tokenizer(folder: Path, config: PretrainedConfig | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer in `folder`; `config` is that of its model, if the folder has none.

    Raises InputError if it cannot be loaded.
    """
    options = {"config": config} if config else {}
    try:
        return AutoTokenizer.from_pretrained(
            str(folder), padding_side="left", trust_remote_code=False, **options
        )
    except Exception as error:  # of several libraries, each with its own
        raise InputError(
            f"The tokenizer in {paths.shown(folder)} cannot be loaded: {reason(error)}; save it with "
            "transformers, which writes tokenizer.json."
        ) from error


def fitting(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, shown: str
) -> PreTrainedTokenizerFast:
    """The tokenizer of the model in the folder `shown`, which pads with its end token if it has no other.

    Raises InputError if it writes tokens that the model lacks.
    """
    _check_tokens(model, tokenizer, shown)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.decode([templates.end_of_answer(tokenizer)])
    return tokenizer


def reason(error: Exception) -> str:
    """The first sentence of an error of transformers, in the kit's own words for the usual ones."""
    text = " ".join(str(error).split())
    if "ignore_mismatched_sizes" in text:
        return "its weights do not have the shapes that its config.json gives"
    if "trust_remote_code" in text:
        return "it brings code of its own along, which the kit does not run"
    if text.startswith("Unrecognized configuration class"):
        kind = text.partition("configuration class <class '")[2].partition("'")[0].rsplit(".", 1)[-1]
        return f"transformers has none for {kind.removesuffix('Config')}"
    return text.partition(". ")[0].rstrip(".!")[:200] or type(error).__name__


def _looks_back_only(model: PreTrainedModel) -> bool:
    """Whether a prediction is the same whatever follows: configurations of encoders leave that open."""
    if getattr(model.config, "is_decoder", None) is not False:
        return True
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[1, 2], [1, 3]])).logits[:, 0].float()
    return torch.allclose(logits[0], logits[1], rtol=0, atol=1e-5 * float(logits.abs().max()))


def _check_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, shown: str) -> None:
    """Raise InputError if prompts or answers have a token for which the model has no embedding."""
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    text = templates.render(tokenizer, [chat])[0] + templates.render(tokenizer, [chat[:1]], True)[0]
    highest = max(
        [*tokenizer(text, add_special_tokens=False)["input_ids"], *templates.end_ids(model, tokenizer)]
    )
    size = model.get_input_embeddings().weight.shape[0]
    if highest >= size:
        raise InputError(
            f"The tokenizer in {shown} writes the token {highest} ({tokenizer.decode([highest])!r}), but the "
            f"model has {size} embeddings; pass a model and a tokenizer that belong together."
        )
