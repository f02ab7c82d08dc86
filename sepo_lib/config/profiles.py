"""The sizes of a run: every hyperparameter, read from `profiles.yaml`, which gives the reason for each.

settings = load("laptop", games="ipd,kuhn")
settings.sepo_steps                          # the value: one number, or one per game
settings.of("sepo_learning_rate", "kuhn")    # the value for one game (or stage)
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sepo_lib import games as domains
from sepo_lib.config import hub, paths
from sepo_lib.config.errors import InputError
from sepo_lib.config.settings import (
    MODELS,
    Settings,
    document,
    frozen,
    hyperparameters,
    known,
    own_weights,
    spell,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MODELS", "Settings", "as_text", "hyperparameters", "load", "names", "run_name", "spell", "table"]

#: A folder with one of these files holds a model, or an adapter of one.
MODEL_FILES = ("config.json", "adapter_config.json")
#: The folder of the runs that were stepped through by hand; it is not in git.
BY_HAND = "by-hand"
#: Names that no run can have, because other results are in folders with these names.
TAKEN = (BY_HAND, "bench", "crossplay")
#: The largest seed that every library accepts.
LARGEST_SEED = 2**32 - 1
#: Fewest groups in the study of estimators: a quarter of its blocks is then two, the least with a variance.
FEWEST_GROUPS = 16
#: The policies at which the study of estimators measures them (`sepo_lib.studies.estimators.policy`).
STUDY_POLICIES = ("uniform", "random", "cooperative", "equilibrium")
#: The keys of a value per stage, beside those of a value per game.
STAGES = ("sft", "sepo")
#: Hyperparameters that take the value of another one if they are null.
SAME_AS = {
    "ablation_steps": "sepo_steps",
    "ablation_rollouts": "rollouts_per_opponent",
    "study_games": "games",
}


def names() -> list[str]:
    """The profiles, smallest first."""
    return list(document()["profiles"])


def load(
    name: str = "laptop",
    model: str | None = None,
    seeds: str | int | Sequence[int] | None = None,
    games: str | Sequence[str] | None = None,
    steps: str | int | None = None,
    run: str | None = None,
    **overrides: Any,
) -> Settings:
    """The settings of profile `name`.

    None or "" keeps the profile's value. `games` and `seeds` may be text such as "ipd,kuhn" and "1,2", as
    make passes them; the games "all" are all registered ones. `steps` sets both sft_steps and sepo_steps.
    `run` names the folders of the results (`run_name`).
    `overrides` are other hyperparameters by name; `train_weights` and `evaluation_weights` need only the
    weights that change, such as {"kuhn": {"exploit": 2.0}}. Raises InputError, one sentence with the valid
    choices, for anything unknown.
    """
    known("profile", name, names())
    for key in overrides:
        known("hyperparameter", key, hyperparameters())
    common = {"model": model, "seeds": seeds, "games": games, "sft_steps": steps, "sepo_steps": steps}
    given = {key: value for key, value in common.items() if value is not None and value != ""} | overrides
    if "games" in given:  # a run of chosen games studies no others
        given.setdefault("study_games", None)

    checked_model = _model(given.get("model", _value("model", name, None)))
    values = {key: given.get(key, _value(key, name, checked_model)) for key in hyperparameters()}
    values["model"] = checked_model
    for key in values:
        values[key] = _checked(key, values[key])
    values["ablation_games"] = tuple(game for game in values["ablation_games"] if game in values["games"])
    values |= {key: values[main] for key, main in SAME_AS.items() if values[key] is None}
    for kind in ("train", "evaluation"):
        values[f"{kind}_weights"] = _weights(kind, values[f"{kind}_weights"])
    return Settings(
        profile=name, run=run_name(name, run), **{key: frozen(value) for key, value in values.items()}
    )


def run_name(profile: str, run: str | None = None) -> str:
    """The name of a run, which names its folders in runs/, data/results/ and figures/.

    `make reproduce` names a run after its profile. None or "" stands for the notebooks that are stepped
    through by hand: they write to by-hand/<profile>, so that committed results stay as they are. Raises
    ValueError for a name that is no safe folder name, or that belongs to another profile.
    """
    if run is None or run == "":
        return f"{BY_HAND}/{profile}"
    folder = str(run).removeprefix(f"{BY_HAND}/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", folder) or folder.lower() in TAKEN:
        raise InputError(
            f"The run cannot be called '{run}'; choose letters, digits, - and _, such as 'my-run', "
            f"but not {' or '.join(TAKEN)}."
        )
    if folder.lower() in names() and folder != profile:
        raise InputError(
            f"The run '{run}' belongs to the profile {folder.lower()}, and this is the profile {profile}; "
            "choose another name."
        )
    return str(run)


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
        lines += [f"  the paper      {row['paper_says']}", f"  why            {row['why']}", ""]
    return "\n".join(lines)


def sampling(settings: Settings) -> dict:
    """The arguments of `play.policy.load_policy` that come from a profile."""
    names = ("dtype", "temperature", "max_new_tokens", "engine")
    return {name: getattr(settings, name) for name in names}


def _value(name: str, profile: str, model: str | None) -> Any:
    """The value in `profiles.yaml`: that of the profile, else that of the model, else the default."""
    block = hyperparameters()[name]
    by_model = block.get("by_model", {}).get(model, block["default"])
    return block.get("by_profile", {}).get(profile, by_model)


def _checked(name: str, value: Any) -> Any:
    """The value of a hyperparameter with lists made of text, numbers made of digits, and choices checked."""
    block = hyperparameters()[name]
    choices = domains.GAMES if block.get("choices") == "games" else block.get("choices")
    if value == "all" and choices is domains.GAMES:
        value = list(choices)
    if isinstance(block["default"], list) or isinstance(value, list) or name in ("games", "seeds"):
        value = _several(name, value) if value is not None else None
    if isinstance(value, Mapping) and not name.endswith("_weights"):
        for key in value:
            known(f"key of {name}", key, ("others", *domains.GAMES, *STAGES))
    if choices is not None and value is not None:
        for choice in _texts(value):
            known("switch" if name == "switches" else name.removesuffix("s"), choice, choices)
    if name in ("games", "seeds") and not value:
        raise InputError(f"At least one of the {name} is needed.")
    if name == "seeds":
        return tuple(_integer("A seed", seed, 0, LARGEST_SEED) for seed in value)
    if name == "estimator_groups":
        return _integer("The number of groups", value, FEWEST_GROUPS)
    if name in ("sft_steps", "sepo_steps") and value is not None:
        if isinstance(value, Mapping):
            return {key: _integer("The number of steps", one, least=1) for key, one in value.items()}
        return _integer("The number of steps", value, least=1)
    return value


def _weights(kind: str, changes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Game -> weights of J: those of the game's file, with the `changes` of the profile in their place."""
    weights = {game: own_weights(game)[kind] for game in domains.GAMES}
    if not isinstance(changes, Mapping):
        raise InputError(f"The {kind}_weights must map games to weights by name, not be '{changes}'.")
    for game, changed in changes.items():
        known(f"game of {kind}_weights called", game, domains.GAMES)
        if not isinstance(changed, Mapping):
            raise InputError(f"The {kind}_weights of {game} must be weights by name, not '{changed}'.")
        for weight, value in changed.items():
            known("weight of J", weight, weights[game])
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InputError(
                    f"The weight {weight} of {game} must be a number of at least 0, not '{value}'."
                )
            weights[game][weight] = float(value)
    return weights


