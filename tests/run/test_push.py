"""Pushing to a hub: what is uploaded, with which card; the hub itself is a stand-in."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import yaml
from huggingface_hub import errors

from sepo_lib import __main__ as cli
from sepo_lib.config import paths
from sepo_lib.run import demonstration_files, push

SEPO = "runs/mine/checkpoints/sepo/ipd-paper/unbiased-credited/seed-1"
SFT = "runs/mine/checkpoints/sft/seed-1"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A kit with demonstrations, a whole model of an SFT job, and an adapter of a SEPO job that needs it."""
    nano = paths.models() / "nano"
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    demonstration_files.write(paths.demonstrations(), ["kuhn"], 20, seed=1)
    shutil.copytree(nano, tmp_path / SFT / "model", ignore=shutil.ignore_patterns("README.md"))
    adapter = tmp_path / SEPO / "model"
    adapter.mkdir(parents=True)
    base = f"{SFT}/model"
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": 4}))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    (adapter / "training_args.bin").write_bytes(b"/a/folder/of/this/machine")
    card = f'---\nbase_model: "{base}"\n---\nBase: `{base}`.\n\n## Data and settings\n\n'
    card += f'{{"sft": "{base}", "sft_data": "/home/me/chats"}}\n'
    (adapter / "README.md").write_text(card)
    started = {"name": "sft/seed-1", "arguments": {"model": "/home/me/model", "steps": 2}, "commit": {}}
    (tmp_path / SFT / "started.json").write_text(json.dumps(started))
    for job in (SFT, SEPO):
        (tmp_path / job / "done.json").write_text("{}")
    return tmp_path


class Hub:
    """What `HfApi` was asked for, and the files as it saw them."""

    asked: list

    def __init__(self):
        Hub.asked = []

    def create_repo(self, **options):
        Hub.asked.append(options)

    def upload_folder(self, folder_path, **options):
        found = {f.relative_to(folder_path).as_posix(): f.read_bytes() for f in Path(folder_path).rglob("*")}
        Hub.asked.append(options | {"files": found})
        return f"https://hub/{options['repo_id']}"


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    return Hub


def test_a_dry_run_lists_files_sizes_and_the_card_and_asks_no_hub(root, capsys, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: pytest.fail("the hub was asked"))
    assert cli.main(["push", "--what", "demonstrations", "--to", "me/data", "--dry-run", "yes"]) == 0
    said = capsys.readouterr().out
    size = (root / "data/sft/kuhn.parquet").stat().st_size
    assert said.startswith("dataset me/data: 3 files, ") and f"{size:,}  kuhn.parquet" in said
    assert "pretty_name: SEPO demonstrations (expert)" in said
    assert said.endswith("Nothing was pushed, because this is a dry run.\n")


def test_the_demonstrations_are_pushed_with_their_card(root, hub, capsys):
    assert cli.main(["push", "--what", "demonstrations", "--to", "me/data"]) == 0
    made, uploaded = hub.asked
    assert made == {"repo_id": "me/data", "repo_type": "dataset", "private": True, "exist_ok": True}
    names = ("README.md", "croissant.json", "kuhn.parquet")
    files = {name: (root / "data/sft" / name).read_bytes() for name in names}
    assert uploaded["files"] == files and uploaded["repo_type"] == "dataset"
    assert capsys.readouterr().out.endswith("Pushed: https://hub/me/data\n")


def test_an_adapter_is_pushed_with_the_repository_of_its_base_model(root, hub):
    push.prepare(SEPO, "me/adapter", "me/sft").push()
    files = hub.asked[1]["files"]
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert json.loads(files["adapter_config.json"]) == {
        "base_model_name_or_path": "me/sft",
        "r": 4,
        "revision": None,
    }
    _, header, text = files["README.md"].decode().split("---\n")
    assert yaml.safe_load(header) == {"base_model": "me/sft"} and "Base: `me/sft`." in text
    assert f'{{"sft": "{SFT}/model", "sft_data": "chats"}}' in text  # how it was made, without folders
    assert SFT in (root / SEPO / "model/README.md").read_text()  # so does the file of the job


