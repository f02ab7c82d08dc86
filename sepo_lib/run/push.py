"""Pushing to a hub: the demonstrations, an adapter, or a model, each with its card.

`prepare` decides which files make the upload, and what their card is. It needs no network.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepo_lib.config import files, hub, model_folder, paths
from sepo_lib.config.errors import InputError, MissingError, in_one_line
from sepo_lib.config.text import in_brief
from sepo_lib.run.templates import render

#: What is pushed if it is called like this: the folder data/sft.
DEMONSTRATIONS = "demonstrations"
#: Where a job leaves what is pushed: an adapter before the whole model.
_PARTS = ("adapter", "model")
_CARD = "README.md"
#: What PEFT and transformers write into a card that nobody has filled in.
_EMPTY = "[More Information Needed]"


@dataclass(frozen=True)
class Upload:
    """What is pushed to which repository."""

    repository: str
    kind: str
    """`model` or `dataset`, as the hub calls them."""
    content: Mapping[str, Path | str]
    """Name in the repository -> the file, or a text that replaces it."""

    def text(self) -> str:
        """The repository, its files with their sizes, and the card."""
        sizes = {name: _size(value) for name, value in self.content.items()}
        lines = [f"{self.kind} {self.repository}: {len(sizes)} files, {sum(sizes.values()):,} bytes"]
        lines += [f"  {size:>13,}  {name}" for name, size in sizes.items()]
        return "\n".join([*lines, "", f"{_CARD}:", "", _text(self.content[_CARD]).rstrip()])

    def push(self) -> str:
        """Push, and return the address. A new repository is private.

        Raises MissingError without a token of the hub, or if the hub cannot be reached or refuses.
        """
        import huggingface_hub
        from huggingface_hub import errors

        if not huggingface_hub.get_token():
            raise MissingError(
                "There is no token of the hub, so nothing was pushed; run `hf auth login`, or set HF_TOKEN."
            )
        api = huggingface_hub.HfApi()
        about = {"repo_id": self.repository, "repo_type": self.kind}
        with tempfile.TemporaryDirectory() as folder:
            for name, value in self.content.items():
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(value, Path):
                    target.symlink_to(value.resolve())
                else:
                    target.write_text(value, encoding="utf-8")
            try:
                api.create_repo(**about, private=True, exist_ok=True)
                message = "Files of the SEPO reproducibility kit"
                return str(api.upload_folder(**about, folder_path=folder, commit_message=message))
            except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError, ValueError) as error:
                raise MissingError(
                    f"{self.repository} could not be pushed: {in_one_line(error)}; check the name, the "
                    "token's rights and the network, and give the same command again."
                ) from error


def prepare(what: str, to: str, base: str | None = None) -> Upload:
    """The upload of `what` to the repository `to`.

    `what` is "demonstrations", the folder of a finished job (its adapter, or else its model), or a folder
    with a model, from the root. `base` is the repository of the base model of an adapter. Raises InputError
    or MissingError, in one sentence, for what cannot be pushed.
    """
    for option, value in (("TO", to), *([("BASE", base)] if base else [])):
        if not _is_repository(value):
            raise InputError(
                f"{option} must be a repository on the hub, such as org/name, not '{in_brief(value)}'."
            )
    if what == DEMONSTRATIONS:
        if base:
            raise InputError("BASE is the base model of an adapter, and WHAT=demonstrations; leave BASE out.")
        folder = paths.demonstrations()
        endings = (".parquet", ".md", ".json")
        content = {file.name: file for file in sorted(folder.glob("*")) if file.suffix in endings}
        if _CARD not in content or len(content) < 2:
            raise MissingError(
                f"{paths.relative(folder)} lacks the demonstrations or their card; "
                "notebooks/01_demonstrations.ipynb makes them."
            )
        return Upload(to, "dataset", content)
    folder = _model(what)
    content = {file.relative_to(folder).as_posix(): file for file in model_folder.files(folder)}
    if _has_card(folder):
        content[_CARD] = folder / _CARD
    adapted = model_folder.base_of(folder) is not None
    if adapted:
        content |= _with_base(folder, base)
    elif base:
        raise InputError(
            f"{paths.shown(folder)} holds a whole model, which has no base model; leave BASE out."
        )
    if _CARD not in content:
        own = model_folder.adapter_config(folder)["base_model_name_or_path"] if adapted else ""
        content[_CARD] = _card(folder, base or own)
    return Upload(to, "model", dict(sorted(content.items())))


def _is_repository(name: str) -> bool:
    """Whether the hub can have a repository of this name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return hub.ID.fullmatch(name) is not None and "@" not in name


