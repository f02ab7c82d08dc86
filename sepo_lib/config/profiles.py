"""The sizes of a run: every hyperparameter, read from `profiles.yaml`, which gives the reason for each.

settings = load("laptop", games="ipd,kuhn")
settings.sepo_steps                          # the value: one number, or one per game
settings.of("sepo_learning_rate", "kuhn")    # the value for one game (or stage)
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sepo_lib import games as domains
from sepo_lib.config import files, hub, model_folder, paths
from sepo_lib.config.changes import OPTIONS
from sepo_lib.config.errors import InputError
from sepo_lib.config.settings import (
    MODELS,
    Settings,
    document,
    hyperparameters,
    known,
    own_weights,
    spell,
)
from sepo_lib.config.text import in_brief, is_one_line
from sepo_lib.config.values import STAGES, ordered, prepared, shape_of

if TYPE_CHECKING:
    import pandas as pd

#: The profile of a command that names none.
DEFAULT = "laptop"
#: The folder of the runs that were stepped through by hand; it is not in git.
BY_HAND = "by-hand"
#: The end of the name of the run in which notebook 06 trains a game of your own.
OWN_GAME = "-own-game"
#: The longest name that the kit makes, in characters; a longer one is cut and ends with a hash.
LONGEST_NAME = 64
#: Names that no run can have, because other results are in folders with these names.
TAKEN = (BY_HAND, "bench", "crossplay")
#: The largest seed that every library accepts.
LARGEST_SEED = 2**32 - 1
#: Fewest groups in the study of estimators: a quarter of its blocks is then two, the least with a variance.
FEWEST_GROUPS = 16
#: The policies at which the study of estimators measures them (`sepo_lib.studies.estimators.policy`).
STUDY_POLICIES = ("uniform", "random", "cooperative", "equilibrium")
#: Hyperparameters that take the value of another one if they are null.
SAME_AS = {
    "ablation_steps": "sepo_steps",
    "ablation_rollouts": "rollouts_per_opponent",
    "replication_steps": "sepo_steps",
    "all_games_steps": "sepo_steps",
    "study_games": "games",
}


def names() -> list[str]:
    """The profiles, smallest first."""
    return list(document()["profiles"])


def load(
    name: str = DEFAULT,
    model: str | None = None,
    seeds: str | int | Sequence[int] | None = None,
    games: str | Sequence[str] | None = None,
    steps: str | int | None = None,
    run: str | None = None,
    by_hand: bool = True,
    **others: Any,
) -> Settings:
    """The settings of profile `name`.

    None or "" keeps the profile's value. `games` and `seeds` may be text such as "ipd,kuhn" and "1,2", as
    make passes them; the games "all" are all registered ones. The order in which they are given does not
    matter: games take the order of the registry, and seeds ascend. `steps` sets both sft_steps and
    sepo_steps. `others` are other hyperparameters by name; `train_weights` and `evaluation_weights` need
    only the weights that change, such as {"kuhn": {"exploit": 2.0}}. `run` and `by_hand` name the folders of
    the results (`run_name`).

    Raises InputError, one sentence with the valid values, for anything unknown and for a value outside its
    range. Also raises InputError if the run exists with other settings.
    """
    known("profile", name, names())
    for key in others:
        known("hyperparameter", key, hyperparameters())
    common = {"seeds": seeds, "games": games, "sft_steps": steps, "sepo_steps": steps}
    given = {key: value for key, value in common.items() if value is not None and value != ""} | others

    own_model = _value("model", name, None)
    chosen_model = _model(own_model if model is None or model == "" else model)
    own = {key: _own(key, name, chosen_model) for key in hyperparameters()}
    changed = {} if chosen_model == own_model else {"model": chosen_model}
    for key, value in given.items():
        value = prepared(key, value)
        changed |= {} if value == own[key] else {key: value}

    values = own | {"model": chosen_model} | changed
    if values["sft_games"] is None:
        values["sft_games"] = ordered({*own["games"], *values["games"]}, domains.GAMES)
    if "games" in changed and "study_games" not in changed:  # a run of chosen games studies no others
        values["study_games"] = None
    values["ablation_games"] = tuple(game for game in values["ablation_games"] if game in values["games"])
    for key, main in SAME_AS.items():
        if values[key] is None:
            values[key] = values[main]
        elif values[key] and isinstance(values[key], Mapping):  # games that are not named: that of `main`
            values[key] = MappingProxyType({**_by_game(values[main]), **values[key]})
    _complete(values)
    kept = {key: changed[key] for key in others if key in changed and key not in OPTIONS}
    settings = Settings(name, run_name(name, run, changed, by_hand), MappingProxyType(kept), **values)
    _check_enumerated(settings)
    _agree(settings, changed)
    return settings


def completed(name: str, model: str | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters by name; those per game or stage also have the profile's values where none is given.

    A value for "others" is that of all games that are not named. What the profile has anyway is left out.
    Raises InputError for an unknown profile, model or hyperparameter.
    """
    known("profile", name, names())
    chosen, found = _model(model or _value("model", name, None)), dict(changes)
    for key, value in changes.items():
        known("hyperparameter", key, hyperparameters())
        own = _own(key, name, chosen)
        if isinstance(value, Mapping) and own is not None and shape_of(key).per_key:
            kept = {} if "others" in value else _by_game(own)
            new = {one: v for one, v in value.items() if not kept or v != kept.get(one, kept.get("others"))}
            found[key] = {**kept, **new} if new else own
    return found


