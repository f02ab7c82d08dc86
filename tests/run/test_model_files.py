"""A model is known by its content or by its commit on the hub; a missing one is said before all else."""

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from sepo_lib import __main__ as cli
from sepo_lib.config import bundled, hub, model_folder, paths, profiles
from sepo_lib.config.errors import InputError, MissingError
from sepo_lib.run import model_files, recipes

NANO = Path(__file__).resolve().parents[2] / "data" / "models" / "nano"
OLD, NEW = "0" * 40, "1" * 40


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A kit with a model in `mine`, and an empty cache of a hub that cannot be reached."""
    monkeypatch.setenv("SEPO_ROOT", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(NANO, tmp_path / "mine", ignore=shutil.ignore_patterns("model*"))
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def change(file, old=None, new=None):
    """Replace a text in a file, or add a byte to it."""
    text = file.read_bytes()
    assert old is None or old.encode() in text
    file.write_bytes(text + b"x" if old is None else text.replace(old.encode(), new.encode()))


def adapter(folder, base):
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": 8}))
    (folder / "adapter_model.safetensors").write_bytes(b"adapter")
    return folder


# ----------------------------------------------------------------------------------- content of folders


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("config.json", ('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-02')),
        ("tokenizer.json", ()),
        ("tokenizer_config.json", ()),
        ("chat_template.jinja", ()),
        ("generation_config.json", ()),
        ("model.safetensors", ()),
        ("pytorch_model.bin", ()),
    ],
)
@pytest.mark.parametrize("place", ["mine", "runs/a/checkpoints/sft/seed-1"])
def test_a_model_with_another_content_makes_other_jobs(root, place, file, edit):
    folder = root / "mine"
    if place != "mine":
        folder = shutil.move(folder, root / place / "model")
    if file == "pytorch_model.bin":
        (folder / "model.safetensors").rename(folder / file)

    def fingerprint():
        settings = profiles.load("smoke", model=place, games="split", seeds=1)
        return recipes.base_jobs(settings)[0].fingerprint

    before = fingerprint()
    (folder / "README.md").write_text("a text")
    (folder / "training_args.bin").write_bytes(b"the trainer's")
    assert fingerprint() == before
    change(folder / file, *edit)
    assert fingerprint() != before


def test_an_adapter_counts_with_its_base_wherever_it_is(root):
    base = shutil.copytree(NANO, root / "runs/a/model")
    folder = adapter(root / "adapter", "runs/a/model")
    before = model_files.sha256("adapter")
    shutil.copytree(base, root / "other")
    adapter(root / "moved", "other")
    assert model_files.sha256("moved") == before  # the place of the base is no part of its content
    change(root / "other" / "config.json", "1e-06", "1e-05")
    assert model_files.sha256("moved") != before
    change(folder / "adapter_model.safetensors")
    changed = model_files.digests("adapter")
    assert changed["adapter_model.safetensors"] != model_files.digests("moved")["adapter_model.safetensors"]
    assert changed["base/config.json"] == model_files.digests("runs/a/model")["config.json"]


@pytest.mark.parametrize(
    ("gone", "sentence"),
    [
        ("config.json", "it lacks config.json; pass"),
        ("model.safetensors", "it lacks weights \\(model.safetensors\\); pass"),
        ("tokenizer.json", "it lacks a tokenizer \\(tokenizer.json\\); pass"),
        ("chat_template.jinja", "it lacks a chat template \\(chat_template.jinja\\); pass"),
    ],
)
def test_a_folder_without_a_part_of_a_model_is_one_sentence(root, gone, sentence):
    (root / "mine" / gone).unlink()
    with pytest.raises(ValueError, match=f"^The folder 'mine' holds no model that can be loaded: {sentence}"):
        bundled.resolve("mine")


def test_weights_in_several_files_and_older_templates_are_complete(root):
    (root / "mine" / "chat_template.jinja").unlink()
    (root / "mine" / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    (root / "mine" / "model.safetensors").rename(root / "mine" / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (root / "mine" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"it lacks model-2\.safetensors; pass"):
        bundled.resolve("mine")
    (root / "mine" / "model-2.safetensors").touch()
    assert bundled.resolve("mine") == root / "mine"


# ------------------------------------------------------------------------------------------- the hub


def cached(root, commit, *gone):
    """A snapshot of org/name in the cache, without the files `gone`."""
    repository = root / "cache" / "models--org--name"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    ignored = shutil.ignore_patterns(*gone)
    return shutil.copytree(NANO, repository / "snapshots" / commit, ignore=ignored)


def test_a_model_of_the_hub_is_the_snapshot_of_the_cache_and_its_commit(root):
    old, new = cached(root, OLD), cached(root, NEW)
    assert bundled.resolve("org/name") == new and bundled.resolve(f"org/name@{OLD}") == old
    assert model_files.described("org/name") == {"name": "org/name", "revision": NEW}
    known = model_files.sha256("org/name")
    assert model_files.digests("org/name")["revision"] == NEW != known
    assert model_files.sha256(f"org/name@{OLD}") != known  # the same files under another commit
    change(new / "config.json", "1e-06", "1e-05")  # of the cache itself
    assert model_files.sha256("org/name") != known
    assert profiles.load(model="org/name@v1.0").model == "org/name@v1.0"


def test_the_beginning_of_a_commit_names_its_snapshot(root):
    one, other = (cached(root, f"{'a' * 8}{digit * 32}") for digit in "12")
    whole = cached(root, "b" * 40)
    assert bundled.resolve(f"org/name@{'b' * 7}") == whole
    assert bundled.resolve(f"org/name@{'a' * 8}1") == one
    assert model_files.described(f"org/name@{'b' * 7}")["revision"] == "b" * 40
    with pytest.raises(InputError, match=rf"beginning of several .*\({one.name}, {other.name}\); write more"):
        bundled.resolve(f"org/name@{'a' * 8}")
    for revision in ("b" * 6, "c" * 7):
        with pytest.raises(MissingError, match="no model hub could be reached"):
            bundled.resolve(f"org/name@{revision}")


@pytest.fixture
def online(root, monkeypatch):
    """A hub that serves the files of nano and remembers what was downloaded."""
    served = SimpleNamespace(files={file.name: 1 for file in NANO.iterdir()}, downloaded=[])
    served.files |= {
        "pytorch_model.bin": 9,
        "consolidated.safetensors": 9,
        "onnx/model.bin": 9,
        "README.md": 1,
    }

    def model_info(self, repository, **options):
        files = [SimpleNamespace(rfilename=name, size=size) for name, size in served.files.items()]
        return SimpleNamespace(siblings=files)

    def snapshot_download(repository, revision, allow_patterns):
        folder = root / "cache" / "models--org--name" / "snapshots" / NEW
        folder.mkdir(parents=True, exist_ok=True)
        served.downloaded += allow_patterns
        for name in allow_patterns:
            shutil.copy(NANO / name, folder / name)
        return str(folder)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return served


def test_what_a_model_needs_is_downloaded_and_nothing_else(online, capsys):
    assert bundled.resolve("org/name").name == NEW
    assert set(online.downloaded) == {file.name for file in model_folder.files(NANO)}
    assert "Downloading org/name (0.0 GB, once)" in capsys.readouterr().out


def test_a_model_without_a_chat_template_is_refused_before_its_weights_are_downloaded(online):
    del online.files["chat_template.jinja"]
    with pytest.raises(ValueError, match=r"'org/name' of the hub cannot .* it lacks a chat template"):
        bundled.resolve("org/name")
    assert not [name for name in online.downloaded if name.endswith("safetensors")]


def refusal(kind):
    answer = SimpleNamespace(status_code=404, headers={}, request=None)
    return kind("no", response=answer)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            errors.OfflineModeIsEnabled("off"),
            "is not on this machine and no model hub could be reached. Down",
        ),
        (TimeoutError(), "is not on this machine and no model hub could be reached. Download it elsewhere"),
        (refusal(errors.RepositoryNotFoundError), "is not on the hub, or is private; check the name"),
        (
            refusal(errors.GatedRepoError),
            "is given only to accounts that have accepted its licence; accept it",
        ),
        (OSError(28, "No space left on device", "/cache"), "could not be downloaded: .* No space left"),
    ],
)
def test_a_hub_that_does_not_help_is_one_sentence(monkeypatch, error, sentence):
    def model_info(self, repository, **options):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    with pytest.raises(FileNotFoundError, match=f"^The model 'org/name' {sentence}"):
        bundled.resolve("org/name")


def test_a_silent_hub_is_not_waited_for(root, monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, *args, **options: never.wait())
    monkeypatch.setattr(hub, "PATIENCE", 0.1)
    cached(root, NEW, "model*")
    sentence = (
        r"'org/name' lacks weights \(model.safetensors\) on this machine and no model hub could be reached"
    )
    with pytest.raises(FileNotFoundError, match=sentence):
        bundled.resolve("org/name")
    never.set()


# -------------------------------------------------------------------------------------------- ask first


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("Qwen/Qwen3-0.6B", "The model 'Qwen/Qwen3-0.6B' is not on this machine and no model hub could be"),
        (
            "mine",
            "The folder 'mine' holds no model that can be loaded: it lacks a tokenizer (tokenizer.json)",
        ),
        ("tuned", "The adapter tuned needs its base model. The folder 'gone' holds no model that can be"),
        ("nano", "The nano model is missing from data/models/nano: restore it with git"),
    ],
)
@pytest.mark.parametrize(
    "command",
    ["reproduce --profile smoke --model {}", "play split --model {}", "crossplay --game split --models a={}"],
)
def test_a_model_that_cannot_be_had_is_one_sentence_before_anything_is_begun(
    root, model, sentence, command, capsys
):
    (root / "mine" / "tokenizer.json").unlink()
    adapter(root / "tuned", "gone")
    shutil.copytree(NANO.parents[2] / "notebooks", paths.notebooks())
    assert cli.main(command.format(model).split()) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {sentence}") and said.err.count("\n") == 1 and said.out == ""
    assert not (root / "runs").exists()
