"""LoRA as in a run of a real model: SFT adapter, merged, a fresh adapter for SEPO, each with its card."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from sepo_lib.config import model_folder, paths
from sepo_lib.play import models
from sepo_lib.run import demonstration_files, model_cards
from sepo_lib.run.steps.sepo import run_sepo
from sepo_lib.run.steps.sft import run_sft

LORA = {"rank": 4, "alpha": 8, "dropout": 0.05}
SAMPLING = {"dtype": "float32", "temperature": 0.8, "max_new_tokens": 12}
SIZES = {"episodes": {"split": 1, "kuhn": 1}, "shift_episodes": 1, "reading": {"samples": 2}}
LABELS = {"profile": "smoke", "model": "nano", "stage": "sft", "arm": "", "preset": "", "seed": 1, "step": 2}
SFT, SEPO = "sft/seed-1", "sepo/split-paper/unbiased-credited/seed-1"
SFT_FOLDER = f"runs/smoke/checkpoints/{SFT}"
SEPO_FOLDER = f"runs/smoke/checkpoints/{SEPO}"


def silent(step, metrics):
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A kit of its own in which both stages have been run, two steps each."""
    nano, folder = paths.models() / "nano", tmp_path_factory.mktemp("kit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEPO_ROOT", str(folder))
        shutil.copytree(nano, paths.models() / "nano")
        demonstration_files.write(paths.demonstrations(), ["split"], 40, seed=3)
        train = {"steps": 2, "epochs": 1, "batch": 4, "learning_rate": 1e-3, "max_length": 512, "seed": 1}
        run_sft(
            paths.job("smoke", SFT),
            silent,
            model="nano",
            model_sha256="",
            sampling=SAMPLING,
            data="data/sft",
            data_sha256={"split": demonstration_files.sha256(paths.demonstrations(), "split")},
            train={**train, "lora": LORA, "micro_batches": 1},
            evaluation=SIZES,
            evaluated_on=[["split", "paper"]],
            labels=LABELS,
        )
        run_sepo(
            paths.job("smoke", SEPO),
            silent,
            sft_job=SFT,
            sft_work="",
            sampling=SAMPLING,
            game="split",
            pools="paper",
            preset="unbiased",
            arm="credited",
            train={
                "rollouts_per_opponent": 2,
                "steps": 2,
                "learning_rate": 1e-3,
                "learning_rate_floor": 0.2,
                "kl_beta": 0.05,
                "clip": 0.2,
                "max_grad_norm": 1.0,
                "checkpoint_every": 2,
                "micro_batches": 1,
                "seed": 5,
                "lora": LORA | {"dropout": 0.0},
            },
            evaluation=SIZES,
            labels={**LABELS, "stage": "sepo"},
        )
        yield folder


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_each_stage_is_its_base_and_an_adapter_that_peft_alone_loads(root):
    nano, _ = models.load("nano")
    warm, _ = models.load(SFT_FOLDER)
    adapted = PeftModel.from_pretrained(nano, root / SFT_FOLDER / "adapter").merge_and_unload()
    assert torch.allclose(weights(adapted), weights(warm), atol=1e-6)
    trained, _ = models.load(SEPO_FOLDER)  # an adapter: the merged SFT model with it merged in
    assert (weights(trained) - weights(warm)).abs().max() > 1e-5
    adapted = PeftModel.from_pretrained(warm, root / SEPO_FOLDER / "model").merge_and_unload()
    assert torch.equal(weights(adapted), weights(trained))


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(40, 60, device=model.device)[None]).logits.cpu()


@pytest.mark.parametrize("folder", [f"{SFT_FOLDER}/adapter", f"{SEPO_FOLDER}/model"])
def test_peft_alone_loads_base_and_adapter_from_any_working_directory(root, folder, tmp_path, monkeypatch):
    expected = logits(models.load(folder)[0])
    monkeypatch.chdir(tmp_path)
    assert torch.allclose(
        logits(AutoPeftModelForCausalLM.from_pretrained(root / folder)), expected, atol=1e-4
    )
    tokenizer = AutoTokenizer.from_pretrained(root / folder)
    assert tokenizer.get_vocab() == models.load("nano")[1].get_vocab()