def _by_game(value: Any) -> Mapping[str, Any]:
    """A value per game (or stage), made of one value for all or of one that is per game already."""
    return value if isinstance(value, Mapping) else {"others": value}


def run_name(
    profile: str, run: str | None = None, changed: Mapping[str, Any] | None = None, by_hand: bool = True
) -> str:
    """The name of a run, which names its folders in runs/, data/results/ and figures/.

    A run has the name of its profile. A run with other values than the profile's (`changed`, hyperparameter
    -> value) is a run of its own: its name also says what was changed, such as laptop-ipd-seeds-1-2. The
    notebooks that are stepped through by hand (`by_hand`) write below by-hand/, so that committed results
    stay as they are. `run` is another name, chosen by the user; None or "" chooses none.

    Raises InputError for a name that is no safe folder name, that belongs to another profile, or that
    belongs to the profile as it is while something was changed.
    """
    changed = changed or {}
    if run is None or run == "":
        return f"{BY_HAND}/" * by_hand + _made_name(profile, changed)
    folder = str(run).removeprefix(f"{BY_HAND}/")
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,99}}({OWN_GAME})?", folder) or folder.lower() in TAKEN:
        raise InputError(
            f"The run cannot be called '{in_brief(run)}'; choose letters, digits, - and _, such as 'my-run', "
            f"but not {' or '.join(TAKEN)}."
        )
    if folder.lower() in names() and folder != profile:
        raise InputError(
            f"The run '{run}' belongs to the profile {folder.lower()}, and this is the profile {profile}; "
            "choose another name."
        )
    if folder == profile and changed:
        raise InputError(
            f"The run '{run}' is that of the profile {profile} without changes, and {told(changed)} is a "
            "change; choose another name for the run, or none."
        )
    return str(run)


def overrides(settings: Settings) -> dict[str, Any]:
    """The model, games, seeds, steps and data in which `settings` differ from their profile, and the
    hyperparameters that were chosen by name: name -> value."""
    own = load(settings.profile, model=settings.model)
    found = {} if settings.model == _value("model", settings.profile, None) else {"model": settings.model}
    names = ("games", "seeds", "sft_steps", "sepo_steps", "sft_data", *settings.changes)
    return found | {n: getattr(settings, n) for n in names if getattr(settings, n) != getattr(own, n)}


def table() -> "pd.DataFrame":
    """One row per hyperparameter: meaning, what the paper says, why, and the value in each profile."""
    import pandas as pd

    every = {name: load(name) for name in names()}
    return pd.DataFrame(
        {
            "hyperparameter": key,
            "meaning": block["meaning"],
            "paper_says": block["paper"],
            "why": block["why"],
            **{profile: spell(getattr(settings, key)) for profile, settings in every.items()},
        }
        for key, block in hyperparameters().items()
    )