def _model(what: str) -> Path:
    """The folder with the model or adapter that `what` names."""
    if not what.strip():
        raise InputError(f"WHAT is missing: it is {DEMONSTRATIONS}, or the folder of a job or of a model.")
    folder = paths.model(what)
    if folder is None:
        raise MissingError(
            f"There is no folder '{in_brief(what, 200)}'; WHAT is {DEMONSTRATIONS} or a folder."
        )
    found = [one for one in (folder, *(folder / part for part in _PARTS)) if _holds_model(one)]
    if not found:
        raise InputError(
            f"'{in_brief(what, 200)}' holds no model: neither it nor its folders {' and '.join(_PARTS)} have "
            f"{' or '.join(model_folder.CONFIGS)}; name the folder of a finished job or of a model."
        )
    if found[0] != folder and not (folder / "done.json").is_file():
        raise MissingError(f"The job in '{in_brief(what, 200)}' is not finished; finish its run first.")
    return found[0]


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in model_folder.CONFIGS)


def _has_card(folder: Path) -> bool:
    """Whether the folder has a card that says something. PEFT writes one with its placeholder alone."""
    card = folder / _CARD
    return card.is_file() and _EMPTY not in card.read_text(encoding="utf-8")


def _with_base(folder: Path, base: str | None) -> dict[str, str]:
    """Configuration and card of an adapter that name the base model `base`.

    Raises InputError if its base model is a folder of this machine and no `base` is given.
    """
    before = model_folder.adapter_config(folder)
    own = str(before["base_model_name_or_path"])  # as the card has it, wherever that model is now
    if base is None:
        if (paths.root() / own).is_dir() or not hub.ID.fullmatch(own):
            raise InputError(
                f"The adapter in {paths.shown(folder)} needs its base model, '{own}' here; push that one "
                "first, if it is a folder, and name its repository with BASE=org/name."
            )
        return {}
    config = before | {"base_model_name_or_path": base, "revision": None}
    made = {model_folder.ADAPTER_CONFIG: json.dumps(config, indent=2, sort_keys=True) + "\n"}
    if _has_card(folder):
        card = (folder / _CARD).read_text(encoding="utf-8")
        about, heading, facts = card.partition("## Data and settings")
        about = re.sub(rf"(?<![\w/-]){re.escape(own)}(?![\w/-])", lambda _: base, about)
        facts = re.sub(r'"(/[^"\n]*)"', lambda place: json.dumps(Path(place[1]).name), facts)
        made[_CARD] = about + heading + facts
    return made


def _card(folder: Path, base: str = "") -> str:
    """The card of a model that has none: the job that made it, its settings and its libraries.

    `base` is the base model of an adapter.
    """
    note, facts = folder.parent / "started.json", {}
    if note.is_file():
        started = files.read_json(note, "give the command that made the job again")
        facts = {key: started.get(key) for key in ("name", "arguments", "commit", "libraries")}
    values = {"facts": _without_folders(facts), "base": base, "quoted_base": json.dumps(base)}
    return render("run/templates/whole_model_card.md.j2", **values) + "\n"


def _without_folders(value: Any) -> Any:
    """JSON data in which a folder of this machine is its last part alone."""
    if isinstance(value, dict):
        return {key: _without_folders(one) for key, one in value.items()}
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def _size(value: Path | str) -> int:
    return value.stat().st_size if isinstance(value, Path) else len(value.encode())


def _text(value: Path | str) -> str:
    return value.read_text(encoding="utf-8") if isinstance(value, Path) else value