def _model(model: Any) -> str:
    """The name, folder or hub id of a model, checked as far as that needs no network."""
    text = str(model)
    folder = None if text in MODELS else paths.model(text)
    if folder and not any((at / name).is_file() for at in (folder, folder / "model") for name in MODEL_FILES):
        raise InputError(
            f"The folder '{text}' holds no model: it has neither {' nor '.join(MODEL_FILES)}; "
            "pass a folder that has one of them."
        )
    if text in MODELS or folder or hub.ID.fullmatch(text):
        return text
    valid = f"{', '.join(MODELS)}, an existing folder, or a hub id such as org/name or org/name@revision"
    raise InputError(f"There is no model '{text}'; choose {valid}.")


def _texts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return (value,) if isinstance(value, str) else value


def _several(name: str, value: Any) -> tuple[Any, ...]:
    """A list made of "a,b", of one value or of a sequence: without repetitions, in the order given."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, int):
        value = [value]
    elif not isinstance(value, Sequence):
        raise InputError(f"The {name} must be a list, not '{value}'.")
    return tuple(dict.fromkeys(value))


def _integer(what: str, value: Any, least: int, most: float = math.inf) -> int:
    """A whole number, which may be given as text. Raises InputError with the valid range."""
    is_whole = not isinstance(value, bool) and re.fullmatch(r"\d{1,30}", str(value))
    if not is_whole or not least <= int(value) <= most:
        size = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise InputError(f"{what} must be a whole number {size}, not '{value}'.")
    return int(value)