def as_text() -> str:
    """All hyperparameters: meaning, the value in each profile, what the paper says, and why."""
    lines = []
    for row in table().to_dict("records"):
        values = {row[name] for name in names()}
        lines += [row["hyperparameter"], f"  {row['meaning']}"]
        if len(values) == 1:
            lines.append(f"  every profile  {values.pop()}")
        else:
            lines += [f"  {name:<13}  {row[name]}" for name in names()]
        if block := hyperparameters()[row["hyperparameter"]].get("range"):
            lines.append(f"  valid          {block}")
        lines += [f"  the paper      {row['paper_says']}", f"  why            {row['why']}", ""]
    return "\n".join(lines)


def sampling(settings: Settings) -> dict:
    """The arguments of `play.policy.load_policy` that come from a profile."""
    names = ("dtype", "temperature", "max_new_tokens", "engine")
    vllm = {"memory": settings.vllm_memory, "sleep": settings.vllm_sleep}
    found = {name: getattr(settings, name) for name in names}
    if settings.full_finetuning and settings.dtype == "auto":
        found["dtype"] = "float32"  # a step of bfloat16 weights rounds most of an update away
    return found | ({"vllm": vllm} if settings.engine == "vllm" else {})


def _made_name(profile: str, changed: Mapping[str, Any]) -> str:
    """The profile and what was changed, in the order of profiles.yaml: laptop-ipd-kuhn-seeds-1-2-steps-30."""
    parts = {key: told({key: changed[key]}) for key in hyperparameters() if key in changed}
    if "model" in parts:
        parts["model"] = _place(changed["model"])
    if "sft_data" in parts:
        parts["sft_data"] = f"sft data {_place(changed['sft_data'])}"
    if "games" in parts:
        everything = set(changed["games"]) == set(domains.GAMES)
        parts["games"] = "all games" if everything else spell(changed["games"])
    if {"sft_steps", "sepo_steps"} <= set(parts) and changed["sft_steps"] == changed["sepo_steps"]:
        parts["sft_steps"] = f"steps {changed['sft_steps']}"
        del parts["sepo_steps"]
    name = re.sub(r"[^a-z0-9]+", "-", " ".join([profile, *parts.values()]).lower()).strip("-")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9].rstrip('-')}-{_digest(name)[:8]}"


def _place(text: str) -> str:
    """A model or a path; of a path on this machine its last part, with a digest of the others."""
    path = Path(text)
    return f"{path.name} {_digest(text)[:6]}" if path.is_absolute() else text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _agree(settings: Settings, changed: Mapping[str, Any]) -> None:
    """Raise InputError if the run exists with other settings.

    The run of a profile follows its profile. A run whose name the kit has made follows it too, except in
    what was `changed`. A run whose name was chosen must agree in everything.
    """
    path, name = paths.manifest(settings.run), settings.run
    if name == settings.profile or not path.exists():
        return
    made = name == run_name(settings.profile, None, changed, by_hand=False)
    manifest = files.read_json(path, f"remove {paths.relative(path.parent)}/ or name the run otherwise")
    there, here = manifest["settings"], settings.as_dict()
    compared = changed if made else [key for key in here if key in there]
    others = [key for key in compared if there.get(key) != here[key]]
    if others:
        others = [key for key in others if key not in ("ablation_games", *SAME_AS)][:3] or others
        both = "; here ".join(told({key: values.get(key) for key in others}) for values in (there, here))
        raise InputError(
            f"The run '{name}' exists with other settings ({both}); choose another name for the run."
        )


def told(values: Mapping[str, Any]) -> str:
    """Hyperparameters with their values; of the weights of J, those that differ from the games' own."""
    texts = []
    for key, value in values.items():
        if key in ("train_weights", "evaluation_weights") and value:
            own = {game: own_weights(game)[key.removesuffix("_weights")] for game in value}
            changed = {game: {w: v for w, v in value[game].items() if v != own[game][w]} for game in value}
            value = {game: weights for game, weights in changed.items() if weights}
        texts.append(f"{key} {spell(value)}")
    return ", ".join(texts)


def _value(name: str, profile: str, model: str | None) -> Any:
    """The value in `profiles.yaml`: that of the profile, else that of the model, else the default."""
    block = hyperparameters()[name]
    by_model = block.get("by_model", {}).get(model, block["default"])
    return block.get("by_profile", {}).get(profile, by_model)