def test_a_whole_model_gets_a_card_that_names_no_folder_of_this_machine(root, hub):
    push.prepare(SFT, "me/model").push()
    files = hub.asked[1]["files"]
    assert {"README.md", "config.json", "model.safetensors.index.json", "tokenizer.json"} <= set(files)
    card = files["README.md"].decode()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "transformers"
    assert '"steps": 2' in card and '"model": "model"' in card and "/home/me" not in card


@pytest.mark.parametrize(
    "card", [None, "# Model Card for Model ID\n\n- **Developed by:** [More Information Needed]"]
)
def test_an_adapter_without_a_card_gets_one_that_names_its_base_model(root, hub, card):
    """PEFT saves an adapter with a card of placeholders, which the hub would show."""
    folder = root / "own"
    shutil.copytree(root / SEPO / "model", folder)
    (folder / "README.md").unlink()
    if card:
        (folder / "README.md").write_text(card)
    push.prepare("own", "me/adapter", "me/sft").push()
    _, header, text = hub.asked[1]["files"]["README.md"].decode().split("---\n")
    assert {"library_name": "peft", "base_model": "me/sft"}.items() <= yaml.safe_load(header).items()
    assert "AutoPeftModelForCausalLM" in text and "`me/sft`" in text and "Needed" not in text
    assert "does not say how it was trained" in text and SFT not in text


def test_the_card_of_a_model_that_no_job_made_claims_nothing_about_its_training(root, hub):
    (root / SFT / "started.json").unlink()
    push.prepare(f"{SFT}/model", "me/base").push()
    card = hub.asked[1]["files"]["README.md"].decode()
    assert "does not say how the\nmodel was trained" in card and "licence" in card
    assert "strategic games" not in card and "only on" not in card


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("demonstrations", ""), "TO must be a repository on the hub, such as org/name, not ''."),
        (
            ("demonstrations", "me/x@v1"),
            "TO must be a repository on the hub, such as org/name, not 'me/x@v1'.",
        ),
        (("demonstrations", "me/.."), "such as org/name, not 'me/..'."),
        (("demonstrations", "me/a--b"), "such as org/name, not 'me/a--b'."),
        (("demonstrations", "me/x.git"), "such as org/name, not 'me/x.git'."),
        (("demonstrations", "me/x", "me/y"), "leave BASE out."),
        ((SEPO, "me/x", "nano"), "BASE must be a repository on the hub, such as org/name, not 'nano'."),
        (("", "me/x"), "WHAT is missing: it is demonstrations, or the folder of a job or of a model."),
        (("none", "me/x"), "There is no folder 'none'; WHAT is demonstrations or a folder."),
        (
            ("data/sft", "me/x"),
            "'data/sft' holds no model: neither it nor its folders adapter and model have",
        ),
        ((SFT, "me/x", "me/y"), "holds a whole model, which has no base model; leave BASE out."),
        (
            (SEPO, "me/x"),
            f"needs its base model, '{SFT}/model' here; push that one first, if it is a folder,",
        ),
    ],
)
def test_what_cannot_be_pushed_is_refused_in_one_sentence(arguments, said, root):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        push.prepare(*arguments)
    assert said in str(caught.value) and str(caught.value).endswith(".")


def test_an_unfinished_job_is_not_pushed(root):
    (root / SFT / "done.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"^The job in 'runs/.*' is not finished; finish its run first"
    ):
        push.prepare(SFT, "me/x")


def test_without_a_token_or_a_hub_the_error_is_one_sentence(root, hub, monkeypatch):
    upload = push.prepare("demonstrations", "me/data")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(
        FileNotFoundError, match=r"^There is no token of the hub, so nothing was pushed; run `hf "
    ):
        upload.push()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")

    def refuse(self, **options):
        raise errors.OfflineModeIsEnabled("Cannot reach it: offline mode is enabled.\nMore.")

    monkeypatch.setattr(Hub, "create_repo", refuse)
    with pytest.raises(FileNotFoundError) as caught:
        upload.push()
    assert str(caught.value).startswith(
        "me/data could not be pushed: Cannot reach it: offline mode is enabled; "
    )