def test_an_adapter_finds_its_base_after_the_run_or_the_kit_has_moved(root, tmp_path, monkeypatch):
    expected = [logits(models.load(folder)[0]) for folder in (SEPO_FOLDER, f"{SFT_FOLDER}/adapter")]
    shutil.copytree(root, tmp_path / "kit")
    shutil.move(tmp_path / "kit/runs/smoke", tmp_path / "kit/runs/renamed")
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path / "kit"))
    hidden = shutil.move(root, root.with_name("hidden"))
    try:
        for before, folder in zip(expected, (SEPO_FOLDER, f"{SFT_FOLDER}/adapter"), strict=True):
            moved = folder.replace("smoke", "renamed")
            assert torch.equal(logits(models.load(moved)[0]), before)
        # What the card says of PEFT alone.
        base = AutoModelForCausalLM.from_pretrained(
            tmp_path / "kit" / SFT_FOLDER.replace("smoke", "renamed") / "model"
        )
        sepo = PeftModel.from_pretrained(
            base, tmp_path / "kit" / SEPO_FOLDER.replace("smoke", "renamed") / "model"
        )
        assert torch.allclose(logits(sepo), expected[0], atol=1e-4)
    finally:
        shutil.move(hidden, root)


def test_a_copied_run_takes_its_own_base_and_not_that_of_the_original(root, tmp_path):
    copied = shutil.copytree(root / "runs" / "smoke", tmp_path / "runs" / "copy")
    base = copied / "checkpoints" / SFT / "model"
    for name in ("model.safetensors", "config.json"):
        assert (base / name).is_file()
    found = model_folder.base_of(copied / "checkpoints" / SEPO / "model")
    assert Path(found) == base


@pytest.mark.parametrize(
    ("folder", "base", "facts"),
    [
        (f"{SFT_FOLDER}/adapter", "data/models/nano", ["data_sha256", "data"]),
        (f"{SEPO_FOLDER}/model", f"{SFT_FOLDER}/model", ["preset", "game", "base_fingerprint"]),
    ],
)
def test_the_card_says_what_the_adapter_was_made_from_and_with(root, folder, base, facts):
    card = (root / folder / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    assert yaml.safe_load(header)["base_model"] == str(root / base)
    config = json.loads((root / folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (str(root / base), None)
    settings, made = (json.loads(part.split("```")[0]) for part in text.split("```json\n")[1:])
    assert set(facts) <= set(settings) and settings["train"]["lora"]["rank"] == 4
    assert settings["adapted"].startswith("LoRA adapts 16 linear layers (k_proj, o_proj, q_proj, v_proj) in ")
    assert settings["run"]["seed"] == 1 and {"commit", "dirty", "versions"} == set(made)
    assert "| rank, alpha, dropout | 4, 8, " in text and "k_proj, o_proj, q_proj, v_proj" in text


def test_an_adapter_of_a_hub_model_names_the_repository_and_its_commit(root, tmp_path, monkeypatch):
    cache, commit = tmp_path / "cache", "1" * 40
    repository = cache / "models--org--name"
    shutil.copytree(paths.models() / "nano", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = shutil.copytree(root / SFT_FOLDER / "adapter", tmp_path / "adapter")
    model_cards.write_card(folder, "org/name", "sft", {})
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/name", commit)
    assert model_folder.base_of(folder) == f"org/name@{commit}"
    card = (folder / "README.md").read_text()
    assert 'base_model: "org/name"\n' in card and "\n\n## Data and settings\n" in card
    assert "demonstrations" not in card  # SFT may have taken chat examples of the user's own


def test_the_card_warns_of_a_base_model_that_is_an_adapter(root, tmp_path):
    """PEFT alone would load the adapter onto one that is not merged, and compute other logits."""
    folder = shutil.copytree(root / SFT_FOLDER / "adapter", tmp_path / "second")
    model_cards.write_card(folder, SEPO_FOLDER, "sft", {})
    card = (folder / "README.md").read_text()
    assert "The base model is an adapter itself." in card and "from peft" not in card
    assert "adapter itself" not in (root / SFT_FOLDER / "adapter" / "README.md").read_text()


def test_a_card_needs_an_adapter(tmp_path):
    with pytest.raises(FileNotFoundError, match="is missing"):
        model_cards.write_card(tmp_path, "nano", "sft", {})