def _own(name: str, profile: str, model: str) -> Any:
    """The value in `profiles.yaml`, checked."""
    try:
        return prepared(name, _value(name, profile, model))
    except InputError as error:
        raise InputError(f"sepo_lib/config/profiles.yaml, profile {profile}: {error}") from None


def _complete(values: Mapping[str, Any]) -> None:
    """Raise InputError if a game of the run (or a stage) has no value, or if two values do not agree."""
    for name, value in values.items():
        if isinstance(value, Mapping) and not name.endswith("_weights") and "others" not in value:
            needed = STAGES if set(value) & set(STAGES) else values["games"]
            if lacking := [key for key in needed if key not in value]:
                raise InputError(f"{name} has no value for {lacking[0]}; add one, or one for 'others'.")
    if values["engine"] == "vllm" and values["workers"] * values["vllm_memory"] > 1:
        raise InputError(
            f"{values['workers']} jobs at a time (workers) cannot each give vLLM {values['vllm_memory']} of "
            "the GPU's memory (vllm_memory); together they may take 1."
        )
    if values["full_finetuning"] and values["dtype"] == "bfloat16":
        raise InputError(
            "full_finetuning trains the weights in their own format, and bfloat16 rounds most of an update "
            "away; set dtype to float32, or full_finetuning to false (LoRA)."
        )
    between, refresh = values["checkpoint_every"], values["exploiter_refresh"]
    for steps in _by_game(between).values():
        if steps % refresh:
            raise InputError(
                f"checkpoint_every ({steps}) must be a multiple of exploiter_refresh ({refresh})."
            )
    for strategy in values["replication_strategies"]:
        game = values["replication_game"]
        known(f"expert of {game} called", strategy, domains.get(game).experts)
    groups = values["estimator_groups"]
    if groups % min(40, groups // 2):
        raise InputError(
            f"The number of groups must be a multiple of 40, or an even number below 80, not {groups}."
        )


def _check_enumerated(settings: Settings) -> None:
    """Raise InputError where the baseline enumerated cannot be used, or would differ between arms."""
    for game in settings.games:
        if settings.of("baseline", game) != "enumerated":
            continue
        if "nashconv" not in domains.get(game).traits:
            able = ", ".join(other.name for other in domains.having("nashconv"))
            raise InputError(
                f"The baseline of {game} cannot be enumerated, as its information sets are not known; choose "
                f"group there, and enumerated only in {able}."
            )
        own = settings.of("pools", game)
        compared = game in settings.ablation_games and own in settings.ablation_pools
        if compared and "unbiased" in settings.ablation_presets:
            raise InputError(
                f"The ablation compares arms in {game} on the pools of the main run ({own}); only the arm "
                f"may differ: set the baseline of {game} to group, or leave {own} out of ablation_pools."
            )


def _model(model: Any) -> str:
    """The name, folder or hub id of a model, checked as far as that needs no network."""
    if not isinstance(model, str | Path) or not is_one_line(str(model)):
        raise InputError(f"A model is a name, a folder or a hub id, not '{in_brief(model)}'.")
    text = str(model)
    folder = None if text in MODELS else paths.model(text)
    configs = model_folder.CONFIGS
    if folder and not any((at / name).is_file() for at in (folder, folder / "model") for name in configs):
        raise InputError(
            f"The folder '{in_brief(text, 200)}' holds no model: it has neither {' nor '.join(configs)}; "
            "pass a folder that has one of them."
        )
    if folder:
        return os.path.normpath(text)  # models/x/ and ./models/x are the model models/x
    if text in MODELS or (hub.ID.fullmatch(text) and not text.startswith("runs/")):
        return text
    if made := re.match(r"(?:.*/)?runs/([^/]+)/checkpoints/", text):
        make = {DEFAULT: ""}.get(made[1], f" PROFILE={made[1]}" if made[1] in names() else f" RUN={made[1]}")
        raise InputError(
            f"There is no folder '{in_brief(text, 200)}'; `make reproduce{make}` makes it first."
        )
    valid = f"{', '.join(MODELS)}, an existing folder, or a hub id such as org/name or org/name@revision"
    raise InputError(f"There is no model '{in_brief(text, 200)}'; choose {valid}.")
