"""The sizes of a run: every hyperparameter, read from `profiles.yaml`, where each has its reason.

settings = load("laptop", games="ipd,kuhn")
settings.sepo_steps                          # one value
settings.of("sepo_learning_rate", "kuhn")    # the value for one game (or stage)
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from sepo_lib.config import paths
from sepo_lib.games import GAMES

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler

#: The models with names of their own; any other is a folder or a hub id.
MODELS = ("nano", "smollm2")
#: A folder with one of these files is a model, or an adapter of one.
FILES = ("config.json", "adapter_config.json")
#: The largest seed that every library takes.
LARGEST_SEED = 2**32 - 1
#: Fewest groups in the study of estimators: a quarter of their blocks is then two, the least with a spread.
FEWEST_GROUPS = 16


@cache
def _document() -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).with_name("profiles.yaml").read_text(encoding="utf-8"))


def names() -> list[str]:
    """The profiles, smallest first."""
    return list(_document()["profiles"])


def hyperparameters() -> dict[str, dict[str, Any]]:
    """The blocks of `profiles.yaml` by name, in the order of the file."""
    return _document()["hyperparameters"]


@dataclass(frozen=True)
class Settings:
    """The hyperparameters of one run, as attributes; `of` gives the value for one game or stage."""

    profile: str
    values: Mapping[str, Any] = field(repr=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "values":
            raise AttributeError(name)
        _known("hyperparameter", name, self.values, AttributeError)
        return self.values[name]

    def of(self, name: str, key: str) -> Any:
        """The value of hyperparameter `name` for the game (or stage) `key`.

        Raises ValueError naming the valid choices where there is none.
        """
        _known("hyperparameter", name, self.values)
        value = self.values[name]
        if not isinstance(value, Mapping):
            return value
        if key not in value and "others" not in value:
            _known(f"key of {name}", key, value)
        return value.get(key, value.get("others"))

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON-able data, the profile first."""
        plain = {MappingProxyType: dict, tuple: list}
        values = {n: plain[type(v)](v) if type(v) in plain else v for n, v in self.values.items()}
        return {"profile": self.profile, **values}

    def table(self, *names: str) -> "Styler":
        """The value of each named hyperparameter beside its meaning and what the paper says, to be shown."""
        import pandas as pd

        for name in names:
            _known("hyperparameter", name, self.values)
        blocks = hyperparameters()
        rows = {n: (spell(self.as_dict()[n]), blocks[n]["meaning"], blocks[n]["paper"]) for n in names}
        columns = [self.profile, "meaning", "paper"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.style.set_properties(**{"text-align": "left"}).set_uuid("settings")

    @property
    def needs_hub(self) -> bool:
        """True where the model has to come from a model hub (or its local cache)."""
        return self.model not in MODELS and not paths.model(self.model)

    @property
    def summary(self) -> str:
        """What the profile is for, in one or two sentences."""
        return _document()["profiles"][self.profile]["summary"]

    @property
    def expected_minutes(self) -> float | None:
        """About how long the whole profile takes on two CPU cores, or None where that is not known."""
        return _document()["profiles"][self.profile]["expected_minutes"]


def load(
    name: str = "laptop",
    model: str | None = None,
    seeds: str | int | Sequence[int] | None = None,
    games: str | Sequence[str] | None = None,
    steps: str | int | None = None,
    **overrides: Any,
) -> Settings:
    """The settings of profile `name`.

    What is None or "" keeps the profile's value, and `games` and `seeds` may be text such as "ipd,kuhn"
    and "1,2", as they come from make. `steps` sets both sft_steps and sepo_steps; `overrides` are other
    hyperparameters by name. Raises ValueError, one sentence with the valid choices, for anything unknown.
    """
    _known("profile", name, names())
    for key in overrides:
        _known("hyperparameter", key, hyperparameters())
    common = {"model": model, "seeds": seeds, "games": games, "sft_steps": steps, "sepo_steps": steps}
    given = {key: value for key, value in common.items() if value is not None and value != ""} | overrides

    model = _model(given.get("model", _value("model", name, None)))
    values = {key: given.get(key, _value(key, name, model)) for key in hyperparameters()}
    values["model"] = model
    for key, block in hyperparameters().items():
        if isinstance(block["default"], list) or isinstance(values[key], list):
            values[key] = _several(key, values[key])
        for choice in _texts(values[key]) if "choices" in block and values[key] is not None else ():
            choices = GAMES if block["choices"] == "games" else block["choices"]
            _known(key.removesuffix("s"), choice, choices)
    for key in ("games", "seeds"):
        if not values[key]:
            raise ValueError(f"At least one of the {key} is needed.")
    values["seeds"] = tuple(_integer("A seed", seed, 0, LARGEST_SEED) for seed in values["seeds"])
    values["estimator_groups"] = _integer("The number of groups", values["estimator_groups"], FEWEST_GROUPS)
    for key in ("sft_steps", "sepo_steps"):
        if isinstance(values[key], Mapping):
            values[key] = {k: _integer("The number of steps", v, least=1) for k, v in values[key].items()}
        elif values[key] is not None:
            values[key] = _integer("The number of steps", values[key], least=1)
    values["ablation_games"] = tuple(game for game in values["ablation_games"] if game in values["games"])
    if "games" in given and "study_games" not in given:
        values["study_games"] = None  # who names games wants no others
    main_run = {
        "ablation_steps": "sepo_steps",
        "ablation_rollouts": "rollouts_per_opponent",
        "study_games": "games",
    }
    values |= {key: values[main] for key, main in main_run.items() if values[key] is None}
    frozen = {key: MappingProxyType(v) if isinstance(v, dict) else v for key, v in values.items()}
    return Settings(name, MappingProxyType(frozen))


def table() -> "pd.DataFrame":
    """One row per hyperparameter: meaning, what the paper says, why, and the value in each profile."""
    import pandas as pd

    every = {name: load(name).as_dict() for name in names()}
    return pd.DataFrame(
        {
            "hyperparameter": key,
            "meaning": block["meaning"],
            "paper_says": block["paper"],
            "why": block["why"],
            **{profile: spell(settings[key]) for profile, settings in every.items()},
        }
        for key, block in hyperparameters().items()
    )


def spell(value: Any) -> str:
    """A value as people read it: `8; kuhn 48`, `ipd, kuhn`, `yes`, `-` for none."""
    if isinstance(value, Mapping):
        rest = [f"{key} {spell(v)}" for key, v in value.items() if key != "others"]
        return "; ".join(([spell(value["others"])] if "others" in value else []) + rest)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == () or value == []:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(spell, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(name: str, profile: str, model: str | None) -> Any:
    """What `profiles.yaml` says: the profile's value, or else the model's, or else the default."""
    block = hyperparameters()[name]
    by_model = block.get("by_model", {}).get(model, block["default"])
    return block.get("by_profile", {}).get(profile, by_model)


def _known(kind: str, name: Any, choices: Iterable[Any], error: type[Exception] = ValueError) -> None:
    if name not in choices:
        raise error(f"There is no {kind} '{name}'; choose from {', '.join(map(str, choices))}.")


def _model(model: Any) -> str:
    text = str(model)
    folder = None if text in MODELS else paths.model(text)
    if folder and not any((where / name).is_file() for where in (folder, folder / "model") for name in FILES):
        raise ValueError(
            f"The folder '{text}' holds no model: it has neither {' nor '.join(FILES)}; name one that has."
        )
    if text in MODELS or folder or re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text):
        return text
    valid = f"{', '.join(MODELS)}, an existing folder, or a hub id such as org/name"
    raise ValueError(f"There is no model '{text}'; choose {valid}.")


def _texts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return (value,) if isinstance(value, str) else value


def _several(name: str, value: Any) -> tuple[Any, ...]:
    """A list from "a,b", one value or a sequence; without repetitions, in the order given."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, int):
        value = [value]
    elif not isinstance(value, Sequence):
        raise ValueError(f"The {name} must be a list, not '{value}'.")
    return tuple(dict.fromkeys(value))


def _integer(what: str, value: Any, least: int, most: float = math.inf) -> int:
    is_whole = not isinstance(value, bool) and re.fullmatch(r"\d{1,30}", str(value))
    if not is_whole or not least <= int(value) <= most:
        size = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{what} must be a whole number {size}, not '{value}'.")
    return int(value)
